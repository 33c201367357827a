//! Wildcards: strings in which `*` stands for any number of characters.

use memchr::memmem;

/// The literal parts of a wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wildcard {
    /// Before the first `*`; the whole string if it has none.
    first: Vec<u8>,
    /// After each `*`; the last one ends the string.
    others: Vec<Vec<u8>>,
}

impl Wildcard {
    /// `\*` and `\\` stand for the characters themselves.
    ///
    /// # Errors
    /// Byte offset and reason.
    pub(crate) fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut parts = vec![Vec::new()];
        let mut bytes = text.bytes().enumerate().peekable();
        while let Some((offset, byte)) = bytes.next() {
            let next = bytes.peek().map(|(_, next)| *next);
            match (byte, next) {
                (b'*', Some(b'*')) => {
                    return Err((offset, "consecutive wildcards are not allowed"));
                }
                (b'*', _) => parts.push(Vec::new()),
                (b'\\', Some(escaped @ (b'*' | b'\\'))) => {
                    parts.last_mut().expect("there is a first").push(escaped);
                    bytes.next();
                }
                (b'\\', _) => return Err((offset, "a backslash can only escape `*` or `\\`")),
                (other, _) => parts.last_mut().expect("there is a first").push(other),
            }
        }
        let others = parts.split_off(1);
        let first = parts.pop().expect("there is a first");
        Ok(Self { first, others })
    }

    /// Each part is matched at its first occurrence: if the string matches at all, it matches this
    /// way, so there is no backtracking.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let Some((last, between)) = self.others.split_last() else {
            return text == self.first;
        };
        let Some(rest) = text.strip_prefix(&*self.first) else {
            return false;
        };
        let Some(mut rest) = rest.strip_suffix(&**last) else {
            return false;
        };
        for part in between {
            let Some(found) = memmem::find(rest, part) else {
                return false;
            };
            rest = &rest[found + part.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let wildcard = Wildcard::parse(pattern).unwrap();
        assert_eq!(
            wildcard.matches(text.as_bytes()),
            expected,
            "{pattern} {text}"
        );
    }

    #[test]
    fn a_star_matches_any_number_of_characters() {
        check("a*c", "abc", true);
        check("a*c", "ac", true);
        check("a*c", "abcd", false);
        check("*", "", true);
        check("", "", true);
        check("", "a", false);
        check("*a*b*", "xxaxxbxx", true);
        check("*a*b*", "xxbxxaxx", false);
        check("a*a", "a", false);
        check("ab*ba", "aba", false);
        check("*.png", "x.png.png", true);
        check(r"a\*\\*", r"a*\x", true);
        check(r"a\*", "ab", false);
    }

    #[test]
    fn errors_carry_the_offset() {
        assert_eq!(Wildcard::parse("ab**").unwrap_err().0, 2);
        assert_eq!(Wildcard::parse(r"a\b").unwrap_err().0, 1);
        assert_eq!(Wildcard::parse(r"a\").unwrap_err().0, 1);
    }
}
