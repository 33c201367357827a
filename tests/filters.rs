//! The filter against a second one, written slowly and obviously by others, on generated patterns
//! and events, whole and damaged; and against what is meant to take it long.

use std::time::{SystemTime, UNIX_EPOCH};

use windlass_filter::{Criteria, Scratch, Subject, View};
use windlass_testkit::naive_filter;
use windlass_testkit::patterns::{Case, any_case};
use windlass_testkit::rng::Rng;

/// Cases of seeds that are always the same.
const N_FIXED: u64 = 20_000;

/// Cases more, of seeds that nobody has chosen.
const N_FRESH: u64 = 4_000;

#[test]
fn both_filters_say_the_same() {
    let mut n_matches = 0;
    for seed in seeds() {
        let case = any_case(seed);
        n_matches += u64::from(compare(seed, &case) == Some(true));
    }
    assert!(N_FIXED / 5 < n_matches, "only {n_matches} match");
}

/// Bytes are lost, changed and repeated, in the pattern and in the event.
#[test]
fn both_filters_say_the_same_of_what_is_damaged() {
    let mut n_valid = 0;
    for seed in seeds() {
        let mut case = any_case(seed);
        let mut rng = Rng::new(seed);
        if rng.per_mille(300) {
            case.pattern = damage(&case.pattern, &mut rng);
        }
        if rng.per_mille(800) {
            case.event = damage(&case.event, &mut rng);
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

/// Whether the event matches, as both say; `None`: the pattern is refused.
fn compare(seed: u64, case: &Case) -> Option<bool> {
    let criteria = Criteria::compile(View::Whole, &[case.pattern.as_str()]).ok();
    let answer = criteria.map(|criteria| {
        let passes = criteria.passes(subject(&case.event), &mut Scratch::default());
        let explained = criteria.explain(subject(&case.event)).passes;
        assert_eq!(passes, explained, "seed {seed}, explained: {case:#?}");
        passes
    });
    let expected = naive_filter::compile(&case.pattern).ok();
    let expected = expected.map(|pattern| pattern.matches(&case.event));
    assert_eq!(answer, expected, "seed {seed}: {case:#?}");
    answer
}

fn subject(event: &str) -> Subject<'_> {
    Subject {
        event: event.as_bytes(),
        data: b"",
    }
}

/// What is left of a text when some of its bytes have changed; characters stay whole.
fn damage(text: &str, rng: &mut Rng) -> String {
    const BYTES: &[u8] = b"\"\\{}[]:,0-1.eE+ \n\tutfnrlsa\0\x1f\x7f";
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.between(1, 3) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.size(0, bytes.len() - 1);
        match rng.between(0, 3) {
            0 => drop(bytes.remove(at)),
            1 => bytes[at] = rng.pick(BYTES),
            2 => bytes.insert(at, rng.pick(BYTES)),
            _ => bytes.truncate(at),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[track_caller]
fn check(pattern: &str, event: &str, expected: bool) {
    let criteria = Criteria::compile(View::Whole, &[pattern]).expect("the pattern is valid");
    let passes = criteria.passes(subject(event), &mut Scratch::default());
    assert_eq!(passes, expected, "{pattern}");
}

/// Where time grew with more than the size of what is judged, these would not come to an end.
#[test]
fn what_is_meant_to_take_long_does_not() {
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

    // One element of each list must have both; only one of a hundred thousand does.
    let element = |one: usize, two: usize| format!("{{\"x\":{one},\"y\":{two}}}");
    let many: Vec<String> = (0..100_000).map(|n| element(1, n)).collect();
    let event = format!("{{\"a\":[{}]}}", many.join(","));
    check(r#"{"a":{"x":[1],"y":[99999]}}"#, &event, true);
    check(r#"{"a":{"x":[1],"y":[-1]}}"#, &event, false);
    check(r#"{"a":{"y":[{"exists":true}],"x":[2]}}"#, &event, false);
}

/// Lists that have nothing to do with each other are not tried in every combination.
#[test]
fn lists_beside_each_other_are_judged_one_by_one() {
    let list = |names: [&str; 2]| {
        let element = |n: usize| format!("{{\"{}\":1,\"{}\":{n}}}", names[0], names[1]);
        let elements: Vec<String> = (0..500).map(element).collect();
        format!("[{}]", elements.join(","))
    };
    let lists = ["a", "b", "c", "d", "e"].map(|name| format!("\"{name}\":{}", list(["x", "y"])));
    let inner = format!("{{{}}}", lists.join(","));
    let wanted = |last: i32| {
        let both = |name: &str, y: i32| format!("\"{name}\":{{\"x\":[1],\"y\":[{y}]}}");
        let fields = ["a", "b", "c", "d"].map(|name| both(name, 499));
        format!("{{{},{}}}", fields.join(","), both("e", last))
    };
    check(&wanted(499), &inner, true);
    check(&wanted(500), &inner, false);
    let outer = format!("{{\"o\":[{inner},{inner},{inner}]}}");
    check(&format!("{{\"o\":{}}}", wanted(499)), &outer, true);
    check(&format!("{{\"o\":{}}}", wanted(500)), &outer, false);
}
