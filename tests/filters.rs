//! The filter against a second one, written slowly and obviously by others.

use windlass_core::filter::{Criteria, Scratch, Subject, View};
use windlass_testkit::naive_filter;
use windlass_testkit::patterns::{Case, any_case};

/// Cases of seeds that are always the same.
const N_FIXED: u64 = 30_000;

/// Cases more, of seeds that nobody has chosen.
const N_FRESH: u64 = 5_000;

#[test]
fn both_filters_say_the_same() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let fresh = now.unwrap().as_secs() << 20;
    println!("fresh seeds begin at {fresh}");
    let mut scratch = Scratch::default();
    let mut n_matches = 0;
    for seed in (0..N_FIXED).chain(fresh..fresh + N_FRESH) {
        let case = any_case(seed);
        let answer = answer(&case, &mut scratch);
        let expected = naive_filter::compile(&case.pattern).ok();
        let expected = expected.map(|pattern| pattern.matches(&case.event));
        assert_eq!(answer, expected, "seed {seed}: {case:#?}");
        n_matches += u64::from(answer == Some(true));
    }
    assert!(N_FIXED / 5 < n_matches, "only {n_matches} match");
}

/// Whether the event matches; `None`: the pattern is refused.
fn answer(case: &Case, scratch: &mut Scratch) -> Option<bool> {
    let criteria = Criteria::compile(View::Whole, &[case.pattern.as_str()]).ok()?;
    let subject = Subject {
        event: case.event.as_bytes(),
        data: b"",
    };
    let passes = criteria.passes(subject, scratch);
    let explained = criteria.explain(subject).passes;
    assert_eq!(passes, explained, "explained: {case:#?}");
    Some(passes)
}
