//! Numbers that only grow, and the rates at which they do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The current period, and the ten whole ones over which rates are averaged.
const N_BUCKETS: usize = 11;
const RATE_PERIODS: u64 = N_BUCKETS as u64 - 1;

/// Ten seconds are longer than any polling interval, so the rate of a stream that flows is never zero.
const DEFAULT_PERIOD: Duration = Duration::from_secs(1);

/// A number that only grows, and its recent growth.
#[derive(Debug)]
pub struct Count {
    total: AtomicU64,
    started: Instant,
    /// Of a bucket.
    period: Duration,
    /// A ring of the last periods: bucket `p % N_BUCKETS` is of period `p` since the start.
    buckets: [Bucket; N_BUCKETS],
}

/// The growth in one period: its number in the high 32 bits, the growth in the low 32 bits.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

impl Default for Count {
    fn default() -> Self {
        Self::with_period(DEFAULT_PERIOD)
    }
}

impl Count {
    /// Its rate is the average over ten periods.
    pub(crate) fn with_period(period: Duration) -> Self {
        Self {
            total: AtomicU64::new(0),
            started: Instant::now(),
            period,
            buckets: Default::default(),
        }
    }

    pub fn add(&self, n: usize) {
        self.total.fetch_add(n as u64, Ordering::Relaxed);
        let period = self.current_period();
        let index = usize::try_from(period % N_BUCKETS as u64).expect("a small number");
        self.buckets[index].add(period, n as u64);
    }

    pub fn get(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Average growth per second over the last ten whole periods, or over fewer if it is younger.
    pub fn per_second(&self) -> f64 {
        let now = self.current_period();
        let n_periods = now.min(RATE_PERIODS);
        if n_periods == 0 {
            return 0.0;
        }
        let growth: u64 = self
            .buckets
            .iter()
            .map(Bucket::get)
            .filter(|(period, _)| (now - n_periods..now).contains(period))
            .map(|(_, growth)| growth)
            .sum();
        as_f64(growth) / (as_f64(n_periods) * self.period.as_secs_f64())
    }

    fn current_period(&self) -> u64 {
        let n_periods = self.started.elapsed().as_nanos() / self.period.as_nanos();
        u64::try_from(n_periods).unwrap_or(u64::MAX)
    }
}

impl Bucket {
    /// Adds to the growth in a period, and drops that of an earlier one.
    fn add(&self, period: u64, n: u64) {
        let add = |packed| {
            let (of, growth) = unpack(packed);
            let growth = if of == period { growth } else { 0 };
            let growth = (growth + n).min(u64::from(u32::MAX));
            (of <= period).then_some(period << 32 | growth)
        };
        // A thread that comes late finds a later period: its growth counts in the total alone.
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

/// Saturates at 2³²: far above any growth in ten periods.
fn as_f64(n: u64) -> f64 {
    u32::try_from(n).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
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
