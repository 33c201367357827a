//! The contents of JSON strings.

use std::borrow::Cow;

use wide::u8x16;

/// Length of the prefix of ASCII bytes that need no escape in a string.
pub(super) fn plain_prefix_len(bytes: &[u8]) -> usize {
    prefix_len(bytes, |bytes| {
        let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        // A bit mask is made of high bits; bytes that are not ASCII have theirs set.
        (bytes | control | is(bytes, b'"') | is(bytes, b'\\')).to_bitmask()
    })
}

/// Length of the prefix of base64 characters, without padding.
pub(super) fn base64_prefix_len(bytes: &[u8]) -> usize {
    prefix_len(bytes, |bytes| {
        let letters = is_between(bytes | u8x16::splat(0x20), b'a', b'z');
        // The slash immediately precedes the digits in ASCII.
        let digits = is_between(bytes, b'/', b'9');
        (letters | digits | is(bytes, b'+')).to_bitmask() ^ 0xffff
    })
}

/// Length of the prefix of printable ASCII bytes that need no escape.
fn visible_prefix_len(bytes: &[u8]) -> usize {
    prefix_len(bytes, |bytes| {
        let visible = is_between(bytes, b'!', b'~');
        let marks = is(bytes, b'"') | is(bytes, b'\\');
        (visible.to_bitmask() ^ 0xffff) | marks.to_bitmask()
    })
}

/// Length of the prefix without a byte that `others` finds; it receives 16 bytes and returns a bit
/// mask.
fn prefix_len(bytes: &[u8], others: impl Fn(u8x16) -> u32) -> usize {
    let (parts, rest) = bytes.as_chunks::<16>();
    for (number, part) in parts.iter().enumerate() {
        let others = others(u8x16::new(*part));
        if others != 0 {
            return 16 * number + others.trailing_zeros() as usize;
        }
    }
    // The bit at the length of the rest ends the prefix there, whatever the padding.
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    let others = others(u8x16::new(last)) | 1 << rest.len();
    16 * parts.len() + others.trailing_zeros() as usize
}

fn is(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

fn is_between(bytes: u8x16, first: u8, last: u8) -> u8x16 {
    let within = bytes.max(u8x16::splat(first)).min(u8x16::splat(last));
    within.simd_eq(bytes)
}

/// Replaces escapes; `None` if one is invalid.
pub(super) fn unescape(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !raw.contains(&b'\\') {
        return Some(raw.into());
    }
    let quoted = [b"\"", raw, b"\""].concat();
    let text: String = serde_json::from_slice(&quoted).ok()?;
    Some(text.into_bytes().into())
}

/// An identifier that a service assigned (a sequence number, a message id), unescaped; `None`
/// unless it is printable ASCII that needs no escapes, and not empty.
pub(super) fn identifier(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let is_valid = |text: &[u8]| !text.is_empty() && visible_prefix_len(text) == text.len();
    if is_valid(raw) {
        return Some(raw.into());
    }
    unescape(raw).filter(|text| is_valid(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, one byte at a time.
    fn slow_prefix_len(bytes: &[u8], known: impl Fn(u8) -> bool) -> usize {
        bytes.iter().take_while(|byte| known(**byte)).count()
    }

    #[test]
    fn a_prefix_ends_at_the_first_other_byte() {
        let is_plain = |byte: u8| matches!(byte, b' '..0x80) && !b"\"\\".contains(&byte);
        let is_of_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
        let is_visible = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
        for length in [0, 1, 15, 16, 17, 31, 32, 40] {
            for index in 0..=length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'a'; length];
                    bytes.insert(index, byte);
                    assert_eq!(plain_prefix_len(&bytes), slow_prefix_len(&bytes, is_plain));
                    assert_eq!(
                        base64_prefix_len(&bytes),
                        slow_prefix_len(&bytes, is_of_base64)
                    );
                    assert_eq!(
                        visible_prefix_len(&bytes),
                        slow_prefix_len(&bytes, is_visible)
                    );
                }
            }
        }
    }

    #[test]
    fn an_identifier_has_no_escapes() {
        assert_eq!(identifier(b"a-1").as_deref(), Some(&b"a-1"[..]));
        assert_eq!(identifier(br"\u0061").as_deref(), Some(&b"a"[..]));
        for text in [&b""[..], b"a b", br"\n", "\u{e9}".as_bytes(), b"\x7f"] {
            assert_eq!(identifier(text), None, "{text:?}");
        }
    }
}
