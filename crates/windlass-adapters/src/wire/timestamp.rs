//! Moments on the wire: seconds since the epoch, as AWS writes them.

use windlass_core::time::Timestamp;

/// The furthest moment that is believed: the end of the year 9999, in milliseconds.
const LAST: u64 = 253_402_300_799_000;

/// More digits than these might not fit.
const MOST_DIGITS: usize = 17;

/// Reads seconds that a text begins with and that are a whole number of milliseconds: 1545084650.987
/// or, as Kinesis writes it, 1.545084650987E9. Gives how long they are, too; `None` says nothing.
pub(super) fn exact_moment(text: &[u8]) -> Option<(usize, Timestamp)> {
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
    if MOST_DIGITS < whole + fraction || matches!(text.get(length), Some(b'.' | b'e' | b'E')) {
        return None;
    }
    let places = (3 + exponent).checked_sub(u64::try_from(fraction).ok()?)?;
    let scale = 10_u64.checked_pow(u32::try_from(places).ok()?)?;
    let millis = digits.checked_mul(scale).filter(|millis| *millis <= LAST)?;
    Some((length, Timestamp::from_millis(millis)))
}

/// Appends the digits that a text begins with to a number, which may overflow; gives how many they
/// are.
fn push_digits(number: &mut u64, text: &[u8]) -> usize {
    let digits = text.iter().map(|byte| byte.wrapping_sub(b'0'));
    let mut n_digits = 0;
    for digit in digits.take_while(|digit| *digit <= 9) {
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        n_digits += 1;
    }
    n_digits
}

/// Reads seconds, in any form of a JSON number, to the nearest millisecond.
pub(super) fn near_moment(seconds: &[u8]) -> Option<Timestamp> {
    let seconds: f64 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
    let last = LAST as f64 / 1000.0;
    if !(0.0..=last).contains(&seconds) {
        return None;
    }
    let duration = std::time::Duration::from_secs_f64(seconds);
    let millis = (duration.as_micros() + 500) / 1000;
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// Writes seconds as a function sees them: with a fraction, of at most three digits.
pub(super) fn push_seconds(page: &mut Vec<u8>, moment: Timestamp) {
    let (seconds, millis) = (moment.as_millis() / 1000, moment.as_millis() % 1000);
    page.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    page.push(b'.');
    page.push(digit(millis / 100));
    if millis % 100 != 0 {
        page.push(digit(millis / 10));
    }
    if millis % 10 != 0 {
        page.push(digit(millis));
    }
}

fn digit(number: u64) -> u8 {
    b"0123456789"[usize::try_from(number % 10).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use windlass_testkit::rng::Rng;

    use super::super::cursor::Cursor;
    use super::*;

    fn moment(text: &str) -> Option<Timestamp> {
        Cursor::new(text.as_bytes()).moment().ok()
    }

    #[test]
    fn moments_are_read_and_written_to_the_millisecond() {
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
            let moment = moment(wire).unwrap();
            assert_eq!(moment.as_millis(), millis, "{wire}");
            let mut page = Vec::new();
            push_seconds(&mut page, moment);
            assert_eq!(String::from_utf8(page).unwrap(), written);
        }
        for wire in ["-1", "1e300", "1e12", "9999999999999999999999", "\"1\"", ""] {
            assert_eq!(moment(wire), None, "{wire}");
        }
    }

    #[test]
    fn exactly_or_nearly_a_moment_is_the_same() {
        let mut rng = Rng::new(1);
        for _ in 0..20_000 {
            let most = rng.pick(&[1, 100_000, 10_000_000_000, 100_000_000_000]);
            let whole = rng.between(0, most);
            let most = rng.pick(&[9, 999, 9_999]);
            let fraction = rng.between(0, most);
            let (exponent, e) = (rng.between(0, 4), rng.pick(&["e", "E"]));
            for text in [
                whole.to_string(),
                format!("{whole}.{fraction}"),
                format!("{whole}.{fraction}{e}{exponent}"),
            ] {
                let exact = exact_moment(text.as_bytes());
                let exact = exact.map(|(length, moment)| (text.len() == length, moment));
                let near = near_moment(text.as_bytes()).map(|moment| (true, moment));
                assert!(
                    exact.is_none() || exact == near,
                    "{text}: {exact:?}, {near:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_number_is_no_moment() {
        for wire in [
            "01", "00.5", "1.", ".5", "1.5.5", "1e", "1e5e5", "1.e5", "+1", "1E+",
        ] {
            let mut cursor = Cursor::new(wire.as_bytes());
            let whole = cursor.moment().and_then(|_| cursor.end());
            assert!(whole.is_err(), "{wire}");
        }
    }
}
