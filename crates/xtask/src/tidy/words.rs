//! Banned words: habits of wording that the project has dropped, each with what to write instead.
//!
//! A phrase is found in any case, across line breaks, and inside identifiers and file names:
//! `passed over` also finds `passed_over` and `PassedOver`. Only wordings that are always wrong
//! belong here; this file is the only one that may contain them.

use super::{Files, Finding};

/// A phrase, and what to write instead.
const PHRASES: &[(&str, &str)] = &[
    ("are no", "are not …"),
    ("are none", "are not …, do not exist"),
    ("beside", "next to, in addition to, and"),
    ("besides", "in addition"),
    ("came of", "result, outcome"),
    ("cannot be had", "is not available"),
    ("cannot be made", "cannot create …"),
    ("come of", "result, outcome"),
    ("comes of", "results from"),
    ("dearer", "costlier, more expensive"),
    ("dearest", "costliest, most expensive"),
    ("goes on", "continues"),
    ("is no", "is not a …"),
    ("is none", "is not a …, does not exist"),
    ("known here", "expected one of …"),
    ("let go", "release, released"),
    ("lets go", "releases"),
    ("letting go", "releasing"),
    ("must lie", "must be between … and …"),
    ("no file of pem", "not a PEM file"),
    ("of which", "whose, or a sentence of its own"),
    ("pass over", "skip, filter out"),
    ("passed over", "skipped, filtered out"),
    ("passes over", "skips, filters out"),
    ("passing over", "skipping, filtering out"),
    ("sift", "filter"),
    ("sifted", "filtered"),
    ("sifting", "filtering"),
    ("sifts", "filters"),
    ("so many", "up to `limit`, or the number"),
    ("taken in", "accepted, read"),
    ("takes in", "accepts, reads"),
    ("under way", "in progress, in flight"),
    ("was no", "was not a …"),
    ("were no", "were not …"),
    ("what answers at", "the server at …"),
    ("whoever", "who it is: the client, the caller, the owner"),
];

/// Good English that contains a banned phrase.
const ALLOWED: &[&str] = &[
    "there are no",
    "there are none",
    "there is no",
    "there is none",
    "there was no",
    "there were no",
    "is no longer",
    "are no longer",
    "was no longer",
    "is no more than",
    "are no more than",
];

/// An identifier of the standard library that contains a banned phrase.
const STANDARD_NAME: &str = "is_none";

/// Identifiers, matched as they are spelled.
const NAMES: &[(&str, &str)] = &[
    ("ENOUGH", "MAX_…"),
    ("Ingredients", "DriverParts"),
    ("PATIENCE", "…_TIMEOUT"),
    ("Surroundings", "Environment"),
    ("TIP_LASTS", "…_TTL"),
];

/// First words of constants, which may be the whole name.
const CONSTANT_PREFIXES: &[(&str, &str)] = &[
    ("DEEPEST", "MAX_…_DEPTH"),
    ("FEWEST", "MIN_…"),
    ("LARGEST", "MAX_…"),
    ("LEAST", "MIN_…"),
    ("LONGEST", "MAX_…"),
    ("MAXIMUM", "MAX_…"),
    ("MINIMUM", "MIN_…"),
    ("MOST", "MAX_…"),
    ("SHORTEST", "MIN_…"),
    ("SMALLEST", "MIN_…"),
];

/// Comments that add nothing to the name below them.
const EMPTY_COMMENTS: &[&str] = &[
    "How long.",
    "How many.",
    "How much.",
    "How often.",
    "How.",
    "Its name.",
    "Its number.",
    "Missing.",
    "What happened.",
    "What.",
    "When.",
    "Where.",
    "Which.",
    "Why.",
];

/// What may precede a name where it is defined.
const MODIFIERS: &[&str] = &[
    "pub", "crate)", "super)", "async", "const", "enum", "fn", "let", "mod", "static", "struct",
    "trait", "type",
];

/// The file that may contain the banned words.
const TABLE: &str = "crates/xtask/src/tidy/words.rs";

/// Kinds of files that are written by people; mutants and scripts are added in [`prose_of`].
const WRITTEN: &[&str] = &[
    ".c", ".java", ".md", ".py", ".rs", ".service", ".sh", ".toml", ".yaml", ".yml",
];

/// Checks every file that is written by people, and its path.
pub(super) fn check_all(files: &Files) -> Vec<Finding> {
    let written = files.iter().filter(|(path, _)| path.as_str() != TABLE);
    written
        .flat_map(|(path, text)| {
            let Some(prose) = prose_of(path, text) else {
                return Vec::new();
            };
            let mut findings = check(path, &prose);
            findings.extend(phrases_in(path).map(|found| found.finding(path, 0)));
            findings
        })
        .collect()
}

