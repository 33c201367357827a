//! The raw answers and the SDK's typed ones are the same: both are made of the same bytes, and every
//! record is compared with one built from what the SDK understood.

mod broken;
mod dynamodb;
mod errors;
mod json;
mod kinesis;
mod queues;
mod sqs;
mod streams;

use aws_smithy_types::DateTime;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;
use windlass_core::ids::KeyHash;
use windlass_core::time::Timestamp;
use windlass_engine::ports::ReadLimits;

/// Generated answers of each service.
const CASES: u32 = 800;

/// So many records, however large.
const fn limits(records: u32) -> ReadLimits {
    ReadLimits {
        max_records: records,
        max_bytes: usize::MAX,
    }
}

/// Runs a comparison of many answers; a failure prints the smallest that fails.
#[track_caller]
fn for_many<S: proptest::strategy::Strategy>(
    cases: u32,
    answers: &S,
    compare: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    if let Err(failure) = TestRunner::new(config).run(answers, compare) {
        panic!("{failure}");
    }
}

/// The time in a rendered event, which must have a fraction; taken out, so that the rest can be
/// compared as it is.
fn take_seconds(event: &mut Value, pointer: &str) -> f64 {
    let seconds = event
        .pointer_mut(pointer)
        .map(Value::take)
        .unwrap_or_default();
    assert!(seconds.is_f64(), "{pointer} has no fraction: {seconds}");
    seconds.as_f64().unwrap_or_default()
}

/// What the SDK understood of a time, to the millisecond.
fn millis(moment: &DateTime) -> i128 {
    (moment.as_nanos() + 500_000).div_euclid(1_000_000)
}

/// Whether the time in the record and the one in its event are the one that the SDK understood.
#[track_caller]
fn same_moment(record: Timestamp, event: f64, typed: &DateTime) {
    assert_eq!(i128::from(record.as_millis()), millis(typed));
    let event = (event * 1000.0).round();
    assert!((event - millis(typed) as f64).abs() < 0.5, "{event}");
}

fn hash(text: &str) -> KeyHash {
    KeyHash::of(text.as_bytes())
}

/// The event of a record.
#[track_caller]
fn parsed(event: &[u8]) -> Value {
    serde_json::from_slice(event).expect("an event is JSON")
}
