//! `windlass status`: what each mapping and shard is doing.

use std::time::Duration;

use serde_json::Value;

use crate::cli::{ClientArgs, OutputFormat};
use crate::client::Client;
use crate::output;

/// Between two looks of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Moves the cursor to the top and clears what is below.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Shows one mapping or all, once or again and again.
pub(crate) async fn run(
    args: &ClientArgs,
    mapping: Option<&str>,
    watch: bool,
) -> anyhow::Result<()> {
    let client = Client::new(&args.endpoint);
    loop {
        let statuses = look(&client, mapping).await?;
        if !watch {
            return output::statuses(args.output, &statuses);
        }
        if args.output == OutputFormat::Table {
            output::print(&format!("{CLEAR}{}", output::status_table(&statuses)))?;
        } else {
            output::statuses(args.output, &statuses)?;
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
            signal = tokio::signal::ctrl_c() => return Ok(signal?),
        }
    }
}

/// The status of one mapping or of all, shards included.
pub(crate) async fn look(client: &Client, mapping: Option<&str>) -> anyhow::Result<Vec<Value>> {
    if let Some(uuid) = mapping {
        return Ok(vec![client.status(uuid).await?]);
    }
    let mut statuses = Vec::new();
    let list = client.statuses().await?;
    let list = list.as_array().or_else(|| list["mappings"].as_array());
    for brief in list.into_iter().flatten() {
        match brief["uuid"].as_str() {
            // One that has just been deleted is passed over.
            Some(uuid) => statuses.extend(client.status(uuid).await.ok()),
            None => statuses.push(brief.clone()),
        }
    }
    Ok(statuses)
}
