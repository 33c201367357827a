//! Moments on the wire: seconds since the epoch, as AWS writes them.

use windlass_core::time::Timestamp;

/// The furthest moment that is believed: the year 9999.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// Reads seconds, in any form of a JSON number, to the millisecond.
pub(super) fn moment(seconds: &[u8]) -> Option<Timestamp> {
    exact_moment(seconds).or_else(|| near_moment(seconds))
}

/// Reads seconds written as they commonly are: with at most three digits behind a point, and before
/// the year 5138.
fn exact_moment(seconds: &[u8]) -> Option<Timestamp> {
    let mut parts = seconds.split(|byte| *byte == b'.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or_default());
    if parts.next().is_some() || !(1..=11).contains(&whole.len()) || 3 < fraction.len() {
        return None;
    }
    let mut millis = 0;
    for byte in whole.iter().chain(fraction) {
        let digit = byte.wrapping_sub(b'0');
        if 9 < digit {
            return None;
        }
        millis = millis * 10 + u64::from(digit);
    }
    let scale = [1000, 100, 10, 1][fraction.len()];
    Some(Timestamp::from_millis(millis * scale))
}

fn near_moment(seconds: &[u8]) -> Option<Timestamp> {
    let seconds: f64 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
    if !(0.0..=LAST_SECOND).contains(&seconds) {
        return None;
    }
    let duration = std::time::Duration::from_secs_f64(seconds);
    let millis = (duration.as_micros() + 500) / 1000;
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// Writes seconds as a function sees them: with a fraction, of at most three digits.
pub(super) fn push_seconds(page: &mut Vec<u8>, moment: Timestamp) {
    let (seconds, millis) = (moment.as_millis() / 1000, moment.as_millis() % 1000);
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    let mut rest = seconds;
    loop {
        start -= 1;
        digits[start] = digit(rest % 10);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    page.extend_from_slice(&digits[start..]);
    page.push(b'.');
    page.push(digit(millis / 100));
    if millis % 100 != 0 {
        page.push(digit(millis / 10 % 10));
    }
    if millis % 10 != 0 {
        page.push(digit(millis % 10));
    }
}

fn digit(number: u64) -> u8 {
    b"0123456789"[usize::try_from(number % 10).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written_to_the_millisecond() {
        for (wire, millis, written) in [
            ("1545084650.987", 1_545_084_650_987, "1545084650.987"),
            ("1.545084650987E9", 1_545_084_650_987, "1545084650.987"),
            ("1545084650", 1_545_084_650_000, "1545084650.0"),
            ("1545084650.5", 1_545_084_650_500, "1545084650.5"),
            ("1545084650.05", 1_545_084_650_050, "1545084650.05"),
            ("0", 0, "0.0"),
        ] {
            let moment = moment(wire.as_bytes()).unwrap();
            assert_eq!(moment.as_millis(), millis, "{wire}");
            let mut page = Vec::new();
            push_seconds(&mut page, moment);
            assert_eq!(String::from_utf8(page).unwrap(), written);
        }
        assert_eq!(moment(b"-1"), None);
        assert_eq!(moment(b"1e300"), None);
    }
}
