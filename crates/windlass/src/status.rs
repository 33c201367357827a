//! `windlass status`: what each mapping, shard and queue is doing.

use std::io::IsTerminal;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use windlass_admin::report::{FunctionReport, MappingReport};

use crate::cli::{ClientArgs, OutputFormat};
use crate::client::{ApiError, Client};
use crate::credentials::Credentials;
use crate::find::find_one;
use crate::output;

const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Mappings that are asked for at the same time.
const MAX_REQUESTS: usize = 16;

/// Moves the cursor to the top and clears what is below.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Shows one mapping or all of them, once or repeatedly.
pub(crate) async fn run(
    args: &ClientArgs,
    credentials: Credentials,
    mapping: Option<&str>,
    watch: bool,
) -> anyhow::Result<()> {
    let client = Client::new(&args.endpoint, credentials);
    if watch {
        return watch_status(args, &client, mapping).await;
    }
    let shown = fetch(args, &client, mapping).await?;
    output::print(&shown)
}

/// Repeats until it is interrupted or its output is closed.
async fn watch_status(
    args: &ClientArgs,
    client: &Client,
    mapping: Option<&str>,
) -> anyhow::Result<()> {
    let is_table = args.output == OutputFormat::Table;
    let is_live = is_table && std::io::stdout().is_terminal();
    let mut was_reached = false;
    loop {
        let shown = match fetch(args, client, mapping).await {
            Ok(shown) => {
                was_reached = true;
                // In a file or a pipe an empty line separates the tables.
                if is_table && !is_live {
                    format!("\n{shown}")
                } else {
                    shown
                }
            }
            // The daemon may be restarting.
            Err(error) if was_reached && is_retryable(&error) => {
                let text = format!("{error:#}; retrying");
                // The other formats are for programs.
                if is_table {
                    text
                } else {
                    crate::eprint_error(&text);
                    String::new()
                }
            }
            Err(error) => return Err(error),
        };
        let shown = if is_live {
            format!("{CLEAR}{shown}")
        } else {
            shown
        };
        if !shown.is_empty() && !output::show(&shown)? {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
            signal = tokio::signal::ctrl_c() => return Ok(signal?),
        }
    }
}

/// Everything but a refusal of the request itself.
fn is_retryable(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<ApiError>();
    refusal.is_none_or(|refusal| !refusal.status.is_client_error())
}

/// The status as it is printed. Tables come after warnings about the daemon; those of all mappings are
/// followed by one of the functions.
async fn fetch(
    args: &ClientArgs,
    client: &Client,
    mapping: Option<&str>,
) -> anyhow::Result<String> {
    let reports = fetch_mappings(client, mapping).await?;
    let (mut functions, mut warnings) = (Vec::new(), Vec::new());
    if args.output == OutputFormat::Table {
        warnings = fetch_warnings(client).await?;
        if mapping.is_none() {
            functions = fetch_functions(client).await?;
        }
    }
    output::statuses(args.output, &reports, &functions, &warnings)
}

async fn fetch_warnings(client: &Client) -> anyhow::Result<Vec<String>> {
    match client.daemon().await {
        // A daemon that says nothing of itself.
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        other => Ok(other?.warnings),
    }
}

async fn fetch_functions(client: &Client) -> anyhow::Result<Vec<FunctionReport>> {
    match client.functions().await {
        // A daemon that has none.
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        other => other,
    }
}

/// The status of one mapping or of all, with their shards and queues.
async fn fetch_mappings(
    client: &Client,
    mapping: Option<&str>,
) -> anyhow::Result<Vec<MappingReport>> {
    let mut summaries = client.statuses().await?;
    if let Some(text) = mapping {
        summaries = vec![find_one(summaries, text)?];
    }
    let reports = stream::iter(summaries).map(|summary| async move {
        match client.status(&summary.uuid).await {
            Ok(report) => Ok(Some(report)),
            // Deleted since the list was made.
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let reports: Vec<_> = reports.buffered(MAX_REQUESTS).try_collect().await?;
    Ok(reports.into_iter().flatten().collect())
}

fn is_gone(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<ApiError>();
    refusal.is_some_and(|refusal| refusal.status == StatusCode::NOT_FOUND)
}
