//! Reads a JSON text token by token, and passes over what nobody wants.
//!
//! It is strict: who has read to the end without an error has read JSON. Only white space around the
//! whole, control characters in strings and UTF-8 are left to [`Reader::end`].

use super::number::is_number;
use super::text::check_escapes;
use super::tokens::Tokens;
use super::value::Leaf;

/// Deeper texts are refused, as AWS's parser does.
///
/// <https://github.com/FasterXML/jackson-core/wiki/Releases-2.15>
pub(super) const DEEPEST: usize = 1_000;

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// A place in a text.
pub(super) struct Reader<'t> {
    text: &'t [u8],
    tokens: Tokens<'t>,
    /// Behind what was read.
    at: usize,
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy)]
pub(super) struct RawText<'t> {
    pub(super) raw: &'t [u8],
    /// Whether it has backslashes.
    pub(super) escapes: bool,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            tokens: Tokens::new(text),
            at: 0,
        }
    }

    /// The byte of the next token, which stays the next; zero at the end of the text.
    #[inline]
    pub(super) fn peek(&mut self) -> u8 {
        let token = self.tokens.peek();
        self.text.get(token).copied().unwrap_or_default()
    }

    /// Passes over a token with nothing but white space before it.
    #[inline]
    pub(super) fn token(&mut self) -> Result<u8, NotJson> {
        let token = self.tokens.peek();
        let byte = *self.text.get(token).ok_or(NotJson)?;
        if self.at != token && !is_blank(&self.text[self.at..token]) {
            return Err(NotJson);
        }
        self.tokens.take();
        self.at = token + 1;
        Ok(byte)
    }

    /// Passes over the end of an object or list that `open` has begun, if there is nothing in it.
    #[inline]
    pub(super) fn closes(&mut self, open: u8) -> bool {
        let token = self.tokens.peek();
        // Both ends are two behind their beginnings. A scalar is no token, and may stand between.
        let closes = self.text.get(token) == Some(&(open + 2));
        if closes && is_blank(&self.text[self.at..token]) {
            self.tokens.take();
            self.at = token + 1;
            return true;
        }
        false
    }

    /// Passes over a string.
    #[inline]
    pub(super) fn string(&mut self) -> Result<RawText<'t>, NotJson> {
        if self.token()? != b'"' {
            return Err(NotJson);
        }
        let start = self.at;
        let close = self.tokens.peek();
        if close == self.text.len() {
            return Err(NotJson);
        }
        let escapes = self.tokens.escapes_since(start, close);
        self.tokens.take();
        self.at = close + 1;
        let raw = &self.text[start..close];
        Ok(RawText { raw, escapes })
    }

    /// Passes over the name of a member and its colon.
    #[inline]
    pub(super) fn name(&mut self) -> Result<RawText<'t>, NotJson> {
        let name = self.string()?;
        if self.token()? == b':' {
            Ok(name)
        } else {
            Err(NotJson)
        }
    }

    /// Passes over a value that is neither a string nor a container: it ends at the next token.
    #[inline]
    pub(super) fn scalar(&mut self) -> Result<Leaf<'t>, NotJson> {
        let end = self.tokens.peek();
        let text = trim(&self.text[self.at..end]);
        self.at = end;
        match text.first() {
            Some(b'-' | b'0'..=b'9') if is_number(text) => Ok(Leaf::Number(text)),
            Some(b'n') if text == b"null" => Ok(Leaf::Null),
            Some(b't') if text == b"true" => Ok(Leaf::Boolean(true)),
            Some(b'f') if text == b"false" => Ok(Leaf::Boolean(false)),
            _ => Err(NotJson),
        }
    }

    /// Passes over a value of any kind, within `depth` others.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), NotJson> {
        // Which of the containers that are open are objects, a bit for each.
        let mut objects = [0_u64; DEEPEST.div_ceil(64)];
        let mut n_open = 0;
        loop {
            match self.peek() {
                b'"' => self.string()?.check()?,
                open @ (b'{' | b'[') => {
                    self.token()?;
                    let object = open == b'{';
                    if !self.closes(open) {
                        if DEEPEST <= depth + n_open {
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

    /// Whether the text was JSON, now that everything was read.
    pub(super) fn end(&self) -> Result<(), NotJson> {
        let valid = is_blank(&self.text[self.at..])
            && !self.tokens.has_control()
            && std::str::from_utf8(self.text).is_ok();
        if valid { Ok(()) } else { Err(NotJson) }
    }
}

impl RawText<'_> {
    /// Whether its escapes are what JSON has.
    #[inline]
    pub(super) fn check(self) -> Result<(), NotJson> {
        if self.escapes {
            check_escapes(self.raw)
        } else {
            Ok(())
        }
    }
}

fn trim(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| is_space(*byte))
}

/// White space as JSON has it.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
