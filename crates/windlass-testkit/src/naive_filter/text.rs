//! Wildcards, and strings compared without regard to case.

/// A wildcard pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wildcard(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    One(char),
    Any,
}

impl Wildcard {
    /// Parses `a*b`; `\*` and `\\` are literal.
    pub(super) fn of(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '*' if chars.peek() == Some(&'*') => {
                    return Err(format!("consecutive wildcards in `{text}`"));
                }
                '*' => parts.push(Part::Any),
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '\\')) => parts.push(Part::One(escaped)),
                    Some(_) | None => return Err(format!("invalid escape in `{text}`")),
                },
                other => parts.push(Part::One(other)),
            }
        }
        Ok(Self(parts))
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        parts_match(&self.0, &chars)
    }
}

fn parts_match(parts: &[Part], chars: &[char]) -> bool {
    match parts.split_first() {
        None => chars.is_empty(),
        Some((Part::One(expected), rest)) => {
            chars.first() == Some(expected) && parts_match(rest, &chars[1..])
        }
        Some((Part::Any, rest)) => {
            (0..=chars.len()).any(|n_skipped| parts_match(rest, &chars[n_skipped..]))
        }
    }
}

/// A string whose characters match in lower and in upper case.
///
/// A form may be longer than the character: `ß` becomes `SS`. Only the pattern's characters are
/// converted, so `ß` accepts `SS`, but `SS` does not accept `ß`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EitherCase(Vec<[String; 2]>);

impl EitherCase {
    pub(super) fn of(text: &str) -> Self {
        let forms = |char: char| [char.to_lowercase().collect(), char.to_uppercase().collect()];
        Self(text.chars().map(forms).collect())
    }

    pub(super) fn equals(&self, text: &str) -> bool {
        self.rests(text).iter().any(|rest| rest.is_empty())
    }

    pub(super) fn begins(&self, text: &str) -> bool {
        !self.rests(text).is_empty()
    }

    pub(super) fn ends(&self, text: &str) -> bool {
        let mut offsets = (0..=text.len()).filter(|offset| text.is_char_boundary(*offset));
        offsets.any(|offset| self.equals(&text[offset..]))
    }

    /// The possible rests of `text` after this string.
    fn rests<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut rests = vec![text];
        for forms in &self.0 {
            rests = rests
                .iter()
                .flat_map(|rest| {
                    forms
                        .iter()
                        .filter_map(|form| rest.strip_prefix(form.as_str()))
                })
                .collect();
            rests.dedup();
        }
        rests
    }
}
