//! Sequence numbers: decimals of 56 digits that grow within a shard, and from a shard to its
//! children.
//!
//! Clients may rely on nothing else, and cannot store one in 128 bits. The digits are `49`, the
//! shard's creation time (13), the shard (6), the index in the shard (20), the arrival time (13)
//! and `02`; times are milliseconds since 1970.

use std::fmt;
use std::ops::Range;

const DIGITS: usize = 56;

const CREATED: Range<usize> = 2..15;
const SHARD: Range<usize> = 15..21;
const INDEX: Range<usize> = 21..41;
const ARRIVED: Range<usize> = 41..54;

/// Ordered as the number is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SequenceNumber([u8; DIGITS]);

impl SequenceNumber {
    pub(crate) fn new(created: u64, shard: u32, index: u64, arrived: u64) -> Self {
        let mut digits = [b'0'; DIGITS];
        digits[..2].copy_from_slice(b"49");
        write(&mut digits[CREATED], created);
        write(&mut digits[SHARD], u64::from(shard));
        write(&mut digits[INDEX], index);
        write(&mut digits[ARRIVED], arrived);
        digits[DIGITS - 1] = b'2';
        Self(digits)
    }

    /// `None`: not a decimal of at most 56 digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_decimal = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        if !is_decimal || DIGITS < text.len() {
            return None;
        }
        let mut digits = [b'0'; DIGITS];
        digits[DIGITS - text.len()..].copy_from_slice(text.as_bytes());
        Some(Self(digits))
    }

    pub(crate) fn shard(&self) -> u32 {
        u32::try_from(self.field(SHARD)).expect("six digits fit")
    }

    pub(crate) fn index(&self) -> u64 {
        self.field(INDEX)
    }

    /// Saturates: 20 digits from a client may exceed 64 bits.
    fn field(&self, digits: Range<usize>) -> u64 {
        self.0[digits].iter().fold(0, |number: u64, digit| {
            number
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes the lowest digits of a number.
fn write(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("a digit is below ten");
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_56_digits_and_grow_with_index_and_creation_time() {
        let first = SequenceNumber::new(1_700_000_000_000, 3, 1, 1_700_000_000_001);
        let second = SequenceNumber::new(1_700_000_000_000, 3, 2, 1_700_000_000_001);
        let child = SequenceNumber::new(1_700_000_000_500, 4, 0, 1_700_000_000_500);
        assert_eq!(first.to_string().len(), 56);
        assert!(first < second && second < child);
        assert_eq!((child.shard(), second.index()), (4, 2));
        assert!(
            first.to_string().parse::<u128>().is_err(),
            "it does not fit into 128 bits"
        );
    }

    #[test]
    fn numbers_are_parsed_and_compared_as_decimals() {
        let number = SequenceNumber::new(1_700_000_000_000, 0, 7, 1_700_000_000_000);
        assert_eq!(SequenceNumber::parse(number.as_str()), Some(number));
        assert!(SequenceNumber::parse("9").unwrap() < SequenceNumber::parse("10").unwrap());
        for invalid in ["", "1a", "-1", &"1".repeat(57)] {
            assert_eq!(SequenceNumber::parse(invalid), None, "{invalid}");
        }
    }
}
