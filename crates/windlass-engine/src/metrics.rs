//! Every metric by name.
//!
//! Counters carry the names of AWS's event source mapping metrics. They mirror the counts of the
//! status board, so that the two always agree.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html>

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Outcome;

use crate::budget::ByteBudget;
use crate::status::{Counts, StatusBoard};

/// The name of a counter, what it counts, and where the count is.
type CounterOfCounts = (&'static str, &'static str, fn(&Counts) -> u64);

const POLLED: &str = "windlass_polled_events_total";
const FILTERED_OUT: &str = "windlass_filtered_out_events_total";
const INVOKED: &str = "windlass_invoked_events_total";
const FAILED_INVOKE: &str = "windlass_failed_invoke_events_total";
const DROPPED: &str = "windlass_dropped_events_total";
const DELIVERED: &str = "windlass_on_failure_destination_delivered_events_total";
const DELETED: &str = "windlass_deleted_events_total";
const ITERATOR_AGE: &str = "windlass_iterator_age_seconds";
const INVOCATION: &str = "windlass_invocation_seconds";
const DRIVERS: &str = "windlass_drivers";
const BUFFERED: &str = "windlass_buffered_bytes";
const BUFFER_LIMIT: &str = "windlass_buffer_limit_bytes";

const COUNTERS: [CounterOfCounts; 7] = [
    (POLLED, "events read from the source", |counts| {
        counts.polled.get()
    }),
    (FILTERED_OUT, "events passed over", |counts| {
        counts.filtered_out.get()
    }),
    (
        INVOKED,
        "events sent to the function, retries included",
        |counts| counts.invoked.get(),
    ),
    (FAILED_INVOKE, "events the function failed", |counts| {
        counts.failed_events.get()
    }),
    (DROPPED, "events given up", |counts| counts.dropped.get()),
    (
        DELIVERED,
        "events delivered to the on-failure destination",
        |counts| counts.on_failure_delivered.get(),
    ),
    (
        DELETED,
        "messages deleted from the queue after success",
        |counts| counts.deleted.get(),
    ),
];

/// Describes every metric; once for a recorder.
pub fn describe() {
    for (name, text, _) in COUNTERS {
        describe_counter!(name, text);
    }
    describe_histogram!(
        ITERATOR_AGE,
        "age of the last record of a batch when it was sent"
    );
    describe_histogram!(INVOCATION, "how long invocations took, by result");
    describe_gauge!(DRIVERS, "consumers that run");
    describe_gauge!(BUFFERED, "bytes of events that are held");
    describe_gauge!(BUFFER_LIMIT, "bytes of events that may be held");
}

/// Brings counters and gauges up to date; before each scrape.
pub fn publish(board: &StatusBoard, budget: &ByteBudget) {
    for (mapping, counts) in board.counts() {
        for (name, _, count) in COUNTERS {
            counter!(name, "mapping" => mapping.to_string()).absolute(count(&counts));
        }
    }
    gauge!(DRIVERS).set(as_f64(board.n_units()));
    gauge!(BUFFERED).set(as_f64(budget.used()));
    gauge!(BUFFER_LIMIT).set(as_f64(budget.total()));
}

/// The age of the last record of a batch that is sent.
pub(crate) fn iterator_age(mapping: &MappingId, age: Duration) {
    histogram!(ITERATOR_AGE, "mapping" => mapping.to_string()).record(age.as_secs_f64());
}

/// An invocation has ended.
pub(crate) fn invocation(mapping: &MappingId, outcome: &Outcome, took: Duration) {
    let result = match outcome {
        Outcome::Success => "success",
        Outcome::FunctionError { .. } => "function_error",
        Outcome::NotInvoked { .. } => "not_invoked",
    };
    histogram!(INVOCATION, "mapping" => mapping.to_string(), "result" => result)
        .record(took.as_secs_f64());
}

fn as_f64(number: usize) -> f64 {
    u32::try_from(number / 1024).map_or(f64::MAX, f64::from) * 1024.0
        + f64::from(u16::try_from(number % 1024).expect("less than 1024"))
}
