//! Answers of DynamoDB Streams GetRecords.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>

use windlass_core::ids::KeyHash;
use windlass_core::record::Record;
use windlass_core::record_page::RecordPageBuilder;
use windlass_core::time::Timestamp;

use super::arriving::Walker;
use super::cursor::{Cursor, WireError};
use super::number::push_seconds;
use super::page::{Page, push_all};
use super::text::{plain, unescape};

/// What all records of a stream have in common: the end of each, with the stream's ARN.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    end: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) records: Vec<Record>,
    /// None at the end of the shard.
    pub(crate) next_iterator: Option<String>,
    /// Whether it had more records than there was room for. The place to go on is behind the last
    /// one, and not where the answer says.
    pub(crate) is_cut: bool,
}

/// The members of a record's `dynamodb`, as they stand.
#[derive(Default)]
struct Change<'a> {
    created: Option<Timestamp>,
    keys: Option<&'a [u8]>,
    new_image: Option<&'a [u8]>,
    old_image: Option<&'a [u8]>,
    sequence_number: Option<&'a [u8]>,
    size: Option<&'a [u8]>,
    view_type: Option<&'a [u8]>,
}

/// The other members of a record, as they stand.
#[derive(Default)]
struct Outer<'a> {
    id: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    region: Option<&'a [u8]>,
    identity: Option<Identity<'a>>,
}

/// Who changed an item, if it was not a user: the time to live.
#[derive(Default)]
struct Identity<'a> {
    kind: Option<&'a [u8]>,
    principal: Option<&'a [u8]>,
}

impl Frame {
    /// The part of a record that names its stream.
    pub(crate) fn new(stream_arn: &str) -> Self {
        let arn = serde_json::Value::from(stream_arn);
        Self {
            end: format!(",\"eventSourceARN\":{arn}}}").into_bytes(),
        }
    }
}

/// Reads an answer and renders its records.
#[derive(Debug)]
pub(crate) struct GetRecords<'f> {
    frame: &'f Frame,
    page: Page,
    next_iterator: Option<String>,
}

impl<'f> GetRecords<'f> {
    /// For an answer of about so many bytes. Its page ends with the record that brings it to `most`
    /// bytes.
    pub(crate) fn new(frame: &'f Frame, length: usize, most: usize) -> Self {
        Self {
            frame,
            page: Page::begin(length, most),
            next_iterator: None,
        }
    }
}

impl Walker for GetRecords<'_> {
    type Answer = Answer;

    const LIST: &'static [u8] = b"Records";
    const LIST_IS_OPTIONAL: bool = false;

    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), WireError> {
        if !self.page.has_room() {
            return cursor.skip();
        }
        record(cursor, self.frame, &mut self.page.builder)
    }

    fn member(&mut self, cursor: &mut Cursor<'_>, name: &[u8]) -> Result<(), WireError> {
        match name {
            b"NextShardIterator" => self.next_iterator = cursor.optional_text()?,
            _ => cursor.skip()?,
        }
        Ok(())
    }

    fn finish(self, length: usize) -> Answer {
        let (records, is_cut) = self.page.finish(length);
        Answer {
            records,
            next_iterator: self.next_iterator,
            is_cut,
        }
    }
}

