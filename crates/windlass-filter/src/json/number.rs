//! Numbers, compared by value where a double holds the value exactly.
//!
//! AWS's matcher compares numbers as doubles, except those with more digits than a double keeps:
//! such a number equals only the same text.
//!
//! <https://github.com/aws/event-ruler#numeric-matching>

use std::fmt::Write;

/// Whether `text` is a JSON number.
///
/// <https://www.rfc-editor.org/rfc/rfc8259#section-6>
pub(crate) fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = digits(text);
    let leading_zero = 1 < whole && text[0] == b'0';
    if whole == 0 || leading_zero {
        return false;
    }
    let rest = match rest {
        [] => return true,
        [b'.', fraction @ ..] => match digits(fraction) {
            (0, _) => return false,
            (_, rest) => rest,
        },
        rest => rest,
    };
    match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => {
            let (n_digits, rest) = digits(exponent);
            n_digits != 0 && rest.is_empty()
        }
        _ => false,
    }
}

/// Number of leading digits, and the rest of the text.
#[inline]
fn digits(text: &[u8]) -> (usize, &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let n_digits = end.unwrap_or(text.len());
    (n_digits, &text[n_digits..])
}

/// The value of a number, if a double keeps all its digits.
pub(crate) fn comparable(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    // A double keeps any fifteen digits, and most numbers have no more.
    let n_digits = text.bytes().filter(u8::is_ascii_digit).count();
    let plain = !text.contains(['e', 'E']);
    if n_digits <= 15 && plain {
        return Some(value);
    }
    let mut shortest = ShortText::default();
    write!(shortest, "{value:e}").ok()?;
    (Decimal::parse(text)? == Decimal::parse(shortest.as_str())?).then_some(value)
}

/// Digits of the longest shortest representation of a double.
const MAX_DIGITS: usize = 17;

/// The digits of a number without leading and trailing zeros, and the power of ten of the last one.
#[derive(PartialEq)]
struct Decimal {
    digits: [u8; MAX_DIGITS],
    n_digits: usize,
    power: i64,
}

impl Decimal {
    /// `None` if there are more digits than a double keeps.
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut decimal = Self {
            digits: [0; MAX_DIGITS],
            n_digits: 0,
            power: 0,
        };
        let mut n_zeros = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            if digit == b'0' {
                // A zero is significant only between other digits.
                n_zeros += usize::from(decimal.n_digits != 0);
                continue;
            }
            let end = decimal.n_digits + n_zeros;
            decimal.digits.get_mut(decimal.n_digits..end)?.fill(b'0');
            *decimal.digits.get_mut(end)? = digit;
            (decimal.n_digits, n_zeros) = (end + 1, 0);
        }
        if decimal.n_digits != 0 {
            let shift = i64::try_from(n_zeros).ok()? - i64::try_from(fraction.len()).ok()?;
            decimal.power = exponent.parse::<i64>().ok()?.checked_add(shift)?;
        }
        Some(decimal)
    }
}

/// A stack buffer for the text of a double.
#[derive(Default)]
struct ShortText {
    bytes: [u8; 32],
    length: usize,
}

impl ShortText {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("only whole texts are written")
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let free = self.bytes.get_mut(self.length..end);
        free.ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_grammar_of_json() {
        for text in [
            "0",
            "-0",
            "10",
            "0.5",
            "-1.25e+3",
            "1E-2",
            "9007199254740993",
        ] {
            assert!(is_number(text.as_bytes()), "{text}");
        }
        for text in [
            "", "-", "01", "1.", ".5", "+1", "1e", "1e+", "0x1", "1 ", "NaN",
        ] {
            assert!(!is_number(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_number_is_comparable_if_a_double_keeps_its_digits() {
        for (text, value) in [
            ("300", 300.0),
            ("300.0", 300.0),
            ("3.0e2", 300.0),
            ("-0", 0.0),
            ("0.000", 0.0),
            ("123456789012345", 123_456_789_012_345.0),
            ("9007199254740992", 9_007_199_254_740_992.0),
            ("1e22", 1e22),
            ("0.1", 0.1),
            ("1.7976931348623157e308", f64::MAX),
            ("1000000000000000000000.0", 1e21),
            ("0.00000000000000000000000001", 1e-26),
            ("10.0203e-4", 0.001_002_03),
            ("5e-324", 5e-324),
            ("0e99999999999", 0.0),
        ] {
            assert_eq!(comparable(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "9007199254740993",
            "12345678901234567",
            "1e400",
            "1e-400",
            "0.10000000000000000001",
            "1e99999999999999999999",
        ] {
            assert_eq!(comparable(text.as_bytes()), None, "{text}");
        }
    }
}
