//! The walk that filters are compared with: an index of the structure of a text, then one pass over
//! it that looks for one name at the top. Nothing is checked and nothing is skipped.

use base64_simd::{AsOut, STANDARD};
use wide::u8x16;

/// The places of quotes, and of `{}[]:,` outside of strings.
#[derive(Debug, Default)]
pub(super) struct Index {
    text: Vec<u8>,
    places: Vec<u32>,
}

impl Index {
    /// Decodes data and gives the first value of a member at the top, up to what follows it.
    pub(super) fn value_of(&mut self, data: &[u8], name: &[u8]) -> Option<&[u8]> {
        let most = STANDARD.estimated_decoded_length(data.len());
        if self.text.len() < most {
            self.text.resize(most, 0);
        }
        let text = STANDARD.decode(data, self.text.as_mut_slice().as_out());
        let text = &*text.ok()?;
        self.places.clear();
        index(text, &mut self.places);
        walk(text, &self.places, name)
    }
}

fn index(text: &[u8], places: &mut Vec<u32>) {
    let (mut within, mut escaped) = (0, false);
    for (number, chunk) in text.chunks(64).enumerate() {
        let mut block = [b' '; 64];
        block[..chunk.len()].copy_from_slice(chunk);
        let (mut quotes, backslashes, structure) = masks(&block);
        if backslashes != 0 || escaped {
            quotes &= !escapes(backslashes, &mut escaped);
        }
        let mut inside = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << shift;
        }
        inside ^= within;
        within = if inside >> 63 == 0 { 0 } else { u64::MAX };
        let mut found = quotes | (structure & !inside);
        while found != 0 {
            let place = number * 64 + found.trailing_zeros() as usize;
            places.push(u32::try_from(place).expect("the texts are short"));
            found &= found - 1;
        }
    }
}

fn masks(block: &[u8; 64]) -> (u64, u64, u64) {
    let mut all = (0, 0, 0);
    let (parts, _) = block.as_chunks::<16>();
    for (part, number) in parts.iter().zip(0..) {
        let bytes = u8x16::new(*part);
        let is = |byte: u8| bytes.simd_eq(u8x16::splat(byte));
        let folded = bytes | u8x16::splat(0x20);
        let brackets = folded.simd_eq(u8x16::splat(b'{')) | folded.simd_eq(u8x16::splat(b'}'));
        let structure = brackets | is(b':') | is(b',');
        all.0 |= u64::from(is(b'"').to_bitmask()) << (16 * number);
        all.1 |= u64::from(is(b'\\').to_bitmask()) << (16 * number);
        all.2 |= u64::from(structure.to_bitmask()) << (16 * number);
    }
    all
}

/// The bytes that are escaped, one by one: the texts have few.
fn escapes(backslashes: u64, escaped: &mut bool) -> u64 {
    let mut result = 0;
    for bit in 0..64 {
        result |= u64::from(*escaped) << bit;
        *escaped = !*escaped && backslashes >> bit & 1 == 1;
    }
    result
}

fn walk<'t>(text: &'t [u8], places: &[u32], name: &[u8]) -> Option<&'t [u8]> {
    let (mut depth, mut at, mut found) = (0_u32, 0, None);
    while at < places.len() {
        let place = places[at] as usize;
        match text[place] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => {
                let end = places.get(at + 1).map_or(text.len(), |end| *end as usize);
                let colon = places
                    .get(at + 2)
                    .map_or(text.len(), |colon| *colon as usize);
                at += 1;
                let is_name = depth == 1 && text.get(colon) == Some(&b':');
                if is_name && &text[place + 1..end] == name {
                    let next = places.get(at + 2).map_or(text.len(), |next| *next as usize);
                    found = found.or(Some(&text[colon + 1..next]));
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}
