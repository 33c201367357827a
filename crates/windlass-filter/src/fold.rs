//! Texts that are compared without regard to case.

/// A text of a pattern, each character in both its cases.
///
/// A character of an event is the same as one of the pattern if it is its small or its capital
/// form, whichever of them the pattern has. The forms may differ in length: `ⱥ` has three bytes and
/// `Ⱥ` two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folded(Vec<[Box<[u8]>; 2]>);

impl Folded {
    pub(super) fn new(text: &str) -> Self {
        let forms = |character: char| {
            let small: String = character.to_lowercase().collect();
            let capital: String = character.to_uppercase().collect();
            [small, capital].map(|form| form.into_bytes().into_boxed_slice())
        };
        Self(text.chars().map(forms).collect())
    }

    /// Whether the whole of a text is this one.
    pub(super) fn equals(&self, text: &[u8]) -> bool {
        self.rest_behind(text).is_some_and(<[u8]>::is_empty)
    }

    /// Whether a text begins with this one.
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        self.rest_behind(text).is_some()
    }

    /// Whether a text ends with this one.
    pub(super) fn ends(&self, text: &[u8]) -> bool {
        let mut rest = text;
        self.0.iter().rev().all(|forms| {
            let left = forms.iter().find_map(|form| rest.strip_suffix(&**form));
            rest = left.unwrap_or_default();
            left.is_some()
        })
    }

    fn rest_behind<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let strip = |rest: &'t [u8], forms: &[Box<[u8]>; 2]| {
            forms.iter().find_map(|form| rest.strip_prefix(&**form))
        };
        self.0.iter().try_fold(text, strip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_that_of_unicode() {
        for (one, other) in [("Straße", "sTRASSE"), ("ÄÖ", "äö"), ("Ⱥx", "ⱥX"), ("", "")] {
            assert!(Folded::new(one).equals(other.as_bytes()), "{one} {other}");
        }
        assert!(!Folded::new("a").equals(b"b"));
        assert!(!Folded::new("a").equals(b"aa"));
        assert!(!Folded::new("aa").equals(b"a"));
    }

    #[test]
    fn both_ends_are_compared_alike() {
        let folded = Folded::new("aB");
        assert!(folded.begins(b"AbC") && !folded.begins(b"cab"));
        assert!(folded.ends(b"cAB") && !folded.ends(b"abc") && !folded.ends(b"b"));
    }
}
