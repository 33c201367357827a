//! DynamoDB's numbers: decimals of 38 digits, in the one form in which equal numbers are equal.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html#HowItWorks.DataTypes.Number>

use super::refusal::DynamoDbRefusal;

const MOST_DIGITS: usize = 38;

/// The exponents that a number's first digit may have.
const EXPONENTS: std::ops::RangeInclusive<i64> = -130..=125;

/// A number without sign of plus, exponent, leading or trailing zeros: `1`, `-0.5`.
///
/// # Errors
/// If it is no number, or one that AWS does not store.
pub(super) fn normal(text: &str) -> Result<String, DynamoDbRefusal> {
    let no_number =
        || DynamoDbRefusal::validation("The parameter cannot be converted to a numeric value");
    let (is_negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let exponent: i32 = exponent.parse().map_err(|_| no_number())?;
            (mantissa, i64::from(exponent))
        }
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(no_number());
    }
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok("0".to_owned());
    }
    if MOST_DIGITS < significant.len() {
        return Err(DynamoDbRefusal::validation(
            "Attempting to store more than 38 significant digits in a Number",
        ));
    }
    // Digits of the number that stand before its point; below one, zeros that stand behind it.
    let n_leading = digits.len() - digits.trim_start_matches('0').len();
    let point = length(whole) + exponent - length(&digits[..n_leading]);
    if !EXPONENTS.contains(&(point - 1)) {
        return Err(DynamoDbRefusal::validation(
            "Number overflow or underflow. Attempting to store a number with a magnitude outside \
             of the supported range",
        ));
    }
    let sign = if is_negative { "-" } else { "" };
    Ok(format!("{sign}{}", plain(significant, point)))
}

/// The bytes that a number takes, as AWS estimates them.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
pub(super) fn size(normal: &str) -> usize {
    let digits: String = normal.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    significant.div_ceil(2) + 1 + usize::from(normal.starts_with('-'))
}

fn plain(significant: &str, point: i64) -> String {
    let zeros = |number: i64| "0".repeat(usize::try_from(number).unwrap_or(0));
    let behind = length(significant) - point;
    if behind <= 0 {
        return format!("{significant}{}", zeros(-behind));
    }
    match usize::try_from(point) {
        Ok(point) if 0 < point => format!("{}.{}", &significant[..point], &significant[point..]),
        _ => format!("0.{}{significant}", zeros(-point)),
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_have_one_form() {
        for (given, expected) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("007", "7"),
            ("+1.50", "1.5"),
            ("-1e2", "-100"),
            ("12.5E1", "125"),
            ("12.5E-3", "0.0125"),
            ("100", "100"),
            (".5", "0.5"),
            ("1e-130", &format!("0.{}1", "0".repeat(129))),
            ("0.001e127", &format!("1{}", "0".repeat(124))),
        ] {
            assert_eq!(normal(given).as_deref(), Ok(expected), "{given}");
            assert_eq!(normal(expected).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_aws_does_not_store_is_refused() {
        let long = "1".repeat(39);
        for wrong in [
            "", "-", "x", "1e", "1.2.3", "--1", ".", "1e126", "1e-131", &long,
        ] {
            assert!(normal(wrong).is_err(), "{wrong}");
        }
    }
}
