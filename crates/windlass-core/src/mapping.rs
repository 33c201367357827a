//! Event source mappings: as the store keeps them ([`MappingRow`]), and validated, for consumers and
//! the engine ([`Mapping`]).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use windlass_filter::Criteria;

use crate::arn::{Arn, SourceArn, SourceKind, StreamKind};
use crate::failure::DestinationArn;
use crate::position::Position;
use crate::spec::MappingSpec;
use crate::time::Timestamp;

/// The `UUID` of a mapping: 36 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappingId(Arc<str>);

/// 1 for a new mapping, and one more with every change; writes are conditional on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A mapping as the store keeps it.
///
/// The API's `State` is not here: it is computed from what runs.
#[derive(Clone, Debug, PartialEq)]
pub struct MappingRow {
    pub id: MappingId,
    pub revision: Revision,
    /// The parameters, without defaults and without `Enabled`.
    pub spec: MappingSpec,
    /// The `EventSourceArn` of `spec`.
    pub source: SourceArn,
    /// Resolved once; the qualifier is as given.
    pub function_arn: Arn,
    pub desired: DesiredState,
    /// The last change, which names the state while it is in progress.
    pub change: Change,
    /// When it was created by the clock of the source, less a margin: a starting position of
    /// `LATEST` means this time. See [`latest`].
    pub created: Timestamp,
    pub last_modified: Timestamp,
    pub origin: Origin,
}

/// What defines a mapping, and deletes it when it is no longer defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A caller of the API created it.
    Api,
    /// The mappings of the configuration file.
    Configuration,
    /// `windlass mappings apply` created it.
    Apply,
}

/// The state that the user requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesiredState {
    Enabled,
    /// Checkpoints are kept.
    Disabled,
    /// Pollers stop, then the mapping is removed with its checkpoints.
    Deleted,
}

/// The last change of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Created,
    Enabled,
    Disabled,
    /// Parameters other than `Enabled` were changed.
    Updated,
    Deleted,
}

/// Margins of [`latest`] and [`until_now`]: servers of one source have clocks of their own, and the
/// answer has whole seconds; of a source whose clock is unknown, ours may differ by much more.
const SOURCE_CLOCK_MARGIN: i64 = 1_000;
const OWN_CLOCK_MARGIN: i64 = 60_000;

/// The time that a starting position of `LATEST` means for a mapping that is being created.
///
/// Records carry times of their source's clock, so it is measured by that clock: `answered` is when
/// the source last answered, by its clock. A record that arrives after the mapping exists is never
/// earlier; some that arrived shortly before may be delivered as well.
pub fn latest(answered: Option<Timestamp>, wall: Timestamp) -> Timestamp {
    match answered {
        Some(answered) => answered.shifted(-SOURCE_CLOCK_MARGIN),
        None => wall.shifted(-OWN_CLOCK_MARGIN),
    }
}

/// The time that the end `now` of a stretch means. A record that arrived before the request is never
/// later by the clock of its source.
pub fn until_now(answered: Option<Timestamp>, wall: Timestamp) -> Timestamp {
    answered.map_or(wall, |answered| answered.shifted(SOURCE_CLOCK_MARGIN))
}

/// A mapping that may run. Built only by [`crate::validate::mapping`].
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    pub id: MappingId,
    pub revision: Revision,
    pub source: Source,
    /// With its qualifier.
    pub function: Arn,
    /// `None`: every record reaches the function.
    pub filter: Option<Arc<Criteria>>,
    /// Whether responses of the function say which items of a batch failed; otherwise they are
    /// discarded.
    pub reports_item_failures: bool,
    pub desired: DesiredState,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Stream(StreamSource),
    Queue(QueueSource),
}

