//! Parses a response while it arrives.
//!
//! Every large response is an object with one long list. Bytes are parsed up to the last complete
//! element, while they are still in the cache, and then released; only the start of an incomplete
//! element is kept until the rest arrives. Neither the response nor the list is ever buffered
//! whole.

use super::json_cursor::{JsonCursor, WireError};

/// Parses the responses of one kind of call.
pub(crate) trait ResponseParser {
    type Response;

    /// Name of the list.
    const LIST: &'static [u8];

    /// Reads the next element of the list. If it fails it must not have changed anything: it is
    /// called again when more of the response has arrived.
    fn element(&mut self, cursor: &mut JsonCursor<'_>) -> Result<(), WireError>;

    /// Reads the value of another member. If two members have the same name, the last one counts.
    fn member(&mut self, cursor: &mut JsonCursor<'_>, name: &[u8]) -> Result<(), WireError>;

    /// Whether the list may be missing or null, by the members that were read.
    fn may_lack_list(&self) -> bool;

    /// The parsed response; `length` is its size in bytes.
    fn finish(self, length: usize) -> Self::Response;

    /// As [`Self::finish`], for a response that cannot be parsed from an element on, although more
    /// follows.
    fn finish_before(self, error: WireError, _length: usize) -> Result<Self::Response, WireError>
    where
        Self: Sized,
    {
        Err(error)
    }
}

/// What was received of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Missing,
    Null,
    Begun,
}

/// A partially received response.
#[derive(Debug)]
pub(crate) struct StreamingParser<P> {
    parser: P,
    expected: Expected,
    list: List,
    /// The start of an incomplete element or member.
    incomplete: Vec<u8>,
    /// Length of `incomplete` at which parsing is tried again.
    retry_len: usize,
    /// Bytes received so far.
    received: usize,
}

/// The next part of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Object,
    /// A member, or the end of an empty object.
    FirstMember,
    Member,
    AfterMember,
    /// An element, or the end of an empty list.
    FirstElement,
    Element,
    AfterElement,
    /// Nothing but white space.
    End,
}

/// Bytes to collect before an incomplete element is tried again. From then on its length must
/// double each time, so that a large element in many pieces is not parsed once per piece.
const MIN_RETRY_LEN: usize = 2048;

/// Limit of one element or member: the largest record of any service has 10 MiB of data, in base64.
/// Without a limit, an element that never ends would take all memory.
const MAX_ELEMENT_LEN: usize = 64 * 1024 * 1024;

impl<P: ResponseParser> StreamingParser<P> {
    pub(crate) const fn new(parser: P) -> Self {
        Self {
            parser,
            expected: Expected::Object,
            list: List::Missing,
            incomplete: Vec::new(),
            retry_len: 0,
            received: 0,
        }
    }

    /// Parses the next piece of the response. Malformed JSON is reported by [`Self::finish`].
    ///
    /// # Errors
    /// An element is longer than any valid one.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> Result<(), WireError> {
        self.received += piece.len();
        if MAX_ELEMENT_LEN < self.incomplete.len() {
            let reason = "element longer than 64 MiB";
            return Err(WireError::new(self.received, reason));
        }
        while !self.incomplete.is_empty() {
            let mut text = std::mem::take(&mut self.incomplete);
            let kept = text.len();
            let more = piece.len().min(self.retry_len.saturating_sub(kept));
            text.extend_from_slice(&piece[..more]);
            if text.len() < self.retry_len {
                self.incomplete = text;
                return Ok(());
            }
            let (parsed, _) = self.parse(&text);
            if kept <= parsed {
                // What follows is parsed in place.
                piece = &piece[parsed - kept..];
            } else {
                piece = &piece[more..];
                self.keep(&text[parsed..]);
            }
        }
        let (parsed, _) = self.parse(piece);
        self.keep(&piece[parsed..]);
        Ok(())
    }

    /// The response, after its last piece.
    ///
    /// # Errors
    /// It violates its protocol.
    pub(crate) fn finish(mut self) -> Result<P::Response, WireError> {
        let rest = std::mem::take(&mut self.incomplete);
        let (_, error) = self.parse(&rest);
        if let Some(error) = error {
            let is_broken = !error.is_incomplete();
            let error = error.shifted_by(self.received - rest.len());
            let in_list = matches!(self.expected, Expected::FirstElement | Expected::Element);
            if in_list && is_broken {
                return self.parser.finish_before(error, self.received);
            }
            return Err(error);
        }
        if self.expected != Expected::End {
            return Err(WireError::new(
                self.received,
                "unexpected end of the response",
            ));
        }
        if self.list != List::Begun && !self.parser.may_lack_list() {
            return Err(WireError::new(self.received, "missing list"));
        }
        Ok(self.parser.finish(self.received))
    }

    fn keep(&mut self, incomplete: &[u8]) {
        self.incomplete = incomplete.to_vec();
        self.retry_len = MIN_RETRY_LEN.max(2 * incomplete.len());
    }

    /// Parses all complete parts of a text. Returns their length, and why parsing stopped.
    fn parse(&mut self, text: &[u8]) -> (usize, Option<WireError>) {
        let mut cursor = JsonCursor::new(text);
        let mut parsed = 0;
        while parsed < text.len() {
            match self.step(&mut cursor) {
                Ok(expected) => self.expected = expected,
                Err(error) => return (parsed, Some(error)),
            }
            parsed = cursor.offset();
        }
        (parsed, None)
    }

    /// Parses the expected part and returns the one after it. Each part includes the byte that ends
    /// it, so that bytes that arrive later cannot change it.
    fn step(&mut self, cursor: &mut JsonCursor<'_>) -> Result<Expected, WireError> {
        match self.expected {
            Expected::Object => {
                cursor.expect(b'{', "expected an object")?;
                Ok(Expected::FirstMember)
            }
            Expected::FirstMember if cursor.take(b'}') => Ok(Expected::End),
            Expected::FirstMember | Expected::Member => self.member(cursor),
            Expected::AfterMember => after_member(cursor),
            Expected::FirstElement if cursor.take(b']') => Ok(Expected::AfterMember),
            Expected::FirstElement | Expected::Element => {
                self.parser.element(cursor)?;
                Ok(Expected::AfterElement)
            }
            Expected::AfterElement if cursor.take(b']') => Ok(Expected::AfterMember),
            Expected::AfterElement => {
                cursor.expect(b',', "expected a comma or the end of the array")?;
                Ok(Expected::Element)
            }
            Expected::End => {
                cursor.end()?;
                Ok(Expected::End)
            }
        }
    }

    fn member(&mut self, cursor: &mut JsonCursor<'_>) -> Result<Expected, WireError> {
        let name = cursor.member_name()?;
        if *name != *P::LIST {
            self.parser.member(cursor, &name)?;
            return after_member(cursor);
        }
        if self.list != List::Missing {
            return Err(cursor.error("second list"));
        }
        if cursor.take_null()? {
            self.list = List::Null;
            return Ok(Expected::AfterMember);
        }
        cursor.expect(b'[', "expected an array")?;
        self.list = List::Begun;
        Ok(Expected::FirstElement)
    }
}

