//! The rules for scripts: what each of them contains, and that the index lists all of them.

use std::collections::BTreeSet;

use super::{Files, Finding};

const SCRIPTS: &str = "tests/scripts/";
const INDEX: &str = "tests/scripts/README.md";

/// Checks every script, and compares the index with the files.
pub(super) fn check(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut scripts = BTreeSet::new();
    for (path, text) in files {
        let script = path.strip_prefix(SCRIPTS);
        if let Some(name) = script.and_then(|path| path.strip_suffix(".txt")) {
            scripts.insert(name);
            findings.extend(first_comment(path, text));
            findings.extend(last_expectation(path, text));
        }
    }
    findings.extend(check_index(files, &scripts));
    findings
}

/// The index names a script by its path from `tests/scripts`, without its ending, in backticks.
fn check_index(files: &Files, scripts: &BTreeSet<&str>) -> Vec<Finding> {
    let Some(index) = files.get(INDEX) else {
        return vec![Finding::new(
            INDEX,
            0,
            "the index of the scripts is missing",
        )];
    };
    let dirs: BTreeSet<&str> = scripts.iter().filter_map(|name| dir_of(name)).collect();
    let mut listed = BTreeSet::new();
    let mut findings = Vec::new();
    for (line, number) in index.lines().zip(1..) {
        for name in line.split('`').skip(1).step_by(2) {
            let is_script = dir_of(name).is_some_and(|dir| dirs.contains(dir));
            if is_script && !name.contains([' ', '*', ':']) && !name.ends_with('/') {
                listed.insert(name);
                if !scripts.contains(name) {
                    let text = format!("there is no script `{name}`");
                    findings.push(Finding::new(INDEX, number, text));
                }
            }
        }
    }
    for name in scripts.difference(&listed) {
        let text = format!("the index does not list the script `{name}`");
        findings.push(Finding::new(INDEX, 0, text));
    }
    findings
}

fn dir_of(name: &str) -> Option<&str> {
    name.split_once('/').map(|(dir, _)| dir)
}

fn first_comment(path: &str, text: &str) -> Option<Finding> {
    let comment = text.lines().next().and_then(|line| line.strip_prefix("# "));
    comment.is_none().then(|| {
        let text = "a script starts with a comment that states the rule it shows";
        Finding::new(path, 1, text)
    })
}

/// A script is read block by block, and a block without an expectation asserts nothing. The last
/// one is where a forgotten expectation goes unnoticed.
fn last_expectation(path: &str, text: &str) -> Option<Finding> {
    let last_block: Vec<&str> = text
        .trim_end()
        .rsplit("\n\n")
        .next()
        .unwrap_or_default()
        .lines()
        .collect();
    let expectation = last_block.iter().position(|line| is_separator(line));
    let ends_in_expectation = expectation.is_some_and(|at| at + 1 < last_block.len());
    (!ends_in_expectation).then(|| {
        let text = "the last block has no expectation below a line of dashes";
        Finding::new(path, 0, text)
    })
}

fn is_separator(line: &str) -> bool {
    line.len() >= 3 && line.bytes().all(|byte| byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(index: &str, scripts: &[(&str, &str)]) -> Vec<String> {
        let mut files = Files::from([(INDEX.to_owned(), index.to_owned())]);
        for (name, text) in scripts {
            files.insert(format!("{SCRIPTS}{name}.txt"), (*text).to_owned());
        }
        check(&files).iter().map(ToString::to_string).collect()
    }

    const COMPLETE: &str = "# A rule.\npage 1 2\n---\nread\n\nfail b1\n---\ninvoke b2\n";

    #[test]
    fn a_script_without_its_last_expectation_is_found() {
        let index = "`shard/one`\n";
        assert_eq!(
            findings(index, &[("shard/one", COMPLETE)]),
            Vec::<String>::new()
        );
        for text in [
            "# A rule.\npage 1\n---\nread\n\nfail b1\n",
            "# A rule.\npage 1\n---\n",
        ] {
            let found = findings(index, &[("shard/one", text)]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].contains("the last block has no expectation"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_script_without_its_first_comment_is_found() {
        let found = findings("`shard/one`\n", &[("shard/one", "page 1 2\n---\nread\n")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("tests/scripts/shard/one.txt:1: a script starts"),
            "{found:?}"
        );
    }

    #[test]
    fn the_index_and_the_scripts_must_agree() {
        let index = "| rule | script |\n| a | `shard/one`, `queue/two` |\n`cargo test x/y`\n";
        let found = findings(index, &[("shard/one", COMPLETE), ("queue/three", COMPLETE)]);
        assert_eq!(
            found,
            [
                "tests/scripts/README.md:2: there is no script `queue/two`",
                "tests/scripts/README.md: the index does not list the script `queue/three`",
            ]
        );
    }

    #[test]
    fn a_missing_index_is_found() {
        let found = check(&Files::new());
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .to_string()
                .contains("the index of the scripts is missing")
        );
    }
}
