//! Texts that match without being equal: wildcards, and letters of either case.

/// A wildcard pattern: characters, and places where anything may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wildcard(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    One(char),
    Any,
}

impl Wildcard {
    /// Reads `a*b`; `\*` and `\\` stand for the characters themselves.
    pub(super) fn of(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '*' if chars.peek() == Some(&'*') => {
                    return Err(format!("two wildcards follow each other in `{text}`"));
                }
                '*' => parts.push(Part::Any),
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '\\')) => parts.push(Part::One(escaped)),
                    Some(_) | None => return Err(format!("a wrong escape in `{text}`")),
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
        Some((Part::One(wanted), rest)) => {
            chars.first() == Some(wanted) && parts_match(rest, &chars[1..])
        }
        Some((Part::Any, rest)) => {
            (0..=chars.len()).any(|n_skipped| parts_match(rest, &chars[n_skipped..]))
        }
    }
}

/// A text of which every character stands for its small form and for its capital form.
///
/// A form may be longer than the character, `ß` has `SS`. The forms are those of the pattern's
/// characters alone, so `ß` accepts `SS`, but `SS` does not accept `ß`.
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
        let mut places = (0..=text.len()).filter(|place| text.is_char_boundary(*place));
        places.any(|place| self.equals(&text[place..]))
    }

    /// What can be left of a text behind this one.
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
