//! Lists of mappings: those of the configuration, and files of their own.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use windlass_admin::{ConfigMapping, ConfigMappingError, MappingProblem};
use windlass_core::arn::ArnScope;
use windlass_core::time::Timestamp;
use windlass_engine::clock::Clock;

use super::error::{ConfigError, Errors};
use super::reader::{Field, Section};
use super::yaml::{self, Found, Node, VALUE_OF_A_VARIABLE, Value};

const EXPECTED: &str = "a list of mappings, or the key 'mappings' with one";

const MAPPINGS: &str = "mappings";

/// A mapping of a file of its own.
#[derive(Debug)]
pub(crate) struct ListedMapping {
    /// From 1.
    pub(crate) line: u32,
    pub(crate) members: serde_json::Value,
}

/// Reads a list of mappings, or a file with one under the key `mappings`, and checks what needs no
/// daemon.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn listed_mappings(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<ListedMapping>, Vec<ConfigError>> {
    let errors = Errors::default();
    let root = yaml::parse(text, variable, &errors);
    let list = root.as_ref().map(|root| {
        let found = root.find(MAPPINGS);
        match found.is_member {
            true => Field::root(found.node, MAPPINGS, &errors),
            false => Field::root(root, "", &errors),
        }
    });
    // Whatever names mean: only the daemon knows its region and account, and finds equal pairs.
    let home = ArnScope {
        partition: "aws".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "000000000000".to_owned(),
    };
    let list = list
        .map(|list| checked(&list, EXPECTED, &home))
        .unwrap_or_default();
    let listed = list.into_iter().map(|(item, _)| ListedMapping {
        line: item.node.line,
        members: item.node.to_json(),
    });
    let listed = listed.collect();
    let errors = errors.into_sorted();
    match errors.is_empty() {
        true => Ok(listed),
        false => Err(errors),
    }
}

/// The mappings of the configuration.
pub(super) fn read(file: &mut Section<'_>, home: &ArnScope) -> Vec<ConfigMapping> {
    let Some(field) = file.take(MAPPINGS) else {
        return Vec::new();
    };
    let (mut mappings, mut lines) = (Vec::new(), HashMap::new());
    for (item, mapping) in checked(&field, "a list", home) {
        let line = item.node.line;
        match lines.entry(mapping.pair()) {
            Entry::Vacant(entry) => drop(entry.insert(line)),
            Entry::Occupied(first) => item.error(format!(
                "the mapping on line {} has the same source and function",
                first.get()
            )),
        }
        mappings.push(mapping);
    }
    mappings
}

/// The mappings of a list that are valid; the others are reported.
fn checked<'a>(list: &Field<'a>, what: &str, home: &ArnScope) -> Vec<(Field<'a>, ConfigMapping)> {
    let Value::List(items) = &list.node.value else {
        list.expected_collection(what);
        return Vec::new();
    };
    let now = Clock::start().wall();
    let items = items.iter().enumerate().filter_map(|(index, item)| {
        let item = list.child(item, &format!("[{index}]"));
        let mapping = mapping(&item, home, now)?;
        Some((item, mapping))
    });
    items.collect()
}

/// A mapping whose members are reported with their own lines.
fn mapping(item: &Field<'_>, home: &ArnScope, now: Timestamp) -> Option<ConfigMapping> {
    let Value::Map(members) = &item.node.value else {
        item.expected_collection("the members of CreateEventSourceMapping");
        return None;
    };
    let location = format!("{} (line {})", item.path, item.node.line);
    match ConfigMapping::parse(&location, &yaml::entries_to_json(members), home, now) {
        Ok(mapping) => Some(mapping),
        Err(violations) => {
            for error in violations {
                let found = item.node.find(&error.member);
                // A variable that is not set was reported already.
                if found.node.value != Value::Unset {
                    item.error_at(found.line, mapping_error(item.node, &error, &found));
                }
            }
            None
        }
    }
}

/// The member with its value, and what is wrong with it.
fn mapping_error(mapping: &Node, error: &ConfigMappingError, found: &Found<'_>) -> String {
    let member = &error.member;
    let shown = found.node.shown().filter(|_| found.is_member);
    let text = match (&error.problem, &shown) {
        (MappingProblem::Expected(what), Some(value)) => {
            return format!("{member} {value} is not {what}");
        }
        (MappingProblem::Expected(what), None) => {
            let found = if found.is_member {
                found.node.describe()
            } else {
                "nothing"
            };
            format!("expected {what}, found {found}")
        }
        (MappingProblem::Violation { message, detail }, _) => match detail {
            // It quotes the value.
            Some(detail) if !found.node.is_from_variable => format!("{message} {detail}"),
            _ => message.clone(),
        },
    };
    // AWS's texts may contain the source.
    let source = mapping.find("EventSourceArn").node;
    let text = match source.text().filter(|_| source.is_from_variable) {
        Some(arn) => text.replace(arn, VALUE_OF_A_VARIABLE),
        None => text,
    };
    match shown {
        Some(value) => format!("{member} {value}: {text}"),
        None => format!("{member}: {text}"),
    }
}
