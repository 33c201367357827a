//! Reads sections of the file key by key. What remains at the end of a section is an unknown key.

use std::fmt::Display;
use std::time::Duration;

use windlass_core::time::{display_duration, parse_duration};

use super::error::Errors;
use super::yaml::{Key, Node, Value, join};

/// A map of the file while it is read. Dropping it reports the keys that were not taken.
pub(super) struct Section<'a> {
    /// `functions.resize`; empty for the file.
    path: String,
    line: u32,
    entries: Vec<(&'a Key, &'a Node)>,
    known: Vec<&'static str>,
    errors: &'a Errors,
}

/// A value of the file with its path, for error messages.
pub(super) struct Field<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
    /// It is never shown.
    is_secret: bool,
    errors: &'a Errors,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(node: &'a Node, errors: &'a Errors) -> Self {
        Field::root(node, "", errors).section()
    }

    /// The value of a key, if it has one.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Field<'a>> {
        self.known.push(name);
        let index = self.entries.iter().position(|(key, _)| key.name == name)?;
        let (_, node) = self.entries.remove(index);
        let has_value = !matches!(node.value, Value::Null | Value::Unset);
        has_value.then(|| Field {
            node,
            path: join(&self.path, name),
            is_secret: false,
            errors: self.errors,
        })
    }

    /// The section under a key; an empty one if the key is absent.
    pub(super) fn section(&mut self, name: &'static str) -> Self {
        self.take(name).map_or_else(
            || Self {
                path: join(&self.path, name),
                line: self.line,
                entries: Vec::new(),
                known: Vec::new(),
                errors: self.errors,
            },
            Field::section,
        )
    }

    /// Whether the value of a key is a variable that is not set, which was reported already.
    pub(super) fn is_unset(&self, name: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|(key, node)| key.name == name && node.value == Value::Unset)
    }

    /// Reports an error of the section as a whole.
    pub(super) fn error(&self, message: impl Display) {
        self.errors
            .push(self.line, format!("{}: {message}", self.path));
    }

    /// See [`Field::text`].
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.take(name)?.text()
    }

    pub(super) fn bool(&mut self, name: &'static str) -> Option<bool> {
        let field = self.take(name)?;
        let value = match (&field.node.value, field.node.text()) {
            (Value::Bool(value), _) => Some(*value),
            (_, Some(text)) => text.parse().ok(),
            (_, None) => None,
        };
        if value.is_none() {
            field.expected("true or false");
        }
        value
    }

    /// See [`Field::duration`].
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        bounds: (Duration, Duration),
    ) -> Option<Duration> {
        self.take(name)?.duration(bounds)
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let known = self.known.join(", ");
        for (key, _) in &self.entries {
            let path = join(&self.path, &key.name);
            let message = format!("{path}: unknown key, expected one of {known}");
            self.errors.push(key.line, message);
        }
    }
}

impl<'a> Field<'a> {
    /// A value that is in no section.
    pub(super) fn root(node: &'a Node, path: &str, errors: &'a Errors) -> Self {
        Self {
            node,
            path: path.to_owned(),
            is_secret: false,
            errors,
        }
    }

    /// A value of this map or list; `suffix` continues its path.
    pub(super) fn child(&self, node: &'a Node, suffix: &str) -> Self {
        Self {
            node,
            path: format!("{}{suffix}", self.path),
            is_secret: self.is_secret,
            errors: self.errors,
        }
    }

    /// The same value, which is never shown.
    pub(super) fn secret(self) -> Self {
        Self {
            is_secret: true,
            ..self
        }
    }

