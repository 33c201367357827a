//! Rules for a single file: length, module docs, blanks, leftovers.

use super::{Files, Finding};

/// A source file with this many lines is an error.
const MAX_LINES: usize = 800;

/// A source file with this many lines is reported, but is not an error.
const WARN_LINES: usize = 500;

/// Files that are written by people and hold no data; they must not contain tabs.
const PROSE_AND_CODE: &[&str] = &[".rs", ".md", ".toml", ".yaml", ".yml", ".sh", ".c", ".xml"];

/// Markers of unfinished work. In two parts, since this file is checked as well.
const UNFINISHED: &[(&str, &str)] = &[
    ("FIX", "ME"),
    ("TO", "DO"),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("#[ign", "ore"),
    ("allow(dead", "_code"),
];

/// Home directories of one machine. In two parts, as above.
const MACHINE_PATHS: &[(&str, &str)] = &[("/ro", "ot/"), ("/ho", "me/")];

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

/// The files that are long, but not too long.
pub(super) fn notes(files: &Files) -> Vec<String> {
    files
        .iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, n_lines)| (WARN_LINES..MAX_LINES).contains(n_lines))
        .map(|(path, n_lines)| format!("{path} has {n_lines} lines; consider splitting it"))
        .collect()
}

fn source_length(path: &str, text: &str) -> Option<Finding> {
    let n_lines = text.lines().count();
    (n_lines >= MAX_LINES).then(|| {
        let text = format!("{n_lines} lines; split it, the limit is {}", MAX_LINES - 1);
        Finding::new(path, 0, text)
    })
}

fn module_doc(path: &str, text: &str) -> Option<Finding> {
    let first = text.lines().next().unwrap_or_default();
    let says_something = first
        .strip_prefix("//!")
        .is_some_and(|doc| !doc.trim().is_empty());
    (!says_something).then(|| {
        let text = "a module must start with a `//!` comment that states its purpose";
        Finding::new(path, 1, text)
    })
}

fn blanks(path: &str, text: &str) -> Vec<Finding> {
    let no_tabs = PROSE_AND_CODE.iter().any(|ending| path.ends_with(ending));
    let mut findings = Vec::new();
    for (line, number) in text.split('\n').zip(1..) {
        if line.ends_with([' ', '\t']) {
            findings.push(Finding::new(path, number, "trailing blanks"));
        } else if no_tabs && line.contains('\t') {
            findings.push(Finding::new(path, number, "a tab"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(Finding::new(
            path,
            0,
            "no line break at the end of the file",
        ));
    }
    findings
}

fn words(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for word in UNFINISHED.iter().map(join) {
            if contains_word(line, &word) {
                let text = format!("`{word}`: finish it, or open an issue for it");
                findings.push(Finding::new(path, number, text));
            }
        }
        for dir in MACHINE_PATHS.iter().map(join) {
            if line.contains(&dir) {
                let text = format!("`{dir}` is a path of one machine");
                findings.push(Finding::new(path, number, text));
            }
        }
    }
    findings
}

fn join(parts: &(&str, &str)) -> String {
    format!("{}{}", parts.0, parts.1)
}

/// Whether `line` contains `word`, and not only as a part of a longer word.
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
