//! `windlass dead-letters redrive`: invokes functions with letters once more.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use http::Method;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{PATH, Selection};
use crate::UsageError;
use crate::cli::OutputFormat;
use crate::client::Client;
use crate::find::find_mapping;
use crate::output;

/// Which letters to redrive, and how.
#[derive(Debug, Args)]
pub(crate) struct RedriveArgs {
    #[command(flatten)]
    selection: Selection,
    /// Invoke this function, and not that of each letter.
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Send the event of this file byte for byte, in place of that of a single letter.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mapping", "all"])]
    event: Option<PathBuf>,
    /// Send this many records a second at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

#[derive(Serialize)]
struct Body {
    ids: Option<Vec<String>>,
    mapping: Option<String>,
    all: bool,
    function_name: Option<String>,
    event: Option<Box<RawValue>>,
    rate: Option<u32>,
}

/// # Errors
/// The daemon refuses, or some letters were not redriven.
pub(super) async fn run(
    client: &Client,
    format: OutputFormat,
    args: RedriveArgs,
) -> anyhow::Result<()> {
    let Selection { ids, mapping, all } = args.selection;
    let event = args.event.as_deref().map(read).transpose()?;
    if event.is_some() && ids.len() != 1 {
        let text = "--event is sent in place of one letter's event: give its id alone";
        return Err(UsageError(text.to_owned()).into());
    }
    let mapping = match mapping {
        Some(mapping) => Some(find_mapping(client, &mapping).await?),
        None => None,
    };
    let ids = ids.iter().map(ToString::to_string);
    let body = Body {
        ids: (mapping.is_none() && !all).then(|| ids.collect()),
        mapping,
        all,
        function_name: args.function,
        event,
        rate: args.rate,
    };
    let path = format!("{PATH}/redrive");
    let body = serde_json::to_string(&body)?;
    let result = client.call_with(Method::POST, &path, body).await?;
    let count = |name: &str| result[name].as_u64().unwrap_or_default();
    let (redriven, failed) = (count("redriven"), count("failed"));
    if format == OutputFormat::Table {
        output::print(&format!(
            "{redriven} dead letters redriven, {failed} failed"
        ))?;
    } else {
        output::mapping(format, &result)?;
    }
    if failed != 0 {
        bail!(
            "{failed} dead letters were not redriven and are kept; the daemon's log says why, and \
             'windlass dead-letters list' shows them"
        );
    }
    Ok(())
}

/// The event of a file, which must be JSON.
fn read(file: &Path) -> Result<Box<RawValue>, UsageError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| UsageError(format!("cannot read {}: {error}", file.display())))?;
    RawValue::from_string(text.trim().to_owned()).map_err(|error| {
        UsageError(format!(
            "{}: the event is not JSON: {error}",
            file.display()
        ))
    })
}
