//! GetRecords of Kinesis, and the events of SubscribeToShard, which have the same records.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShardEvent.html>

use std::ops::RangeInclusive;
use std::time::Duration;

use base64_simd::STANDARD;
use bytes::Bytes;
use windlass_core::ids::{InnerRecord, KeyHash, SequenceNumber};
use windlass_core::position::Position;
use windlass_core::record_page::RecordPageBuilder;
use windlass_core::time::Timestamp;

use super::aggregate::{Deaggregator, may_be_aggregate};
use super::json_cursor::{JsonCursor, WireError};
use super::member_table::MemberTable;
use super::page_builder::{
    GetRecordsResponse, PageBuilder, PageEstimate, RejectedRecord, next_iterator, push_all,
};
use super::streaming_parser::ResponseParser;
use super::text::{identifier, plain_prefix_len, unescape};
use super::timestamp::push_seconds;

/// Members of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Arrival,
    Data,
    PartitionKey,
    SequenceNumber,
}

/// In the order that AWS uses.
const MEMBERS: [(&str, Member); 4] = [
    ("\"ApproximateArrivalTimestamp\":", Member::Arrival),
    ("\"Data\":", Member::Data),
    ("\"PartitionKey\":", Member::PartitionKey),
    ("\"SequenceNumber\":", Member::SequenceNumber),
];

const WITH_KEY: &[u8] = br#"{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":""#;
const SEQUENCE_NUMBER: &[u8] = br#"","sequenceNumber":""#;
const WITHOUT_KEY: &[u8] = br#"{"kinesis":{"kinesisSchemaVersion":"1.0","sequenceNumber":""#;

/// At least the bytes of an event apart from its key, number and data, and from its template.
const CONSTANT_LEN: usize = WITH_KEY.len() + SEQUENCE_NUMBER.len() + 64;

/// The constant parts of the events of one shard.
#[derive(Clone, Debug)]
pub(crate) struct EventTemplate {
    /// From the end of `kinesis` to the sequence number in `eventID`.
    before_id: Vec<u8>,
    /// From the sequence number in `eventID` to the end of the event.
    after_id: Vec<u8>,
}

impl EventTemplate {
    /// `identity_arn` is the function's `invokeIdentityArn`.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html>
    pub(crate) fn new(shard: &str, stream_arn: &str, region: &str, identity_arn: &str) -> Self {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let shard = quoted(shard);
        let before_id = format!(
            "}},\"eventSource\":\"aws:kinesis\",\"eventVersion\":\"1.0\",\"eventID\":{}:",
            &shard[..shard.len() - 1]
        );
        let after_id = format!(
            "\",\"eventName\":\"aws:kinesis:record\",\"invokeIdentityArn\":{},\"awsRegion\":{},\
             \"eventSourceARN\":{}}}",
            quoted(identity_arn),
            quoted(region),
            quoted(stream_arn)
        );
        Self {
            before_id: before_id.into_bytes(),
            after_id: after_id.into_bytes(),
        }
    }
}

/// Parses a response and renders its records.
#[derive(Debug)]
pub(crate) struct GetRecordsParser<'t> {
    template: &'t EventTemplate,
    members: MemberTable<'static, Member>,
    page: PageBuilder<'t>,
    aggregates: Option<Aggregates<'t>>,
    rest: Option<RestOfList>,
    next_iterator: Option<String>,
    has_children: bool,
    behind_latest: Option<Duration>,
}

/// The parts of an event other than its partition key and its data.
#[derive(Clone, Copy)]
struct Heading<'a> {
    template: &'a EventTemplate,
    number: &'a [u8],
    hash: KeyHash,
    arrival: Timestamp,
}

/// How aggregates are taken apart. A page may end within one, and the next page of a read at a
/// position in it begins there: memory is bounded however large an aggregate is when it is rendered.
#[derive(Debug)]
struct Aggregates<'t> {
    /// After the last record that was read.
    position: &'t Position,
    /// Of the shard, if they are known.
    hash_keys: Option<RangeInclusive<u128>>,
    deaggregator: Deaggregator,
}

/// The text of the records for which the page has no room.
#[derive(Debug, Default)]
struct RestOfList {
    /// A response with these records only, without its end.
    text: Vec<u8>,
    /// Of all of it.
    max_len: usize,
}

impl<'t> GetRecordsParser<'t> {
    /// For a response of about `length` bytes; the page ends with the record that reaches
    /// `max_bytes`. Records without a time may have `read_at`.
    pub(crate) fn new(
        template: &'t EventTemplate,
        estimate: &'t PageEstimate,
        length: usize,
        max_bytes: usize,
        read_at: Timestamp,
    ) -> Self {
        Self {
            template,
            members: MemberTable::new(&MEMBERS),
            page: PageBuilder::new(estimate, length, max_bytes, read_at),
            aggregates: None,
            rest: None,
            next_iterator: None,
            has_children: false,
            behind_latest: None,
        }
    }
}

