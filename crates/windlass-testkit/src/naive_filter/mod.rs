//! Event patterns a second time, as slow and as obvious as possible.
//!
//! The filters of the program are judged against this one: two implementations that were written
//! apart from each other rarely share a mistake. So nothing here is taken from the program, and
//! where a fast way and a plain way exist, this takes the plain one. It is itself held against
//! AWS's own library by `tests/interop/event_ruler.rs`.
//!
//! A pattern becomes a list of sub-rules, each a map from a path to tests of values; an event
//! becomes a list of leaves. The pattern matches if one of its sub-rules finds leaves that satisfy
//! all its fields and that do not lie in different elements of one array.

pub(crate) mod address;
pub(crate) mod json;

mod leaf;
mod number;
pub(crate) mod rules;
mod text;
mod value;

#[cfg(test)]
mod tests;

use self::leaf::{Leaf, Memberships, leaves_of};
use self::rules::SubRule;
use self::value::Test;

/// A pattern that was found valid.
#[derive(Clone, Debug)]
pub struct NaivePattern {
    sub_rules: Vec<SubRule>,
}

/// Reads a pattern.
///
/// # Errors
/// If the pattern is not valid; the text says why.
pub fn compile(pattern: &str) -> Result<NaivePattern, String> {
    let json = json::parse_beginning(pattern)?;
    let sub_rules = rules::sub_rules_of(&json)?;
    Ok(NaivePattern { sub_rules })
}

impl NaivePattern {
    /// Whether an event matches. What is not a JSON object never does.
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

/// Whether leaves can be chosen for all fields, after others were chosen for the fields before.
///
/// A field that may be absent is absent if no leaf agrees with what is chosen so far; what will be
/// chosen for the fields after it does not count. That is how AWS's library has it.
fn satisfied(fields: &[(&str, &[Test])], leaves: &[Leaf], chosen: &Memberships) -> bool {
    let Some(((path, tests), rest)) = fields.split_first() else {
        return true;
    };
    let candidates: Vec<&Leaf> = leaves
        .iter()
        .filter(|leaf| leaf.path == *path && leaf.memberships.agree_with(chosen))
        .collect();
    if candidates.is_empty() {
        return tests.contains(&Test::Absent) && satisfied(rest, leaves, chosen);
    }
    candidates.iter().any(|leaf| {
        tests.iter().any(|test| test.accepts(&leaf.value))
            && satisfied(rest, leaves, &chosen.with(&leaf.memberships))
    })
}
