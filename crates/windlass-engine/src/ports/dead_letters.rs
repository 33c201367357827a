//! Dead letters: what was given up, kept with its event.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;
use windlass_core::arn::Arn;
use windlass_core::failure::FailureCondition;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Swap;
use windlass_core::time::Timestamp;

use super::{CheckpointSave, HistoryLine, PortError, RedriveLine};

/// Records of one shard that were given up together, apart from their event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub id: DeadLetterId,
    /// The mapping may be gone; `None`: of a replay without one.
    pub mapping: Option<MappingId>,
    /// The name of the replay that gave them up.
    pub replay: Option<String>,
    pub function_arn: Arn,
    /// As the records have it.
    pub event_source_arn: Arn,
    pub shard: ShardId,
    pub first: SequenceNumber,
    pub last: SequenceNumber,
    /// At least 1, except of the final invocation of a tumbling window.
    pub records: u64,
    pub reason: DeadLetterReason,
    /// Invocations that failed with these records.
    pub attempts: u32,
    /// The kind of the last error, in a few words; never a part of the function's response.
    pub last_error: Option<String>,
    /// When the first of them arrived at the stream; `None` without records.
    pub first_arrival: Option<Timestamp>,
    /// By the wall clock of the daemon.
    pub given_up: Timestamp,
    /// Of its payload.
    pub bytes: u64,
    /// Redrives that failed.
    pub redrives: u32,
}

/// The same whenever the same records are given up: a letter that is written again replaces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId(Uuid);

/// Why records became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterReason {
    GivenUp(FailureCondition),
    /// By an operator.
    Skipped,
}

/// A letter to write, with its payload: the event as the function has received it, or would have; of
/// records that cannot be rendered, the source's own JSON of them.
#[derive(Clone, Debug)]
pub struct NewDeadLetter {
    /// Its `bytes` are the length of the payload, its `redrives` 0.
    pub letter: DeadLetter,
    pub payload: Bytes,
}

/// How much the letters may take in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterLimit {
    /// Of the sum of their `bytes`.
    pub maximum_size: u64,
    /// Whether the oldest make room for new ones. Those that are being redriven stay.
    pub drops_oldest: bool,
}

/// A checkpoint that resolves the records of letters, and what the history says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SkipSave {
    pub save: CheckpointSave,
    pub line: HistoryLine,
}

/// Result of writing letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Done {
        /// Letters that made room.
        dropped: DeadLetterTotals,
        totals: DeadLetterTotals,
    },
    /// There is no room. Nothing was written.
    Full,
    /// The lease of the checkpoint has another epoch. Nothing was written.
    Conflict,
}

/// Number and size of letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterTotals {
    pub letters: u64,
    pub bytes: u64,
}

/// Which letters to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    pub mapping: Option<MappingId>,
    /// Given up at this time or later.
    pub since: Option<Timestamp>,
    pub reason: Option<DeadLetterReason>,
}

/// The last letter of a page: the next one continues after it, also if the letter is gone by then.
/// Letters are listed in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterMarker {
    pub given_up: Timestamp,
    pub id: DeadLetterId,
}

/// Which letters to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterSelection {
    One(DeadLetterId),
    OfMapping(MappingId),
    All,
}

/// Writes the line of a deletion, from the letters that it deletes.
pub type DeletionLine = Box<dyn FnOnce(&[DeadLetterId]) -> HistoryLine + Send>;

/// Result of deleting letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// How many were deleted. If that is the limit, there may be more.
    Done(usize),
    /// One of them is being redriven. Nothing was deleted.
    BeingRedriven,
}

/// Stores dead letters. A call writes everything in one transaction, or nothing.
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// Writes letters, and with them the checkpoint of a skip and its line, unless there is no room
    /// or the epoch of the checkpoint has changed. Durable when it returns. A letter that is there
    /// already is replaced and keeps its `redrives`; with another `given_up` it is not being redriven
    /// any more.
    async fn keep(
        &self,
        letters: Vec<NewDeadLetter>,
        limit: DeadLetterLimit,
        skip: Option<SkipSave>,
    ) -> Result<Kept, PortError>;

    /// Up to `limit` letters, by the time at which they were given up, from the first after `after`.
    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: Option<DeadLetterMarker>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, PortError>;

    async fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, PortError>;

    /// `None` if there is no such letter.
    async fn dead_letter_payload(&self, id: DeadLetterId) -> Result<Option<Bytes>, PortError>;

    async fn dead_letter_totals(&self) -> Result<DeadLetterTotals, PortError>;

    /// Deletes up to `limit` letters, the oldest first, and writes the line if it deletes any.
    async fn delete_dead_letters(
        &self,
        selection: &DeadLetterSelection,
        limit: usize,
        line: DeletionLine,
    ) -> Result<Deletion, PortError>;

    /// Deletes up to `limit` letters that were given up before a time and are not being redriven.
    /// Returns how many these were.
    async fn expire_dead_letters(
        &self,
        given_up_before: Timestamp,
        limit: usize,
    ) -> Result<u64, PortError>;

    /// Claims letters for a redrive: until they are released they are neither deleted, expired nor
    /// dropped. Claims end with the daemon. Returns those that exist and were not claimed, in the order
    /// of `ids`.
    async fn claim_dead_letters(&self, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, PortError>;

    /// Ends the claims of letters, and counts a redrive of each if it `has_failed`. The claim of a
    /// letter whose records were given up again has ended already: with another `given_up` it stays
    /// as it is.
    async fn release_dead_letters(
        &self,
        claimed: &[DeadLetterMarker],
        has_failed: bool,
    ) -> Result<(), PortError>;

    /// Deletes a letter that was redriven, and adds to the line of its redrive; `Conflict` if its claim
    /// has ended, since its records were given up again.
    async fn delete_redriven(
        &self,
        claimed: DeadLetterMarker,
        line: &RedriveLine,
    ) -> Result<Swap, PortError>;
}

impl DeadLetter {
    /// What a document for a destination says of them; `None` if they were skipped.
    #[must_use]
    pub const fn condition(&self) -> Option<FailureCondition> {
        match self.reason {
            DeadLetterReason::GivenUp(condition) => Some(condition),
            DeadLetterReason::Skipped => None,
        }
    }

    #[must_use]
    pub const fn marker(&self) -> DeadLetterMarker {
        DeadLetterMarker {
            given_up: self.given_up,
            id: self.id,
        }
    }
}

impl DeadLetterId {
    /// Of the namespace of the names; must never change.
    const NAMESPACE: Uuid = Uuid::from_u128(0x4a0d_92c6_7c57_4b0e_8f3b_d1a5_60c2_17ee);

    /// `origin`: the UUID of the mapping, or the name of the replay. `records`: what tells these records
    /// from all others of the shard.
    #[must_use]
    pub fn of(origin: &str, shard: &ShardId, records: &str) -> Self {
        let name = format!("{origin}/{shard}/{records}");
        Self(Uuid::new_v5(&Self::NAMESPACE, name.as_bytes()))
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DeadLetterId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self)
    }
}

impl DeadLetterReason {
    pub const ALL: [Self; 5] = [
        Self::GivenUp(FailureCondition::RetryAttemptsExhausted),
        Self::GivenUp(FailureCondition::RecordAgeExceeded),
        Self::GivenUp(FailureCondition::RecordTooLarge),
        Self::GivenUp(FailureCondition::Unreadable),
        Self::Skipped,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GivenUp(condition) => condition.as_str(),
            Self::Skipped => "Skipped",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }
}
