//! The checks: each compares the model with what the consumer does.

use std::time::Duration;

use windlass_core::ids::ReceiptHandle;
use windlass_core::outcome::Fault;
use windlass_core::queue::{Batch, QueueCommand, QueueView, Report, VisibilityChange, Waiting};
use windlass_core::time::Timestamp;

use super::model::{Entry, HeldMessage, Model, State};
use super::{Checked, event_bytes};
use crate::checkers::slot_request::Slot;
use crate::checkers::{BrokenInvariant, ensure};

/// Returns the messages to delete.
pub(super) fn q1_only_what_succeeded(
    model: &Model,
    receipts: &[ReceiptHandle],
) -> Result<Vec<Entry>, BrokenInvariant> {
    let held = model.held.iter();
    let to_delete: Vec<_> = held
        .filter(|(_, held)| held.state == State::ToDelete)
        .map(|(id, held)| held.entry(id))
        .collect();
    let mut expected: Vec<_> = to_delete.iter().map(|entry| &entry.receipt).collect();
    let mut given: Vec<_> = receipts.iter().collect();
    expected.sort();
    given.sort();
    ensure(expected == given, "Q1", || {
        format!("deletes {given:?} instead of {expected:?}")
    })?;
    let entry = |receipt: &ReceiptHandle| to_delete.iter().find(|entry| entry.receipt == *receipt);
    Ok(receipts.iter().filter_map(entry).cloned().collect())
}

pub(super) fn invocations_are_allowed(model: &Model, batch: &Batch, now: Timestamp) -> Checked {
    q3_nothing_visible_is_invoked(model, batch, now)?;
    q4_one_batch_for_each_group(model, batch)?;
    q5_batches_respect_their_limits(model, batch)?;
    q8_one_attempt_at_a_time(model)?;
    q8_batches_take_turns(model, batch, now)?;
    q12_concurrency_is_limited(model)?;
    q10_invocations_respect_their_backoff(model, now)?;
    batches_hold_the_next_messages(model, batch, now)
}

fn q3_nothing_visible_is_invoked(model: &Model, batch: &Batch, now: Timestamp) -> Checked {
    for message in &*batch.messages {
        let held = model.held.get(&message.message_id);
        ensure(held.is_some(), "Q2", || {
            format!("invokes message {}, which is not held", message.message_id)
        })?;
        let ends = held.map(|held| held.visible_at);
        ensure(ends.is_some_and(|ends| now < ends), "Q3", || {
            format!(
                "invokes message {}, visible since {ends:?}",
                message.message_id
            )
        })?;
        let same = held.is_some_and(|held| {
            held.message.event.len() == message.event.len() && held.message.group == message.group
        });
        ensure(same, "Q2", || {
            "a message differs from what was received".to_owned()
        })?;
    }
    Ok(())
}

/// Returns the messages whose visibility is extended.
pub(super) fn q3_extensions_are_due(
    model: &Model,
    changes: &[VisibilityChange],
    now: Timestamp,
) -> Result<Vec<Entry>, BrokenInvariant> {
    let mut entries = Vec::new();
    for VisibilityChange { receipt, timeout } in changes {
        ensure(*timeout == model.visibility(), "Q3", || {
            format!("visibility of {receipt} is extended by {timeout:?}")
        })?;
        let mut all = model.held.iter();
        let Some((id, held)) = all.find(|(_, held)| held.receipt == *receipt) else {
            let detail = format!("extends {receipt}, which is not held");
            return Err(BrokenInvariant::new("Q3", detail));
        };
        let due = model.extension_due(held);
        ensure(due.is_some_and(|due| due <= now), "Q10", || {
            format!("{receipt} is extended at {now:?}, due at {due:?}")
        })?;
        entries.push(held.entry(id));
    }
    Ok(entries)
}

