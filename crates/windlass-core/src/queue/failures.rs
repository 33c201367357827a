//! Messages that the function failed: which ones they are, and when they become visible again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::inbox::{Inbox, ReceivedMessage, Token};
use super::interface::{Batch, QueueAttributes};
use super::settings::QueueConsumerSettings;
use super::visibility::MIN_FAILED_TIMEOUT;
use crate::ids::KeyHash;
use crate::mapping::RetryBackoff;
use crate::message::MAX_VISIBILITY_TIMEOUT;
use crate::outcome::ItemFailures;
use crate::time::Timestamp;

/// How long before its retention ends a message becomes visible again at the latest.
const RETENTION_MARGIN: Duration = Duration::from_secs(60);

/// A message that the function failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FailedMessage {
    pub(super) token: Token,
    /// The delay that the function requests.
    pub(super) retry_after: Option<Duration>,
}

impl FailedMessage {
    /// Messages of a batch that failed as a whole.
    pub(super) fn all(tokens: Vec<Token>) -> Vec<Self> {
        let retry_after = None;
        let failed = tokens.into_iter();
        failed.map(|token| Self { token, retry_after }).collect()
    }
}

pub(super) fn tokens_of(failed: &[FailedMessage]) -> Vec<Token> {
    failed.iter().map(|it| it.token).collect()
}

/// Divides a batch into the messages that the function has processed, by the items that its response
/// reports, and those that failed; `None` if the whole batch failed. With `strict_order`, everything
/// in a group after its first failed message fails too.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting>
pub(super) fn split(
    failures: &ItemFailures,
    batch: &Batch,
    tokens: &[Token],
    strict_order: bool,
) -> Option<(Vec<Token>, Vec<FailedMessage>)> {
    let ids = batch.messages.iter().map(|it| it.message_id.as_str());
    let mut reported = failures.indexes(ids)?.into_iter().peekable();
    let mut failed_groups = BTreeSet::new();
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    for (index, (token, message)) in tokens.iter().zip(&*batch.messages).enumerate() {
        let is_reported = reported.next_if_eq(&index).is_some();
        let follows_failed = message.group.is_some_and(|it| failed_groups.contains(&it));
        if !is_reported && !follows_failed {
            succeeded.push(*token);
            continue;
        }
        if strict_order {
            failed_groups.extend(message.group);
        }
        let retry_after = failures.retry_after(message.message_id.as_str()).delay();
        failed.push(FailedMessage {
            token: *token,
            retry_after,
        });
    }
    Some((succeeded, failed))
}

/// When failed messages become visible again, where that is not left to the queue.
#[derive(Debug)]
pub(super) struct RetryDelays {
    backoff: Option<RetryBackoff>,
    retention: Option<Duration>,
    /// Wall time by the clock of the queue.
    source_time: Option<Timestamp>,
}

impl RetryDelays {
    pub(super) fn new(settings: &QueueConsumerSettings) -> Self {
        Self {
            backoff: settings.retry_backoff,
            retention: settings.attributes.retention,
            source_time: None,
        }
    }

    pub(super) fn set_attributes(&mut self, attributes: QueueAttributes) {
        self.retention = attributes.retention;
    }

    pub(super) fn set_source_time(&mut self, source_time: Timestamp) {
        self.source_time = Some(source_time);
    }

    /// The delay of each message; `None` if it becomes visible after `queue_timeout`, the queue's
    /// own. Those of one group have the longest among them: an earlier one would wait for a later one
    /// that is still invisible.
    pub(super) fn of(
        &self,
        failed: &[FailedMessage],
        inbox: &Inbox,
        queue_timeout: Duration,
        now: Timestamp,
    ) -> Vec<Option<Duration>> {
        let mut of_groups = BTreeMap::<KeyHash, GroupDelay>::new();
        for failed in failed {
            let message = inbox.get(failed.token);
            if let Some(group) = message.message.group {
                let (requested, limit) =
                    (self.requested(*failed, message), self.limit(message, now));
                let of_group = of_groups.entry(group).or_default();
                of_group.is_requested |= requested.is_some();
                of_group.longest = of_group.longest.max(requested.unwrap_or(queue_timeout));
                of_group.limit = of_group.limit.map_or(Some(limit), |it| Some(it.min(limit)));
            }
        }
        let delays = failed.iter().map(|failed| {
            let message = inbox.get(failed.token);
            match message
                .message
                .group
                .and_then(|group| of_groups.get(&group))
            {
                Some(of_group) => {
                    let longest = of_group.is_requested.then_some(of_group.longest)?;
                    Some(of_group.limit.map_or(longest, |limit| longest.min(limit)))
                }
                None => Some(
                    self.requested(*failed, message)?
                        .min(self.limit(message, now)),
                ),
            }
        });
        delays.collect()
    }

    fn requested(&self, failed: FailedMessage, message: &ReceivedMessage) -> Option<Duration> {
        let n_receives = message.message.n_receives;
        let scheduled = || Some(self.backoff?.delay(n_receives));
        failed.retry_after.or_else(scheduled)
    }

    /// The longest delay that a message can have: within what a queue allows since its receive, and
    /// so that it is received again before its retention ends. In whole seconds.
    fn limit(&self, message: &ReceivedMessage, now: Timestamp) -> Duration {
        let of_receive = MAX_VISIBILITY_TIMEOUT.saturating_sub(now.since(message.requested));
        let sent = message.message.sent;
        let is_dated = sent != Timestamp::EPOCH;
        let of_retention = self.retention.zip(self.source_time).filter(|_| is_dated);
        let of_retention = of_retention.map(|(retention, source_time)| {
            retention.saturating_sub(source_time.since(sent) + RETENTION_MARGIN)
        });
        let limit = of_retention.map_or(of_receive, |it| it.min(of_receive));
        Duration::from_secs(limit.as_secs()).max(MIN_FAILED_TIMEOUT)
    }
}

/// The delay of the failed messages of one group.
#[derive(Debug, Default)]
struct GroupDelay {
    /// Whether it is not left to the queue.
    is_requested: bool,
    longest: Duration,
    limit: Option<Duration>,
}
