//! Finds the structural characters of a JSON text, 64 bytes at a time.
//!
//! A token is a quote that begins or ends a string, or one of `{}[]:,` outside strings. Everything
//! else is white space, the inside of a string, or a number, `true`, `false` or `null`; the reader
//! looks at the bytes between tokens. The technique is Langdale's and Lemire's: whether a byte is
//! inside a string follows from the parity of the quotes before it, which is computed for a whole
//! block at once.
//!
//! <https://arxiv.org/abs/1902.08318>

use wide::u8x16;

/// Bytes per step: one for each bit of a word.
const BLOCK: usize = 64;

/// Iterates over the tokens of a text.
#[derive(Debug)]
pub(crate) struct Tokens<'t> {
    text: &'t [u8],
    /// Offset of the current block.
    start: usize,
    /// Tokens of the block that were not taken yet, a bit for each byte.
    pending: u64,
    /// Backslashes of the block.
    backslashes: u64,
    /// Offset after the last backslash before the block; zero if there is none.
    after_backslash: usize,
    /// Whether the first byte of the next block is escaped: one or zero.
    escaped: u64,
    /// Whether the next block begins inside a string: all bits or none.
    in_string: u64,
    /// Whether a string contains an unescaped control character.
    has_control: bool,
}

/// Classes of the bytes of a block, a bit for each byte.
struct Masks {
    quotes: u64,
    backslashes: u64,
    /// `{}[]:,`, inside strings too; also `_`, `Y`, `y` and DEL, which never occur outside strings in
    /// valid JSON.
    structure: u64,
    /// Bytes below 0x20.
    controls: u64,
}

impl<'t> Tokens<'t> {
    pub(crate) fn new(text: &'t [u8]) -> Self {
        let mut tokens = Self {
            text,
            start: 0,
            pending: 0,
            backslashes: 0,
            after_backslash: 0,
            escaped: 0,
            in_string: 0,
            has_control: false,
        };
        if !text.is_empty() {
            tokens.load();
        }
        tokens
    }

    /// Offset of the next token; the length of the text after the last one.
    #[inline]
    pub(crate) fn peek(&mut self) -> usize {
        while self.pending == 0 {
            if self.text.len() <= self.start + BLOCK {
                return self.text.len();
            }
            self.start += BLOCK;
            self.load();
        }
        self.start + self.pending.trailing_zeros() as usize
    }

    /// Consumes the token found by [`Tokens::peek`].
    #[inline]
    pub(crate) const fn take(&mut self) {
        self.pending &= self.pending.wrapping_sub(1);
    }

    /// Whether there is a backslash between `from` and `token`, the token found last.
    pub(crate) const fn has_backslash_since(&self, from: usize, token: usize) -> bool {
        let before = self.backslashes & ((1 << (token - self.start)) - 1);
        let after_last = if before == 0 {
            self.after_backslash
        } else {
            self.start + BLOCK - before.leading_zeros() as usize
        };
        from < after_last
    }

    /// Whether a string so far contains an unescaped control character.
    pub(crate) const fn has_control(&self) -> bool {
        self.has_control
    }

    fn load(&mut self) {
        if self.backslashes != 0 {
            let zeros = self.backslashes.leading_zeros() as usize;
            self.after_backslash = self.start - zeros;
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
        let in_string = parity(quotes) ^ self.in_string;
        self.in_string = if in_string >> 63 == 0 { 0 } else { u64::MAX };
        self.has_control |= masks.controls & in_string != 0;
        self.pending = quotes | (masks.structure & !in_string);
    }

    /// The escaped bytes: those after a run of an odd number of backslashes.
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
        // Adding carries each run's first bit to the bit after the run.
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
        // Braces and brackets differ in three bits only.
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

/// A bit for each byte that satisfies `predicate`.
#[inline]
fn mask(parts: [u8x16; 4], predicate: impl Fn(u8x16) -> u8x16) -> u64 {
    let [a, b, c, d] = parts.map(|part| u64::from(predicate(part).to_bitmask()));
    a | b << 16 | c << 32 | d << 48
}

/// [`mask`], faster if no byte satisfies `predicate`.
#[inline]
fn mask_if_any(parts: [u8x16; 4], predicate: impl Fn(u8x16) -> u8x16) -> u64 {
    let [a, b, c, d] = parts.map(&predicate);
    if (a | b | c | d).to_bitmask() == 0 {
        return 0;
    }
    mask(parts, predicate)
}

/// For each bit, the parity of the set bits up to and including it.
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

    /// The tokens, found byte by byte.
    fn bytewise(text: &[u8]) -> Vec<usize> {
        let (mut in_string, mut escaped, mut found) = (false, false, Vec::new());
        for (at, byte) in text.iter().enumerate() {
            let quote = *byte == b'"' && !escaped;
            in_string ^= quote;
            if quote || (!in_string && b"{}[]:,_Yy\x7f".contains(byte)) {
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
    fn tokens_are_found_at_every_offset_of_a_block() {
        let text = r#"{"a\"b":[1,"\\\\",{"c":"{},"}],"long \\\" text":"\\"}"#;
        for shift in 0..130 {
            let text = [vec![b' '; shift], text.into()].concat();
            assert_eq!(tokens(&text), bytewise(&text), "{shift}");
        }
    }

    #[test]
    fn random_bytes_have_the_tokens_that_a_bytewise_loop_finds() {
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
            assert_eq!(tokens(&text), bytewise(&text), "{text:?}");
        }
    }

    #[test]
    fn backslashes_are_found_between_two_tokens() {
        let text = [
            br#"{"a":"x\n","b":""#.to_vec(),
            vec![b'y'; 100],
            b"\"}".to_vec(),
        ]
        .concat();
        let mut tokens = Tokens::new(&text);
        let mut offsets = Vec::new();
        while tokens.peek() != text.len() {
            offsets.push(tokens.peek());
            tokens.take();
        }
        let (open, close) = (offsets[4], offsets[5]);
        let mut tokens = Tokens::new(&text);
        while tokens.peek() != close {
            tokens.take();
        }
        assert!(tokens.has_backslash_since(open, close));
        let (open, close) = (offsets[10], offsets[11]);
        while tokens.peek() != close {
            tokens.take();
        }
        assert!(!tokens.has_backslash_since(open, close));
    }

    #[test]
    fn control_characters_are_found_inside_strings_only() {
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