/// A queue may carry out requests in another order than they were sent.
pub(super) fn q3_one_change_at_a_time(model: &Model, changes: &[VisibilityChange]) -> Checked {
    let extensions = model.extensions.values().flat_map(|it| &it.entries);
    let releases = model.releases.values().flatten();
    let mut changing = extensions.map(|entry| &entry.receipt).chain(releases);
    let twice = changing.find(|receipt| changes.iter().any(|it| it.receipt == **receipt));
    ensure(twice.is_none(), "Q3", || {
        format!("two visibility changes of {twice:?} are in flight")
    })
}

fn q4_one_batch_for_each_group(model: &Model, batch: &Batch) -> Checked {
    for (id, tracked) in &model.batches {
        let groups = model.groups_of(&tracked.messages);
        let mut messages = batch.messages.iter();
        let shares = messages.any(|it| it.group.is_some_and(|group| groups.contains(&group)));
        ensure(*id == batch.id || !shares, "Q4", || {
            format!("batches {} and {} share a group", id.0, batch.id.0)
        })?;
    }
    Ok(())
}

fn q5_batches_respect_their_limits(model: &Model, batch: &Batch) -> Checked {
    let settings = &model.settings;
    let n_messages = batch.messages.len();
    let bytes = event_bytes(batch.messages.iter().map(|message| message.event.len()));
    let holds = (1..=settings.mapping.batch_size).contains(&n_messages)
        && bytes <= settings.limits.payload_limit;
    ensure(holds, "Q5", || {
        format!("a batch of {n_messages} messages and {bytes} bytes")
    })?;
    ensure(batch.attempt == 1, "Q2", || {
        format!("a message has attempt {}", batch.attempt)
    })
}

pub(super) fn q5_slots_are_requested_for_a_batch(model: &Model, now: Timestamp) -> Checked {
    ensure(model.slot == Slot::None, "Q5", || {
        "a second request for a slot".to_owned()
    })?;
    ensure(model.may_invoke(now), "Q5", || {
        format!("a slot is requested at {now:?} without a batch")
    })
}

pub(super) fn q5_slots_are_cancelled_without_a_batch(model: &Model, now: Timestamp) -> Checked {
    ensure(model.slot != Slot::None, "Q5", || {
        "a request for a slot is cancelled that was not made".to_owned()
    })?;
    let needless = model.drained_at.is_none() && model.must_invoke(now);
    ensure(!needless, "Q5", || {
        "a request for a slot is cancelled although a batch waits".to_owned()
    })
}

pub(super) fn q6_receives_have_room(model: &Model, limit: u8, now: Timestamp) -> Checked {
    let expected = model.receive_limit(now);
    ensure(usize::from(limit) == expected && 0 < limit, "Q6", || {
        format!("requests {limit} messages instead of {expected}")
    })
}

pub(super) fn q6_receives_scale(model: &Model, wait: Duration, visibility: Duration) -> Checked {
    let n_receives = model.receives.len();
    ensure(n_receives < model.target_receives, "Q6", || {
        format!(
            "a receive while {n_receives} are in flight, at most {}",
            model.target_receives
        )
    })?;
    let holds = wait == model.wait() && visibility == model.visibility();
    ensure(holds, "Q6", || {
        format!("receives with wait {wait:?} and visibility {visibility:?}")
    })
}

/// Each of N pollers begins a receive at most ten times a second: never more than N in any 100 ms.
pub(super) fn q6_pollers_respect_their_interval(model: &Model, now: Timestamp) -> Checked {
    let due = model.pollers_due();
    ensure(due <= now, "Q6", || {
        format!("a receive at {now:?}, no poller is free before {due:?}")
    })
}

pub(super) fn q6_pollers_stay_within_their_bounds(model: &Model, view: &QueueView) -> Checked {
    let pollers = model.settings.mapping.pollers;
    let (minimum, maximum) = pollers.map_or((1, 5), |it| (it.minimum, it.maximum));
    let holds = (minimum..=maximum).contains(&view.pollers) && model.receives.len() <= maximum;
    ensure(holds, "Q6", || {
        format!(
            "{} pollers and {} receives, {minimum} to {maximum} are allowed",
            view.pollers,
            model.receives.len()
        )
    })
}

