//! The event a function receives: an envelope around rendered records.

use bytes::{BufMut, Bytes, BytesMut};

const OPEN: &[u8] = b"{\"Records\":[";
const CLOSE: &[u8] = b"]}";

/// The largest event one invocation may carry, in bytes: 6 MiB.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const PAYLOAD_LIMIT: usize = 6 * 1024 * 1024;

/// The bytes of the event around its records, commas apart.
pub const ENVELOPE_LEN: usize = OPEN.len() + CLOSE.len();

/// The size in bytes of an event of `n_records` records that are `total` bytes together.
pub const fn event_len(n_records: usize, total: usize) -> usize {
    ENVELOPE_LEN + total + n_records.saturating_sub(1)
}

/// Writes the event: `{"Records":[…]}`, records in the order given.
pub fn render<'a>(records: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let (mut n_records, mut total) = (0, 0);
    for record in records.clone() {
        n_records += 1;
        total += record.len();
    }
    let mut event = BytesMut::with_capacity(event_len(n_records, total));
    event.put_slice(OPEN);
    for (index, record) in records.enumerate() {
        if 0 < index {
            event.put_u8(b',');
        }
        event.put_slice(record);
    }
    event.put_slice(CLOSE);
    event.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_as_long_as_it_was_said_to_be() {
        let records = [Bytes::from_static(b"{\"a\":1}"), Bytes::from_static(b"{}")];
        for n in 0..=records.len() {
            let event = render(records[..n].iter());
            let total = records[..n].iter().map(Bytes::len).sum();
            assert_eq!(event.len(), event_len(n, total));
        }
        assert_eq!(&render(records.iter())[..], b"{\"Records\":[{\"a\":1},{}]}");
    }
}
