//! The event that a function receives: an envelope around records or messages.
//!
//! Neighboring records of a page are sent as one piece of it, without a copy.

use std::iter;

use bytes::Bytes;
use serde_json::Value;

use crate::arn::Arn;
use crate::ids::ShardId;
use crate::record::Record;
use crate::time::Timestamp;
use crate::window::{WindowBounds, WindowCall, WindowState};

const OPEN: &[u8] = b"{\"Records\":[";
const CLOSE: &[u8] = b"]}";
const COMMA: &[u8] = b",";

/// An event of more pieces is copied into one: sending many small pieces costs more than the copy.
const MAX_PIECES: usize = 16;

/// Maximum size of the event of one invocation, in bytes: 6 MiB.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const PAYLOAD_LIMIT: usize = 6 * 1024 * 1024;

/// Bytes of an event in addition to its records and the commas between them.
pub const ENVELOPE_LEN: usize = OPEN.len() + CLOSE.len();

/// The event of one invocation, in the pieces that are sent.
#[derive(Clone, Debug)]
pub struct Event {
    pieces: Vec<Bytes>,
}

/// Bytes of an event of `n_records` records with `total` bytes.
pub const fn event_len(n_records: usize, total: usize) -> usize {
    ENVELOPE_LEN + total + n_records.saturating_sub(1)
}

/// Bytes that the event of a tumbling window has in addition, an empty state included. Times have
/// the same length up to the year 9999, and a flag is shorter when it is set.
pub fn window_len(shard: &ShardId, event_source_arn: &Arn) -> usize {
    let call = WindowCall {
        bounds: WindowBounds {
            start: Timestamp::EPOCH,
            end: Timestamp::EPOCH,
        },
        state: WindowState::empty(),
        is_final: false,
        is_terminated_early: false,
    };
    let members = window_members(&call, shard, event_source_arn);
    let len = members.iter().map(String::len).sum::<usize>();
    len + call.state.json().len() - CLOSE.len()
}

/// The end of the event of a tumbling window, before and after its state.
fn window_members(call: &WindowCall, shard: &ShardId, event_source_arn: &Arn) -> [String; 2] {
    let WindowCall {
        bounds: WindowBounds { start, end },
        is_final,
        is_terminated_early,
        ..
    } = call;
    let (start, end) = (start.to_rfc3339(), end.to_rfc3339());
    let shard = Value::from(shard.as_str());
    let event_source_arn = Value::from(event_source_arn.as_str());
    [
        format!("],\"window\":{{\"start\":\"{start}\",\"end\":\"{end}\"}},\"state\":"),
        format!(
            ",\"shardId\":{shard},\"eventSourceARN\":{event_source_arn},\
             \"isFinalInvokeForWindow\":{is_final},\
             \"isWindowTerminatedEarly\":{is_terminated_early}}}"
        ),
    ]
}

/// Records with commas between them, in as few texts as possible without a copy.
fn texts_of(records: &[Record]) -> impl Iterator<Item = Bytes> {
    let mut spans = records.chunk_by(Record::is_followed_by).peekable();
    iter::from_fn(move || {
        let span = spans.next()?;
        let (first, last) = (span.first()?, span.last()?);
        Some(match spans.peek() {
            Some(_) => first.text_through_comma(last),
            None => first.text_through(last),
        })
    })
}

impl Event {
    /// `{"Records":[…]}`, in the order of the slice.
    pub fn of_records(records: &[Record]) -> Self {
        Self::enclose(texts_of(records), [Bytes::from_static(CLOSE)])
    }

    /// `{"Records":[…],"window":{…},"state":…,…}`: of a tumbling window.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-windows.html>
    pub fn of_window(
        records: &[Record],
        call: &WindowCall,
        shard: &ShardId,
        event_source_arn: &Arn,
    ) -> Self {
        let [before_state, after_state] = window_members(call, shard, event_source_arn);
        let end = [
            before_state.into(),
            call.state.json().clone(),
            after_state.into(),
        ];
        Self::enclose(texts_of(records), end)
    }