impl<'t> GetRecordsParser<'t> {
    /// Takes aggregates apart. `position` is where the read begins, `hash_keys` are those of the
    /// shard, if they are known.
    pub(crate) fn taking_apart(
        self,
        position: &'t Position,
        hash_keys: Option<RangeInclusive<u128>>,
    ) -> Self {
        Self {
            aggregates: Some(Aggregates {
                position,
                hash_keys,
                deaggregator: Deaggregator::default(),
            }),
            ..self
        }
    }

    /// Keeps the text of the records that are left out, at most the `length` of the response.
    pub(crate) fn keeping_rest(self, length: usize) -> Self {
        Self {
            rest: Some(RestOfList {
                text: Vec::new(),
                max_len: length,
            }),
            ..self
        }
    }

    fn record(&mut self, cursor: &mut JsonCursor<'_>) -> Result<(), WireError> {
        let (mut arrival, mut data, mut key, mut number) = (None, None, None, None);
        cursor.object_with(&mut self.members, |cursor, member| {
            match member {
                Some(Member::Arrival) => arrival = cursor.optional_timestamp()?,
                Some(Member::Data) => data = Some(cursor.base64()?),
                Some(Member::PartitionKey) => key = cursor.optional_string()?,
                Some(Member::SequenceNumber) => number = Some(cursor.string()?),
                None => cursor.skip()?,
            }
            Ok(())
        })?;
        let data = data.ok_or_else(|| cursor.error("record without Data"))?;
        let number = number
            .and_then(identifier)
            .ok_or_else(|| cursor.error("record without a valid SequenceNumber"))?;
        let hash = match key {
            Some(key) => {
                let key = unescape(key).ok_or_else(|| cursor.error("invalid PartitionKey"))?;
                KeyHash::of(&key)
            }
            // A stream may distribute records itself: without a key they have no order.
            None => KeyHash::of(&number),
        };
        if let Some(aggregates) = &mut self.aggregates
            && may_be_aggregate(data)
            && aggregates.take_apart(data, &number, arrival, self.template, &mut self.page)
        {
            return Ok(());
        }
        let read_at = self.page.read_at;
        let heading = Heading {
            template: self.template,
            number: &number,
            hash,
            arrival: arrival.unwrap_or_else(|| self.page.records.undated(read_at)),
        };
        let variable_len = key.map_or(0, <[u8]>::len) + data.len();
        let push_key = |text: &mut Vec<u8>| match key {
            Some(key) => push_all(text, &[WITH_KEY, key, SEQUENCE_NUMBER]),
            None => text.extend_from_slice(WITHOUT_KEY),
        };
        let push_data = |text: &mut Vec<u8>| text.extend_from_slice(data);
        let records = &mut self.page.records;
        push_event(records, &heading, variable_len, push_key, push_data);
        Ok(())
    }
}

impl Aggregates<'_> {
    /// Renders the records of an aggregate after the position, as far as there is room. Returns
    /// whether it is one that has to be taken apart.
    #[cold]
    fn take_apart(
        &mut self,
        data: &[u8],
        number: &[u8],
        arrival: Option<Timestamp>,
        template: &EventTemplate,
        page: &mut PageBuilder<'_>,
    ) -> bool {
        let is_at = |position: &SequenceNumber| position.as_str().as_bytes() == number;
        let n_read = match self.position {
            // It only proves the position: all of it was read.
            Position::After(position) if is_at(position) => return false,
            Position::Within(position, inner) if is_at(position) => inner.saturating_add(1),
            Position::TrimHorizon
            | Position::AtTimestamp(_)
            | Position::At(_)
            | Position::After(_)
            | Position::Within(..)
            | Position::ShardEnd => 0,
        };
        let Some(aggregate) = self.deaggregator.open(data) else {
            return false;
        };
        let n_records = aggregate.n_records();
        for (index, record) in (0..n_records).zip(aggregate.records()) {
            if index < n_read && n_read < n_records {
                continue;
            }
            if !page.has_room() {
                break;
            }
            let hash_keys = self.hash_keys.as_ref();
            page.records.inner(InnerRecord {
                index,
                is_last: index + 1 == n_records,
                is_outside_hash_key_range: hash_keys.is_some_and(|it| !record.is_within(it)),
            });
            let heading = Heading {
                template,
                number,
                hash: KeyHash::of(record.partition_key),
                arrival: arrival.unwrap_or_else(|| page.records.undated(page.read_at)),
            };
            let push_key = |text: &mut Vec<u8>| {
                text.extend_from_slice(WITH_KEY);
                push_escaped(text, record.partition_key);
                text.extend_from_slice(SEQUENCE_NUMBER);
            };
            let push_data = |text: &mut Vec<u8>| STANDARD.encode_append(record.data, text);
            let variable_len =
                record.partition_key.len() + STANDARD.encoded_length(record.data.len());
            push_event(
                &mut page.records,
                &heading,
                variable_len,
                push_key,
                push_data,
            );
        }
        true
    }
}

impl RestOfList {
    const START: &[u8] = b"{\"Records\":[";
    const END: &[u8] = b"]}";

