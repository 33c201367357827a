//! The JSON of a pattern as a small tree in which every value knows its place.
//!
//! Numbers keep their text, since a pattern compares it, and members keep their order, since of two
//! that say something of one field the later counts. What follows the top object is not looked at:
//! AWS's compiler of patterns does not look at it either.

use super::PatternError;

/// Deeper patterns are refused: at most 4,096 characters leave room for no sensible one.
const DEEPEST: usize = 200;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Value {
    /// Where its first byte is.
    pub(super) at: usize,
    /// Behind its last byte.
    pub(super) end: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Boolean(bool),
    /// As it is written.
    Number(String),
    String(String),
    Array(Vec<Value>),
    Object(Vec<Member>),
}

#[derive(Debug)]
pub(super) struct Member {
    /// Where its name is.
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) value: Value,
}

impl Value {
    /// The text of a string.
    pub(super) fn text(&self) -> Option<&str> {
        if let Kind::String(text) = &self.kind {
            Some(text)
        } else {
            None
        }
    }

    /// The elements of a list; any other value is its own only one.
    pub(super) fn elements(&self) -> &[Self] {
        if let Kind::Array(elements) = &self.kind {
            elements
        } else {
            std::slice::from_ref(self)
        }
    }
}

/// Reads the first value of a text.
///
/// # Errors
/// The text does not begin with a JSON value.
pub(super) fn parse(text: &str) -> Result<Value, PatternError> {
    Parser { text, at: 0 }.value(0)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, PatternError> {
        if DEEPEST < depth {
            return Err(self.error("the pattern is nested too deeply"));
        }
        let first = self.peek();
        let at = self.at;
        let kind = match first {
            Some(b'{') => Kind::Object(self.object(depth)?),
            Some(b'[') => Kind::Array(self.array(depth)?),
            Some(b'"') => Kind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Kind::Number(self.number()?),
            Some(b't') => self.literal("true", Kind::Boolean(true))?,
            Some(b'f') => self.literal("false", Kind::Boolean(false))?,
            Some(b'n') => self.literal("null", Kind::Null)?,
            Some(_) => return Err(self.error("a JSON value was expected")),
            None => return Err(self.error("the pattern ends where a value was expected")),
        };
        let end = self.at;
        Ok(Value { at, end, kind })
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Member>, PatternError> {
        self.at += 1;
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(members);
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.error("the name of a field was expected, in double quotes"));
            }
            let at = self.at;
            let name = self.string()?;
            self.expect(b':', "a colon was expected")?;
            let value = self.value(depth + 1)?;
            members.push(Member { at, name, value });
            if self.take(b'}') {
                return Ok(members);
            }
            self.expect(b',', "a comma or the end of the object was expected")?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, PatternError> {
        self.at += 1;
        let mut elements = Vec::new();
        if self.take(b']') {
            return Ok(elements);
        }
        loop {
            elements.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(elements);
            }
            self.expect(b',', "a comma or the end of the list was expected")?;
        }
    }

    fn string(&mut self) -> Result<String, PatternError> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(byte) if *byte < b' ' => {
                    return Err(self.error("a control character in a string must be escaped"));
                }
                Some(_) => self.at += 1,
                None => {
                    self.at = start;
                    return Err(self.error("a string without an end"));
                }
            }
        }
        self.at += 1;
        let quoted = self.text.get(start..self.at);
        let string = quoted.and_then(|quoted| serde_json::from_str(quoted).ok());
        string.ok_or_else(|| PatternError::new(start, "a broken escape in a string"))
    }

    /// <https://www.rfc-editor.org/rfc/rfc8259#section-6>
    fn number(&mut self) -> Result<String, PatternError> {
        let rest = &self.text[self.at..];
        let end = rest.find(|it: char| !(it.is_ascii_alphanumeric() || "+-.".contains(it)));
        let number = &rest[..end.unwrap_or(rest.len())];
        if !super::number::is_number(number.as_bytes()) {
            return Err(self.error("a broken number"));
        }
        self.at += number.len();
        Ok(number.to_owned())
    }

    fn literal(&mut self, literal: &str, kind: Kind) -> Result<Kind, PatternError> {
        let rest = &self.text[self.at..];
        let follows = rest.strip_prefix(literal).map(|rest| rest.as_bytes());
        match follows {
            Some(follows) if !follows.first().is_some_and(u8::is_ascii_alphanumeric) => {
                self.at += literal.len();
                Ok(kind)
            }
            _ => Err(self.error("a JSON value was expected; texts stand in double quotes")),
        }
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), PatternError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.error(what))
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn error(&self, reason: &str) -> PatternError {
        PatternError::new(self.at, reason)
    }
}
