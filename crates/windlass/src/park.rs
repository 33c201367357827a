//! `windlass park` and `windlass unpark`: stop one shard or a mapping, and let it continue.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::cli::ClientArgs;
use crate::client::{Client, percent_encode};
use crate::credentials::Credentials;
use crate::find::find_mapping;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct ParkArgs {
    /// The mapping: its UUID, the start of it, or SOURCE/FUNCTION.
    mapping: String,
    /// Only this shard; without it, all shards, also those that come later.
    #[arg(long, value_name = "ID")]
    shard: Option<String>,
    /// Shown by the status.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UnparkArgs {
    /// The mapping: its UUID, the start of it, or SOURCE/FUNCTION.
    mapping: String,
    /// Only this shard, also out of a park of the whole mapping; without it, every park ends.
    #[arg(long, value_name = "ID")]
    shard: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) async fn park(args: ParkArgs, credentials: Credentials) -> anyhow::Result<()> {
    let body = json!({"shard": args.shard, "reason": args.reason});
    change(&args.client, credentials, &args.mapping, "park", &body).await
}

pub(crate) async fn unpark(args: UnparkArgs, credentials: Credentials) -> anyhow::Result<()> {
    let body = json!({"shard": args.shard});
    change(&args.client, credentials, &args.mapping, "unpark", &body).await
}

async fn change(
    args: &ClientArgs,
    credentials: Credentials,
    mapping: &str,
    what: &str,
    body: &Value,
) -> anyhow::Result<()> {
    let client = Client::new(&args.endpoint, credentials);
    let uuid = find_mapping(&client, mapping).await?;
    let path = format!("/windlass/v1/mappings/{}/{what}", percent_encode(&uuid));
    let answer = client.call(Method::POST, &path, Some(body)).await?;
    let subject = match body["shard"].as_str() {
        Some(shard) => format!("shard {shard} of {uuid}"),
        None => uuid,
    };
    let text = match answer["parked"]["since"].as_str() {
        Some(since) => format!("{subject} is parked since {since}"),
        None => format!("{subject} is not parked"),
    };
    output::answer(args.output, &answer, &text)
}
