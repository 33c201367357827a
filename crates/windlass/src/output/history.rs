//! The table of the history.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use windlass_admin::report::MappingReport;

use super::status::{label_of, uuid_prefix};
use super::table::{self, Column, Narrow};
use super::{label, text};

/// A longer value is cut.
const MAX_VALUE_LENGTH: usize = 40;

/// Tables of pages of the history, the latest first.
pub(crate) struct HistoryTable {
    /// Of the mappings that are known so far, by UUID.
    labels: BTreeMap<String, String>,
}

impl HistoryTable {
    /// `reports` name the mappings that exist; those that were deleted are named by their own lines.
    pub(crate) fn new(reports: &[MappingReport]) -> Self {
        let labels = reports.iter().map(|it| (it.uuid.clone(), label(it)));
        Self {
            labels: labels.collect(),
        }
    }

    pub(crate) fn page(&mut self, lines: &[Value], width: Option<usize>) -> String {
        add_labels(&mut self.labels, lines);
        table(&self.labels, lines, width)
    }
}

fn add_labels(labels: &mut BTreeMap<String, String>, lines: &[Value]) {
    for line in lines {
        for members in [&line["before"], &line["after"]] {
            if let (Some(uuid), Some(source), Some(function)) = (
                line["mapping"].as_str(),
                members["EventSourceArn"].as_str(),
                members["FunctionArn"].as_str(),
            ) {
                let label = label_of(source, function);
                labels.entry(uuid.to_owned()).or_insert(label);
            }
        }
    }
}

fn table(labels: &BTreeMap<String, String>, lines: &[Value], width: Option<usize>) -> String {
    let mut columns = [
        Column::new("time", Narrow::Keep),
        Column::new("who", Narrow::Keep),
        Column::new("what", Narrow::Keep),
        Column::new("mapping", Narrow::Keep),
        Column::new("UUID", Narrow::Shorten(uuid_prefix)),
        Column::new("changed", Narrow::Drop),
    ];
    for line in lines {
        let uuid = text(&line["mapping"]);
        let row = [
            text(&line["time"]),
            text(&line["who"]),
            text(&line["what"]),
            labels.get(&uuid).cloned().unwrap_or_default(),
            uuid,
            changes(&line["before"], &line["after"]),
        ];
        table::push(&mut columns, row);
    }
    table::render(columns, width)
}

/// What differs, on one line. What was created or removed as a whole is named by the other columns.
fn changes(before: &Value, after: &Value) -> String {
    let none = Map::new();
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (before, after) = match (before, after) {
        (Value::Object(before), Value::Object(after)) => (before.clone(), after.clone()),
        (_, after) if after["EventSourceArn"].is_null() => (none, members(after)),
        _ => return String::new(),
    };
    let names = after
        .keys()
        .chain(before.keys().filter(|it| !after.contains_key(*it)));
    let changes = names.filter_map(|name| {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            return None;
        }
        let new = new.map(cut).unwrap_or_default();
        Some(match old {
            Some(old) => format!("{name}: {} → {new}", cut(old)),
            None => format!("{name}: {new}"),
        })
    });
    changes.collect::<Vec<_>>().join(", ")
}

fn cut(value: &Value) -> String {
    let text = match value.is_null() {
        true => "none".to_owned(),
        false => text(value),
    };
    if text.chars().count() <= MAX_VALUE_LENGTH {
        return text;
    }
    let start: String = text.chars().take(MAX_VALUE_LENGTH - 1).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_names_its_mapping_and_what_has_changed() {
        let uuid = "14e0db71-5d35-4eb5-b481-8945cf9d10c2";
        let (source, function) = (
            "arn:aws:kinesis:us-east-1:000000000000:stream/orders",
            "arn:aws:lambda:us-east-1:000000000000:function:resize",
        );
        let members = json!({"EventSourceArn": source, "FunctionArn": function, "BatchSize": 5});
        let line = |what: &str, before: &Value, after: &Value| {
            json!({
                "time": "2026-11-23T12:00:00.000Z", "who": "ADMIN", "what": what, "mapping": uuid,
                "before": before, "after": after,
            })
        };
        let lines = [
            line("delete", &members, &Value::Null),
            line(
                "update",
                &json!({"BatchSize": 10, "FilterCriteria": null}),
                &json!({"BatchSize": 5, "FilterCriteria": "x".repeat(50)}),
            ),
            line("park", &Value::Null, &json!({"reason": "late"})),
        ];
        let shown = HistoryTable::new(&[]).page(&lines, None);
        let rows: Vec<_> = shown.lines().skip(1).collect();
        for (row, changed) in rows.iter().zip([
            uuid,
            &format!(
                "BatchSize: 10 → 5, FilterCriteria: none → {}…",
                "x".repeat(39)
            ),
            "reason: late",
        ]) {
            assert!(
                row.contains("ADMIN") && row.contains("kinesis orders → resize"),
                "{row}"
            );
            assert!(row.ends_with(changed), "{row}");
        }
        let narrow = HistoryTable::new(&[]).page(&lines, Some(90));
        assert!(
            narrow.lines().all(|line| line.chars().count() <= 90),
            "{narrow}"
        );
    }
}
