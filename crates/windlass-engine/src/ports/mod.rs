//! The ports: traits for the I/O of the engine and the API.
//!
//! All are object safe and can be faked. The timeout of a call belongs to its adapter: a call that
//! takes too long ends as a [`Fault`](windlass_core::outcome::Fault) or an [`Outcome`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::event::Event;
use windlass_core::failure::FailureRecord;
use windlass_core::function::FunctionName;
use windlass_core::ids::{ReceiptHandle, SequenceNumber, ShardId};
use windlass_core::lease::{Lease, LeaseKey, WorkerId};
use windlass_core::mapping::{
    Mapping, MappingId, MappingRow, QueueSource, RetryBackoff, Revision, StreamSource,
};
use windlass_core::message::Message;
use windlass_core::outcome::{Outcome, Swap};
use windlass_core::overrides::Overrides;
use windlass_core::position::{Checkpoint, Cursor};
use windlass_core::queue::{EntryResult, QueueAttributes, VisibilityChange};
use windlass_core::record::Record;
use windlass_core::replay::{ReplayName, ReplayRow};
use windlass_core::shard::ReadResult;
use windlass_core::shard::lineage::Shard;
use windlass_core::tags::Tags;
use windlass_core::time::Timestamp;
use windlass_core::window::WindowCall;

use crate::requests::QueueRequests;

mod dead_letters;
mod documents;
mod error;
mod history;
mod overrides;
mod replays;

pub use dead_letters::{
    DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterLimit, DeadLetterMarker,
    DeadLetterReason, DeadLetterSelection, DeadLetterStore, DeadLetterTotals, Deletion,
    DeletionLine, Kept, NewDeadLetter, SkipSave,
};
pub use documents::{DocumentBucket, QueueSender};
pub use error::{BoxError, PortError, RoleDenied, chain, log_fault};
pub use history::{
    CONFIGURATION, HISTORY_RETENTION, HistoryId, HistoryLine, HistoryMarker, HistoryPage,
    HistoryStore, MAX_LINE_IDS, RedriveLine, What,
};
pub use overrides::{OverrideStore, SeekWrite};
pub use replays::ReplayStore;

/// No stream keeps its records for less: those of DynamoDB for this long, those of Kinesis for up to
/// a year.
///
/// <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
pub const MIN_RETENTION: Duration = Duration::from_hours(24);

/// One stream, for one mapping. Events contain the ARN of the stream, and for Kinesis the role of the
/// function.
#[async_trait]
pub trait StreamReader: Send + Sync {
    /// Every shard that still has records, open or closed.
    async fn list_shards(&self) -> Result<Vec<Shard>, PortError>;

    /// A reader of one shard. Nothing is called before its first read.
    fn open(self: Arc<Self>, shard: &ShardId) -> Box<dyn ShardReader>;

    /// The arrival time whose earlier records the source has removed, since their retention period is
    /// over; `None` if it has removed none.
    async fn removed_until(&self) -> Result<Option<Timestamp>, PortError>;

    /// How many milliseconds the clock of the source is ahead of the daemon's wall time; negative
    /// if it is behind, `None` while that is unknown. Records are stamped by that clock.
    fn clock_difference(&self) -> Option<i64> {
        None
    }

    /// Whether the last listing has shown that the stream gets no more records: its table has another
    /// stream since, or none.
    fn is_switched_off(&self) -> bool {
        false
    }
}

/// Reads one shard.
#[async_trait]
pub trait ShardReader: Send {
    /// One page of the shard. The position is in the cursor: what a reader keeps from one read to the
    /// next may make a read cheaper, but never changes where it begins. An expired iterator is
    /// replaced by one at `from.after` within the call.
    async fn read(
        &mut self,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError>;

    /// Whether this read returns records that are in memory already, and needs no other.
    fn has_page(&self, _from: &Cursor) -> bool {
        false
    }

    /// Drops what the reader keeps in memory of the last read: the next one has to wait for memory, and
    /// a mapping that holds none gets some.
    fn release_memory(&mut self) {}
}

/// Limits of one read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits<'a> {
    /// The number of records to request.
    pub max_records: u32,
    /// The page ends with the record that reaches the memory that it gets, whatever the source
    /// returns. It always has at least one record.
    pub memory: &'a dyn ResponseMemory,
    /// Of the response; then the read ends as [`TimedOut`](windlass_core::outcome::Fault::TimedOut).
    /// Waiting for memory does not count.
    pub timeout: Duration,
}

