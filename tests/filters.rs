//! Compares the filter with the naive filter on generated and corrupted patterns and events, and
//! checks that adversarial ones do not make it slow.

use std::time::{SystemTime, UNIX_EPOCH};

use windlass_filter::{Criteria, Event, EventFormat, MatchBuffers};
use windlass_testkit::naive_filter;
use windlass_testkit::patterns::{Case, any_case};
use windlass_testkit::rng::Rng;

/// Cases with fixed seeds.
const N_FIXED: u64 = 20_000;

/// Additional cases, with seeds from the clock.
const N_FRESH: u64 = 4_000;

#[test]
fn both_filters_agree() {
    let mut n_matches = 0;
    for seed in seeds() {
        let case = any_case(seed);
        n_matches += u64::from(compare(seed, &case) == Some(true));
    }
    assert!(N_FIXED / 5 < n_matches, "only {n_matches} match");
}

/// With bytes removed, changed and inserted, in the pattern and in the event.
#[test]
fn both_filters_agree_on_corrupted_input() {
    let mut n_valid = 0;
    for seed in seeds() {
        let mut case = any_case(seed);
        let mut rng = Rng::new(seed);
        if rng.per_mille(300) {
            case.pattern = corrupt(&case.pattern, &mut rng);
        }
        if rng.per_mille(800) {
            case.event = corrupt(&case.event, &mut rng);
        }
        n_valid += u64::from(compare(seed, &case).is_some());
    }
    assert!(N_FIXED / 5 < n_valid, "only {n_valid} patterns are valid");
}

fn seeds() -> impl Iterator<Item = u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let fresh = now.expect("it is after 1970").as_secs() << 20;
    (0..N_FIXED).chain(fresh..fresh + N_FRESH)
}

/// Whether the event matches according to both filters; `None` if the pattern is invalid.
fn compare(seed: u64, case: &Case) -> Option<bool> {
    let criteria = Criteria::compile(EventFormat::Json, &[case.pattern.as_str()]).ok();
    let actual = criteria.map(|criteria| {
        let matches = criteria.matches(event(&case.event), &mut MatchBuffers::default());
        let explained = criteria.explain(event(&case.event)).matches;
        assert_eq!(matches, explained, "seed {seed}, explained: {case:#?}");
        matches
    });
    let expected = naive_filter::compile(&case.pattern).ok();
    let expected = expected.map(|pattern| pattern.matches(&case.event));
    assert_eq!(actual, expected, "seed {seed}: {case:#?}");
    actual
}

fn event(json: &str) -> Event<'_> {
    Event {
        json: json.as_bytes(),
        data: b"",
    }
}

/// Changes up to three bytes of a text; characters stay whole.
fn corrupt(text: &str, rng: &mut Rng) -> String {
    const BYTES: &[u8] = b"\"\\{}[]:,0-1.eE+ \n\tutfnrlsa\0\x1f\x7f";
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.between(1, 3) {
        if bytes.is_empty() {
            break;
        }
        let index = rng.size(0, bytes.len() - 1);
        match rng.between(0, 3) {
            0 => drop(bytes.remove(index)),
            1 => bytes[index] = rng.pick(BYTES),
            2 => bytes.insert(index, rng.pick(BYTES)),
            _ => bytes.truncate(index),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[track_caller]
fn check(pattern: &str, json: &str, expected: bool) {
    let criteria = Criteria::compile(EventFormat::Json, &[pattern]).expect("the pattern is valid");
    let matches = criteria.matches(event(json), &mut MatchBuffers::default());
    assert_eq!(matches, expected, "{pattern}");
}

/// If the time grew faster than the size of the input, this would not finish.
#[test]
fn adversarial_input_takes_linear_time() {
    let deep = |open: &str, close: &str, n: usize| open.repeat(n) + "1" + &close.repeat(n);
    check(
        r#"{"a":[1]}"#,
        &format!("{{\"a\":{}}}", deep("[", "]", 900)),
        true,
    );
    check(
        r#"{"a":[1]}"#,
        &format!("{{\"a\":{}}}", deep("[", "]", 100_000)),
        false,
    );
    check(r#"{"b":[1]}"#, &deep("{\"a\":", "}", 100_000), false);
    let pattern = deep("{\"a\":", "}", 190).replace('1', "[1]");
    check(&pattern, &deep("{\"a\":", "}", 190), true);

    let stars = format!("{{\"a\":[{{\"wildcard\":\"{}b\"}}]}}", "*a".repeat(2_000));
    let letters = "a".repeat(100_000);
    check(&stars, &format!("{{\"a\":\"{letters}\"}}"), false);
    check(&stars, &format!("{{\"a\":\"{letters}b\"}}"), true);

    // One element must satisfy both conditions; only one of 100,000 does.
    let element = |one: usize, two: usize| format!("{{\"x\":{one},\"y\":{two}}}");
    let many: Vec<String> = (0..100_000).map(|n| element(1, n)).collect();
    let event = format!("{{\"a\":[{}]}}", many.join(","));
    check(r#"{"a":{"x":[1],"y":[99999]}}"#, &event, true);
    check(r#"{"a":{"x":[1],"y":[-1]}}"#, &event, false);
    check(r#"{"a":{"y":[{"exists":true}],"x":[2]}}"#, &event, false);
}

/// The elements of unrelated arrays are not tried in every combination.
#[test]
fn unrelated_arrays_are_matched_independently() {
    let array = |names: [&str; 2]| {
        let element = |n: usize| format!("{{\"{}\":1,\"{}\":{n}}}", names[0], names[1]);
        let elements: Vec<String> = (0..500).map(element).collect();
        format!("[{}]", elements.join(","))
    };
    let arrays = ["a", "b", "c", "d", "e"].map(|name| format!("\"{name}\":{}", array(["x", "y"])));
    let inner = format!("{{{}}}", arrays.join(","));
    let pattern = |last: i32| {
        let both = |name: &str, y: i32| format!("\"{name}\":{{\"x\":[1],\"y\":[{y}]}}");
        let fields = ["a", "b", "c", "d"].map(|name| both(name, 499));
        format!("{{{},{}}}", fields.join(","), both("e", last))
    };
    check(&pattern(499), &inner, true);
    check(&pattern(500), &inner, false);
    let outer = format!("{{\"o\":[{inner},{inner},{inner}]}}");
    check(&format!("{{\"o\":{}}}", pattern(499)), &outer, true);
    check(&format!("{{\"o\":{}}}", pattern(500)), &outer, false);
}
