//! Delays between attempts that no consumer decides about, from the crate `backoff`.
//!
//! Consumers have a schedule of their own in the core, which is seeded and can be replayed.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// A delay that doubles with each failure up to a maximum, give or take a fifth.
#[derive(Clone, Debug)]
pub struct RetryDelay(ExponentialBackoff);

impl RetryDelay {
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self(ExponentialBackoff {
            current_interval: initial,
            initial_interval: initial,
            max_interval: max,
            multiplier: 2.0,
            randomization_factor: 0.2,
            // Attempts never end. With a limit the crate would compare with the system's clock.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.0.next_backoff();
        delay.expect("a backoff without a time limit never ends")
    }

    /// The last attempt succeeded: starts over at the initial delay.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_start_over_after_a_success() {
        let mut delay = RetryDelay::new(Duration::from_secs(1), Duration::from_secs(10));
        let mut check = |expected: &[f64]| {
            for expected in expected {
                let seconds = delay.next_delay().as_secs_f64();
                let range = 0.8 * expected..=1.2 * expected;
                assert!(range.contains(&seconds), "{seconds} s, not {range:?}");
            }
            delay.reset();
        };
        check(&[1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        check(&[1.0, 2.0]);
    }
}
