//! Messages of an event stream, as AWS sends them.
//!
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>

use bytes::{BufMut as _, Bytes};

/// The type of a header's value that is text.
const TEXT: u8 = 7;

/// The first message of a stream.
pub(crate) fn initial_response() -> Bytes {
    encode("event", ":event-type", "initial-response", b"{}")
}

pub(crate) fn event(name: &str, payload: &[u8]) -> Bytes {
    encode("event", ":event-type", name, payload)
}

pub(crate) fn exception(name: &str, payload: &[u8]) -> Bytes {
    encode("exception", ":exception-type", name, payload)
}

fn encode(kind: &str, name_header: &str, name: &str, payload: &[u8]) -> Bytes {
    let content_type = "application/x-amz-json-1.1";
    let mut headers = Vec::new();
    for (name, value) in [
        (":message-type", kind),
        (name_header, name),
        (":content-type", content_type),
    ] {
        headers.put_u8(u8::try_from(name.len()).expect("names are short"));
        headers.put_slice(name.as_bytes());
        headers.put_u8(TEXT);
        headers.put_u16(u16::try_from(value.len()).expect("values are short"));
        headers.put_slice(value.as_bytes());
    }
    // Lengths and checksums of four bytes each: three before the headers, one after the payload.
    let total = headers.len() + payload.len() + 4 * 4;
    let length = |length: usize| u32::try_from(length).expect("a page has a limit");
    let mut message = Vec::with_capacity(total);
    message.put_u32(length(total));
    message.put_u32(length(headers.len()));
    message.put_u32(crc32fast::hash(&message));
    message.put_slice(&headers);
    message.put_slice(payload);
    message.put_u32(crc32fast::hash(&message));
    message.into()
}
