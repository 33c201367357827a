//! Shard iterators of Kinesis and DynamoDB Streams: where the next read starts.
//!
//! An iterator contains everything that is needed to read on, so the server keeps none of them.

use std::time::Duration;

/// Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    /// The name of the stream, or of the table it belongs to.
    pub(crate) stream: String,
    pub(crate) shard: u32,
    /// Number of records in the shard that precede the next read, trimmed ones included.
    pub(crate) offset: u64,
    pub(crate) issued: u64,
}

impl ShardIterator {
    pub(crate) fn encode(&self) -> String {
        let Self {
            stream,
            shard,
            offset,
            issued,
        } = self;
        base64_simd::STANDARD.encode_to_string(format!("{stream}/{shard}/{offset}/{issued}"))
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let decoded = base64_simd::STANDARD.decode_to_vec(text).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let parts: Vec<&str> = decoded.split('/').collect();
        let [stream, shard, offset, issued] = parts[..] else {
            return None;
        };
        Some(Self {
            stream: stream.to_owned(),
            shard: shard.parse().ok()?,
            offset: offset.parse().ok()?,
            issued: issued.parse().ok()?,
        })
    }

    pub(crate) fn is_expired(&self, max_age: Duration, now: u64) -> bool {
        max_age <= Duration::from_millis(now.saturating_sub(self.issued))
    }

    /// The iterator that a read by this one returns.
    pub(crate) fn next(&self, offset: u64, now: u64) -> Self {
        Self {
            offset,
            issued: now,
            ..self.clone()
        }
    }
}
