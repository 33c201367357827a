//! `windlass replay`: reads stretches of streams once more.

mod args;
mod watch;

pub(crate) use args::{ReplayCommand, StartArgs};

use std::process::ExitCode;

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};
use windlass_admin::replays::ReplayReport;
use windlass_core::place::{Place, PlaceText};

use self::args::RateArg;
use crate::UsageError;
use crate::cli::ClientArgs;
use crate::client::{Client, percent_encode};
use crate::credentials::Credentials;
use crate::find::find_mapping;
use crate::output;

const REPLAYS_PATH: &str = "/windlass/v1/replays";

/// Runs one of the subcommands.
pub(crate) async fn run(
    args: &ClientArgs,
    credentials: Credentials,
    command: ReplayCommand,
) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.endpoint, credentials);
    let format = args.output;
    let value = match command {
        ReplayCommand::Start(start) => {
            let body = body_of(&client, &start).await?;
            match &start.name {
                Some(name) if start.watch => return start_and_watch(&client, name, &body).await,
                Some(_) | None => {}
            }
            let value = client.call(Method::POST, REPLAYS_PATH, Some(&body)).await?;
            if start.dry_run {
                output::dry_run(format, &value)?;
                return Ok(ExitCode::SUCCESS);
            }
            value
        }
        ReplayCommand::List => {
            let list = client.items(REPLAYS_PATH, &[], "replays").await?;
            output::replays(format, &list)?;
            return Ok(ExitCode::SUCCESS);
        }
        ReplayCommand::Show { name } => client.call(Method::GET, &path(&name), None).await?,
        ReplayCommand::Pause { name } => change(&client, &name, "pause").await?,
        ReplayCommand::Resume { name } => change(&client, &name, "resume").await?,
        ReplayCommand::Cancel { name } => change(&client, &name, "cancel").await?,
        ReplayCommand::Delete { name } => {
            client.call(Method::DELETE, &path(&name), None).await?;
            output::print(&format!("replay {name} deleted"))?;
            return Ok(ExitCode::SUCCESS);
        }
        ReplayCommand::Set {
            name,
            rate,
            maximum_retry_attempts,
        } => {
            let mut body = json!({});
            if let Some(rate) = rate {
                body["rate"] = match rate {
                    RateArg::None => Value::Null,
                    RateArg::Records(rate) => json!(rate),
                };
            }
            if let Some(attempts) = maximum_retry_attempts {
                body["maximum_retry_attempts"] = json!(attempts);
            }
            client
                .call(Method::PATCH, &path(&name), Some(&body))
                .await?
        }
    };
    let report = report(&value)?;
    output::replay(format, &value, &report)?;
    Ok(ExitCode::SUCCESS)
}

/// Starts a replay with the members of a request, and shows its progress until it has ended.
pub(crate) async fn start_and_watch(
    client: &Client,
    name: &str,
    body: &Value,
) -> anyhow::Result<ExitCode> {
    client.call(Method::POST, REPLAYS_PATH, Some(body)).await?;
    watch::run(client, name).await
}

async fn change(client: &Client, name: &str, what: &str) -> anyhow::Result<Value> {
    let path = format!("{}/{what}", path(name));
    client.call(Method::POST, &path, None).await
}

fn path(name: &str) -> String {
    format!("{REPLAYS_PATH}/{}", percent_encode(name))
}

fn report(value: &Value) -> anyhow::Result<ReplayReport> {
    serde_json::from_value(value.clone()).context("the daemon returned other JSON than a replay")
}

/// What the daemon is asked for.
async fn body_of(client: &Client, start: &StartArgs) -> anyhow::Result<Value> {
    check_places(start)?;
    let mapping = match &start.mapping {
        Some(mapping) => Some(find_mapping(client, mapping).await?),
        None => None,
    };
    let places = [&start.from, &start.to];
    let now = match places.into_iter().flatten().any(PlaceText::is_relative) {
        true => Some(client.time().await?),
        false => None,
    };
    let place = |text: &Option<PlaceText>| {
        let place = text.clone()?.place(now.unwrap_or_default());
        Some(place.to_json())
    };
    let members = [
        ("name", json!(start.name)),
        ("mapping", json!(mapping)),
        ("event_source_arn", json!(start.source)),
        ("function_name", json!(start.function)),
        ("from", json!(place(&start.from))),
        ("to", json!(place(&start.to))),
        ("shards", json!(non_empty(&start.shards))),
        ("rate", json!(start.rate)),
        ("batch_size", json!(start.batch_size)),
        (
            "parallelization_factor",
            json!(start.parallelization_factor),
        ),
        ("filters", json!(non_empty(&start.filters))),
        (
            "maximum_retry_attempts",
            json!(start.maximum_retry_attempts),
        ),
        ("dry_run", json!(start.dry_run.then_some(true))),
    ];
    let given = members.into_iter().filter(|(_, value)| !value.is_null());
    let given = given.map(|(name, value)| (name.to_owned(), value));
    Ok(Value::Object(given.collect()))
}

fn non_empty(list: &[String]) -> Option<&[String]> {
    (!list.is_empty()).then_some(list)
}

/// What can be seen without the daemon.
fn check_places(start: &StartArgs) -> Result<(), UsageError> {
    if let Some(PlaceText::Place(place)) = &start.to {
        place
            .end(windlass_core::time::Timestamp::EPOCH)
            .map_err(|error| UsageError(format!("--to {place}: {error}")))?;
    }
    for (option, text) in [("--from", &start.from), ("--to", &start.to)] {
        let Some(PlaceText::Place(place)) = text else {
            continue;
        };
        if place.sequence_number().is_some() && start.shards.len() != 1 {
            return Err(UsageError(format!(
                "{option} {place}: a sequence number belongs to one shard; give exactly one --shard"
            )));
        }
    }
    if let (Some(PlaceText::Place(from)), Some(PlaceText::Place(to))) = (&start.from, &start.to)
        && let (Place::AtTimestamp(start), Place::AtTimestamp(end)) = (from, to)
        && end <= start
    {
        return Err(UsageError(format!(
            "the stretch has no records: --to {to} is not after --from {from}"
        )));
    }
    Ok(())
}
