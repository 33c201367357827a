//! What stands between the quotes of a JSON string.

use std::borrow::Cow;

use wide::u8x16;

/// How many of the first bytes stand for themselves in a string, and are ASCII.
pub(super) fn run_of_plain(bytes: &[u8]) -> usize {
    run(bytes, |bytes| {
        let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        // What is not ASCII has the bit that is looked at.
        (bytes | control | is(bytes, b'"') | is(bytes, b'\\')).to_bitmask()
    })
}

/// How many of the first bytes are letters of base64.
pub(super) fn run_of_base64(bytes: &[u8]) -> usize {
    run(bytes, |bytes| {
        let letters = is_between(bytes | u8x16::splat(0x20), b'a', b'z');
        // The slash stands before the digits.
        let digits = is_between(bytes, b'/', b'9');
        (letters | digits | is(bytes, b'+')).to_bitmask() ^ 0xffff
    })
}

/// How many of the first bytes may stand in a name: plain ones that can be seen.
fn run_of_visible(bytes: &[u8]) -> usize {
    run(bytes, |bytes| {
        let visible = is_between(bytes, b'!', b'~');
        let marks = is(bytes, b'"') | is(bytes, b'\\');
        (visible.to_bitmask() ^ 0xffff) | marks.to_bitmask()
    })
}

/// How many of the first bytes are not among those that `others` finds: it is given sixteen, and
/// sets the bits of those.
fn run(bytes: &[u8], others: impl Fn(u8x16) -> u32) -> usize {
    let (parts, rest) = bytes.as_chunks::<16>();
    for (number, part) in parts.iter().enumerate() {
        let others = others(u8x16::new(*part));
        if others != 0 {
            return 16 * number + others.trailing_zeros() as usize;
        }
    }
    // What is missing behind the end is none of either.
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

/// The text that a string stands for.
pub(super) fn unescape(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !raw.contains(&b'\\') {
        return Some(raw.into());
    }
    let quoted = [b"\"", raw, b"\""].concat();
    let text: String = serde_json::from_slice(&quoted).ok()?;
    Some(text.into_bytes().into())
}

/// The text of a name that a service gave (a number, an id): not empty, and in no need of escapes.
pub(super) fn plain(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let is_named = |text: &[u8]| !text.is_empty() && run_of_visible(text) == text.len();
    if is_named(raw) {
        return Some(raw.into());
    }
    unescape(raw).filter(|text| is_named(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by looking at each byte.
    fn simply(bytes: &[u8], known: impl Fn(u8) -> bool) -> usize {
        bytes.iter().take_while(|byte| known(**byte)).count()
    }

    #[test]
    fn a_run_ends_at_the_first_other_byte_wherever_that_is() {
        let is_plain = |byte: u8| matches!(byte, b' '..0x80) && !b"\"\\".contains(&byte);
        let is_of_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
        let is_visible = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
        for length in [0, 1, 15, 16, 17, 31, 32, 40] {
            for place in 0..=length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'a'; length];
                    bytes.insert(place, byte);
                    assert_eq!(run_of_plain(&bytes), simply(&bytes, is_plain));
                    assert_eq!(run_of_base64(&bytes), simply(&bytes, is_of_base64));
                    assert_eq!(run_of_visible(&bytes), simply(&bytes, is_visible));
                }
            }
        }
    }

    #[test]
    fn a_plain_name_needs_no_escapes() {
        assert_eq!(plain(b"a-1").as_deref(), Some(&b"a-1"[..]));
        assert_eq!(plain(br"\u0061").as_deref(), Some(&b"a"[..]));
        for text in [&b""[..], b"a b", br"\n", "\u{e9}".as_bytes(), b"\x7f"] {
            assert_eq!(plain(text), None, "{text:?}");
        }
    }
}