#[derive(Clone, Debug, PartialEq)]
pub struct StreamSource {
    pub kind: StreamKind,
    /// Of the stream, also if the mapping names a consumer.
    pub arn: Arn,
    /// The consumer with enhanced fan-out that reads the stream; `None`: shared throughput.
    pub consumer: Option<Arn>,
    /// Whether the records of aggregates are delivered as records of their own: with enhanced fan-out,
    /// and where a replay reads the same stream without it.
    pub takes_aggregates_apart: bool,
    pub settings: StreamSettings,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueueSource {
    pub arn: Arn,
    pub retry_backoff: MessageBackoff,
    /// Concurrent invocations, 2 to 1,000; `None` leaves them to the daemon.
    pub maximum_concurrency: Option<usize>,
    pub settings: QueueSettings,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StreamSettings {
    /// For all shards, children included: a time excludes no record that arrived in a child later.
    pub starting_position: Position,
    /// For shards of a stream that was deleted and created again: everything in it is new, so it is
    /// read from its oldest record unless the mapping starts at a time that was given.
    pub recreated_position: Position,
    /// Records that arrived earlier are skipped: `LATEST` for a source that has no iterator by
    /// time.
    pub skip_before: Option<Timestamp>,
    /// 1 to 10,000 records.
    pub batch_size: usize,
    /// 0 to 300 seconds; zero invokes as soon as there is a record.
    pub maximum_batching_window: Duration,
    /// Lanes of each shard, 1 to 10.
    pub parallelization_factor: usize,
    /// 1 to 900 seconds, with one lane; `None`: the function keeps no state.
    pub tumbling_window: Option<Duration>,
    /// Where records that are given up are reported.
    pub on_failure: Option<DestinationArn>,
    pub retries: RetrySettings,
}

/// What follows a failed invocation of a stream's batch. The default retries it until it succeeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetrySettings {
    /// After the first attempt, 0 to 10,000; `None`: without limit.
    pub maximum_attempts: Option<u32>,
    /// A minute to a week, by the clock of the source; `None`: without limit.
    pub maximum_record_age: Option<Duration>,
    /// Splits a failed batch into halves, which are retried on their own.
    pub bisect_batch: bool,
    /// After a seek: a record that arrived earlier is as old as if it had arrived then. By the clock of
    /// the source.
    pub age_from: Option<Timestamp>,
    /// With partial responses: of each key the first failed record and everything after it are
    /// retried, and all others are done. Otherwise everything from the first failed record on is.
    pub strict_order: bool,
}

/// When a message that the function failed becomes visible again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum MessageBackoff {
    /// As the daemon's settings say.
    #[default]
    OfDaemon,
    /// After the queue's own visibility timeout, as on AWS.
    Off,
    On(RetryBackoff),
}

/// Delays by the receive count of a message. Queues count whole seconds, so a delay is rounded up to
/// them, and is at least one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBackoff {
    /// After the first receive: up to `maximum`.
    pub first: Duration,
    /// By which every further receive multiplies the delay: at least 1.
    pub factor: f64,
    /// Up to [`MAX_VISIBILITY_TIMEOUT`](crate::message::MAX_VISIBILITY_TIMEOUT).
    pub maximum: Duration,
}

impl StreamSettings {
    /// The arrival of the first record that the mapping may deliver; `None` if it starts at the
    /// oldest one.
    pub const fn start(&self) -> Option<Timestamp> {
        match self.starting_position {
            Position::AtTimestamp(start) => Some(start),
            Position::TrimHorizon
            | Position::At(_)
            | Position::After(_)
            | Position::Within(..)
            | Position::ShardEnd => self.skip_before,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueueSettings {
    /// Keeps the order within message groups.
    pub fifo: bool,
    /// 1 to 10,000 messages (FIFO: 10).
    pub batch_size: usize,
    /// 0 to 300 seconds; zero invokes as soon as there is a message.
    pub maximum_batching_window: Duration,
    /// FIFO, with partial responses: of each group everything after the first failed message comes
    /// again too. Otherwise only the messages that the function names do.
    pub strict_order: bool,
    /// `None`: as many as the queue needs.
    pub pollers: Option<Pollers>,
}

/// How many pollers a queue has at all times. Each is a loop of receives.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pollers {
    /// 2 to 200.
    pub minimum: usize,
    /// 2 to 10,000, at least the minimum.
    pub maximum: usize,
}

impl Pollers {
    /// From one receive of a poller to its next one, at least: ten a second.
    pub const RECEIVE_INTERVAL: Duration = Duration::from_millis(100);

    /// Concurrent invocations of a poller.
    pub const INVOCATIONS: usize = 10;
}

impl MessageBackoff {
    /// `None` if it is off. `of_daemon` is what the daemon's settings say.
    pub fn resolve(self, of_daemon: Option<RetryBackoff>) -> Option<RetryBackoff> {
        match self {
            Self::OfDaemon => of_daemon,
            Self::Off => None,
            Self::On(backoff) => Some(backoff),
        }
    }
}

impl Default for RetryBackoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            factor: 2.0,
            maximum: Duration::from_secs(15 * 60),
        }
    }
}

