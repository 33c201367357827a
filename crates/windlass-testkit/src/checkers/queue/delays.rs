//! When failed messages must become visible again, computed a second time.

use std::time::Duration;

use windlass_core::ids::MessageId;
use windlass_core::outcome::{ItemFailures, Outcome, RetryAfter};
use windlass_core::time::Timestamp;

use super::model::Model;

/// Milliseconds of 12 hours.
const MAX_INVISIBLE: u64 = 43_200_000;

impl Model {
    /// The delay of each failed message; `None` if it is the queue's own timeout.
    pub(super) fn delays(
        &self,
        failed: &[MessageId],
        outcome: &Outcome,
        now: Timestamp,
    ) -> Vec<Option<Duration>> {
        let requested = |id: &MessageId| self.requested(id, outcome);
        let delay = |id: &MessageId| {
            let group = self.held[id].message.group;
            let of_group = |it: &&MessageId| {
                let is_same = group.is_some() && self.held[*it].message.group == group;
                is_same || *it == id
            };
            let together: Vec<_> = failed.iter().filter(of_group).collect();
            together.iter().find_map(|it| requested(it))?;
            let own = self.failed_timeout();
            let delays = together.iter().map(|it| requested(it).unwrap_or(own));
            let limits = together.iter().map(|it| self.limit(it, now));
            Some(delays.max()?.min(limits.min()?))
        };
        failed.iter().map(delay).collect()
    }

    /// What the function or the schedule says.
    fn requested(&self, id: &MessageId, outcome: &Outcome) -> Option<Duration> {
        let is_known = |id: &str| self.held.keys().any(|held| held.as_str() == id);
        if let Outcome::ItemFailures {
            failures: ItemFailures::Items(items),
            ..
        } = outcome
            && items.keys().all(|id| is_known(id))
            && let Some(RetryAfter::Seconds(seconds)) = items.get(id.as_str())
        {
            return Some(Duration::from_secs(u64::from(*seconds)));
        }
        let backoff = self.settings.retry_backoff?;
        let mut seconds = backoff.first.as_secs_f64();
        for _ in 1..self.held[id].message.n_receives {
            seconds = (seconds * backoff.factor).min(1e9);
        }
        let millis = (seconds * 1_000.0).round();
        let seconds = (millis / 1_000.0).min(backoff.maximum.as_secs_f64()).ceil();
        Some(Duration::from_secs_f64(seconds.max(1.0)))
    }

    /// Until 12 hours after its receive, and a minute before the queue deletes it.
    fn limit(&self, id: &MessageId, now: Timestamp) -> Duration {
        let held = &self.held[id];
        let received = held.requested.as_millis();
        let mut left = (received + MAX_INVISIBLE).saturating_sub(now.as_millis());
        if let (Some(retention), Some(source_time)) =
            (self.settings.attributes.retention, self.source_time)
        {
            let ends = (held.message.sent + retention).as_millis();
            left = left.min(ends.saturating_sub(source_time.as_millis() + 60_000));
        }
        Duration::from_secs((left / 1_000).max(1))
    }
}