pub(super) fn q6_the_buffer_is_bounded(model: &Model) -> Checked {
    let n_held = model.held.len();
    ensure(
        n_held <= model.settings.limits.buffer_messages,
        "Q6",
        || format!("{n_held} messages are held"),
    )
}

pub(super) fn q7_nothing_begins_after_drain(model: &Model, command: &QueueCommand) -> Checked {
    let begins = matches!(
        command,
        QueueCommand::Invoke(_) | QueueCommand::Receive { .. } | QueueCommand::RequestSlot
    );
    ensure(!(model.drained_at.is_some() && begins), "Q7", || {
        format!("{command:?} while draining")
    })
}

pub(super) fn q8_receives_stop_while_the_function_is_unreachable(model: &Model) -> Checked {
    ensure(!model.has_probe_messages(), "Q8", || {
        "receives although an unreachable function can be probed with what is held".to_owned()
    })
}

fn q8_one_attempt_at_a_time(model: &Model) -> Checked {
    let second = model.function_backoff.is_failing() && model.probe.is_some();
    ensure(!second, "Q8", || {
        format!("a second attempt while {:?} is in flight", model.probe)
    })
}

/// A message with which the function cannot be reached does not keep the others from it.
fn q8_batches_take_turns(model: &Model, batch: &Batch, now: Timestamp) -> Checked {
    let is_repeat = model.last_unreached == Some(batch.id);
    if !model.function_backoff.is_failing() || !is_repeat {
        return Ok(());
    }
    let mut waiting = model.batches.iter().filter(|(_, it)| it.since.is_none());
    let other = waiting.any(|(id, _)| *id != batch.id);
    let next = model.next_batch();
    let is_next_due = next.is_some_and(|next| model.closes_at(&next) <= now);
    ensure(!other && !is_next_due, "Q8", || {
        format!(
            "batch {} is tried twice in a row, and others wait",
            batch.id.0
        )
    })
}

fn q12_concurrency_is_limited(model: &Model) -> Checked {
    let n_running = model.n_running();
    ensure(0 < model.invocation_room(), "Q12", || {
        format!("an invocation while {n_running} are in flight")
    })
}

pub(super) fn q9_nothing_gets_stuck(
    model: &Model,
    timeout: Option<Timestamp>,
    now: Timestamp,
) -> Checked {
    let by = |due: Timestamp, what: &str| {
        ensure(timeout.is_some_and(|at| at <= due), "Q9", || {
            format!("{what} is due at {due:?}, the timer is at {timeout:?}")
        })
    };
    for held in model.held.values() {
        if held.state == State::Buffered {
            by(held.visible_at, "the expiry of a message")?;
        }
        if held.state == State::ToDelete {
            by(model.delete_backoff.latest(), "a deletion")?;
        }
        if let Some(due) = model.extension_due(held) {
            by(due, "an extension")?;
        }
        if let Some(due) = model.buffered_until(held) {
            by(due, "the release of a buffered message")?;
        }
    }
    for tracked in model.batches.values() {
        if let Some(due) = model.release_at(tracked) {
            by(due, "the release of a batch")?;
        }
    }
    let requests = model.receives.len() + model.deletions.len() + model.extensions.len();
    let begun = 0 < model.n_running() + requests + model.releases.len();
    ensure(model.slot != Slot::Granted, "Q5", || {
        "a slot is not used".to_owned()
    })?;
    let waits = model.slot == Slot::Requested;
    if model.drained_at.is_some() {
        ensure(!waits, "Q7", || "a drain waits for a slot".to_owned())?;
        let busy = begun || !model.held.is_empty();
        return ensure(busy, "Q9", || {
            "a drain with nothing to wait for does not end".to_owned()
        });
    }
    ensure(!waits || model.may_invoke(now), "Q5", || {
        "a slot is waited for without a batch".to_owned()
    })?;
    let probing = model.function_backoff.is_failing() && model.probe.is_some();
    if !probing && !waits && 0 < model.invocation_room() {
        let not_before = model.function_backoff.latest();
        if model.batches.values().any(|it| it.since.is_none()) {
            by(not_before, "a retry")?;
        } else if let Some(next) = model.next_batch() {
            by(not_before.max(model.closes_at(&next)), "a batch")?;
        }
    }
    let may_receive = model.receives.len() < model.target_receives && 0 < model.room();
    if may_receive && !model.has_probe_messages() {
        let due = model.receive_from.max(model.receive_backoff.latest());
        let due = due.max(model.pollers_due());
        by(due, "a receive")?;
    }
    ensure(begun || waits || timeout.is_some(), "Q9", || {
        "stuck".to_owned()
    })
}

