//! What the client commands print: tables for people, JSON and YAML for programs.

use std::io::Write;

use anyhow::Context;
use serde_json::Value;

use crate::cli::OutputFormat;

mod status;
mod table;

pub(crate) use status::{Look, Rates, status_table};
pub(crate) use table::terminal_width;

use table::{Column, Narrow, resource};

/// Prints text; a closed pipe is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    show(text).map(drop)
}

/// Prints text; whether somebody still reads it.
pub(crate) fn show(text: &str) -> anyhow::Result<bool> {
    let written = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).context("writing to standard output"),
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

/// Prints one mapping, a member a line.
pub(crate) fn mapping(format: OutputFormat, mapping: &Value) -> anyhow::Result<()> {
    if format != OutputFormat::Table {
        return structured(format, mapping);
    }
    let mut columns = ["Member", "Value"].map(|name| Column::new(name, Narrow::Keep));
    if let Value::Object(members) = mapping {
        for (name, value) in members {
            table::push(&mut columns, [name.clone(), text(value)]);
        }
    }
    print(&table::render(columns, None))
}

/// What mappings are doing, in one of the forms for programs, or as tables.
pub(crate) fn statuses(
    format: OutputFormat,
    statuses: &[Value],
    rates: &Rates,
) -> anyhow::Result<String> {
    let value = || Value::from(statuses.to_vec());
    Ok(match format {
        OutputFormat::Table => status_table(statuses, rates, terminal_width()),
        OutputFormat::Json | OutputFormat::Yaml => written(format, &value())?,
    })
}

fn structured(format: OutputFormat, value: &Value) -> anyhow::Result<()> {
    print(&written(format, value)?)
}

fn written(format: OutputFormat, value: &Value) -> anyhow::Result<String> {
    match format {
        OutputFormat::Yaml => serde_saphyr::to_string(value).context("writing the answer as YAML"),
        OutputFormat::Json | OutputFormat::Table => {
            serde_json::to_string_pretty(value).context("writing the answer as JSON")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_mappings_breaks_no_identifier() {
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
