//! Every metric by name.
//!
//! Counters carry the names of AWS's event source mapping metrics. They mirror the counts of the
//! status board, so that the two always agree.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html>

use std::time::Duration;

use metrics::{
    Histogram, Label, SharedString, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use windlass_core::arn::Arn;
use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Outcome;

use crate::memory::Budget;
use crate::settings::{MAX_BUFFERED_BYTES, MAX_BUFFERED_MESSAGES, MAX_BUFFERED_RECORDS};
use crate::status::{Counts, LeaseCounts, StatusBoard};

/// The name of a counter, what it counts, and where the count is.
type CounterOfCounts = (&'static str, &'static str, fn(&Counts) -> u64);

/// A state of leases, and how many have it.
type StateOfLeases = (&'static str, fn(&LeaseCounts) -> usize);

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
const LEASES: &str = "windlass_leases";
const BUFFERED: &str = "windlass_buffered_bytes";
const BUFFER_LIMIT: &str = "windlass_buffer_limit_bytes";
const INVOCATIONS: &str = "windlass_concurrent_invocations";
const QUEUE_INVOCATIONS: &str = "windlass_queue_concurrent_invocations";
const LIMIT: &str = "windlass_limit";

/// How the series of one mapping are labelled: by its UUID and by the name of its function.
#[derive(Clone, Debug)]
pub(crate) struct Labels([Label; 2]);

/// The series of the invocations of one consumer, looked up once.
#[derive(Clone)]
pub(crate) struct InvocationMetrics {
    iterator_age: Histogram,
    success: Histogram,
    function_error: Histogram,
    not_invoked: Histogram,
}

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

const STATES: [StateOfLeases; 4] = [
    ("running", |leases| leases.running),
    ("waiting", |leases| leases.waiting),
    ("elsewhere", |leases| leases.elsewhere),
    ("ended", |leases| leases.ended),
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
    describe_gauge!(LEASES, "shards and slots of queues, by who processes them");
    describe_gauge!(BUFFERED, "bytes that events take in memory");
    describe_gauge!(BUFFER_LIMIT, "bytes that events may take in memory");
    describe_gauge!(INVOCATIONS, "invocations that are under way");
    describe_gauge!(
        QUEUE_INVOCATIONS,
        "invocations that are under way for a queue"
    );
    describe_gauge!(LIMIT, "every limit of the daemon, by name");
}

/// Brings counters and gauges up to date; before each scrape.
pub fn publish(board: &StatusBoard, budget: &Budget) {
    for (labels, counts) in board.counts() {
        for (name, _, count) in COUNTERS {
            counter!(name, labels.iter()).absolute(count(&counts));
        }
    }
    gauge!(DRIVERS).set(as_f64(board.n_units()));
    let leases = board.leases().unwrap_or_default();
    for (state, count) in STATES {
        gauge!(LEASES, "state" => state).set(as_f64(count(&leases)));
    }
    gauge!(BUFFERED).set(as_f64(budget.used()));
    gauge!(BUFFER_LIMIT).set(as_f64(budget.total()));
    for (labels, n_invocations) in board.queue_invocations() {
        gauge!(QUEUE_INVOCATIONS, labels.iter()).set(as_f64(n_invocations));
    }
    limit("buffered_bytes", budget.total());
    limit("buffered_bytes_per_shard", MAX_BUFFERED_BYTES);
    limit("buffered_records_per_shard", MAX_BUFFERED_RECORDS);
    limit("buffered_messages_per_queue", MAX_BUFFERED_MESSAGES);
    limit("payload_bytes", PAYLOAD_LIMIT);
    if let Some(limits) = board.limits() {
        gauge!(INVOCATIONS).set(as_f64(limits.invocations.used()));
        limit("concurrent_invocations", limits.invocations.total());
        limit("concurrent_invocations_per_queue", limits.queue_concurrency);
    }
}

fn limit(name: &'static str, value: usize) {
    gauge!(LIMIT, "limit" => name).set(as_f64(value));
}

impl Labels {
    pub(crate) fn new(mapping: &MappingId, function: &Arn) -> Self {
        let mapping = SharedString::from(mapping.to_string());
        Self([
            Label::new("mapping", mapping),
            Label::new("function", function_name(function)),
        ])
    }

    fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    fn with(&self, name: &'static str, value: &'static str) -> Vec<Label> {
        let mut labels = self.0.to_vec();
        labels.push(Label::from_static_parts(name, value));
        labels
    }
}

/// The name of a function, with its qualifier if it has one.
fn function_name(arn: &Arn) -> SharedString {
    let resource = arn.resource();
    let name = resource.strip_prefix("function:").unwrap_or(resource);
    name.to_owned().into()
}

impl InvocationMetrics {
    pub(crate) fn new(labels: &Labels) -> Self {
        let invocation = |result| histogram!(INVOCATION, labels.with("result", result));
        Self {
            iterator_age: histogram!(ITERATOR_AGE, labels.iter()),
            success: invocation("success"),
            function_error: invocation("function_error"),
            not_invoked: invocation("not_invoked"),
        }
    }

    /// A batch is sent whose last record has this age.
    pub(crate) fn iterator_age(&self, age: Duration) {
        self.iterator_age.record(age.as_secs_f64());
    }

    /// An invocation has ended.
    pub(crate) fn invocation(&self, outcome: &Outcome, took: Duration) {
        let series = match outcome {
            Outcome::Success => &self.success,
            Outcome::FunctionError { .. } => &self.function_error,
            Outcome::NotInvoked { .. } => &self.not_invoked,
        };
        series.record(took.as_secs_f64());
    }
}

fn as_f64(number: usize) -> f64 {
    u32::try_from(number / 1024).map_or(f64::MAX, f64::from) * 1024.0
        + f64::from(u16::try_from(number % 1024).expect("less than 1024"))
}
