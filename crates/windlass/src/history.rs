//! `windlass history`: who changed what, and when.

use clap::Args;
use serde_json::Value;

use crate::cli::{ClientArgs, OutputFormat};
use crate::client::Client;
use crate::credentials::Credentials;
use crate::find::find_mapping;
use crate::output;

const HISTORY_PATH: &str = "/windlass/v1/history";

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Only of this mapping: its UUID, also of one that was deleted, the start of it, or
    /// SOURCE/FUNCTION.
    mapping: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) async fn run(args: &HistoryArgs, credentials: Credentials) -> anyhow::Result<()> {
    let client = Client::new(&args.client.endpoint, credentials);
    let mut query = Vec::new();
    let uuid = match &args.mapping {
        Some(text) => Some(find_mapping(&client, text).await?),
        None => None,
    };
    query.extend(uuid.as_deref().map(|uuid| ("mapping", uuid)));
    let format = args.client.output;
    let reports = match format {
        // For the names of the mappings.
        OutputFormat::Table => client.statuses().await?,
        OutputFormat::Json | OutputFormat::Yaml => Vec::new(),
    };
    let mut table = output::HistoryTable::new(&reports);
    let table = |lines: &[Value], width| table.page(lines, width);
    let mut list = output::List::new(format, "no history", table);
    let show = |lines: &[Value], is_last| list.show(lines, is_last);
    client
        .show_pages(HISTORY_PATH, &query, "history", show)
        .await
}
