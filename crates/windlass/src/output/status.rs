//! The status of mappings, shards and queues as tables, with notes in words below them.

use windlass_admin::report::{
    CheckpointReport, FunctionReport, MappingReport, QueueReport, ShardReport,
};
use windlass_core::arn::{SourceArn, SourceKind, StreamKind};
use windlass_core::function::FunctionName;

use super::display_millis;
use super::table::{Column, Narrow, push, render, tail};

/// Enough of a UUID to tell mappings apart; commands accept it.
const UUID_PREFIX_LEN: usize = 8;

/// The tables and notes of all reports; `width`: of the terminal, if it is one.
pub(crate) fn status_table(reports: &[MappingReport], width: Option<usize>) -> String {
    if reports.is_empty() {
        return "no mappings".to_owned();
    }
    let mut parts = vec![mappings_table(reports, width)];
    parts.extend(units_table(reports, width));
    let mut notes: Vec<String> = reports.iter().flat_map(notes).collect();
    if let [report] = reports {
        notes.extend(report.queue.as_ref().map(requests));
    }
    if !notes.is_empty() {
        parts.push(notes.join("\n"));
    }
    parts.join("\n\n")
}

/// The processes of functions, with their problems; `None` if there are none.
pub(crate) fn functions_table(
    functions: &[FunctionReport],
    width: Option<usize>,
) -> Option<String> {
    if functions.is_empty() {
        return None;
    }
    let mut columns = [
        Column::new("function", Narrow::Keep),
        Column::new("processes", Narrow::Keep),
        Column::new("busy", Narrow::Keep),
        Column::new("starts", Narrow::Keep),
        Column::new("exits", Narrow::Keep),
        Column::new("last start", Narrow::Drop),
    ];
    for function in functions {
        let row = [
            function.name.clone(),
            function.processes.to_string(),
            function.busy.to_string(),
            function.starts.to_string(),
            function.exits.to_string(),
            function.last_start_at.clone().unwrap_or_default(),
        ];
        push(&mut columns, row);
    }
    let mut parts = vec![render(columns, width)];
    let problems = functions.iter().filter_map(|function| {
        let problem = function.problem.as_ref()?;
        Some(format!("{}: {problem}", function.name))
    });
    parts.extend(problems);
    Some(parts.join("\n"))
}

fn mappings_table(reports: &[MappingReport], width: Option<usize>) -> String {
    let mut columns = [
        Column::new("mapping", Narrow::Keep),
        Column::new("state", Narrow::Keep),
        Column::new("events/s", Narrow::Keep),
        Column::new("behind", Narrow::Keep),
        Column::new("last result", Narrow::Shorten(short_result)),
        Column::new("uuid", Narrow::Shorten(uuid_prefix)),
        Column::new("failed", Narrow::Drop),
        Column::new("invoked", Narrow::Drop),
        Column::new("polled", Narrow::Drop),
    ];
    for report in reports {
        let row = [
            label(report),
            report.state.clone(),
            format!("{:.1}", report.events_per_second),
            report.behind_ms.map(display_millis).unwrap_or_default(),
            report.last_processing_result.clone(),
            report.uuid.clone(),
            report.counts.failed_invocations.to_string(),
            report.counts.invoked.to_string(),
            report.counts.polled.to_string(),
        ];
        push(&mut columns, row);
    }
    render(columns, width)
}

/// A row per shard or queue; `None` if there are none.
fn units_table(reports: &[MappingReport], width: Option<usize>) -> Option<String> {
    let mut columns = [
        Column::new("mapping", Narrow::Keep),
        Column::new("shard or queue", Narrow::Keep),
        Column::new("behind", Narrow::Keep),
        Column::new("held", Narrow::Drop),
        Column::new("in flight", Narrow::Drop),
        Column::new("last result", Narrow::Shorten(short_result)),
        Column::new("position", Narrow::Shorten(tail)),
    ];
    let mut is_empty = true;
    for report in reports {
        let shards = report.shards.iter().flatten().map(shard_cells);
        for [unit, cells @ ..] in shards.chain(report.queue.iter().map(queue_cells)) {
            is_empty = false;
            let [behind, held, in_flight, last_result, position] = cells;
            let row = [
                label(report),
                unit,
                behind,
                held,
                in_flight,
                last_result,
                position,
            ];
            push(&mut columns, row);
        }
    }
    (!is_empty).then(|| render(columns, width))
}

