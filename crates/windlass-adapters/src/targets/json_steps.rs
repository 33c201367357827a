//! Reads JSON in pieces, split anywhere, with a fixed amount of memory.

/// Limit of nesting; other parsers have about the same.
const MAX_DEPTH: usize = 1_024;

/// The text is not JSON, or is nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// What a text was found to have next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A value begins, at the current depth.
    Begin(Kind),
    /// A name of an object has ended: it is [`JsonSteps::text`].
    Name,
    /// A string has ended: it is [`JsonSteps::text`].
    String,
    /// A number has ended: it is [`JsonSteps::text`]. One at the top has no end.
    Number,
    /// An array or object has ended; the current depth is the one that it began at.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

#[derive(Debug)]
pub(super) struct JsonSteps {
    expected: Expected,
    /// Of each array or object around this position one bit, set for arrays.
    arrays: [u64; MAX_DEPTH / 64],
    depth: usize,
    text: Text,
}

/// The string or number that is being read, without escapes, as far as it may matter.
#[derive(Debug)]
struct Text {
    bytes: Vec<u8>,
    max_len: usize,
    /// It is too long, or has half of a surrogate pair.
    is_useless: bool,
    high_surrogate: Option<u32>,
    utf8: Utf8,
}

/// Checks text that arrives in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Utf8 {
    /// The start of a character whose rest has not arrived.
    begun: [u8; 4],
    n_begun: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Value,
    /// The contents of an array or object that has begun.
    Contents(Kind),
    /// A value, or the end of an empty array.
    FirstElement,
    /// A name, or the end of an empty object.
    FirstName,
    Name,
    Colon,
    /// A comma or the end of the array or object; at depth 0 nothing but white space.
    AfterValue,
    Literal(&'static [u8]),
    Number(Number),
    Text {
        is_name: bool,
        escape: Escape,
    },
}

/// The part of a number that was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// After the backslash.
    Begun,
    /// After `\u`.
    Unicode {
        n_digits: u8,
        value: u32,
    },
}

impl JsonSteps {
    /// Strings and numbers of more than `max_text` bytes are not kept.
    pub(super) fn new(max_text: usize) -> Self {
        Self {
            expected: Expected::Value,
            arrays: [0; MAX_DEPTH / 64],
            depth: 0,
            text: Text {
                bytes: Vec::new(),
                max_len: max_text,
                is_useless: false,
                high_surrogate: None,
                utf8: Utf8::default(),
            },
        }
    }

    /// Arrays and objects around this position.
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// Whether the innermost of them is an array.
    pub(super) const fn is_in_array(&self) -> bool {
        match self.depth.checked_sub(1) {
            Some(index) => self.arrays[index / 64] >> (index % 64) & 1 == 1,
            None => false,
        }
    }

    /// The string or number that has just ended; `None` if it is too long or not Unicode.
    pub(super) fn text(&self) -> Option<&str> {
        if self.text.is_useless {
            return None;
        }
        str::from_utf8(&self.text.bytes).ok()
    }

    /// Whether a whole value has been read. A number at the top has no end.
    pub(super) fn is_complete(&self) -> bool {
        self.depth == 0 && self.expected == Expected::AfterValue
    }

    #[cfg(test)]
    pub(super) const fn capacity(&self) -> usize {
        self.text.bytes.capacity()
    }