/// Memory for the response of one call.
#[async_trait]
pub trait ResponseMemory: fmt::Debug + Send + Sync {
    /// Waits for the memory of a response that has begun to arrive. Called before the body is read; a
    /// response that is lost and requested again keeps its memory. `event_bytes` is the expected size of the rendered events, `None` if the response does
    /// not tell. Returns how many bytes of events there is memory for.
    async fn reserve(&self, event_bytes: Option<usize>) -> usize;

    /// A part of what was reserved, for what the reader keeps of the response after the call.
    fn keep(&self, bytes: usize) -> KeptMemory;
}

/// Memory that is given back when this is dropped.
pub type KeptMemory = Box<dyn fmt::Debug + Send + Sync>;

/// Reads one queue for one mapping. Events contain the ARN of the queue.
#[async_trait]
pub trait QueueReader: Send + Sync {
    async fn attributes(&self) -> Result<QueueAttributes, PortError>;

    /// Up to `limit` (1 to 10) messages, waiting up to `wait` (0 to 20 s) for the first; they stay
    /// invisible for `visibility`. All messages of a response are returned, whatever memory it gets:
    /// their receives are counted.
    async fn receive(
        &self,
        limit: u8,
        wait: Duration,
        visibility: Duration,
        memory: &dyn ResponseMemory,
    ) -> Result<Vec<Message>, PortError>;

    /// Deletes any number of messages, ten to a call; one result for each, in the same order. When a
    /// call fails, no other follows, and the rest has failed as well.
    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<EntryResult>, PortError>;

    /// Sets the remaining invisibility of any number of messages, ten to a call; one result for each,
    /// in the same order.
    async fn change_visibility(
        &self,
        changes: &[VisibilityChange],
    ) -> Result<Vec<EntryResult>, PortError>;
}

/// One call of a function.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub event: Event,
    pub purpose: Purpose,
    /// From 1; +1 when the function was reached and failed.
    pub attempt: u32,
    /// How many items the batch has, if the response is to be read for those that failed; otherwise
    /// it is discarded.
    pub max_item_failures: Option<usize>,
    /// Whether the response is to be read for the state of a tumbling window.
    pub returns_state: bool,
    /// `None` for a queue.
    pub origin: Option<ShardOrigin>,
}

/// What an invocation is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    Mapping(MappingId),
    /// By its name.
    Replay(Arc<str>),
    /// By the id of what is sent once more: a dead letter, the invocation that a document reports, or
    /// the first message of a batch.
    Redrive(Arc<str>),
}

/// Where the records of an invocation come from. A function that writes to a transactional store can
/// refuse what a daemon sends after it has lost its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOrigin {
    pub shard: ShardId,
    /// Of the lease.
    pub epoch: u64,
    /// Of the first record; `None` for the final invocation of a window.
    pub sequence_number: Option<SequenceNumber>,
}

/// Invokes one function.
#[async_trait]
pub trait Target: Send + Sync {
    /// Invokes the function and waits for its answer.
    async fn invoke(&self, invocation: Invocation) -> Outcome;

    /// Records are in memory that wait for an invocation, of a batch that is gathered for example: what
    /// the function needs for it may start meanwhile.
    fn prepare(&self) {}

    /// How many invocations may run at a time, whichever mappings they are of, at least 1; `None`: any
    /// number. The engine keeps this limit.
    fn concurrency(&self) -> Option<usize>;

