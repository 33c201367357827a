//! The rules of the pattern language, one case each.

use super::*;

fn whole(pattern: &str) -> Result<Criteria, PatternError> {
    Criteria::compile(View::Whole, &[pattern]).map_err(|mut errors| errors.remove(0).1)
}

#[track_caller]
fn check(pattern: &str, event: &str, expected: bool) {
    let criteria = whole(pattern).unwrap();
    let subject = Subject {
        event: event.as_bytes(),
        data: b"",
    };
    let passes = criteria.passes(subject, &mut Scratch::default());
    assert_eq!(passes, expected, "{pattern} {event}");
    let explanation = criteria.explain(subject);
    assert_eq!(explanation.passes, expected, "explained: {pattern} {event}");
}

#[test]
fn a_field_has_one_of_the_values() {
    check(r#"{"a":["x","y"]}"#, r#"{"a":"y"}"#, true);
    check(r#"{"a":["x","y"]}"#, r#"{"a":"z"}"#, false);
    check(r#"{"a":[1]}"#, r#"{"a":"1"}"#, false);
    check(
        r#"{"a":{"b":[true]}}"#,
        r#"{"z":[1,{"a":2}],"a":{"c":{},"b":true}}"#,
        true,
    );
}
