//! `windlass seek`: moves the checkpoints of a mapping.

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use windlass_core::place::PlaceText;

use crate::UsageError;
use crate::cli::ClientArgs;
use crate::client::{Client, percent_encode};
use crate::credentials::Credentials;
use crate::find::find_mapping;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct SeekArgs {
    /// The mapping: its UUID, the start of it, or SOURCE/FUNCTION.
    mapping: String,
    /// trim-horizon, now, a time such as 2026-11-23T12:00:00Z, a time ago such as -2h, -15m or -9s, or
    /// with --shard sequence:NUMBER or after:NUMBER.
    #[arg(allow_hyphen_values = true)]
    place: PlaceText,
    /// Only this shard; those that come after it wait until it has ended again.
    #[arg(long, value_name = "ID")]
    shard: Option<String>,
    /// Say what would be moved, and move nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) async fn run(args: SeekArgs, credentials: Credentials) -> anyhow::Result<()> {
    let client = Client::new(&args.client.endpoint, credentials);
    let place = match args.place.is_relative() {
        true => args.place.place(client.time().await?),
        false => args.place.place(windlass_core::time::Timestamp::EPOCH),
    };
    if place.sequence_number().is_some() && args.shard.is_none() {
        let text = format!("{place} belongs to one shard; add --shard");
        return Err(UsageError(text).into());
    }
    let uuid = find_mapping(&client, &args.mapping).await?;
    let body = json!({"shard": args.shard, "to": place.to_json(), "dry_run": args.dry_run});
    let path = format!("/windlass/v1/mappings/{}/seek", percent_encode(&uuid));
    let answer = client.call(Method::POST, &path, Some(&body)).await?;
    let text = summary(&answer, args.dry_run);
    output::answer(args.client.output, &answer, &text)
}

/// How many shards, and a line for each.
fn summary(answer: &Value, is_dry_run: bool) -> String {
    let shards = answer["shards"].as_array().map_or(&[][..], Vec::as_slice);
    let verb = if is_dry_run {
        "would be moved"
    } else {
        "moved"
    };
    let head = match shards.len() {
        1 => format!("1 shard {verb}"),
        n => format!("{n} shards {verb}"),
    };
    let lines = shards.iter().map(|shard| {
        let id = shard["shard_id"].as_str().unwrap_or_default();
        let (from, to) = (place(&shard["from"]), place(&shard["to"]));
        format!("{id}: from {from} to {to}")
    });
    std::iter::once(head)
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

fn place(checkpoint: &Value) -> String {
    let text = |member: &str| checkpoint[member].as_str().unwrap_or_default().to_owned();
    match checkpoint["type"].as_str() {
        None => "no checkpoint".to_owned(),
        Some("trim_horizon") => "the oldest record".to_owned(),
        Some("shard_end") => "its end".to_owned(),
        Some("at_timestamp") => text("timestamp"),
        Some(_) => text("sequence_number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_how_many_shards_moved_and_where() {
        let answer = json!({"shards": [
            {"shard_id": "a", "from": {"type": "after", "sequence_number": "7"},
             "to": {"type": "trim_horizon"}, "skipped": null},
            {"shard_id": "b", "from": null,
             "to": {"type": "at_timestamp", "timestamp": "2026-11-23T12:00:00.000Z"},
             "skipped": null},
        ]});
        assert_eq!(
            summary(&answer, false),
            "2 shards moved\na: from 7 to the oldest record\n\
             b: from no checkpoint to 2026-11-23T12:00:00.000Z"
        );
        assert!(summary(&answer, true).starts_with("2 shards would be moved"));
    }
}