    /// Ends what the target keeps running, when no mapping will invoke it any more. A function that
    /// runs elsewhere has nothing to end.
    async fn close(&self) {}

    /// The time after which an invocation is given up. It may have to be looked up, which takes a few
    /// seconds at most.
    async fn timeout(&self) -> Duration;
}

/// Records of a shard that are given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub shard: ShardId,
    pub record: FailureRecord,
    /// When they were given up, by the wall clock. It must be the same whenever a delivery is
    /// repeated, so that what is stored under a name is replaced.
    pub given_up: Timestamp,
}

impl Failure {
    /// The event as the function got it, or would have: of a record that cannot be rendered the source's
    /// own JSON. `event_source_arn`: as the records have it.
    pub fn event(&self, event_source_arn: &Arn) -> Bytes {
        let FailureRecord {
            records, window, ..
        } = &self.record;
        event_of(records, window.as_ref(), &self.shard, event_source_arn)
    }
}

/// See [`Failure::event`].
pub(crate) fn event_of(
    records: &Arc<[Record]>,
    window: Option<&WindowCall>,
    shard: &ShardId,
    event_source_arn: &Arn,
) -> Bytes {
    if let [record] = &records[..]
        && record.unreadable().is_some()
    {
        return Bytes::copy_from_slice(record.event());
    }
    let event = match window {
        None => Event::of_records(records),
        Some(call) => Event::of_window(records, call, shard, event_source_arn),
    };
    event.to_bytes()
}

/// Delivers failure records of one mapping to its destination.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Returns when the destination has accepted it. After an error it may have it nevertheless, so
    /// a repeated delivery may arrive twice.
    async fn deliver(&self, failure: &Failure) -> Result<(), PortError>;
}

/// Creates the readers, targets and destinations of mappings.
pub trait AdapterFactory: Send + Sync {
    /// `function`: some sources write its identity into the events.
    ///
    /// # Errors
    /// The daemon cannot reach the stream as it is configured.
    fn stream(
        &self,
        source: &StreamSource,
        function: &Arn,
    ) -> Result<Arc<dyn StreamReader>, PortError>;

    /// The reader counts its `requests`.
    ///
    /// # Errors
    /// The daemon cannot reach the queue as it is configured.
    fn queue(
        &self,
        source: &QueueSource,
        requests: Arc<QueueRequests>,
    ) -> Result<Arc<dyn QueueReader>, PortError>;

    /// # Errors
    /// The daemon cannot invoke the function as it is configured.
    fn target(&self, function: &Arn) -> Result<Arc<dyn Target>, PortError>;

    /// Whether the daemon's configuration defines the function.
    fn is_configured(&self, function: &Arn) -> bool;

    /// # Errors
    /// The daemon cannot reach the bucket as it is configured.
    fn bucket(&self, name: &str) -> Result<Arc<dyn DocumentBucket>, PortError>;

    /// # Errors
    /// The daemon cannot reach the queue as it is configured.
    fn sender(&self, queue: &Arn) -> Result<Arc<dyn QueueSender>, PortError>;

    /// The on-failure destination of a mapping, if it has one. `replay`: the one whose records are given
    /// up there, with the settings of the mapping.
    ///
    /// # Errors
    /// The daemon cannot deliver to it as it is configured.
    fn destination(
        &self,
        mapping: &MappingId,
        replay: Option<&ReplayName>,
        source: &StreamSource,
        function: &Arn,
    ) -> Result<Option<Arc<dyn Destination>>, PortError>;
}

/// Result of looking up a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionLookup {
    /// Its ARN, with the qualifier as given.
    Found(Arn),
    Missing,
    /// It may exist and may be invoked, but this daemon cannot look it up, now or later.
    Unchecked {
        arn: Arn,
        reason: String,
    },
}

/// A call of AWS that a mapping makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededCall {
    /// Its permission, as policies spell it: `sqs:DeleteMessage`.
    pub action: &'static str,
    pub resource: Arn,
    /// Whether the mapping works without it, if not as well.
    pub is_optional: bool,
}

