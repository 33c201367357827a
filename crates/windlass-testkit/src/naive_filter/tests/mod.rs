//! Each rule of the pattern language by itself.

mod events;
mod structure;
mod values;

use super::compile;

/// The pattern `{"v": [tests]}` accepts events in which `v` is each of `values`.
#[track_caller]
fn accepts(tests: &str, values: &[&str]) {
    for value in values {
        assert!(outcome(tests, value), "[{tests}] does not accept {value}");
    }
}

/// The pattern `{"v": [tests]}` accepts no event in which `v` is one of `values`.
#[track_caller]
fn rejects(tests: &str, values: &[&str]) {
    for value in values {
        assert!(!outcome(tests, value), "[{tests}] accepts {value}");
    }
}

#[track_caller]
fn outcome(tests: &str, value: &str) -> bool {
    matches(
        &format!(r#"{{"v":[{tests}]}}"#),
        &format!(r#"{{"v":{value}}}"#),
    )
}

#[track_caller]
fn matches(pattern: &str, event: &str) -> bool {
    let compiled = compile(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
    compiled.matches(event)
}

/// None of these can stand in the array of a field.
#[track_caller]
fn are_invalid_tests(all: &[&str]) {
    for tests in all {
        let pattern = format!(r#"{{"v":[{tests}]}}"#);
        assert!(compile(&pattern).is_err(), "{pattern} is valid");
    }
}

#[track_caller]
fn are_invalid(patterns: &[&str]) {
    for pattern in patterns {
        assert!(compile(pattern).is_err(), "{pattern} is valid");
    }
}
