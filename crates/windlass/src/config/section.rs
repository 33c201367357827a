//! A map of the file, taken apart key by key: what is left over at the end is an unknown key.

use std::fmt::Display;
use std::time::Duration;

use super::tree::{Key, Node, Problem, Value, join};

/// One map of the file while it is read.
pub(super) struct Section<'a> {
    /// Where it stands: `functions.resize`; empty at the top.
    path: String,
    entries: Vec<(&'a Key, &'a Node)>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The map that a node is; nothing written is an empty map.
    pub(super) fn of(node: &'a Node, path: &str, problems: &mut Vec<Problem>) -> Self {
        let entries = match &node.value {
            Value::Map(map) => map.iter().map(|(key, value)| (key, value)).collect(),
            Value::Null | Value::Unset => Vec::new(),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                problems.push(expected(node, path, "keys and values"));
                Vec::new()
            }
        };
        Self {
            path: path.to_owned(),
            entries,
            known: Vec::new(),
        }
    }

    /// The node under a key, if something was written there that has a value.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.push(name);
        let index = self.entries.iter().position(|(key, _)| key.name == name)?;
        let (_, node) = self.entries.remove(index);
        (!matches!(node.value, Value::Null | Value::Unset)).then_some(node)
    }

    /// The node under a key, which is still to be taken.
    pub(super) fn peek(&self, name: &str) -> Option<&'a Node> {
        let mut entries = self.entries.iter();
        let (_, node) = entries.find(|(key, _)| key.name == name)?;
        Some(node)
    }

    /// Whether what stands under a key was told to have no value.
    pub(super) fn is_unset(&self, name: &str) -> bool {
        self.peek(name)
            .is_some_and(|node| node.value == Value::Unset)
    }

    /// Where a key of this section stands.
    pub(super) fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// A text that is not empty: a secret that a variable left empty would secure nothing.
    pub(super) fn text(
        &mut self,
        name: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let node = self.take(name)?;
        let path = self.path_of(name);
        match node.text() {
            Some("") => {
                let message = "is empty; write a value, or leave the key out";
                problems.push(problem(node, &path, message));
                None
            }
            Some(text) => Some(text.to_owned()),
            None => {
                problems.push(expected(node, &path, "text"));
                None
            }
        }
    }

    pub(super) fn bool(&mut self, name: &'static str, problems: &mut Vec<Problem>) -> Option<bool> {
        let node = self.take(name)?;
        let value = match (&node.value, node.text()) {
            (Value::Bool(value), _) => Some(*value),
            (_, Some(text)) => text.parse().ok(),
            (_, None) => None,
        };
        if value.is_none() {
            problems.push(expected(node, &self.path_of(name), "true or false"));
        }
        value
    }

    /// A whole number within bounds.
    pub(super) fn count(
        &mut self,
        name: &'static str,
        (least, most): (u64, u64),
        problems: &mut Vec<Problem>,
    ) -> Option<u64> {
        let node = self.take(name)?;
        let number = whole_number(node).filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let what = format!("a whole number from {least} to {most}");
            problems.push(expected(node, &self.path_of(name), &what));
        }
        number
    }

    /// A duration within bounds: `250ms`, `30s`, `5m`, `1h`.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        (least, most): (Duration, Duration),
        problems: &mut Vec<Problem>,
    ) -> Option<Duration> {
        let node = self.take(name)?;
        let path = self.path_of(name);
        let Some(duration) = node.text().and_then(parse_duration) else {
            problems.push(expected(node, &path, "a duration such as 250ms, 30s or 5m"));
            return None;
        };
        if !(least..=most).contains(&duration) {
            problems.push(problem(
                node,
                &path,
                format!("must lie from {} to {}", in_words(least), in_words(most)),
            ));
            return None;
        }
        Some(duration)
    }

    /// What is left is unknown.
    pub(super) fn finish(self, problems: &mut Vec<Problem>) {
        let known = self.known.join(", ");
        for (key, _) in &self.entries {
            let full = join(&self.path, &key.name);
            let message = format!("{full}: unknown key; known here: {known}");
            problems.push(Problem {
                line: key.line,
                message,
            });
        }
    }
}

/// The whole number that a node is, with or without quotes.
pub(super) fn whole_number(node: &Node) -> Option<u64> {
    match (&node.value, node.text()) {
        (Value::Number(number), _) => number.as_u64(),
        (_, Some(text)) => text.parse().ok(),
        (_, None) => None,
    }
}

/// A mistake in a node.
pub(super) fn problem(node: &Node, path: &str, message: impl Display) -> Problem {
    let what = if path.is_empty() { "the file" } else { path };
    Problem {
        line: node.line,
        message: format!("{what}: {message}"),
    }
}

/// A node of the wrong kind.
pub(super) fn expected(node: &Node, path: &str, what: &str) -> Problem {
    let found = if let Value::Number(number) = &node.value {
        format!("the number {number}")
    } else {
        node.kind().to_owned()
    };
    problem(node, path, format!("expected {what}, found {found}"))
}

/// A duration as the file writes it.
fn in_words(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis != 0 && millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    if millis == 0 {
        "0s".to_owned()
    } else {
        format!("{millis}ms")
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        for text in ["", "5", "s", "5 s", "1d", "-1s", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["0s", "1ms", "250ms", "20s", "15m", "1h", "90s"] {
            assert_eq!(in_words(parse_duration(text).unwrap()), text);
        }
    }
}