/// What the daemon's settings say of all queues, as far as it decides which calls a mapping makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueueDefaults {
    /// Whether the visibility timeout of messages in memory is extended.
    pub visibility_heartbeat: bool,
    /// Of mappings without their own.
    pub retry_backoff: Option<RetryBackoff>,
}

/// Whether a call is permitted.
#[derive(Debug)]
pub enum Permission {
    /// Its service did not deny it.
    NotDenied,
    Denied(PortError),
    /// It was not tried, for this reason.
    Untried(&'static str),
    /// The answer does not say.
    Unknown(PortError),
}

/// Looks up the source and the function of a new mapping, as AWS does before it accepts one.
#[async_trait]
pub trait ResourceLookup: Send + Sync {
    /// # Errors
    /// The lookup failed, and may succeed later.
    async fn function(&self, name: &FunctionName) -> Result<FunctionLookup, PortError>;

    /// The ARN of a function, where it is known without a call; the function may not exist.
    fn function_arn(&self, _name: &FunctionName) -> Option<Arn> {
        None
    }

    /// Checks that a stream or queue exists and can be read; otherwise the error has the fault
    /// `Gone` or `Denied`. Returns when the source answered by its own clock; `None` if the answer
    /// does not say.
    async fn source(&self, source: &SourceArn) -> Result<Option<Timestamp>, PortError>;

    /// The calls that a mapping makes of AWS in addition to those of lookups, in the order in which AWS
    /// checks them: function, source, destination.
    fn needed_calls(&self, mapping: &Mapping, queues: &QueueDefaults) -> Vec<NeededCall>;

    /// Finds out whether a call is permitted, without an effect.
    async fn permission(&self, call: &NeededCall) -> Permission;

    /// Every shard of a stream that still has records, open or closed; with the fault `Gone` or `Denied`
    /// if it does not exist or cannot be read.
    async fn shards(&self, stream: &SourceArn) -> Result<Vec<Shard>, PortError>;

    /// Whether a sequence number can be of a shard: the source may refuse those of other shards.
    async fn is_of_shard(
        &self,
        stream: &SourceArn,
        shard: &ShardId,
        number: &SequenceNumber,
    ) -> Result<bool, PortError>;
}

/// A point in the history of a store; the default is before every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeNumber(pub u64);

/// The mappings and replays that have changed since a [`ChangeNumber`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The last change: the next call asks for what has changed since.
    pub last: ChangeNumber,
    /// Each mapping once, as it is at [`Changes::last`].
    pub mappings: Vec<(MappingId, StoredMapping)>,
}

/// A mapping as the store has it.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredMapping {
    /// Its row, its leases ordered by key, and what an operator has set of it.
    Readable(MappingRow, Vec<Lease>, Overrides),
    Unreadable(UnreadableMapping),
    /// It is a replay, whose leases and changes are as those of a mapping.
    Replay(Box<ReplayRow>, Vec<Lease>),
    Removed,
}

/// A mapping whose row, or one of whose leases, has a value that this version does not support. It
/// does not run, whatever the rest of it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableMapping {
    /// The text in the store, which may not be an ARN.
    pub source_arn: String,
    /// The text in the store, which may not be an ARN.
    pub function_arn: String,
    pub reason: String,
}

/// A checkpoint to write if the epoch of its lease is still `epoch`.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointSave {
    pub key: LeaseKey,
    pub epoch: u64,
    pub checkpoint: Checkpoint,
}

/// Which mappings are read; without a filter all.
#[derive(Clone, Debug, Default)]
pub struct MappingFilter {
    /// The `EventSourceArn`.
    pub source: Option<String>,
    pub function: Option<FunctionFilter>,
}

/// Mappings that may invoke a function: by its ARN, or by parameters that contain its name.
#[derive(Clone, Debug)]
pub struct FunctionFilter {
    pub arn: Arn,
    pub name: String,
}

