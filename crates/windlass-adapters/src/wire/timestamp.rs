//! Timestamps in the form AWS writes them: seconds since the epoch.

use windlass_core::time::Timestamp;

/// The end of the year 9999. A later time is an error.
const MAX_MILLIS: u64 = 253_402_300_799_000;

/// More digits could overflow.
const MAX_DIGITS: usize = 17;

/// Parses a number of seconds at the start of a text that is a whole number of milliseconds:
/// 1545084650.987 or, as Kinesis writes it, 1.545084650987E9. Returns its length in bytes, too.
/// `None`: the text has another form, and may still be a valid number.
pub(super) fn parse_exact(text: &[u8]) -> Option<(usize, Timestamp)> {
    let (mut digits, mut fraction, mut exponent) = (0, 0, 0);
    let whole = push_digits(&mut digits, text);
    if whole == 0 || (whole != 1 && text[0] == b'0') {
        return None;
    }
    let mut length = whole;
    if text.get(length) == Some(&b'.') {
        fraction = push_digits(&mut digits, &text[length + 1..]);
        if fraction == 0 {
            return None;
        }
        length += 1 + fraction;
    }
    if let Some(b'e' | b'E') = text.get(length) {
        let n_digits = push_digits(&mut exponent, &text[length + 1..]);
        if !(1..=2).contains(&n_digits) {
            return None;
        }
        length += 1 + n_digits;
    }
    if MAX_DIGITS < whole + fraction || matches!(text.get(length), Some(b'.' | b'e' | b'E')) {
        return None;
    }
    let decimals = (3 + exponent).checked_sub(u64::try_from(fraction).ok()?)?;
    let scale = 10_u64.checked_pow(u32::try_from(decimals).ok()?)?;
    let millis = digits
        .checked_mul(scale)
        .filter(|millis| *millis <= MAX_MILLIS)?;
    Some((length, Timestamp::from_millis(millis)))
}

/// Appends the digits at the start of a text to a number, which may overflow. Returns the number of
/// digits.
fn push_digits(number: &mut u64, text: &[u8]) -> usize {
    let digits = text.iter().map(|byte| byte.wrapping_sub(b'0'));
    let mut n_digits = 0;
    for digit in digits.take_while(|digit| *digit <= 9) {
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        n_digits += 1;
    }
    n_digits
}

/// Parses seconds in any form of a JSON number and rounds them to the nearest millisecond.
pub(super) fn parse_rounded(seconds: &[u8]) -> Option<Timestamp> {
    let seconds: f64 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
    let max = MAX_MILLIS as f64 / 1000.0;
    if !(0.0..=max).contains(&seconds) {
        return None;
    }
    let duration = std::time::Duration::from_secs_f64(seconds);
    let millis = (duration.as_micros() + 500) / 1000;
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// Writes seconds as a function sees them: with a fraction of one to three digits.
pub(super) fn push_seconds(text: &mut Vec<u8>, time: Timestamp) {
    let (seconds, millis) = (time.as_millis() / 1000, time.as_millis() % 1000);
    text.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    text.push(b'.');
    text.push(digit(millis / 100));
    if millis % 100 != 0 {
        text.push(digit(millis / 10));
    }
    if millis % 10 != 0 {
        text.push(digit(millis));
    }
}

fn digit(number: u64) -> u8 {
    b"0123456789"[usize::try_from(number % 10).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use windlass_testkit::rng::Rng;

    use super::super::json_cursor::JsonCursor;
    use super::*;

    fn parse(text: &str) -> Option<Timestamp> {
        JsonCursor::new(text.as_bytes()).optional_timestamp().ok()?
    }

    #[test]
    fn timestamps_are_read_and_written_to_the_millisecond() {
        for (wire, millis, written) in [
            ("1545084650.987", 1_545_084_650_987, "1545084650.987"),
            ("1.545084650987E9", 1_545_084_650_987, "1545084650.987"),
            ("1.54508465E9", 1_545_084_650_000, "1545084650.0"),
            ("154508465098.7e-2", 1_545_084_650_987, "1545084650.987"),
            ("1545084650", 1_545_084_650_000, "1545084650.0"),
            ("1545084650.5", 1_545_084_650_500, "1545084650.5"),
            ("1545084650.05", 1_545_084_650_050, "1545084650.05"),
            ("1545084650.9866", 1_545_084_650_987, "1545084650.987"),
            ("0", 0, "0.0"),
            ("0.0E0", 0, "0.0"),
        ] {
            let time = parse(wire).unwrap();
            assert_eq!(time.as_millis(), millis, "{wire}");
            let mut text = Vec::new();
            push_seconds(&mut text, time);
            assert_eq!(String::from_utf8(text).unwrap(), written);
        }
        for wire in ["-1", "1e300", "1e12", "9999999999999999999999", "\"1\"", ""] {
            assert_eq!(parse(wire), None, "{wire}");
        }
    }

    #[test]
    fn both_parsers_agree() {
        let mut rng = Rng::new(1);
        for _ in 0..20_000 {
            let max = rng.pick(&[1, 100_000, 10_000_000_000, 100_000_000_000]);
            let whole = rng.between(0, max);
            let max = rng.pick(&[9, 999, 9_999]);
            let fraction = rng.between(0, max);
            let (exponent, e) = (rng.between(0, 4), rng.pick(&["e", "E"]));
            for text in [
                whole.to_string(),
                format!("{whole}.{fraction}"),
                format!("{whole}.{fraction}{e}{exponent}"),
            ] {
                let exact = parse_exact(text.as_bytes());
                let exact = exact.map(|(length, time)| (text.len() == length, time));
                let rounded = parse_rounded(text.as_bytes()).map(|time| (true, time));
                assert!(
                    exact.is_none() || exact == rounded,
                    "{text}: {exact:?}, {rounded:?}"
                );
            }
        }
    }

    #[test]
    fn an_invalid_number_is_rejected() {
        for wire in [
            "01", "00.5", "1.", ".5", "1.5.5", "1e", "1e5e5", "1.e5", "+1", "1E+",
        ] {
            let mut cursor = JsonCursor::new(wire.as_bytes());
            let whole = cursor.optional_timestamp().and_then(|_| cursor.end());
            assert!(whole.is_err(), "{wire}");
        }
    }
}
