//! YAML as a tree in which every node knows its line, so that each mistake can be reported at its
//! place and all of them at once. Variables are replaced here.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// One mistake, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Counted from 1; 0 where there is none.
    pub(crate) line: u32,
    /// What is wrong with what, and the remedy.
    pub(crate) message: String,
}

/// A value of the file, or the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Counted from 1.
    pub(crate) line: u32,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing was written.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without quotes.
    Number(serde_json::Number),
    /// Any other text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values, in the order of the file; no key is there twice.
    Map(Vec<(Key, Node)>),
    /// A text with a variable that has no value, which has been told.
    Unset,
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) line: u32,
    pub(crate) name: String,
}

/// Reads a file's text and replaces `${VAR}` and `${VAR:-default}` in its values.
pub(crate) fn parse(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Some(Node {
            line: 1,
            value: Value::Map(Vec::new()),
        });
    }
    // The library would end at the first key that is written twice, and say nothing of the rest.
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
    match serde_saphyr::from_multiple_with_options::<Spanned<RawValue>>(text, options) {
        Ok(documents) => {
            let mut documents = documents.into_iter();
            let first = documents.next()?;
            if let Some(second) = documents.next() {
                let message = "a second YAML document begins before this line, and only one is \
                               read; remove the line '---' between them, or one of the two";
                problems.push(Problem {
                    line: line_of(&second),
                    message: message.to_owned(),
                });
            }
            Some(Reading { variable, problems }.node(first, ""))
        }
        Err(error) => {
            let line = error.location().map_or(0, |location| {
                u32::try_from(location.line()).unwrap_or(u32::MAX)
            });
            let message = error.without_snippet().to_string();
            problems.push(Problem { line, message });
            None
        }
    }
}

impl Node {
    /// The same as JSON, for what is read by serde.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null | Value::Unset => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => number.clone().into(),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries_to_json(entries).into(),
        }
    }

    /// The line of a member, `BatchSize` or `FilterCriteria.Filters[0].Pattern`, and what stands
    /// there. It goes as far as the path leads: of what is not written, the line of what would
    /// hold it.
    pub(crate) fn find(&self, member: &str) -> (u32, &Value) {
        let (mut line, mut node) = (self.line, self);
        for step in member.split(['.', '[']) {
            let next = match (&node.value, step.trim_end_matches(']').parse::<usize>()) {
                (Value::Map(entries), _) => {
                    let entry = entries.iter().find(|(key, _)| key.name == step);
                    entry.map(|(key, node)| (key.line, node))
                }
                (Value::List(items), Ok(index)) => items.get(index).map(|node| (node.line, node)),
                _ => None,
            };
            let Some(found) = next else { break };
            (line, node) = found;
        }
        (line, &node.value)
    }

    /// The text that it is, if it is text.
    pub(crate) fn text(&self) -> Option<&str> {
        let Value::Text(text) = &self.value else {
            return None;
        };
        Some(text)
    }

    /// What it is, in a word, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null | Value::Unset => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(text) if text.is_empty() => "an empty text",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "keys and values",
        }
    }
}

#[derive(Debug)]
enum RawValue {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

/// The members of a map as JSON.
pub(crate) fn entries_to_json(
    entries: &[(Key, Node)],
) -> serde_json::Map<String, serde_json::Value> {
    let entries = entries.iter();
    entries
        .map(|(key, node)| (key.name.clone(), node.to_json()))
        .collect()
}

/// Where a key of a map stands: `functions.resize`.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// What it takes to make nodes of the library's values.
struct Reading<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: &'a mut Vec<Problem>,
}

impl Reading<'_> {
    fn node(&mut self, raw: Spanned<RawValue>, path: &str) -> Node {
        let line = line_of(&raw);
        let value = match raw.value {
            RawValue::Null => Value::Null,
            RawValue::Bool(value) => Value::Bool(value),
            RawValue::Number(number) => Value::Number(number),
            RawValue::Text(text) => match substitute(&text, self.variable) {
                Ok(text) => Value::Text(text),
                Err(message) => {
                    let message = if path.is_empty() {
                        message
                    } else {
                        format!("{path}: {message}")
                    };
                    self.problems.push(Problem { line, message });
                    Value::Unset
                }
            },
            RawValue::List(items) => {
                let items = items.into_iter().enumerate();
                let items = items.map(|(index, item)| self.node(item, &format!("{path}[{index}]")));
                Value::List(items.collect())
            }
            RawValue::Map(entries) => Value::Map(self.entries(entries, path)),
        };
        Node { line, value }
    }

    /// Of a key that is written twice the first counts.
    fn entries(
        &mut self,
        entries: Vec<(Spanned<String>, Spanned<RawValue>)>,
        path: &str,
    ) -> Vec<(Key, Node)> {
        let mut nodes: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let (line, full) = (line_of(&key), join(path, &key.value));
            let node = self.node(value, &full);
            if let Some((first, _)) = nodes.iter().find(|(it, _)| it.name == key.value) {
                let message = format!("{full}: written before, in line {}; keep one", first.line);
                self.problems.push(Problem { line, message });
                continue;
            }
            let name = key.value;
            nodes.push((Key { line, name }, node));
        }
        nodes
    }
}