/// Stores mappings.
#[async_trait]
pub trait MappingStore: Send + Sync {
    /// Every mapping that this version can read, ordered by id. Those being deleted are included.
    async fn mappings(&self) -> Result<Vec<MappingRow>, PortError>;

    /// The same after an id, up to a number. The cost grows with that number, or with what the filter
    /// passes by.
    async fn mappings_after(
        &self,
        after: Option<&MappingId>,
        filter: &MappingFilter,
        limit: usize,
    ) -> Result<Vec<MappingRow>, PortError>;

    async fn mapping(&self, id: &MappingId) -> Result<Option<MappingRow>, PortError>;

    /// Every mapping and every replay whose row or leases have changed since then. The cost depends on
    /// their number alone. A saved checkpoint is a change only if it is the end of its shard.
    async fn changes(&self, since: ChangeNumber) -> Result<Changes, PortError>;

    /// Writes a mapping if its revision is still `seen`. With `None`, adds it unless there is a
    /// mapping with its id, or one with its source and function that is not being deleted.
    /// The line is written with it.
    async fn put(
        &self,
        row: &MappingRow,
        seen: Option<Revision>,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError>;

    /// The same, and replaces the tags of the mapping in the same write.
    async fn put_with_tags(
        &self,
        row: &MappingRow,
        seen: Option<Revision>,
        tags: &Tags,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError>;

    /// The tags of a mapping; `None` if there is no such mapping.
    async fn tags(&self, id: &MappingId) -> Result<Option<Tags>, PortError>;

    /// Replaces the tags of a mapping if they are still `seen`. That is not a change of the mapping:
    /// nothing that runs depends on tags.
    async fn set_tags(&self, id: &MappingId, seen: &Tags, tags: &Tags) -> Result<Swap, PortError>;

    /// Writes to the disk without changing anything: a store that can be read may still be full or
    /// read-only.
    async fn check_writable(&self) -> Result<(), PortError>;

    /// Removes a mapping with its leases and tags if its revision is still `seen`.
    async fn remove(&self, id: &MappingId, seen: Revision) -> Result<Swap, PortError>;
}

/// Stores leases and checkpoints. A call that writes several rows writes them in one transaction;
/// each row is written or left out by its own condition.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Every lease of a mapping, ordered by key. As in [`MappingStore::changes`], the states of windows
    /// may be left out: only who takes a lease needs them.
    async fn leases_of(&self, mapping: &MappingId) -> Result<Vec<Lease>, PortError>;

    /// Adds rows of mappings and replays that exist; existing rows are unchanged. The epoch of a row is
    /// at least the given one, and larger than that of every row that was removed before.
    async fn insert(&self, leases: &[Lease]) -> Result<(), PortError>;

    /// Makes `owner` the owner of the leases whose owner and epoch are still as given, each in its
    /// next epoch. Returns these leases as they are then: their checkpoints may be later than the
    /// given ones. A lease that this version cannot read is not returned.
    async fn take_many(&self, seen: &[Lease], owner: &WorkerId) -> Result<Vec<Lease>, PortError>;

    /// Removes the owner of the leases whose owner and epoch are still as given.
    async fn release_many(&self, leases: &[Lease]) -> Result<(), PortError>;

    /// Writes checkpoints, in order; durable when it returns. The results have the order of `saves`.
    async fn save_many(&self, saves: &[CheckpointSave]) -> Result<Vec<Swap>, PortError>;

    /// Writes `shard_start` of rows whose epochs are unchanged.
    async fn set_shard_starts(&self, leases: &[Lease]) -> Result<(), PortError>;

    /// Removes rows whose epochs are unchanged.
    async fn remove_leases(&self, leases: &[Lease]) -> Result<(), PortError>;
}

pub trait Store:
    MappingStore + LeaseStore + OverrideStore + HistoryStore + DeadLetterStore + ReplayStore
{
}

impl<T> Store for T where
    T: MappingStore + LeaseStore + OverrideStore + HistoryStore + DeadLetterStore + ReplayStore
{
}
