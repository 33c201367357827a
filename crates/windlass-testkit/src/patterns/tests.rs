//! The generated cases must be varied enough to be useful.

use super::*;
use crate::naive_filter::compile;

const SEEDS: std::ops::Range<u64> = 0..4000;

#[test]
fn patterns_are_valid_and_30_to_70_percent_of_the_events_match() {
    let mut n_matches = 0;
    for seed in SEEDS {
        let case = case(seed);
        let pattern = compile(&case.pattern).unwrap_or_else(|why| panic!("{why}: {case:?}"));
        n_matches += u64::from(pattern.matches(&case.event));
    }
    assert!((1200..2800).contains(&n_matches), "{n_matches}");
}

#[test]
fn most_corrupted_patterns_are_invalid() {
    let is_invalid = |seed: &u64| compile(&corrupted_pattern(*seed).pattern).is_err();
    let n_invalid = SEEDS.filter(is_invalid).count();
    assert!((2400..3900).contains(&n_invalid), "{n_invalid}");
}

#[test]
fn corrupted_events_never_match() {
    for seed in SEEDS {
        let case = corrupted_event(seed);
        let pattern = compile(&case.pattern).unwrap();
        assert!(!pattern.matches(&case.event), "{case:?}");
    }
}

#[test]
fn a_seed_always_gives_the_same_case() {
    assert_eq!(case(7), case(7));
    assert_ne!(case(7), case(8));
}
