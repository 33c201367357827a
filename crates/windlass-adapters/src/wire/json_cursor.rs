//! A cursor over the bytes of a JSON text.
//!
//! It gives slices of the text and builds nothing. It takes members in any order, white space and
//! members that nobody asked for; whatever is not JSON is an error with its place. It is as strict
//! as a parser, since what it passes over or copies ends up in a function's event.

use std::borrow::Cow;

use base64_simd::STANDARD;
use memchr::memchr2;
use thiserror::Error;
use windlass_core::time::Timestamp;

use super::names::Names;
use super::number::{exact_moment, near_moment};
use super::text::{run_of_base64, run_of_plain, unescape};

/// Deeper values than any source sends are refused: DynamoDB nests 32 levels, each two deep. With
/// what is put around it, an event stays below the 128 levels that parsers of JSON commonly allow.
const DEEPEST: usize = 100;

/// An answer that is not what its protocol says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the answer is malformed at byte {at}: {what}")]
pub struct WireError {
    at: usize,
    what: &'static str,
}

impl WireError {
    pub(super) const fn at(at: usize, what: &'static str) -> Self {
        Self { at, what }
    }

    /// The same error in a text that stands behind so many bytes.
    pub(super) const fn behind(mut self, bytes: usize) -> Self {
        self.at += bytes;
        self
    }
}

