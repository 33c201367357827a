//! A shard of a table's stream: the changes of some partition keys, in the order of the writes.
//!
//! Records are stored as the JSON of GetRecords, so a read only copies.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::protocol::AwsError;

/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>
const MAX_PAGE_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Shard {
    number: u32,
    parent_id: Option<String>,
    /// Milliseconds since 1970.
    created: u64,
    is_open: bool,
    records: VecDeque<StoredRecord>,
    /// Records that were trimmed, which is also the offset of the oldest one left.
    n_trimmed: u64,
}

#[derive(Debug)]
struct StoredRecord {
    size: usize,
    json: String,
}

#[derive(Debug)]
pub(super) struct Page {
    /// The records as JSON, with commas between them.
    pub(super) records: String,
    pub(super) next_offset: u64,
    pub(super) end_of_shard: bool,
}

impl Shard {
    pub(super) fn new(number: u32, parent: Option<&Self>, created: u64) -> Self {
        Self {
            number,
            parent_id: parent.map(Self::id),
            created,
            is_open: true,
            records: VecDeque::new(),
            n_trimmed: 0,
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Has the form and length of AWS's ids, and sorts in the order of creation.
    pub(super) fn id(&self) -> String {
        format!("shardId-{:020}-{:08x}", self.created, self.number)
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    pub(super) fn next_sequence_number(&self) -> u128 {
        self.sequence_number(self.end_offset() + 1)
    }

    /// Stores the record of [`Shard::next_sequence_number`].
    pub(super) fn push(&mut self, record: &Value, size: usize) {
        let json = record.to_string();
        self.records.push_back(StoredRecord { size, json });
    }

    pub(super) fn trim_all(&mut self) {
        self.n_trimmed = self.end_offset();
        self.records.clear();
    }

    /// Reads up to `limit` records.
    pub(super) fn read(&self, offset: u64, limit: usize) -> Result<Page, AwsError> {
        let first = offset
            .checked_sub(self.n_trimmed)
            .ok_or_else(|| self.trimmed())?;
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let (mut records, mut size, mut next_offset) = (String::new(), 0, offset);
        for record in self.records.iter().skip(first).take(limit) {
            size += record.size;
            if next_offset != offset {
                if MAX_PAGE_BYTES < size {
                    break;
                }
                records.push(',');
            }
            records.push_str(&record.json);
            next_offset += 1;
        }
        Ok(Page {
            records,
            next_offset,
            end_of_shard: !self.is_open && self.end_offset() <= next_offset,
        })
    }

    pub(super) fn trim_horizon(&self) -> u64 {
        self.n_trimmed
    }

    /// The offset after the newest record.
    pub(super) fn end_offset(&self) -> u64 {
        self.n_trimmed + self.records.len() as u64
    }

    /// The offset of the record with this sequence number.
    pub(super) fn offset_of(&self, number: &str) -> Result<u64, AwsError> {
        let first = self.sequence_number(1);
        let offset = number
            .parse()
            .ok()
            .and_then(|number: u128| u64::try_from(number.checked_sub(first)?).ok())
            // The first number is valid before it is assigned: DescribeStream shows it.
            .filter(|offset| *offset < self.end_offset().max(1));
        let offset = offset.ok_or_else(|| {
            AwsError::validation(format!(
                "Invalid SequenceNumber: {number} did not come from shard {}",
                self.id()
            ))
        })?;
        if offset < self.n_trimmed {
            return Err(self.trimmed());
        }
        Ok(offset)
    }

    /// The shard in DescribeStream.
    ///
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Shard.html>
    pub(super) fn to_json(&self) -> Value {
        let mut range = json!({"StartingSequenceNumber": self.sequence_number(1).to_string()});
        if !self.is_open {
            let last = self.sequence_number(self.end_offset().max(1));
            range["EndingSequenceNumber"] = last.to_string().into();
        }
        let mut shard = json!({"ShardId": self.id(), "SequenceNumberRange": range});
        if let Some(parent) = &self.parent_id {
            shard["ParentShardId"] = parent.as_str().into();
        }
        shard
    }

    /// The shard's creation time (13 digits), the shard (6) and the index in the shard from 1 on
    /// (19). AWS documents 21 to 40 digits, which grow within a shard and from a shard to its child.
    fn sequence_number(&self, index: u64) -> u128 {
        let shard = u128::from(self.created) * 1_000_000 + u128::from(self.number);
        shard * 10_u128.pow(19) + u128::from(index)
    }

    fn trimmed(&self) -> AwsError {
        let message = format!(
            "The data you are trying to access in shard {} has been trimmed.",
            self.id()
        );
        AwsError::new("TrimmedDataAccessException", message)
    }
}

/// The number in a shard id.
pub(super) fn shard_number(id: &str) -> Option<u32> {
    let (_, number) = id.strip_prefix("shardId-")?.split_once('-')?;
    u32::from_str_radix(number, 16).ok()
}