    /// Its keys and values; `what` it should be if it is not a map.
    pub(super) fn entries(&self, what: &str) -> &'a [(Key, Node)] {
        if let Value::Map(entries) = &self.node.value {
            return entries;
        }
        self.expected_collection(what);
        &[]
    }

    pub(super) fn section(self) -> Section<'a> {
        let entries = match &self.node.value {
            Value::Null | Value::Unset => &[],
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.entries("keys and values")
            }
        };
        Section {
            line: self.node.line,
            path: self.path,
            entries: entries.iter().map(|(key, value)| (key, value)).collect(),
            known: Vec::new(),
            errors: self.errors,
        }
    }

    /// Text that is not empty: a secret from an empty variable would protect nothing.
    pub(super) fn text(&self) -> Option<String> {
        match self.node.text() {
            Some("") => self.error("is empty; write a value, or remove the key"),
            // Neither a path nor a variable can have one.
            Some(text) if text.contains('\0') => self.error("contains a NUL character"),
            Some(text) => return Some(text.to_owned()),
            None => self.expected("text"),
        }
        None
    }

    /// A whole number within bounds, with or without quotes.
    pub(super) fn whole_number(&self, min: u64, max: u64) -> Option<u64> {
        let number = match (&self.node.value, self.node.text()) {
            (Value::Number(number), _) => number.as_u64(),
            (_, Some(text)) => text.parse().ok(),
            (_, None) => None,
        };
        number.filter(|number| (min..=max).contains(number))
    }

    /// A number, with or without quotes.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match (&self.node.value, self.node.text()) {
            (Value::Number(number), _) => number.as_f64(),
            (_, Some(text)) => text.parse().ok(),
            (_, None) => None,
        };
        number.filter(|number| number.is_finite())
    }

    /// A size in bytes, within bounds: `64KiB`, `128MiB`, `2GiB`.
    pub(super) fn size(&self, min: u64, max: u64) -> Option<u64> {
        let Some(size) = self.node.text().and_then(parse_size) else {
            self.expected("a size such as 512KiB, 128MiB or 2GiB");
            return None;
        };
        if !(min..=max).contains(&size) {
            self.expected(&format!(
                "between {} and {} MiB",
                min / MEBIBYTE,
                max / MEBIBYTE
            ));
            return None;
        }
        Some(size)
    }

    /// A duration within bounds: `250ms`, `30s`, `5m`, `1h`, `14d`.
    pub(super) fn duration(&self, (min, max): (Duration, Duration)) -> Option<Duration> {
        let Some(duration) = self.node.text().and_then(parse_days_or_less) else {
            self.expected("a duration such as 250ms, 30s or 5m");
            return None;
        };
        if !(min..=max).contains(&duration) {
            let (min, max) = (display_duration(min), display_duration(max));
            self.expected(&format!("between {min} and {max}"));
            return None;
        }
        Some(duration)
    }

    /// Reports an error of this value.
    pub(super) fn error(&self, message: impl Display) {
        self.error_at(self.node.line, message);
    }

    /// Reports an error of this value at another line.
    pub(super) fn error_at(&self, line: u32, message: impl Display) {
        let path = if self.path.is_empty() {
            "the file"
        } else {
            &self.path
        };
        self.errors.push(line, format!("{path}: {message}"));
    }

    /// Reports that this value should be another single value.
    pub(super) fn expected(&self, what: &str) {
        match self.shown() {
            Some(value) => self.error(format!("{value} is not {what}")),
            None => self.expected_collection(what),
        }
    }

    /// Reports that this value should be a list or a map.
    pub(super) fn expected_collection(&self, what: &str) {
        let shown = self.shown();
        let found = shown.as_deref().unwrap_or_else(|| self.node.describe());
        self.error(format!("expected {what}, found {found}"));
    }

    /// For error messages; `None` if it is a secret, or not a single value.
    pub(super) fn shown(&self) -> Option<String> {
        self.node.shown().filter(|_| !self.is_secret)
    }
}

const MEBIBYTE: u64 = 1024 * 1024;

/// A duration as everywhere, or in days, as retentions are given.
fn parse_days_or_less(text: &str) -> Option<Duration> {
    match text.strip_suffix('d') {
        Some(days) => {
            let days = days.parse::<u64>().ok()?;
            days.checked_mul(24 * 3600).map(Duration::from_secs)
        }
        None => parse_duration(text),
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "KiB" => 1024,
        "MiB" => MEBIBYTE,
        "GiB" => 1024 * MEBIBYTE,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_parsed() {
        let fortnight = Duration::from_secs(14 * 24 * 3600);
        assert_eq!(parse_days_or_less("14d"), Some(fortnight));
        for text in ["d", "-1d", "1.5d", "1 d", "99999999999999999999d"] {
            assert_eq!(parse_days_or_less(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_parsed() {
        assert_eq!(parse_size("512KiB"), Some(512 * 1024));
        assert_eq!(parse_size("2GiB"), Some(2 << 30));
        for text in ["", "5", "MiB", "5 MiB", "5MB", "99999999999999999999GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