fn shard_cells(shard: &ShardReport) -> [String; 6] {
    [
        shard.shard_id.clone(),
        shard.behind_ms.map(display_millis).unwrap_or_default(),
        format!("{} records", shard.buffered_records),
        format!("{} records", shard.in_flight_records),
        shard.last_result.clone(),
        position(&shard.checkpoint),
    ]
}

fn queue_cells(queue: &QueueReport) -> [String; 6] {
    [
        "queue".to_owned(),
        String::new(),
        format!("{} messages", queue.held_messages),
        format!("{} messages", queue.in_flight_messages),
        queue.last_result.clone(),
        format!("{} received", queue.received),
    ]
}

pub(super) fn position(checkpoint: &CheckpointReport) -> String {
    match checkpoint {
        CheckpointReport::TrimHorizon => "trim horizon".to_owned(),
        CheckpointReport::AtTimestamp { timestamp } => timestamp.clone().unwrap_or_default(),
        CheckpointReport::At { sequence_number } => format!("at {sequence_number}"),
        CheckpointReport::After {
            sequence_number,
            sub_sequence_number,
        } => match sub_sequence_number {
            None => sequence_number.clone(),
            Some(inner) => format!("{sequence_number}:{inner}"),
        },
        CheckpointReport::ShardEnd => "shard end".to_owned(),
    }
}

/// What needs words: why a mapping cannot run, how its last invocation failed, what its shards or
/// its queue wait for.
fn notes(report: &MappingReport) -> Vec<String> {
    let (mut notes, mapping) = (Vec::new(), label(report));
    if let Some(problem) = &report.problem {
        notes.push(format!("{mapping}: cannot run: {problem}"));
    }
    if let Some(notice) = &report.notice {
        notes.push(format!("{mapping}: {notice}"));
    }
    let result = &report.last_processing_result;
    // It may repeat what keeps the whole mapping from its work.
    let repeats = report.problem.iter().any(|it| result.ends_with(it));
    if result.starts_with("PROBLEM") && !repeats {
        notes.push(format!("{mapping}: last result: {result}"));
    }
    if let Some(millis) = report.clock_difference_ms {
        let (difference, way) = (
            display_millis(millis.unsigned_abs()),
            if millis < 0 { "behind" } else { "ahead of" },
        );
        notes.push(format!(
            "{mapping}: the clock of the source is {difference} {way} the daemon's; the ages of \
             its records are measured by it"
        ));
    }
    for shard in report.shards.iter().flatten() {
        if let Some(reason) = &shard.waiting_for {
            notes.push(format!("{mapping}, {}: waiting: {reason}", shard.shard_id));
        }
        if let Some(gap) = &shard.gap {
            notes.push(format!("{mapping}, {}: {gap}", shard.shard_id));
        }
    }
    if let Some(reason) = report.queue.as_ref().and_then(|it| it.waiting_for.as_ref()) {
        notes.push(format!("{mapping}, queue: waiting: {reason}"));
    }
    let reduced = report.queue.as_ref().and_then(|it| it.reduced_concurrency);
    if let Some(limit) = reduced {
        notes.push(format!(
            "{mapping}, queue: at most {limit} invocations at a time, since some have failed; each \
             success allows one more"
        ));
    }
    notes
}

/// What a queue costs.
fn requests(queue: &QueueReport) -> String {
    let requests = queue.requests_per_minute.iter();
    let used = requests.filter(|(_, per_minute)| 0.0 < **per_minute);
    let used = used.map(|(operation, per_minute)| format!("{operation} {per_minute}"));
    let used = used.collect::<Vec<_>>();
    if used.is_empty() {
        return "requests a minute: none".to_owned();
    }
    format!("requests a minute: {}", used.join(", "))
}

/// Source and function by their names: `kinesis orders → resize`.
pub(crate) fn label(report: &MappingReport) -> String {
    let source = report.event_source_arn.as_deref().unwrap_or_default();
    label_of(source, &report.function_arn)
}

pub(crate) fn label_of(source: &str, function_arn: &str) -> String {
    let source = SourceArn::parse(source).map_or_else(
        || source.to_owned(),
        |source| format!("{} {}", service(source.kind()), source.arn().source_name()),
    );
    format!("{source} → {}", function_label(function_arn))
}

