//! What the client commands print: tables for people, JSON and YAML for programs.

use std::io::Write;

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::cli::OutputFormat;

/// The columns of a list of mappings.
const COLUMNS: [&str; 6] = [
    "UUID",
    "State",
    "EventSourceArn",
    "FunctionArn",
    "BatchSize",
    "LastProcessingResult",
];

/// Prints text; a closed pipe is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let written = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}

/// Prints a list of mappings.
pub(crate) fn mappings(format: OutputFormat, mappings: &[Value]) -> anyhow::Result<()> {
    if format != OutputFormat::Table {
        return structured(format, &Value::from(mappings.to_vec()));
    }
    if mappings.is_empty() {
        return print("no mappings");
    }
    let mut table = table(&COLUMNS);
    for mapping in mappings {
        table.add_row(COLUMNS.map(|column| text(&mapping[column])));
    }
    print(&table.to_string())
}

/// Prints one mapping, a member a line.
pub(crate) fn mapping(format: OutputFormat, mapping: &Value) -> anyhow::Result<()> {
    if format != OutputFormat::Table {
        return structured(format, mapping);
    }
    let mut table = table(&["Member", "Value"]);
    if let Value::Object(members) = mapping {
        for (name, value) in members {
            table.add_row([name.clone(), text(value)]);
        }
    }
    print(&table.to_string())
}

/// Prints what mappings are doing: one row a mapping, then one a shard or queue.
pub(crate) fn statuses(format: OutputFormat, statuses: &[Value]) -> anyhow::Result<()> {
    if format != OutputFormat::Table {
        return structured(format, &Value::from(statuses.to_vec()));
    }
    print(&status_table(statuses))
}

/// The tables of [`statuses`].
pub(crate) fn status_table(statuses: &[Value]) -> String {
    if statuses.is_empty() {
        return "no mappings".to_owned();
    }
    let mut mappings = table(&[
        "mapping",
        "state",
        "last result",
        "polled",
        "invoked",
        "failed",
        "behind",
    ]);
    let mut units = table(&[
        "mapping",
        "unit",
        "position",
        "behind",
        "held",
        "in flight",
        "waiting for",
    ]);
    for status in statuses {
        let uuid = text(&status["uuid"]);
        let short = uuid.get(..8).unwrap_or(&uuid).to_owned();
        let counts = &status["counts"];
        mappings.add_row([
            uuid,
            text(&status["state"]),
            text(&status["last_processing_result"]),
            text(&counts["polled"]),
            text(&counts["invoked"]),
            text(&counts["failed_invocations"]),
            millis(&status["behind_ms"]),
        ]);
        for shard in status["shards"].as_array().into_iter().flatten() {
            let position = &shard["checkpoint"];
            let place = position["sequence_number"]
                .as_str()
                .or(position["type"].as_str());
            units.add_row([
                short.clone(),
                text(&shard["shard_id"]),
                place.unwrap_or_default().to_owned(),
                millis(&shard["behind_ms"]),
                text(&shard["buffered_records"]),
                text(&shard["in_flight_records"]),
                text(&shard["waiting_for"]),
            ]);
        }
        let queue = &status["queue"];
        if queue.is_object() {
            units.add_row([
                short,
                "queue".to_owned(),
                format!("{} received", text(&queue["received"])),
                String::new(),
                text(&queue["held_messages"]),
                text(&queue["in_flight_messages"]),
                text(&queue["waiting_for"]),
            ]);
        }
    }
    if units.is_empty() {
        mappings.to_string()
    } else {
        format!("{mappings}\n\n{units}")
    }
}

fn structured(format: OutputFormat, value: &Value) -> anyhow::Result<()> {
    match format {
        OutputFormat::Yaml => {
            print(&serde_saphyr::to_string(value).context("writing the answer as YAML")?)
        }
        OutputFormat::Json | OutputFormat::Table => {
            print(&serde_json::to_string_pretty(value).context("writing the answer as JSON")?)
        }
    }
}

fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns);
    table
}

fn text(value: &Value) -> String {
    if value.is_null() {
        return String::new();
    }
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn millis(value: &Value) -> String {
    let Some(millis) = value.as_u64() else {
        return String::new();
    };
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..120_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => format!("{} min", millis / 60_000),
    }
}
