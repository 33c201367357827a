//! The data of Kinesis records and SQS messages matches as an event of its own would: compares the
//! filters of these sources with the naive filter, which knows no sources.

use base64_simd::STANDARD;
use serde_json::value::RawValue;
use windlass_filter::{Criteria, Event, EventFormat, MatchBuffers};
use windlass_testkit::naive_filter;
use windlass_testkit::patterns::{Case, any_case};

const N_CASES: u64 = 10_000;

#[test]
fn kinesis_data_matches_as_an_event_would() {
    compare(|event| {
        let data = STANDARD.encode_to_string(event);
        Carrier {
            format: EventFormat::Kinesis,
            field: "data",
            record: format!(r#"{{"kinesis":{{"data":"{data}"}},"from":"here"}}"#),
            data,
        }
    });
}

#[test]
fn a_body_matches_as_an_event_would() {
    compare(|event| {
        let quoted = serde_json::Value::from(event).to_string();
        Carrier {
            format: EventFormat::Sqs,
            field: "body",
            record: format!(r#"{{"body":{quoted},"from":"here"}}"#),
            data: quoted[1..quoted.len() - 1].to_owned(),
        }
    });
}

/// A record with an event as its data.
struct Carrier {
    format: EventFormat,
    /// The field of patterns for the data.
    field: &'static str,
    record: String,
    /// As written in the record.
    data: String,
}

fn compare(carrier: impl Fn(&str) -> Carrier) {
    let mut buffers = MatchBuffers::default();
    let (mut n_compared, mut n_matches) = (0, 0);
    for seed in 0..N_CASES {
        let case = any_case(seed);
        let Some(expected) = expected(&case) else {
            continue;
        };
        let carrier = carrier(&case.event);
        let own = format!(r#""{}":{}"#, carrier.field, case.pattern);
        let mut check = |patterns: &[&str], expected: bool| {
            let matches = carrier.matches(patterns, &mut buffers);
            assert_eq!(matches, expected, "seed {seed}, {patterns:?}: {case:#?}");
        };
        check(&[&format!("{{{own}}}")], expected);
        // With a condition on the record, before and after it.
        check(&[&format!(r#"{{"from":["here"],{own}}}"#)], expected);
        check(&[&format!(r#"{{{own},"from":["there"]}}"#)], false);
        // With another filter.
        let [here, there] = [r#"{"from":["here"]}"#, r#"{"from":["there"]}"#];
        check(&[there, &format!("{{{own}}}")], expected);
        check(&[&format!("{{{own}}}"), here], true);
        n_compared += 1;
        n_matches += u64::from(expected);
    }
    assert!(N_CASES / 2 < n_compared, "only {n_compared} are compared");
    assert!(N_CASES / 5 < n_matches, "only {n_matches} match");
}

/// Whether the event matches. `None` for cases that do not apply to data: the pattern is invalid or
/// followed by more text, or the event is not an object, which data need not be.
fn expected(case: &Case) -> Option<bool> {
    let pattern = naive_filter::compile(&case.pattern).ok()?;
    serde_json::from_str::<&RawValue>(&case.pattern).ok()?;
    let is_object = case.event.trim_start().starts_with('{');
    is_object.then(|| pattern.matches(&case.event))
}

impl Carrier {
    fn matches(&self, patterns: &[&str], buffers: &mut MatchBuffers) -> bool {
        let criteria = Criteria::compile(self.format, patterns);
        let criteria = criteria.expect("the patterns are valid");
        let event = Event {
            json: self.record.as_bytes(),
            data: self.data.as_bytes(),
        };
        let matches = criteria.matches(event, buffers);
        let explained = criteria.explain(event).matches;
        assert_eq!(matches, explained, "explained: {patterns:?}");
        matches
    }
}
