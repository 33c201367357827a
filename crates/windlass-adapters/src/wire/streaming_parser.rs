//! An answer that is walked while it arrives.
//!
//! Every answer that is large is one object with one long list. What has arrived is read up to the
//! last element that is whole, while it is still warm, and its room given back; only what an element
//! begins with is kept until the rest of it is there. Neither the answer nor the list has to be
//! gathered first.

use super::cursor::{Cursor, WireError};

/// What is made of the answers of one kind of call.
pub(crate) trait Walker {
    /// What an answer says.
    type Answer;

    /// The name of the list.
    const LIST: &'static [u8];

    /// Whether the list may be missing, or null.
    const LIST_IS_OPTIONAL: bool;

    /// Reads the next element of the list. Where it fails it must have changed nothing: it is called
    /// again when more of the answer is there.
    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), WireError>;

    /// Reads the value of another member; of two with one name the last one counts.
    fn member(&mut self, cursor: &mut Cursor<'_>, name: &[u8]) -> Result<(), WireError>;

    /// What the answer says, which had so many bytes.
    fn finish(self, length: usize) -> Self::Answer;
}

/// An answer of which a part has arrived.
#[derive(Debug)]
pub(crate) struct Arriving<W> {
    walker: W,
    next: Next,
    /// Whether the list has begun.
    listed: bool,
    /// What has been read in part: the start of an element, or of a member.
    rest: Vec<u8>,
    /// How long `rest` must be until it is tried again.
    enough: usize,
    /// How many bytes have arrived.
    length: usize,
}

/// What comes next in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Object,
    /// A member, or the end of an object that has none.
    FirstMember,
    Member,
    AfterMember,
    /// An element, or the end of a list that has none.
    FirstElement,
    Element,
    AfterElement,
    /// Nothing any more.
    End,
}

/// So much is waited for before what was cut off is tried again. Then it must have doubled each
/// time, so that a large element in many pieces is not read once for each of them.
const ENOUGH: usize = 2048;

/// No element is larger, and no other member: the largest record of any service has 10 MiB of data,
/// in base64. Without a limit one that does not end would be given all memory.
const LARGEST: usize = 64 * 1024 * 1024;

impl<W: Walker> Arriving<W> {
    /// An answer of which nothing has arrived.
    pub(crate) const fn new(walker: W) -> Self {
        Self {
            walker,
            next: Next::Object,
            listed: false,
            rest: Vec::new(),
            enough: 0,
            length: 0,
        }
    }

    /// Reads what more has arrived. That it is malformed shows when the answer is finished.
    ///
    /// # Errors
    /// If one element is larger than any can be.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> Result<(), WireError> {
        self.length += piece.len();
        if LARGEST < self.rest.len() {
            let what = "something is larger than all that is known";
            return Err(WireError::at(self.length, what));
        }
        while !self.rest.is_empty() {
            let mut rest = std::mem::take(&mut self.rest);
            let begun = rest.len();
            let more = piece.len().min(self.enough.saturating_sub(begun));
            rest.extend_from_slice(&piece[..more]);
            if rest.len() < self.enough {
                self.rest = rest;
                return Ok(());
            }
            let (read, _) = self.walk(&rest);
            if begun <= read {
                // What follows is read from where it is.
                piece = &piece[read - begun..];
            } else {
                piece = &piece[more..];
                self.keep(&rest[read..]);
            }
        }
        let (read, _) = self.walk(piece);
        self.keep(&piece[read..]);
        Ok(())
    }

    /// What the answer says, all of which has arrived.
    ///
    /// # Errors
    /// If it is not what its protocol says.
    pub(crate) fn finish(mut self) -> Result<W::Answer, WireError> {
        let rest = std::mem::take(&mut self.rest);
        let (_, error) = self.walk(&rest);
        if let Some(error) = error {
            return Err(error.behind(self.length - rest.len()));
        }
        if self.next != Next::End {
            return Err(WireError::at(self.length, "it ends too early"));
        }
        if !self.listed && !W::LIST_IS_OPTIONAL {
            // Without this, an answer that says nothing would be taken for the end of a shard.
            let what = "it has no list, not even an empty one";
            return Err(WireError::at(self.length, what));
        }
        Ok(self.walker.finish(self.length))
    }

    fn keep(&mut self, rest: &[u8]) {
        self.rest = rest.to_vec();
        self.enough = ENOUGH.max(2 * rest.len());
    }

    /// Reads what is whole of a text: how many bytes that is, and why no more of them.
    fn walk(&mut self, text: &[u8]) -> (usize, Option<WireError>) {
        let mut cursor = Cursor::new(text);
        let mut read = 0;
        while read < text.len() {
            match self.step(&mut cursor) {
                Ok(next) => self.next = next,
                Err(error) => return (read, Some(error)),
            }
            read = cursor.place();
        }
        (read, None)
    }

    /// Reads what comes next, and says what comes then. It ends at a byte that ends it, so that what
    /// follows cannot change it.
    fn step(&mut self, cursor: &mut Cursor<'_>) -> Result<Next, WireError> {
        match self.next {
            Next::Object => {
                cursor.expect(b'{', "an object was expected")?;
                Ok(Next::FirstMember)
            }
            Next::FirstMember if cursor.take(b'}') => Ok(Next::End),
            Next::FirstMember | Next::Member => self.member(cursor),
            Next::AfterMember => after_member(cursor),
            Next::FirstElement if cursor.take(b']') => Ok(Next::AfterMember),
            Next::FirstElement | Next::Element => {
                self.walker.element(cursor)?;
                Ok(Next::AfterElement)
            }
            Next::AfterElement if cursor.take(b']') => Ok(Next::AfterMember),
            Next::AfterElement => {
                cursor.expect(b',', "a comma or the end of the array was expected")?;
                Ok(Next::Element)
            }
            Next::End => {
                cursor.end()?;
                Ok(Next::End)
            }
        }
    }

    fn member(&mut self, cursor: &mut Cursor<'_>) -> Result<Next, WireError> {
        let name = cursor.member_name()?;
        if *name != *W::LIST {
            self.walker.member(cursor, &name)?;
            return after_member(cursor);
        }
        if self.listed {
            return Err(cursor.error("a second list"));
        }
        if W::LIST_IS_OPTIONAL && cursor.value_is_null()? {
            self.listed = true;
            return Ok(Next::AfterMember);
        }
        cursor.expect(b'[', "an array was expected")?;
        self.listed = true;
        Ok(Next::FirstElement)
    }
}

