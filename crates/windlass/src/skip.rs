//! `windlass skip`: passes what blocks a shard.

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use windlass_core::ids::SequenceNumber;
use windlass_core::place;

use crate::cli::ClientArgs;
use crate::client::{Client, percent_encode};
use crate::credentials::Credentials;
use crate::find::find_mapping;
use crate::output;

#[derive(Debug, Args)]
#[group(id = "extent", required = true, multiple = false, args = ["records", "batch", "through"])]
pub(crate) struct SkipArgs {
    /// The mapping: its UUID, the start of it, or SOURCE/FUNCTION.
    mapping: String,
    /// The shard, as `windlass status` names it.
    #[arg(long, value_name = "ID")]
    shard: String,
    /// The next N records, those included that no filter matches.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// Every batch of the shard that is being retried.
    #[arg(long)]
    batch: bool,
    /// Everything through the record with this sequence number.
    #[arg(long, value_name = "SEQUENCE", value_parser = place::parse_number)]
    through: Option<SequenceNumber>,
    /// Lose what is skipped where dead letters are not kept, or have no room for it.
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) async fn run(args: SkipArgs, credentials: Credentials) -> anyhow::Result<()> {
    let client = Client::new(&args.client.endpoint, credentials);
    let uuid = find_mapping(&client, &args.mapping).await?;
    let through = args.through.as_ref().map(SequenceNumber::as_str);
    let body = json!({
        "shard": args.shard,
        "records": args.records,
        "batch": args.batch,
        "through": through,
        "discard": args.discard,
    });
    let path = format!("/windlass/v1/mappings/{}/skip", percent_encode(&uuid));
    let answer = client.call(Method::POST, &path, Some(&body)).await?;
    let text = summary(&answer, args.records);
    output::answer(args.client.output, &answer, &text)
}

/// How many records were skipped; `asked`: how many should be.
fn summary(answer: &Value, asked: Option<u64>) -> String {
    let shard = &answer["shards"][0];
    let id = shard["shard_id"].as_str().unwrap_or_default();
    let skipped = shard["skipped"].as_u64().unwrap_or_default();
    let records = match skipped {
        1 => "1 record",
        _ => &format!("{skipped} records"),
    };
    if let Some(reason) = shard["reason"].as_str() {
        return format!("{records} of shard {id} skipped, and no more than these: {reason}");
    }
    match asked {
        Some(asked) if skipped < asked => {
            format!("{records} of shard {id} skipped; it has no more than these")
        }
        _ => format!("{records} of shard {id} skipped"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_where_fewer_records_were_left() {
        let answer = |skipped: u64| json!({"shards": [{"shard_id": "a", "skipped": skipped}]});
        assert_eq!(summary(&answer(3), Some(3)), "3 records of shard a skipped");
        assert_eq!(summary(&answer(1), None), "1 record of shard a skipped");
        assert_eq!(
            summary(&answer(1), Some(3)),
            "1 record of shard a skipped; it has no more than these"
        );
        let mut unreadable = answer(1);
        unreadable["shards"][0]["reason"] = json!("the next record cannot be read");
        for asked in [Some(3), None] {
            assert_eq!(
                summary(&unreadable, asked),
                "1 record of shard a skipped, and no more than these: the next record cannot be read"
            );
        }
    }
}