fn line_of<T>(spanned: &Spanned<T>) -> u32 {
    u32::try_from(spanned.referenced.line()).unwrap_or(u32::MAX)
}

/// Replaces variables; `$${` stands for `${` itself.
fn substitute(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            result.push_str(&rest[..start]);
            result.push('{');
            rest = &rest[start + 2..];
            continue;
        }
        result.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let Some(end) = after.find('}') else {
            return Err(
                "'${' without a closing '}'; write '$${' for the two characters".to_owned(),
            );
        };
        let (name, default) = match after[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&after[..end], None),
        };
        let set = variable(name).filter(|value| default.is_none() || !value.is_empty());
        match set.or_else(|| default.map(str::to_owned)) {
            Some(value) => result.push_str(&value),
            None => {
                return Err(format!(
                    "the variable {name} is not set; set it, or write ${{{name}:-default}}"
                ));
            }
        }
        rest = &after[end + 1..];
    }
    result.push_str(rest);
    Ok(result)
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        let number = serde_json::Number::from_f64(value);
        Ok(number.map_or_else(|| RawValue::Text(value.to_string()), RawValue::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        RawValue::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(RawValue::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "NAME" => Some("windlass".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${NAME}", "windlass"),
            ("a-${NAME}-${NAME}", "a-windlass-windlass"),
            ("${NONE:-other}", "other"),
            ("${EMPTY:-other}", "other"),
            ("${EMPTY}", ""),
            ("$${NAME}", "${NAME}"),
        ] {
            assert_eq!(
                substitute(text, &variable).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
        assert!(
            substitute("${NONE}", &variable)
                .unwrap_err()
                .contains("NONE is not set")
        );
        assert!(substitute("${NAME", &variable).is_err());
    }

    #[test]
    fn every_node_knows_its_line() {
        let mut problems = Vec::new();
        let node = parse("a: 1\nb:\n  - x\n  - ${NONE}\n", &variable, &mut problems).unwrap();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].line, 4);
        assert!(problems[0].message.starts_with("b[1]: the variable NONE"));
        let Value::Map(entries) = node.value else {
            panic!("a map was written")
        };
        assert_eq!(entries[1].0.line, 2);
        assert_eq!(entries[0].1.value, Value::Number(1.into()));
    }

    #[test]
    fn a_key_that_is_written_twice_hides_nothing() {
        let mut problems = Vec::new();
        let text = "a: 1\nb: {c: 1, d: '${NONE}', c: 2}\na: 2\n";
        let node = parse(text, &variable, &mut problems).unwrap();
        let told: Vec<_> = problems.iter().map(|it| (it.line, &*it.message)).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].1.starts_with("b.d: the variable NONE"));
        assert_eq!(told[1], (2, "b.c: written before, in line 2; keep one"));
        assert_eq!(told[2], (3, "a: written before, in line 1; keep one"));
        assert_eq!(node.find("a"), (1, &Value::Number(1.into())));
    }

    #[test]
    fn a_second_document_hides_nothing() {
        let mut problems = Vec::new();
        let text = "a: ${NONE}\n---\nb: 1\n";
        assert!(parse(text, &variable, &mut problems).is_some());
        let lines: Vec<_> = problems.iter().map(|it| it.line).collect();
        assert_eq!(lines, [3, 1], "{problems:?}");
        assert!(problems[0].message.contains("remove the line '---'"));
        problems.clear();
        parse("---\na: 1\n---\n# nothing\n", &variable, &mut problems);
        assert_eq!(problems, []);
    }

    #[test]
    fn members_are_found_as_far_as_they_are_written() {
        let text = "F:\n  Filters:\n    - Pattern: x\n    -\n      Pattern: y\nB: 1\n";
        let node = parse(text, &variable, &mut Vec::new()).unwrap();
        for (member, line) in [
            ("B", 6),
            ("B.C", 6),
            ("F.Filters[0].Pattern", 3),
            ("F.Filters[1].Pattern", 5),
            ("F.Filters[7]", 2),
            ("Other", 1),
        ] {
            assert_eq!(node.find(member).0, line, "{member}");
        }
    }

    #[test]
    fn broken_yaml_names_its_line() {
        let mut problems = Vec::new();
        assert_eq!(parse("a: 1\nb: [\n", &variable, &mut problems), None);
        assert!(1 < problems[0].line, "{problems:?}");
    }
}
