//! The places in a JSON text that matter, found sixty-four bytes at a time.
//!
//! A token is a quote that begins or ends a string, or one of `{}[]:,` outside of strings. All else
//! is white space, the inside of a string, or a number, `true`, `false` or `null`; whoever walks
//! over the tokens looks at what lies between them. The idea is Langdale's and Lemire's: what is
//! within a string is known from the parity of the quotes before it, computed for a whole block at
//! once.
//!
//! <https://arxiv.org/abs/1902.08318>

use wide::u8x16;

/// How many bytes are looked at at once: one for each bit of a word.
const BLOCK: usize = 64;

/// The tokens of a text, from its start.
#[derive(Debug)]
pub(super) struct Tokens<'t> {
    text: &'t [u8],
    /// Where the block begins.
    start: usize,
    /// The tokens of the block that are still to come, a bit for each byte.
    coming: u64,
    /// The backslashes of the block.
    backslashes: u64,
    /// Behind the last backslash before the block; zero if there is none.
    behind_backslash: usize,
    /// Whether the first byte of the next block is escaped: one or zero.
    escaped: u64,
    /// Whether the next block begins within a string: all bits or none.
    within: u64,
    /// Whether a string has a byte that it must not have as it is.
    has_control: bool,
}

/// What a block has, a bit for each byte.
struct Masks {
    quotes: u64,
    backslashes: u64,
    /// `{}[]:,`, within strings too; also `_`, `Y`, `y` and DEL, which outside of strings no JSON
    /// has.
    structure: u64,
    /// Bytes below the space.
    controls: u64,
}

impl<'t> Tokens<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        let mut tokens = Self {
            text,
            start: 0,
            coming: 0,
            backslashes: 0,
            behind_backslash: 0,
            escaped: 0,
            within: 0,
            has_control: false,
        };
        if !text.is_empty() {
            tokens.load();
        }
        tokens
    }

    /// Where the next token is; the length of the text if there is none.
    #[inline]
    pub(super) fn peek(&mut self) -> usize {
        while self.coming == 0 {
            if self.text.len() <= self.start + BLOCK {
                return self.text.len();
            }
            self.start += BLOCK;
            self.load();
        }
        self.start + self.coming.trailing_zeros() as usize
    }

    /// Passes over the token that [`Tokens::peek`] has found.
    #[inline]
    pub(super) const fn take(&mut self) {
        self.coming &= self.coming.wrapping_sub(1);
    }

    /// Whether there is a backslash from a place on to the token that was found last.
    pub(super) const fn escapes_since(&self, from: usize, token: usize) -> bool {
        let before = self.backslashes & ((1 << (token - self.start)) - 1);
        let behind = if before == 0 {
            self.behind_backslash
        } else {
            self.start + BLOCK - before.leading_zeros() as usize
        };
        from < behind
    }

    /// Whether a string so far has a control character, which must be escaped.
    pub(super) const fn has_control(&self) -> bool {
        self.has_control
    }

    fn load(&mut self) {
        if self.backslashes != 0 {
            let zeros = self.backslashes.leading_zeros() as usize;
            self.behind_backslash = self.start - zeros;
        }
        let rest = &self.text[self.start..];
        let masks = match rest.first_chunk::<BLOCK>() {
            Some(block) => Masks::of(block),
            None => {
                let mut block = [b' '; BLOCK];
                block[..rest.len()].copy_from_slice(rest);
                Masks::of(&block)
            }
        };
        self.backslashes = masks.backslashes;
        let quotes = masks.quotes & !self.escapes(masks.backslashes);
        // From each opening quote up to its closing one.
        let within = parity(quotes) ^ self.within;
        self.within = if within >> 63 == 0 { 0 } else { u64::MAX };
        self.has_control |= masks.controls & within != 0;
        self.coming = quotes | (masks.structure & !within);
    }

    /// The bytes that a backslash escapes: those behind an odd run of backslashes.
    const fn escapes(&mut self, backslashes: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let carried = self.escaped;
        if backslashes == 0 {
            self.escaped = 0;
            return carried;
        }
        let active = backslashes & !carried;
        let follows = active << 1 | carried;
        let odd_starts = active & !EVEN & !follows;
        // Adding carries each run's first bit to the place behind the run.
        let (ends, overflow) = odd_starts.overflowing_add(active);
        self.escaped = overflow as u64;
        (EVEN ^ (ends << 1)) & follows
    }
}

