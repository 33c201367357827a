//! The state of mappings and consumers in the words of the API and of windlass's status.

use std::time::Duration;

use windlass_core::failure::DeliveryFault;
use windlass_core::ids::ShardId;
use windlass_core::lease_rows::BlockedShard;
use windlass_core::mapping::{DesiredState, MappingRow, Revision};
use windlass_core::outcome::{Fault, OutcomeKind};
use windlass_core::parks::Park;
use windlass_core::time::Timestamp;
use windlass_core::{queue, shard};

use super::lag::Trend;
use super::source_calls::SourceCall;
use super::view::{UnitStatus, UnitView};
use crate::memory::Limit;

/// A smaller lag of a shard that nothing holds back needs no words: it is that of a long batching
/// window, or soon over.
const MIN_SHOWN_LAG: Duration = Duration::from_secs(60);

/// The API's `State`, computed from the desired state, the applied revision and the number of
/// running consumers.
pub fn state(row: &MappingRow, applied: Option<Revision>, running: usize) -> &'static str {
    use windlass_core::mapping::Change;

    match row.desired {
        DesiredState::Deleted => "Deleting",
        DesiredState::Disabled if running == 0 => "Disabled",
        DesiredState::Disabled => "Disabling",
        DesiredState::Enabled if applied == Some(row.revision) => "Enabled",
        DesiredState::Enabled => match row.change {
            Change::Created => "Creating",
            Change::Enabled => "Enabling",
            Change::Updated | Change::Disabled | Change::Deleted => "Updating",
        },
    }
}

/// The API's `LastProcessingResult`, of a mapping or of one consumer.
pub fn last_processing_result(outcome: Option<OutcomeKind>) -> &'static str {
    match outcome {
        None => "No records processed",
        Some(OutcomeKind::Success) => "OK",
        Some(OutcomeKind::ItemFailures) => "PROBLEM: Function reports failed items",
        Some(OutcomeKind::MalformedResponse) => "PROBLEM: Function returns an invalid response",
        Some(OutcomeKind::FunctionError) => "PROBLEM: Function call failed",
        Some(OutcomeKind::NotInvoked(Fault::Denied)) => "PROBLEM: Function may not be invoked",
        Some(OutcomeKind::NotInvoked(Fault::Gone)) => "PROBLEM: Function does not exist",
        Some(OutcomeKind::NotInvoked(Fault::Throttled { .. })) => {
            "PROBLEM: Function throttles requests"
        }
        Some(OutcomeKind::NotInvoked(_)) => "PROBLEM: Function could not be reached",
    }
}

/// What is wrong with anything but the function of a shard, in the words of `LastProcessingResult`.
pub(super) fn shard_problem(view: &UnitView) -> Option<&'static str> {
    let UnitView::Shard(view) = view else {
        return None;
    };
    Some(match view.waiting.as_ref()? {
        shard::Waiting::FunctionErrors { .. }
        | shard::Waiting::NotInvoked(_)
        | shard::Waiting::FinalInvocation { .. } => return None,
        shard::Waiting::Source(fault) => match fault {
            Fault::Denied => "PROBLEM: Stream may not be read",
            Fault::Gone => "PROBLEM: Stream does not exist",
            Fault::Throttled { .. } => "PROBLEM: Stream throttles requests",
            Fault::Transient => "PROBLEM: Stream could not be reached",
            Fault::TimedOut => "PROBLEM: Stream does not send records in time",
            Fault::Trimmed | Fault::UnknownPosition => {
                "PROBLEM: Stream does not have the records at the checkpoint"
            }
        },
        shard::Waiting::Delivery(DeliveryFault::NoRoom) => "PROBLEM: Dead letters are full",
        shard::Waiting::Delivery(DeliveryFault::DeadLetters(_)) => {
            "PROBLEM: Dead letter could not be saved"
        }
        shard::Waiting::Delivery(DeliveryFault::Destination(fault)) => match fault {
            Fault::Denied => "PROBLEM: On-failure destination may not be used",
            Fault::Gone => "PROBLEM: On-failure destination does not exist",
            Fault::Throttled { .. } => "PROBLEM: On-failure destination throttles requests",
            Fault::Transient | Fault::TimedOut | Fault::Trimmed | Fault::UnknownPosition => {
                "PROBLEM: On-failure destination could not be reached"
            }
        },
        shard::Waiting::Unreadable(_) => "PROBLEM: Record cannot be rendered",
        shard::Waiting::Store(_) => "PROBLEM: Checkpoint could not be saved",
    })
}

