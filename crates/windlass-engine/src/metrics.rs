//! Every metric by name.
//!
//! Counters have the names of AWS's event source mapping metrics. They are copies of the status
//! board's counts, so the two always agree.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html>

use metrics::{Label, counter, describe_counter, describe_gauge, gauge};
use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::time::Timestamp;

use crate::memory::Budget;
use crate::metrics_text::{render_head, render_labels, series};
use crate::requests::QueueOperation;
use crate::settings::{MAX_BUFFERED_BYTES, MAX_BUFFERED_MESSAGES, MAX_BUFFERED_RECORDS};
use crate::status::{Counts, LeaseCounts, StatusBoard};

/// Name, help text and value of a counter.
type CounterOfCounts = (&'static str, &'static str, fn(&Counts) -> u64);

/// A state, and the number of leases in it.
type StateOfLeases = (&'static str, fn(&LeaseCounts) -> usize);

const POLLED: &str = "windlass_polled_events_total";
const FILTERED_OUT: &str = "windlass_filtered_out_events_total";
const OUTSIDE_HASH_KEY_RANGE: &str = "windlass_outside_hash_key_range_events_total";
const INVOKED: &str = "windlass_invoked_events_total";
const FAILED_INVOKE: &str = "windlass_failed_invoke_events_total";
const DROPPED: &str = "windlass_dropped_events_total";
const DEAD_LETTER_EVENTS: &str = "windlass_dead_letter_events_total";
const SKIPPED: &str = "windlass_skipped_events_total";
const TRIMMED_GAPS: &str = "windlass_trimmed_gaps_total";
const RECREATED: &str = "windlass_recreated_shards_total";
const LOST: &str = "windlass_lost_shards_total";
const DELIVERED: &str = "windlass_on_failure_destination_delivered_events_total";
const DELETED: &str = "windlass_deleted_events_total";
const QUEUE_REQUESTS: &str = "windlass_queue_requests_total";
const LATE_RECEIVES: &str = "windlass_late_receives_total";
const IGNORED_RETRY_AFTER: &str = "windlass_ignored_retry_after_total";
const DEAD_LETTERS: &str = "windlass_dead_letters";
const DEAD_LETTER_BYTES: &str = "windlass_dead_letter_bytes";
const DEAD_LETTERS_EXPIRED: &str = "windlass_dead_letters_expired_total";
const DEAD_LETTERS_DROPPED: &str = "windlass_dead_letters_dropped_total";
const ITERATOR_AGE: &str = "windlass_iterator_age_seconds";
const SHARD_BEHIND: &str = "windlass_shard_behind_seconds";
const INVOCATION: &str = "windlass_invocation_seconds";
const DRIVERS: &str = "windlass_drivers";
const LEASES: &str = "windlass_leases";
const BUFFERED: &str = "windlass_buffered_bytes";
const BUFFER_LIMIT: &str = "windlass_buffer_limit_bytes";
const INVOCATIONS: &str = "windlass_concurrent_invocations";
const QUEUE_INVOCATIONS: &str = "windlass_queue_concurrent_invocations";
const LIMIT: &str = "windlass_limit";
const FUNCTION_PROCESSES: &str = "windlass_function_processes";
const FUNCTION_BUSY: &str = "windlass_function_busy";
const FUNCTION_STARTS: &str = "windlass_function_starts_total";
const FUNCTION_EXITS: &str = "windlass_function_exits_total";
const REFUSED_REQUESTS: &str = "windlass_refused_requests_total";
const LOG_LINES_DROPPED: &str = "windlass_log_lines_dropped_total";

const COUNTERS: [CounterOfCounts; 15] = [
    (POLLED, "events read from the source", |counts| {
        counts.polled.get()
    }),
    (FILTERED_OUT, "events that no filter matched", |counts| {
        counts.filtered_out.get()
    }),
    (
        OUTSIDE_HASH_KEY_RANGE,
        "events of aggregates whose keys belong to other shards; AWS drops them",
        |counts| counts.outside_hash_key_range.get(),
    ),
    (
        INVOKED,
        "events sent to the function, retries included",
        |counts| counts.invoked.get(),
    ),
    (
        FAILED_INVOKE,
        "events of invocations that ended with a function error",
        |counts| counts.failed_events.get(),
    ),
    (
        DROPPED,
        "events given up without an on-failure destination, kept or not",
        |counts| counts.dropped.get(),
    ),
    (
        DEAD_LETTER_EVENTS,
        "events given up and kept as dead letters",
        |counts| counts.dead_letters.get(),
    ),
    (
        SKIPPED,
        "events skipped by an operator, or since they arrived before the start of their mapping",
        |counts| counts.skipped.get(),
    ),
    (
        TRIMMED_GAPS,
        "times that records left the source before they were read, or its position was unknown",
        |counts| counts.trimmed_gaps.get(),
    ),
    (
        RECREATED,
        "shards read from the start because their stream was deleted and created again",
        |counts| counts.recreated_shards.get(),
    ),
    (
        LOST,
        "shards that left their stream before they were resolved",
        |counts| counts.lost_shards.get(),
    ),
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
    (
        LATE_RECEIVES,
        "receives whose messages waited for memory beyond half of their visibility timeout",
        |counts| counts.late_receives.get(),
    ),
    (
        IGNORED_RETRY_AFTER,
        "failed items whose retryAfterSeconds was ignored",
        |counts| counts.ignored_retry_after.get(),
    ),
];

const STATES: [StateOfLeases; 4] = [
    ("running", |leases| leases.running),
    ("waiting", |leases| leases.waiting),
    ("elsewhere", |leases| leases.elsewhere),
    ("ended", |leases| leases.ended),
];

/// Sets the help texts; call it once for each recorder.
pub fn describe() {
    for (name, text, _) in COUNTERS {
        describe_counter!(name, text);
    }
    describe_counter!(QUEUE_REQUESTS, "requests to a queue, by operation");
    describe_gauge!(DRIVERS, "running consumers");
    describe_gauge!(LEASES, "shards and queue slots, by state");
    describe_gauge!(BUFFERED, "bytes of events in memory");
    describe_gauge!(BUFFER_LIMIT, "limit of the bytes of events in memory");
    describe_gauge!(INVOCATIONS, "invocations in flight");
    describe_gauge!(
        QUEUE_INVOCATIONS,
        "invocations in flight of a mapping on a queue"
    );
    describe_gauge!(FUNCTION_PROCESSES, "processes of a function");
    describe_gauge!(FUNCTION_BUSY, "processes of a function that have an event");
    describe_counter!(FUNCTION_STARTS, "starts of processes of a function");
    describe_counter!(FUNCTION_EXITS, "processes of a function that have ended");
    describe_counter!(
        REFUSED_REQUESTS,
        "requests of callers that could not be authenticated"
    );
    describe_gauge!(DEAD_LETTERS, "dead letters in the store");
    describe_gauge!(DEAD_LETTER_BYTES, "bytes of their payloads");
    describe_counter!(
        DEAD_LETTERS_EXPIRED,
        "dead letters deleted after their retention"
    );
    describe_counter!(
        DEAD_LETTERS_DROPPED,
        "dead letters dropped to make room for newer ones"
    );
    describe_gauge!(LIMIT, "limits of the daemon, by name");
    describe_counter!(
        LOG_LINES_DROPPED,
        "lines of the log that could not be written, or not in time"
    );
}

/// Updates counters and gauges; call it before each scrape.
pub fn publish(board: &StatusBoard, budget: &Budget) {
    for (labels, counts) in board.counts() {
        for (name, _, count) in COUNTERS {
            counter!(name, labels.iter()).absolute(count(&counts));
        }
        for operation in QueueOperation::ALL {
            let n_requests = counts.requests.get(operation);
            if 0 < n_requests {
                let labels = labels.with("operation", operation.name());
                counter!(QUEUE_REQUESTS, labels).absolute(n_requests);
            }
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
    for (name, counts) in board.functions() {
        let labels = vec![Label::new("function", name)];
        gauge!(FUNCTION_PROCESSES, labels.clone()).set(as_f64(counts.processes));
        gauge!(FUNCTION_BUSY, labels.clone()).set(as_f64(counts.busy));
        counter!(FUNCTION_STARTS, labels.clone()).absolute(counts.starts);
        counter!(FUNCTION_EXITS, labels).absolute(counts.exits);
    }
    let dead_letters = board.dead_letters();
    let totals = dead_letters.totals();
    gauge!(DEAD_LETTERS).set(as_f64(size(totals.letters)));
    gauge!(DEAD_LETTER_BYTES).set(as_f64(size(totals.bytes)));
    counter!(DEAD_LETTERS_EXPIRED).absolute(dead_letters.expired.get());
    counter!(DEAD_LETTERS_DROPPED).absolute(dead_letters.dropped_oldest.get());
    limit("buffered_bytes", budget.total());
    limit("buffered_bytes_per_shard", MAX_BUFFERED_BYTES);
    limit("buffered_records_per_shard", MAX_BUFFERED_RECORDS);
    limit("buffered_messages_per_queue", MAX_BUFFERED_MESSAGES);
    limit("payload_bytes", PAYLOAD_LIMIT);
    if let Some(limits) = board.limits() {
        gauge!(INVOCATIONS).set(as_f64(limits.invocations.used()));
        limit("concurrent_invocations", limits.invocations.limit());
        limit("concurrent_invocations_per_queue", limits.queue_concurrency);
    }
}

/// Updates the counter of requests that the API has refused; call it before each scrape.
pub fn publish_refused_requests(refused: u64) {
    counter!(REFUSED_REQUESTS).absolute(refused);
}

/// Updates the counter of lines that the log has dropped; call it before each scrape.
pub fn publish_log(dropped: u64) {
    counter!(LOG_LINES_DROPPED).absolute(dropped);
}

/// The histograms of all mappings, in the text format of Prometheus.
pub fn render_histograms(board: &StatusBoard) -> String {
    let mut text = String::new();
    let mappings = board.invocation_metrics();
    let help = "age of the last record of a batch when the batch is sent";
    render_head(&mut text, ITERATOR_AGE, "histogram", help);
    for (labels, metrics) in &mappings {
        let labels = labels.iter().cloned().collect::<Vec<_>>();
        metrics
            .iterator_age
            .render(&mut text, ITERATOR_AGE, &labels);
    }
    let help = "duration of invocations, by result";
    render_head(&mut text, INVOCATION, "histogram", help);
    for (labels, metrics) in &mappings {
        for (result, histogram) in [
            ("success", &metrics.success),
            ("function_error", &metrics.function_error),
            ("not_invoked", &metrics.not_invoked),
        ] {
            histogram.render(&mut text, INVOCATION, &labels.with("result", result));
        }
    }
    text
}

/// How far each running shard is behind its tip, in the text format of Prometheus; `wall` is the
/// daemon's wall time. A stream may have thousands of shards, so these series are an option.
pub fn render_shards(board: &StatusBoard, wall: Timestamp) -> String {
    let mut text = String::new();
    let help = "age of the oldest record of a shard that is not resolved or not read";
    render_head(&mut text, SHARD_BEHIND, "gauge", help);
    for (labels, shard, behind) in board.shards_behind(wall) {
        let labels = render_labels(&labels.with("shard", shard.to_string()));
        series(&mut text, SHARD_BEHIND, &labels, behind.as_secs_f64());
    }
    text
}

fn limit(name: &'static str, value: usize) {
    gauge!(LIMIT, "limit" => name).set(as_f64(value));
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn as_f64(number: usize) -> f64 {
    u32::try_from(number / 1024).map_or(f64::MAX, f64::from) * 1024.0
        + f64::from(u16::try_from(number % 1024).expect("less than 1024"))
}
