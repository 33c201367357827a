//! Compares our parsers with the SDK's: both parse the same bytes, and every event is compared with
//! one built from the SDK's types.

mod checks;
mod dynamodb;
mod errors;
mod fan_out;
mod json;
mod kinesis;
mod malformed;
mod policies;
mod prepared_call;
mod queues;
mod redrive;
mod roles;
mod server_clock;
mod sqs;
mod streams;
mod timeouts;
mod unusual;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_smithy_types::DateTime;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;
use windlass_core::ids::{KeyHash, ShardId};
use windlass_core::position::Cursor;
use windlass_core::shard::ReadResult;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{KeptMemory, PortError, ReadLimits, ResponseMemory, StreamReader};

/// Generated responses of each service.
const CASES: u32 = 800;

const READ_TIMEOUT: Duration = Duration::from_secs(40);

/// Memory of a fixed size for each response.
#[derive(Debug)]
struct Room {
    bytes: usize,
}

/// No limit.
const ROOM: Room = Room { bytes: usize::MAX };

#[async_trait]
impl ResponseMemory for Room {
    async fn reserve(&self, _: Option<usize>) -> usize {
        self.bytes
    }

    fn keep(&self, _: usize) -> KeptMemory {
        Box::new(())
    }
}

/// Limits the number of records, but not their size.
const fn limits(max_records: u32) -> ReadLimits<'static> {
    ReadLimits {
        max_records,
        memory: &ROOM,
        timeout: READ_TIMEOUT,
    }
}

/// Opens a shard for one read.
trait ReadOnce {
    async fn read(
        &self,
        shard: &ShardId,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError>;
}

impl<T: StreamReader + ?Sized> ReadOnce for Arc<T> {
    async fn read(
        &self,
        shard: &ShardId,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError> {
        Arc::clone(self).open(shard).read(from, limits).await
    }
}

/// Runs a comparison with many responses; a failure prints the smallest one that fails.
#[track_caller]
fn for_many<S: proptest::strategy::Strategy>(
    cases: u32,
    responses: &S,
    compare: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    if let Err(failure) = TestRunner::new(config).run(responses, compare) {
        panic!("{failure}");
    }
}

/// Removes the time, which must have a fraction, from a rendered event, so that the rest can be
/// compared.
fn take_seconds(event: &mut Value, pointer: &str) -> f64 {
    let seconds = event
        .pointer_mut(pointer)
        .map(Value::take)
        .unwrap_or_default();
    assert!(seconds.is_f64(), "{pointer} has no fraction: {seconds}");
    seconds.as_f64().unwrap_or_default()
}

/// A time of the SDK, rounded to the millisecond.
fn millis(time: &DateTime) -> i128 {
    (time.as_nanos() + 500_000).div_euclid(1_000_000)
}

/// Asserts that the times of a record and of its event are that of the SDK.
#[track_caller]
fn assert_same_time(record: Timestamp, event: f64, typed: &DateTime) {
    assert_eq!(i128::from(record.as_millis()), millis(typed));
    let event = (event * 1000.0).round();
    assert!((event - millis(typed) as f64).abs() < 0.5, "{event}");
}

fn hash(text: &str) -> KeyHash {
    KeyHash::of(text.as_bytes())
}

#[track_caller]
fn parsed(event: &[u8]) -> Value {
    serde_json::from_slice(event).expect("an event is JSON")
}
