//! A cursor over the bytes of a JSON text.
//!
//! It returns slices of the text and builds no values. Members may be in any order, unknown members
//! and white space are skipped, and invalid JSON is an error with its position. It is as strict as
//! a full parser, because text that is copied ends up in a function's event.

use std::borrow::Cow;

use base64_simd::STANDARD;
use memchr::memchr2;
use thiserror::Error;
use windlass_core::time::Timestamp;

use super::member_table::MemberTable;
use super::text::{base64_prefix_len, plain_prefix_len, unescape};
use super::timestamp::{parse_exact, parse_rounded};

/// Limit of nesting. DynamoDB nests 32 levels, each two deep. Together with the levels that an
/// event adds, a value stays below the 128 levels that JSON parsers commonly allow.
const MAX_DEPTH: usize = 100;

/// A response that violates its protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("malformed response at byte {offset}: {reason}")]
pub struct WireError {
    offset: usize,
    reason: &'static str,
    /// Whether the text ended too early: more of it may be what is missing.
    is_incomplete: bool,
}

impl WireError {
    pub(crate) const fn new(offset: usize, reason: &'static str) -> Self {
        Self {
            offset,
            reason,
            is_incomplete: false,
        }
    }

    pub(super) const fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    pub(super) const fn reason(&self) -> &'static str {
        self.reason
    }

    /// The same error in a text that has `n_bytes` more at its start.
    pub(super) const fn shifted_by(mut self, n_bytes: usize) -> Self {
        self.offset += n_bytes;
        self
    }
}

/// A position in a JSON text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonCursor<'a> {
    text: &'a [u8],
    offset: usize,
    /// Whether the contents of strings are not checked.
    lenient: bool,
}

