//! What follows an outcome, and how long to wait before something is tried again.
//!
//! The whole policy is the one `match` in [`Tries::judge`]; every machine that waits takes its
//! delays from [`Backoff`]. Both are told a seeded generator, so that a run can be replayed.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;

use crate::outcome::{Fault, Outcome};

/// The first delay of the schedule.
const SHORTEST: Duration = Duration::from_millis(500);

/// The last delay of the schedule, and the only one where waiting alone will not help.
const LONGEST: Duration = Duration::from_secs(60);

/// How often one batch was handed out, and how that ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tries {
    /// How often the function was reached and failed.
    failed: Backoff,
    /// How often the function was not reached since it was reached last.
    not_reached: Backoff,
}

/// What is to be done with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is finished with.
    Resolve,
    /// It is tried again, whole, when this time has passed.
    Retry(Duration),
}

impl Tries {
    /// Decides what follows an outcome of this batch.
    ///
    /// Attempts are unlimited: a batch is tried until the function succeeds. Only an outcome with
    /// which the function was reached uses one up.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>
    pub(crate) fn judge(&mut self, outcome: &Outcome, random: &mut ChaCha8Rng) -> Verdict {
        match outcome {
            Outcome::Success => Verdict::Resolve,
            Outcome::FunctionError { .. } => {
                self.not_reached.reset();
                Verdict::Retry(self.failed.next(Fault::Transient, random))
            }
            Outcome::NotInvoked { cause } => Verdict::Retry(self.not_reached.next(*cause, random)),
        }
    }

    /// The number of the next attempt, from 1.
    pub(crate) fn attempt(&self) -> u32 {
        self.failed.failures.saturating_add(1)
    }
}

/// A schedule of delays: 500 ms, doubled with every failure, at most 60 s, up to 20 % more or less.
///
/// At the longest delay the jitter only shortens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and gives the time to wait after it. A request to be left alone for longer
    /// than the schedule says is honoured; what needs a person waits the longest delay.
    pub(crate) fn next(&mut self, fault: Fault, random: &mut ChaCha8Rng) -> Duration {
        let scheduled = 2_u32
            .checked_pow(self.failures)
            .and_then(|factor| SHORTEST.checked_mul(factor))
            .map_or(LONGEST, |delay| delay.min(LONGEST));
        self.failures = self.failures.saturating_add(1);
        match fault {
            Fault::Throttled { retry_after } => {
                jitter(scheduled, random).max(retry_after.unwrap_or_default())
            }
            Fault::Transient | Fault::Trimmed => jitter(scheduled, random),
            Fault::Denied | Fault::Gone => jitter(LONGEST, random),
        }
    }

    /// Starts the schedule anew.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

fn jitter(delay: Duration, random: &mut ChaCha8Rng) -> Duration {
    let low = delay * 4 / 5;
    let high = (delay * 6 / 5).min(LONGEST);
    let spread = u64::try_from((high - low).as_millis()).expect("a fifth of a minute is small");
    low + Duration::from_millis(random.next_u64() % (spread + 1))
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    fn unreached(cause: Fault) -> Outcome {
        Outcome::NotInvoked { cause }
    }

    fn failed() -> Outcome {
        Outcome::FunctionError {
            status: 200,
            error: "Unhandled".to_owned(),
        }
    }

    #[track_caller]
    fn check(tries: &mut Tries, outcome: &Outcome, scheduled: u64, attempt: u32) {
        for seed in 0..50 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let Verdict::Retry(delay) = tries.clone().judge(outcome, &mut random) else {
                panic!("{outcome:?} is tried again");
            };
            let scheduled = Duration::from_millis(scheduled);
            let range = scheduled * 4 / 5..=(scheduled * 6 / 5).min(LONGEST);
            assert!(range.contains(&delay), "{delay:?}");
        }
        tries.judge(outcome, &mut ChaCha8Rng::seed_from_u64(0));
        assert_eq!(tries.attempt(), attempt);
    }

    #[test]
    fn only_a_reached_function_uses_an_attempt_and_each_kind_has_its_schedule() {
        let mut tries = Tries::default();
        check(&mut tries, &unreached(Fault::Transient), 500, 1);
        check(&mut tries, &unreached(Fault::Transient), 1_000, 1);
        check(&mut tries, &failed(), 500, 2);
        check(&mut tries, &failed(), 1_000, 3);
        check(&mut tries, &unreached(Fault::Transient), 500, 3);
        check(&mut tries, &failed(), 2_000, 4);
    }

    #[test]
    fn the_schedule_ends_at_a_minute() {
        let mut tries = Tries::default();
        for scheduled in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000] {
            let attempt = tries.attempt() + 1;
            check(&mut tries, &failed(), scheduled, attempt);
        }
        tries.failed.failures = u32::MAX;
        check(&mut tries, &failed(), 60_000, u32::MAX);
    }

    #[test]
    fn a_request_for_peace_is_honoured_and_a_refusal_waits_longest() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let retry_after = Some(Duration::from_secs(90));
        let delay = Backoff::default().next(Fault::Throttled { retry_after }, &mut random);
        assert_eq!(delay, Duration::from_secs(90));
        for fault in [Fault::Denied, Fault::Gone] {
            let delay = Backoff::default().next(fault, &mut random);
            assert!(Duration::from_secs(48) <= delay && delay <= LONGEST);
        }
    }
}
