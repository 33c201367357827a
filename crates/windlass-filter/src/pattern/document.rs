//! The JSON of a pattern as a tree whose values keep their offsets.
//!
//! Numbers keep their text, because patterns compare it, and members keep their order, because the
//! last one for a field wins. Text after the top-level value is ignored, as AWS's pattern compiler
//! does.

use super::error::PatternError;
use crate::json::number::is_number;

/// Maximum nesting of a pattern: a useful pattern of 4,096 characters is never deeper.
const MAX_DEPTH: usize = 200;

#[derive(Debug)]
pub(crate) struct Value {
    /// Offset of its first byte.
    pub(crate) offset: usize,
    /// Offset after its last byte.
    pub(crate) end: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Null,
    Boolean(bool),
    /// As written.
    Number(String),
    String(String),
    Array(Vec<Value>),
    Object(Vec<Member>),
}

#[derive(Debug)]
pub(crate) struct Member {
    /// Offset of its name.
    pub(crate) offset: usize,
    pub(crate) name: String,
    pub(crate) value: Value,
}

impl Value {
    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Kind::String(string) = &self.kind {
            Some(string)
        } else {
            None
        }
    }

    /// The elements of an array; any other value counts as an array of one.
    pub(crate) fn elements(&self) -> &[Self] {
        if let Kind::Array(elements) = &self.kind {
            elements
        } else {
            std::slice::from_ref(self)
        }
    }
}

/// Parses the JSON value at the start of `text`.
pub(crate) fn parse(text: &str) -> Result<Value, PatternError> {
    Parser { text, offset: 0 }.value(0)
}

struct Parser<'t> {
    text: &'t str,
    offset: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, PatternError> {
        if MAX_DEPTH < depth {
            return Err(self.error("the pattern is nested too deeply"));
        }
        let first = self.peek();
        let offset = self.offset;
        let kind = match first {
            Some(b'{') => Kind::Object(self.object(depth)?),
            Some(b'[') => Kind::Array(self.array(depth)?),
            Some(b'"') => Kind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Kind::Number(self.number()?),
            Some(b't') => self.literal("true", Kind::Boolean(true))?,
            Some(b'f') => self.literal("false", Kind::Boolean(false))?,
            Some(b'n') => self.literal("null", Kind::Null)?,
            Some(_) => return Err(self.error("expected a JSON value")),
            None => return Err(self.error("expected a JSON value, found the end of the pattern")),
        };
        let end = self.offset;
        Ok(Value { offset, end, kind })
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Member>, PatternError> {
        self.offset += 1;
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(members);
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a field name in double quotes"));
            }
            let offset = self.offset;
            let name = self.string()?;
            self.expect(b':', "expected a colon")?;
            let value = self.value(depth + 1)?;
            members.push(Member {
                offset,
                name,
                value,
            });
            if self.take(b'}') {
                return Ok(members);
            }
            self.expect(b',', "expected a comma or the end of the object")?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, PatternError> {
        self.offset += 1;
        let mut elements = Vec::new();
        if self.take(b']') {
            return Ok(elements);
        }
        loop {
            elements.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(elements);
            }
            self.expect(b',', "expected a comma or the end of the array")?;
        }
    }

    fn string(&mut self) -> Result<String, PatternError> {
        let start = self.offset;
        let bytes = self.text.as_bytes();
        self.offset += 1;
        loop {
            match bytes.get(self.offset) {
                Some(b'"') => break,
                Some(b'\\') => self.offset += 2,
                Some(byte) if *byte < b' ' => {
                    return Err(self.error("control characters in strings must be escaped"));
                }
                Some(_) => self.offset += 1,
                None => {
                    self.offset = start;
                    return Err(self.error("unterminated string"));
                }
            }
        }
        self.offset += 1;
        let quoted = self.text.get(start..self.offset);
        let string = quoted.and_then(|quoted| serde_json::from_str(quoted).ok());
        string.ok_or_else(|| PatternError::new(start, "invalid escape in a string"))
    }

    /// <https://www.rfc-editor.org/rfc/rfc8259#section-6>
    fn number(&mut self) -> Result<String, PatternError> {
        let rest = &self.text[self.offset..];
        let end = rest.find(|it: char| !(it.is_ascii_alphanumeric() || "+-.".contains(it)));
        let number = &rest[..end.unwrap_or(rest.len())];
        if !is_number(number.as_bytes()) {
            return Err(self.error("invalid number"));
        }
        self.offset += number.len();
        Ok(number.to_owned())
    }

    fn literal(&mut self, literal: &str, kind: Kind) -> Result<Kind, PatternError> {
        let rest = &self.text[self.offset..];
        let follows = rest.strip_prefix(literal).map(|rest| rest.as_bytes());
        match follows {
            Some(follows) if !follows.first().is_some_and(u8::is_ascii_alphanumeric) => {
                self.offset += literal.len();
                Ok(kind)
            }
            _ => Err(self.error("expected a JSON value; strings need double quotes")),
        }
    }

    fn expect(&mut self, byte: u8, reason: &str) -> Result<(), PatternError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.error(reason))
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.offset) {
            self.offset += 1;
        }
        bytes.get(self.offset).copied()
    }

    fn error(&self, reason: &str) -> PatternError {
        PatternError::new(self.offset, reason)
    }
}
