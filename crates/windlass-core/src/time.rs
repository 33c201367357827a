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
}