const fn service(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Stream(StreamKind::Kinesis) => "kinesis",
        SourceKind::Stream(StreamKind::DynamoDbStreams) => "dynamodb",
        SourceKind::Queue => "sqs",
    }
}

/// The name of a function with its qualifier.
pub(crate) fn function_label(arn: &str) -> String {
    let Some(name) = FunctionName::parse(arn) else {
        return arn.to_owned();
    };
    match name.qualifier {
        Some(qualifier) => format!("{}:{qualifier}", name.name),
        None => name.name,
    }
}

/// A result in a word; the notes below the tables have the full text.
fn short_result(result: &str) -> String {
    let (word, _) = result.split_once(':').unwrap_or((result, ""));
    if word == "No records processed" {
        return "none".to_owned();
    }
    word.to_owned()
}

pub(super) fn uuid_prefix(uuid: &str) -> String {
    uuid.get(..UUID_PREFIX_LEN).unwrap_or(uuid).to_owned()
}

#[cfg(test)]
mod tests {
    use windlass_admin::report::CountsReport;

    use super::*;

    const UUID: &str = "14e0db71-5d35-4eb5-b481-8945cf9d10c2";
    const NUMBER: &str = "49590338271490256608559692538361571095921575989136588898";
    const LABEL: &str = "kinesis orders → resize:live";

    fn report() -> MappingReport {
        MappingReport {
            uuid: UUID.to_owned(),
            event_source_arn: Some(
                "arn:aws:kinesis:us-east-1:000000000000:stream/orders".to_owned(),
            ),
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:resize:live".to_owned(),
            state: "Creating".to_owned(),
            last_processing_result: "PROBLEM: Function call failed".to_owned(),
            problem: Some("ListShards of stream orders failed (Gone)".to_owned()),
            notice: None,
            counts: CountsReport {
                polled: 5,
                invoked: 7,
                failed_invocations: 3,
                ..CountsReport::default()
            },
            events_per_second: 112.5,
            behind_ms: Some(1250),
            clock_difference_ms: Some(-8_000),
            shards: Some(vec![ShardReport {
                shard_id: "shardId-000000000000".to_owned(),
                daemon: None,
                checkpoint: CheckpointReport::After {
                    sequence_number: NUMBER.to_owned(),
                    sub_sequence_number: None,
                },
                behind_ms: Some(1250),
                buffered_records: 40,
                in_flight_records: 10,
                attempt: 4,
                last_result: "PROBLEM: Function call failed".to_owned(),
                waiting_for: Some("function answers with errors, attempt 4, next in 3.2 s".into()),
                next_at: None,
                gap: None,
                parked: None,
            }]),
            parked: None,
            queue: None,
        }
    }

    #[test]
    fn a_narrow_table_names_source_and_function_and_hides_no_reason() {
        let shown = status_table(&[report()], Some(100));
        let waiting = format!("{LABEL}, shardId-000000000000: waiting: function answers with");
        for part in [
            LABEL,
            "112.5",
            "14e0db71",
            "…989136588898",
            &format!("{LABEL}: cannot run: ListShards of stream orders failed (Gone)"),
            &format!("{LABEL}: last result: PROBLEM: Function call failed"),
            &format!("{LABEL}: the clock of the source is 8.0 s behind the daemon's"),
            &waiting,
        ] {
            assert!(shown.contains(part), "'{part}' is not in:\n{shown}");
        }
        let tables = shown.rsplit_once("\n\n").unwrap().0;
        let fits = tables.lines().all(|line| line.chars().count() <= 100);
        assert!(fits, "{shown}");
    }

    #[test]
    fn a_wide_table_has_whole_identifiers_and_units() {
        let shown = status_table(&[report()], None);
        for part in [UUID, NUMBER, "40 records", "10 records", "1.2 s"] {
            assert!(shown.contains(part), "'{part}' is not in:\n{shown}");
        }
    }

    #[test]
    fn a_narrow_table_has_the_last_result_in_a_word() {
        let mut report = report();
        for (result, word) in [
            ("OK", "OK"),
            ("No records processed", "none"),
            ("PROBLEM: Function could not be reached", "PROBLEM"),
        ] {
            report.last_processing_result = result.to_owned();
            let shown = status_table(std::slice::from_ref(&report), Some(80));
            let row = shown.lines().nth(1).unwrap();
            assert!(row.split_whitespace().any(|cell| cell == word), "{shown}");
        }
    }
}
