//! Explains to people why an event does not match.

use super::match_state::ObservedValue;
use super::matching::{DataKind, Event, MatchBuffers, matches};
use crate::compiled::filters::{CompiledFilters, Condition, Part};

/// Longer values are shortened to this number of characters.
const MAX_SHOWN_CHARS: usize = 60;

/// The result of filters and what decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the event matches one of the patterns.
    pub matches: bool,
    /// For each pattern, the fields that do not match. Empty for a pattern that matches.
    pub mismatches: Vec<Vec<String>>,
}

/// Why an event does not match a single pattern: the mismatches of the rule that comes closest.
/// Empty if the event matches.
pub(crate) fn mismatches(filters: &CompiledFilters, event: Event<'_>) -> Vec<String> {
    let mut buffers = MatchBuffers::default();
    buffers.state.record_values();
    if matches(filters, event, &mut buffers) {
        return Vec::new();
    }
    if buffers.is_not_an_object {
        return vec!["the event is not a JSON object".to_owned()];
    }
    let unmet = |rule: &[usize]| -> Vec<usize> {
        let is_unmet = |it: &usize| !buffers.state.is_met(filters, *it);
        rule.iter().copied().filter(is_unmet).collect()
    };
    let closest = filters.rules.iter().min_by_key(|rule| unmet(rule).len());
    let closest = closest.expect("a pattern has at least one rule");
    let mut mismatches: Vec<String> = unmet(closest)
        .into_iter()
        .map(|condition| mismatch(filters, &filters.conditions[condition], &buffers))
        .collect();
    if mismatches.is_empty() {
        mismatches.push(joint_mismatch(filters, closest, &buffers));
    }
    mismatches
}

fn mismatch(filters: &CompiledFilters, condition: &Condition, buffers: &MatchBuffers) -> String {
    let path = shown_path(&condition.path);
    let value = observed_value(filters, condition, buffers);
    format!("{path} {value}, but the pattern expects {}", condition.text)
}

/// Why a rule does not hold although each of its conditions is met.
fn joint_mismatch(filters: &CompiledFilters, rule: &[usize], buffers: &MatchBuffers) -> String {
    let name = filters.format.data_name();
    let is_about_plain_data = |it: &usize| filters.conditions[*it].part == Part::PlainData;
    match buffers.data {
        Some(DataKind::NotJson) => {
            format!("the {name} is not JSON, but the pattern expects fields in it")
        }
        Some(DataKind::Container) if rule.iter().any(is_about_plain_data) => {
            format!("the {name} is JSON, but the pattern expects plain text")
        }
        Some(_) | None => {
            let paths = rule
                .iter()
                .map(|it| shown_path(&filters.conditions[*it].path));
            let paths: Vec<&str> = paths.collect();
            let paths = paths.join(", ");
            format!("no single array element has all of {paths}")
        }
    }
}

/// The value of a condition's field, as a predicate.
fn observed_value(
    filters: &CompiledFilters,
    condition: &Condition,
    buffers: &MatchBuffers,
) -> String {
    let observations = buffers.state.observations().iter();
    let of_field = observations.filter(|it| Some(it.node) == condition.node);
    let mut values: Vec<String> = Vec::new();
    let mut container = None;
    for observation in of_field {
        match &observation.value {
            ObservedValue::Object => container = Some("is an object"),
            ObservedValue::Array => {
                container = container.or(Some("is an array without such a value"));
            }
            ObservedValue::Leaf(json) => values.push(shorten(json)),
        }
    }
    match (values.as_slice(), container) {
        ([], Some(container)) => container.to_owned(),
        ([], None) => absence(filters, condition, buffers),
        (values, _) => format!("is {}", values.join(" and ")),
    }
}

fn absence(filters: &CompiledFilters, condition: &Condition, buffers: &MatchBuffers) -> String {
    let name = filters.format.data_name();
    match (buffers.data, condition.part) {
        (Some(DataKind::NotJson), Part::Data) => {
            format!("is unavailable because the {name} is not JSON")
        }
        (Some(DataKind::Container), Part::PlainData) => "is JSON, not plain text".to_owned(),
        (Some(_), Part::PlainData) => {
            let string = buffers.plain_data.as_deref().unwrap_or_default();
            format!("is {}", shorten(string))
        }
        (Some(_) | None, _) => "is missing".to_owned(),
    }
}

fn shown_path(path: &str) -> &str {
    if path.is_empty() { "\"\"" } else { path }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