    /// Reads up to the end of the next step; `None` if the piece ends before.
    pub(super) fn next(&mut self, piece: &mut &[u8]) -> Result<Option<Step>, NotJson> {
        if let Expected::Contents(kind) = self.expected {
            self.enter(kind)?;
        }
        while let Some((byte, rest)) = piece.split_first() {
            if let Expected::Text {
                escape: Escape::None,
                ..
            } = self.expected
            {
                let plain = piece.iter().position(|byte| !is_plain(*byte));
                let (plain, rest) = piece.split_at(plain.unwrap_or(piece.len()));
                self.text.push_plain(plain)?;
                *piece = rest;
                if rest.is_empty() {
                    return Ok(None);
                }
                if !plain.is_empty() {
                    continue;
                }
            }
            // What ends a number is read again.
            if let Expected::Number(number) = self.expected {
                match number.next(*byte) {
                    Some(next) => {
                        self.text.keep(&[*byte]);
                        self.expected = Expected::Number(next);
                    }
                    None if number.is_complete() => {
                        self.expected = Expected::AfterValue;
                        return Ok(Some(Step::Number));
                    }
                    None => return Err(NotJson),
                }
                *piece = rest;
                continue;
            }
            *piece = rest;
            if let Some(step) = self.byte(*byte)? {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    fn byte(&mut self, byte: u8) -> Result<Option<Step>, NotJson> {
        match self.expected {
            Expected::Literal(rest) => match rest.split_first() {
                Some((expected, rest)) if *expected == byte => {
                    self.expected = if rest.is_empty() {
                        Expected::AfterValue
                    } else {
                        Expected::Literal(rest)
                    };
                    Ok(None)
                }
                _ => Err(NotJson),
            },
            Expected::Text { is_name, escape } => self.text_byte(is_name, escape, byte),
            _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => Ok(None),
            Expected::Value => self.value(byte),
            Expected::FirstElement if byte == b']' => Ok(Some(self.end())),
            Expected::FirstElement => self.value(byte),
            Expected::FirstName if byte == b'}' => Ok(Some(self.end())),
            Expected::FirstName | Expected::Name if byte == b'"' => {
                self.expected = self.text_begins(true);
                Ok(None)
            }
            Expected::Colon if byte == b':' => {
                self.expected = Expected::Value;
                Ok(None)
            }
            Expected::AfterValue if 0 < self.depth => self.after_value(byte),
            Expected::FirstName
            | Expected::Name
            | Expected::Colon
            | Expected::AfterValue
            | Expected::Contents(_)
            | Expected::Number(_) => Err(NotJson),
        }
    }

    fn value(&mut self, byte: u8) -> Result<Option<Step>, NotJson> {
        let (kind, expected) = match byte {
            b'n' => (Kind::Null, Expected::Literal(b"ull")),
            b't' => (Kind::Boolean, Expected::Literal(b"rue")),
            b'f' => (Kind::Boolean, Expected::Literal(b"alse")),
            b'-' => (Kind::Number, self.number_begins(byte, Number::Minus)),
            b'0' => (Kind::Number, self.number_begins(byte, Number::Zero)),
            b'1'..=b'9' => (Kind::Number, self.number_begins(byte, Number::Integer)),
            b'"' => (Kind::String, self.text_begins(false)),
            b'[' => (Kind::Array, Expected::Contents(Kind::Array)),
            b'{' => (Kind::Object, Expected::Contents(Kind::Object)),
            _ => return Err(NotJson),
        };
        self.expected = expected;
        Ok(Some(Step::Begin(kind)))
    }

    fn enter(&mut self, kind: Kind) -> Result<(), NotJson> {
        if self.depth == MAX_DEPTH {
            return Err(NotJson);
        }
        let (bits, bit) = (&mut self.arrays[self.depth / 64], 1 << (self.depth % 64));
        self.depth += 1;
        self.expected = if kind == Kind::Array {
            *bits |= bit;
            Expected::FirstElement
        } else {
            *bits &= !bit;
            Expected::FirstName
        };
        Ok(())
    }

    const fn end(&mut self) -> Step {
        self.depth -= 1;
        self.expected = Expected::AfterValue;
        Step::End
    }

    fn after_value(&mut self, byte: u8) -> Result<Option<Step>, NotJson> {
        match (byte, self.is_in_array()) {
            (b',', true) => self.expected = Expected::Value,
            (b',', false) => self.expected = Expected::Name,
            (b']', true) | (b'}', false) => return Ok(Some(self.end())),
            _ => return Err(NotJson),
        }
        Ok(None)
    }

    fn number_begins(&mut self, byte: u8, number: Number) -> Expected {
        self.text.clear();
        self.text.keep(&[byte]);
        Expected::Number(number)
    }

    fn text_begins(&mut self, is_name: bool) -> Expected {
        self.text.clear();
        Expected::Text {
            is_name,
            escape: Escape::None,
        }
    }

    fn text_byte(
        &mut self,
        is_name: bool,
        escape: Escape,
        byte: u8,
    ) -> Result<Option<Step>, NotJson> {
        let escape = match escape {
            Escape::None if byte == b'"' => {
                self.text.end_run()?;
                self.text.end_pair();
                let (expected, step) = if is_name {
                    (Expected::Colon, Step::Name)
                } else {
                    (Expected::AfterValue, Step::String)
                };
                self.expected = expected;
                return Ok(Some(step));
            }
            Escape::None if byte == b'\\' => {
                self.text.end_run()?;
                Escape::Begun
            }
            // A control character.
            Escape::None => return Err(NotJson),
            Escape::Begun if byte == b'u' => Escape::Unicode {
                n_digits: 0,
                value: 0,
            },
            Escape::Begun => {
                self.text.push(unescaped(byte)?);
                Escape::None
            }
            Escape::Unicode { n_digits, value } => {
                let digit = char::from(byte).to_digit(16).ok_or(NotJson)?;
                let value = value << 4 | digit;
                if n_digits == 3 {
                    self.text.push_unit(value);
                    Escape::None
                } else {
                    let n_digits = n_digits + 1;
                    Escape::Unicode { n_digits, value }
                }
            }
        };
        self.expected = Expected::Text { is_name, escape };
        Ok(None)
    }
}

impl Text {
    fn clear(&mut self) {
        self.bytes.clear();
        self.is_useless = false;
    }

    /// Bytes without quotes, escapes and control characters.
    fn push_plain(&mut self, bytes: &[u8]) -> Result<(), NotJson> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.utf8.check(bytes)?;
        self.end_pair();
        self.keep(bytes);
        Ok(())
    }

    fn push(&mut self, character: char) {
        self.end_pair();
        self.keep(character.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// A code unit of UTF-16.
    fn push_unit(&mut self, unit: u32) {
        let character = match (self.high_surrogate.take(), unit) {
            (Some(high), 0xdc00..=0xdfff) => 0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00),
            (high, unit) => {
                self.is_useless |= high.is_some();
                unit
            }
        };
        match char::from_u32(character) {
            Some(character) => self.keep(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None if character < 0xdc00 => self.high_surrogate = Some(character),
            None => self.is_useless = true,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.is_useless |= self.max_len < self.bytes.len() + bytes.len();
        if !self.is_useless {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Another thing than the second half of a pair follows.
    fn end_pair(&mut self) {
        self.is_useless |= self.high_surrogate.take().is_some();
    }

    fn end_run(&self) -> Result<(), NotJson> {
        if self.utf8.n_begun == 0 {
            Ok(())
        } else {
            Err(NotJson)
        }
    }
}

impl Utf8 {
    fn check(&mut self, mut bytes: &[u8]) -> Result<(), NotJson> {
        while 0 < self.n_begun
            && let Some((byte, rest)) = bytes.split_first()
        {
            self.begun[self.n_begun] = *byte;
            self.n_begun += 1;
            bytes = rest;
            match str::from_utf8(&self.begun[..self.n_begun]) {
                Ok(_) => self.n_begun = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotJson),
            }
        }
        match str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let begun = &bytes[error.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.n_begun = begun.len();
                Ok(())
            }
            Err(_) => Err(NotJson),
        }
    }
}

impl Number {
    /// The state after a byte; `None` if it does not continue the number.
    const fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => {
                Self::ExponentDigits
            }
            _ => return None,
        })
    }

    const fn is_complete(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits
        )
    }
}

/// Whether a byte of a string stands for itself.
const fn is_plain(byte: u8) -> bool {
    0x20 <= byte && byte != b'"' && byte != b'\\'
}

fn unescaped(byte: u8) -> Result<char, NotJson> {
    Ok(match byte {
        b'"' | b'\\' | b'/' => char::from(byte),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return Err(NotJson),
    })
}
