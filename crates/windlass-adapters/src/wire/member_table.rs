//! The members of a repeated object, looked up in the order of the previous object.

/// Members to look up in objects of one kind, and which member followed which in the last object: a
/// server writes the members of such objects in one order.
#[derive(Clone, Debug)]
pub(super) struct MemberTable<'n, T> {
    members: &'n [(&'static str, T)],
    /// Index of the member that followed each one; the first entry is for the start of the object.
    successors: [usize; MAX_MEMBERS + 1],
    /// Index in `successors` for the last member found.
    last: usize,
}

/// Limit of members of one kind of object.
const MAX_MEMBERS: usize = 7;

impl<'n, T: Copy> MemberTable<'n, T> {
    /// At most seven members in the expected order, each with its name, including quotes and colon,
    /// and its meaning.
    pub(super) fn new(members: &'n [(&'static str, T)]) -> Self {
        assert!(members.len() <= MAX_MEMBERS, "an object has few members");
        Self {
            members,
            successors: std::array::from_fn(|index| index),
            last: 0,
        }
    }

    pub(super) const fn start_object(&mut self) {
        self.last = 0;
    }

    /// Matches the predicted name, quotes and colon included, at the start of a text. Returns its
    /// length and meaning.
    pub(super) fn match_predicted(&mut self, text: &[u8]) -> Option<(usize, T)> {
        let index = self.successors[self.last];
        let (name, meaning) = self.members.get(index)?;
        if !text.starts_with(name.as_bytes()) {
            return None;
        }
        self.last = index + 1;
        Some((name.len(), *meaning))
    }

    /// Looks up a name, without quotes and colon, and predicts it for the next object.
    pub(super) fn look_up(&mut self, name: &[u8]) -> Option<T> {
        let is = |known: &str| known.as_bytes()[1..known.len() - 2] == *name;
        let index = self.members.iter().position(|(known, _)| is(known))?;
        self.successors[self.last] = index;
        self.last = index + 1;
        Some(self.members[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_last_object_is_predicted() {
        let known = [("\"a\":", 'a'), ("\"b\":", 'b'), ("\"c\":", 'c')];
        let mut table = MemberTable::new(&known);
        assert_eq!(table.match_predicted(b"\"a\":1"), Some((4, 'a')));
        assert_eq!(table.match_predicted(b"\"c\":1"), None);
        assert_eq!(table.look_up(b"c"), Some('c'));
        assert_eq!(table.look_up(b"x"), None);
        assert_eq!(table.match_predicted(b"\"b\":1"), None);
        assert_eq!(table.look_up(b"b"), Some('b'));
        table.start_object();
        for (text, meaning) in [("\"a\":", 'a'), ("\"c\":", 'c'), ("\"b\":", 'b')] {
            let found = table.match_predicted(text.as_bytes());
            assert_eq!(found, Some((4, meaning)));
        }
    }
}
