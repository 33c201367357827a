//! Checks that the code map, `crates/README.md`, names every crate and every top-level module.
//!
//! An unchecked map is out of date within a month. Each crate has a heading with its name; the section
//! names its modules in backticks or in a code block.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Files, Finding};

const MAP: &str = "crates/README.md";

/// Compares the map with the members of the workspace and their files.
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
            let text = format!("it has no heading for the crate {name}");
            findings.push(Finding::new(MAP, 0, text));
            continue;
        };
        let code = code_of(section);
        for module in modules_of(files, name) {
            if !names(&code, &module) {
                let text = format!("the section about {name} does not name its module `{module}`");
                findings.push(Finding::new(MAP, 0, text));
            }
        }
    }
    Ok(findings)
}

/// From the heading that names the crate to the next heading of the same level.
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

/// The inline code and the code blocks of a section.
fn code_of(section: &str) -> String {
    section
        .split('`')
        .skip(1)
        .step_by(2)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The modules directly under the crate's root.
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

/// Whether `text` contains `word`, and not only as a part of a longer name.
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
