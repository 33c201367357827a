//! What records of Kinesis and messages carry is judged as an event of its own would be: the filters
//! of these sources against a second filter that knows of no sources.

use base64_simd::STANDARD;
use serde_json::value::RawValue;
use windlass_filter::{Criteria, Scratch, Subject, View};
use windlass_testkit::naive_filter;
use windlass_testkit::patterns::{Case, any_case};

const N_CASES: u64 = 10_000;

#[test]
fn data_of_kinesis_is_judged_as_an_event() {
    compare(|event| {
        let data = STANDARD.encode_to_string(event);
        Carrier {
            view: View::Kinesis,
            key: "data",
            record: format!(r#"{{"kinesis":{{"data":"{data}"}},"from":"here"}}"#),
            data,
        }
    });
}

#[test]
fn a_body_is_judged_as_an_event() {
    compare(|event| {
        let quoted = serde_json::Value::from(event).to_string();
        Carrier {
            view: View::Sqs,
            key: "body",
            record: format!(r#"{{"body":{quoted},"from":"here"}}"#),
            data: quoted[1..quoted.len() - 1].to_owned(),
        }
    });
}

/// A record with an event as its data.
struct Carrier {
    view: View,
    /// Under which name patterns find the data.
    key: &'static str,
    record: String,
    /// As it stands in the record.
    data: String,
}

fn compare(carrier: impl Fn(&str) -> Carrier) {
    let mut scratch = Scratch::default();
    let (mut n_judged, mut n_matches) = (0, 0);
    for seed in 0..N_CASES {
        let case = any_case(seed);
        let Some(expected) = expected(&case) else {
            continue;
        };
        let carrier = carrier(&case.event);
        let own = format!(r#""{}":{}"#, carrier.key, case.pattern);
        let mut check = |patterns: &[&str], expected: bool| {
            let passes = carrier.passes(patterns, &mut scratch);
            assert_eq!(passes, expected, "seed {seed}, {patterns:?}: {case:#?}");
        };
        check(&[&format!("{{{own}}}")], expected);
        // Beside a condition on the record, before it and behind it.
        check(&[&format!(r#"{{"from":["here"],{own}}}"#)], expected);
        check(&[&format!(r#"{{{own},"from":["there"]}}"#)], false);
        // Beside another filter.
        let [here, there] = [r#"{"from":["here"]}"#, r#"{"from":["there"]}"#];
        check(&[there, &format!("{{{own}}}")], expected);
        check(&[&format!("{{{own}}}"), here], true);
        n_judged += 1;
        n_matches += u64::from(expected);
    }
    assert!(N_CASES / 2 < n_judged, "only {n_judged} are judged");
    assert!(N_CASES / 5 < n_matches, "only {n_matches} match");
}

/// Whether the event matches; `None`: there is no such pattern, or something stands behind it, or
/// the event is no object, while data may be something else.
fn expected(case: &Case) -> Option<bool> {
    let pattern = naive_filter::compile(&case.pattern).ok()?;
    serde_json::from_str::<&RawValue>(&case.pattern).ok()?;
    let is_object = case.event.trim_start().starts_with('{');
    is_object.then(|| pattern.matches(&case.event))
}

impl Carrier {
    fn passes(&self, patterns: &[&str], scratch: &mut Scratch) -> bool {
        let criteria = Criteria::compile(self.view, patterns);
        let criteria = criteria.expect("the patterns are valid");
        let subject = Subject {
            event: self.record.as_bytes(),
            data: self.data.as_bytes(),
        };
        let passes = criteria.passes(subject, scratch);
        let explained = criteria.explain(subject).passes;
        assert_eq!(passes, explained, "explained: {patterns:?}");
        passes
    }
}
