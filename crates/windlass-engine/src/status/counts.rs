//! Counts of events and leases, and the rates at which events pass.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;
use windlass_core::lease::{Lease, LeaseKey, WorkerId};
use windlass_core::position::Position;

/// The current second, and the ten whole seconds over which rates are averaged. That is longer than
/// any polling interval, so the rate of a stream that flows is never zero.
const N_BUCKETS: usize = 11;
const RATE_SECONDS: u64 = N_BUCKETS as u64 - 1;

/// Events of one mapping since the daemon started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Read from the source.
    pub polled: Count,
    /// No filter matched, or before the starting position.
    pub filtered_out: Count,
    /// Sent to the function, retries included.
    pub invoked: Count,
    /// Invocations that ended with a function error.
    pub failed_invocations: Count,
    /// Events of those invocations.
    pub failed_events: Count,
    /// Given up without an on-failure destination.
    pub dropped: Count,
    /// Positions at which a stream could not continue, so that records may be lost.
    pub trimmed_gaps: Count,
    /// Shards of a former stream with the same name, whose checkpoints were dropped.
    pub recreated_shards: Count,
    /// Shards that left their stream before they were resolved.
    pub lost_shards: Count,
    /// Delivered to the on-failure destination.
    pub on_failure_delivered: Count,
    /// Deleted from the queue after success.
    pub deleted: Count,
    /// Receives whose messages waited for memory beyond half of their visibility timeout.
    pub late_receives: Count,
    /// Failed items whose `retryAfterSeconds` was ignored.
    pub ignored_retry_after: Count,
}

/// A number that only grows, and its recent growth.
#[derive(Debug)]
pub struct Count {
    total: AtomicU64,
    started: Instant,
    /// A ring of the last seconds: bucket `s % N_BUCKETS` is of second `s` since the start.
    buckets: [Bucket; N_BUCKETS],
}

/// The growth in one second: the second in the high 32 bits, the growth in the low 32 bits.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

/// Leases by who processes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    /// A consumer of this daemon.
    pub running: usize,
    /// Nobody: the consumer has failed and is restarted after a delay.
    pub waiting: usize,
    /// Another daemon.
    pub elsewhere: usize,
    /// The shard is resolved to its end.
    pub ended: usize,
}

impl Default for Count {
    fn default() -> Self {
        Self {
            total: AtomicU64::new(0),
            started: Instant::now(),
            buckets: Default::default(),
        }
    }
}

impl Count {
    pub fn add(&self, n: usize) {
        self.total.fetch_add(n as u64, Ordering::Relaxed);
        let second = self.second();
        let index = usize::try_from(second % N_BUCKETS as u64).expect("a small number");
        self.buckets[index].add(second, n as u64);
    }

    pub fn get(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Average growth per second over the last ten whole seconds, or over fewer if it is younger.
    pub fn per_second(&self) -> f64 {
        let now = self.second();
        let period = now.min(RATE_SECONDS);
        if period == 0 {
            return 0.0;
        }
        let growth: u64 = self
            .buckets
            .iter()
            .map(Bucket::get)
            .filter(|(second, _)| (now - period..now).contains(second))
            .map(|(_, growth)| growth)
            .sum();
        as_f64(growth) / as_f64(period)
    }

    fn second(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

impl Bucket {
    /// Adds to the growth in a second, and drops that of an earlier second.
    fn add(&self, second: u64, n: u64) {
        let add = |packed| {
            let (of, growth) = unpack(packed);
            let growth = if of == second { growth } else { 0 };
            let growth = (growth + n).min(u64::from(u32::MAX));
            (of <= second).then_some(second << 32 | growth)
        };
        // A thread that comes late finds a later second: its growth counts in the total alone.
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .ok();
    }

    fn get(&self) -> (u64, u64) {
        unpack(self.0.load(Ordering::Relaxed))
    }
}

const fn unpack(packed: u64) -> (u64, u64) {
    (packed >> 32, packed & u32::MAX as u64)
}

/// Saturates at 2³²: far above any growth in ten seconds.
fn as_f64(n: u64) -> f64 {
    u32::try_from(n).map_or(f64::from(u32::MAX), f64::from)
}

impl LeaseCounts {
    /// Counts leases of mappings that can run; `worker` is this daemon.
    pub(crate) fn of<'a>(
        leases: impl Iterator<Item = &'a Lease>,
        runs: impl Fn(&LeaseKey) -> bool,
        worker: &WorkerId,
    ) -> Self {
        let mut counts = Self::default();
        for lease in leases {
            let elsewhere = lease.owner.as_ref().is_some_and(|owner| owner != worker);
            let count = if lease.checkpoint.position == Position::ShardEnd {
                &mut counts.ended
            } else if runs(&lease.key) {
                &mut counts.running
            } else if elsewhere {
                &mut counts.elsewhere
            } else {
                &mut counts.waiting
            };
            *count += 1;
        }
        counts
    }

    /// Counts some leases anew.
    pub(crate) fn replace(&mut self, former: &Self, current: &Self) {
        let replace = |count: &mut usize, former, current| *count = *count - former + current;
        replace(&mut self.running, former.running, current.running);
        replace(&mut self.waiting, former.waiting, current.waiting);
        replace(&mut self.elsewhere, former.elsewhere, current.elsewhere);
        replace(&mut self.ended, former.ended, current.ended);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn pass(millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_read_once_a_second_has_a_steady_rate() {
        let count = Count::default();
        for second in 0..60 {
            pass(500).await;
            if 2 <= second {
                assert_eq!(count.per_second(), 7.0, "after {second} s");
            }
            count.add(7);
            pass(500).await;
        }
        assert_eq!(count.get(), 420);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_the_average_of_the_last_ten_seconds() {
        let count = Count::default();
        assert_eq!(count.per_second(), 0.0);
        pass(20_000).await;
        count.add(40);
        count.add(10);
        pass(1_000).await;
        assert_eq!(count.per_second(), 5.0);
        count.add(100);
        pass(9_000).await;
        assert_eq!(count.per_second(), 15.0);
        pass(1_000).await;
        assert_eq!(count.per_second(), 10.0);
        pass(1_000).await;
        assert_eq!(count.per_second(), 0.0);
        assert_eq!(count.get(), 150);
    }
}
