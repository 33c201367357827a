//! The names of an object's members, looked for in the order in which they came before.

/// The names that are looked for in objects of one kind, and which came after which the last time:
/// whoever writes such objects does it in one order.
#[derive(Clone, Debug)]
pub(super) struct Names<'n, T> {
    known: &'n [(&'static str, T)],
    /// Which name came after each; the first is for the start of the object.
    follows: [usize; MOST_NAMES + 1],
    /// The place in `follows` of the name that came last.
    last: usize,
}

/// Most names of one kind of object.
const MOST_NAMES: usize = 7;

impl<'n, T: Copy> Names<'n, T> {
    /// At most seven names, each with its quotes and its colon and with what it stands for, in the
    /// order that is expected.
    pub(super) fn new(known: &'n [(&'static str, T)]) -> Self {
        assert!(known.len() <= MOST_NAMES, "an object has few names");
        Self {
            known,
            follows: std::array::from_fn(|place| place),
            last: 0,
        }
    }

    /// An object begins.
    pub(super) const fn begin(&mut self) {
        self.last = 0;
    }

    /// If the text begins with the name that is expected: its length there, and what it stands for.
    pub(super) fn expected(&mut self, text: &[u8]) -> Option<(usize, T)> {
        let place = self.follows[self.last];
        let (name, meaning) = self.known.get(place)?;
        if !text.starts_with(name.as_bytes()) {
            return None;
        }
        self.last = place + 1;
        Some((name.len(), *meaning))
    }

    /// What a name, without its quotes, stands for, if it is one of them.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<T> {
        let is = |known: &str| known.as_bytes()[1..known.len() - 2] == *name;
        let place = self.known.iter().position(|(known, _)| is(known))?;
        self.follows[self.last] = place;
        self.last = place + 1;
        Some(self.known[place].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_learnt() {
        let known = [("\"a\":", 'a'), ("\"b\":", 'b'), ("\"c\":", 'c')];
        let mut names = Names::new(&known);
        assert_eq!(names.expected(b"\"a\":1"), Some((4, 'a')));
        assert_eq!(names.expected(b"\"c\":1"), None);
        assert_eq!(names.find(b"c"), Some('c'));
        assert_eq!(names.find(b"x"), None);
        assert_eq!(names.expected(b"\"b\":1"), None);
        assert_eq!(names.find(b"b"), Some('b'));
        names.begin();
        for (text, meaning) in [("\"a\":", 'a'), ("\"c\":", 'c'), ("\"b\":", 'b')] {
            assert_eq!(names.expected(text.as_bytes()), Some((4, meaning)));
        }
    }
}