pub(super) fn q10_timers_are_in_the_future(timeout: Option<Timestamp>, now: Timestamp) -> Checked {
    ensure(timeout.is_none_or(|at| now < at), "Q10", || {
        format!("the timer is at {timeout:?}, now is {now:?}")
    })
}

pub(super) fn q10_timers_do_something(holds: bool, what: impl FnOnce() -> String) -> Checked {
    ensure(holds, "Q10", || format!("a timer causes {}", what()))
}

pub(super) fn q10_receives_respect_their_backoff(model: &Model, now: Timestamp) -> Checked {
    let may = model.receive_from <= now && model.receive_backoff.may_begin(now);
    ensure(may, "Q10", || {
        format!(
            "a receive at {now:?}, from {:?}, {:?}",
            model.receive_from, model.receive_backoff
        )
    })
}

fn q10_invocations_respect_their_backoff(model: &Model, now: Timestamp) -> Checked {
    ensure(model.function_backoff.may_begin(now), "Q10", || {
        format!("an invocation at {now:?}, {:?}", model.function_backoff)
    })
}

pub(super) fn q10_deletions_respect_their_backoff(model: &Model, now: Timestamp) -> Checked {
    ensure(model.delete_backoff.may_begin(now), "Q10", || {
        format!("a deletion at {now:?}, {:?}", model.delete_backoff)
    })
}

fn batches_hold_the_next_messages(model: &Model, batch: &Batch, now: Timestamp) -> Checked {
    let given: Vec<_> = batch.messages.iter().map(|it| &it.message_id).collect();
    if let Some(tracked) = model.batches.get(&batch.id) {
        let same = tracked.messages.iter().eq(given.iter().copied());
        return ensure(same && tracked.since.is_none(), "Q2", || {
            format!("{tracked:?} is retried with {given:?}")
        });
    }
    let mut waiting = model.batches.values().filter(|it| it.since.is_none());
    let is_probe = model.function_backoff.is_failing();
    ensure(is_probe || waiting.next().is_none(), "window", || {
        "a new batch overtakes one that waits for a retry".to_owned()
    })?;
    let next = model.next_batch();
    let same = next
        .as_ref()
        .is_some_and(|next| next.messages.iter().eq(given.iter().copied()));
    ensure(same, "window", || {
        format!("batches {given:?} instead of {next:?}")
    })?;
    let due = next.map(|next| model.closes_at(&next));
    ensure(due.is_some_and(|due| due <= now), "window", || {
        format!("a batch at {now:?}, due at {due:?}")
    })
}

/// Returns whether the messages are released; otherwise they must be extended.
pub(super) fn releases_are_expected(
    model: &mut Model,
    changes: &[VisibilityChange],
) -> Result<bool, BrokenInvariant> {
    let first = changes.first();
    ensure(first.is_some(), "release", || "no messages".to_owned())?;
    if first.is_none_or(|first| !model.expected_releases.contains_key(&first.receipt)) {
        return Ok(false);
    }
    for VisibilityChange { receipt, timeout } in changes {
        let expected = model.expected_releases.remove(receipt);
        ensure(expected == Some(*timeout), "release", || {
            format!("{receipt} is released with {timeout:?} instead of {expected:?}")
        })?;
    }
    Ok(true)
}

