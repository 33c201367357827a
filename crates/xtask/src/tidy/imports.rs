//! What a source file imports and names. It reads the few forms that `rustfmt` leaves; it is not a
//! parser of Rust.

use std::collections::BTreeMap;

/// A module by its path from the root of its crate; the root itself is empty.
pub(super) type Module = Vec<String>;

/// The paths of one file.
pub(super) struct Source {
    pub(super) path: String,
    /// The names that `use` brings in, and the paths they are short for.
    pub(super) names: BTreeMap<String, Vec<String>>,
    /// Paths that the file itself needs, with their lines.
    needed: Vec<(Vec<String>, usize)>,
}

impl Source {
    pub(super) fn parse(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            names: BTreeMap::new(),
            needed: Vec::new(),
        };
        let code = code_of(text);
        let mut lines = code.iter().zip(1..);
        while let Some((line, number)) = lines.next() {
            let Some((is_re_export, start)) = import_in(line) else {
                let paths = paths_in(line);
                source.needed.extend(paths.map(|path| (path, number)));
                continue;
            };
            let mut tree = start.to_owned();
            while !tree.contains(';') {
                let Some((more, _)) = lines.next() else { break };
                tree.push_str(more);
            }
            source.import(&tree, is_re_export, number);
        }
        source
    }

    /// The paths that the file depends on, with their lines; a re-export is not a dependency.
    pub(super) fn named_paths(&self) -> impl Iterator<Item = (&[String], usize)> {
        self.needed
            .iter()
            .map(|(path, line)| (path.as_slice(), *line))
    }

    fn import(&mut self, tree: &str, is_re_export: bool, line: usize) {
        let tree: String = tree.trim_end().trim_end_matches(';').replace(" as ", "@");
        let tree: String = tree.split_whitespace().collect();
        for leaf in leaves_of(&tree) {
            let (path, alias) = leaf.split_once('@').unwrap_or((&leaf, ""));
            let mut path: Vec<String> = path.split("::").map(str::to_owned).collect();
            path.pop_if(|last| last == "self");
            let Some(last) = path.last().cloned() else {
                continue;
            };
            if !is_re_export {
                self.needed.push((path.clone(), line));
            }
            let name = if alias.is_empty() {
                last
            } else {
                alias.to_owned()
            };
            self.names.insert(name, path);
        }
    }
}

/// The paths of a tree such as `a::{b, c::{self, d}}`.
fn leaves_of(tree: &str) -> Vec<String> {
    let Some((stem, group)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let mut leaves = Vec::new();
    let mut depth = 0;
    for branch in group.split(|character: char| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    }) {
        let branches = leaves_of(branch).into_iter();
        let full = branches.filter(|leaf| !leaf.is_empty());
        leaves.extend(full.map(|leaf| format!("{stem}{leaf}")));
    }
    leaves
}

/// The lines of a file up to its tests, without comments.
fn code_of(text: &str) -> Vec<&str> {
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let without_comment = |line: &'_ str| -> usize {
        let comment = line
            .match_indices("//")
            .find(|(at, _)| !line[..*at].ends_with(':'));
        comment.map_or(line.len(), |(at, _)| at)
    };
    text.lines()
        .map(|line| &line[..without_comment(line)])
        .collect()
}

/// Whether the line starts an import, whether that is a re-export, and what follows `use`.
fn import_in(line: &str) -> Option<(bool, &str)> {
    let line = line.trim_start();
    if let Some(tree) = line.strip_prefix("use ") {
        return Some((false, tree));
    }
    let (visibility, tree) = line.split_once(" use ")?;
    let is_visibility = visibility == "pub" || visibility.starts_with("pub(");
    is_visibility.then_some((true, tree))
}

/// The paths of a line of code that have more than one part.
fn paths_in(line: &str) -> impl Iterator<Item = Vec<String>> {
    let is_inner = |character: char| character.is_alphanumeric() || "_:".contains(character);
    line.split(move |character| !is_inner(character))
        .map(|path| path.trim_matches(':'))
        .filter(|path| path.contains("::"))
        .map(|path| path.split("::").map(str::to_owned).collect())
}