fn after_member(cursor: &mut Cursor<'_>) -> Result<Next, WireError> {
    if cursor.take(b'}') {
        return Ok(Next::End);
    }
    cursor.expect(b',', "a comma or the end of the object was expected")?;
    Ok(Next::Member)
}

/// What an answer says that arrives in these pieces.
#[cfg(test)]
pub(crate) fn read<W: Walker>(pieces: &[&[u8]], walker: W) -> Result<W::Answer, WireError> {
    let mut arriving = Arriving::new(walker);
    for piece in pieces {
        arriving.push(piece)?;
    }
    arriving.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the elements as they are, and counts how often it was asked for one.
    #[derive(Default)]
    struct Elements {
        read: Vec<String>,
        asked: usize,
    }

    impl Walker for Elements {
        type Answer = Self;

        const LIST: &'static [u8] = b"List";
        const LIST_IS_OPTIONAL: bool = false;

        fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), WireError> {
            self.asked += 1;
            let element = String::from_utf8_lossy(cursor.string()?);
            self.read.push(element.into_owned());
            Ok(())
        }

        fn member(&mut self, cursor: &mut Cursor<'_>, _: &[u8]) -> Result<(), WireError> {
            cursor.skip()
        }

        fn finish(self, _: usize) -> Self {
            self
        }
    }

    #[test]
    fn elements_are_read_as_soon_as_they_are_whole() {
        let mut arriving = Arriving::new(Elements::default());
        for (piece, n_read) in [("{\"n\":12,\"List\":[", 0), ("\"a\",\"b\"", 2), (",\"c", 2)] {
            arriving.push(piece.as_bytes()).unwrap();
            assert_eq!(arriving.walker.read.len(), n_read, "{piece}");
        }
        arriving.push(b"\"]}").unwrap();
        assert_eq!(arriving.finish().unwrap().read, ["a", "b", "c"]);
    }

    #[test]
    fn a_large_element_in_many_pieces_is_not_read_for_each() {
        let body = format!("{{\"List\":[\"{}\",\"b\"]}}", "a".repeat(1_000_000));
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(1000).collect();
        let elements = read(&pieces, Elements::default()).unwrap();
        assert_eq!(elements.read.len(), 2);
        assert!(elements.asked < 20, "{}", elements.asked);
    }

    #[test]
    fn an_element_without_end_is_not_waited_for() {
        let mut arriving = Arriving::new(Elements::default());
        arriving.push(b"{\"List\":[\"").unwrap();
        let more = "a".repeat(1024 * 1024);
        let mut read = 0;
        while arriving.push(more.as_bytes()).is_ok() {
            read += more.len();
            assert!(read <= LARGEST + more.len());
        }
    }

    #[test]
    fn an_error_has_its_place_in_the_whole_answer() {
        for (body, error) in [
            (
                "{\"List\":[\"a\",\"b\",1]}",
                "byte 17: a string was expected",
            ),
            ("{\"List\":[]", "byte 10: it ends too early"),
            ("{\"List\":[]} x", "byte 12: something follows the answer"),
            ("{}", "byte 2: it has no list, not even an empty one"),
            ("", "byte 0: it ends too early"),
        ] {
            for size in [1, 7, 100] {
                let pieces: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
                let found = read(&pieces, Elements::default()).err().unwrap();
                let found = found.to_string();
                assert!(found.ends_with(error), "{found}");
            }
        }
    }
}
