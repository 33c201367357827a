//! What the daemon and its mappings are doing, as `/windlass/v1` returns it and `windlass status` shows
//! it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use windlass_core::parks::Park;
use windlass_core::position::Position;
use windlass_core::time::Timestamp;

/// One mapping. A list of mappings has neither `shards` nor `queue`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MappingReport {
    pub uuid: String,
    pub event_source_arn: Option<String>,
    pub function_arn: String,
    /// The API's `State`.
    pub state: String,
    /// The API's `LastProcessingResult`.
    pub last_processing_result: String,
    /// Why the mapping cannot run.
    pub problem: Option<String>,
    /// What happened to its source, if an operator should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    pub counts: CountsReport,
    /// Events polled, over the last ten seconds.
    pub events_per_second: f64,
    /// Of the shard that is furthest behind.
    pub behind_ms: Option<u64>,
    /// How far the clock of the source is ahead of the daemon's, if they differ by more than a
    /// second.
    #[serde(default)]
    pub clock_difference_ms: Option<i64>,
    /// The park of the whole mapping. A list of mappings does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<Vec<ShardReport>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueReport>,
}

/// A page of `GET /windlass/v1/mappings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MappingsReport {
    pub mappings: Vec<MappingReport>,
    /// `None` on the last page.
    pub next_marker: Option<String>,
}

/// `GET /windlass/v1/daemon`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonReport {
    /// Whether callers need an access key or a token.
    pub authenticates: bool,
    /// `None`: connections are not encrypted.
    pub certificate: Option<CertificateReport>,
    /// What somebody should put right, in words.
    pub warnings: Vec<String>,
}

/// The certificate that the daemon shows to its callers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReport {
    pub expires_at: String,
}

/// `GET /windlass/v1/functions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionsReport {
    pub functions: Vec<FunctionReport>,
}

/// A function that runs in processes of the daemon's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionReport {
    pub name: String,
    /// Those that have not exited.
    pub processes: usize,
    /// Those that have an event.
    pub busy: usize,
    /// Since the daemon started.
    pub starts: u64,
    pub exits: u64,
    pub last_start_at: Option<String>,
    /// Why no process can be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Events since the daemon started; `failed_invocations` counts invocations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsReport {
    pub polled: u64,
    pub filtered_out: u64,
    pub invoked: u64,
    pub failed_invocations: u64,
    pub dropped: u64,
    pub on_failure_delivered: u64,
    #[serde(default)]
    pub dead_letters: u64,
    /// By an operator, or since they arrived before the start of the mapping.
    #[serde(default)]
    pub skipped: u64,
    pub deleted: u64,
    /// Receives whose messages waited for memory beyond half of their visibility timeout.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late_receives: u64,
    /// Failed items whose `retryAfterSeconds` was ignored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ignored_retry_after: u64,
    /// Records of aggregates whose keys belong to other shards; AWS drops them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outside_hash_key_range: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardReport {
    pub shard_id: String,
    /// The daemon that owns its lease.
    pub daemon: Option<String>,
    pub checkpoint: CheckpointReport,
    pub behind_ms: Option<u64>,
    pub buffered_records: usize,
    pub in_flight_records: usize,
    /// Of the batch at the head; 1 if nothing has failed.
    pub attempt: u32,
    pub last_result: String,
    /// What holds the shard back.
    pub waiting_for: Option<String>,
    /// RFC 3339.
    pub next_at: Option<String>,
    /// What was lost before it could be read, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
    /// Why nothing is read and invoked, if an operator has stopped that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkReport>,
}

/// The park of a shard or of a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkReport {
    /// RFC 3339; `None` after the year 9999.
    pub since: Option<String>,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueReport {
    /// The daemon that owns its lease.
    pub daemon: Option<String>,
    pub received: u64,
    pub held_messages: usize,
    pub in_flight_messages: usize,
    /// Invocations in flight.
    pub concurrency: usize,
    /// How many may be in flight since some have failed; `None`: as many as the limits allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduced_concurrency: Option<usize>,
    /// Receives that may be in flight.
    #[serde(default)]
    pub pollers: usize,
    /// By operation, the average of the last minute.
    #[serde(default)]
    pub requests_per_minute: BTreeMap<String, f64>,
    pub last_result: String,
    /// What holds the queue back.
    pub waiting_for: Option<String>,
    /// RFC 3339.
    pub next_at: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CheckpointReport {
    TrimHorizon,
    AtTimestamp {
        /// RFC 3339; `None` after the year 9999.
        timestamp: Option<String>,
    },
    At {
        sequence_number: String,
    },
    After {
        sequence_number: String,
        /// Of the last record that is resolved, if others of its aggregate are not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub_sequence_number: Option<u32>,
    },
    ShardEnd,
}

impl From<&Park> for ParkReport {
    fn from(park: &Park) -> Self {
        Self {
            since: rfc3339(park.since),
            reason: park.reason.clone(),
        }
    }
}

impl From<&Position> for CheckpointReport {
    fn from(position: &Position) -> Self {
        match position {
            Position::TrimHorizon => Self::TrimHorizon,
            Position::AtTimestamp(at) => Self::AtTimestamp {
                timestamp: rfc3339(*at),
            },
            Position::At(number) => Self::At {
                sequence_number: number.as_str().to_owned(),
            },
            Position::After(number) => Self::After {
                sequence_number: number.as_str().to_owned(),
                sub_sequence_number: None,
            },
            Position::Within(number, inner) => Self::After {
                sequence_number: number.as_str().to_owned(),
                sub_sequence_number: Some(*inner),
            },
            Position::ShardEnd => Self::ShardEnd,
        }
    }
}

/// To the millisecond; `None` after the year 9999.
pub(crate) fn rfc3339(moment: Timestamp) -> Option<String> {
    let millis = i64::try_from(moment.as_millis()).ok()?;
    let moment = jiff::Timestamp::from_millisecond(millis).ok()?;
    Some(format!("{moment:.3}"))
}
