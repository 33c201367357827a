//! The messages of a benchmark, copied from one that was rendered at the start.

use bytes::Bytes;
use md5::{Digest as _, Md5};

use super::page::noise;
use super::queue::QueueLoad;
use crate::clock::Clock;

/// The start of a response with messages; they follow, with commas between them.
pub const MESSAGES_PREFIX: &str = "{\"Messages\":[";

/// Precedes the id of a message, in a response of SQS as in an event.
pub(super) const ID_MARKER: &[u8] = b"essageId\":\"";

/// Digits of the number of a message, and of that of its group.
const DIGITS: usize = 12;

/// The id of a message, up to its number.
const ID_PREFIX: &str = "00000000-0000-4000-8000-";

/// A message whose numbers are zero.
#[derive(Debug, Default)]
pub(super) struct MessageTemplate {
    /// Followed by a comma.
    text: Vec<u8>,
    /// Where the number of the message is.
    numbers: Vec<usize>,
    /// Where the number of its group is; a standard queue has it in the receipt handle alone.
    groups: Vec<usize>,
}

/// A message that is received: its number and that of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) number: u64,
    pub(super) group: u64,
}

impl MessageTemplate {
    pub(super) fn new(load: QueueLoad) -> Self {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut text_of = |length: usize| {
            let mut text = base64_simd::STANDARD.encode_to_string(noise(length, &mut random));
            text.truncate(length);
            text
        };
        let body = text_of(load.message_bytes as usize);
        let padding = text_of((load.handle_bytes as usize).saturating_sub(2 * DIGITS));
        let md5 = format!("{:x}", Md5::digest(&body));
        let now = Clock::start().now_ms();
        let mut message = Self::default();
        message.text("{\"MessageId\":\"").text(ID_PREFIX).number();
        message.text("\",\"ReceiptHandle\":\"").number().group();
        message
            .text(&padding)
            .text("\",\"MD5OfBody\":\"")
            .text(&md5);
        message.text("\",\"Body\":\"").text(&body);
        message.text("\",\"Attributes\":{\"SenderId\":\"AIDAEMULATOR000000000\"");
        message.text(&format!(
            ",\"ApproximateFirstReceiveTimestamp\":\"{now}\",\"ApproximateReceiveCount\":\"1\",\
             \"SentTimestamp\":\"{now}\""
        ));
        if load.groups != 0 {
            message.text(",\"MessageGroupId\":\"group-").group();
            message.text("\",\"SequenceNumber\":\"18849496").number();
            message.text("\",\"MessageDeduplicationId\":\"").number();
            message.text("\"");
        }
        message.text("}},");
        message
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.text.extend_from_slice(text.as_bytes());
        self
    }

    fn number(&mut self) -> &mut Self {
        self.numbers.push(self.text.len());
        self.text.extend_from_slice(&[b'0'; DIGITS]);
        self
    }

    fn group(&mut self) -> &mut Self {
        self.groups.push(self.text.len());
        self.text.extend_from_slice(&[b'0'; DIGITS]);
        self
    }

    /// Bytes of one message.
    pub(super) fn length(&self) -> usize {
        self.text.len() - 1
    }

    /// The response of a receive.
    pub(super) fn response(&self, messages: &[Received]) -> Bytes {
        if messages.is_empty() {
            return Bytes::from_static(b"{}");
        }
        let mut body =
            Vec::with_capacity(MESSAGES_PREFIX.len() + messages.len() * self.text.len() + 2);
        body.extend_from_slice(MESSAGES_PREFIX.as_bytes());
        for message in messages {
            let start = body.len();
            body.extend_from_slice(&self.text);
            for at in &self.numbers {
                write_digits(&mut body[start + at..][..DIGITS], message.number);
            }
            for at in &self.groups {
                write_digits(&mut body[start + at..][..DIGITS], message.group);
            }
        }
        // The comma after the last message.
        body.pop();
        body.extend_from_slice(b"]}");
        body.into()
    }
}

impl Received {
    /// `None`: not a receipt handle of this queue.
    pub(super) fn of_handle(handle: &[u8]) -> Option<Self> {
        Some(Self {
            number: read_digits(handle)?,
            group: read_digits(handle.get(DIGITS..)?)?,
        })
    }
}

/// The number in a text that starts with the id of a message.
pub(super) fn number_of_id(text: &[u8]) -> Option<u64> {
    read_digits(text.get(ID_PREFIX.len()..)?)
}

fn write_digits(field: &mut [u8], mut number: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn read_digits(text: &[u8]) -> Option<u64> {
    let digits = text.get(..DIGITS)?;
    let digits = std::str::from_utf8(digits).ok()?;
    digits.parse().ok()
}
