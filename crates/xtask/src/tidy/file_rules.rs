//! The rules that look at one file at a time.

use super::{Files, Finding};

/// Longest source file; see [`WARN_LINES`].
const MAX_LINES: usize = 800;

/// A source file this long is mentioned, so that somebody asks whether it is two.
const WARN_LINES: usize = 500;

/// Files that are written by people and hold no data: no tab may stand in them.
const PROSE_AND_CODE: &[&str] = &[".rs", ".md", ".toml", ".yaml", ".yml", ".sh", ".c", ".xml"];

/// What is left standing when something was not finished. In two parts, since this file is checked
/// as well.
const UNFINISHED: &[(&str, &str)] = &[
    ("FIX", "ME"),
    ("TO", "DO"),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("#[ign", "ore"),
    ("allow(dead", "_code"),
];

/// Where one machine keeps the files of its users. In two parts, as above.
const MACHINE_PATHS: &[(&str, &str)] = &[("/ro", "ot/"), ("/ho", "me/")];

/// Every rule on one file.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if path.ends_with(".rs") {
        findings.extend(source_length(path, text));
        findings.extend(module_doc(path, text));
    }
    if !is_generated(path) {
        findings.extend(blanks(path, text));
        findings.extend(words(path, text));
    }
    findings
}

/// The files that are long enough to be mentioned, and allowed.
pub(super) fn notes(files: &Files) -> Vec<String> {
    files
        .iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, n_lines)| (WARN_LINES..MAX_LINES).contains(n_lines))
        .map(|(path, n_lines)| format!("{path} has {n_lines} lines: is it one thing?"))
        .collect()
}

fn source_length(path: &str, text: &str) -> Option<Finding> {
    let n_lines = text.lines().count();
    (n_lines >= MAX_LINES).then(|| {
        let text = format!("{n_lines} lines; {MAX_LINES} are too many, divide it");
        Finding::new(path, 0, text)
    })
}

fn module_doc(path: &str, text: &str) -> Option<Finding> {
    let first = text.lines().next().unwrap_or_default();
    let says_something = first
        .strip_prefix("//!")
        .is_some_and(|doc| !doc.trim().is_empty());
    (!says_something).then(|| {
        let text = "a module starts with `//!` and a sentence that says what it is";
        Finding::new(path, 1, text)
    })
}

fn blanks(path: &str, text: &str) -> Vec<Finding> {
    let no_tabs = PROSE_AND_CODE.iter().any(|ending| path.ends_with(ending));
    let mut findings = Vec::new();
    for (line, number) in text.split('\n').zip(1..) {
        if line.ends_with([' ', '\t']) {
            findings.push(Finding::new(path, number, "blanks at the end of the line"));
        } else if no_tabs && line.contains('\t') {
            findings.push(Finding::new(path, number, "a tab"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(Finding::new(path, 0, "the last line does not end"));
    }
    findings
}

fn words(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for word in UNFINISHED.iter().map(join) {
            if contains_word(line, &word) {
                let text = format!("`{word}`: finish it, or say in an issue why it stays");
                findings.push(Finding::new(path, number, text));
            }
        }
        for dir in MACHINE_PATHS.iter().map(join) {
            if line.contains(&dir) {
                let text = format!("`{dir}` exists on somebody's machine only");
                findings.push(Finding::new(path, number, text));
            }
        }
    }
    findings
}

fn join(parts: &(&str, &str)) -> String {
    format!("{}{}", parts.0, parts.1)
}

/// Whether `word` stands in `line` and is not part of a longer one.
fn contains_word(line: &str, word: &str) -> bool {
    let is_inner = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    line.match_indices(word).any(|(start, _)| {
        let before = start.checked_sub(1).map(|at| line.as_bytes()[at]);
        let after = line.as_bytes().get(start + word.len()).copied();
        let open_end = word.ends_with('(');
        !is_inner(before) && (open_end || !is_inner(after))
    })
}

fn is_generated(path: &str) -> bool {
    path.ends_with(".lock") || path.ends_with("package-lock.json")
}