/// Why a consumer waits, if it does. Limits of the daemon come last: while the function fails, a
/// higher limit would not help.
pub fn waiting_for(unit: &UnitStatus, now: Timestamp) -> Option<String> {
    let limit = |limit| match limit {
        Limit::Memory => {
            "memory limit reached: reads and events of unfinished invocations fill the daemon"
        }
        Limit::Invocations => "the daemon's limit of concurrent invocations is reached",
        Limit::FunctionConcurrency => "the function's maximum concurrency is reached",
        Limit::MappingConcurrency => "the mapping's maximum concurrency is reached",
    };
    describe_view(unit, now)
        .or_else(|| unit.limit.map(limit).map(ToOwned::to_owned))
        .or_else(|| describe_overdue(unit))
}

/// How far a shard is behind, if it is far behind although nothing holds it back. `wall` is wall time
/// by the clock of its source.
pub fn describe_lag(unit: &UnitStatus, wall: Timestamp) -> Option<String> {
    let UnitView::Shard(view) = &unit.view else {
        return None;
    };
    let behind = view.behind_at(wall)?;
    if behind < MIN_SHOWN_LAG {
        return None;
    }
    let trend = match unit.lag.trend(view, wall) {
        Some(Trend::CatchingUp) => ", and catching up",
        Some(Trend::FallingBehind) => ", and falling further behind",
        Some(Trend::Steady) => ", and neither catching up nor falling further behind",
        None => "",
    };
    Some(format!("behind by {} s{trend}", behind.as_secs()))
}

fn describe_overdue(unit: &UnitStatus) -> Option<String> {
    let (overdue, elapsed) = unit.overdue?;
    let source = match unit.view {
        UnitView::Starting { .. } => "source",
        UnitView::Shard(_) => "stream",
        UnitView::Queue(_) => "queue",
    };
    let call = match overdue {
        SourceCall::Describe => "a request for its attributes",
        SourceCall::Read => "a read",
        SourceCall::Delete => "a deletion",
        SourceCall::ChangeVisibility => "a visibility change",
        SourceCall::Deliver => "a delivery",
    };
    let source = match overdue {
        SourceCall::Deliver => "on-failure destination",
        SourceCall::Describe
        | SourceCall::Read
        | SourceCall::Delete
        | SourceCall::ChangeVisibility => source,
    };
    let seconds = elapsed.as_secs();
    Some(format!(
        "the {source} has not answered {call} for {seconds} s"
    ))
}

/// Why a shard is not read yet.
pub fn describe_blocked(shard: &BlockedShard) -> String {
    let names: Vec<_> = shard.parents.iter().map(ShardId::as_str).collect();
    let parents = match names.len() {
        // A former stream had resolved them, and they are not listed.
        0 => "its parents".to_owned(),
        1 => format!("its parent {}", names[0]),
        _ => format!("its parents {}", names.join(" and ")),
    };
    format!("blocked on {parents}: the records of a shard come after all of its parents'")
}

/// Why a parked shard is not read.
pub fn describe_parked(park: &Park) -> String {
    let since = park.since.to_rfc3339();
    let reason = park.reason.as_ref();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("parked since {since}{reason}: 'windlass unpark' lets it go on")
}

/// What a shard has lost, if it has, since its consumer started.
pub fn describe_gap(gap: &shard::Gap) -> String {
    let position = gap.after.value();
    let position = position.map_or_else(
        || gap.after.kind().to_owned(),
        |value| format!("{} {value}", gap.after.kind()),
    );
    let cause = match gap.cause {
        Fault::UnknownPosition => {
            "the stream does not have this record: it was created again, or its server has lost its \
             data"
        }
        Fault::Trimmed
        | Fault::Throttled { .. }
        | Fault::Transient
        | Fault::TimedOut
        | Fault::Denied
        | Fault::Gone => "the retention period of the records that follow has passed",
    };
    let length = gap.length().map_or_else(String::new, |length| {
        format!(", which arrived {} s later", length.as_secs())
    });
    format!(
        "records may be lost at the position {position}: {cause}; reading has continued at the \
         oldest record{length}"
    )
}

/// Why a shard waits at a record.
pub fn describe_unreadable(record: shard::UnreadableRecord) -> String {
    let reason = record.reason;
    format!(
        "the shard waits at the next record: its sequence number cannot be read ({reason}); it is read \
         again from time to time"
    )
}

