//! What a pattern is made of.

use super::{are_invalid, compile, matches};

#[test]
fn a_pattern_is_an_object_of_objects_and_arrays() {
    are_invalid(&[
        "",
        " ",
        "null",
        "1",
        r#""a""#,
        "[]",
        r#"[{"a":["x"]}]"#,
        "{}",
        r#"{"a":{}}"#,
        r#"{"a":"x"}"#,
        r#"{"a":null}"#,
        r#"{"a":[]}"#,
        r#"{"a":{"b":1}}"#,
        r#"{"a":["x"]"#,
        r#"{"a":["x"],}"#,
        r#"{"a":["x",]}"#,
        r#"{'a':["x"]}"#,
        r#"{"a":[01]}"#,
    ]);
}

#[test]
fn what_follows_a_pattern_is_not_read() {
    assert!(matches(r#" {"a":["x"]} ]"#, r#"{"a":"x"}"#));
    assert!(matches(r#"{"a":["x"]}{"a":["y"]}"#, r#"{"a":"x"}"#));
}

#[test]
fn all_fields_have_to_match() {
    let pattern = r#"{"a":["x"],"b":{"c":["y"]}}"#;
    assert!(matches(pattern, r#"{"a":"x","b":{"c":"y"},"d":1}"#));
    assert!(!matches(pattern, r#"{"a":"x","b":{"c":"z"}}"#));
    assert!(!matches(pattern, r#"{"a":"x"}"#));
}

#[test]
fn a_dot_joins_names() {
    for pattern in [r#"{"a":{"b":["x"]}}"#, r#"{"a.b":["x"]}"#] {
        assert!(matches(pattern, r#"{"a":{"b":"x"}}"#));
        assert!(matches(pattern, r#"{"a.b":"x"}"#));
        assert!(matches(pattern, r#"{"a.b":"y","a":{"b":"x"}}"#));
    }
}

#[test]
fn the_last_of_several_fields_of_a_path_counts() {
    let pattern = r#"{"a":["x"],"b":["y"],"a":["z"]}"#;
    assert!(matches(pattern, r#"{"a":"z","b":"y"}"#));
    assert!(!matches(pattern, r#"{"a":"x","b":"y"}"#));
    // A path is the same however it is spelled.
    assert!(matches(
        r#"{"a.b":["x"],"a":{"b":["z"]}}"#,
        r#"{"a":{"b":"z"}}"#
    ));
    // An object replaces nothing.
    assert!(!matches(
        r#"{"a":["x"],"a":{"b":["z"]}}"#,
        r#"{"a":{"b":"z"}}"#
    ));
}

#[test]
fn one_branch_has_to_match_with_what_stands_beside() {
    let pattern = r#"{"a":["x"],"$or":[{"b":["y"]},{"c":["z"],"d":["w"]}]}"#;
    assert!(matches(pattern, r#"{"a":"x","b":"y"}"#));
    assert!(matches(pattern, r#"{"a":"x","c":"z","d":"w"}"#));
    assert!(!matches(pattern, r#"{"a":"x","c":"z"}"#));
    assert!(!matches(pattern, r#"{"b":"y"}"#));
}

#[test]
fn branches_can_be_anywhere() {
    let nested = r#"{"a":{"$or":[{"b":["x"]},{"$or":[{"c":["y"]},{"d":{"e":["z"]}}]}]}}"#;
    for event in [
        r#"{"a":{"b":"x"}}"#,
        r#"{"a":{"c":"y"}}"#,
        r#"{"a":{"d":{"e":"z"}}}"#,
    ] {
        assert!(matches(nested, event), "{event}");
    }
    assert!(!matches(nested, r#"{"b":"x"}"#));
    let twice = r#"{"$or":[{"a":["x"]},{"b":["x"]}],"$or":[{"c":["y"]},{"d":["y"]}]}"#;
    assert!(matches(twice, r#"{"b":"x","c":"y"}"#));
    assert!(!matches(twice, r#"{"a":"x","b":"x"}"#));
}

#[test]
fn a_field_replaces_the_same_field_of_what_was_read_before() {
    let before = r#"{"a":["x"],"$or":[{"a":["y"]},{"b":["z"]}]}"#;
    assert!(matches(before, r#"{"a":"y"}"#));
    assert!(!matches(before, r#"{"a":"x"}"#));
    assert!(matches(before, r#"{"a":"x","b":"z"}"#));
    let after = r#"{"$or":[{"a":["y"]},{"b":["z"]}],"a":["x"]}"#;
    assert!(matches(after, r#"{"a":"x"}"#));
    assert!(!matches(after, r#"{"a":"y"}"#));
}

#[test]
fn an_or_has_two_branches_that_are_objects() {
    are_invalid(&[
        r#"{"$or":{}}"#,
        r#"{"$or":null}"#,
        r#"{"$or":[]}"#,
        r#"{"$or":[{"a":["x"]}]}"#,
        r#"{"$or":[{"a":["x"]},{}]}"#,
        r#"{"$or":["x","y"]}"#,
        r#"{"$or":[{"a":["x"]},"y"]}"#,
        r#"{"a":["x"],"b":{"$or":[{"c":["y"]}]}}"#,
    ]);
    assert!(compile(r#"{"$or":[{"a":["x"]},{"a":["x"]}]}"#).is_ok());
}

#[test]
fn names_of_match_expressions_are_reserved_inside_an_or() {
    for name in [
        "prefix",
        "numeric",
        "=",
        "not-wildcard",
        "in-date-range",
        "exactly",
    ] {
        let field = format!(r#"{{"{name}":["x"]}}"#);
        assert!(compile(&field).is_ok(), "{name}");
        let deep = format!(r#"{{"a":{{"$or":[{{"b":["x"]}},{{"c":{field}}}]}}}}"#);
        are_invalid(&[&deep]);
    }
    assert!(compile(r#"{"$or":[{"Prefix":["x"]},{"a.prefix":["x"]}]}"#).is_ok());
    assert!(compile(r#"{"$or":[{"a":["x"]},{"b":["x"]}],"prefix":["x"]}"#).is_ok());
}

#[test]
fn sub_rules_are_limited() {
    let or_of = |n_branches: usize, name: &str| {
        let branches = vec![format!(r#"{{"{name}":["x"]}}"#); n_branches];
        format!(r#""$or":[{}]"#, branches.join(","))
    };
    let two = |n: usize| format!("{{{},{}}}", or_of(n, "a"), or_of(40, "b"));
    assert!(compile(&two(25)).is_ok());
    are_invalid(&[&two(26)]);
}

#[test]
fn fields_of_a_sub_rule_are_limited() {
    let of = |n_fields: usize| {
        let fields: Vec<String> = (0..n_fields).map(|n| format!(r#""f{n}":["x"]"#)).collect();
        format!("{{{}}}", fields.join(","))
    };
    assert!(compile(&of(256)).is_ok());
    are_invalid(&[&of(257)]);
}