/// The part of a file that is checked, with its line breaks; nothing if none of it is.
fn prose_of(path: &str, text: &str) -> Option<String> {
    if path.ends_with(".mutant") {
        // The rest is the code of another file.
        let comment = |line: &str| line.starts_with('#').then(|| line.to_owned());
        let lines: Vec<String> = text
            .lines()
            .map(|line| comment(line).unwrap_or_default())
            .collect();
        return Some(lines.join("\n"));
    }
    let is_script = path.starts_with("tests/scripts/") && path.ends_with(".txt");
    let is_written = WRITTEN.iter().any(|ending| path.ends_with(ending));
    (is_script || is_written).then(|| text.to_owned())
}

fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = phrases_in(text)
        .map(|found| found.finding(path, line_of(text, found.start)))
        .collect();
    if path.ends_with(".rs") {
        findings.extend(names_in(path, text));
        findings.extend(empty_comments(path, text));
    }
    findings
}

/// A phrase that was found.
struct Found<'text> {
    start: usize,
    text: &'text str,
    instead: &'static str,
}

impl Found<'_> {
    fn finding(&self, path: &str, line: usize) -> Finding {
        // Without what marks the start of a line of a comment, where the phrase has a line break.
        let mut words: Vec<&str> = self.text.split_whitespace().collect();
        words.retain(|word| word.contains(char::is_alphanumeric));
        let text = format!("`{}`; write: {}", words.join(" "), self.instead);
        Finding::new(path, line, text)
    }
}

fn phrases_in(text: &str) -> impl Iterator<Item = Found<'_>> {
    let words = words_of(text);
    let mut found = Vec::new();
    for at in 0..words.len() {
        for (phrase, instead) in PHRASES {
            let Some(span) = phrase_at(text, &words, at, phrase) else {
                continue;
            };
            let in_standard_name = text[span.clone()].starts_with(STANDARD_NAME);
            if !in_standard_name && !is_allowed(text, &words, at, phrase) {
                found.push(Found {
                    start: span.start,
                    text: &text[span],
                    instead,
                });
            }
        }
    }
    found.into_iter()
}

/// Whether the phrase is part of one that is good English.
fn is_allowed(text: &str, words: &[Span], at: usize, phrase: &str) -> bool {
    ALLOWED.iter().any(|allowed| {
        let offset = allowed
            .find(phrase)
            .map(|start| allowed[..start].split_whitespace().count());
        let start = offset.and_then(|offset| at.checked_sub(offset));
        start.is_some_and(|start| phrase_at(text, words, start, allowed).is_some())
    })
}

type Span = std::ops::Range<usize>;

/// Where the phrase is, if it starts at this word.
fn phrase_at(text: &str, words: &[Span], at: usize, phrase: &str) -> Option<Span> {
    let mut end = at;
    for expected in phrase.split(' ') {
        let word = words.get(end)?;
        if !text[word.clone()].eq_ignore_ascii_case(expected) {
            return None;
        }
        if end > at && !joins(&text[words[end - 1].end..word.start]) {
            return None;
        }
        end += 1;
    }
    Some(words[at].start..words[end - 1].end)
}

/// Whether two words with this between them belong to one sentence or to one identifier.
fn joins(between: &str) -> bool {
    let is_joint = |character: char| character.is_whitespace() || "_/!#\\*".contains(character);
    between.chars().all(is_joint) && !between.contains("\n\n")
}

/// The words of a text: `PassedOver` and `passed_over` are two each, as `passed over` is.
fn words_of(text: &str) -> Vec<Span> {
    let mut words = Vec::new();
    let mut start = None;
    let mut previous = ' ';
    for (at, character) in text.char_indices() {
        let is_hump = previous.is_lowercase() && character.is_uppercase();
        if let Some(from) = start
            && (is_hump || !character.is_alphanumeric())
        {
            words.push(from..at);
            start = None;
        }
        if start.is_none() && character.is_alphanumeric() {
            start = Some(at);
        }
        previous = character;
    }
    words.extend(start.map(|from| from..text.len()));
    words
}

fn names_in(path: &str, text: &str) -> Vec<Finding> {
    let is_inner = |character: char| character.is_alphanumeric() || character == '_';
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for name in line.split(|character| !is_inner(character)) {
            let instead = NAMES
                .iter()
                .find(|(banned, _)| *banned == name)
                .or_else(|| constant_prefix_of(name));
            if let Some((_, instead)) = instead {
                let text = format!("`{name}`; write: {instead}");
                findings.push(Finding::new(path, number, text));
            }
        }
    }
    findings
}

fn constant_prefix_of(name: &str) -> Option<&'static (&'static str, &'static str)> {
    let first = name.split('_').next()?;
    CONSTANT_PREFIXES
        .iter()
        .find(|(banned, _)| *banned == first)
}