    fn push(&mut self, record: &[u8]) {
        let before = if self.text.is_empty() {
            self.text.reserve_exact(Self::START.len() + self.max_len);
            Self::START
        } else {
            b","
        };
        push_all(&mut self.text, &[before, record]);
    }

    /// `None` if no record was left out.
    fn finish(mut self) -> Option<Bytes> {
        if self.text.is_empty() {
            return None;
        }
        self.text.extend_from_slice(Self::END);
        self.text.shrink_to_fit();
        Some(self.text.into())
    }
}

/// Appends an event. `push_key` appends its start, up to the sequence number; `variable_len` are the
/// bytes of key and data.
fn push_event(
    page: &mut RecordPageBuilder,
    heading: &Heading<'_>,
    variable_len: usize,
    push_key: impl FnOnce(&mut Vec<u8>),
    push_data: impl FnOnce(&mut Vec<u8>),
) {
    let Heading {
        template,
        number,
        hash,
        arrival,
    } = *heading;
    let expected_len = CONSTANT_LEN + template.before_id.len() + template.after_id.len();
    let expected_len = expected_len + 2 * number.len() + variable_len;
    let text = page.begin(hash, expected_len);
    let start = text.len();
    push_key(text);
    let number_span = text.len()..text.len() + number.len();
    push_all(text, &[number, b"\",\"data\":\""]);
    let data_start = text.len();
    push_data(text);
    let data_span = data_start..text.len();
    text.extend_from_slice(b"\",\"approximateArrivalTimestamp\":");
    push_seconds(text, arrival);
    push_all(text, &[&template.before_id, number, &template.after_id]);
    page.end(start, number_span, data_span, hash, arrival);
}

/// Appends text as the contents of a JSON string.
fn push_escaped(text: &mut Vec<u8>, unescaped: &[u8]) {
    if plain_prefix_len(unescaped) == unescaped.len() {
        text.extend_from_slice(unescaped);
    } else {
        let quoted = serde_json::Value::from(String::from_utf8_lossy(unescaped)).to_string();
        text.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
    }
}

impl ResponseParser for GetRecordsParser<'_> {
    type Response = GetRecordsResponse;

    const LIST: &'static [u8] = b"Records";

    fn element(&mut self, cursor: &mut JsonCursor<'_>) -> Result<(), WireError> {
        let start = *cursor;
        if self.page.has_room() {
            if let Err(error) = self.record(cursor) {
                *cursor = start;
                self.page.reject(cursor, error, rejected)?;
            }
        } else {
            cursor.skip_element()?;
        }
        if self.page.is_cut()
            && let Some(rest) = &mut self.rest
        {
            rest.push(cursor.text_since(&start));
        }
        Ok(())
    }

    fn member(&mut self, cursor: &mut JsonCursor<'_>, name: &[u8]) -> Result<(), WireError> {
        match name {
            b"NextShardIterator" | b"ContinuationSequenceNumber" => {
                self.next_iterator = next_iterator(cursor)?;
            }
            b"MillisBehindLatest" => {
                self.behind_latest = None;
                if !cursor.take_null()? {
                    let millis = std::str::from_utf8(cursor.number()?).ok();
                    let millis = millis.and_then(|millis| millis.parse::<f64>().ok());
                    let behind = |millis: f64| Duration::try_from_secs_f64(millis / 1000.0).ok();
                    self.behind_latest = millis.and_then(behind);
                }
            }
            b"ChildShards" => {
                self.has_children = false;
                if !cursor.take_null()? {
                    cursor.array(|cursor| {
                        self.has_children = true;
                        cursor.skip()
                    })?;
                }
            }
            _ => cursor.skip()?,
        }
        Ok(())
    }

    fn may_lack_list(&self) -> bool {
        false
    }

    fn finish(self, length: usize) -> GetRecordsResponse {
        let is_cut = self.page.is_cut();
        let rest = self.rest.filter(|_| is_cut);
        let page = self.page.finish(length);
        GetRecordsResponse {
            records: page.records,
            next_iterator: self.next_iterator,
            is_truncated: page.is_truncated,
            rest: rest.and_then(RestOfList::finish),
            unreadable: page.unreadable,
            has_children: self.has_children,
            behind_latest: self.behind_latest,
        }
    }

    fn finish_before(
        mut self,
        error: WireError,
        length: usize,
    ) -> Result<GetRecordsResponse, WireError> {
        self.page.end_before(&error);
        // It has no end.
        self.rest = None;
        Ok(self.finish(length))
    }
}

/// What can be read of a record.
fn rejected<'a>(cursor: &mut JsonCursor<'a>) -> RejectedRecord<'a> {
    let mut record = RejectedRecord::default();
    let read = cursor.object(|cursor, name| {
        match name {
            b"SequenceNumber" => record.number = cursor.optional_string()?,
            b"PartitionKey" => {
                let key = JsonCursor::new(cursor.value()?).string().ok();
                record.key = key.and_then(unescape).map(|key| KeyHash::of(&key));
            }
            _ => cursor.skip()?,
        }
        Ok(())
    });
    read.map_or_else(|_| RejectedRecord::default(), |()| record)
}

#[cfg(test)]
mod tests;
