//! Messages of an event stream, taken apart while they arrive.
//!
//! A message has a prelude (its length, the length of its headers, and a checksum of both), headers,
//! a payload, and a checksum of all of it. Payloads are passed on in the pieces in which they arrive.
//!
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>

use std::mem;

use bytes::{Buf as _, Bytes};

use super::json_cursor::WireError;

/// Two lengths and a checksum, of four bytes each.
const PRELUDE_LEN: usize = 12;

const CHECKSUM_LEN: usize = 4;

/// Limit of the protocol.
const MAX_HEADERS_LEN: usize = 128 * 1024;

/// Limit of a payload: above the largest record of Kinesis, 10 MiB in base64, and above the 24 MiB
/// of the protocol.
const MAX_PAYLOAD_LEN: usize = 32 * 1024 * 1024;

/// Decodes the messages of one stream, which arrive in any pieces.
#[derive(Debug, Default)]
pub(crate) struct EventStreamDecoder {
    expected: Expected,
    /// The start of an incomplete prelude, of headers or of a checksum.
    incomplete: Vec<u8>,
    /// Of the current message, as far as it has arrived.
    checksum: crc32fast::Hasher,
    /// Bytes decoded so far.
    decoded: usize,
}

/// The next part of a message.
#[derive(Clone, Copy, Debug, Default)]
enum Expected {
    #[default]
    Prelude,
    Headers {
        headers_len: usize,
        payload_len: usize,
    },
    Payload {
        missing: usize,
    },
    Checksum,
}

/// What has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A message begins.
    Head(MessageHead),
    Payload(Bytes),
    /// The message is complete, and its checksum is right.
    End,
}

/// A message without its payload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageHead {
    pub(crate) kind: MessageKind,
    /// The type of the event or the exception, or the code of the error.
    pub(crate) name: String,
    /// Of an error.
    pub(crate) error_message: Option<String>,
    pub(crate) payload_len: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MessageKind {
    #[default]
    Event,
    /// An error that the service describes in the payload.
    Exception,
    /// An error without a payload.
    Error,
}

impl EventStreamDecoder {
    /// Takes the next part from the start of `input`; `None` if more input is needed.
    ///
    /// # Errors
    /// The stream violates its protocol. What follows cannot be decoded.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Part>, WireError> {
        loop {
            match self.expected {
                Expected::Prelude => {
                    let Some(prelude) = self.take(PRELUDE_LEN, input) else {
                        return Ok(None);
                    };
                    self.start_message(&prelude)?;
                }
                Expected::Headers {
                    headers_len,
                    payload_len,
                } => {
                    let Some(headers) = self.take(headers_len, input) else {
                        return Ok(None);
                    };
                    self.checksum.update(&headers);
                    let missing = payload_len;
                    self.expected = Expected::Payload { missing };
                    let head = message_head(&headers, payload_len);
                    let head = head.map_err(|reason| WireError::new(self.decoded, reason))?;
                    return Ok(Some(Part::Head(head)));
                }
                Expected::Payload { missing: 0 } => self.expected = Expected::Checksum,
                Expected::Payload { missing } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let piece = input.split_to(missing.min(input.len()));
                    let missing = missing - piece.len();
                    self.expected = Expected::Payload { missing };
                    self.decoded += piece.len();
                    self.checksum.update(&piece);
                    return Ok(Some(Part::Payload(piece)));
                }
                Expected::Checksum => {
                    let Some(sent) = self.take(CHECKSUM_LEN, input) else {
                        return Ok(None);
                    };
                    self.expected = Expected::Prelude;
                    if (&sent[..]).get_u32() != mem::take(&mut self.checksum).finalize() {
                        return Err(self.error("a message does not match its checksum"));
                    }
                    return Ok(Some(Part::End));
                }
            }
        }
    }

    /// Whether the stream may end here.
    pub(crate) fn is_between_messages(&self) -> bool {
        matches!(self.expected, Expected::Prelude) && self.incomplete.is_empty()
    }

    fn start_message(&mut self, prelude: &[u8]) -> Result<(), WireError> {
        let mut fields = prelude;
        let (total_len, headers_len) = (fields.get_u32() as usize, fields.get_u32() as usize);
        if fields.get_u32() != crc32fast::hash(&prelude[..PRELUDE_LEN - CHECKSUM_LEN]) {
            return Err(self.error("the start of a message does not match its checksum"));
        }
        let overhead = PRELUDE_LEN + CHECKSUM_LEN + headers_len;
        let payload_len = total_len.checked_sub(overhead);
        let payload_len = payload_len.filter(|len| *len <= MAX_PAYLOAD_LEN);
        let payload_len = payload_len.filter(|_| headers_len <= MAX_HEADERS_LEN);
        let payload_len =
            payload_len.ok_or_else(|| self.error("a message has an impossible length"))?;
        self.checksum.update(prelude);
        self.expected = Expected::Headers {
            headers_len,
            payload_len,
        };
        Ok(())
    }

    /// Takes exactly `len` bytes, once all of them have arrived.
    fn take(&mut self, len: usize, input: &mut Bytes) -> Option<Vec<u8>> {
        let missing = len - self.incomplete.len();
        let more = input.split_to(missing.min(input.len()));
        self.decoded += more.len();
        self.incomplete.extend_from_slice(&more);
        (self.incomplete.len() == len).then(|| mem::take(&mut self.incomplete))
    }

    const fn error(&self, reason: &'static str) -> WireError {
        WireError::new(self.decoded, reason)
    }
}

