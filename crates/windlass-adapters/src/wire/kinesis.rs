//! Answers of Kinesis GetRecords.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>

use std::time::Duration;

use windlass_core::ids::KeyHash;
use windlass_core::record::Record;
use windlass_core::record_page::RecordPageBuilder;

use super::arriving::Walker;
use super::cursor::{Cursor, WireError};
use super::names::Names;
use super::number::push_seconds;
use super::page::{Page, push_all};
use super::text::{plain, unescape};

/// What is read of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Arrival,
    Data,
    Key,
    Number,
}

/// In the order in which AWS writes them.
const MEMBERS: [(&str, Member); 4] = [
    ("\"ApproximateArrivalTimestamp\":", Member::Arrival),
    ("\"Data\":", Member::Data),
    ("\"PartitionKey\":", Member::Key),
    ("\"SequenceNumber\":", Member::Number),
];

const WITH_KEY: &[u8] = br#"{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":""#;
const WITHOUT_KEY: &[u8] = br#"{"kinesis":{"kinesisSchemaVersion":"1.0","sequenceNumber":""#;

/// What all records of a shard have in common, written once for a reader.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// From the event's id to its sequence number.
    before_id: Vec<u8>,
    /// What follows the sequence number in the event's id.
    after_id: Vec<u8>,
}

/// An answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) records: Vec<Record>,
    /// None at the end of the shard.
    pub(crate) next_iterator: Option<String>,
    /// Whether it names the shards that follow this one, as only its end has them.
    pub(crate) has_children: bool,
    pub(crate) behind: Duration,
    /// Whether it had more records than there was room for. The place to go on is behind the last
    /// one, and not where the answer says.
    pub(crate) is_cut: bool,
}

impl Frame {
    /// The parts of a record that name its shard, its stream and the role of its function.
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

/// Reads an answer and renders its records.
#[derive(Debug)]
pub(crate) struct GetRecords<'f> {
    frame: &'f Frame,
    names: Names<'static, Member>,
    page: Page,
    answer: Answer,
}

