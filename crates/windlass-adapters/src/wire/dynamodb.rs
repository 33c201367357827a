//! GetRecords of DynamoDB Streams.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>

use std::ops::Range;

use windlass_core::ids::KeyHash;
use windlass_core::time::Timestamp;

use super::json_cursor::{JsonCursor, WireError};
use super::page_builder::{
    GetRecordsResponse, PageBuilder, PageEstimate, RejectedRecord, next_iterator, push_all,
};
use super::streaming_parser::ResponseParser;
use super::text::{identifier, unescape};
use super::timestamp::push_seconds;

/// The constant parts of the events of one stream.
#[derive(Clone, Debug)]
pub(crate) struct EventTemplate {
    /// Of the stream, as the contents of a JSON string.
    region: Vec<u8>,
    /// The end of each event, with the stream's ARN.
    end: Vec<u8>,
}

/// At least the bytes of the constant members that a received record may lack.
const ADDED_LEN: usize = 128;

/// The raw members of a record's `dynamodb`.
#[derive(Default)]
struct StreamRecord<'a> {
    created: Option<Timestamp>,
    keys: Option<&'a [u8]>,
    new_image: Option<&'a [u8]>,
    old_image: Option<&'a [u8]>,
    sequence_number: Option<&'a [u8]>,
    size: Option<&'a [u8]>,
    view_type: Option<&'a [u8]>,
}

/// The other members of a record, raw.
#[derive(Default)]
struct Envelope<'a> {
    id: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    region: Option<&'a [u8]>,
    identity: Option<Identity<'a>>,
}

/// The service that changed an item: the time to live.
#[derive(Default)]
struct Identity<'a> {
    kind: Option<&'a [u8]>,
    principal: Option<&'a [u8]>,
}

impl EventTemplate {
    pub(crate) fn new(stream_arn: &str, region: &str) -> Self {
        let arn = serde_json::Value::from(stream_arn);
        let region = serde_json::Value::from(region).to_string();
        Self {
            region: region.as_bytes()[1..region.len() - 1].to_vec(),
            end: format!(",\"eventSourceARN\":{arn}}}").into_bytes(),
        }
    }
}

/// Parses a response and renders its records.
#[derive(Debug)]
pub(crate) struct GetRecordsParser<'t> {
    template: &'t EventTemplate,
    page: PageBuilder<'t>,
    next_iterator: Option<String>,
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
            page: PageBuilder::new(estimate, length, max_bytes, read_at),
            next_iterator: None,
        }
    }
}

impl ResponseParser for GetRecordsParser<'_> {
    type Response = GetRecordsResponse;

    const LIST: &'static [u8] = b"Records";

    fn element(&mut self, cursor: &mut JsonCursor<'_>) -> Result<(), WireError> {
        if !self.page.has_room() {
            return cursor.skip_element();
        }
        let start = *cursor;
        let rendered = record(cursor, self.template, &mut self.page);
        rendered.or_else(|error| {
            *cursor = start;
            self.page.reject(cursor, error, rejected)
        })
    }

    fn member(&mut self, cursor: &mut JsonCursor<'_>, name: &[u8]) -> Result<(), WireError> {
        match name {
            b"NextShardIterator" => self.next_iterator = next_iterator(cursor)?,
            _ => cursor.skip()?,
        }
        Ok(())
    }

    fn may_lack_list(&self) -> bool {
        // An empty object must not be taken for the end of a shard.
        self.next_iterator.is_some()
    }

    fn finish(self, length: usize) -> GetRecordsResponse {
        let page = self.page.finish(length);
        GetRecordsResponse {
            records: page.records,
            next_iterator: self.next_iterator,
            is_truncated: page.is_truncated,
            rest: None,
            unreadable: page.unreadable,
            has_children: false,
            behind_latest: None,
        }
    }

    fn finish_before(
        mut self,
        error: WireError,
        length: usize,
    ) -> Result<GetRecordsResponse, WireError> {
        self.page.end_before(&error);
        Ok(self.finish(length))
    }
}

