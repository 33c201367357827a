//! GetRecords of Kinesis, and the events of SubscribeToShard, which have the same records.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShardEvent.html>

use std::time::Duration;

use base64_simd::STANDARD;
use windlass_core::ids::{InnerRecord, KeyHash, SequenceNumber};
use windlass_core::position::Position;
use windlass_core::record_page::RecordPageBuilder;
use windlass_core::time::Timestamp;

use super::aggregate::{Deaggregator, may_be_aggregate};
use super::json_cursor::{JsonCursor, WireError};
use super::member_table::MemberTable;
use super::page_builder::{GetRecordsResponse, PageBuilder, PageEstimate, push_all};
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
    next_iterator: Option<String>,
    has_children: bool,
    behind_latest: Duration,
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
    deaggregator: Deaggregator,
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
            next_iterator: None,
            has_children: false,
            behind_latest: Duration::ZERO,
        }
    }
}

impl<'t> GetRecordsParser<'t> {
    /// Takes aggregates apart. `position` is where the read begins.
    pub(crate) fn taking_apart(self, position: &'t Position) -> Self {
        Self {
            aggregates: Some(Aggregates {
                position,
                deaggregator: Deaggregator::default(),
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
        let push_key = |text: &mut Vec<u8>| match key {
            Some(key) => push_all(text, &[WITH_KEY, key, SEQUENCE_NUMBER]),
            None => text.extend_from_slice(WITHOUT_KEY),
        };
        let push_data = |text: &mut Vec<u8>| text.extend_from_slice(data);
        push_event(&mut self.page.records, &heading, push_key, push_data);
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
            page.records.inner(InnerRecord {
                index,
                is_last: index + 1 == n_records,
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
            push_event(&mut page.records, &heading, push_key, push_data);
        }
        true
    }
}

/// Appends an event. `push_key` appends its start, up to the sequence number.
fn push_event(
    page: &mut RecordPageBuilder,
    heading: &Heading<'_>,
    push_key: impl FnOnce(&mut Vec<u8>),
    push_data: impl FnOnce(&mut Vec<u8>),
) {
    let Heading {
        template,
        number,
        hash,
        arrival,
    } = *heading;
    let text = page.begin();
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
    const LIST_IS_OPTIONAL: bool = false;

    fn element(&mut self, cursor: &mut JsonCursor<'_>) -> Result<(), WireError> {
        if !self.page.has_room() {
            return cursor.skip_element();
        }
        let start = *cursor;
        let rendered = self.record(cursor);
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

#[cfg(test)]
mod tests {
    use windlass_core::ids::SequenceNumber;
    use windlass_core::record::Record;

    use super::*;
    use crate::wire::aggregate::tests::aggregate;
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

    fn parse_apart(body: &str, position: &Position, max_bytes: usize) -> GetRecordsResponse {
        let (template, estimate) = (template(), PageEstimate::default());
        let parser = GetRecordsParser::new(&template, &estimate, body.len(), max_bytes, READ_AT);
        parse_pieces(&[body.as_bytes()], parser.taking_apart(position)).unwrap()
    }

    fn written(number: u8, key: &str, data: &str, time: &str) -> String {
        let key = serde_json::Value::from(key);
        format!(r#"{{{time}"PartitionKey":{key},"SequenceNumber":"{number}","Data":"{data}"}}"#)
    }

    fn body(records: &[String]) -> String {
        let records = records.join(",");
        format!(r#"{{"Records":[{records}],"NextShardIterator":"n"}}"#)
    }

    /// Records 6, 7, which is an aggregate of three, and 8; and the same without an aggregate.
    fn with_and_without_aggregate(time: &str) -> (String, String) {
        let user_records = [("a", "one"), ("\"\u{1}ü", ""), ("a", "three")];
        let inner = user_records.map(|(key, data)| {
            (
                key.to_owned(),
                Some("7".to_owned()),
                data.as_bytes().to_vec(),
            )
        });
        let [first, last] = [6, 8].map(|number| written(number, "k", "SGVsbG8=", time));
        let plain =
            user_records.map(|(key, data)| written(7, key, &STANDARD.encode_to_string(data), time));
        // Servers may escape slashes.
        let aggregate = aggregate(&inner).replace('/', "\\/");
        let whole = written(7, "a", &aggregate, time);
        let apart = [
            std::slice::from_ref(&first),
            &plain,
            std::slice::from_ref(&last),
        ]
        .concat();
        (body(&[first, whole, last]), body(&apart))
    }

    #[test]
    fn an_aggregate_is_taken_apart_into_records_with_its_number_and_time() {
        for time in [r#""ApproximateArrivalTimestamp":7.5,"#, ""] {
            let (whole, apart) = with_and_without_aggregate(time);
            let taken = parse_apart(&whole, &Position::TrimHorizon, usize::MAX).records;
            let plain = parse(apart.as_bytes(), usize::MAX).unwrap().records;
            assert_eq!(taken.len(), 5);
            for (taken, plain) in taken.iter().zip(&plain) {
                assert_eq!(taken.event(), plain.event());
                assert_eq!((taken.data(), taken.key()), (plain.data(), plain.key()));
                assert_eq!(taken.approximate_arrival(), plain.approximate_arrival());
                assert_eq!(taken.is_undated(), plain.is_undated());
            }
            let inner = taken
                .iter()
                .map(|it| it.inner().map(|it| (it.index, it.is_last)));
            let expected = [
                None,
                Some((0, false)),
                Some((1, false)),
                Some((2, true)),
                None,
            ];
            assert_eq!(inner.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn without_enhanced_fan_out_an_aggregate_is_delivered_as_it_is() {
        let (whole, _) = with_and_without_aggregate("");
        let records = parse(whole.as_bytes(), usize::MAX).unwrap().records;
        assert_eq!(records.len(), 3);
        assert!(may_be_aggregate(records[1].data()));
        assert_eq!(records[1].inner(), None);
    }

    #[test]
    fn a_damaged_aggregate_is_delivered_as_it_is() {
        let (whole, _) = with_and_without_aggregate("");
        let (start, end) = whole.split_once("84maw").unwrap();
        for damaged in [
            format!("{start}84max{end}"),
            format!("{start}84mawg=={}", &end[end.find('"').unwrap()..]),
        ] {
            let taken = parse_apart(&damaged, &Position::TrimHorizon, usize::MAX).records;
            assert_eq!(
                taken,
                parse(damaged.as_bytes(), usize::MAX).unwrap().records
            );
        }
    }

    #[test]
    fn a_page_that_ends_within_an_aggregate_is_continued_there() {
        let (whole, _) = with_and_without_aggregate("");
        let all = parse_apart(&whole, &Position::TrimHorizon, usize::MAX).records;
        for (read, next) in [(0, 2), (1, 3)] {
            let position = Position::Within("7".into(), read);
            let page = parse_apart(&whole, &position, usize::MAX).records;
            assert_eq!(page[0], all[0]);
            assert_eq!(page[1..], all[next..]);
        }
        let after = Position::After("7".into());
        let page = parse_apart(&whole, &after, usize::MAX).records;
        assert_eq!(page[1].inner(), None, "it proves the position");
        let length = all[..2].iter().map(Record::event_len).sum::<usize>() + 1;
        let page = parse_apart(&whole, &Position::TrimHorizon, length);
        assert!(page.is_truncated);
        assert_eq!(page.records, all[..2]);
        assert_eq!(
            Position::after(&page.records[1]),
            Position::Within("7".into(), 0)
        );
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