/// A place in a JSON text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of a text.
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes have been passed.
    pub(super) const fn place(&self) -> usize {
        self.at
    }

    /// An error at this place.
    pub(super) const fn error(&self, what: &'static str) -> WireError {
        WireError { at: self.at, what }
    }

    /// Visits the members of an object by their names: `visit` is called with the cursor before
    /// each value, which it must take or skip.
    pub(super) fn object(
        &mut self,
        mut visit: impl FnMut(&mut Self, &[u8]) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let visit = |cursor: &mut Self, name: Cow<'_, [u8]>| visit(cursor, &name);
        self.members(Self::member_name, visit)
    }

    /// As [`Cursor::object`] for an object that comes again and again: of members that are among
    /// `names` it is told which they are, of others nothing. What was seen of the order of the
    /// members makes the next object of the kind cheaper.
    pub(super) fn object_of<T: Copy>(
        &mut self,
        names: &mut Names<'_, T>,
        visit: impl FnMut(&mut Self, Option<T>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        names.begin();
        let name = |cursor: &mut Self| match names.expected(&cursor.text[cursor.at..]) {
            Some((length, known)) => {
                cursor.at += length;
                Ok(Some(known))
            }
            None => {
                let name = cursor.member_name()?;
                Ok(names.find(&name))
            }
        };
        self.members(name, visit)
    }

    /// As [`Cursor::object`], where the names are data: they come as they stand.
    pub(super) fn map(
        &mut self,
        visit: impl FnMut(&mut Self, &'a [u8]) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.members(Self::name, visit)
    }

    /// Visits the members of an object, of each with what `name` makes of its name and its colon.
    fn members<N>(
        &mut self,
        mut name: impl FnMut(&mut Self) -> Result<N, WireError>,
        mut visit: impl FnMut(&mut Self, N) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.expect(b'{', "an object was expected")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = name(self)?;
            visit(self, name)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma or the end of the object was expected")?;
        }
    }

    /// Visits the elements of an array, as [`Cursor::object`] does members.
    pub(super) fn array(
        &mut self,
        mut visit: impl FnMut(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.expect(b'[', "an array was expected")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            visit(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "a comma or the end of the array was expected")?;
        }
    }

    /// A string as it stands between its quotes, escapes included: UTF-8 without control characters.
    pub(super) fn string(&mut self) -> Result<&'a [u8], WireError> {
        if let Some(string) = self.plain_string() {
            return Ok(string);
        }
        let string = self.any_string()?;
        if std::str::from_utf8(string).is_ok() && string.iter().all(|byte| b' ' <= *byte) {
            Ok(string)
        } else {
            Err(self.error("a string that is not UTF-8 or has control characters"))
        }
    }

    /// A string of base64 as it stands between its quotes, in which slashes may be escaped.
    pub(super) fn base64(&mut self) -> Result<&'a [u8], WireError> {
        if let Some(string) = self.plain_base64() {
            return Ok(string);
        }
        let string = self.any_string()?;
        let unescaped = unescape(string);
        if unescaped.is_some_and(|text| STANDARD.check(&text).is_ok()) {
            Ok(string)
        } else {
            Err(self.error("base64 was expected"))
        }
    }

    /// Base64 without escapes; `None`: there is none, and the cursor has not moved.
    fn plain_base64(&mut self) -> Option<&'a [u8]> {
        let start = self.begin_string()?;
        let rest = &self.text[start..];
        let letters = run_of_base64(rest);
        let padding = rest[letters..].iter().take(2);
        let length = letters + padding.take_while(|byte| **byte == b'=').count();
        let (string, after) = rest.split_at(length);
        // What comes before the last four is right if it is nothing but letters.
        let valid =
            length.is_multiple_of(4) && STANDARD.check(&string[length.saturating_sub(4)..]).is_ok();
        if !valid || after.first() != Some(&b'"') {
            return None;
        }
        self.at = start + length + 1;
        Some(string)
    }

    /// A string of nothing but plain bytes; `None`: there is none, and the cursor has not moved.
    fn plain_string(&mut self) -> Option<&'a [u8]> {
        let start = self.begin_string()?;
        let rest = &self.text[start..];
        let (string, after) = rest.split_at(run_of_plain(rest));
        if after.first() != Some(&b'"') {
            return None;
        }
        self.at = start + string.len() + 1;
        Some(string)
    }

    /// Where a string begins behind its quote, if one comes next.
    fn begin_string(&mut self) -> Option<usize> {
        (self.peek() == Some(b'"')).then_some(self.at + 1)
    }

    /// What stands between the quotes of a string. Escapes are as they should be; nothing else is
    /// known of it.
    fn any_string(&mut self) -> Result<&'a [u8], WireError> {
        self.expect(b'"', "a string was expected")?;
        let start = self.at;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                return Err(WireError {
                    at: start,
                    what: "a string without an end",
                });
            };
            self.at += found;
            if self.text[self.at] == b'"' {
                self.at += 1;
                return Ok(&self.text[start..self.at - 1]);
            }
            self.escape()?;
        }
    }

    /// The name of a member, and its colon.
    pub(super) fn member_name(&mut self) -> Result<Cow<'a, [u8]>, WireError> {
        let raw = self.name()?;
        unescape(raw).ok_or_else(|| self.error("a broken name"))
    }

    /// The text that a string stands for, or `None` for `null`.
    pub(super) fn optional_text(&mut self) -> Result<Option<String>, WireError> {
        let Some(raw) = self.optional_string()? else {
            return Ok(None);
        };
        let text = unescape(raw).and_then(|text| String::from_utf8(text.into_owned()).ok());
        text.map(Some).ok_or_else(|| self.error("a broken string"))
    }

    /// A string, or `None` for `null`.
    pub(super) fn optional_string(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        if self.value_is_null()? {
            return Ok(None);
        }
        self.string().map(Some)
    }

    /// Passes over a `null`, if that is what comes.
    pub(super) fn value_is_null(&mut self) -> Result<bool, WireError> {
        let null = self.peek() == Some(b'n');
        if null {
            self.skip()?;
        }
        Ok(null)
    }

    /// A number as it stands.
    pub(super) fn number(&mut self) -> Result<&'a [u8], WireError> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => {
                let start = self.at;
                self.skip_number()?;
                Ok(&self.text[start..self.at])
            }
            _ => Err(self.error("a number was expected")),
        }
    }

    /// A number of seconds.
    pub(super) fn moment(&mut self) -> Result<Timestamp, WireError> {
        self.skip_space();
        if let Some((length, moment)) = exact_moment(&self.text[self.at..]) {
            self.at += length;
            return Ok(moment);
        }
        let seconds = near_moment(self.number()?);
        seconds.ok_or_else(|| self.error("a time before 1970 or after the year 9999"))
    }

    /// Any value as it stands.
    pub(super) fn value(&mut self) -> Result<&'a [u8], WireError> {
        self.skip_space();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Passes over a value of any kind.
    pub(super) fn skip(&mut self) -> Result<(), WireError> {
        // What is open: true for an object, false for an array.
        let mut open: Vec<bool> = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(opening @ (b'{' | b'[')) => {
                    self.at += 1;
                    let object = opening == b'{';
                    if !self.take(if object { b'}' } else { b']' }) {
                        if DEEPEST <= open.len() {
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
                _ => return Err(self.error("a value was expected")),
            }
            loop {
                let Some(&object) = open.last() else {
                    return Ok(());
                };
                if self.take(if object { b'}' } else { b']' }) {
                    open.pop();
                    continue;
                }
                self.expect(b',', "a comma or an end was expected")?;
                if object {
                    self.name()?;
                }
                break;
            }
        }
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), WireError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("something follows the answer")),
        }
    }

    /// The name of a member as it stands, and its colon.
    fn name(&mut self) -> Result<&'a [u8], WireError> {
        let name = self.string()?;
        self.expect(b':', "a colon was expected")?;
        Ok(name)
    }

    fn escape(&mut self) -> Result<(), WireError> {
        let length = match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => match self.code_unit(self.at) {
                Some(0xd800..=0xdbff) => match self.code_unit(self.at + 6) {
                    Some(0xdc00..=0xdfff) => 12,
                    _ => return Err(self.error("half of a surrogate pair")),
                },
                Some(0xdc00..=0xdfff) => return Err(self.error("half of a surrogate pair")),
                Some(_) => 6,
                None => return Err(self.error("a broken escape")),
            },
            _ => return Err(self.error("a broken escape")),
        };
        self.at += length;
        Ok(())
    }

    /// What the escape at a place stands for, if it is one of four digits.
    fn code_unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    /// <https://www.rfc-editor.org/rfc/rfc8259#section-6>
    fn skip_number(&mut self) -> Result<(), WireError> {
        self.at += usize::from(self.is_at(b"-"));
        let leading_zero = self.is_at(b"0");
        let whole = self.skip_digits();
        let mut valid = whole == 1 || (whole != 0 && !leading_zero);
        if self.is_at(b".") {
            self.at += 1;
            valid &= self.skip_digits() != 0;
        }
        if self.is_at(b"eE") {
            self.at += 1;
            self.at += usize::from(self.is_at(b"+-"));
            valid &= self.skip_digits() != 0;
        }
        if valid {
            Ok(())
        } else {
            Err(self.error("a broken number"))
        }
    }

    fn skip_digits(&mut self) -> usize {
        let rest = &self.text[self.at..];
        let n_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += n_digits;
        n_digits
    }

    /// Whether any of these bytes comes next.
    fn is_at(&self, bytes: &[u8]) -> bool {
        let next = self.text.get(self.at);
        next.is_some_and(|next| bytes.contains(next))
    }

    fn literal(&mut self, literal: &'static [u8]) -> Result<(), WireError> {
        if !self.text[self.at..].starts_with(literal) {
            return Err(self.error("a value was expected"));
        }
        self.at += literal.len();
        Ok(())
    }

    /// Passes over a byte that must come next.
    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), WireError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.error(what))
        }
    }

    /// Passes over a byte, if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skips(text: &str) -> bool {
        let mut cursor = Cursor::new(text.as_bytes());
        cursor.skip().and_then(|()| cursor.end()).is_ok()
    }

    #[test]
    fn passes_over_every_kind_of_value() {
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
    fn depth_has_a_bound() {
        assert!(skips(&format!(
            "{}{}",
            "[".repeat(DEEPEST),
            "]".repeat(DEEPEST)
        )));
        assert!(!skips(&"[".repeat(100_000)));
    }
}
