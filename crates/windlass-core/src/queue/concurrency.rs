//! How many invocations may be in flight at a time: fewer after function errors, and after the
//! function was not reached.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>

use crate::time::Timestamp;

/// Failures do not reduce the concurrency further: as many as AWS begins with, so that a few
/// invocations that take long do not stop a queue whose other messages fail.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
const MIN_CONCURRENCY: usize = 5;

#[derive(Debug)]
pub(super) struct Concurrency {
    maximum: usize,
    reduced: Option<Reduced>,
}

/// The concurrency after a failure.
#[derive(Clone, Copy, Debug)]
struct Reduced {
    limit: usize,
    /// Invocations that had begun by then do not reduce it again.
    since: Timestamp,
}

impl Concurrency {
    pub(super) const fn new(maximum: usize) -> Self {
        Self {
            maximum,
            reduced: None,
        }
    }

    /// `None` while only slots limit the concurrency.
    pub(super) fn limit(&self) -> Option<usize> {
        self.reduced.map(|it| it.limit)
    }

    /// An invocation that began at `begun` has failed, or has not reached its function: of
    /// `n_in_flight`, half may be in flight. Of failures that were in flight together only the first
    /// counts.
    pub(super) fn failed(&mut self, n_in_flight: usize, begun: Timestamp, now: Timestamp) {
        let limit = match self.reduced {
            Some(reduced) if begun <= reduced.since => return,
            Some(reduced) => reduced.limit.min(n_in_flight),
            None => n_in_flight,
        };
        let limit = (limit / 2).max(MIN_CONCURRENCY);
        let since = now;
        self.reduced = (limit < self.maximum).then_some(Reduced { limit, since });
    }

    /// An invocation has succeeded: one more may be in flight.
    pub(super) fn succeeded(&mut self) {
        if let Some(reduced) = &mut self.reduced {
            reduced.limit += 1;
            if self.maximum <= reduced.limit {
                self.reduced = None;
            }
        }
    }
}
