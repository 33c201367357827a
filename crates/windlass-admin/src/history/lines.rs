//! The lines that requests leave in the history.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use uuid::Uuid;
use windlass_core::mapping::{DesiredState, MappingId, MappingRow};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{HistoryId, HistoryLine, What};

use crate::rendering;

/// A line that names neither what was before nor what is after; the caller fills in what there is.
pub(crate) fn line(
    time: Timestamp,
    who: &str,
    what: What,
    mapping: Option<&MappingId>,
) -> HistoryLine {
    HistoryLine {
        id: HistoryId(Uuid::new_v4().as_u128()),
        time,
        who: who.to_owned(),
        what,
        mapping: mapping.cloned(),
        before: Value::Null,
        after: Value::Null,
    }
}

/// The line of a mapping that is created, updated or deleted; `None` if nothing about it changes. A
/// mapping that was being deleted is created again.
pub(crate) fn mapping_line(
    time: Timestamp,
    who: &str,
    before: Option<&MappingRow>,
    after: &MappingRow,
) -> Option<HistoryLine> {
    let before = before.filter(|row| row.desired != DesiredState::Deleted);
    let new = |what| line(time, who, what, Some(&after.id));
    let Some(before) = before else {
        return Some(HistoryLine {
            after: Value::Object(members(after)),
            ..new(What::Create)
        });
    };
    if after.desired == DesiredState::Deleted {
        return Some(HistoryLine {
            before: Value::Object(members(before)),
            ..new(What::Delete)
        });
    }
    let (old, new_members) = (members(before), members(after));
    let names = old.keys().chain(new_members.keys());
    let changed: BTreeSet<&String> = names
        .filter(|name| old.get(*name) != new_members.get(*name))
        .collect();
    // A member that only one of them has is null in the other.
    let of = |members: &Map<String, Value>| {
        let members = changed.iter().map(|name| {
            let value = members.get(*name).cloned();
            ((*name).clone(), value.unwrap_or_default())
        });
        Value::Object(members.collect())
    };
    (!changed.is_empty()).then(|| HistoryLine {
        before: of(&old),
        after: of(&new_members),
        ..new(What::Update)
    })
}

/// The members of a mapping that a user may set.
fn members(row: &MappingRow) -> Map<String, Value> {
    let mut members = rendering::parameters(row);
    let is_enabled = row.desired == DesiredState::Enabled;
    members.insert("Enabled".to_owned(), json!(is_enabled));
    members.insert("FunctionArn".to_owned(), json!(row.function_arn.as_str()));
    members
}