fn record(
    cursor: &mut Cursor<'_>,
    frame: &Frame,
    page: &mut RecordPageBuilder,
) -> Result<(), WireError> {
    let (mut outer, mut change) = (Outer::default(), None);
    cursor.object(|cursor, name| {
        match name {
            b"eventID" => outer.id = cursor.optional_string()?,
            b"eventName" => outer.name = cursor.optional_string()?,
            b"eventVersion" => outer.version = cursor.optional_string()?,
            b"eventSource" => outer.source = cursor.optional_string()?,
            b"awsRegion" => outer.region = cursor.optional_string()?,
            b"dynamodb" => change = Some(read_change(cursor)?),
            b"userIdentity" => outer.identity = read_identity(cursor)?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    let change = change.ok_or_else(|| cursor.error("a record without its change"))?;
    let number = change
        .sequence_number
        .and_then(plain)
        .ok_or_else(|| cursor.error("a record without a sequence number"))?;
    let keys = change
        .keys
        .ok_or_else(|| cursor.error("a record without its item's key"))?;
    let key = hash_of_key(keys)?;
    // Without it, a starting position in time could not be kept: the record might be passed over.
    let created = change
        .created
        .ok_or_else(|| cursor.error("a record without a time of creation"))?;
    let text = page.begin();
    let start = text.len();
    push_outer(text, &outer);
    let place = push_change(text, &change, &number);
    if let Some(identity) = &outer.identity {
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
    text.extend_from_slice(&frame.end);
    page.end(start, place, start..start, key, created);
    Ok(())
}

fn read_change<'a>(cursor: &mut Cursor<'a>) -> Result<Change<'a>, WireError> {
    let mut change = Change::default();
    cursor.object(|cursor, name| {
        match name {
            b"ApproximateCreationDateTime" => {
                change.created = Some(cursor.moment()?);
            }
            b"Keys" => change.keys = Some(cursor.value()?),
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

fn read_identity<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Identity<'a>>, WireError> {
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

fn push_outer(text: &mut Vec<u8>, outer: &Outer<'_>) {
    text.push(b'{');
    for (name, value) in [
        ("eventID", outer.id),
        ("eventName", outer.name),
        ("eventVersion", outer.version),
        ("eventSource", outer.source),
        ("awsRegion", outer.region),
    ] {
        let Some(value) = value else { continue };
        push_all(text, &[b"\"", name.as_bytes(), b"\":\"", value, b"\","]);
    }
}

/// Writes the change; gives the place of its sequence number.
fn push_change(text: &mut Vec<u8>, change: &Change<'_>, number: &[u8]) -> std::ops::Range<usize> {
    text.extend_from_slice(b"\"dynamodb\":{");
    if let Some(created) = change.created {
        text.extend_from_slice(b"\"ApproximateCreationDateTime\":");
        push_seconds(text, created);
        text.push(b',');
    }
    for (name, value) in [
        ("Keys", change.keys),
        ("NewImage", change.new_image),
        ("OldImage", change.old_image),
    ] {
        let Some(value) = value else { continue };
        push_all(text, &[b"\"", name.as_bytes(), b"\":", value, b","]);
    }
    text.extend_from_slice(b"\"SequenceNumber\":\"");
    let place = text.len()..text.len() + number.len();
    push_all(text, &[number, b"\""]);
    if let Some(size) = change.size {
        push_all(text, &[b",\"SizeBytes\":", size]);
    }
    if let Some(view_type) = change.view_type {
        push_all(text, &[b",\"StreamViewType\":\"", view_type, b"\""]);
    }
    text.push(b'}');
    place
}

/// A hash of an item's key, however the answer spells it: an item's changes must have one hash.
fn hash_of_key(keys: &[u8]) -> Result<KeyHash, WireError> {
    let mut attributes = Vec::with_capacity(2);
    let mut cursor = Cursor::new(keys);
    cursor.map(|cursor, name| {
        cursor.map(|cursor, kind| {
            let value = cursor.string()?;
            let text = |raw| unescape(raw).ok_or_else(|| cursor.error("a broken key"));
            attributes.push((text(name)?, text(kind)?, text(value)?));
            Ok(())
        })
    })?;
    if attributes.is_empty() {
        return Err(cursor.error("an item's key without attributes"));
    }
    attributes.sort_unstable();
    let mut whole = Vec::new();
    for (name, kind, value) in &attributes {
        push_all(&mut whole, &[name, b"\0", kind, b"\0", value, b"\0"]);
    }
    Ok(KeyHash::of(&whole))
}

fn not_null(value: &[u8]) -> Option<&[u8]> {
    (value != b"null").then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::arriving;

    const ARN: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/T/stream/2024";

    #[test]
    fn a_record_looks_as_lambda_shows_it() {
        let body = br#"{"Records":[{"awsRegion":"us-east-1","dynamodb":{
            "ApproximateCreationDateTime":1732552345,"Keys":{"id":{"S":"a"}},
            "NewImage":{"b":{"B":"Zm9v"},"id":{"S":"a"}},"SequenceNumber":"100",
            "SizeBytes":70,"StreamViewType":"NEW_IMAGE"},"eventID":"0f","eventName":"REMOVE",
            "eventSource":"aws:dynamodb","eventVersion":"1.1",
            "userIdentity":{"PrincipalId":"dynamodb.amazonaws.com","Type":"Service"}}],
            "NextShardIterator":null}"#;
        let frame = Frame::new(ARN);
        let answer =
            arriving::read(&[body], GetRecords::new(&frame, body.len(), usize::MAX)).unwrap();
        assert_eq!(answer.next_iterator, None);
        assert_eq!(
            std::str::from_utf8(answer.records[0].event()).unwrap(),
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
