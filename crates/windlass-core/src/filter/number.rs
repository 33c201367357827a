//! Numbers as patterns compare them: by value, where the value can be had exactly.
//!
//! AWS's matcher compares numbers as doubles, and leaves out those whose decimal digits a double
//! does not keep: such a number equals only its own text.
//!
//! <https://github.com/aws/event-ruler#numeric-matching>

/// Whether a text is a number as JSON has them.
///
/// <https://www.rfc-editor.org/rfc/rfc8259#section-6>
pub(super) fn is_number(text: &[u8]) -> bool {
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

/// How many digits a text begins with, and what follows them.
#[inline]
fn digits(text: &[u8]) -> (usize, &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let n_digits = end.unwrap_or(text.len());
    (n_digits, &text[n_digits..])
}

/// The value of a number, if a double keeps all its digits.
pub(super) fn comparable(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    // Fifteen digits always survive; they are what most numbers have.
    let n_digits = text.bytes().filter(u8::is_ascii_digit).count();
    let plain = !text.contains(['e', 'E']);
    if n_digits <= 15 && plain {
        return Some(value);
    }
    let shortest = format!("{value:e}");
    (decimal(text) == decimal(&shortest)).then_some(value)
}

/// The digits of a number without zeros at either end, and the power of ten of the last one.
fn decimal(text: &str) -> Option<(Vec<u8>, i64)> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [whole.as_bytes(), fraction.as_bytes()].concat();
    let mut power = exponent.parse::<i64>().ok()?;
    power = power.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    while digits.last() == Some(&b'0') {
        digits.pop();
        power = power.checked_add(1)?;
    }
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..zeros);
    if digits.is_empty() {
        power = 0;
    }
    Some((digits, power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_json() {
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
