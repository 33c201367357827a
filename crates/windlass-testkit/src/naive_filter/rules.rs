//! Turns a pattern into sub-rules. An event must satisfy one of them.

use std::collections::BTreeMap;

use super::json::Json;
use super::value::{Test, tests_of};

const OR: &str = "$or";

/// Sub-rules of one pattern: `$or` multiplies them.
const MAX_SUB_RULES: usize = 1000;

/// Fields of one sub-rule; event-ruler has the same limit.
const MAX_FIELDS: usize = 256;

/// Field names that are reserved inside `$or`, so that no operator can be mistaken for a field.
pub(crate) const RESERVED: [&str; 24] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];

/// Fields that must be satisfied together.
#[derive(Clone, Debug, Default)]
pub(super) struct SubRule(BTreeMap<String, Vec<Test>>);

impl SubRule {
    /// The fields in the order of Java's strings, UTF-16, in which event-ruler visits them.
    pub(super) fn fields(&self) -> Vec<(&str, &[Test])> {
        let mut fields: Vec<(&str, &[Test])> = self
            .0
            .iter()
            .map(|(path, tests)| (path.as_str(), tests.as_slice()))
            .collect();
        fields.sort_by_key(|(path, _)| path.encode_utf16().collect::<Vec<u16>>());
        fields
    }
}

/// The sub-rules of a pattern.
pub(super) fn sub_rules_of(pattern: &Json) -> Result<Vec<SubRule>, String> {
    let Json::Object(members) = pattern else {
        return Err("a pattern is an object".to_owned());
    };
    let mut sub_rules = vec![SubRule::default()];
    add_members(&mut sub_rules, &[], members, false)?;
    if sub_rules
        .iter()
        .any(|sub_rule| MAX_FIELDS < sub_rule.0.len())
    {
        return Err(format!("more than {MAX_FIELDS} fields"));
    }
    Ok(sub_rules)
}

/// Adds the fields of an object, in the order of the text, to every sub-rule so far.
fn add_members(
    sub_rules: &mut Vec<SubRule>,
    names: &[&str],
    members: &[(String, Json)],
    inside_or: bool,
) -> Result<(), String> {
    if members.is_empty() {
        return Err("an object is empty".to_owned());
    }
    for (name, value) in members {
        if name == OR {
            add_branches(sub_rules, names, value)?;
            continue;
        }
        if inside_or && RESERVED.contains(&name.as_str()) {
            return Err(format!("`{name}` is reserved inside {OR}"));
        }
        let names = [names, &[name.as_str()]].concat();
        match value {
            Json::Object(members) => add_members(sub_rules, &names, members, inside_or)?,
            Json::Array(elements) => {
                let tests = tests_of(elements)?;
                for sub_rule in sub_rules.iter_mut() {
                    sub_rule.0.insert(names.join("."), tests.clone());
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => {
                return Err(format!("`{name}` is neither an object nor an array"));
            }
        }
    }
    Ok(())
}

/// Adds each branch of `$or` to a copy of the sub-rules so far.
fn add_branches(
    sub_rules: &mut Vec<SubRule>,
    names: &[&str],
    branches: &Json,
) -> Result<(), String> {
    let Json::Array(branches) = branches else {
        return Err(format!("{OR} is not an array"));
    };
    if branches.len() < 2 {
        return Err(format!("{OR} has fewer than two branches"));
    }
    let mut all = Vec::new();
    for branch in branches {
        let Json::Object(members) = branch else {
            return Err(format!("a branch of {OR} is not an object"));
        };
        let mut copy = sub_rules.clone();
        add_members(&mut copy, names, members, true)?;
        all.extend(copy);
        if MAX_SUB_RULES < all.len() {
            return Err(format!("more than {MAX_SUB_RULES} sub-rules"));
        }
    }
    *sub_rules = all;
    Ok(())
}
