//! Allowed dependencies between the workspace's crates, and banned third-party dependencies.
//!
//! A crate exists only if it makes a wrong dependency impossible; this table enforces it.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;

/// A crate, and the dependencies that its manifest may contain.
struct Rule {
    name: &'static str,
    /// Allowed crates of the workspace.
    may: &'static [&'static str],
    /// Banned third-party crates; a final `*` matches any suffix.
    never: &'static [&'static str],
}

const FILTER: &str = "windlass-filter";
const CORE: &str = "windlass-core";
const ENGINE: &str = "windlass-engine";
const ADAPTERS: &str = "windlass-adapters";
const ADMIN: &str = "windlass-admin";
const EMULATOR: &str = "windlass-emulator";
const TESTKIT: &str = "windlass-testkit";

const RULES: &[Rule] = &[
    Rule {
        name: FILTER,
        may: &[],
        never: &[
            "tokio",
            "futures*",
            "async-trait",
            "aws-*",
            "hyper*",
            "http*",
            "rusqlite",
        ],
    },
    Rule {
        name: CORE,
        may: &[FILTER],
        never: &[
            "tokio",
            "futures*",
            "async-trait",
            "aws-*",
            "hyper*",
            "http*",
            "rusqlite",
        ],
    },
    Rule {
        name: ENGINE,
        may: &[FILTER, CORE],
        never: &["aws-*", "hyper*", "axum", "rusqlite"],
    },
    Rule {
        name: ADAPTERS,
        may: &[CORE, ENGINE],
        never: &[],
    },
    Rule {
        name: ADMIN,
        may: &[CORE, ENGINE],
        never: &["aws-sdk-*", "rusqlite"],
    },
    Rule {
        name: EMULATOR,
        may: &[],
        never: &["aws-*"],
    },
    Rule {
        name: "windlass",
        may: &[FILTER, CORE, ENGINE, ADAPTERS, ADMIN, EMULATOR],
        never: &[],
    },
    Rule {
        name: TESTKIT,
        may: &[FILTER, CORE, ENGINE],
        never: &["aws-*"],
    },
    Rule {
        name: "xtask",
        may: &[],
        never: &[],
    },
    Rule {
        name: "windlass-tests",
        may: &[
            FILTER, CORE, ENGINE, ADAPTERS, ADMIN, EMULATOR, TESTKIT, "windlass",
        ],
        never: &[],
    },
];

/// Compares the manifests, as `cargo metadata` gives them, with the table.
pub(super) fn check(metadata: &Value) -> Result<Vec<Finding>> {
    let packages = metadata["packages"]
        .as_array()
        .context("the metadata lists no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has no name")?;
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            findings.push(Finding::new(
                &manifest(name),
                0,
                "no rule for the dependencies of this crate; add one to tidy's crate_dependencies",
            ));
            continue;
        };
        let dependencies = package["dependencies"]
            .as_array()
            .with_context(|| format!("{name} lists no dependencies"))?;
        for dependency in dependencies {
            let on = dependency["name"]
                .as_str()
                .with_context(|| format!("a dependency of {name} has no name"))?;
            let ours = dependency["path"].is_string();
            let for_tests = dependency["kind"] == "dev";
            if !is_allowed(rule, on, ours, for_tests) {
                findings.push(Finding::new(
                    &manifest(name),
                    0,
                    format!("{name} must not depend on {on}"),
                ));
            }
        }
    }
    Ok(findings)
}

fn is_allowed(rule: &Rule, on: &str, ours: bool, for_tests: bool) -> bool {
    if ours {
        return rule.may.contains(&on) || (for_tests && on == TESTKIT);
    }
    for_tests
        || !rule
            .never
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => on.starts_with(start),
                None => on == *pattern,
            })
}

fn manifest(name: &str) -> String {
    match name {
        "windlass-tests" => "tests/Cargo.toml".to_owned(),
        _ => format!("crates/{name}/Cargo.toml"),
    }
}
