//! A mutant: a find-and-replace patch that breaks the code on purpose.
//!
//! ```text
//! # A checkpoint passes the records that are still in flight.
//! file: crates/windlass-core/src/progress.rs
//! <<<<<<< find
//! …
//! =======
//! …
//! >>>>>>>
//! ```
//!
//! A mutant may have several blocks, for one file or several. The line break before a marker is not
//! part of the text: to end a text with a line break, leave an empty line before the marker.
//!
//! It is best to change functions from within: a mutant that changes a constant, a signature or a
//! `const fn` needs a program of its own, which takes seconds to build.

use std::iter::Peekable;
use std::str::Lines;

use anyhow::{Context, Result, bail};

use super::source_copy::Texts;

const FILE: &str = "file:";
const FIND: &str = "<<<<<<<";
const REPLACE: &str = "=======";
const END: &str = ">>>>>>>";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    /// The fault, in words.
    pub(super) breaks: String,
    changes: Vec<Change>,
}

/// One replacement in one file.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// Relative to the root of the repository.
    file: String,
    find: String,
    replace: String,
}

impl Mutant {
    /// Reads the text of a mutant's file.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().peekable();
        let mut breaks = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('#') || line.is_empty()) {
            breaks.extend(line.strip_prefix('#').map(str::trim));
        }
        if breaks.is_empty() {
            bail!("the first line must be a `#` comment that states what the mutant breaks");
        }
        let mut file = None;
        let mut changes = Vec::new();
        while let Some(line) = lines.next() {
            if let Some(path) = line.strip_prefix(FILE) {
                file = Some(path.trim().to_owned());
            } else if line.starts_with(FIND) {
                let file = file.clone().context("a block precedes the first `file:`")?;
                changes.push(Change::parse(file, &mut lines)?);
            } else if !line.trim().is_empty() {
                bail!("`{line}` is neither `{FILE}` nor the start of a block");
            }
        }
        if changes.is_empty() {
            bail!("it has no block to find and replace");
        }
        Ok(Self {
            breaks: breaks.join(" "),
            changes,
        })
    }

    /// The texts of the files that it changes, with the fault.
    pub(super) fn apply(&self, read: impl Fn(&str) -> Result<String>) -> Result<Texts> {
        let mut texts = Texts::new();
        for change in &self.changes {
            let text = match texts.get(&change.file) {
                Some(text) => change.apply(text)?,
                None => change.apply(&read(&change.file)?)?,
            };
            texts.insert(change.file.clone(), text);
        }
        Ok(texts)
    }
}

impl Change {
    /// Replaces the text, which must occur exactly once.
    fn apply(&self, text: &str) -> Result<String> {
        match text.matches(&self.find).count() {
            1 => Ok(text.replacen(&self.find, &self.replace, 1)),
            n_found => bail!(
                "its text occurs {n_found} times in {}, expected once; has the code changed?\n{}",
                self.file,
                self.find
            ),
        }
    }

    fn parse(file: String, lines: &mut Peekable<Lines<'_>>) -> Result<Self> {
        let find = block(lines, REPLACE)?;
        let replace = block(lines, END)?;
        if find.trim().is_empty() {
            bail!("a block for {file} has no text to find");
        }
        if find == replace {
            bail!("a block for {file} changes nothing");
        }
        Ok(Self {
            file,
            find,
            replace,
        })
    }
}

fn block(lines: &mut Peekable<Lines<'_>>, end: &str) -> Result<String> {
    let mut block = Vec::new();
    for line in lines {
        if line.starts_with(end) {
            return Ok(block.join("\n"));
        }
        block.push(line);
    }
    bail!("a block has no closing `{end}`");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Saves too much.\n# And too early.\n\nfile: a.rs\n\
        <<<<<<< find\n    one();\n    two();\n=======\n    two();\n>>>>>>>\n";

    #[test]
    fn a_mutant_is_read_and_applied() {
        let mutant = Mutant::parse(TEXT).unwrap();
        assert_eq!(mutant.breaks, "Saves too much. And too early.");
        let [change] = mutant.changes.as_slice() else {
            panic!("{mutant:?}");
        };
        assert_eq!(change.file, "a.rs");
        let mutated = change.apply("{\n    one();\n    two();\n}\n").unwrap();
        assert_eq!(mutated, "{\n    two();\n}\n");
    }

    #[test]
    fn several_blocks_may_name_several_files() {
        let more = "<<<<<<<\nb\n=======\n>>>>>>>\nfile: c.rs\n<<<<<<<\nc\n=======\nd\n>>>>>>>\n";
        let mutant = Mutant::parse(&format!("{TEXT}{more}")).unwrap();
        let files: Vec<&str> = mutant
            .changes
            .iter()
            .map(|change| change.file.as_str())
            .collect();
        assert_eq!(files, ["a.rs", "a.rs", "c.rs"]);
        assert_eq!(mutant.changes[1].apply("a\nb\n").unwrap(), "a\n\n");
    }

    #[test]
    fn an_empty_line_at_the_end_includes_the_line_break() {
        let text = "# Breaks.\nfile: a.rs\n<<<<<<<\nb\n\n=======\n>>>>>>>\n";
        let mutant = Mutant::parse(text).unwrap();
        assert_eq!(mutant.changes[0].apply("a\nb\nc\n").unwrap(), "a\nc\n");
    }

    #[test]
    fn missing_or_ambiguous_text_is_an_error_that_names_the_file() {
        let mutant = Mutant::parse(TEXT).unwrap();
        let change = &mutant.changes[0];
        for (text, expected) in [
            ("nothing here\n", "occurs 0 times in a.rs"),
            (
                "    one();\n    two();\n    one();\n    two();\n",
                "occurs 2 times in a.rs",
            ),
        ] {
            let error = change.apply(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_malformed_mutant_is_an_error() {
        for (text, expected) in [
            ("file: a.rs\n", "what the mutant breaks"),
            ("# Breaks.\n", "no block to"),
            (
                "# Breaks.\n<<<<<<<\na\n=======\n>>>>>>>\n",
                "precedes the first `file:`",
            ),
            (
                "# Breaks.\nfile: a.rs\n<<<<<<<\na\n",
                "no closing `=======`",
            ),
            (
                "# Breaks.\nfile: a.rs\n<<<<<<<\na\n=======\nb\n",
                "no closing `>>>>>>>`",
            ),
            (
                "# Breaks.\nfile: a.rs\n<<<<<<<\na\n=======\na\n>>>>>>>\n",
                "changes nothing",
            ),
            ("# Breaks.\nfile: a.rs\nwhat\n", "`what` is neither"),
        ] {
            let error = Mutant::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
