//! Finds dependencies that no source names: each one costs build time and an audit.
//!
//! `cargo-machete` and `cargo-shear` do the same, but are not part of the toolchain, and installing
//! one costs more than this file.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Files, Finding};
use crate::command::root;

const WORKSPACE: &str = "Cargo.toml";

/// Packages whose library has another name: package, library.
const LIBRARY_NAMES: &[(&str, &str)] = &[("md-5", "md5")];

/// Compares the manifests, as `cargo metadata` gives them, with the sources.
pub(super) fn check(files: &Files, metadata: &Value) -> Result<Vec<Finding>> {
    let packages = metadata["packages"]
        .as_array()
        .context("the metadata lists no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        findings.extend(check_package(files, package)?);
    }
    findings.extend(check_workspace(files));
    Ok(findings)
}

fn check_package(files: &Files, package: &Value) -> Result<Vec<Finding>> {
    let package_name = package["name"].as_str().context("a package has no name")?;
    let manifest = package["manifest_path"]
        .as_str()
        .with_context(|| format!("{package_name} has no manifest"))?;
    let root = root();
    let manifest = manifest
        .strip_prefix(&*root.to_string_lossy())
        .map_or(manifest, |path| path.trim_start_matches('/'));
    let dir = manifest.trim_end_matches("Cargo.toml");
    let sources = files
        .iter()
        .filter(|(path, _)| path.starts_with(dir) && path.ends_with(".rs"));
    let sources: Vec<&str> = sources.map(|(_, text)| text.as_str()).collect();
    let mut findings = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let name = dependency["rename"]
            .as_str()
            .or_else(|| dependency["name"].as_str())
            .with_context(|| format!("a dependency of {package_name} has no name"))?;
        let is_named = sources.iter().any(|source| names_crate(source, name));
        if !is_named {
            let text = format!("no source of {package_name} names its dependency {name}");
            findings.push(Finding::new(manifest, 0, text));
        }
    }
    Ok(findings)
}

/// Finds versions in the workspace's manifest that no package takes from it.
fn check_workspace(files: &Files) -> Vec<Finding> {
    let text = files.get(WORKSPACE).map_or("", String::as_str);
    let manifests = files
        .iter()
        .filter(|(path, _)| path.ends_with("/Cargo.toml"));
    let manifests: Vec<&str> = manifests.map(|(_, text)| text.as_str()).collect();
    let mut in_dependencies = false;
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.starts_with('[') {
            in_dependencies = line == "[workspace.dependencies]";
        }
        let name = line.split_once(" = ").map(|(name, _)| name);
        let Some(name) = name.filter(|name| in_dependencies && !name.starts_with('#')) else {
            continue;
        };
        let is_taken = manifests.iter().any(|manifest| {
            let mut keys = manifest
                .lines()
                .filter_map(|line| line.split(['.', ' ']).next());
            keys.any(|key| key == name)
        });
        if !is_taken {
            let text = format!("no package depends on {name}");
            findings.push(Finding::new(WORKSPACE, number, text));
        }
    }
    findings
}

/// Whether the source has a path that starts with this crate, or a `use` of the crate itself.
fn names_crate(source: &str, dependency: &str) -> bool {
    let library = LIBRARY_NAMES.iter().find(|(name, _)| *name == dependency);
    let name = library.map_or_else(
        || dependency.replace('-', "_"),
        |(_, name)| (*name).to_owned(),
    );
    source.match_indices(&name).any(|(start, _)| {
        let (before, after) = (&source[..start], &source[start + name.len()..]);
        let is_inner = |character: char| character.is_alphanumeric() || character == '_';
        let starts_path = after.starts_with("::")
            && !before.ends_with(is_inner)
            && (!before.ends_with("::") || before.ends_with(" ::"));
        let is_used = before.ends_with("use ") && after.starts_with([';', ' ']);
        starts_path || is_used
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(source: &str, dependencies: &[&str]) -> Vec<String> {
        let dependencies: Vec<Value> = dependencies
            .iter()
            .map(|name| json!({"name": name}))
            .collect();
        let metadata = json!({"packages": [{
            "name": "a",
            "manifest_path": root().join("crates/a/Cargo.toml"),
            "dependencies": dependencies,
        }]});
        let files = [
            ("crates/a/src/lib.rs", source),
            ("crates/b/src/lib.rs", "use hyper::Body;\n"),
            (
                "crates/a/Cargo.toml",
                "[dependencies]\nbytes.workspace = true\n",
            ),
            (
                "Cargo.toml",
                "[workspace.dependencies]\nbytes = \"1\"\nhttp = \"1\"\n",
            ),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let found = check(&Files::from(files), &metadata).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_dependency_that_no_source_of_its_package_names_is_found() {
        let found = findings("use bytes::Bytes;\n", &["bytes", "hyper"]);
        let expected = "crates/a/Cargo.toml: no source of a names its dependency hyper";
        assert_eq!(found[0], expected);
        assert_eq!(found[1], "Cargo.toml:3: no package depends on http");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_crate_is_named_by_a_path_or_a_use() {
        for source in [
            "use serde_json::json;",
            "#[serde_json::x]",
            "use serde_json as j;",
        ] {
            assert!(names_crate(source, "serde-json"), "{source}");
        }
        for source in [
            "let serde_json = 1;",
            "crate::serde_json::x()",
            "my_serde_json::x()",
        ] {
            assert!(!names_crate(source, "serde-json"), "{source}");
        }
    }
}
