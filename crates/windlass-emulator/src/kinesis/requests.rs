//! Requests to Kinesis.
//!
//! An unknown member is an error, so that nothing a client requests is silently ignored.

use serde::Deserialize;

use crate::protocol::AwsError;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeStreamSummary {
    pub(super) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ListShards {
    pub(super) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: Option<String>,
    pub(super) next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetShardIterator {
    pub(super) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: Option<String>,
    pub(super) shard_id: String,
    pub(super) shard_iterator_type: String,
    pub(super) starting_sequence_number: Option<String>,
    /// Seconds since 1970.
    pub(super) timestamp: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetRecords {
    #[serde(rename = "StreamARN")]
    pub(super) _stream_arn: Option<String>,
    pub(super) shard_iterator: String,
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeStreamConsumer {
    #[serde(rename = "ConsumerARN")]
    pub(super) consumer_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct SubscribeToShard {
    #[serde(rename = "ConsumerARN")]
    pub(super) consumer_arn: String,
    pub(super) shard_id: String,
    pub(super) starting_position: StartingPosition,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct StartingPosition {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) sequence_number: Option<String>,
    /// Seconds since 1970.
    pub(super) timestamp: Option<f64>,
}

/// The name of the stream. Account and region of the ARN are not checked.
pub(super) fn stream_name<'a>(
    name: Option<&'a str>,
    arn: Option<&'a str>,
) -> Result<&'a str, AwsError> {
    let Some(arn) = arn else {
        return name.ok_or_else(|| {
            AwsError::invalid_argument("either StreamName or StreamARN must be given")
        });
    };
    let name = arn.rsplit_once(":stream/").map(|(_, name)| name);
    name.ok_or_else(|| {
        AwsError::validation(format!("StreamARN '{arn}' is not the ARN of a stream"))
    })
}
