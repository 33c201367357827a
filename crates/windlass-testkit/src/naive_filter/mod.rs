//! A second implementation of event patterns, as slow and as obvious as possible.
//!
//! Tests compare `windlass-filter` with it: independent implementations rarely share a bug. So it
//! shares no code with the product, and always does things the plain way rather than the fast one.
//! `tests/interop/event_ruler.rs` compares it with event-ruler, AWS's own matcher.
//!
//! A pattern becomes a list of sub-rules, each a map from paths to tests of values; an event becomes
//! a list of leaves. The pattern matches if a sub-rule finds leaves that satisfy all its fields and
//! that are not in different elements of one array.

pub(crate) mod address;
pub(crate) mod json;

mod leaf;
mod number;
pub(crate) mod rules;
mod text;
mod value;

use self::leaf::{Leaf, Memberships, leaves_of};
use self::rules::SubRule;
use self::value::Test;

/// A valid pattern.
#[derive(Clone, Debug)]
pub struct NaivePattern {
    sub_rules: Vec<SubRule>,
}

/// Parses a pattern.
///
/// # Errors
/// Why the pattern is invalid.
pub fn compile(pattern: &str) -> Result<NaivePattern, String> {
    let json = json::parse_beginning(pattern)?;
    let sub_rules = rules::sub_rules_of(&json)?;
    Ok(NaivePattern { sub_rules })
}

impl NaivePattern {
    /// Whether an event matches. Text that is not a JSON object never does.
    pub fn matches(&self, event: &str) -> bool {
        let Ok(json) = json::parse(event) else {
            return false;
        };
        let Some(leaves) = leaves_of(&json) else {
            return false;
        };
        self.sub_rules.iter().any(|sub_rule| {
            let fields: Vec<(&str, &[Test])> = sub_rule.fields();
            satisfied(&fields, &leaves, &Memberships::default())
        })
    }
}

/// Whether leaves can be chosen for all `fields`, given the leaves `chosen` for previous fields.
///
/// A field that may be absent is absent if no leaf is compatible with those chosen so far; the fields
/// after it do not matter. event-ruler does the same.
fn satisfied(fields: &[(&str, &[Test])], leaves: &[Leaf], chosen: &Memberships) -> bool {
    let Some(((path, tests), rest)) = fields.split_first() else {
        return true;
    };
    let candidates: Vec<&Leaf> = leaves
        .iter()
        .filter(|leaf| leaf.path == *path && leaf.memberships.is_compatible_with(chosen))
        .collect();
    if candidates.is_empty() {
        return tests.contains(&Test::Absent) && satisfied(rest, leaves, chosen);
    }
    candidates.iter().any(|leaf| {
        tests.iter().any(|test| test.accepts(&leaf.value))
            && satisfied(rest, leaves, &chosen.union(&leaf.memberships))
    })
}
