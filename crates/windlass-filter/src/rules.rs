//! From the text of a pattern to rules: what must hold of which fields, for one way to match.
//!
//! A pattern without `$or` is one rule. Each branch of a `$or` goes on with a copy of the rules
//! there are; of two conditions on one field, within a branch or outside, the later counts. All of
//! this is as AWS's compiler does it.
//!
//! <https://github.com/aws/event-ruler#or-matching>

use std::collections::BTreeMap;
use std::rc::Rc;

use super::json::{self, Kind, Member, Value};
use super::operator::alternative;
use super::value::ValueTest;
use super::{MAXIMUM_FIELDS, MAXIMUM_RULES, PatternError};

/// What a pattern says of one field, in one place of its text.
#[derive(Debug)]
pub(super) struct Condition {
    /// The names on the way to it, each behind a dot.
    pub(super) path: Rc<str>,
    /// Any of them is enough.
    pub(super) tests: Vec<ValueTest>,
    /// Whether it is enough that the field is not there.
    pub(super) absent: bool,
    /// What stands in the pattern, for people.
    pub(super) text: String,
    /// Where in the pattern.
    pub(super) at: usize,
}

/// The conditions of one way to match, by their fields.
pub(super) type Rule = BTreeMap<Rc<str>, Rc<Condition>>;

/// The member names that AWS keeps for itself within `$or`.
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

/// Reads a pattern. There is at least one rule, and each has at least one condition.
///
/// # Errors
/// What is wrong with it first.
pub(super) fn compile(text: &str) -> Result<Vec<Rule>, PatternError> {
    let pattern = json::parse(text)?;
    let Kind::Object(members) = &pattern.kind else {
        let reason = "a pattern is an object: {\"field\": [\"value\"]}";
        return Err(PatternError::new(pattern.at, reason));
    };
    let mut compiler = Compiler {
        text,
        path: Vec::new(),
    };
    let mut rules = Vec::new();
    compiler.object(&pattern, members, &mut rules, false)?;
    Ok(rules)
}

struct Compiler<'t> {
    text: &'t str,
    path: Vec<String>,
}

impl Compiler<'_> {
    fn object(
        &mut self,
        object: &Value,
        members: &[Member],
        rules: &mut Vec<Rule>,
        within_or: bool,
    ) -> Result<(), PatternError> {
        if members.is_empty() {
            return Err(self.error(object.at, "an object without fields says nothing"));
        }
        for member in members {
            if member.name == "$or" {
                self.or(member, rules)?;
                continue;
            }
            if within_or && RESERVED.contains(&member.name.as_str()) {
                let reason = format!("within `$or` no field may be called `{}`", member.name);
                return Err(self.error(member.at, &reason));
            }
            self.path.push(member.name.clone());
            match &member.value.kind {
                Kind::Object(members) => self.object(&member.value, members, rules, within_or)?,
                Kind::Array(values) => self.condition(&member.value, values, rules)?,
                Kind::Null | Kind::Boolean(_) | Kind::Number(_) | Kind::String(_) => {
                    let reason = "a field takes a list of values, or an object of fields";
                    return Err(self.error(member.value.at, reason));
                }
            }
            self.path.pop();
        }
        Ok(())
    }

    fn or(&mut self, member: &Member, rules: &mut Vec<Rule>) -> Result<(), PatternError> {
        let Kind::Array(branches) = &member.value.kind else {
            return Err(self.error(member.value.at, "`$or` takes a list of objects"));
        };
        if branches.len() < 2 {
            return Err(self.error(member.value.at, "`$or` takes at least two objects"));
        }
        let before = std::mem::take(rules);
        for branch in branches {
            let Kind::Object(members) = &branch.kind else {
                return Err(self.error(branch.at, "`$or` takes a list of objects"));
            };
            let mut own = before.clone();
            self.object(branch, members, &mut own, true)?;
            rules.append(&mut own);
            if MAXIMUM_RULES < rules.len() {
                let reason = format!("`$or` makes more than {MAXIMUM_RULES} combinations");
                return Err(self.error(branch.at, &reason));
            }
        }
        Ok(())
    }

    fn condition(
        &self,
        value: &Value,
        values: &[Value],
        rules: &mut Vec<Rule>,
    ) -> Result<(), PatternError> {
        if values.is_empty() {
            return Err(self.error(value.at, "an empty list matches nothing"));
        }
        let (mut tests, mut absent) = (Vec::new(), false);
        for value in values {
            match alternative(value).map_err(|error| error.within(&self.path()))? {
                Some(test) => tests.push(test),
                None => absent = true,
            }
        }
        let condition = Rc::new(Condition {
            path: self.path().into(),
            tests,
            absent,
            text: self.text[value.at..value.end].to_owned(),
            at: value.at,
        });
        if rules.is_empty() {
            rules.push(Rule::new());
        }
        for rule in rules {
            rule.insert(Rc::clone(&condition.path), Rc::clone(&condition));
            if MAXIMUM_FIELDS < rule.len() {
                let reason = format!("more than {MAXIMUM_FIELDS} fields");
                return Err(self.error(value.at, &reason));
            }
        }
        Ok(())
    }

    fn path(&self) -> String {
        self.path.join(".")
    }

    fn error(&self, at: usize, reason: &str) -> PatternError {
        PatternError::new(at, reason).within(&self.path())
    }
}
