//! An event source mapping, validated: what the machines and the engine work with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::arn::{Arn, SourceArn, SourceKind, StreamKind};
use crate::position::Position;
use crate::spec::MappingSpec;
use crate::time::Timestamp;
use windlass_filter::Criteria;

/// The `UUID` of a mapping: 36 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappingId(Arc<str>);

/// Counts the changes of a mapping from 1; writes are conditional on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A mapping as the store keeps it: what was asked for, and what became of it.
///
/// The API's `State` is not here: it is computed from what runs.
#[derive(Clone, Debug, PartialEq)]
pub struct MappingRow {
    /// The mapping's `UUID`.
    pub id: MappingId,
    /// +1 on every change.
    pub revision: Revision,
    /// The parameters, with defaults left out.
    pub spec: MappingSpec,
    /// The `EventSourceArn` of `spec`.
    pub source: SourceArn,
    /// The `FunctionArn`: resolved once, qualifier as it was given.
    pub function_arn: Arn,
    /// What the user wants of it.
    pub desired: DesiredState,
    /// What the last change was: it names the state while the change is under way.
    pub change: Change,
    /// When it was created; what a starting position of `LATEST` means.
    pub created: Timestamp,
    /// When it was last changed (`LastModified`).
    pub last_modified: Timestamp,
    /// Whether the configuration file defines it.
    pub from_config: bool,
}

/// What the user wants of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesiredState {
    /// Pollers should run.
    Enabled,
    /// No poller should run; checkpoints are kept.
    Disabled,
    /// Pollers stop, then everything about it is removed.
    Deleted,
}

/// The last change of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was created.
    Created,
    /// It was enabled.
    Enabled,
    /// It was disabled.
    Disabled,
    /// Other parameters were changed.
    Updated,
    /// It was deleted.
    Deleted,
}

/// A mapping that may run. Built only by [`crate::validate::mapping`].
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// The mapping's `UUID`.
    pub id: MappingId,
    /// Which version of it this is.
    pub revision: Revision,
    /// What is read.
    pub source: Source,
    /// What is invoked, qualifier included.
    pub function: Arn,
    /// Which records reach it; `None`: all.
    pub filter: Option<Arc<Criteria>>,
    /// What the user wants of it.
    pub desired: DesiredState,
}

/// What a mapping reads, and how.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Stream(StreamSource),
    Queue(QueueSource),
}

#[derive(Clone, Debug, PartialEq)]
pub struct StreamSource {
    pub kind: StreamKind,
    pub arn: Arn,
    pub settings: StreamSettings,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueueSource {
    pub arn: Arn,
    pub settings: QueueSettings,
}

/// The settings of a mapping on a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSettings {
    /// Where shards that were there from the start begin; children begin at the trim horizon.
    pub starting_position: Position,
    /// Records that arrived earlier are resolved unseen. It is how `LATEST` works for a source
    /// that has no iterator by time.
    pub skip_before: Option<Timestamp>,
    /// Most records of one batch: 1 to 10,000.
    pub batch_size: usize,
    /// How long a batch gathers: 0 to 300 seconds; zero invokes as soon as there is a record.
    pub maximum_batching_window: Duration,
}

/// The settings of a mapping on a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSettings {
    /// Whether order within message groups must be kept.
    pub fifo: bool,
    /// Most messages of one batch: 1 to 10,000 (FIFO: 10).
    pub batch_size: usize,
    /// How long a batch gathers: 0 to 300 seconds; zero invokes as soon as there is a message.
    pub maximum_batching_window: Duration,
}

impl MappingId {
    /// From the text of a UUID, which is not looked at.
    pub fn new(uuid: &str) -> Self {
        Self(uuid.into())
    }

    /// The text of the UUID.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MappingRow {
    /// Whether both cannot exist at a time: of each source and function, qualifier included, there
    /// is one mapping. A mapping that is being deleted conflicts with none.
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
}

impl Source {
    /// The ARN of the stream or queue.
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
    /// The name under which it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }

    /// The reverse of [`DesiredState::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Enabled, Self::Disabled, Self::Deleted]
            .into_iter()
            .find(|it| it.as_str() == name)
    }
}

impl Change {
    /// The name under which it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }

    /// The reverse of [`Change::as_str`].
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
