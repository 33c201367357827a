//! YAML as a tree in which every node knows its line, with variables replaced.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Budget, DuplicateKeyPolicy, Spanned};

use super::error::Errors;

/// Shown instead of a value of the environment.
pub(crate) const VALUE_OF_A_VARIABLE: &str = "the value from the environment";

/// Of a text in an error message.
const MAX_SHOWN_CHARACTERS: usize = 100;

/// A value of the file, or the whole file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// From 1.
    pub(crate) line: u32,
    pub(crate) value: Value,
    /// A number or boolean as the file spells it: `1.50`.
    pub(crate) spelling: Option<String>,
    /// Part of the text comes from the environment, where secrets are kept: it is never shown.
    pub(crate) is_from_variable: bool,
}

/// What [`Node::find`] finds.
pub(crate) struct Found<'a> {
    /// From 1.
    pub(crate) line: u32,
    /// Of the member, or of the nearest value that would contain it.
    pub(crate) node: &'a Node,
    pub(crate) is_member: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// Without quotes.
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, without duplicate keys.
    Map(Vec<(Key, Node)>),
    /// Text with a variable that is not set, which was reported.
    Unset,
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) line: u32,
    pub(crate) name: String,
}

/// Parses a file and replaces `${VAR}` and `${VAR:-default}` in its values.
pub(crate) fn parse(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    errors: &Errors,
) -> Option<Node> {
    // By default the library stops at the first duplicate key and reports nothing else.
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        budget: budget(text),
    };
    match serde_saphyr::from_multiple_with_options::<Spanned<RawValue>>(text, options) {
        Ok(documents) => {
            let mut documents = documents.into_iter();
            let first = documents.next();
            if let Some(second) = documents.next() {
                let message = "a second YAML document starts here, and only one is allowed; remove \
                               the line '---', or one of the documents";
                errors.push(line_of(&second), message.to_owned());
            }
            let builder = TreeBuilder {
                text,
                variable,
                errors,
            };
            // The library returns no document for comments, `---` or null alone.
            Some(first.map_or_else(empty_file, |first| builder.node(first, "")))
        }
        Err(error) => {
            let line = error.location().map_or(0, |location| {
                u32::try_from(location.line()).unwrap_or(u32::MAX)
            });
            let message = error.without_snippet().to_string();
            errors.push(line, message);
            None
        }
    }
}

/// Limits of the library, whose defaults refuse files that people write: with ten thousand mappings, with
/// a hundred uses of one anchor, with a section of 33 lines that is commented out. They grow with the
/// text, so that aliases still cannot multiply it without end.
pub(crate) fn budget(text: &str) -> Option<Budget> {
    let (size, default) = (text.len(), Budget::default());
    serde_saphyr::budget! {
        max_nodes: default.max_nodes + size,
        max_events: default.max_events + size,
        max_merge_keys: default.max_merge_keys + size,
        max_buffered_comment_events: size,
        enforce_alias_anchor_ratio: false,
    }
}

/// A file without a value.
const fn empty_file() -> Node {
    Node {
        line: 1,
        value: Value::Map(Vec::new()),
        spelling: None,
        is_from_variable: false,
    }
}

impl Node {
    /// For what serde reads.
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