    /// `{"Records":[…]}`, in the order of the iterator; each item is the JSON of one message.
    pub fn of_messages<'a>(messages: impl Iterator<Item = &'a Bytes>) -> Self {
        let comma = Bytes::from_static(COMMA);
        let with_commas = messages.flat_map(|message| [comma.clone(), message.clone()]);
        Self::enclose(with_commas.skip(1), [Bytes::from_static(CLOSE)])
    }

    /// Encloses texts in the envelope, which ends with `end`. Together the texts are the records with
    /// commas between them.
    fn enclose<const N: usize>(texts: impl Iterator<Item = Bytes>, end: [Bytes; N]) -> Self {
        let mut pieces = vec![Bytes::from_static(OPEN)];
        pieces.extend(texts);
        pieces.extend(end);
        let event = Self { pieces };
        if MAX_PIECES < event.pieces.len() {
            Self::from(event.to_bytes())
        } else {
            event
        }
    }

    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    /// The event in one piece, which costs a copy if it has several.
    pub fn to_bytes(&self) -> Bytes {
        match &*self.pieces {
            [whole] => whole.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

impl From<Bytes> for Event {
    fn from(whole: Bytes) -> Self {
        Self {
            pieces: vec![whole],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyHash;
    use crate::record_page::{RecordMeta, RecordPageBuilder};
    use crate::time::Timestamp;

    fn page(events: &[&str]) -> Vec<Record> {
        let mut builder = RecordPageBuilder::default();
        let meta = RecordMeta {
            sequence_number: "1",
            inner: None,
            key: KeyHash(1),
            approximate_arrival: Timestamp::EPOCH,
        };
        for event in events {
            builder.push(&meta, event.as_bytes(), 0..0);
        }
        Record::of_page(builder.finish())
    }

    #[test]
    fn event_len_is_the_length_of_the_event() {
        let messages = [Bytes::from_static(b"{\"a\":1}"), Bytes::from_static(b"{}")];
        let records = page(&["{\"a\":1}", "{}"]);
        for n in 0..=messages.len() {
            let total = messages[..n].iter().map(Bytes::len).sum();
            for event in [
                Event::of_messages(messages[..n].iter()),
                Event::of_records(&records[..n]),
            ] {
                assert_eq!(event.to_bytes().len(), event_len(n, total));
            }
        }
        let expected = b"{\"Records\":[{\"a\":1},{}]}";
        assert_eq!(
            &Event::of_messages(messages.iter()).to_bytes()[..],
            expected
        );
        assert_eq!(&Event::of_records(&records).to_bytes()[..], expected);
    }

    /// The order of the members is that of AWS's sample.
    #[test]
    fn the_event_of_a_window_has_its_state_after_the_records() {
        let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/lambda-stream";
        let (shard, arn) = ("shardId-000000000006".into(), Arn::parse(arn).unwrap());
        let bounds = WindowBounds {
            start: Timestamp::from_millis(1_607_497_440_000),
            end: Timestamp::from_millis(1_607_497_560_000),
        };
        let records = page(&["{\"a\":1}", "{}"]);
        let event = |records: &[Record], state: &'static str, is_final| {
            let call = WindowCall {
                bounds,
                state: WindowState::new(Bytes::from_static(state.as_bytes())),
                is_final,
                is_terminated_early: false,
            };
            Event::of_window(records, &call, &shard, &arn).to_bytes()
        };
        let expected = "{\"Records\":[{\"a\":1},{}],\
            \"window\":{\"start\":\"2020-12-09T07:04:00Z\",\"end\":\"2020-12-09T07:06:00Z\"},\
            \"state\":{\"1\":282,\"2\":715},\"shardId\":\"shardId-000000000006\",\
            \"eventSourceARN\":\"arn:aws:kinesis:us-east-1:123456789012:stream/lambda-stream\",\
            \"isFinalInvokeForWindow\":false,\"isWindowTerminatedEarly\":false}";
        assert_eq!(event(&records, "{\"1\":282,\"2\":715}", false), expected);
        let last = String::from_utf8(event(&[], "{}", true).to_vec()).unwrap();
        assert!(last.starts_with("{\"Records\":[],\"window\":{"), "{last}");
        assert!(last.contains("\"isFinalInvokeForWindow\":true,"), "{last}");
        let of_empty = event(&records, "{}", false).len();
        assert_eq!(of_empty, event_len(2, 9) + window_len(&shard, &arn));
    }

    #[test]
    fn neighboring_records_are_sent_in_one_piece() {
        let (first, second) = (page(&["1", "2", "3", "4"]), page(&["5", "6"]));
        let records = [&first[..2], &first[3..], &second[..]].concat();
        let event = Event::of_records(&records);
        let pieces: Vec<&[u8]> = event.pieces().iter().map(|piece| &piece[..]).collect();
        let expected: [&[u8]; 5] = [OPEN, b"1,2,", b"4,", b"5,6", CLOSE];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn an_event_of_many_pieces_is_copied() {
        let digits: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let digits: Vec<&str> = digits.iter().map(String::as_str).collect();
        let records: Vec<Record> = page(&digits).into_iter().step_by(2).collect();
        let event = Event::of_records(&records);
        assert_eq!(event.pieces().len(), 1);
        let even: Vec<&str> = digits.into_iter().step_by(2).collect();
        let expected = format!("{{\"Records\":[{}]}}", even.join(","));
        assert_eq!(event.to_bytes(), expected);
    }
}
