//! What follows an outcome, and how long to wait before something is repeated.
//!
//! The whole retry policy is the one `match` in [`Attempts::decide`]; everything in the core that
//! waits takes its delays from [`Backoff`]. The [`Jitter`] of both is seeded, so a run can be replayed.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::mapping::RetrySettings;
use crate::outcome::{Fault, Outcome};

const MIN_DELAY: Duration = Duration::from_millis(500);

/// Also the delay after faults that waiting does not remove.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The longest `Retry-After` that is honored; a longer one counts as this. Functions and the proxies
/// in front of them send moments in place of seconds, and dates far in the future.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The failures of one batch, or of one piece of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts {
    /// The function was reached and failed.
    failed: Backoff,
    /// The function was not reached; restarts when it is reached.
    not_reached: Backoff,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RetryDecision {
    Resolve,
    /// Some records are done; the others take the place of the batch, without failures of their own.
    ResolveDone,
    /// Two halves take the place of the batch, each without failures of its own.
    Bisect,
    /// Repeat the whole batch after this delay.
    Retry(Duration),
    /// The last attempt has failed, or a further one cannot succeed.
    GiveUp,
}

impl Attempts {
    /// Decides what follows an outcome of this batch of `n_records`. `any_done`: by a response with item
    /// failures, some records are done.
    ///
    /// Only an outcome with which the function was reached uses an attempt. Progress uses none, and
    /// neither does a batch that is split. One that is larger than the function accepts is always split.
    /// The final invocation of a window, which has no records, is repeated until it succeeds.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>
    pub(crate) fn decide(
        &mut self,
        outcome: &Outcome,
        n_records: usize,
        any_done: bool,
        settings: &RetrySettings,
        jitter: &mut Jitter,
    ) -> RetryDecision {
        match outcome {
            // A state has no part in the decision.
            Outcome::Success | Outcome::Windowed(_) => RetryDecision::Resolve,
            Outcome::ItemFailures { .. } if any_done => RetryDecision::ResolveDone,
            Outcome::FunctionError { .. } if outcome.is_too_large() && 1 < n_records => {
                RetryDecision::Bisect
            }
            Outcome::FunctionError { .. }
                if (outcome.is_too_large() || outcome.is_recursive()) && n_records != 0 =>
            {
                self.failed.next(Fault::Transient, jitter);
                RetryDecision::GiveUp
            }
            Outcome::ItemFailures { .. } | Outcome::FunctionError { .. } => {
                self.fail(n_records, settings, jitter)
            }
            Outcome::NotInvoked { cause } => {
                RetryDecision::Retry(self.not_reached.next(*cause, jitter))
            }
        }
    }

    /// What follows a failure of the whole batch.
    fn fail(
        &mut self,
        n_records: usize,
        settings: &RetrySettings,
        jitter: &mut Jitter,
    ) -> RetryDecision {
        if settings.bisect_batch && 1 < n_records {
            return RetryDecision::Bisect;
        }
        self.not_reached.reset();
        let delay = self.failed.next(Fault::Transient, jitter);
        let maximum = settings.maximum_attempts;
        if maximum.is_some_and(|maximum| maximum < self.failed.failures) {
            return RetryDecision::GiveUp;
        }
        RetryDecision::Retry(delay)
    }

    /// Attempts that have failed.
    pub(crate) const fn n_failed(&self) -> u32 {
        self.failed.failures
    }

    /// From 1.
    pub(crate) fn next_attempt(&self) -> u32 {
        self.failed.failures.saturating_add(1)
    }
}

/// Exponential backoff: 500 ms, doubled with every failure, at most 60 s.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and returns the delay after it. A [`requested_pause`] that exceeds the
    /// scheduled delay is honored. Faults that need an operator wait for the maximum delay.
    pub(crate) fn next(&mut self, fault: Fault, jitter: &mut Jitter) -> Duration {
        let scheduled = 2_u32
            .checked_pow(self.failures)
            .and_then(|factor| MIN_DELAY.checked_mul(factor))
            .map_or(MAX_DELAY, |delay| delay.min(MAX_DELAY));
        self.failures = self.failures.saturating_add(1);
        let delay = match fault {
            Fault::Throttled { .. }
            | Fault::Transient
            | Fault::TimedOut
            | Fault::Trimmed
            | Fault::UnknownPosition => scheduled,
            Fault::Denied | Fault::Gone => MAX_DELAY,
        };
        jitter.apply(delay).max(requested_pause(fault))
    }

    /// Restarts the schedule.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The pause that a service requests with `Retry-After`, up to the limit; zero if it requests none.
