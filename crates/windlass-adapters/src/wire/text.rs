//! What stands between the quotes of a JSON string.

use std::borrow::Cow;

/// How many of the first bytes are known. Whole stretches are looked at, which costs a fraction of
/// stopping at the first that is not.
pub(super) fn run(bytes: &[u8], known: impl Fn(u8) -> bool) -> usize {
    let (stretches, _) = bytes.as_chunks::<32>();
    let all = |stretch: &&[u8; 32]| stretch.iter().fold(true, |all, byte| all & known(*byte));
    let whole = 32 * stretches.iter().take_while(all).count();
    let rest = &bytes[whole..];
    whole + rest.iter().take_while(|byte| known(**byte)).count()
}

/// Whether a byte of a string stands for itself, and is ASCII.
pub(super) const fn is_plain(byte: u8) -> bool {
    (byte >= b' ') & (byte < 0x80) & (byte != b'"') & (byte != b'\\')
}

/// Whether a byte is a letter of base64.
pub(super) const fn is_of_base64(byte: u8) -> bool {
    ((byte | 0x20).wrapping_sub(b'a') < 26)
        | (byte.wrapping_sub(b'0') < 10)
        | (byte == b'+')
        | (byte == b'/')
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
    let is_name = |byte| is_plain(byte) & (byte != b' ') & (byte != 0x7f);
    let is_named = |text: &[u8]| !text.is_empty() && run(text, is_name) == text.len();
    if is_named(raw) {
        return Some(raw.into());
    }
    unescape(raw).filter(|text| is_named(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_the_first_byte_that_is_not_known() {
        for length in [0, 1, 31, 32, 33, 64, 100] {
            let known = vec![b'a'; length];
            assert_eq!(run(&known, is_plain), length);
            for end in [b'"', b'\\', b'\n', 0x7f + 1] {
                let text = [
                    &known,
                    &[end][..],
                    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                ]
                .concat();
                assert_eq!(run(&text, is_plain), length, "{end}");
            }
        }
    }

    #[test]
    fn the_letters_of_base64_are_those_of_its_alphabet() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for byte in 0..=u8::MAX {
            assert_eq!(is_of_base64(byte), alphabet.contains(&byte), "{byte}");
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