fn after_member(cursor: &mut JsonCursor<'_>) -> Result<Expected, WireError> {
    if cursor.take(b'}') {
        return Ok(Expected::End);
    }
    cursor.expect(b',', "expected a comma or the end of the object")?;
    Ok(Expected::Member)
}

/// Parses a response that arrives in these pieces.
#[cfg(test)]
pub(crate) fn parse_pieces<P: ResponseParser>(
    pieces: &[&[u8]],
    parser: P,
) -> Result<P::Response, WireError> {
    let mut streaming = StreamingParser::new(parser);
    for piece in pieces {
        streaming.push(piece)?;
    }
    streaming.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects the elements, and counts how often one was tried.
    #[derive(Default)]
    struct Elements {
        read: Vec<String>,
        n_tries: usize,
    }

    impl ResponseParser for Elements {
        type Response = Self;

        const LIST: &'static [u8] = b"List";

        fn element(&mut self, cursor: &mut JsonCursor<'_>) -> Result<(), WireError> {
            self.n_tries += 1;
            let element = String::from_utf8_lossy(cursor.string()?);
            self.read.push(element.into_owned());
            Ok(())
        }

        fn member(&mut self, cursor: &mut JsonCursor<'_>, _: &[u8]) -> Result<(), WireError> {
            cursor.skip()
        }

        fn may_lack_list(&self) -> bool {
            false
        }

        fn finish(self, _: usize) -> Self {
            self
        }
    }

    #[test]
    fn elements_are_parsed_as_soon_as_they_are_complete() {
        let mut streaming = StreamingParser::new(Elements::default());
        for (piece, n_read) in [("{\"n\":12,\"List\":[", 0), ("\"a\",\"b\"", 2), (",\"c", 2)] {
            streaming.push(piece.as_bytes()).unwrap();
            assert_eq!(streaming.parser.read.len(), n_read, "{piece}");
        }
        streaming.push(b"\"]}").unwrap();
        assert_eq!(streaming.finish().unwrap().read, ["a", "b", "c"]);
    }

    #[test]
    fn a_large_element_is_not_parsed_once_per_piece() {
        let body = format!("{{\"List\":[\"{}\",\"b\"]}}", "a".repeat(1_000_000));
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(1000).collect();
        let elements = parse_pieces(&pieces, Elements::default()).unwrap();
        assert_eq!(elements.read.len(), 2);
        assert!(elements.n_tries < 20, "{}", elements.n_tries);
    }

    #[test]
    fn an_element_without_an_end_is_rejected_at_the_limit() {
        let mut streaming = StreamingParser::new(Elements::default());
        streaming.push(b"{\"List\":[\"").unwrap();
        let more = "a".repeat(1024 * 1024);
        let mut received = 0;
        while streaming.push(more.as_bytes()).is_ok() {
            received += more.len();
            assert!(received <= MAX_ELEMENT_LEN + more.len());
        }
    }

    #[test]
    fn an_error_has_its_offset_in_the_whole_response() {
        for (body, expected) in [
            ("{\"List\":[\"a\",\"b\",1]}", "byte 17: expected a string"),
            ("{\"List\":[]", "byte 10: unexpected end of the response"),
            (
                "{\"List\":[]} x",
                "byte 12: unexpected data after the response",
            ),
            ("{}", "byte 2: missing list"),
            ("{\"List\":null}", "byte 13: missing list"),
            ("{\"List\":null,\"List\":[]}", "byte 20: second list"),
            ("", "byte 0: unexpected end of the response"),
        ] {
            for size in [1, 7, 100] {
                let pieces: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
                let error = parse_pieces(&pieces, Elements::default()).err().unwrap();
                let error = error.to_string();
                assert!(error.ends_with(expected), "{error}");
            }
        }
    }
}