fn describe_view(unit: &UnitStatus, now: Timestamp) -> Option<String> {
    let cause = |call| match unit.errors.get(&call) {
        Some(cause) => format!(" ({cause})"),
        None => String::new(),
    };
    let next = |at| describe_next(at, now);
    match &unit.view {
        UnitView::Starting { fault } => {
            let (fault, cause) = ((*fault)?, cause(SourceCall::Describe));
            Some(format!("the source {}{cause}", describe_fault(fault)))
        }
        UnitView::Shard(view) => {
            let next = next(view.next_at);
            let lanes = match view.n_lanes {
                1 => String::new(),
                n_lanes => format!(" ({} of {n_lanes} lanes)", view.waiting_lanes),
            };
            Some(match view.waiting.as_ref()? {
                shard::Waiting::FunctionErrors { attempt, maximum } => {
                    let of = maximum.map_or_else(String::new, |maximum| format!(" of {maximum}"));
                    format!("function returns errors, attempt {attempt}{of}{next}{lanes}")
                }
                shard::Waiting::NotInvoked(fault) => {
                    format!("function {}{next}{lanes}", describe_not_invoked(*fault))
                }
                shard::Waiting::FinalInvocation { attempt, cause } => {
                    describe_final(*attempt, *cause, &next)
                }
                shard::Waiting::Delivery(fault) => {
                    let what = describe_delivery(*fault, &cause(SourceCall::Deliver));
                    format!("records are given up, and {what}{next}{lanes}")
                }
                shard::Waiting::Source(fault) => {
                    let cause = cause(SourceCall::Read);
                    format!("the stream {}{cause}{next}", describe_fault(*fault))
                }
                shard::Waiting::Unreadable(record) => {
                    format!("{}{next}", describe_unreadable(*record))
                }
                shard::Waiting::Store(fault) => {
                    format!("the store {}{next}", describe_fault(*fault))
                }
            })
        }
        UnitView::Queue(view) => {
            let next = next(view.next_at);
            Some(match view.waiting.as_ref()? {
                queue::Waiting::NotInvoked(fault) => {
                    format!("function {}{next}", describe_not_invoked(*fault))
                }
                queue::Waiting::Source(fault) => {
                    let cause = cause(SourceCall::Read);
                    format!("the queue {}{cause}{next}", describe_fault(*fault))
                }
                queue::Waiting::Deleting(fault) => format!(
                    "messages cannot be deleted (sqs:DeleteMessage): the queue {}{}{next}",
                    describe_fault(*fault),
                    cause(SourceCall::Delete)
                ),
                queue::Waiting::Extending(fault) => format!(
                    "visibility timeouts cannot be changed (sqs:ChangeMessageVisibility): the \
                     queue {}{}{next}",
                    describe_fault(*fault),
                    cause(SourceCall::ChangeVisibility)
                ),
            })
        }
    }
}

fn describe_delivery(fault: DeliveryFault, cause: &str) -> String {
    match fault {
        DeliveryFault::Destination(fault) => {
            let fault = describe_fault(fault);
            format!("the on-failure destination {fault}{cause}")
        }
        DeliveryFault::DeadLetters(fault) => {
            format!("the store of the dead letters {}", describe_fault(fault))
        }
        DeliveryFault::NoRoom => {
            "the dead letters have no room for them: redrive or delete some, or \
                                  raise dead_letters.maximum_size"
                .to_owned()
        }
    }
}

fn describe_next(at: Option<Timestamp>, now: Timestamp) -> String {
    match at.map(|at| at.since(now)) {
        Some(pause) => format!(", next in {:.1} s", pause.as_secs_f64()),
        None => String::new(),
    }
}

fn describe_final(attempt: u32, cause: Option<Fault>, next: &str) -> String {
    let cause = cause.map_or("returns errors", describe_not_invoked);
    format!("final invocation of a tumbling window: function {cause}, attempt {attempt}{next}")
}

/// Only AWS Lambda denies access, to the one call that it gets.
fn describe_not_invoked(fault: Fault) -> &'static str {
    match fault {
        Fault::Denied => "denies access (lambda:InvokeFunction)",
        Fault::Throttled { .. }
        | Fault::Transient
        | Fault::TimedOut
        | Fault::Gone
        | Fault::Trimmed
        | Fault::UnknownPosition => describe_fault(fault),
    }
}

