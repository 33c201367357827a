//! Strings of a pattern that are compared without regard to case.

/// A string whose characters are kept in lower and in upper case.
///
/// A character of an event equals one of the pattern if it is the lower-case or the upper-case form
/// of it. The forms may differ in length: `ⱥ` has three bytes and `Ⱥ` two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaseInsensitive(Vec<[Box<[u8]>; 2]>);

impl CaseInsensitive {
    pub(crate) fn new(text: &str) -> Self {
        let forms = |character: char| {
            let lower: String = character.to_lowercase().collect();
            let upper: String = character.to_uppercase().collect();
            [lower, upper].map(|form| form.into_bytes().into_boxed_slice())
        };
        Self(text.chars().map(forms).collect())
    }

    pub(crate) fn equals(&self, text: &[u8]) -> bool {
        self.rest_after(text).is_some_and(<[u8]>::is_empty)
    }

    pub(crate) fn is_prefix_of(&self, text: &[u8]) -> bool {
        self.rest_after(text).is_some()
    }

    pub(crate) fn is_suffix_of(&self, text: &[u8]) -> bool {
        let mut rest = text;
        self.0.iter().rev().all(|forms| {
            let left = forms.iter().find_map(|form| rest.strip_suffix(&**form));
            rest = left.unwrap_or_default();
            left.is_some()
        })
    }

    fn rest_after<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
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
            assert!(
                CaseInsensitive::new(one).equals(other.as_bytes()),
                "{one} {other}"
            );
        }
        assert!(!CaseInsensitive::new("a").equals(b"b"));
        assert!(!CaseInsensitive::new("a").equals(b"aa"));
        assert!(!CaseInsensitive::new("aa").equals(b"a"));
    }

    #[test]
    fn prefixes_and_suffixes_ignore_case() {
        let string = CaseInsensitive::new("aB");
        assert!(string.is_prefix_of(b"AbC") && !string.is_prefix_of(b"cab"));
        assert!(
            string.is_suffix_of(b"cAB")
                && !string.is_suffix_of(b"abc")
                && !string.is_suffix_of(b"b")
        );
    }
}
