//! Texts with `*` for any run of characters.

use memchr::memmem;

/// The literal parts between the stars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wildcard {
    /// What comes before the first star; the whole text if there is none.
    first: Vec<u8>,
    /// What comes behind each star; the last of them ends the text.
    others: Vec<Vec<u8>>,
}

impl Wildcard {
    /// Reads a text in which `\*` and `\\` stand for themselves.
    ///
    /// # Errors
    /// Why it is none, with the number of bytes before the place.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut parts = vec![Vec::new()];
        let mut bytes = text.bytes().enumerate().peekable();
        while let Some((at, byte)) = bytes.next() {
            let next = bytes.peek().map(|(_, next)| *next);
            match (byte, next) {
                (b'*', Some(b'*')) => return Err((at, "two stars in a row")),
                (b'*', _) => parts.push(Vec::new()),
                (b'\\', Some(escaped @ (b'*' | b'\\'))) => {
                    parts.last_mut().expect("there is a first").push(escaped);
                    bytes.next();
                }
                (b'\\', _) => return Err((at, "a backslash escapes only a star or a backslash")),
                (other, _) => parts.last_mut().expect("there is a first").push(other),
            }
        }
        let others = parts.split_off(1);
        let first = parts.pop().expect("there is a first");
        Ok(Self { first, others })
    }

    /// Whether the whole of a text fits.
    ///
    /// Each part is taken where it is found first: what fits at all fits so, and nothing is tried
    /// twice.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
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
    fn a_star_is_any_run_of_characters() {
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
    fn what_is_wrong_has_a_place() {
        assert_eq!(Wildcard::parse("ab**").unwrap_err().0, 2);
        assert_eq!(Wildcard::parse(r"a\b").unwrap_err().0, 1);
        assert_eq!(Wildcard::parse(r"a\").unwrap_err().0, 1);
    }
}
