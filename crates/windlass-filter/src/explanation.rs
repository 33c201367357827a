//! Why a record passes, or does not: for people.

use super::criteria::{Condition, Criteria, DataKind, Scratch, Subject};
use super::findings::SeenValue;

/// The most characters of a value that are shown.
const SHOWN: usize = 60;

/// The answer of filters, and what decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the record passes.
    pub passes: bool,
    /// For each pattern, why it does not match: the fields that are not as it wants them. Empty for
    /// one that matches.
    pub reasons: Vec<Vec<String>>,
}

impl Criteria {
    /// Judges a record or message as [`Criteria::passes`] does, and says what decided.
    pub fn explain(&self, subject: Subject<'_>) -> Explanation {
        let reasons: Vec<_> = (0..self.patterns().len())
            .map(|pattern| self.reasons(pattern, subject))
            .collect();
        Explanation {
            passes: reasons.iter().any(Vec::is_empty),
            reasons,
        }
    }

    /// Why a pattern does not match: the mistakes of the rule that comes nearest.
    fn reasons(&self, pattern: usize, subject: Subject<'_>) -> Vec<String> {
        let mut scratch = Scratch::default();
        scratch.findings.observe();
        let alone = self.only(pattern);
        if alone.passes(subject, &mut scratch) {
            return Vec::new();
        }
        let unmet = |rule: &Vec<usize>| -> Vec<usize> {
            let unmet = |condition: &usize| !scratch.findings.is_met(&alone, *condition);
            rule.iter().copied().filter(unmet).collect()
        };
        let nearest = alone.rules.iter().min_by_key(|rule| unmet(rule).len());
        let nearest = nearest.expect("a pattern has at least one rule");
        if scratch.broken {
            return vec!["the event is no JSON object".to_owned()];
        }
        let mut reasons: Vec<String> = unmet(nearest)
            .into_iter()
            .map(|condition| alone.reason(&alone.conditions[condition], &scratch))
            .collect();
        if reasons.is_empty() {
            reasons.push(alone.reason_of_all(nearest, &scratch));
        }
        reasons
    }

    /// Why a condition is not met.
    fn reason(&self, condition: &Condition, scratch: &Scratch) -> String {
        let path = shown(&condition.path);
        let state = self.state(condition, scratch);
        format!("{path} {state}, but the pattern wants {}", condition.text)
    }

    /// Why a rule does not hold of which every condition is met.
    fn reason_of_all(&self, rule: &[usize], scratch: &Scratch) -> String {
        let name = self.data_name();
        match scratch.data {
            Some(DataKind::NotJson) => {
                format!("the {name} is not JSON, but the pattern names fields of it")
            }
            Some(DataKind::Container) if self.wants_plain(rule) => {
                format!("the {name} is JSON, but the pattern wants a text")
            }
            Some(_) | None => {
                let paths = rule.iter().map(|it| shown(&self.conditions[*it].path));
                let paths: Vec<&str> = paths.collect();
                let paths = paths.join(", ");
                format!("no single element of a list has all of {paths}")
            }
        }
    }

    /// What there is where a condition looks.
    fn state(&self, condition: &Condition, scratch: &Scratch) -> String {
        let seen = scratch.findings.seen().iter();
        let here = seen.filter(|seen| Some(seen.node) == condition.node);
        let mut values: Vec<String> = Vec::new();
        let mut container = None;
        for seen in here {
            match &seen.what {
                SeenValue::Object => container = Some("is an object"),
                SeenValue::List => container = container.or(Some("is a list without such a value")),
                SeenValue::Scalar(text) => values.push(shorten(text)),
            }
        }
        match (values.as_slice(), container) {
            ([], Some(container)) => container.to_owned(),
            ([], None) => self.absence(condition, scratch),
            (values, _) => format!("is {}", values.join(" and ")),
        }
    }

    fn absence(&self, condition: &Condition, scratch: &Scratch) -> String {
        let name = self.data_name();
        match scratch.data {
            Some(DataKind::NotJson) if condition.is_about_data() => {
                format!("cannot be had, since the {name} is not JSON")
            }
            Some(DataKind::Container) if condition.is_about_text() => {
                "is JSON and no plain text".to_owned()
            }
            Some(_) if condition.is_about_text() => {
                let text = scratch.plain.as_deref().unwrap_or_default();
                format!("is {}", shorten(text))
            }
            Some(_) | None => "is not there".to_owned(),
        }
    }
}

/// A path in which something is to be seen.
fn shown(path: &str) -> &str {
    if path.is_empty() { "\"\"" } else { path }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