impl<'f> GetRecords<'f> {
    /// For an answer of about so many bytes. Its page ends with the record that brings it to `most`
    /// bytes.
    pub(crate) fn new(frame: &'f Frame, length: usize, most: usize) -> Self {
        Self {
            frame,
            names: Names::new(&MEMBERS),
            page: Page::begin(length, most),
            answer: Answer::default(),
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
        record(cursor, &mut self.names, self.frame, &mut self.page.builder)
    }

    fn member(&mut self, cursor: &mut Cursor<'_>, name: &[u8]) -> Result<(), WireError> {
        let answer = &mut self.answer;
        match name {
            b"NextShardIterator" => answer.next_iterator = cursor.optional_text()?,
            b"MillisBehindLatest" => {
                answer.behind = Duration::ZERO;
                if !cursor.value_is_null()? {
                    let millis = std::str::from_utf8(cursor.number()?).ok();
                    let millis = millis.and_then(|millis| millis.parse::<f64>().ok());
                    let seconds = millis.unwrap_or(0.0) / 1000.0;
                    answer.behind = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
                }
            }
            b"ChildShards" => {
                answer.has_children = false;
                if !cursor.value_is_null()? {
                    cursor.array(|cursor| {
                        answer.has_children = true;
                        cursor.skip()
                    })?;
                }
            }
            _ => cursor.skip()?,
        }
        Ok(())
    }

    fn finish(self, length: usize) -> Answer {
        let (records, is_cut) = self.page.finish(length);
        Answer {
            records,
            is_cut,
            ..self.answer
        }
    }
}

fn record(
    cursor: &mut Cursor<'_>,
    names: &mut Names<'_, Member>,
    frame: &Frame,
    page: &mut RecordPageBuilder,
) -> Result<(), WireError> {
    let (mut arrival, mut data, mut key, mut number) = (None, None, None, None);
    cursor.object_of(names, |cursor, name| {
        match name {
            Some(Member::Arrival) => arrival = Some(cursor.moment()?),
            Some(Member::Data) => data = Some(cursor.base64()?),
            Some(Member::Key) => key = cursor.optional_string()?,
            Some(Member::Number) => number = Some(cursor.string()?),
            None => cursor.skip()?,
        }
        Ok(())
    })?;
    let data = data.ok_or_else(|| cursor.error("a record without data"))?;
    let number = number
        .and_then(plain)
        .ok_or_else(|| cursor.error("a record without a sequence number"))?;
    let arrival = arrival.ok_or_else(|| cursor.error("a record without a time of arrival"))?;
    let hash = match key {
        Some(key) => {
            let key = unescape(key).ok_or_else(|| cursor.error("a broken partition key"))?;
            KeyHash::of(&key)
        }
        // Streams may distribute records themselves, without a key and so without order.
        None => KeyHash::of(&number),
    };
    let text = page.begin();
    let start = text.len();
    match key {
        Some(key) => push_all(text, &[WITH_KEY, key, b"\",\"sequenceNumber\":\""]),
        None => text.extend_from_slice(WITHOUT_KEY),
    }
    let place = text.len()..text.len() + number.len();
    push_all(text, &[&number, b"\",\"data\":\""]);
    let data_place = text.len()..text.len() + data.len();
    push_all(text, &[data, b"\",\"approximateArrivalTimestamp\":"]);
    push_seconds(text, arrival);
    push_all(text, &[&frame.before_id, &number, &frame.after_id]);
    page.end(start, place, data_place, hash, arrival);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::arriving;

    fn read(body: &[u8], frame: &Frame) -> Result<Answer, WireError> {
        arriving::read(&[body], GetRecords::new(frame, body.len(), usize::MAX))
    }

    fn frame() -> Frame {
        let arn = "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream";
        let role = "arn:aws:iam::123456789012:role/lambda-role";
        Frame::new("shardId-000000000006", arn, "us-east-2", role)
    }

    #[test]
    fn a_record_looks_as_lambda_shows_it() {
        let body = br#"{"MillisBehindLatest":1500,"NextShardIterator":"AAA=","Records":[{
            "ApproximateArrivalTimestamp":1.545084650987E9,"Data":"SGVsbG8=","PartitionKey":"1",
            "SequenceNumber":"4959033827149025660855969","EncryptionType":"NONE"}]}"#;
        let answer = read(body, &frame()).unwrap();
        assert_eq!(answer.next_iterator.as_deref(), Some("AAA="));
        assert_eq!(answer.behind, Duration::from_millis(1500));
        assert_eq!(
            answer.records[0].sequence_number(),
            "4959033827149025660855969"
        );
        let record = &answer.records[0];
        assert_eq!(record.data(), b"SGVsbG8=");
        assert_eq!(
            std::str::from_utf8(answer.records[0].event()).unwrap(),
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
    fn a_page_is_cut_where_there_is_no_more_room() {
        let record = r#"{"ApproximateArrivalTimestamp":1,"Data":"","SequenceNumber":"1"}"#;
        let body = format!(r#"{{"Records":[{record},{record},{record}],"NextShardIterator":"n"}}"#);
        let frame = frame();
        let length = read(body.as_bytes(), &frame).unwrap().records[0].event_len();
        for (most, expected) in [
            (1, (1, true)),
            (length, (1, true)),
            (length + 1, (2, true)),
            (3 * length, (3, false)),
        ] {
            let walker = GetRecords::new(&frame, body.len(), most);
            let answer = arriving::read(&[body.as_bytes()], walker).unwrap();
            assert_eq!((answer.records.len(), answer.is_cut), expected);
        }
    }

    #[test]
    fn the_end_of_a_shard_is_told_from_an_answer_that_says_nothing() {
        let answer = read(
            br#"{"Records":[],"ChildShards":[{"ShardId":"s"}]}"#,
            &frame(),
        )
        .unwrap();
        assert_eq!((answer.next_iterator, answer.has_children), (None, true));
        assert!(
            !read(br#"{"Records":[],"ChildShards":[]}"#, &frame())
                .unwrap()
                .has_children
        );
        assert!(read(b"{}", &frame()).is_err());
        assert!(read(b"", &frame()).is_err());
        assert!(read(br#"{"Records":[{}]}"#, &frame()).is_err());
    }
}
