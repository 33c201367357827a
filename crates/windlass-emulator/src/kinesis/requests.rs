//! What the calls of Kinesis ask for, as JSON.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Operations.html>. Fields that are
//! of no consequence in memory (tags, encryption) are not read.

use serde::Deserialize;

use super::refusal::Refusal;
use super::stream::ShardFilter;

/// The stream that a call is about, by name or ARN.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamReference {
    pub(super) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateStream {
    pub(super) stream_name: String,
    pub(super) shard_count: Option<u32>,
    pub(super) stream_mode_details: Option<StreamModeDetails>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamModeDetails {
    pub(super) stream_mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListShards {
    #[serde(flatten)]
    pub(super) stream: StreamReference,
    pub(super) next_token: Option<String>,
    pub(super) exclusive_start_shard_id: Option<String>,
    pub(super) max_results: Option<usize>,
    pub(super) shard_filter: Option<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Filter {
    #[serde(rename = "Type")]
    kind: String,
    shard_id: Option<String>,
    timestamp: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetShardIterator {
    #[serde(flatten)]
    pub(super) stream: StreamReference,
    pub(super) shard_id: String,
    pub(super) shard_iterator_type: String,
    pub(super) starting_sequence_number: Option<String>,
    pub(super) timestamp: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetRecords {
    pub(super) shard_iterator: String,
    pub(super) limit: Option<usize>,
}

/// `SequenceNumberForOrdering` is not read: numbers here always grow in the order of the puts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecord {
    #[serde(flatten)]
    pub(super) stream: StreamReference,
    #[serde(flatten)]
    pub(super) entry: Entry,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecords {
    #[serde(flatten)]
    pub(super) stream: StreamReference,
    pub(super) records: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    pub(super) data: String,
    pub(super) partition_key: String,
    pub(super) explicit_hash_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SplitShard {
    #[serde(flatten)]
    pub(super) stream: StreamReference,
    pub(super) shard_to_split: String,
    pub(super) new_starting_hash_key: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MergeShards {
    #[serde(flatten)]
    pub(super) stream: StreamReference,
    pub(super) shard_to_merge: String,
    pub(super) adjacent_shard_to_merge: String,
}

/// Reads a request.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal {
        code: "SerializationException",
        message: error.to_string(),
    })
}

impl StreamReference {
    /// The name of the stream. Account and region of an ARN do not matter here.
    pub(super) fn name(&self) -> Result<&str, Refusal> {
        if let Some(arn) = &self.stream_arn {
            let name = arn.rsplit_once(":stream/").map(|(_, name)| name);
            return name.ok_or_else(|| {
                Refusal::validation(format!("StreamARN '{arn}' is not the ARN of a stream"))
            });
        }
        let name = self.stream_name.as_deref();
        name.ok_or_else(|| Refusal::invalid("StreamName or StreamARN must be given"))
    }
}

impl Filter {
    pub(super) fn read(&self) -> Result<ShardFilter, Refusal> {
        let time = || {
            let time = self.timestamp.map(millis);
            time.ok_or_else(|| Refusal::invalid(format!("{} needs a Timestamp", self.kind)))
        };
        match self.kind.as_str() {
            "AFTER_SHARD_ID" => {
                let id = self.shard_id.as_deref();
                let number = id.and_then(super::shard::shard_number);
                let missing = || Refusal::invalid("AFTER_SHARD_ID needs a ShardId");
                Ok(ShardFilter::AfterShard(number.ok_or_else(missing)?))
            }
            "AT_TRIM_HORIZON" => Ok(ShardFilter::AtTrimHorizon),
            "FROM_TRIM_HORIZON" => Ok(ShardFilter::FromTrimHorizon),
            "AT_LATEST" => Ok(ShardFilter::AtLatest),
            "AT_TIMESTAMP" => Ok(ShardFilter::AtTimestamp(time()?)),
            "FROM_TIMESTAMP" => Ok(ShardFilter::FromTimestamp(time()?)),
            other => Err(Refusal::validation(format!(
                "ShardFilter has no type '{other}'"
            ))),
        }
    }
}

/// Milliseconds of a time that the protocol gives in seconds; what lies before 1970 is 1970.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is cast to the nearest number that there is"
)]
pub(super) fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}