    /// Finds a member: `BatchSize`, `FilterCriteria.Filters[0].Pattern`.
    pub(crate) fn find(&self, member: &str) -> Found<'_> {
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
            let Some(next) = next else {
                return Found {
                    line,
                    node,
                    is_member: false,
                };
            };
            (line, node) = next;
        }
        Found {
            line,
            node,
            is_member: true,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        let Value::Text(text) = &self.value else {
            return None;
        };
        Some(text)
    }

    /// A single value, quoted if it is text: `"soon"`, `7`, `true`.
    pub(crate) fn shown(&self) -> Option<String> {
        match &self.value {
            Value::Text(_) if self.is_from_variable => Some(VALUE_OF_A_VARIABLE.to_owned()),
            Value::Text(text) => Some(match text.char_indices().nth(MAX_SHOWN_CHARACTERS) {
                Some((end, _)) => format!("{:?}…", &text[..end]),
                None => format!("{text:?}"),
            }),
            Value::Bool(value) => Some(self.spelled(value)),
            Value::Number(number) => Some(self.spelled(number)),
            Value::Null | Value::Unset | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// A number or boolean as the file spells it.
    fn spelled(&self, value: &impl ToString) -> String {
        let spelling = self.spelling.clone();
        spelling.unwrap_or_else(|| value.to_string())
    }

    /// Its type, for error messages.
    pub(crate) const fn describe(&self) -> &'static str {
        match &self.value {
            Value::Null | Value::Unset => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
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

/// The path of a key: `functions.resize`.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Converts the library's values to nodes.
struct TreeBuilder<'a> {
    text: &'a str,
    variable: &'a dyn Fn(&str) -> Option<String>,
    errors: &'a Errors,
}

impl TreeBuilder<'_> {
    fn node(&self, raw: Spanned<RawValue>, path: &str) -> Node {
        let line = line_of(&raw);
        let spelling = self.spelling_of(&raw);
        let mut is_from_variable = false;
        let value = match raw.value {
            RawValue::Null => Value::Null,
            RawValue::Bool(value) => Value::Bool(value),
            RawValue::Number(number) => Value::Number(number),
            RawValue::Text(text) => match substitute(&text, self.variable) {
                Ok((text, has_variable)) => {
                    is_from_variable = has_variable;
                    Value::Text(text)
                }
                Err(message) => {
                    let message = if path.is_empty() {
                        message
                    } else {
                        format!("{path}: {message}")
                    };
                    self.errors.push(line, message);
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
        Node {
            line,
            value,
            spelling,
            is_from_variable,
        }
    }

    fn spelling_of(&self, raw: &Spanned<RawValue>) -> Option<String> {
        match raw.value {
            RawValue::Bool(_) | RawValue::Number(_) => {}
            RawValue::Null | RawValue::Text(_) | RawValue::List(_) | RawValue::Map(_) => {
                return None;
            }
        }
        // Of an alias, that of its anchor.
        let span = raw.defined.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        let spelling = self.text.get(start..end)?.trim();
        Some(spelling.to_owned()).filter(|it| !it.is_empty())
    }

    /// The first of duplicate keys wins.
    fn entries(
        &self,
        entries: Vec<(Spanned<String>, Spanned<RawValue>)>,
        path: &str,
    ) -> Vec<(Key, Node)> {
        let mut nodes: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let (line, full) = (line_of(&key), join(path, &key.value));
            let node = self.node(value, &full);
            if let Some((first, _)) = nodes.iter().find(|(it, _)| it.name == key.value) {
                let message = format!(
                    "{full}: duplicate key, first defined on line {}",
                    first.line
                );
                self.errors.push(line, message);
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

/// Replaces variables; `$${` is a literal `${`. Returns whether a part is the value of a variable.
fn substitute(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, bool), String> {
    let mut result = String::with_capacity(text.len());
    let mut has_variable = false;
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
            return Err("'${' without a closing '}'; write '$${' for a literal '${'".to_owned());
        };
        let (name, default) = match after[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&after[..end], None),
        };
        let set = variable(name).filter(|value| default.is_none() || !value.is_empty());
        has_variable |= set.is_some();
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
    Ok((result, has_variable))
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
        for (text, expected, has_variable) in [
            ("plain", "plain", false),
            ("${NAME}", "windlass", true),
            ("a-${NAME}-${NAME}", "a-windlass-windlass", true),
            ("${NONE:-other}", "other", false),
            ("${NONE:-other}-${NAME}", "other-windlass", true),
            ("${EMPTY:-other}", "other", false),
            ("${EMPTY}", "", true),
            ("$${NAME}", "${NAME}", false),
        ] {
            let expected = Ok((expected.to_owned(), has_variable));
            assert_eq!(substitute(text, &variable), expected, "{text}");
        }
        assert!(
            substitute("${NONE}", &variable)
                .unwrap_err()
                .contains("NONE is not set")
        );
        assert!(substitute("${NAME", &variable).is_err());
    }

    fn parse_all(text: &str) -> (Option<Node>, Vec<(u32, String)>) {
        let errors = Errors::default();
        let node = parse(text, &variable, &errors);
        let errors = errors.into_sorted().into_iter();
        (node, errors.map(|it| (it.line, it.message)).collect())
    }

    #[test]
    fn every_node_knows_its_line() {
        let (node, errors) = parse_all("a: 1\nb:\n  - x\n  - ${NONE}\n");
        let [(4, message)] = &errors[..] else {
            panic!("{errors:?}")
        };
        assert!(message.starts_with("b[1]: the variable NONE"));
        let Value::Map(entries) = node.unwrap().value else {
            panic!("the file is a map")
        };
        assert_eq!(entries[1].0.line, 2);
        assert_eq!(entries[0].1.value, Value::Number(1.into()));
    }

    #[test]
    fn numbers_and_booleans_keep_their_spelling() {
        let text = "# ✓\n---\n- 1.50\n- &id 007  # comment\n- True\n- *id\n- {é: 1e3, b: \
                    +4}\n- '5.0'\n- 123456789012345678901234567890\n";
        let (node, errors) = parse_all(text);
        assert_eq!(errors, []);
        let Value::List(items) = node.unwrap().value else {
            panic!("the file is a list")
        };
        let spellings: Vec<_> = items.iter().map(|it| it.spelling.as_deref()).collect();
        let expected = [
            Some("1.50"),
            Some("007"),
            Some("True"),
            Some("007"),
            None,
            None,
            Some("123456789012345678901234567890"),
        ];
        assert_eq!(spellings, expected);
        let Value::Map(entries) = &items[4].value else {
            panic!("it is a map")
        };
        let spellings: Vec<_> = entries
            .iter()
            .map(|(_, it)| it.spelling.as_deref())
            .collect();
        assert_eq!(spellings, [Some("1e3"), Some("+4")]);
    }

    #[test]
    fn duplicate_keys_hide_no_other_error() {
        let (node, errors) = parse_all("a: 1\nb: {c: 1, d: '${NONE}', c: 2}\na: 2\n");
        let duplicate = |line, key: &str, first| {
            let text = format!("{key}: duplicate key, first defined on line {first}");
            (line, text)
        };
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].1.starts_with("b.d: the variable NONE"));
        assert_eq!(errors[1..], [duplicate(2, "b.c", 2), duplicate(3, "a", 1)]);
        let node = node.unwrap();
        let found = node.find("a");
        assert_eq!((found.line, found.is_member), (1, true));
        assert_eq!(found.node.value, Value::Number(1.into()));
    }

    #[test]
    fn a_second_document_hides_no_other_error() {
        let (node, errors) = parse_all("a: ${NONE}\n---\nb: 1\n");
        assert!(node.is_some());
        let lines: Vec<_> = errors.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3], "{errors:?}");
        assert!(errors[1].1.contains("remove the line '---'"));
        let (_, errors) = parse_all("---\na: 1\n---\n# nothing\n");
        assert_eq!(errors, []);
    }

    #[test]
    fn a_long_comment_may_be_anywhere() {
        let comment = "# a section that is not used at present\n".repeat(200);
        let text = format!("a:\n{comment}  b:\n{comment}    - 1\n{comment}    - 2\n{comment}");
        let (node, errors) = parse_all(&text);
        assert_eq!(errors, []);
        let node = node.unwrap();
        assert_eq!(node.find("a.b").line, 202);
        assert_eq!(node.find("a.b[1]").line, 604);
    }

    #[test]
    fn an_anchor_may_be_used_often_but_not_multiply_without_end() {
        let uses: String = (0..2_000)
            .map(|n| format!("k{n}: {{<<: *one, b: {n}}}\nl{n}: *one\n"))
            .collect();
        let (node, errors) = parse_all(&format!("one: &one {{a: 1, b: 2}}\n{uses}"));
        assert_eq!(errors, []);
        let node = node.unwrap();
        for (member, number) in [("k7.a", 1), ("k7.b", 7), ("l1999.b", 2)] {
            let number = Value::Number(number.into());
            assert_eq!(node.find(member).node.value, number, "{member}");
        }
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..9 {
            let alias = format!("*a{}, ", n - 1).repeat(10);
            text.push_str(&format!("a{n}: &a{n} [{alias}]\n"));
        }
        let (node, errors) = parse_all(&text);
        assert!(node.is_none() && errors.len() == 1, "{errors:?}");
    }

    #[test]
    fn a_file_may_be_large() {
        let items = 251_000;
        let (node, errors) = parse_all(&"- 1\n".repeat(items));
        assert_eq!(errors, []);
        let Value::List(list) = node.unwrap().value else {
            panic!("the file is a list")
        };
        assert_eq!(list.len(), items);
    }

    #[test]
    fn members_are_found_as_far_as_they_are_written() {
        let text = "F:\n  Filters:\n    - Pattern: x\n    -\n      Pattern: y\nB: 1\n";
        let node = parse_all(text).0.unwrap();
        for (member, line) in [
            ("B", 6),
            ("B.C", 6),
            ("F.Filters[0].Pattern", 3),
            ("F.Filters[1].Pattern", 5),
            ("F.Filters[7]", 2),
            ("Other", 1),
        ] {
            assert_eq!(node.find(member).line, line, "{member}");
        }
    }

    #[test]
    fn broken_yaml_names_its_line() {
        let (node, errors) = parse_all("a: 1\nb: [\n");
        assert_eq!(node, None);
        assert!(1 < errors[0].0, "{errors:?}");
    }
}