/// What can be read of a record.
fn rejected<'a>(cursor: &mut JsonCursor<'a>) -> RejectedRecord<'a> {
    let mut record = RejectedRecord::default();
    let read = cursor.object(|cursor, name| {
        if name != b"dynamodb" {
            return cursor.skip();
        }
        cursor.object(|cursor, name| {
            match name {
                b"SequenceNumber" => record.number = cursor.optional_string()?,
                b"Keys" => record.key = hash_of_key(cursor.value()?).ok().flatten(),
                _ => cursor.skip()?,
            }
            Ok(())
        })
    });
    read.map_or_else(|_| RejectedRecord::default(), |()| record)
}

fn record(
    cursor: &mut JsonCursor<'_>,
    template: &EventTemplate,
    page: &mut PageBuilder<'_>,
) -> Result<(), WireError> {
    let start_of_record = *cursor;
    let (mut envelope, mut change) = (Envelope::default(), None);
    cursor.object(|cursor, name| {
        match name {
            b"eventID" => envelope.id = cursor.optional_string()?,
            b"eventName" => envelope.name = cursor.optional_string()?,
            b"eventVersion" => envelope.version = cursor.optional_string()?,
            b"awsRegion" => envelope.region = cursor.optional_string()?,
            b"dynamodb" => change = Some(read_change(cursor)?),
            b"userIdentity" => envelope.identity = read_identity(cursor)?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    let change = change.ok_or_else(|| cursor.error("record without dynamodb"))?;
    let number = change
        .sequence_number
        .and_then(identifier)
        .ok_or_else(|| cursor.error("record without a valid SequenceNumber"))?;
    let key = change.keys.map_or(Ok(None), hash_of_key);
    let key = key.map_err(|error| cursor.error(error.reason()))?;
    // Only other databases leave keys out: without one, records have no order among each other.
    let key = key.unwrap_or_else(|| KeyHash::of(&number));
    let created = change
        .created
        .unwrap_or_else(|| page.records.undated(page.read_at));
    let received_len = cursor.text_since(&start_of_record).len();
    let expected_len = received_len + template.end.len() + template.region.len() + ADDED_LEN;
    let text = page.records.begin(key, expected_len);
    let start = text.len();
    push_envelope(text, &envelope, template);
    let number_span = push_change(text, &change, created, &number);
    if let Some(identity) = &envelope.identity {
        text.extend_from_slice(b",\"userIdentity\":{");
        let mut comma: &[u8] = b"";
        for (name, value) in [("type", identity.kind), ("principalId", identity.principal)] {
            let Some(value) = value else { continue };
            push_all(
                text,
                &[comma, b"\"", name.as_bytes(), b"\":\"", value, b"\""],
            );
            comma = b",";
        }
        text.push(b'}');
    }
    text.extend_from_slice(&template.end);
    page.records
        .end(start, number_span, start..start, key, created);
    Ok(())
}

fn read_change<'a>(cursor: &mut JsonCursor<'a>) -> Result<StreamRecord<'a>, WireError> {
    let mut change = StreamRecord::default();
    cursor.object(|cursor, name| {
        match name {
            b"ApproximateCreationDateTime" => {
                change.created = cursor.optional_timestamp()?;
            }
            b"Keys" => change.keys = not_null(cursor.value()?),
            b"NewImage" => change.new_image = not_null(cursor.value()?),
            b"OldImage" => change.old_image = not_null(cursor.value()?),
            b"SequenceNumber" => change.sequence_number = cursor.optional_string()?,
            b"SizeBytes" => change.size = not_null(cursor.value()?),
            b"StreamViewType" => change.view_type = cursor.optional_string()?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(change)
}

fn read_identity<'a>(cursor: &mut JsonCursor<'a>) -> Result<Option<Identity<'a>>, WireError> {
    let mut identity = Identity::default();
    let mut whole = *cursor;
    let value = cursor.value()?;
    if not_null(value).is_none() {
        return Ok(None);
    }
    whole.object(|cursor, name| {
        match name {
            b"Type" | b"type" => identity.kind = cursor.optional_string()?,
            b"PrincipalId" | b"principalId" => identity.principal = cursor.optional_string()?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(Some(identity))
}

/// Databases with the API of DynamoDB name themselves as the source, and leave members out that
/// functions read.
fn push_envelope(text: &mut Vec<u8>, envelope: &Envelope<'_>, template: &EventTemplate) {
    text.push(b'{');
    for (name, value) in [
        ("eventID", envelope.id),
        ("eventName", envelope.name),
        ("eventVersion", Some(envelope.version.unwrap_or(b"1.1"))),
        ("eventSource", Some(&b"aws:dynamodb"[..])),
        (
            "awsRegion",
            Some(envelope.region.unwrap_or(&template.region)),
        ),
    ] {
        let Some(value) = value else { continue };
        push_all(text, &[b"\"", name.as_bytes(), b"\":\"", value, b"\","]);
    }
}

/// Writes the member `dynamodb`; returns the span of the sequence number.
fn push_change(
    text: &mut Vec<u8>,
    change: &StreamRecord<'_>,
    created: Timestamp,
    number: &[u8],
) -> Range<usize> {
    text.extend_from_slice(b"\"dynamodb\":{\"ApproximateCreationDateTime\":");
    push_seconds(text, created);
    text.push(b',');
    for (name, value) in [
        ("Keys", change.keys),
        ("NewImage", change.new_image),
        ("OldImage", change.old_image),
    ] {
        let Some(value) = value else { continue };
        push_all(text, &[b"\"", name.as_bytes(), b"\":", value, b","]);
    }
    text.extend_from_slice(b"\"SequenceNumber\":\"");
    let number_span = text.len()..text.len() + number.len();
    push_all(text, &[number, b"\""]);
    if let Some(size) = change.size {
        push_all(text, &[b",\"SizeBytes\":", size]);
    }
    if let Some(view_type) = change.view_type {
        push_all(text, &[b",\"StreamViewType\":\"", view_type, b"\""]);
    }
    text.push(b'}');
    number_span
}

/// Hash of an item's key, the same however the response writes it: all changes of an item must have
/// the same hash. `None` if it has no attributes.
fn hash_of_key(keys: &[u8]) -> Result<Option<KeyHash>, WireError> {
    let mut attributes = Vec::with_capacity(2);
    let mut cursor = JsonCursor::new(keys);
    cursor.map(|cursor, name| {
        cursor.map(|cursor, kind| {
            let value = cursor.string()?;
            let text = |raw| unescape(raw).ok_or_else(|| cursor.error("invalid key"));
            attributes.push((text(name)?, text(kind)?, text(value)?));
            Ok(())
        })
    })?;
    if attributes.is_empty() {
        return Ok(None);
    }
    attributes.sort_unstable();
    let mut whole = Vec::new();
    for (name, kind, value) in &attributes {
        push_all(&mut whole, &[name, b"\0", kind, b"\0", value, b"\0"]);
    }
    Ok(Some(KeyHash::of(&whole)))
}

fn not_null(value: &[u8]) -> Option<&[u8]> {
    (value != b"null").then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::streaming_parser::parse_pieces;

    const ARN: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/T/stream/2024";

    #[test]
    fn a_record_is_rendered_as_lambda_does() {
        let body = br#"{"Records":[{"awsRegion":"us-east-1","dynamodb":{
            "ApproximateCreationDateTime":1732552345,"Keys":{"id":{"S":"a"}},
            "NewImage":{"b":{"B":"Zm9v"},"id":{"S":"a"}},"SequenceNumber":"100",
            "SizeBytes":70,"StreamViewType":"NEW_IMAGE"},"eventID":"0f","eventName":"REMOVE",
            "eventSource":"aws:dynamodb","eventVersion":"1.1",
            "userIdentity":{"PrincipalId":"dynamodb.amazonaws.com","Type":"Service"}}],
            "NextShardIterator":null}"#;
        let (template, estimate) = (EventTemplate::new(ARN, "us-east-1"), PageEstimate::new(1));
        let parser = GetRecordsParser::new(
            &template,
            &estimate,
            body.len(),
            usize::MAX,
            Timestamp::EPOCH,
        );
        let response = parse_pieces(&[body], parser).unwrap();
        assert_eq!(response.next_iterator, None);
        assert_eq!(
            std::str::from_utf8(response.records[0].event()).unwrap(),
            concat!(
                r#"{"eventID":"0f","eventName":"REMOVE","eventVersion":"1.1","#,
                r#""eventSource":"aws:dynamodb","awsRegion":"us-east-1","dynamodb":{"#,
                r#""ApproximateCreationDateTime":1732552345.0,"Keys":{"id":{"S":"a"}},"#,
                r#""NewImage":{"b":{"B":"Zm9v"},"id":{"S":"a"}},"SequenceNumber":"100","#,
                r#""SizeBytes":70,"StreamViewType":"NEW_IMAGE"},"#,
                r#""userIdentity":{"type":"Service","principalId":"dynamodb.amazonaws.com"},"#,
                r#""eventSourceARN":"arn:aws:dynamodb:us-east-1:123456789012:table/T/stream/2024"}"#
            )
        );
    }

    /// As Alternator of ScyllaDB sends it.
    #[test]
    fn what_another_database_leaves_out_or_calls_otherwise_is_as_lambda_has_it() {
        let body = br#"{"Records":[{"eventID":"0f","eventName":"REMOVE",
            "eventSource":"scylladb:alternator","dynamodb":{"Keys":{"id":{"S":"a"}},
            "SequenceNumber":"1","ApproximateCreationDateTime":1}},
            {"dynamodb":{"Keys":{"id":{"S":"a"}},"SequenceNumber":"2",
            "ApproximateCreationDateTime":null}}]}"#;
        let (template, estimate) = (EventTemplate::new(ARN, "us-east-1"), PageEstimate::new(1));
        let parser = GetRecordsParser::new(
            &template,
            &estimate,
            body.len(),
            usize::MAX,
            Timestamp::EPOCH,
        );
        let records = parse_pieces(&[body], parser).unwrap().records;
        assert_eq!(
            std::str::from_utf8(records[0].event()).unwrap(),
            concat!(
                r#"{"eventID":"0f","eventName":"REMOVE","eventVersion":"1.1","#,
                r#""eventSource":"aws:dynamodb","awsRegion":"us-east-1","dynamodb":{"#,
                r#""ApproximateCreationDateTime":1.0,"Keys":{"id":{"S":"a"}},"#,
                r#""SequenceNumber":"1"},"#,
                r#""eventSourceARN":"arn:aws:dynamodb:us-east-1:123456789012:table/T/stream/2024"}"#
            )
        );
        let time = Timestamp::from_millis(1000);
        assert!(records.iter().all(|it| it.approximate_arrival() == time));
        assert_eq!(
            [0, 1].map(|index| records[index].is_undated()),
            [false, true]
        );
    }

    #[test]
    fn a_record_that_cannot_be_rendered_is_kept_as_it_is() {
        let record = |number: u8, keys: &str| {
            format!(r#"{{"dynamodb":{{"SequenceNumber":"{number}"{keys}}}}}"#)
        };
        let good = record(1, r#","Keys":{"id":{"S":"a"}}"#);
        for keys in [
            r#","Keys":1"#,
            r#","Keys":{"id":{"S":1}}"#,
            r#","Keys":{"id":{"S":"\ud800"}}"#,
            r#","Keys":{"id":{"S":"a"}},"ApproximateCreationDateTime":-1"#,
        ] {
            let body = format!(r#"{{"Records":[{good},{},{good}]}}"#, record(2, keys));
            let (template, estimate) = (EventTemplate::new(ARN, "r"), PageEstimate::new(1));
            let parser =
                GetRecordsParser::new(&template, &estimate, 0, usize::MAX, Timestamp::EPOCH);
            let response = parse_pieces(&[body.as_bytes()], parser).unwrap();
            assert_eq!(response.records.len(), 3, "{keys}");
            let bad = &response.records[1];
            assert!(bad.unreadable().is_some(), "{keys}");
            assert_eq!(bad.sequence_number(), "2", "{keys}");
            assert_eq!(bad.event(), record(2, keys).as_bytes());
            assert_eq!(response.records[2].unreadable(), None, "{keys}");
            assert!(!response.is_truncated, "{keys}");
        }
    }

    #[test]
    fn the_order_of_key_attributes_does_not_matter() {
        let one = hash_of_key(br#"{"a":{"S":"1"},"b":{"N":"2"}}"#).unwrap();
        let other = hash_of_key(br#"{ "b": {"N":"2"}, "a": {"S":"1"} }"#).unwrap();
        assert_eq!(one, other);
        assert_ne!(
            one,
            hash_of_key(br#"{"a":{"S":"2"},"b":{"N":"1"}}"#).unwrap()
        );
    }
}