/// Finds comments of one line that say nothing, or only repeat the name below them.
fn empty_comments(path: &str, text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_comment = |at: usize| lines.get(at).is_some_and(|line| line.starts_with("//"));
    let mut findings = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let alone = is_comment(at) && !is_comment(at + 1) && (at == 0 || !is_comment(at - 1));
        let comment = line.trim_start_matches('/').trim_start();
        let rest = lines.get(at + 1..).unwrap_or_default();
        let below = rest.iter().find(|line| !line.starts_with("#["));
        let repeats = below.is_some_and(|below| repeats_name(comment, below));
        if alone && (EMPTY_COMMENTS.contains(&comment) || repeats) {
            let text = format!("`{line}`; write nothing: the name says it");
            findings.push(Finding::new(path, at + 1, text));
        }
    }
    findings
}

/// Whether a comment such as `The next read.` is all that the name below it, `next_read`, says.
fn repeats_name(comment: &str, below: &str) -> bool {
    let Some(sentence) = comment.strip_suffix('.') else {
        return false;
    };
    let said: Vec<String> = sentence
        .split(' ')
        .map(str::to_lowercase)
        .filter(|word| !["a", "an", "its", "the"].contains(&word.as_str()))
        .collect();
    let name = below
        .split([':', '(', '<', ' ', ',', ';', '{', '='])
        .find(|part| !part.is_empty() && !MODIFIERS.contains(part));
    let words = name.map(|name| {
        let words = words_of(name).into_iter();
        words.map(|word| name[word].to_lowercase()).collect()
    });
    words.is_some_and(|words: Vec<String>| words == said)
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let files = Files::from([(path.to_owned(), text.to_owned())]);
        check_all(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_phrase_is_found_with_its_line_and_its_replacement() {
        assert_eq!(
            found("README.md", "One.\nIt is Passed over.\n"),
            ["README.md:2: `Passed over`; write: skipped, filtered out"]
        );
    }

    #[test]
    fn a_phrase_is_found_across_lines_and_in_identifiers_and_paths() {
        for (path, text) in [
            ("a.rs", "/// A record that is passed\n    /// over.\n"),
            ("a.rs", "let passed_over = 1;\n"),
            ("a.rs", "enum Item { PassedOver }\n"),
            ("a.rs", "let text = \"passed \\\n     over\";\n"),
            ("tests/scripts/shard/a.txt", "# passed over\n"),
            ("tests/mutants/shard/a.mutant", "# passed\n# over\n"),
            ("tests/scripts/shard/a_passed_over_b.txt", ""),
        ] {
            assert_eq!(found(path, text).len(), 1, "{path} {text}");
        }
    }

    #[test]
    fn other_words_and_other_files_are_left_alone() {
        for (path, text) in [
            ("a.rs", "// It passed. Over there is none.\n"),
            ("a.rs", "// It passed\n\n// over\n"),
            ("a.rs", "if option.is_none() || option.is_none_or(f) {}\n"),
            ("a.rs", "// There is no shard, and it is no longer read.\n"),
            ("tests/api/a.txt", "passed over\n"),
            ("tests/mutants/shard/a.mutant", "# Skips.\npassed over\n"),
            (TABLE, "passed over\n"),
        ] {
            assert_eq!(found(path, text), Vec::<String>::new(), "{path} {text}");
        }
        assert_eq!(found("a.rs", "// A shard is no queue.\n").len(), 1);
        assert_eq!(found("a.rs", "// Where a limit is none.\n").len(), 1);
    }

    #[test]
    fn names_and_constants_are_found_as_they_are_spelled() {
        let names = found(
            "a.rs",
            "use a::Surroundings;\nconst MOST_READ: u32 = LARGEST;\n",
        );
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(
            names[1].starts_with("a.rs:2: `MOST_READ`; write: MAX_"),
            "{names:?}"
        );
        assert_eq!(
            found("a.rs", "const ALMOST_: u8 = most_read;\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_comment_that_says_nothing_is_found() {
        let text = "/// Which.\nunit: Unit,\n/// Which of them reads.\nreader: u32,\n";
        let found = found("a.rs", text);
        assert_eq!(
            found,
            ["a.rs:1: `/// Which.`; write nothing: the name says it"]
        );
    }

    #[test]
    fn a_comment_that_repeats_the_name_is_found() {
        let of = |code: &str| found("a.rs", &format!("{code}\n")).len();
        assert_eq!(of("/// The next read.\npub(super) next_read: u32,"), 1);
        assert_eq!(
            of("/// A page.\n#[derive(Debug)]\npub(crate) struct Page {"),
            1
        );
        assert_eq!(of("/// The next read, in bytes.\nnext_read: u32,"), 0);
        assert_eq!(of("/// The page.\n///\n/// Never empty.\npage: Page,"), 0);
        assert_eq!(of("/// The next page.\npage: Page,"), 0);
    }

    #[test]
    fn phrases_are_in_order_and_in_lower_case() {
        for (phrase, _) in PHRASES {
            assert_eq!(*phrase, phrase.to_lowercase());
        }
        assert!(PHRASES.is_sorted(), "sort the table");
    }
}