/// Every use of a `retry_after` goes through here.
pub(crate) fn requested_pause(fault: Fault) -> Duration {
    match fault {
        Fault::Throttled { retry_after } => retry_after.unwrap_or_default().min(MAX_RETRY_AFTER),
        Fault::Transient
        | Fault::TimedOut
        | Fault::Denied
        | Fault::Gone
        | Fault::Trimmed
        | Fault::UnknownPosition => Duration::ZERO,
    }
}

/// Varies delays, so that units that failed together are not retried together.
#[derive(Clone, Debug)]
pub(crate) struct Jitter {
    rng: ChaCha8Rng,
    percent: u32,
}

impl Jitter {
    /// Varies delays by up to `percent`, 0 to 100.
    pub(crate) fn new(seed: u64, percent: u32) -> Self {
        assert!(percent <= 100, "a delay is not negative");
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            percent,
        }
    }

    /// Never exceeds the maximum delay: there the jitter only shortens.
    fn apply(&mut self, delay: Duration) -> Duration {
        let low = delay * (100 - self.percent) / 100;
        let high = (delay * (100 + self.percent) / 100).min(MAX_DELAY);
        let spread = u64::try_from((high - low).as_millis()).expect("at most two minutes");
        low + Duration::from_millis(self.rng.next_u64() % (spread + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreached(cause: Fault) -> Outcome {
        Outcome::NotInvoked { cause }
    }

    fn failed() -> Outcome {
        Outcome::function_error(200, "Unhandled")
    }

    fn decide(attempts: &mut Attempts, outcome: &Outcome, jitter: &mut Jitter) -> RetryDecision {
        attempts.decide(outcome, 3, false, &RetrySettings::default(), jitter)
    }

    #[track_caller]
    fn check(attempts: &mut Attempts, outcome: &Outcome, scheduled: u64, attempt: u32) {
        for seed in 0..50 {
            let mut jitter = Jitter::new(seed, 20);
            let RetryDecision::Retry(delay) = decide(&mut attempts.clone(), outcome, &mut jitter)
            else {
                panic!("{outcome:?} is retried");
            };
            let scheduled = Duration::from_millis(scheduled);
            let range = scheduled * 4 / 5..=(scheduled * 6 / 5).min(MAX_DELAY);
            assert!(range.contains(&delay), "{delay:?}");
        }
        decide(attempts, outcome, &mut Jitter::new(0, 20));
        assert_eq!(attempts.next_attempt(), attempt);
    }

    #[test]
    fn only_a_reached_function_uses_an_attempt_and_each_kind_has_its_schedule() {
        let mut attempts = Attempts::default();
        check(&mut attempts, &unreached(Fault::Transient), 500, 1);
        check(&mut attempts, &unreached(Fault::Transient), 1_000, 1);
        check(&mut attempts, &failed(), 500, 2);
        check(&mut attempts, &failed(), 1_000, 3);
        check(&mut attempts, &unreached(Fault::Transient), 500, 3);
        check(&mut attempts, &failed(), 2_000, 4);
    }

    #[test]
    fn the_delay_is_at_most_a_minute() {
        let mut attempts = Attempts::default();
        for scheduled in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000] {
            let attempt = attempts.next_attempt() + 1;
            check(&mut attempts, &failed(), scheduled, attempt);
        }
        attempts.failed.failures = u32::MAX;
        check(&mut attempts, &failed(), 60_000, u32::MAX);
    }

    #[test]
    fn retry_after_is_honored_up_to_its_limit_and_a_denied_call_waits_for_the_maximum_delay() {
        let mut jitter = Jitter::new(1, 20);
        for (requested, honored) in [(90, 90), (300, 300), (301, 300), (u64::MAX, 300)] {
            let retry_after = Some(Duration::from_secs(requested));
            let delay = Backoff::default().next(Fault::Throttled { retry_after }, &mut jitter);
            assert_eq!(delay, Duration::from_secs(honored));
        }
        for fault in [Fault::Denied, Fault::Gone] {
            let delay = Backoff::default().next(fault, &mut jitter);
            assert!(Duration::from_secs(48) <= delay && delay <= MAX_DELAY);
        }
    }
}
