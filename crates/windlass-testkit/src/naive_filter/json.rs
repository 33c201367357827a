//! JSON as a tree that keeps everything patterns depend on: the text of numbers, the order of members,
//! and duplicate members.
//!
//! It is strict: only [RFC 8259](https://www.rfc-editor.org/rfc/rfc8259) is valid.

use std::iter::Peekable;
use std::str::Chars;

/// Nested arrays and objects; event-ruler has the same limit.
const MAX_DEPTH: usize = 1000;

/// Lone surrogates become characters from here on, a private-use area that no test uses.
const LONE_SURROGATES: u32 = 0x10_0000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    /// In the order of the text, including duplicates.
    Object(Vec<(String, Json)>),
}

/// Parses text that consists of one value.
pub(super) fn parse(text: &str) -> Result<Json, String> {
    let mut parser = Parser::of(text, true);
    let value = parser.value(0)?;
    parser.skip_space();
    match parser.chars.next() {
        None => Ok(value),
        Some(more) => Err(format!("unexpected {more:?} after the value")),
    }
}

/// Parses the value at the start of the text and ignores the rest.
pub(crate) fn parse_beginning(text: &str) -> Result<Json, String> {
    Parser::of(text, false).value(0)
}

struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
    /// Whether lone surrogates are valid.
    lone_surrogates: bool,
}

impl<'a> Parser<'a> {
    fn of(text: &'a str, lone_surrogates: bool) -> Self {
        Self {
            chars: text.chars().peekable(),
            lone_surrogates,
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        self.skip_space();
        match self.chars.peek() {
            Some('{') => self.object(depth + 1),
            Some('[') => self.array(depth + 1),
            Some('"') => Ok(Json::Text(self.string()?)),
            Some('-' | '0'..='9') => Ok(Json::Number(self.number()?)),
            Some('n') => self.word("null", Json::Null),
            Some('t') => self.word("true", Json::Bool(true)),
            Some('f') => self.word("false", Json::Bool(false)),
            Some(other) => Err(format!("unexpected {other:?}, expected a value")),
            None => Err("expected a value, found the end of the text".to_owned()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        self.expect('{')?;
        too_deep(depth)?;
        let mut members = Vec::new();
        self.skip_space();
        if self.take('}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.skip_space();
            self.expect(':')?;
            members.push((name, self.value(depth)?));
            self.skip_space();
            if self.take('}') {
                return Ok(Json::Object(members));
            }
            self.expect(',')?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, String> {
        self.expect('[')?;
        too_deep(depth)?;
        let mut elements = Vec::new();
        self.skip_space();
        if self.take(']') {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth)?);
            self.skip_space();
            if self.take(']') {
                return Ok(Json::Array(elements));
            }
            self.expect(',')?;
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Ok(text),
                '\\' => text.push(self.escaped()?),
                control if control < ' ' => {
                    return Err(format!("unescaped {control:?} in a string"));
                }
                other => text.push(other),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        match self.next()? {
            same @ ('"' | '\\' | '/') => Ok(same),
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'u' => self.unicode(),
            other => Err(format!("invalid escape `\\{other}`")),
        }
    }

    /// The four digits after `\u`, or both escapes of a surrogate pair. Events, unlike patterns, may
    /// contain a lone surrogate.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.unit()?;
        let mut ahead = Self {
            chars: self.chars.clone(),
            ..*self
        };
        let second = ahead.expect('\\').and_then(|()| ahead.expect('u'));
        let second = second.and_then(|()| ahead.unit());
        if let Ok(second @ 0xdc00..0xe000) = second
            && (0xd800..0xdc00).contains(&first)
        {
            self.chars = ahead.chars;
            let pair = u32::from(first - 0xd800) << 10 | u32::from(second - 0xdc00);
            return char::from_u32(0x1_0000 + pair).ok_or_else(|| "not a character".to_owned());
        }
        let lone = self
            .lone_surrogates
            .then(|| LONE_SURROGATES + u32::from(first));
        char::from_u32(u32::from(first))
            .or_else(|| char::from_u32(lone?))
            .ok_or_else(|| "lone surrogate".to_owned())
    }

    fn unit(&mut self) -> Result<u16, String> {
        let mut digits = String::new();
        for _ in 0..4 {
            let digit = self.next()?;
            if !digit.is_ascii_hexdigit() {
                return Err(format!("{digit:?} is not a hexadecimal digit"));
            }
            digits.push(digit);
        }
        u16::from_str_radix(&digits, 16).map_err(|error| error.to_string())
    }

    fn number(&mut self) -> Result<String, String> {
        let mut literal = String::new();
        if self.take('-') {
            literal.push('-');
        }
        if self.take('0') {
            literal.push('0');
            if matches!(self.chars.peek(), Some('0'..='9')) {
                return Err("a number has a leading zero".to_owned());
            }
        } else {
            self.digits(&mut literal)?;
        }
        if self.take('.') {
            literal.push('.');
            self.digits(&mut literal)?;
        }
        if let Some(exponent) = self.chars.next_if(|char| matches!(char, 'e' | 'E')) {
            literal.push(exponent);
            if let Some(sign) = self.chars.next_if(|char| matches!(char, '+' | '-')) {
                literal.push(sign);
            }
            self.digits(&mut literal)?;
        }
        Ok(literal)
    }

    fn digits(&mut self, literal: &mut String) -> Result<(), String> {
        let before = literal.len();
        while let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
            literal.push(digit);
        }
        if literal.len() == before {
            return Err("a number lacks a digit".to_owned());
        }
        Ok(())
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, String> {
        for expected in word.chars() {
            self.expect(expected)?;
        }
        Ok(value)
    }

    fn skip_space(&mut self) {
        while self
            .chars
            .next_if(|char| matches!(char, ' ' | '\t' | '\n' | '\r'))
            .is_some()
        {}
    }

    fn take(&mut self, expected: char) -> bool {
        self.chars.next_if_eq(&expected).is_some()
    }

    fn expect(&mut self, expected: char) -> Result<(), String> {
        match self.next()? {
            found if found == expected => Ok(()),
            found => Err(format!("unexpected {found:?}, expected {expected:?}")),
        }
    }

    fn next(&mut self) -> Result<char, String> {
        self.chars
            .next()
            .ok_or_else(|| "unexpected end of the text".to_owned())
    }
}

fn too_deep(depth: usize) -> Result<(), String> {
    if MAX_DEPTH < depth {
        return Err(format!("more than {MAX_DEPTH} nested arrays and objects"));
    }
    Ok(())
}
