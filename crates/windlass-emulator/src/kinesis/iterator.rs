//! Shard iterators: where the next read begins, in a form that clients need not understand.
//!
//! An iterator holds all there is to know, so the server keeps none. AWS's live for some minutes;
//! ours also may be told to live for a number of reads, by which a test sees them expire at once.
//! The iterators of DynamoDB Streams are of the same kind.

use std::time::Duration;

use super::refusal::Refusal;
use super::shard::Place;

/// How long iterators live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IteratorLife {
    /// The age at which one is refused. AWS: five minutes, 15 for DynamoDB Streams.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>,
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetShardIterator.html>
    pub age: Duration,
    /// Reads by an iterator and those that follow from it, until one is refused. `None`: any number.
    pub reads: Option<u32>,
}

impl Default for IteratorLife {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(300),
            reads: None,
        }
    }
}

/// An iterator. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    pub(crate) stream: String,
    /// When the stream was made: another of the same name is another stream.
    pub(crate) stream_created: u64,
    pub(crate) shard: u32,
    pub(crate) place: Place,
    pub(crate) issued: u64,
    /// Reads that led to it, since GetShardIterator.
    pub(crate) reads: u32,
}

impl ShardIterator {
    /// It as clients hold it.
    pub(crate) fn encode(&self) -> String {
        let Self {
            stream,
            stream_created,
            shard,
            place,
            issued,
            reads,
        } = self;
        let text = format!("{stream}/{stream_created}/{shard}/{place}/{issued}/{reads}");
        base64_simd::STANDARD.encode_to_string(text)
    }

    /// # Errors
    /// If the text is no iterator of ours.
    pub(crate) fn decode(text: &str) -> Result<Self, Refusal> {
        let invalid = || Refusal::invalid("Invalid ShardIterator.");
        let decoded = base64_simd::STANDARD.decode_to_vec(text);
        let decoded = decoded.ok().and_then(|text| String::from_utf8(text).ok());
        let decoded = decoded.ok_or_else(invalid)?;
        let parts: Vec<&str> = decoded.split('/').collect();
        let [stream, numbers @ ..] = parts.as_slice() else {
            return Err(invalid());
        };
        let numbers: Vec<u64> = numbers.iter().map_while(|part| part.parse().ok()).collect();
        let [stream_created, shard, place, issued, reads] = numbers[..] else {
            return Err(invalid());
        };
        Ok(Self {
            stream: (*stream).to_owned(),
            stream_created,
            shard: u32::try_from(shard).map_err(|_| invalid())?,
            place,
            issued,
            reads: u32::try_from(reads).map_err(|_| invalid())?,
        })
    }

    /// # Errors
    /// If its life is over.
    pub(crate) fn expect_alive(&self, life: IteratorLife, now: u64) -> Result<(), Refusal> {
        let age = Duration::from_millis(now.saturating_sub(self.issued));
        if life.age <= age {
            let (age, most) = (age.as_millis(), life.age.as_millis());
            return Err(Refusal::expired_iterator(format!(
                "Iterator expired. The iterator is {age} ms old and lives for {most} ms"
            )));
        }
        if let Some(most) = life.reads.filter(|most| *most <= self.reads) {
            return Err(Refusal::expired_iterator(format!(
                "Iterator expired. It lives for {most} reads"
            )));
        }
        Ok(())
    }

    /// What follows from a read by it.
    pub(crate) fn followed_by(&self, place: Place, now: u64) -> Self {
        Self {
            place,
            issued: now,
            reads: self.reads.saturating_add(1),
            ..self.clone()
        }
    }
}
