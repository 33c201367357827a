//! How many records a read requests, and how long it may take.
//!
//! A read that times out brings nothing, however much of the response had arrived. It is repeated
//! with half of the limit, down to one record, and then with twice the time.

use std::time::Duration;

/// Until a read of one record has timed out.
const MIN_TIMEOUT: Duration = Duration::from_secs(40);

/// The largest record, 10 MiB in base64, takes this long at 24 KB a second.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 60);

#[derive(Debug)]
pub(super) struct ReadPace {
    max_records: u32,
    timeout: Duration,
}

impl Default for ReadPace {
    fn default() -> Self {
        Self {
            max_records: u32::MAX,
            timeout: MIN_TIMEOUT,
        }
    }
}

impl ReadPace {
    pub(super) fn limit(&self, max_records: u32) -> u32 {
        max_records.min(self.max_records)
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A read of up to `limit` records has timed out.
    pub(super) fn timed_out(&mut self, limit: u32) {
        if 1 < limit {
            self.max_records = limit / 2;
        } else {
            self.timeout = (2 * self.timeout).min(MAX_TIMEOUT);
        }
    }

    /// A read has succeeded after `took`. Both limits recover only while that is a quarter of the time
    /// or less: twice as many records then take half of it, so that a line that stays slow does not
    /// make every other read time out.
    pub(super) fn succeeded(&mut self, took: Duration) {
        if self.timeout < 4 * took {
            return;
        }
        if MIN_TIMEOUT < self.timeout {
            self.timeout = (self.timeout / 2).max(MIN_TIMEOUT);
        } else {
            self.max_records = self.max_records.saturating_mul(2);
        }
    }
}
