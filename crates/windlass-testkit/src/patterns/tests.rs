//! What is drawn must be worth drawing.

use super::*;
use crate::naive_filter::compile;

const SEEDS: std::ops::Range<u64> = 0..4000;

#[test]
fn patterns_are_valid_and_a_good_part_of_the_events_match() {
    let mut n_matches = 0;
    for seed in SEEDS {
        let case = case(seed);
        let pattern = compile(&case.pattern).unwrap_or_else(|why| panic!("{why}: {case:?}"));
        n_matches += u64::from(pattern.matches(&case.event));
    }
    assert!((1200..2800).contains(&n_matches), "{n_matches}");
}

#[test]
fn most_damaged_patterns_are_invalid() {
    let is_invalid = |seed: &u64| compile(&damaged_pattern(*seed).pattern).is_err();
    let n_invalid = SEEDS.filter(is_invalid).count();
    assert!((2400..3900).contains(&n_invalid), "{n_invalid}");
}

#[test]
fn damaged_events_never_match() {
    for seed in SEEDS {
        let case = damaged_event(seed);
        let pattern = compile(&case.pattern).unwrap();
        assert!(!pattern.matches(&case.event), "{case:?}");
    }
}

#[test]
fn a_seed_gives_the_same_case_again() {
    assert_eq!(case(7), case(7));
    assert_ne!(case(7), case(8));
}
