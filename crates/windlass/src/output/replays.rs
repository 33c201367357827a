//! Replays: a table of all, and one with its shards.

use serde_json::Value;
use windlass_admin::replays::ReplayReport;

use super::table::{self, Column, Narrow, resource, tail, terminal_width};
use super::{print, serialize, text};
use crate::cli::OutputFormat;

pub(crate) fn replays(format: OutputFormat, replays: &[Value]) -> anyhow::Result<()> {
    if format != OutputFormat::Table {
        return print(&serialize(format, &replays)?);
    }
    if replays.is_empty() {
        return print("no replays");
    }
    let mut columns = [
        Column::new("name", Narrow::Keep),
        Column::new("state", Narrow::Keep),
        Column::new("done", Narrow::Keep),
        Column::new("delivered", Narrow::Keep),
        Column::new("source", Narrow::Shorten(resource)),
        Column::new("function", Narrow::Shorten(resource)),
        Column::new("created", Narrow::Drop),
        Column::new("reason", Narrow::Drop),
    ];
    for replay in replays {
        let row = [
            text(&replay["name"]),
            text(&replay["state"]),
            percent(replay["fraction"].as_f64().unwrap_or_default()),
            text(&replay["delivered"]),
            text(&replay["event_source_arn"]),
            text(&replay["function_arn"]),
            text(&replay["created_at"]),
            text(&replay["reason"]),
        ];
        table::push(&mut columns, row);
    }
    print(&table::render(columns, terminal_width()))
}

/// One member a line, followed by a table of the shards.
pub(crate) fn replay(
    format: OutputFormat,
    replay: &Value,
    report: &ReplayReport,
) -> anyhow::Result<()> {
    if format != OutputFormat::Table {
        return print(&serialize(format, replay)?);
    }
    let mut columns = ["member", "value"].map(|name| Column::new(name, Narrow::Keep));
    if let Value::Object(members) = replay {
        for (name, value) in members {
            let value = match name.as_str() {
                "shards" => continue,
                "fraction" => percent(report.fraction),
                "from" | "to" => place(value),
                _ => text(value),
            };
            table::push(&mut columns, [name.clone(), value]);
        }
    }
    let mut shown = table::render(columns, None);
    if !report.shards.is_empty() {
        shown.push_str("\n\n");
        shown.push_str(&shards(report));
    }
    print(&shown)
}

fn shards(report: &ReplayReport) -> String {
    let mut columns = [
        Column::new("shard", Narrow::Keep),
        Column::new("state", Narrow::Keep),
        Column::new("delivered", Narrow::Keep),
        Column::new("reached", Narrow::Drop),
        Column::new("position", Narrow::Shorten(tail)),
    ];
    for shard in &report.shards {
        let row = [
            shard.shard_id.clone(),
            shard.state.clone(),
            shard.delivered.to_string(),
            shard.reached.clone().unwrap_or_default(),
            super::status::position(&shard.position),
        ];
        table::push(&mut columns, row);
    }
    table::render(columns, terminal_width())
}

/// A line for each shard.
pub(crate) fn dry_run(format: OutputFormat, answer: &Value) -> anyhow::Result<()> {
    let mut columns = [
        Column::new("shard", Narrow::Keep),
        Column::new("records", Narrow::Keep),
        Column::new("matching", Narrow::Keep),
        Column::new("batches", Narrow::Keep),
        Column::new("bytes", Narrow::Keep),
        Column::new("first arrival", Narrow::Drop),
        Column::new("last arrival", Narrow::Drop),
    ];
    let shards = answer["shards"].as_array().map_or(&[][..], Vec::as_slice);
    for shard in shards {
        let row = [
            "shard_id",
            "records",
            "matching",
            "batches",
            "bytes",
            "first_arrival",
            "last_arrival",
        ];
        table::push(&mut columns, row.map(|member| text(&shard[member])));
    }
    super::answer(format, answer, &table::render(columns, terminal_width()))
}

fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

/// As the command line spells it.
fn place(value: &Value) -> String {
    let place = windlass_core::place::Place::from_json(value);
    place.map_or_else(|_| value.to_string(), |place| place.to_string())
}
