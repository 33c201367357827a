//! Reads a JSON text token by token and skips values that no pattern needs.
//!
//! It is strict: a text read to the end without an error is valid JSON. Trailing white space, control
//! characters in strings and UTF-8 are checked by [`Reader::end`].

use super::error::NotJson;
use super::leaf::Leaf;
use super::number::is_number;
use super::string::check_escapes;
use super::tokens::Tokens;

/// Maximum nesting of an event: AWS's parser rejects deeper ones too.
///
/// <https://github.com/FasterXML/jackson-core/wiki/Releases-2.15>
pub(crate) const MAX_DEPTH: usize = 1_000;

pub(crate) struct Reader<'t> {
    text: &'t [u8],
    tokens: Tokens<'t>,
    /// Offset after what was read.
    offset: usize,
}

/// A string as written.
#[derive(Clone, Copy)]
pub(crate) struct RawString<'t> {
    /// The bytes between the quotes.
    pub(crate) raw: &'t [u8],
    pub(crate) has_escapes: bool,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            tokens: Tokens::new(text),
            offset: 0,
        }
    }

    /// The byte of the next token, which is not consumed; zero at the end of the text.
    #[inline]
    pub(crate) fn peek(&mut self) -> u8 {
        let token = self.tokens.peek();
        self.text.get(token).copied().unwrap_or_default()
    }

    /// Consumes a token that only white space precedes.
    #[inline]
    pub(crate) fn token(&mut self) -> Result<u8, NotJson> {
        let token = self.tokens.peek();
        let byte = *self.text.get(token).ok_or(NotJson)?;
        if self.offset != token && !is_blank(&self.text[self.offset..token]) {
            return Err(NotJson);
        }
        self.tokens.take();
        self.offset = token + 1;
        Ok(byte)
    }

    /// Consumes the end of the object or array that `open` began, if it is empty.
    #[inline]
    pub(crate) fn take_empty(&mut self, open: u8) -> bool {
        let token = self.tokens.peek();
        // In ASCII `}` is `{` plus two, and `]` is `[` plus two. A scalar is not a token, so it may lie
        // in between.
        let closes = self.text.get(token) == Some(&(open + 2));
        if closes && is_blank(&self.text[self.offset..token]) {
            self.tokens.take();
            self.offset = token + 1;
            return true;
        }
        false
    }

    /// Consumes a string.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<RawString<'t>, NotJson> {
        if self.token()? != b'"' {
            return Err(NotJson);
        }
        let start = self.offset;
        let close = self.tokens.peek();
        if close == self.text.len() {
            return Err(NotJson);
        }
        let has_escapes = self.tokens.has_backslash_since(start, close);
        self.tokens.take();
        self.offset = close + 1;
        let raw = &self.text[start..close];
        Ok(RawString { raw, has_escapes })
    }

    /// Consumes a member name and its colon.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<RawString<'t>, NotJson> {
        let name = self.string()?;
        if self.token()? == b':' {
            Ok(name)
        } else {
            Err(NotJson)
        }
    }

    /// Consumes a number, boolean or null, which ends at the next token.
    #[inline]
    pub(crate) fn scalar(&mut self) -> Result<Leaf<'t>, NotJson> {
        let end = self.tokens.peek();
        let text = trim(&self.text[self.offset..end]);
        self.offset = end;
        match text.first() {
            Some(b'-' | b'0'..=b'9') if is_number(text) => Ok(Leaf::Number(text)),
            Some(b'n') if text == b"null" => Ok(Leaf::Null),
            Some(b't') if text == b"true" => Ok(Leaf::Boolean(true)),
            Some(b'f') if text == b"false" => Ok(Leaf::Boolean(false)),
            _ => Err(NotJson),
        }
    }

    /// Consumes a value of any kind, nested in `depth` containers.
    pub(crate) fn skip(&mut self, depth: usize) -> Result<(), NotJson> {
        // Which of the open containers are objects, a bit for each.
        let mut objects = [0_u64; MAX_DEPTH.div_ceil(64)];
        let mut n_open = 0;
        loop {
            match self.peek() {
                b'"' => self.string()?.check()?,
                open @ (b'{' | b'[') => {
                    self.token()?;
                    let object = open == b'{';
                    if !self.take_empty(open) {
                        if MAX_DEPTH <= depth + n_open {
                            return Err(NotJson);
                        }
                        let bit = 1 << (n_open % 64);
                        let word = &mut objects[n_open / 64];
                        *word = if object { *word | bit } else { *word & !bit };
                        n_open += 1;
                        if object {
                            self.name()?.check()?;
                        }
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                }
            }
            loop {
                let Some(innermost) = n_open.checked_sub(1) else {
                    return Ok(());
                };
                let object = objects[innermost / 64] >> (innermost % 64) & 1 == 1;
                match (self.token()?, object) {
                    (b',', true) => {
                        self.name()?.check()?;
                        break;
                    }
                    (b',', false) => break,
                    (b'}', true) | (b']', false) => n_open = innermost,
                    _ => return Err(NotJson),
                }
            }
        }
    }

    /// Checks, after the last value, that the whole text is valid JSON.
    pub(crate) fn end(&self) -> Result<(), NotJson> {
        let valid = is_blank(&self.text[self.offset..])
            && !self.tokens.has_control()
            && std::str::from_utf8(self.text).is_ok();
        if valid { Ok(()) } else { Err(NotJson) }
    }
}

impl RawString<'_> {
    /// Checks that its escapes are valid.
    #[inline]
    pub(crate) fn check(self) -> Result<(), NotJson> {
        if self.has_escapes {
            check_escapes(self.raw)
        } else {
            Ok(())
        }
    }
}

fn trim(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [first, rest @ ..] = text
        && is_white_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_white_space(*last)
    {
        text = rest;
    }
    text
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| is_white_space(*byte))
}

/// <https://www.rfc-editor.org/rfc/rfc8259#section-2>
const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
