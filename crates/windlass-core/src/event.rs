//! The event a function receives: an envelope around rendered records.
//!
//! Records that are neighbours on their page are sent as they stand there, in one piece.

use bytes::Bytes;

use crate::record::Record;

const OPEN: &[u8] = b"{\"Records\":[";
const CLOSE: &[u8] = b"]}";
const COMMA: &[u8] = b",";

/// An event of more pieces is copied into one: sending many small ones costs more than that.
const MOST_PIECES: usize = 16;

/// The largest event one invocation may carry, in bytes: 6 MiB.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const PAYLOAD_LIMIT: usize = 6 * 1024 * 1024;

/// The bytes of the event around its records, commas apart.
pub const ENVELOPE_LEN: usize = OPEN.len() + CLOSE.len();

/// The event of one invocation, in the pieces in which it is sent.
#[derive(Clone, Debug)]
pub struct Event {
    pieces: Vec<Bytes>,
}

/// The size in bytes of an event of `n_records` records that are `total` bytes together.
pub const fn event_len(n_records: usize, total: usize) -> usize {
    ENVELOPE_LEN + total + n_records.saturating_sub(1)
}

impl Event {
    /// The event of records: `{"Records":[…]}`, in the order given.
    pub fn of_records(records: &[Record]) -> Self {
        let runs = records.chunk_by(Record::is_followed_by);
        Self::around(runs.map(|run| run[0].text_through(&run[run.len() - 1])))
    }

    /// The event of messages, each given as it is rendered: `{"Records":[…]}`, in the order given.
    pub fn of_messages<'a>(messages: impl Iterator<Item = &'a Bytes>) -> Self {
        Self::around(messages.cloned())
    }

    /// The envelope around texts, each of one record or of several with their commas.
    fn around(texts: impl Iterator<Item = Bytes>) -> Self {
        let mut pieces = vec![Bytes::from_static(OPEN)];
        for text in texts {
            if 1 < pieces.len() {
                pieces.push(Bytes::from_static(COMMA));
            }
            pieces.push(text);
        }
        pieces.push(Bytes::from_static(CLOSE));
        let event = Self { pieces };
        if MOST_PIECES < event.pieces.len() {
            Self::from(event.to_bytes())
        } else {
            event
        }
    }

    /// Its pieces, one behind the other.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Its pieces, to be sent.
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    /// The whole of it in one piece, which costs a copy if it has several.
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
            key: KeyHash(1),
            approximate_arrival: Timestamp::EPOCH,
        };
        for event in events {
            builder.push(&meta, event.as_bytes(), 0..0);
        }
        Record::of_page(builder.finish())
    }

    #[test]
    fn an_event_is_as_long_as_it_was_said_to_be() {
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

    #[test]
    fn neighbours_are_sent_in_one_piece() {
        let (first, second) = (page(&["1", "2", "3", "4"]), page(&["5", "6"]));
        let records = [&first[..2], &first[3..], &second[..]].concat();
        let event = Event::of_records(&records);
        let pieces: Vec<&[u8]> = event.pieces().iter().map(|piece| &piece[..]).collect();
        let expected: [&[u8]; 7] = [OPEN, b"1,2", b",", b"4", b",", b"5,6", CLOSE];
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
