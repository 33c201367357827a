//! Whether the code map, `crates/README.md`, names every crate and every top module.
//!
//! A map that is not checked is out of date within a month. Each crate has a heading with its name;
//! below it, its modules stand between backticks or in a drawing of the directory.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Files, Finding};

const MAP: &str = "crates/README.md";

/// Compares the map with the members of the workspace and their files.
///
/// # Errors
/// If the metadata does not have cargo's form.
pub(super) fn check(files: &Files, metadata: &Value) -> Result<Vec<Finding>> {
    let Some(map) = files.get(MAP) else {
        return Ok(vec![Finding::new(MAP, 0, "the code map is missing")]);
    };
    let packages = metadata["packages"]
        .as_array()
        .context("the metadata lists no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has no name")?;
        let Some(section) = section_of(map, name) else {
            let text = format!("no heading names the crate {name}");
            findings.push(Finding::new(MAP, 0, text));
            continue;
        };
        let code = code_of(section);
        for module in modules_of(files, name) {
            if !names(&code, &module) {
                let text = format!("the part about {name} does not name its module `{module}`");
                findings.push(Finding::new(MAP, 0, text));
            }
        }
    }
    Ok(findings)
}

/// What stands between the heading that names the crate and the next heading of its level.
fn section_of<'map>(map: &'map str, name: &str) -> Option<&'map str> {
    let mut start = None;
    let mut offset = 0;
    for line in map.split_inclusive('\n') {
        let depth = line.bytes().take_while(|byte| *byte == b'#').count();
        match start {
            None if depth > 0 && has_word(line, name) => start = Some((offset, depth)),
            Some((from, own)) if depth > 0 && depth <= own => return Some(&map[from..offset]),
            _ => {}
        }
        offset += line.len();
    }
    start.map(|(from, _)| &map[from..])
}

/// What the text marks as code: between backticks, and in fenced blocks.
fn code_of(section: &str) -> String {
    section
        .split('`')
        .skip(1)
        .step_by(2)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The modules directly below the crate's root, by their names.
fn modules_of(files: &Files, name: &str) -> Vec<String> {
    let source = match name {
        "windlass-tests" => "tests/src/".to_owned(),
        _ => format!("crates/{name}/src/"),
    };
    let mut modules: Vec<String> = files
        .keys()
        .filter_map(|path| path.strip_prefix(&source))
        .filter(|path| path.ends_with(".rs"))
        .map(|path| path.split_once('/').map_or(path, |(dir, _)| dir))
        .map(|path| path.trim_end_matches(".rs").to_owned())
        .filter(|module| !["lib", "main", "tests", "bin"].contains(&module.as_str()))
        .collect();
    modules.dedup();
    modules
}

fn names(code: &str, module: &str) -> bool {
    code.lines().any(|line| has_word(line, module))
}

/// Whether `word` stands in `text` with nothing beside it that could belong to a name.
fn has_word(text: &str, word: &str) -> bool {
    let is_inner = |character: Option<char>| {
        character.is_some_and(|character| {
            character.is_alphanumeric() || character == '_' || character == '-'
        })
    };
    text.match_indices(word).any(|(start, _)| {
        !is_inner(text[..start].chars().next_back())
            && !is_inner(text[start + word.len()..].chars().next())
    })
}
