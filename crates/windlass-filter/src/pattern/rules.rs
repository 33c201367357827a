//! Parses a pattern into rules: a rule is one way to match, all of whose conditions must be met.
//!
//! A pattern without `$or` is one rule. Each branch of an `$or` extends a copy of the rules so far.
//! Of two conditions on one field, inside a branch or outside, the later one wins. AWS's compiler
//! does the same.
//!
//! <https://github.com/aws/event-ruler#or-matching>

use std::collections::BTreeMap;
use std::rc::Rc;

use super::document::{self, Kind, Member, Value};
use super::error::PatternError;
use super::operators::value_test;
use crate::compiled::value_test::ValueTest;

/// Maximum number of rules into which the `$or` of one pattern expand.
///
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>
pub const MAX_COMBINATIONS: usize = 1_000;

/// Maximum number of fields of one rule; AWS's matcher has the same limit.
pub const MAX_FIELDS: usize = 256;

/// What a pattern requires of one field.
#[derive(Debug)]
pub(crate) struct ParsedCondition {
    /// The field names that lead to it, separated by dots.
    pub(crate) path: Rc<str>,
    /// Alternatives: one is enough.
    pub(crate) tests: Vec<ValueTest>,
    /// Whether the field may be absent: `{"exists": false}` is one of the alternatives.
    pub(crate) allows_absent: bool,
    /// The array in the pattern, for people.
    pub(crate) text: String,
    /// Offset in the pattern.
    pub(crate) offset: usize,
}

/// Conditions by path.
pub(crate) type ParsedRule = BTreeMap<Rc<str>, Rc<ParsedCondition>>;

/// Field names that AWS reserves inside `$or`.
const RESERVED: [&str; 24] = [
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

/// Parses a pattern into at least one rule; each has at least one condition.
///
/// # Errors
/// The first error of the pattern.
pub(crate) fn parse(text: &str) -> Result<Vec<ParsedRule>, PatternError> {
    let pattern = document::parse(text)?;
    let Kind::Object(members) = &pattern.kind else {
        let reason = "a pattern must be a JSON object: {\"field\": [\"value\"]}";
        return Err(PatternError::new(pattern.offset, reason));
    };
    let mut parser = Parser {
        text,
        path: Vec::new(),
    };
    let mut rules = Vec::new();
    parser.object(&pattern, members, &mut rules, false)?;
    Ok(rules)
}

struct Parser<'t> {
    text: &'t str,
    path: Vec<String>,
}

impl Parser<'_> {
    fn object(
        &mut self,
        object: &Value,
        members: &[Member],
        rules: &mut Vec<ParsedRule>,
        inside_or: bool,
    ) -> Result<(), PatternError> {
        if members.is_empty() {
            return Err(self.error(object.offset, "an object needs at least one field"));
        }
        for member in members {
            if member.name == "$or" {
                self.or(member, rules)?;
                continue;
            }
            if inside_or && RESERVED.contains(&member.name.as_str()) {
                let reason = format!("a field inside `$or` must not be named `{}`", member.name);
                return Err(self.error(member.offset, &reason));
            }
            self.path.push(member.name.clone());
            match &member.value.kind {
                Kind::Object(members) => self.object(&member.value, members, rules, inside_or)?,
                Kind::Array(values) => self.condition(&member.value, values, rules)?,
                Kind::Null | Kind::Boolean(_) | Kind::Number(_) | Kind::String(_) => {
                    let reason = "a field takes an array of values or an object of fields";
                    return Err(self.error(member.value.offset, reason));
                }
            }
            self.path.pop();
        }
        Ok(())
    }

    fn or(&mut self, member: &Member, rules: &mut Vec<ParsedRule>) -> Result<(), PatternError> {
        let Kind::Array(branches) = &member.value.kind else {
            return Err(self.error(member.value.offset, "`$or` takes an array of objects"));
        };
        if branches.len() < 2 {
            return Err(self.error(member.value.offset, "`$or` takes at least two objects"));
        }
        let before = std::mem::take(rules);
        for branch in branches {
            let Kind::Object(members) = &branch.kind else {
                return Err(self.error(branch.offset, "`$or` takes an array of objects"));
            };
            let mut own = before.clone();
            self.object(branch, members, &mut own, true)?;
            rules.append(&mut own);
            if MAX_COMBINATIONS < rules.len() {
                let reason = format!("`$or` expands to more than {MAX_COMBINATIONS} combinations");
                return Err(self.error(branch.offset, &reason));
            }
        }
        Ok(())
    }

    fn condition(
        &self,
        value: &Value,
        values: &[Value],
        rules: &mut Vec<ParsedRule>,
    ) -> Result<(), PatternError> {
        if values.is_empty() {
            return Err(self.error(value.offset, "an empty array matches nothing"));
        }
        let (mut tests, mut allows_absent) = (Vec::new(), false);
        for value in values {
            match value_test(value).map_err(|error| error.in_field(&self.path()))? {
                Some(test) => tests.push(test),
                None => allows_absent = true,
            }
        }
        let condition = Rc::new(ParsedCondition {
            path: self.path().into(),
            tests,
            allows_absent,
            text: self.text[value.offset..value.end].to_owned(),
            offset: value.offset,
        });
        if rules.is_empty() {
            rules.push(ParsedRule::new());
        }
        for rule in rules {
            rule.insert(Rc::clone(&condition.path), Rc::clone(&condition));
            if MAX_FIELDS < rule.len() {
                let reason = format!("more than {MAX_FIELDS} fields");
                return Err(self.error(value.offset, &reason));
            }
        }
        Ok(())
    }

    fn path(&self) -> String {
        self.path.join(".")
    }

    fn error(&self, offset: usize, reason: &str) -> PatternError {
        PatternError::new(offset, reason).in_field(&self.path())
    }
}
