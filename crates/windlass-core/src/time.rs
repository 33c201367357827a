//! Times, in milliseconds.
//!
//! The core is given two kinds. *Monotonic time* is the `now` of every input and the time of every
//! timer; it has no date. *Wall time* is what outside parties write: when a record arrived, where a
//! mapping starts. The two are never compared: a clock that is corrected by an hour must neither
//! fire a timer nor delay one. What needs both, such as the age of a record, is computed where it
//! is shown.

use std::ops::Add;
use std::time::Duration;

/// Milliseconds since the Unix epoch (wall time), or since the start of the daemon's clock
/// (monotonic time). The core receives the time and never reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const EPOCH: Self = Self(0);

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The time from `earlier` to `self` in milliseconds; negative if `earlier` is later.
    pub fn millis_since(self, earlier: Self) -> i64 {
        let millis = |from: Self, to: Self| i64::try_from(to.0.saturating_sub(from.0));
        let (forth, back) = (millis(earlier, self), millis(self, earlier));
        forth.unwrap_or(i64::MAX) - back.unwrap_or(i64::MAX)
    }

    /// Later by `millis`, or earlier if they are negative.
    #[must_use]
    pub const fn shifted(self, millis: i64) -> Self {
        Self(self.0.saturating_add_signed(millis))
    }

    /// To the second, in UTC: `2020-12-09T07:04:00Z`.
    pub fn to_rfc3339(self) -> String {
        format!("{}Z", self.date_and_time())
    }

    /// To the millisecond, in UTC: `2020-12-09T07:04:00.250Z`.
    pub fn to_rfc3339_millis(self) -> String {
        format!("{}.{:03}Z", self.date_and_time(), self.0 % 1000)
    }

    /// Parses `2020-12-09T07:04:00Z`, with a fraction of the second and an offset if there are such; a
    /// part of a millisecond counts as one. `None` for any other form, without a zone, and before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (time, rest) = (text.get(..19)?, &text.as_bytes()[19..]);
        let has_shape = time
            .bytes()
            .zip(b"0000-00-00T00:00:00")
            .all(|(byte, shape)| {
                byte == *shape || (byte.is_ascii_digit() && shape.is_ascii_digit())
            });
        let fraction = match rest.strip_prefix(b".") {
            Some(digits) => 1 + digits.iter().take_while(|it| it.is_ascii_digit()).count(),
            None => 0,
        };
        let has_zone = match &rest[fraction..] {
            b"Z" => true,
            [b'+' | b'-', hour @ .., b':', m, n] => {
                let [h, i] = hour else { return None };
                [h, i, m, n].into_iter().all(u8::is_ascii_digit)
            }
            _ => false,
        };
        if !has_shape || fraction == 1 || !has_zone {
            return None;
        }
        let time: jiff::Timestamp = text.parse().ok()?;
        let nanos = u128::try_from(time.as_nanosecond()).ok()?;
        u64::try_from(nanos.div_ceil(1_000_000)).ok().map(Self)
    }

    fn date_and_time(self) -> String {
        let seconds = self.0 / 1000;
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        // Years begin in March here, so that a leap day is their last day, and so that the lengths of
        // their months follow a rule: 153 days in five months.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }

    /// The start of its second, for sources that report time in whole seconds.
    pub const fn floor_to_second(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }
}

/// A duration is rounded up to whole milliseconds, so that a timer never fires early.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        Self(
            self.0
                .saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)),
        )
    }
}

/// Parses a duration as configurations spell it: `250ms`, `30s`, `5m`, `1h`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

/// Inverse of [`parse_duration`], with the longest unit.
pub fn display_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis != 0 && millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    if millis == 0 {
        "0s".to_owned()
    } else {
        format!("{millis}ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        for text in ["", "5", "s", "5 s", "1d", "-1s", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_displayed_as_they_are_spelled() {
        for text in ["0s", "1ms", "250ms", "20s", "15m", "1h", "90s"] {
            assert_eq!(display_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn times_are_rendered_in_utc() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_607_497_440_000, "2020-12-09T07:04:00Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59Z"),
        ] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(time.to_rfc3339(), expected);
        }
    }

    #[test]
    fn times_with_a_zone_are_parsed() {
        let parsed = |text: &str| Timestamp::parse_rfc3339(text).map(Timestamp::as_millis);
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T01:00:00.5+01:00", 951_782_400_500),
            ("2000-02-28T23:59:59.999-00:00", 951_782_399_999),
        ] {
            assert_eq!(parsed(text), Some(millis), "{text}");
        }
        let time = Timestamp::from_millis(951_782_399_999);
        assert_eq!(parsed(&time.to_rfc3339_millis()), Some(time.as_millis()));
        for text in [
            "2000-02-29T01:00:00",
            "2000-02-29T01:00:00.Z",
            "2000-02-29t01:00:00Z",
            "2000-02-29T01:00:00+0100",
            "2000-02-29T01:00:00+01:00é",
            "2001-02-29T01:00:00Z",
            "1969-12-31T23:59:59.999Z",
            "",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
