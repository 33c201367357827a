//! What an event is, and how its arrays are looked into.

use super::matches;

#[test]
fn an_event_is_a_strict_object() {
    let pattern = r#"{"a":["x"]}"#;
    assert!(matches(pattern, "\t{\"a\" :\r\n\"x\"} "));
    for half in [r"\ud800", r"\udc00", r"\ud800\u0041", r"\udc00\ud800"] {
        assert!(matches(
            pattern,
            &format!("{{\"a\":\"x\",\"b\":\"{half}\"}}")
        ));
    }
    for event in [
        "",
        "null",
        r#""x""#,
        r#"[{"a":"x"}]"#,
        r#"{"a":"x"} x"#,
        r#"{"a":"x"}{}"#,
        r#"{"a":"x",}"#,
        r#"{"a":"x""#,
        r#"{"a":"x","b":01}"#,
        r#"{"a":"x","b":.5}"#,
        r#"{"a":"x","b":1.}"#,
        r#"{"a":"x","b":+1}"#,
        r#"{"a":"x","b":1e}"#,
        r#"{"a":"x","b":NaN}"#,
        r#"{"a":"x","b":tru}"#,
        r#"{"a":"x","b":"\x"}"#,
        r#"{"a":"x","b":"\u12"}"#,
        r#"{"a":"x","b":"\u+123"}"#,
        "{\"a\":\"x\",\"b\":\"\t\"}",
        "\u{feff}{\"a\":\"x\"}",
        "\u{a0}{\"a\":\"x\"}",
    ] {
        assert!(!matches(pattern, event), "{event}");
    }
}

#[test]
fn escapes_mean_characters() {
    assert!(matches(
        r#"{"a":["é😀\n/\""]}"#,
        r#"{"\u0061":"\u00e9\ud83d\ude00\u000A\/\""}"#
    ));
}

#[test]
fn the_first_of_several_members_of_a_name_counts() {
    let event = r#"{"a":"x","a":"y"}"#;
    assert!(matches(r#"{"a":["x"]}"#, event));
    assert!(!matches(r#"{"a":["y"]}"#, event));
}

#[test]
fn text_in_text_is_not_read() {
    assert!(!matches(r#"{"a":{"b":["x"]}}"#, r#"{"a":"{\"b\":\"x\"}"}"#));
}

#[test]
fn any_element_of_an_array_may_match() {
    for event in [
        r#"{"a":["y","x"]}"#,
        r#"{"a":[["y",["x"]]]}"#,
        r#"{"a":[{"b":1},"x"]}"#,
    ] {
        assert!(matches(r#"{"a":["x"]}"#, event), "{event}");
    }
    assert!(!matches(r#"{"a":["x"]}"#, r#"{"a":[{"a":"x"}]}"#));
    assert!(matches(
        r#"{"a":{"b":["x"]}}"#,
        r#"{"a":[{"b":"y"},[{"b":"x"}]]}"#
    ));
}

#[test]
fn fields_come_from_the_same_element() {
    let pattern = r#"{"who":{"first":["Ada"],"last":["Byron"]}}"#;
    let one = r#"{"who":[{"first":"Alan","last":"Turing"},{"first":"Ada","last":"Byron"}]}"#;
    let two = r#"{"who":[{"first":"Ada","last":"Turing"},{"first":"Alan","last":"Byron"}]}"#;
    assert!(matches(pattern, one));
    assert!(!matches(pattern, two));
    // In arrays of their own the names belong to nobody.
    assert!(matches(
        pattern,
        r#"{"who":{"first":["Ada","Alan"],"last":["Turing","Byron"]}}"#
    ));
}

#[test]
fn elements_that_are_arrays_keep_their_values_together() {
    let pattern = r#"{"a":{"b":["x"],"c":["y"]}}"#;
    assert!(matches(
        pattern,
        r#"{"a":[[{"b":"x"}],[{"b":"x","c":"y"}]]}"#
    ));
    assert!(!matches(pattern, r#"{"a":[[{"b":"x"}],[{"c":"y"}]]}"#));
}

#[test]
fn what_may_be_absent_is_looked_for_in_the_elements_chosen_before() {
    let absent = r#"{"list":{"b":["x"],"c":[{"exists":false}]}}"#;
    assert!(matches(absent, r#"{"list":[{"b":"x"},{"c":"y"}]}"#));
    assert!(!matches(
        absent,
        r#"{"list":[{"b":"x","c":"z"},{"c":"y"}]}"#
    ));
    // Nothing is chosen yet when `a` is looked for, so any element counts.
    let first = r#"{"list":{"a":[{"exists":false}],"b":["x"]}}"#;
    assert!(!matches(first, r#"{"list":[{"b":"x"},{"a":"y"}]}"#));
    assert!(matches(first, r#"{"list":[{"b":"x"},{"c":"y"}]}"#));
}

#[test]
fn fields_are_looked_at_in_the_order_of_utf_16() {
    // U+FF5E comes after U+1F600 there, because that is written with surrogates.
    let pattern = r#"{"list":{"～":[{"exists":false}],"😀":["x"]}}"#;
    assert!(matches(pattern, r#"{"list":[{"😀":"x"},{"～":"y"}]}"#));
    let reverse = r#"{"list":{"😀":[{"exists":false}],"～":["x"]}}"#;
    assert!(!matches(reverse, r#"{"list":[{"～":"x"},{"😀":"y"}]}"#));
}

#[test]
fn absence_may_be_one_of_several_tests() {
    let pattern = r#"{"a":[{"exists":false},"x"],"b":["y"]}"#;
    assert!(matches(pattern, r#"{"b":"y"}"#));
    assert!(matches(pattern, r#"{"a":"x","b":"y"}"#));
    assert!(!matches(pattern, r#"{"a":"z","b":"y"}"#));
    assert!(matches(r#"{"a":{"b":[{"exists":false}]}}"#, r#"{"a":1}"#));
}

#[test]
fn nesting_is_limited() {
    let deep = |depth: usize| {
        format!(
            r#"{{"a":"x","b":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    assert!(matches(r#"{"a":["x"]}"#, &deep(999)));
    assert!(!matches(r#"{"a":["x"]}"#, &deep(1000)));
}
