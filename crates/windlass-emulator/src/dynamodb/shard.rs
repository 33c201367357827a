//! One shard of a table's stream: the changes of some partition keys, in the order of the writes.
//!
//! Each record is kept as GetRecords shows it, so that reading is copying.

use std::collections::VecDeque;
use std::fmt;

use serde_json::{Value, json};

use super::refusal::DynamoDbRefusal;

/// Bytes that one GetRecords returns at most.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>
const LARGEST_PAGE: usize = 1024 * 1024;

/// Shards that a stream may have had: a number in a sequence number has six digits.
pub(super) const MOST_SHARDS_EVER: u32 = 1_000_000;

/// A shard. Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) number: u32,
    /// The shard whose keys it took over.
    pub(super) parent: Option<u32>,
    pub(super) created: u64,
    pub(super) closed: Option<u64>,
    parent_id: Option<String>,
    records: VecDeque<Stored>,
    /// Records that are gone from the front, which is the place of the first that is left.
    trimmed: u64,
}

#[derive(Debug)]
struct Stored {
    created: u64,
    size: usize,
    json: String,
}

/// The number of a record: the shard's creation in milliseconds, the shard (6 digits), the place
/// in the shard from 1 on (19 digits). Of 38 digits, where AWS says 21 to 40.
///
/// They grow within a shard, and from a shard to its child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SequenceNumber(u128);

/// What one read found.
#[derive(Debug)]
pub(super) struct Page {
    /// The records as JSON with commas between.
    pub(super) records: String,
    /// Records of the shard that lie before the next read.
    pub(super) next: u64,
    pub(super) is_end_of_shard: bool,
}

impl Shard {
    pub(super) fn new(number: u32, parent: Option<&Self>, created: u64) -> Self {
        Self {
            number,
            parent: parent.map(|parent| parent.number),
            created,
            closed: None,
            parent_id: parent.map(Self::id),
            records: VecDeque::new(),
            trimmed: 0,
        }
    }

    /// Its name: of a form and length as AWS's, and in the order of the shards.
    pub(super) fn id(&self) -> String {
        format!("shardId-{:020}-{:08x}", self.created, self.number)
    }

    pub(super) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// The number of the next record.
    pub(super) fn next_number(&self) -> SequenceNumber {
        self.number_of(self.end() + 1)
    }

    /// Takes the record of that number.
    pub(super) fn push(&mut self, record: &Value, size: usize, created: u64) {
        self.records.push_back(Stored {
            created,
            size,
            json: record.to_string(),
        });
    }

    /// Forgets what was created before this time.
    pub(super) fn trim(&mut self, horizon: u64) {
        while let Some(oldest) = self.records.front()
            && oldest.created < horizon
        {
            self.records.pop_front();
            self.trimmed += 1;
        }
    }

    /// Reads at most `limit` records, from that on before which `from` records lie.
    pub(super) fn read(&self, from: u64, limit: usize) -> Result<Page, DynamoDbRefusal> {
        let skipped = from.checked_sub(self.trimmed);
        let skipped = skipped.ok_or_else(|| DynamoDbRefusal::trimmed(&self.id()))?;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let (mut records, mut size, mut next) = (String::new(), 0, from);
        for record in self.records.iter().skip(skipped).take(limit) {
            size += record.size;
            if next != from {
                if LARGEST_PAGE < size {
                    break;
                }
                records.push(',');
            }
            records.push_str(&record.json);
            next += 1;
        }
        Ok(Page {
            records,
            next,
            is_end_of_shard: !self.is_open() && self.end() <= next,
        })
    }

    /// Records before the oldest that is left.
    pub(super) fn horizon(&self) -> u64 {
        self.trimmed
    }

    /// Records that it ever took.
    pub(super) fn end(&self) -> u64 {
        self.trimmed + self.records.len() as u64
    }

    /// The records that lie before that of this number.
    pub(super) fn before(&self, number: &str) -> Result<u64, DynamoDbRefusal> {
        let first = self.number_of(1);
        let given = number.parse().ok().map(SequenceNumber);
        let before = given
            .and_then(|given| given.0.checked_sub(first.0))
            .and_then(|before| u64::try_from(before).ok())
            .filter(|before| *before < self.end().max(1));
        let before = before.ok_or_else(|| {
            DynamoDbRefusal::validation(format!(
                "Invalid SequenceNumber: {number} did not come from shard {}",
                self.id()
            ))
        })?;
        if before < self.trimmed {
            return Err(DynamoDbRefusal::trimmed(&self.id()));
        }
        Ok(before)
    }

    /// It as DescribeStream shows it.
    ///
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Shard.html>
    pub(super) fn to_json(&self) -> Value {
        let mut numbers = json!({"StartingSequenceNumber": self.number_of(1).to_string()});
        if !self.is_open() {
            let last = self.number_of(self.end().max(1));
            numbers["EndingSequenceNumber"] = last.to_string().into();
        }
        let mut shard = json!({"ShardId": self.id(), "SequenceNumberRange": numbers});
        if let Some(parent) = &self.parent_id {
            shard["ParentShardId"] = parent.as_str().into();
        }
        shard
    }

    fn number_of(&self, place: u64) -> SequenceNumber {
        let shard =
            u128::from(self.created) * u128::from(MOST_SHARDS_EVER) + u128::from(self.number);
        SequenceNumber(shard * 10_u128.pow(19) + u128::from(place))
    }
}

/// The number in a shard's name.
pub(super) fn shard_number(id: &str) -> Result<u32, DynamoDbRefusal> {
    let parts = id
        .strip_prefix("shardId-")
        .and_then(|id| id.split_once('-'));
    let number = parts.and_then(|(_, number)| u32::from_str_radix(number, 16).ok());
    number.ok_or_else(|| DynamoDbRefusal::validation(format!("'{id}' is not the id of a shard")))
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
