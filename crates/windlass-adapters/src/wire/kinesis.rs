//! GetRecords of Kinesis, and the events of SubscribeToShard, which have the same records.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShardEvent.html>

use std::time::Duration;

use windlass_core::ids::KeyHash;
use windlass_core::time::Timestamp;

use super::json_cursor::{JsonCursor, WireError};
use super::member_table::MemberTable;
use super::page_builder::{GetRecordsResponse, PageBuilder, PageEstimate, push_all};
use super::streaming_parser::ResponseParser;
use super::text::{identifier, unescape};
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
const WITHOUT_KEY: &[u8] = br#"{"kinesis":{"kinesisSchemaVersion":"1.0","sequenceNumber":""#;

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
    next_iterator: Option<String>,
    has_children: bool,
    behind_latest: Duration,
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
            next_iterator: None,
            has_children: false,
            behind_latest: Duration::ZERO,
        }
    }
}

impl ResponseParser for GetRecordsParser<'_> {
    type Response = GetRecordsResponse;

    const LIST: &'static [u8] = b"Records";
    const LIST_IS_OPTIONAL: bool = false;

    fn element(&mut self, cursor: &mut JsonCursor<'_>) -> Result<(), WireError> {
        if !self.page.has_room() {
            return cursor.skip_element();
        }
        let start = *cursor;
        let rendered = record(cursor, &mut self.members, self.template, &mut self.page);
        rendered.or_else(|error| {
            *cursor = start;
            self.page.reject(cursor, error, sequence_number)
        })
    }

    fn member(&mut self, cursor: &mut JsonCursor<'_>, name: &[u8]) -> Result<(), WireError> {
        match name {
            b"NextShardIterator" | b"ContinuationSequenceNumber" => {
                self.next_iterator = cursor.optional_text()?;
            }
            b"MillisBehindLatest" => {
                self.behind_latest = Duration::ZERO;
                if !cursor.take_null()? {
                    let millis = std::str::from_utf8(cursor.number()?).ok();
                    let millis = millis.and_then(|millis| millis.parse::<f64>().ok());
                    let seconds = millis.unwrap_or(0.0) / 1000.0;
                    self.behind_latest = Duration::try_from_secs_f64(seconds).unwrap_or_default();
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

    fn finish(self, length: usize) -> GetRecordsResponse {
        let page = self.page.finish(length);
        GetRecordsResponse {
            records: page.records,
            next_iterator: self.next_iterator,
            is_truncated: page.is_truncated,
            unreadable: page.unreadable,
            has_children: self.has_children,
            behind_latest: Some(self.behind_latest),
        }
    }

    fn finish_before(
        mut self,
        error: WireError,
        length: usize,
    ) -> Result<GetRecordsResponse, WireError> {
        self.page.end_before(&error, None);
        Ok(self.finish(length))
    }
}

/// The raw sequence number of a record.
fn sequence_number<'a>(cursor: &mut JsonCursor<'a>) -> Option<&'a [u8]> {
    let mut number = None;
    let read = cursor.object(|cursor, name| {
        if name == b"SequenceNumber" {
            number = cursor.optional_string()?;
            return Ok(());
        }
        cursor.skip()
    });
    read.ok().and(number)
}

fn record(
    cursor: &mut JsonCursor<'_>,
    members: &mut MemberTable<'_, Member>,
    template: &EventTemplate,
    page: &mut PageBuilder<'_>,
) -> Result<(), WireError> {
    let (mut arrival, mut data, mut key, mut number) = (None, None, None, None);
    cursor.object_with(members, |cursor, member| {
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
    let arrival = arrival.unwrap_or_else(|| page.records.undated(page.read_at));
    let text = page.records.begin();
    let start = text.len();
    match key {
        Some(key) => push_all(text, &[WITH_KEY, key, b"\",\"sequenceNumber\":\""]),
        None => text.extend_from_slice(WITHOUT_KEY),
    }
    let number_span = text.len()..text.len() + number.len();
    push_all(text, &[&number, b"\",\"data\":\""]);
    let data_span = text.len()..text.len() + data.len();
    push_all(text, &[data, b"\",\"approximateArrivalTimestamp\":"]);
    push_seconds(text, arrival);
    push_all(text, &[&template.before_id, &number, &template.after_id]);
    page.records
        .end(start, number_span, data_span, hash, arrival);
    Ok(())
}

#[cfg(test)]
mod tests {
    use windlass_core::ids::SequenceNumber;
    use windlass_core::record::Record;

    use super::*;
    use crate::wire::streaming_parser::parse_pieces;

    const READ_AT: Timestamp = Timestamp::from_millis(1_500_000_000_000);

    fn parse(body: &[u8], max_bytes: usize) -> Result<GetRecordsResponse, WireError> {
        let (template, estimate) = (template(), PageEstimate::default());
        let parser = GetRecordsParser::new(&template, &estimate, body.len(), max_bytes, READ_AT);
        parse_pieces(&[body], parser)
    }

    fn template() -> EventTemplate {
        let arn = "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream";
        let role = "arn:aws:iam::123456789012:role/lambda-role";
        EventTemplate::new("shardId-000000000006", arn, "us-east-2", role)
    }

    #[test]
    fn a_record_is_rendered_as_lambda_does() {
        let body = br#"{"MillisBehindLatest":1500,"NextShardIterator":"AAA=","Records":[{
            "ApproximateArrivalTimestamp":1.545084650987E9,"Data":"SGVsbG8=","PartitionKey":"1",
            "SequenceNumber":"4959033827149025660855969","EncryptionType":"NONE"}]}"#;
        let response = parse(body, usize::MAX).unwrap();
        assert_eq!(response.next_iterator.as_deref(), Some("AAA="));
        assert_eq!(response.behind_latest, Some(Duration::from_millis(1500)));
        let record = &response.records[0];
        assert_eq!(record.sequence_number(), "4959033827149025660855969");
        assert_eq!(record.data(), b"SGVsbG8=");
        assert_eq!(
            std::str::from_utf8(record.event()).unwrap(),
            concat!(
                r#"{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"1","#,
                r#""sequenceNumber":"4959033827149025660855969","data":"SGVsbG8=","#,
                r#""approximateArrivalTimestamp":1545084650.987},"#,
                r#""eventSource":"aws:kinesis","eventVersion":"1.0","#,
                r#""eventID":"shardId-000000000006:4959033827149025660855969","#,
                r#""eventName":"aws:kinesis:record","#,
                r#""invokeIdentityArn":"arn:aws:iam::123456789012:role/lambda-role","#,
                r#""awsRegion":"us-east-2","eventSourceARN":"#,
                r#""arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream"}"#
            )
        );
    }

    #[test]
    fn a_record_without_a_time_has_that_of_the_record_before_it_or_of_the_read() {
        let record = |number: u8, time: &str| {
            format!(r#"{{"SequenceNumber":"{number}","Data":"","PartitionKey":"k"{time}}}"#)
        };
        let records = [
            record(1, ""),
            record(2, r#","ApproximateArrivalTimestamp":7"#),
            record(3, r#","ApproximateArrivalTimestamp":null"#),
            record(4, ""),
        ];
        let body = format!(
            r#"{{"Records":[{}],"NextShardIterator":"n"}}"#,
            records.join(",")
        );
        let records = parse(body.as_bytes(), usize::MAX).unwrap().records;
        let times: Vec<_> = records.iter().map(|it| it.approximate_arrival()).collect();
        let before = Timestamp::from_millis(7_000);
        assert_eq!(times, [READ_AT, before, before, before]);
        let undated: Vec<_> = records.iter().map(Record::is_undated).collect();
        assert_eq!(undated, [true, false, true, true]);
        let event = std::str::from_utf8(records[3].event()).unwrap();
        assert!(
            event.contains(r#""approximateArrivalTimestamp":7.0}"#),
            "{event}"
        );
    }

    #[test]
    fn a_record_that_cannot_be_rendered_ends_the_page_before_it() {
        let record = |number: u8, data: &[u8]| {
            let (start, end) = (format!(r#"{{"SequenceNumber":"{number}","#), b"}".to_vec());
            [start.into_bytes(), data.to_vec(), end].concat()
        };
        for (data, number, reason) in [
            (&b"\"Data\":\"!\""[..], Some("2"), "expected base64"),
            (
                b"\"Data\":\"\",\"PartitionKey\":\"\xff\"",
                Some("2"),
                "string with",
            ),
            (
                b"\"Data\":\"\",\"PartitionKey\":\"\\ud800\"",
                Some("2"),
                "unpaired",
            ),
            (
                b"\"Data\":\"\",\"PartitionKey\":1",
                Some("2"),
                "expected a string",
            ),
            (
                b"\"Data\":\"\",\"ApproximateArrivalTimestamp\":-1",
                Some("2"),
                "time before",
            ),
            (b"\"PartitionKey\":\"k\"", Some("2"), "record without Data"),
            (
                b"\"Data\":\"\",\"SequenceNumber\":\"\\u0000\"",
                None,
                "record without a valid",
            ),
            // Its end cannot be found.
            (b"\"Data\":\"\"!", None, "expected a comma"),
        ] {
            let (good, bad) = (record(1, b"\"Data\":\"\""), record(2, data));
            let records = [&good[..], &bad, &good].join(&b","[..]);
            let body = [
                b"{\"Records\":[",
                &records[..],
                b"],\"NextShardIterator\":\"n\"}",
            ]
            .concat();
            let response = parse(&body, usize::MAX).unwrap();
            assert_eq!(response.records.len(), 1, "{reason}");
            assert!(response.is_truncated, "{reason}");
            let unreadable = response.unreadable.unwrap();
            let found = unreadable.sequence_number.as_ref();
            assert_eq!(found.map(SequenceNumber::as_str), number);
            assert!(unreadable.reason.starts_with(reason), "{unreadable:?}");
            // Incomplete, it is a failed read.
            if reason != "expected a comma" {
                let end = body.len() - records.len() / 2;
                assert!(parse(&body[..end], usize::MAX).is_err(), "{reason}");
            }
        }
    }

    #[test]
    fn a_page_is_truncated_where_there_is_no_more_room() {
        let record = r#"{"ApproximateArrivalTimestamp":1,"Data":"","SequenceNumber":"1"}"#;
        let body = format!(r#"{{"Records":[{record},{record},{record}],"NextShardIterator":"n"}}"#);
        let body = body.as_bytes();
        let length = parse(body, usize::MAX).unwrap().records[0].event_len();
        for (max_bytes, expected) in [
            (1, (1, true)),
            (length, (1, true)),
            (length + 1, (2, true)),
            (3 * length, (3, false)),
        ] {
            let response = parse(body, max_bytes).unwrap();
            assert_eq!((response.records.len(), response.is_truncated), expected);
        }
    }

    #[test]
    fn an_empty_response_is_not_the_end_of_a_shard() {
        let parse = |body: &str| parse(body.as_bytes(), usize::MAX);
        let end = parse(r#"{"Records":[],"ChildShards":[{"ShardId":"s"}]}"#).unwrap();
        assert_eq!((end.next_iterator, end.has_children), (None, true));
        let no_children = parse(r#"{"Records":[],"ChildShards":[]}"#).unwrap();
        assert!(!no_children.has_children);
        for body in ["{}", "", r#"{"Records":[{}"#] {
            assert!(parse(body).is_err(), "{body}");
        }
    }
}
