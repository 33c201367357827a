//! Output of the client commands: tables for people, JSON and YAML for programs.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use windlass_admin::report::{FunctionReport, MappingReport};

use crate::cli::OutputFormat;

mod dead_letters;
mod history;
mod list;
mod replays;
mod status;
mod table;

pub(crate) use dead_letters::{dead_letter_table, print_payload};
pub(crate) use history::HistoryTable;
pub(crate) use list::List;
pub(crate) use replays::{dry_run, replay, replays};
pub(crate) use status::{function_label, functions_table, label, label_of, status_table};
pub(crate) use table::terminal_width;

use table::{Column, Narrow, resource};

/// Prints text; a closed pipe is not an error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    show(text).map(drop)
}

/// Prints text; `false` if standard output is closed.
pub(crate) fn show(text: &str) -> anyhow::Result<bool> {
    let written = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => other
            .map(|()| true)
            .context("cannot write to standard output"),
    }
}

pub(crate) fn mappings(format: OutputFormat, mappings: &[Value]) -> anyhow::Result<()> {
    if format != OutputFormat::Table {
        return print(&serialize(format, &mappings)?);
    }
    if mappings.is_empty() {
        return print("no mappings");
    }
    print(&mapping_table(mappings, terminal_width()))
}

fn mapping_table(mappings: &[Value], width: Option<usize>) -> String {
    let mut columns = [
        Column::new("UUID", Narrow::Keep),
        Column::new("State", Narrow::Keep),
        Column::new("EventSourceArn", Narrow::Shorten(resource)),
        Column::new("FunctionArn", Narrow::Shorten(resource)),
        Column::new("BatchSize", Narrow::Drop),
        Column::new("LastProcessingResult", Narrow::Drop),
    ];
    for mapping in mappings {
        let row = [
            "UUID",
            "State",
            "EventSourceArn",
            "FunctionArn",
            "BatchSize",
            "LastProcessingResult",
        ];
        table::push(&mut columns, row.map(|member| text(&mapping[member])));
    }
    table::render(columns, width)
}

/// Prints what the API has returned; as a table, `text` in its place.
pub(crate) fn answer(format: OutputFormat, answer: &Value, text: &str) -> anyhow::Result<()> {
    match format {
        OutputFormat::Table => print(text),
        OutputFormat::Json | OutputFormat::Yaml => print(&serialize(format, answer)?),
    }
}

/// Prints a mapping or another object, one member per line.
pub(crate) fn mapping(format: OutputFormat, mapping: &Value) -> anyhow::Result<()> {
    if format != OutputFormat::Table {
        return print(&serialize(format, mapping)?);
    }
    let mut columns = ["Member", "Value"].map(|name| Column::new(name, Narrow::Keep));
    if let Value::Object(members) = mapping {
        for (name, value) in members {
            table::push(&mut columns, [name.clone(), text(value)]);
        }
    }
    print(&table::render(columns, None))
}

pub(crate) fn statuses(
    format: OutputFormat,
    reports: &[MappingReport],
    functions: &[FunctionReport],
    warnings: &[String],
) -> anyhow::Result<String> {
    match format {
        OutputFormat::Table => {
            let width = terminal_width();
            let warnings = warnings.iter().map(|text| format!("warning: {text}"));
            let warnings = warnings.collect::<Vec<_>>().join("\n");
            let parts = [
                Some(warnings).filter(|it| !it.is_empty()),
                Some(status_table(reports, width)),
                functions_table(functions, width),
            ];
            Ok(parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n"))
        }
        OutputFormat::Json | OutputFormat::Yaml => serialize(format, &reports),
    }
}

pub(crate) fn serialize(format: OutputFormat, value: &impl Serialize) -> anyhow::Result<String> {
    match format {
        OutputFormat::Yaml => {
            serde_saphyr::to_string(value).context("cannot write the result as YAML")
        }
        OutputFormat::Json | OutputFormat::Table => {
            serde_json::to_string_pretty(value).context("cannot write the result as JSON")
        }
    }
}

fn text(value: &Value) -> String {
    if value.is_null() {
        return String::new();
    }
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn display_millis(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..120_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => format!("{} min", millis / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_mappings_fits_and_keeps_uuids_whole() {
        let uuid = "14e0db71-5d35-4eb5-b481-8945cf9d10c2";
        let (source, function) = (
            "arn:aws:kinesis:us-east-1:000000000000:stream/orders",
            "arn:aws:lambda:us-east-1:000000000000:function:resize",
        );
        let mapping = json!({
            "UUID": uuid, "State": "Enabled", "EventSourceArn": source, "FunctionArn": function,
            "BatchSize": 100, "LastProcessingResult": "No records processed",
        });
        let narrow = mapping_table(std::slice::from_ref(&mapping), Some(80));
        assert!(
            narrow.lines().all(|line| line.chars().count() <= 80),
            "{narrow}"
        );
        for part in [uuid, "stream/orders", "function:resize"] {
            assert!(narrow.contains(part), "{narrow}");
        }
        let wide = mapping_table(&[mapping], None);
        assert!(wide.contains(source) && wide.contains(function), "{wide}");
    }
}
