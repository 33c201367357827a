//! Each rule fails on a text that breaks it, and passes on one that does not.

use serde_json::{Value, json};

use super::{Files, Finding, code_map, crate_dependencies, file_rules, stop_timeouts};

fn texts_of(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_one(findings: &[Finding], expected: &str) {
    let texts = texts_of(findings);
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains(expected), "{texts:?}");
}

#[track_caller]
fn assert_clean(path: &str, content: &str) {
    assert_eq!(
        texts_of(&file_rules::check(path, content)),
        Vec::<String>::new()
    );
}

fn package(name: &str, dependencies: &[(&str, bool, Option<&str>)]) -> Value {
    let dependencies: Vec<Value> = dependencies
        .iter()
        .map(|(on, ours, kind)| {
            let path = ours.then(|| format!("crates/{on}"));
            json!({"name": on, "kind": kind, "path": path})
        })
        .collect();
    json!({"packages": [{"name": name, "dependencies": dependencies}]})
}

#[test]
fn a_dependency_against_the_direction_is_found() {
    let metadata = package("windlass-core", &[("windlass-engine", true, None)]);
    let findings = crate_dependencies::check(&metadata).unwrap();
    assert_one(
        &findings,
        "windlass-core must not depend on windlass-engine",
    );
}

#[test]
fn a_dev_dependency_may_only_be_the_testkit() {
    let testkit = package("windlass-core", &[("windlass-testkit", true, Some("dev"))]);
    assert_eq!(crate_dependencies::check(&testkit).unwrap(), []);
    let other = package(
        "windlass-admin",
        &[("windlass-adapters", true, Some("dev"))],
    );
    let findings = crate_dependencies::check(&other).unwrap();
    assert_one(
        &findings,
        "windlass-admin must not depend on windlass-adapters",
    );
}

#[test]
fn the_daemon_must_not_depend_on_the_testkit() {
    let metadata = package("windlass", &[("windlass-testkit", true, None)]);
    let findings = crate_dependencies::check(&metadata).unwrap();
    assert_one(&findings, "windlass must not depend on windlass-testkit");
}

#[test]
fn the_core_and_the_engine_must_not_depend_on_io_crates() {
    let metadata = package("windlass-core", &[("tokio", false, None)]);
    assert_one(
        &crate_dependencies::check(&metadata).unwrap(),
        "depend on tokio",
    );
    let metadata = package("windlass-engine", &[("aws-sdk-sqs", false, None)]);
    assert_one(
        &crate_dependencies::check(&metadata).unwrap(),
        "depend on aws-sdk-sqs",
    );
    let metadata = package("windlass-core", &[("tokio", false, Some("dev"))]);
    assert_eq!(crate_dependencies::check(&metadata).unwrap(), []);
}

#[test]
fn a_crate_without_a_rule_is_found() {
    let findings = crate_dependencies::check(&package("windlass-extra", &[])).unwrap();
    assert_one(&findings, "no rule for");
}

#[test]
fn a_file_that_is_too_long_is_an_error_and_a_long_one_is_reported() {
    let of_lines = |n_lines: usize| format!("//! Long.\n{}", "//\n".repeat(n_lines - 1));
    assert_one(&file_rules::check("a.rs", &of_lines(800)), "800 lines");
    assert_clean("a.rs", &of_lines(799));
    let noted = |n_lines| file_rules::notes(&Files::from([("a.rs".to_owned(), of_lines(n_lines))]));
    assert_eq!(noted(499), Vec::<String>::new());
    assert_eq!(noted(500).len(), 1);
    assert_eq!(noted(800), Vec::<String>::new());
}

#[test]
fn a_module_without_docs_is_found() {
    assert_one(
        &file_rules::check("a.rs", "use std::fmt;\n"),
        "must start with a `//!`",
    );
    assert_one(
        &file_rules::check("a.rs", "//!\nuse std::fmt;\n"),
        "must start with a `//!`",
    );
    assert_clean("a.rs", "//! What it is.\n");
}

#[test]
fn trailing_blanks_and_tabs_are_found_with_their_line() {
    assert_one(
        &file_rules::check("a.md", "one\ntwo \n"),
        "a.md:2: trailing blanks",
    );
    assert_one(
        &file_rules::check("a.json", "{}\t\n"),
        "a.json:1: trailing blanks",
    );
    assert_one(&file_rules::check("a.md", "one\n\ttwo\n"), "a.md:2: a tab");
    assert_clean("a.json", "{\n\t\"data\": \"tabs are data here\"\n}\n");
    assert_one(&file_rules::check("a.md", "one"), "no line break");
}

