//! `windlass dead-letters`: what mappings have given up.

use std::path::PathBuf;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;
use windlass_core::place::{Place, PlaceText};
use windlass_engine::ports::{DeadLetterId, DeadLetterReason};

use crate::UsageError;
use crate::cli::{ClientArgs, OutputFormat};
use crate::client::{Client, percent_encode};
use crate::credentials::Credentials;
use crate::find::find_mapping;
use crate::output;

mod export;
mod redrive;

use redrive::RedriveArgs;

const PATH: &str = "/windlass/v1/dead-letters";

/// Of a page of the list.
const MEMBER: &str = "dead_letters";

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List dead letters, the oldest first.
    List {
        /// Of this mapping: its UUID, the start of it, or SOURCE/FUNCTION.
        #[arg(long)]
        mapping: Option<String>,
        /// Given up at this time or later: a time with a zone, a time ago such as -2h, or now.
        #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
        since: Option<PlaceText>,
        /// Given up for this reason.
        #[arg(long, value_parser = reasons())]
        reason: Option<String>,
    },
    /// Show a dead letter, or its event.
    Show {
        /// The id of the letter.
        id: DeadLetterId,
        /// Print the event as the function got it, or would have, and nothing else.
        #[arg(long)]
        payload: bool,
    },
    /// Invoke functions with dead letters once more, and delete those that they have processed.
    ///
    /// Exit code 1: some were not redriven.
    Redrive(RedriveArgs),
    /// Delete dead letters.
    Delete(Selection),
    /// Write all dead letters with their events to a file, one JSON object a line.
    Export {
        /// The file, which is replaced; - for standard output.
        file: PathBuf,
    },
}

/// Some letters, those of a mapping, or all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Selection {
    /// The ids of letters.
    #[arg(value_name = "ID")]
    ids: Vec<DeadLetterId>,
    /// Those of this mapping: its UUID, the start of it, or SOURCE/FUNCTION.
    #[arg(long)]
    mapping: Option<String>,
    /// Those of all mappings and replays.
    #[arg(long)]
    all: bool,
}

fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(DeadLetterReason::ALL.map(DeadLetterReason::as_str))
}

/// Runs one of the subcommands.
pub(crate) async fn run(
    client_args: &ClientArgs,
    credentials: Credentials,
    command: DeadLettersCommand,
) -> anyhow::Result<()> {
    let client = Client::new(&client_args.endpoint, credentials);
    let format = client_args.output;
    match command {
        DeadLettersCommand::List {
            mapping,
            since,
            reason,
        } => {
            let filter = Filter {
                mapping,
                since,
                reason,
            };
            list(&client, format, filter).await
        }
        DeadLettersCommand::Show { id, payload: false } => {
            let letter = client.call(Method::GET, &letter_path(id), None).await?;
            output::mapping(format, &letter)
        }
        DeadLettersCommand::Show { id, payload: true } => {
            output::print_payload(&client.bytes(&payload_path(&id.to_string())).await?)
        }
        DeadLettersCommand::Redrive(args) => redrive::run(&client, format, args).await,
        DeadLettersCommand::Delete(selection) => delete(&client, selection).await,
        DeadLettersCommand::Export { file } => export::run(&client, &file).await,
    }
}

struct Filter {
    mapping: Option<String>,
    since: Option<PlaceText>,
    reason: Option<String>,
}

async fn list(client: &Client, format: OutputFormat, filter: Filter) -> anyhow::Result<()> {
    let since = since(client, filter.since).await?;
    let mapping = match &filter.mapping {
        Some(mapping) => Some(find_mapping(client, mapping).await?),
        None => None,
    };
    let query = [
        ("mapping", mapping),
        ("since", since),
        ("reason", filter.reason),
    ];
    let query: Vec<_> = query
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect();
    let table = output::dead_letter_table;
    let mut list = output::List::new(format, "no dead letters", table);
    let show = |page: &[Value], is_last| list.show(page, is_last);
    client.show_pages(PATH, &query, MEMBER, show).await
}

/// The time from which letters are listed; `None`: from the first.
async fn since(client: &Client, since: Option<PlaceText>) -> anyhow::Result<Option<String>> {
    let Some(since) = since else { return Ok(None) };
    let place = match since {
        PlaceText::Place(Place::AtSequenceNumber(_) | Place::AfterSequenceNumber(_)) => {
            let text = "--since: letters are listed by the time at which they were given up, not by \
                        sequence numbers; give a time, or a time ago such as -2h";
            return Err(UsageError(text.to_owned()).into());
        }
        PlaceText::Place(Place::TrimHorizon) => return Ok(None),
        PlaceText::Place(Place::AtTimestamp(time)) => return Ok(Some(time.to_rfc3339_millis())),
        relative @ (PlaceText::Place(Place::Now) | PlaceText::Ago(_)) => {
            let now = client.time().await?;
            relative.place(now).fixed(now)
        }
    };
    Ok(match place {
        Place::AtTimestamp(time) => Some(time.to_rfc3339_millis()),
        Place::TrimHorizon
        | Place::Now
        | Place::AtSequenceNumber(_)
        | Place::AfterSequenceNumber(_) => None,
    })
}

async fn delete(client: &Client, selection: Selection) -> anyhow::Result<()> {
    let paths = match (selection.mapping, selection.all) {
        (Some(mapping), _) => {
            let uuid = find_mapping(client, &mapping).await?;
            vec![format!("{PATH}?mapping={}", percent_encode(&uuid))]
        }
        (None, true) => vec![format!("{PATH}?all=true")],
        (None, false) => selection.ids.into_iter().map(letter_path).collect(),
    };
    let mut total = 0;
    for path in paths {
        let answer = client.call(Method::DELETE, &path, None).await;
        let answer = answer.with_context(|| format!("{total} dead letters were deleted before"))?;
        total += answer["deleted"].as_u64().unwrap_or(0);
    }
    output::print(&format!("{total} dead letters deleted"))
}

fn letter_path(id: DeadLetterId) -> String {
    format!("{PATH}/{id}")
}

fn payload_path(id: &str) -> String {
    format!("{PATH}/{}/payload", percent_encode(id))
}

/// The id of a letter of the API.
fn id_of(letter: &Value) -> anyhow::Result<&str> {
    letter["id"]
        .as_str()
        .context("the daemon has listed a dead letter without an id")
}