impl<'a> JsonCursor<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            offset: 0,
            lenient: false,
        }
    }

    /// The same position, but the contents of strings are not checked from here on: they must not be
    /// copied into an event.
    pub(super) const fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    /// What is between an earlier position and this one.
    pub(super) fn text_since(&self, start: &Self) -> &'a [u8] {
        &self.text[start.offset..self.offset]
    }

    /// An error at this position.
    pub(super) const fn error(&self, reason: &'static str) -> WireError {
        WireError {
            offset: self.offset,
            reason,
            is_incomplete: self.text.len() <= self.offset,
        }
    }

    /// Visits the members of an object with their names. `visit` is called with the cursor at each
    /// value and must read or skip it.
    pub(super) fn object(
        &mut self,
        mut visit: impl FnMut(&mut Self, &[u8]) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let visit = |cursor: &mut Self, name: Cow<'_, [u8]>| visit(cursor, &name);
        self.members(Self::member_name, visit)
    }

    /// As [`Self::object`], for an object that is repeated: `visit` receives the meaning of a
    /// member in `table`, or `None` for any other. The table predicts the order of the members in
    /// the next object, which makes it cheaper to read.
    pub(super) fn object_with<T: Copy>(
        &mut self,
        table: &mut MemberTable<'_, T>,
        visit: impl FnMut(&mut Self, Option<T>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        table.start_object();
        let name = |cursor: &mut Self| match table.match_predicted(&cursor.text[cursor.offset..]) {
            Some((length, meaning)) => {
                cursor.offset += length;
                Ok(Some(meaning))
            }
            None => {
                let name = cursor.member_name()?;
                Ok(table.look_up(&name))
            }
        };
        self.members(name, visit)
    }

    /// As [`Self::object`], for an object whose names are data: they are passed on with escapes.
    pub(super) fn map(
        &mut self,
        visit: impl FnMut(&mut Self, &'a [u8]) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.members(Self::name, visit)
    }

    /// Visits the members of an object; `name` reads a name and its colon.
    fn members<N>(
        &mut self,
        mut name: impl FnMut(&mut Self) -> Result<N, WireError>,
        mut visit: impl FnMut(&mut Self, N) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.expect(b'{', "expected an object")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = name(self)?;
            visit(self, name)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "expected a comma or the end of the object")?;
        }
    }

    /// Visits the elements of an array, as [`Self::object`] does members.
    pub(super) fn array(
        &mut self,
        mut visit: impl FnMut(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.expect(b'[', "expected an array")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            visit(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "expected a comma or the end of the array")?;
        }
    }

    /// The raw text of a string, escapes included: UTF-8 without control characters.
    pub(super) fn string(&mut self) -> Result<&'a [u8], WireError> {
        if let Some(string) = self.plain_string() {
            return Ok(string);
        }
        if self.lenient {
            return self.lenient_string();
        }
        let string = self.unchecked_string()?;
        if std::str::from_utf8(string).is_ok() && string.iter().all(|byte| b' ' <= *byte) {
            Ok(string)
        } else {
            Err(self.error("string with invalid UTF-8 or control characters"))
        }
    }

    /// The raw text of a base64 string, in which slashes may be escaped.
    pub(super) fn base64(&mut self) -> Result<&'a [u8], WireError> {
        if let Some(string) = self.plain_base64() {
            return Ok(string);
        }
        let string = self.unchecked_string()?;
        let unescaped = unescape(string);
        if unescaped.is_some_and(|text| STANDARD.check(&text).is_ok()) {
            Ok(string)
        } else {
            Err(self.error("expected base64"))
        }
    }

    /// Base64 without escapes; otherwise `None`, and the cursor does not move.
    fn plain_base64(&mut self) -> Option<&'a [u8]> {
        let start = self.start_of_string()?;
        let rest = &self.text[start..];
        let letters = base64_prefix_len(rest);
        let padding = rest[letters..].iter().take(2);
        let length = letters + padding.take_while(|byte| **byte == b'=').count();
        let (string, after) = rest.split_at(length);
        // Only the last four characters can be invalid: all others are base64 characters.
        let valid =
            length.is_multiple_of(4) && STANDARD.check(&string[length.saturating_sub(4)..]).is_ok();
        if !valid || after.first() != Some(&b'"') {
            return None;
        }
        self.offset = start + length + 1;
        Some(string)
    }

    /// A string of plain bytes; otherwise `None`, and the cursor does not move.
    fn plain_string(&mut self) -> Option<&'a [u8]> {
        let start = self.start_of_string()?;
        let rest = &self.text[start..];
        let (string, after) = rest.split_at(plain_prefix_len(rest));
        if after.first() != Some(&b'"') {
            return None;
        }
        self.offset = start + string.len() + 1;
        Some(string)
    }

    /// The offset after the opening quote, if a string comes next.
    fn start_of_string(&mut self) -> Option<usize> {
        (self.peek() == Some(b'"')).then_some(self.offset + 1)
    }

    /// The raw text of a string. Its escapes are valid, nothing else is checked.
    fn unchecked_string(&mut self) -> Result<&'a [u8], WireError> {
        self.raw_string(Self::escape)
    }

    /// The raw text of a string without any check of it.
    fn lenient_string(&mut self) -> Result<&'a [u8], WireError> {
        self.raw_string(|cursor| {
            cursor.offset += 2;
            Ok(())
        })
    }

    /// The raw text of a string; `skip_escape` moves past the escape at the offset.
    #[inline]
    fn raw_string<T>(
        &mut self,
        skip_escape: impl Fn(&mut Self) -> Result<T, WireError>,
    ) -> Result<&'a [u8], WireError> {
        self.expect(b'"', "expected a string")?;
        let start = self.offset;
        loop {
            let rest = self.text.get(self.offset..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                return Err(WireError {
                    is_incomplete: true,
                    ..WireError::new(start, "string without an end")
                });
            };
            self.offset += found;
            if self.text[self.offset] == b'"' {
                self.offset += 1;
                return Ok(&self.text[start..self.offset - 1]);
            }
            skip_escape(self)?;
        }
    }

    /// The unescaped name of a member; its colon is skipped.
    pub(super) fn member_name(&mut self) -> Result<Cow<'a, [u8]>, WireError> {
        let raw = self.name()?;
        unescape(raw).ok_or_else(|| self.error("invalid name"))
    }

    /// An unescaped string; `None` for `null`.
    pub(super) fn optional_text(&mut self) -> Result<Option<String>, WireError> {
        let Some(raw) = self.optional_string()? else {
            return Ok(None);
        };
        let text = unescape(raw).and_then(|text| String::from_utf8(text.into_owned()).ok());
        text.map(Some).ok_or_else(|| self.error("invalid string"))
    }

    /// The raw text of a string; `None` for `null`.
    pub(super) fn optional_string(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        if self.take_null()? {
            return Ok(None);
        }
        self.string().map(Some)
    }

    /// Skips a `null`, if it comes next.
    pub(super) fn take_null(&mut self) -> Result<bool, WireError> {
        let null = self.peek() == Some(b'n');
        if null {
            self.skip()?;
        }
        Ok(null)
    }

    /// The text of a number.
    pub(super) fn number(&mut self) -> Result<&'a [u8], WireError> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => {
                let start = self.offset;
                self.skip_number()?;
                Ok(&self.text[start..self.offset])
            }
            _ => Err(self.error("expected a number")),
        }
    }

    /// A time as a number of seconds; `None` for `null`.
    pub(super) fn optional_timestamp(&mut self) -> Result<Option<Timestamp>, WireError> {
        self.skip_space();
        if let Some((length, time)) = parse_exact(&self.text[self.offset..]) {
            self.offset += length;
            return Ok(Some(time));
        }
        if self.take_null()? {
            return Ok(None);
        }
        let time = parse_rounded(self.number()?);
        let time = time.ok_or_else(|| self.error("time before 1970 or after the year 9999"))?;
        Ok(Some(time))
    }

    /// The text of any value.
    pub(super) fn value(&mut self) -> Result<&'a [u8], WireError> {
        self.skip_space();
        let start = self.offset;
        self.skip()?;
        Ok(&self.text[start..self.offset])
    }

    /// Skips a value of any kind.
    pub(super) fn skip(&mut self) -> Result<(), WireError> {
        // The enclosing values: true for an object, false for an array.
        let mut open: Vec<bool> = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(opening @ (b'{' | b'[')) => {
                    self.offset += 1;
                    let object = opening == b'{';
                    if !self.take(if object { b'}' } else { b']' }) {
                        if MAX_DEPTH <= open.len() {
                            return Err(self.error("nested too deeply"));
                        }
                        open.push(object);
                        if object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.skip_number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => return Err(self.error("expected a value")),
            }
            loop {
                let Some(&object) = open.last() else {
                    return Ok(());
                };
                if self.take(if object { b'}' } else { b']' }) {
                    open.pop();
                    continue;
                }
                self.expect(b',', "expected a comma or the end of the value")?;
                if object {
                    self.name()?;
                }
                break;
            }
        }
    }

    /// Skips an element of a list, whatever its strings contain. Something must follow it: the
    /// element itself may not be complete at the end of the text.
    pub(super) fn skip_element(&mut self) -> Result<(), WireError> {
        let mut end = self.lenient();
        end.skip()?;
        if end.peek().is_none() {
            return Err(end.error("list without an end"));
        }
        self.skip_to(&end);
        Ok(())
    }

    /// Moves to the position of another cursor over the same text.
    pub(super) const fn skip_to(&mut self, other: &Self) {
        self.offset = other.offset;
    }

    /// Only white space may follow.
    pub(super) fn end(&mut self) -> Result<(), WireError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("unexpected data after the response")),
        }
    }

    /// The raw name of a member; its colon is skipped.
    fn name(&mut self) -> Result<&'a [u8], WireError> {
        let name = self.string()?;
        self.expect(b':', "expected a colon")?;
        Ok(name)
    }

    fn escape(&mut self) -> Result<(), WireError> {
        let length = match self.text.get(self.offset + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => match self.code_unit(self.offset) {
                Some(0xd800..=0xdbff) => match self.code_unit(self.offset + 6) {
                    Some(0xdc00..=0xdfff) => 12,
                    _ => return Err(self.error("unpaired surrogate")),
                },
                Some(0xdc00..=0xdfff) => return Err(self.error("unpaired surrogate")),
                Some(_) => 6,
                None => return Err(self.error("invalid escape")),
            },
            _ => return Err(self.error("invalid escape")),
        };
        self.offset += length;
        Ok(())
    }

    /// The value of a `\u` escape at an offset.
    fn code_unit(&self, offset: usize) -> Option<u16> {
        let digits = self.text.get(offset..offset + 6)?.strip_prefix(b"\\u")?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    /// <https://www.rfc-editor.org/rfc/rfc8259#section-6>
    fn skip_number(&mut self) -> Result<(), WireError> {
        self.offset += usize::from(self.is_at(b"-"));
        let leading_zero = self.is_at(b"0");
        let whole = self.skip_digits();
        let mut valid = whole == 1 || (whole != 0 && !leading_zero);
        if self.is_at(b".") {
            self.offset += 1;
            valid &= self.skip_digits() != 0;
        }
        if self.is_at(b"eE") {
            self.offset += 1;
            self.offset += usize::from(self.is_at(b"+-"));
            valid &= self.skip_digits() != 0;
        }
        if valid {
            Ok(())
        } else {
            Err(self.error("invalid number"))
        }
    }

    fn skip_digits(&mut self) -> usize {
        let rest = &self.text[self.offset..];
        let n_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.offset += n_digits;
        n_digits
    }

    /// Whether one of these bytes comes next.
    fn is_at(&self, bytes: &[u8]) -> bool {
        let next = self.text.get(self.offset);
        next.is_some_and(|next| bytes.contains(next))
    }

    fn literal(&mut self, literal: &'static [u8]) -> Result<(), WireError> {
        let rest = &self.text[self.offset..];
        if !rest.starts_with(literal) {
            return Err(WireError {
                is_incomplete: literal.starts_with(rest),
                ..self.error("expected a value")
            });
        }
        self.offset += literal.len();
        Ok(())
    }

    /// Skips a byte that must come next.
    pub(super) fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), WireError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.error(reason))
        }
    }

    /// Skips a byte, if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.get(self.offset).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.offset) {
            self.offset += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skips(text: &str) -> bool {
        let mut cursor = JsonCursor::new(text.as_bytes());
        cursor.skip().and_then(|()| cursor.end()).is_ok()
    }

    #[test]
    fn every_kind_of_value_is_skipped() {
        for text in [
            "1",
            "-1.5e3",
            " \"a\\\"b\\u00e9\" ",
            "[]",
            "{}",
            "[1,[2,{}],{\"a\":[null,true,false]}]",
            "{\"a\":{\"b\":[{}]},\"c\":\"\"}",
            "[0,-0,10,0.5,1e400,-1.0E+2,2e-7]",
            "\"\\ud83d\\ude00 \u{1f600}\"",
            "\n[\t1\r]\n",
        ] {
            assert!(skips(text), "{text}");
        }
        for text in [
            "",
            "{",
            "[1",
            "[1,]",
            "{\"a\"}",
            "{\"a\":}",
            "\"",
            "\"\\x\"",
            "nul",
            "[} ",
            "1 1",
            "1.2.3",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "-.5",
            "\"a\tb\"",
            "{\"a\nb\":1}",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\\u+123\"",
        ] {
            assert!(!skips(text), "{text}");
        }
    }

    #[test]
    fn nesting_is_limited() {
        assert!(skips(&format!(
            "{}{}",
            "[".repeat(MAX_DEPTH),
            "]".repeat(MAX_DEPTH)
        )));
        assert!(!skips(&"[".repeat(100_000)));
    }
}