impl RetryBackoff {
    /// The delay after a message was received for the `n_receives`th time.
    pub fn delay(&self, n_receives: u32) -> Duration {
        let exponent = f64::from(n_receives.saturating_sub(1));
        let growth = self.factor.powf(exponent).min(f64::MAX);
        // Rounded, so that 10 s × 1.1 is 11 s.
        let millis = (self.first.as_secs_f64() * growth * 1_000.0).round();
        let maximum = self.maximum.as_secs_f64() * 1_000.0;
        let seconds = (millis.min(maximum) / 1_000.0).ceil().max(1.0);
        Duration::from_secs_f64(seconds)
    }
}

impl MappingId {
    /// The text is not checked.
    pub fn new(uuid: &str) -> Self {
        Self(uuid.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MappingRow {
    /// Of each source and function, qualifier included, there is at most one mapping that is not
    /// being deleted.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.id != other.id
            && self.source == other.source
            && self.function_arn == other.function_arn
            && self.desired != DesiredState::Deleted
            && other.desired != DesiredState::Deleted
    }

    /// The same mapping as its next revision.
    #[must_use]
    pub fn next_revision(&self, now: Timestamp) -> Self {
        Self {
            revision: Revision(self.revision.0 + 1),
            last_modified: now,
            ..self.clone()
        }
    }

    /// The next revision, which deletes it.
    #[must_use]
    pub fn deleted(&self, now: Timestamp) -> Self {
        Self {
            desired: DesiredState::Deleted,
            change: Change::Deleted,
            ..self.next_revision(now)
        }
    }
}

impl Source {
    pub const fn arn(&self) -> &Arn {
        match self {
            Self::Stream(stream) => &stream.arn,
            Self::Queue(queue) => &queue.arn,
        }
    }

    pub const fn kind(&self) -> SourceKind {
        match self {
            Self::Stream(stream) => SourceKind::Stream(stream.kind),
            Self::Queue(_) => SourceKind::Queue,
        }
    }
}

impl DesiredState {
    /// The stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }

    /// Inverse of [`DesiredState::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Enabled, Self::Disabled, Self::Deleted]
            .into_iter()
            .find(|it| it.as_str() == name)
    }
}

impl Origin {
    /// The stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Configuration => "configuration",
            Self::Apply => "apply",
        }
    }

    /// Inverse of [`Origin::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Api, Self::Configuration, Self::Apply]
            .into_iter()
            .find(|it| it.as_str() == name)
    }
}

impl Change {
    /// The stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }

    /// Inverse of [`Change::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Created,
            Self::Enabled,
            Self::Disabled,
            Self::Updated,
            Self::Deleted,
        ]
        .into_iter()
        .find(|it| it.as_str() == name)
    }
}

impl fmt::Display for MappingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MappingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_grows_with_the_receives_up_to_its_maximum() {
        let seconds = |first, factor, maximum, n_receives| {
            let backoff = RetryBackoff {
                first: Duration::from_millis(first),
                factor,
                maximum: Duration::from_millis(maximum),
            };
            backoff.delay(n_receives).as_secs()
        };
        for (n_receives, expected) in [(0, 5), (1, 5), (2, 10), (3, 20), (8, 640), (9, 900)] {
            let default = RetryBackoff::default();
            assert_eq!(default.delay(n_receives).as_secs(), expected);
        }
        assert_eq!(RetryBackoff::default().delay(u32::MAX).as_secs(), 900);
        assert_eq!(seconds(10_000, 1.1, 60_000, 2), 11);
        assert_eq!(seconds(7_000, 1.0, 60_000, 1_000_000), 7);
        assert_eq!(seconds(1_200, 1.5, 60_000, 2), 2);
        assert_eq!(seconds(0, 2.0, 0, 9), 1);
        assert_eq!(seconds(0, 1e300, 60_000, 9), 1);
        assert_eq!(seconds(1, 1e300, 60_000, 9), 60);
        assert_eq!(seconds(43_200_000, 2.0, 43_200_000, 9), 43_200);
    }
}