pub(super) fn reports_are_expected(model: &mut Model, report: &Report) -> Checked {
    let mut expected = model.expected_reports.iter();
    let Some(index) = expected.position(|expected| expected == report) else {
        let detail = format!("{report:?} instead of {:?}", model.expected_reports);
        return Err(BrokenInvariant::new("report", detail));
    };
    model.expected_reports.remove(index);
    Ok(())
}

pub(super) fn nothing_is_missing(model: &Model) -> Checked {
    ensure(model.expected_reports.is_empty(), "report", || {
        format!("missing: {:?}", model.expected_reports)
    })?;
    ensure(model.expected_releases.is_empty(), "release", || {
        format!("missing: {:?}", model.expected_releases)
    })
}

pub(super) fn finishes_when_idle(model: &Model) -> Checked {
    let requests = model.receives.len() + model.deletions.len() + model.extensions.len();
    let idle = requests + model.releases.len() + model.batches.len() == 0;
    let idle = idle && model.slot == Slot::None;
    let holds = model.drained_at.is_some() && idle && model.held.is_empty();
    ensure(holds, "finish", || format!("Finish too early: {model:?}"))
}

pub(super) fn views_match(
    model: &Model,
    view: &QueueView,
    timeout: Option<Timestamp>,
    now: Timestamp,
) -> Checked {
    let sizes = model.held.values().map(|held| held.message.event.len());
    let running = model.batches.values().filter(|it| it.since.is_some());
    let holds = view.received == model.received
        && view.buffered_messages == model.held.len()
        && view.buffered_bytes == sizes.sum::<usize>()
        && view.in_flight_messages == running.map(|it| it.messages.len()).sum::<usize>()
        && view.concurrency == model.n_running()
        && view.reduced_concurrency == model.reduced_concurrency.map(|(limit, _)| limit)
        && view.pollers == model.target_receives
        && view.last_outcome == model.last_outcome
        && waiting_matches(model, view.waiting.as_ref(), now)
        && next_at_matches(model, view, timeout);
    ensure(holds, "view", || {
        format!("{view:?} does not match {model:?}")
    })
}

/// The fault of deletions or visibility changes.
fn entry_fault(model: &Model, now: Timestamp) -> Option<Waiting> {
    let to_delete = |held: &HeldMessage| matches!(held.state, State::ToDelete | State::Deleting);
    let deleting = model.delete_backoff.is_failing() && model.held.values().any(to_delete);
    if deleting {
        return model.delete_fault.map(Waiting::Deleting);
    }
    let shown = |fault: &Fault| *fault == Fault::Denied || now < model.extend_from;
    model.change_fault.filter(shown).map(Waiting::Extending)
}

fn next_at_matches(model: &Model, view: &QueueView, timeout: Option<Timestamp>) -> bool {
    let pause = match &view.waiting {
        Some(Waiting::Source(_)) => &model.receive_backoff,
        Some(Waiting::NotInvoked(_)) => &model.function_backoff,
        Some(Waiting::Deleting(_)) => &model.delete_backoff,
        Some(Waiting::Extending(_)) if model.drained_at.is_none() => {
            return view.next_at.is_none_or(|at| at == model.extend_from);
        }
        Some(Waiting::Extending(_)) | None => return view.next_at == timeout,
    };
    if model.drained_at.is_some() {
        return view.next_at == timeout;
    }
    view.next_at.is_none_or(|at| pause.may_end(at))
}

fn waiting_matches(model: &Model, waiting: Option<&Waiting>, now: Timestamp) -> bool {
    match waiting {
        Some(Waiting::Source(fault)) => model.receive_fault == Some(*fault),
        Some(Waiting::NotInvoked(fault)) => {
            model.receive_fault.is_none()
                && !model.function_backoff.is_clear()
                && model.cause == Some(*fault)
        }
        // When a backoff ends that no attempt has to end is not visible from outside.
        other => {
            model.receive_fault.is_none()
                && !model.function_backoff.is_failing()
                && other == entry_fault(model, now).as_ref()
        }
    }
}
