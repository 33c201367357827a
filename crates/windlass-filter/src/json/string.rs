//! Unescapes JSON strings.
//!
//! An escape may name half of a surrogate pair, which is not a character. It becomes the three bytes
//! that UTF-8 would give it, so that it equals nothing that a pattern can contain.

use memchr::memchr;

use super::error::NotJson;

/// Replaces the contents of `unescaped` with the string that `raw`, the bytes between its quotes,
/// stands for.
pub(crate) fn unescape(raw: &[u8], unescaped: &mut Vec<u8>) -> Result<(), NotJson> {
    unescaped.clear();
    let mut rest = raw;
    while let Some(backslash) = memchr(b'\\', rest) {
        unescaped.extend_from_slice(&rest[..backslash]);
        let (code, length) = escape(&rest[backslash..])?;
        push(code, unescaped);
        rest = &rest[backslash + length..];
    }
    unescaped.extend_from_slice(rest);
    Ok(())
}

/// Checks that every backslash of a string begins a valid escape.
pub(crate) fn check_escapes(raw: &[u8]) -> Result<(), NotJson> {
    let mut rest = raw;
    while let Some(backslash) = memchr(b'\\', rest) {
        let (_, length) = escape(&rest[backslash..])?;
        rest = &rest[backslash + length..];
    }
    Ok(())
}

/// Code point and length of the escape at the start of `text`.
///
/// <https://www.rfc-editor.org/rfc/rfc8259#section-7>
fn escape(text: &[u8]) -> Result<(u32, usize), NotJson> {
    let code = match text.get(1).ok_or(NotJson)? {
        same @ (b'"' | b'\\' | b'/') => *same,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            let first = code_unit(text).ok_or(NotJson)?;
            let second = code_unit(&text[6..]).filter(|unit| (0xdc00..0xe000).contains(unit));
            return Ok(match (first, second) {
                (0xd800..0xdc00, Some(second)) => {
                    (0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
                }
                _ => (first, 6),
            });
        }
        _ => return Err(NotJson),
    };
    Ok((u32::from(code), 2))
}

/// UTF-16 code unit of the `\uXXXX` at the start of `text`.
fn code_unit(text: &[u8]) -> Option<u32> {
    let digits = text.get(..6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | digit)
    })
}

fn push(code: u32, text: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(character) => {
            let mut bytes = [0; 4];
            text.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
        }
        None => {
            let six_bits = |shift: u32| {
                let bits = u8::try_from(code >> shift & 0x3f).expect("six bits");
                0x80 | bits
            };
            text.extend_from_slice(&[0xed, six_bits(6), six_bits(0)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_rfc_8259() {
        let text = |raw: &str| {
            let mut text = Vec::new();
            unescape(raw.as_bytes(), &mut text).map(|()| text)
        };
        let raw = r#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude80z"#;
        let expected = "a\"\\/\u{8}\u{c}\n\r\té🚀z";
        assert_eq!(text(raw), Ok(expected.into()));
        assert_eq!(text(r"\ud83d"), Ok(vec![0xed, 0xa0, 0xbd]));
        assert_eq!(text(r"\ud83dx"), Ok(vec![0xed, 0xa0, 0xbd, b'x']));
        assert_eq!(text(r"\ude80\ud83d").unwrap().len(), 6);
        for raw in [r"\", r"\x", r"\u12", r"\u12g4", r"\u", r"a\'"] {
            assert_eq!(text(raw), Err(NotJson), "{raw}");
            assert_eq!(check_escapes(raw.as_bytes()), Err(NotJson), "{raw}");
        }
    }
}