fn message_head(mut headers: &[u8], payload_len: usize) -> Result<MessageHead, &'static str> {
    let mut head = MessageHead {
        payload_len,
        ..MessageHead::default()
    };
    while !headers.is_empty() {
        let (name, value) = header(&mut headers).ok_or("malformed headers of a message")?;
        // Those that matter are text.
        let Some(value) = value else { continue };
        match name {
            b":message-type" => {
                head.kind = match value {
                    "event" => MessageKind::Event,
                    "exception" => MessageKind::Exception,
                    "error" => MessageKind::Error,
                    _ => return Err("a message of an unknown type"),
                }
            }
            b":event-type" | b":exception-type" | b":error-code" => {
                value.clone_into(&mut head.name)
            }
            b":error-message" => head.error_message = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(head)
}

/// Takes the next header: its name, and its value if that is text. `None` if it is malformed.
fn header<'a>(headers: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a str>)> {
    let name_len = usize::from(take(headers, 1)?[0]);
    let name = take(headers, name_len)?;
    let kind = take(headers, 1)?[0];
    let value_len = match kind {
        // True and false.
        0 | 1 => 0,
        // Integers of 1 to 8 bytes, and a time.
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        // Bytes and text.
        6 | 7 => usize::from(take(headers, 2)?.get_u16()),
        // A UUID.
        9 => 16,
        _ => return None,
    };
    let value = take(headers, value_len)?;
    match kind {
        7 => Some((name, Some(std::str::from_utf8(value).ok()?))),
        _ => Some((name, None)),
    }
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// Encodes a message as a server does.
#[cfg(test)]
pub(crate) fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    use bytes::BufMut as _;

    let mut encoded_headers = Vec::new();
    for (name, value) in headers {
        encoded_headers.put_u8(name.len().try_into().unwrap());
        encoded_headers.put_slice(name.as_bytes());
        encoded_headers.put_u8(7);
        encoded_headers.put_u16(value.len().try_into().unwrap());
        encoded_headers.put_slice(value.as_bytes());
    }
    let total_len = PRELUDE_LEN + encoded_headers.len() + payload.len() + CHECKSUM_LEN;
    let mut message = Vec::new();
    message.put_u32(total_len.try_into().unwrap());
    message.put_u32(encoded_headers.len().try_into().unwrap());
    message.put_u32(crc32fast::hash(&message));
    message.put_slice(&encoded_headers);
    message.put_slice(payload);
    message.put_u32(crc32fast::hash(&message));
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVENT: [(&str, &str); 3] = [
        (":message-type", "event"),
        (":event-type", "SubscribeToShardEvent"),
        (":content-type", "application/json"),
    ];

    type Message = (MessageHead, Vec<u8>);

    /// The messages in a stream that arrives in pieces of these lengths, and whether it may end there.
    fn decode(stream: &[u8], cuts: &[usize]) -> Result<(Vec<Message>, bool), WireError> {
        let mut decoder = EventStreamDecoder::default();
        let (mut messages, mut current) = (Vec::new(), None);
        let mut rest = Bytes::copy_from_slice(stream);
        let mut cuts = cuts.iter().copied();
        while !rest.is_empty() {
            let len = cuts.next().unwrap_or(usize::MAX).clamp(1, rest.len());
            let mut piece = rest.split_to(len);
            while let Some(part) = decoder.next(&mut piece)? {
                match part {
                    Part::Head(head) => current = Some((head, Vec::new())),
                    Part::Payload(bytes) => current.as_mut().unwrap().1.extend_from_slice(&bytes),
                    Part::End => messages.push(current.take().unwrap()),
                }
            }
            assert!(piece.is_empty(), "a piece is decoded whole");
        }
        Ok((messages, decoder.is_between_messages()))
    }

    fn event(payload: &[u8]) -> Message {
        let head = MessageHead {
            name: "SubscribeToShardEvent".to_owned(),
            payload_len: payload.len(),
            ..MessageHead::default()
        };
        (head, payload.to_vec())
    }

    proptest! {
        #[test]
        fn messages_are_the_same_in_whatever_pieces_they_arrive(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4),
            cuts in prop::collection::vec(1_usize..60, 0..40),
        ) {
            let stream: Vec<_> = payloads.iter().flat_map(|it| encode(&EVENT, it)).collect();
            let expected: Vec<_> = payloads.iter().map(|it| event(it)).collect();
            prop_assert_eq!(decode(&stream, &cuts).unwrap(), (expected, true));
        }

        #[test]
        fn a_message_with_a_changed_byte_is_never_complete(
            payload in prop::collection::vec(any::<u8>(), 0..100),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
            cuts in prop::collection::vec(1_usize..60, 0..10),
        ) {
            let good = encode(&EVENT, b"{}");
            let mut broken = encode(&EVENT, &payload);
            let at = at.index(broken.len());
            broken[at] ^= flip;
            let stream = [good, broken].concat();
            // A shorter message would end with another checksum; a longer one waits for its end.
            match decode(&stream, &cuts) {
                Ok((messages, is_end)) => {
                    prop_assert_eq!(messages, [event(b"{}")]);
                    prop_assert!(!is_end);
                }
                Err(error) => prop_assert!(!error.is_incomplete()),
            }
        }

        #[test]
        fn any_bytes_are_messages_or_an_error(
            stream in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(1_usize..60, 0..10),
        ) {
            drop(decode(&stream, &cuts));
        }

        #[test]
        fn headers_of_any_bytes_are_understood_or_an_error(
            headers in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            drop(message_head(&headers, 0));
        }
    }

    #[test]
    fn a_stream_may_end_between_messages_only() {
        let stream = encode(&EVENT, b"{}");
        for len in 0..=stream.len() {
            let (messages, is_end) = decode(&stream[..len], &[]).unwrap();
            let is_whole = len == stream.len();
            assert_eq!(
                (messages.len(), is_end),
                (usize::from(is_whole), is_whole || len == 0)
            );
        }
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused_before_the_message_arrives() {
        let prelude = |total_len: usize, headers_len: usize| {
            let lengths = [total_len, headers_len].map(|len| u32::try_from(len).unwrap());
            let mut bytes = lengths.map(u32::to_be_bytes).concat();
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
            decode(&bytes, &[]).is_ok()
        };
        let (payload, headers) = (MAX_PAYLOAD_LEN, MAX_HEADERS_LEN);
        assert!(prelude(16, 0));
        assert!(!prelude(15, 0));
        assert!(!prelude(16, 1));
        assert!(prelude(16 + headers, headers));
        assert!(!prelude(17 + headers, headers + 1));
        assert!(prelude(16 + payload, 0));
        assert!(!prelude(17 + payload, 0));
    }

    #[test]
    fn exceptions_and_errors_have_names() {
        let exception = [
            (":message-type", "exception"),
            (":exception-type", "ResourceInUseException"),
        ];
        let error = [
            (":message-type", "error"),
            (":error-code", "InternalFailure"),
            (":error-message", "try again"),
        ];
        let stream = [encode(&exception, b"{}"), encode(&error, b"")].concat();
        let (messages, _) = decode(&stream, &[]).unwrap();
        let heads: Vec<_> = messages.iter().map(|(head, _)| head).collect();
        assert_eq!(heads[0].kind, MessageKind::Exception);
        assert_eq!(heads[0].name, "ResourceInUseException");
        assert_eq!(heads[1].kind, MessageKind::Error);
        assert_eq!(heads[1].name, "InternalFailure");
        assert_eq!(heads[1].error_message.as_deref(), Some("try again"));
        let unknown = encode(&[(":message-type", "other")], b"");
        assert!(decode(&unknown, &[]).is_err());
    }
}
