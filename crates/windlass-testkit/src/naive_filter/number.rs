//! Numbers that can be compared by value.

/// The value of a literal, if it is comparable.
///
/// event-ruler compares numbers as doubles, and only those that equal the shortest decimal of their
/// double: `0.1` and `1e2` do, but the shortest decimal of the double nearest to `12345678901234567`
/// is a different number.
pub(super) fn comparable(literal: &str) -> Option<f64> {
    let value: f64 = literal.parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    let shortest = format!("{value:e}");
    (Decimal::of(literal)? == Decimal::of(&shortest)?).then_some(value)
}

/// A decimal: its significant digits, and the power of ten of the last one.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn of(literal: &str) -> Option<Self> {
        let (number, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
        let mut exponent: i64 = exponent.parse().ok()?;
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        exponent -= i64::try_from(fraction.len()).ok()?;
        let mut digits = format!("{whole}{fraction}")
            .trim_start_matches('0')
            .to_owned();
        while digits.ends_with('0') {
            digits.pop();
            exponent += 1;
        }
        if digits.is_empty() {
            // Zero has one form, regardless of sign and exponent.
            return Some(Self {
                negative: false,
                digits,
                exponent: 0,
            });
        }
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }
}