fn describe_fault(fault: Fault) -> &'static str {
    match fault {
        Fault::Throttled { .. } => "throttles requests",
        Fault::Transient => "cannot be reached",
        Fault::TimedOut => "does not send records in time",
        Fault::Denied => "denies access",
        Fault::Gone => "does not exist",
        Fault::Trimmed => "no longer has the records at this position",
        Fault::UnknownPosition => "does not have a record with this sequence number",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use windlass_core::queue::{QueueView, Waiting};

    use super::*;
    use crate::status::LagHistory;

    #[test]
    fn a_blocked_queue_names_the_missing_action() {
        let now = Timestamp::from_millis(1_000);
        let waiting = |waiting, errors: &[(SourceCall, &str)]| {
            let view = QueueView {
                received: 0,
                buffered_messages: 0,
                buffered_bytes: 0,
                waiting_messages: 0,
                in_flight_messages: 0,
                concurrency: 0,
                reduced_concurrency: None,
                pollers: 1,
                last_outcome: None,
                waiting: Some(waiting),
                next_at: Some(Timestamp::from_millis(3_000)),
            };
            let errors = errors
                .iter()
                .map(|(call, cause)| (*call, (*cause).to_owned()));
            let unit = UnitStatus {
                view: UnitView::Queue(view),
                lag: LagHistory::default(),
                limit: None,
                errors: errors.collect(),
                overdue: None,
            };
            waiting_for(&unit, now).unwrap()
        };
        assert_eq!(
            waiting(Waiting::Deleting(Fault::Denied), &[]),
            "messages cannot be deleted (sqs:DeleteMessage): the queue denies access, next in 2.0 s"
        );
        assert_eq!(
            waiting(Waiting::Extending(Fault::Denied), &[]),
            "visibility timeouts cannot be changed (sqs:ChangeMessageVisibility): the queue denies \
             access, next in 2.0 s"
        );
        let errors = [
            (SourceCall::Read, "ReceiveMessage of queue q: AccessDenied"),
            (
                SourceCall::Delete,
                "DeleteMessageBatch of queue q: AccessDenied",
            ),
        ];
        assert_eq!(
            waiting(Waiting::Source(Fault::Denied), &errors),
            "the queue denies access (ReceiveMessage of queue q: AccessDenied), next in 2.0 s"
        );
        assert_eq!(
            waiting(Waiting::Deleting(Fault::Denied), &errors),
            "messages cannot be deleted (sqs:DeleteMessage): the queue denies access \
             (DeleteMessageBatch of queue q: AccessDenied), next in 2.0 s"
        );
    }

    #[test]
    fn a_shard_shows_its_attempts_and_its_destination() {
        let now = Timestamp::from_millis(1_000);
        let waiting = |waiting| {
            let view = shard::ShardView {
                reached: None,
                n_lanes: 1,
                waiting_lanes: 0,
                checkpoint: windlass_core::position::Position::TrimHorizon,
                behind: None,
                oldest: None,
                buffered_records: 1,
                buffered_bytes: 1,
                in_flight_records: 0,
                attempt: 2,
                retried: Vec::new(),
                last_outcome: None,
                waiting: Some(waiting),
                gap: None,
                next_at: Some(Timestamp::from_millis(3_000)),
            };
            let cause = "SendMessage to queue failed: AccessDenied".to_owned();
            let unit = UnitStatus {
                view: UnitView::Shard(view),
                lag: LagHistory::default(),
                limit: None,
                errors: BTreeMap::from([(SourceCall::Deliver, cause)]),
                overdue: None,
            };
            waiting_for(&unit, now).unwrap()
        };
        let attempts = |maximum| shard::Waiting::FunctionErrors {
            attempt: 2,
            maximum,
        };
        assert_eq!(
            waiting(attempts(Some(4))),
            "function returns errors, attempt 2 of 4, next in 2.0 s"
        );
        assert_eq!(
            waiting(attempts(None)),
            "function returns errors, attempt 2, next in 2.0 s"
        );
        assert_eq!(
            waiting(shard::Waiting::Delivery(DeliveryFault::Destination(
                Fault::Denied
            ))),
            "records are given up, and the on-failure destination denies access (SendMessage to \
             queue failed: AccessDenied), next in 2.0 s"
        );
        assert_eq!(
            waiting(shard::Waiting::Delivery(DeliveryFault::NoRoom)),
            "records are given up, and the dead letters have no room for them: redrive or delete \
             some, or raise dead_letters.maximum_size, next in 2.0 s"
        );
    }

    #[test]
    fn a_source_that_does_not_answer_is_named() {
        let mut unit = UnitStatus {
            view: UnitView::Starting { fault: None },
            lag: LagHistory::default(),
            limit: None,
            errors: BTreeMap::new(),
            overdue: Some((SourceCall::Describe, Duration::from_millis(31_500))),
        };
        let expected = "the source has not answered a request for its attributes for 31 s";
        assert_eq!(waiting_for(&unit, Timestamp::EPOCH).unwrap(), expected);
        unit.limit = Some(Limit::Memory);
        let limited = waiting_for(&unit, Timestamp::EPOCH).unwrap();
        assert!(limited.starts_with("memory limit reached"), "{limited}");
    }
}