impl Masks {
    #[inline]
    fn of(block: &[u8; BLOCK]) -> Self {
        let (parts, _) = block.as_chunks::<16>();
        let parts: [u8x16; 4] = std::array::from_fn(|part| u8x16::new(parts[part]));
        // Braces and brackets differ in three bits.
        let structure = |bytes: u8x16| {
            let brackets = (bytes | u8x16::splat(0x26)).simd_eq(u8x16::splat(0x7f));
            brackets | bytes.simd_eq(u8x16::splat(b':')) | bytes.simd_eq(u8x16::splat(b','))
        };
        let control = |bytes: u8x16| bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        Self {
            quotes: mask(parts, |bytes| bytes.simd_eq(u8x16::splat(b'"'))),
            backslashes: mask_if_any(parts, |bytes| bytes.simd_eq(u8x16::splat(b'\\'))),
            structure: mask(parts, structure),
            controls: mask_if_any(parts, control),
        }
    }
}

/// A bit for each byte of which something holds.
#[inline]
fn mask(parts: [u8x16; 4], holds: impl Fn(u8x16) -> u8x16) -> u64 {
    let [a, b, c, d] = parts.map(|part| u64::from(holds(part).to_bitmask()));
    a | b << 16 | c << 32 | d << 48
}

/// The same, quicker where it holds of none.
#[inline]
fn mask_if_any(parts: [u8x16; 4], holds: impl Fn(u8x16) -> u8x16) -> u64 {
    let [a, b, c, d] = parts.map(&holds);
    if (a | b | c | d).to_bitmask() == 0 {
        return 0;
    }
    mask(parts, holds)
}

/// For each bit, whether the number of bits up to and with it is odd.
const fn parity(bits: u64) -> u64 {
    let mut bits = bits;
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^ (bits << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by looking at each byte.
    fn simply(text: &[u8]) -> Vec<usize> {
        let (mut within, mut escaped, mut found) = (false, false, Vec::new());
        for (at, byte) in text.iter().enumerate() {
            let quote = *byte == b'"' && !escaped;
            within ^= quote;
            if quote || (!within && b"{}[]:,_Yy\x7f".contains(byte)) {
                found.push(at);
            }
            escaped = *byte == b'\\' && !escaped;
        }
        found
    }

    fn tokens(text: &[u8]) -> Vec<usize> {
        let mut tokens = Tokens::new(text);
        let mut found = Vec::new();
        loop {
            let at = tokens.peek();
            if at == text.len() {
                return found;
            }
            found.push(at);
            tokens.take();
        }
    }

    #[test]
    fn tokens_are_found_at_every_place_of_a_block() {
        let text = r#"{"a\"b":[1,"\\\\",{"c":"{},"}],"long \\\" text":"\\"}"#;
        for shift in 0..130 {
            let text = [vec![b' '; shift], text.into()].concat();
            assert_eq!(tokens(&text), simply(&text), "{shift}");
        }
    }

    #[test]
    fn any_bytes_have_the_tokens_that_a_simple_loop_finds() {
        let alphabet = b"\"\\{}[]:,a \\\\\"";
        let mut state = 1_u64;
        for length in 0..400 {
            let text: Vec<u8> = (0..length)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    alphabet[(state >> 33) as usize % alphabet.len()]
                })
                .collect();
            assert_eq!(tokens(&text), simply(&text), "{text:?}");
        }
    }

    #[test]
    fn backslashes_are_known_by_their_place() {
        let text = [
            br#"{"a":"x\n","b":""#.to_vec(),
            vec![b'y'; 100],
            b"\"}".to_vec(),
        ]
        .concat();
        let mut tokens = Tokens::new(&text);
        let mut places = Vec::new();
        while tokens.peek() != text.len() {
            places.push(tokens.peek());
            tokens.take();
        }
        let (open, close) = (places[4], places[5]);
        let mut tokens = Tokens::new(&text);
        while tokens.peek() != close {
            tokens.take();
        }
        assert!(tokens.escapes_since(open, close));
        let (open, close) = (places[10], places[11]);
        while tokens.peek() != close {
            tokens.take();
        }
        assert!(!tokens.escapes_since(open, close));
    }

    #[test]
    fn control_characters_matter_within_strings() {
        let has = |text: &str| {
            let mut tokens = Tokens::new(text.as_bytes());
            while tokens.peek() != text.len() {
                tokens.take();
            }
            tokens.has_control()
        };
        assert!(!has("{\n\t\"a\" :\r1}"));
        assert!(has("{\"a\n\":1}"));
    }
}
