//! Tumbling windows: their bounds, and the state that a function hands from one invocation to the
//! next.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-windows.html>

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::time::Timestamp;

/// The largest state, in bytes of its JSON: 1 MB.
pub const MAX_STATE: usize = 1024 * 1024;

/// The state with which a window begins.
const EMPTY_STATE: &[u8] = b"{}";

/// A window, by the approximate arrival of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowBounds {
    pub start: Timestamp,
    /// Exclusive.
    pub end: Timestamp,
}

/// The state of a window, as the JSON that the function has returned.
#[derive(Clone)]
pub struct WindowState(Bytes);

/// The window of a shard at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowCheckpoint {
    /// No later record belongs to a window before this one.
    pub bounds: WindowBounds,
    /// What the function has returned last; `None` if it has processed no record of the window.
    pub state: Option<WindowState>,
}

/// What the event of an invocation says of its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowCall {
    pub bounds: WindowBounds,
    pub state: WindowState,
    /// The window has ended: there are no records.
    pub is_final: bool,
    /// It has ended since its state would be too large.
    pub is_terminated_early: bool,
}

impl WindowBounds {
    /// The window of a record that arrived at `time`: windows begin at multiples of their length
    /// since the epoch.
    pub fn of(time: Timestamp, length: Duration) -> Self {
        let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1);
        let start = Timestamp::from_millis(time.as_millis() / millis * millis);
        Self {
            start,
            end: start + length,
        }
    }

    /// The bounds of an empty window of the same length after this one.
    pub(crate) fn next(self) -> Self {
        Self {
            start: self.end,
            end: self.end + self.end.since(self.start),
        }
    }
}

impl WindowState {
    /// `json` is one value of JSON.
    pub const fn new(json: Bytes) -> Self {
        Self(json)
    }

    pub const fn empty() -> Self {
        Self(Bytes::from_static(EMPTY_STATE))
    }

    pub const fn json(&self) -> &Bytes {
        &self.0
    }
}

/// A state may have a megabyte and is compared with itself again and again.
impl PartialEq for WindowState {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (&self.0, &other.0);
        let is_same = one.len() == other.len() && one.as_ptr() == other.as_ptr();
        is_same || one == other
    }
}

impl Eq for WindowState {}

/// Its length alone: contents do not belong in logs.
impl fmt::Debug for WindowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowState({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_to_the_epoch() {
        let of = |millis, seconds| {
            let length = Duration::from_secs(seconds);
            let bounds = WindowBounds::of(Timestamp::from_millis(millis), length);
            (bounds.start.as_millis(), bounds.end.as_millis())
        };
        assert_eq!(of(0, 120), (0, 120_000));
        assert_eq!(of(119_999, 120), (0, 120_000));
        assert_eq!(of(120_000, 120), (120_000, 240_000));
        assert_eq!(
            of(1_607_497_473_000, 120),
            (1_607_497_440_000, 1_607_497_560_000)
        );
    }
}