#[test]
fn unfinished_work_is_found() {
    for (first, second) in [
        ("// FIX", "ME"),
        ("// TO", "DO(later)"),
        ("todo", "!()"),
        ("unimplemented", "!()"),
        ("#[ign", "ore]"),
        ("#[allow(dead", "_code)]"),
    ] {
        let content = format!("//! Module.\n{first}{second}\n");
        assert_one(&file_rules::check("a.rs", &content), "finish it");
    }
    let inside_a_word = format!("- {}{} are not notes\n", "TO", "DOS");
    assert_clean("a.md", &inside_a_word);
}

#[test]
fn a_path_of_one_machine_is_found() {
    let content = format!("run {}{}tool\n", "/ho", "me/somebody/");
    assert_one(&file_rules::check("a.md", &content), "path of one machine");
}

fn map_findings(map: &str) -> Vec<String> {
    let metadata = json!({"packages": [{"name": "windlass-core"}, {"name": "windlass"}]});
    let files = Files::from(
        [
            ("crates/README.md", map),
            ("crates/windlass-core/src/lib.rs", ""),
            ("crates/windlass-core/src/batch.rs", ""),
            ("crates/windlass-core/src/shard/lane.rs", ""),
            ("crates/windlass-core/src/shard/mod.rs", ""),
            ("crates/windlass/src/main.rs", ""),
        ]
        .map(|(path, content)| (path.to_owned(), content.to_owned())),
    );
    texts_of(&code_map::check(&files, &metadata).unwrap())
}

#[test]
fn a_map_that_names_everything_passes() {
    let findings = map_findings(
        "# Map\n## `windlass-core`\nDecides: `batch`, `shard/`.\n## windlass\nComposes.\n",
    );
    assert_eq!(findings, Vec::<String>::new());
    let drawn = map_findings("## windlass-core\n```\nbatch.rs\nshard/mod.rs\n```\n## windlass\n");
    assert_eq!(drawn, Vec::<String>::new());
}

#[test]
fn a_crate_or_module_that_is_missing_from_the_map_is_found() {
    let findings = map_findings("## windlass-core\nDecides: `shard`, a batch in words.\n");
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("its module `batch`"), "{findings:?}");
    assert!(findings[1].contains("the crate windlass"), "{findings:?}");
}

#[test]
fn a_module_named_under_another_crate_does_not_count() {
    let findings = map_findings("## windlass-core\n`batch`\n## windlass\n`shard`\n");
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].contains("its module `shard`"), "{findings:?}");
}

fn deploy_findings(drain: &str, systemd: &str, compose: &str) -> Vec<String> {
    let files = Files::from(
        [
            ("config/windlass.yaml", drain),
            ("deploy/systemd/windlass.service", systemd),
            ("deploy/compose.yaml", compose),
        ]
        .map(|(path, content)| (path.to_owned(), content.to_owned())),
    );
    texts_of(&stop_timeouts::check(&files))
}

#[test]
fn a_service_manager_that_kills_during_a_drain_is_found() {
    let (drain, compose) = ("drain_timeout: 25s\n", "    stop_grace_period: 35s\n");
    let clean = deploy_findings(drain, "TimeoutStopSec=26s\n", compose);
    assert_eq!(clean, Vec::<String>::new());
    let early = deploy_findings(drain, "TimeoutStopSec=25s\n", compose);
    assert_eq!(early.len(), 1, "{early:?}");
    assert!(early[0].contains("above drain_timeout, 25 s"), "{early:?}");
    let missing = deploy_findings(drain, "", compose);
    assert!(
        missing[0].contains("missing `TimeoutStopSec=`"),
        "{missing:?}"
    );
    let minutes = deploy_findings(drain, "TimeoutStopSec=2min\n", compose);
    assert!(minutes[0].contains("in seconds"), "{minutes:?}");
}

#[test]
fn a_missing_map_is_found() {
    let findings = code_map::check(&Files::new(), &json!({"packages": []})).unwrap();
    assert_one(&findings, "the code map is missing");
}
