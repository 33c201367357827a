//! How long to wait after something has failed.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;

use crate::outcome::Fault;
use crate::time::Timestamp;

/// The first pause.
pub const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause, and the only one where trying soon is of no use.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A pause is lengthened or shortened by up to so many percent, so that daemons do not fall into
/// step.
const JITTER_PERCENT: u64 = 20;

/// Failures in a row, and when to try again: 500 ms, doubled each time, at most 60 s, ±20 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    until: Option<Timestamp>,
}

impl Backoff {
    /// One more failure. What is denied or gone waits for a person, and so for the longest pause;
    /// who asks to be left alone for longer is.
    pub fn failed(&mut self, fault: Fault, now: Timestamp, rng: &mut ChaCha8Rng) {
        let doubled = FIRST_PAUSE * 2_u32.saturating_pow(self.failures.min(16));
        let least = match fault {
            Fault::Throttled { retry_after } => retry_after.unwrap_or_default(),
            Fault::Transient | Fault::Trimmed => Duration::ZERO,
            Fault::Denied | Fault::Gone => LONGEST_PAUSE,
        };
        let pause = jittered(doubled.min(LONGEST_PAUSE), rng).max(least);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause);
    }

    /// It worked.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether the last try failed.
    pub const fn is_failing(&self) -> bool {
        0 < self.failures
    }

    /// How many have failed in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// When to try again, if the last try failed.
    pub const fn until(&self) -> Option<Timestamp> {
        self.until
    }
}

fn jittered(pause: Duration, rng: &mut ChaCha8Rng) -> Duration {
    let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let spread = millis * JITTER_PERCENT / 100;
    let jitter = rng.next_u64() % (2 * spread + 1);
    Duration::from_millis(millis - spread + jitter)
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_stay_within_their_jitter() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut backoff = Backoff::default();
        let now = Timestamp::from_millis(1_000_000);
        for expected in [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000] {
            backoff.failed(Fault::Transient, now, &mut rng);
            let pause = backoff.until().unwrap().since(now).as_millis();
            assert!(
                (expected * 8 / 10..=expected * 12 / 10).contains(&pause),
                "{pause}"
            );
        }
        backoff.reset();
        assert_eq!((backoff.until(), backoff.is_failing()), (None, false));
    }

    #[test]
    fn who_asks_for_longer_gets_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let now = Timestamp::EPOCH;
        for (fault, least) in [
            (
                Fault::Throttled {
                    retry_after: Some(Duration::from_secs(90)),
                },
                90,
            ),
            (Fault::Denied, 60),
            (Fault::Gone, 60),
        ] {
            let mut backoff = Backoff::default();
            backoff.failed(fault, now, &mut rng);
            assert!(now + Duration::from_secs(least) <= backoff.until().unwrap());
        }
    }
}
