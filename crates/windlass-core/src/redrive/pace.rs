//! A number of records a second at most, evenly.

use std::time::Duration;

use crate::time::Timestamp;

/// What is sent must be paid for before the next batch goes.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Records a second, at least 1; `None`: any number.
    rate: Option<u32>,
    paid_until: Timestamp,
}

impl Pace {
    pub const fn new(rate: Option<u32>) -> Self {
        Self {
            rate,
            paid_until: Timestamp::EPOCH,
        }
    }

    /// How long the next batch waits.
    pub fn wait(&self, now: Timestamp) -> Duration {
        self.paid_until.since(now)
    }

    /// Records are being sent, also if the function is not reached.
    pub fn pay(&mut self, n_records: usize, now: Timestamp) {
        if let Some(rate) = self.rate {
            let millis = (n_records as u64 * 1_000).div_ceil(u64::from(rate.max(1)));
            self.paid_until = now + Duration::from_millis(millis);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_goes_when_the_one_before_is_paid_for() {
        let at = Timestamp::from_millis;
        let mut pace = Pace::new(Some(100));
        assert_eq!(pace.wait(at(5_000)), Duration::ZERO);
        pace.pay(250, at(5_000));
        assert_eq!(pace.wait(at(5_500)), Duration::from_secs(2));
        assert_eq!(pace.wait(at(9_000)), Duration::ZERO);
        // Time in which nothing was sent is not saved up.
        pace.pay(100, at(9_000));
        assert_eq!(pace.wait(at(9_000)), Duration::from_secs(1));
        let mut free = Pace::new(None);
        free.pay(1_000_000, at(0));
        assert_eq!(free.wait(at(0)), Duration::ZERO);
    }
}
