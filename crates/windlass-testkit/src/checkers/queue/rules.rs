//! The rules themselves: each looks at the books and at what the machine does.

use std::time::Duration;

use windlass_core::ids::ReceiptHandle;
use windlass_core::queue::{Batch, QueueCommand, QueueView, Report, Waiting};
use windlass_core::time::Timestamp;

use super::books::{Books, Entry, State};
use super::{Checked, event_bytes};
use crate::checkers::{Violation, ensure};

/// Gives the messages that are deleted.
pub(super) fn q1_only_what_succeeded(
    books: &Books,
    receipts: &[ReceiptHandle],
) -> Result<Vec<Entry>, Violation> {
    let held = books.held.iter();
    let owed: Vec<_> = held
        .filter(|(_, hold)| hold.state == State::Owed)
        .map(|(id, hold)| hold.entry(id))
        .collect();
    let mut expected: Vec<_> = owed.iter().map(|entry| &entry.receipt).collect();
    let mut given: Vec<_> = receipts.iter().collect();
    expected.sort();
    given.sort();
    ensure(expected == given, "Q1", || {
        format!("deletes {given:?}, what succeeded is {expected:?}")
    })?;
    let entry = |receipt: &ReceiptHandle| owed.iter().find(|entry| entry.receipt == *receipt);
    Ok(receipts.iter().filter_map(entry).cloned().collect())
}

pub(super) fn q3_nothing_visible_is_invoked(
    books: &Books,
    batch: &Batch,
    now: Timestamp,
) -> Checked {
    for message in &*batch.messages {
        let hold = books.held.get(&message.message_id);
        ensure(hold.is_some(), "Q2", || {
            format!("message {} is not held and invoked", message.message_id)
        })?;
        let ends = hold.map(|hold| hold.visible_at);
        ensure(ends.is_some_and(|ends| now < ends), "Q3", || {
            format!("message {} was visible from {ends:?}", message.message_id)
        })?;
        let same = hold.is_some_and(|hold| {
            hold.message.event.len() == message.event.len() && hold.message.group == message.group
        });
        ensure(same, "Q2", || {
            "a message is not what was received".to_owned()
        })?;
    }
    Ok(())
}

/// Gives the messages whose visibility is extended.
pub(super) fn q3_extensions_are_due(
    books: &Books,
    receipts: &[ReceiptHandle],
    timeout: Duration,
    now: Timestamp,
) -> Result<Vec<Entry>, Violation> {
    ensure(timeout == books.visibility(), "Q3", || {
        format!("visibility is extended by {timeout:?}")
    })?;
    let mut entries = Vec::new();
    for receipt in receipts {
        let mut held = books.held.iter();
        let Some((id, hold)) = held.find(|(_, hold)| hold.receipt == *receipt) else {
            let how = format!("extends {receipt}, which is not held");
            return Err(Violation::new("Q3", how));
        };
        let due = books.extension_due(hold);
        ensure(due.is_some_and(|due| due <= now), "Q10", || {
            format!("{receipt} is extended at {now:?}, due at {due:?}")
        })?;
        entries.push(hold.entry(id));
    }
    Ok(entries)
}

pub(super) fn q4_one_batch_for_each_group(books: &Books, batch: &Batch) -> Checked {
    for (id, flight) in &books.flights {
        let groups = books.groups_of(&flight.messages);
        let mut messages = batch.messages.iter();
        let shares = messages.any(|it| it.group.is_some_and(|group| groups.contains(&group)));
        ensure(*id == batch.id || !shares, "Q4", || {
            format!("batches {} and {} share a group", id.0, batch.id.0)
        })?;
    }
    Ok(())
}

pub(super) fn q5_invocations_keep_their_limits(books: &Books, batch: &Batch) -> Checked {
    let settings = &books.settings;
    let n_running = books.n_running();
    ensure(
        n_running < settings.limits.maximum_concurrency,
        "Q5",
        || format!("invokes while {n_running} invocations are under way"),
    )?;
    let n_messages = batch.messages.len();
    let bytes = event_bytes(batch.messages.iter().map(|message| message.event.len()));
    let holds = (1..=settings.mapping.batch_size).contains(&n_messages)
        && bytes <= settings.limits.payload_limit;
    ensure(holds, "Q5", || {
        format!("a batch of {n_messages} messages and {bytes} bytes")
    })?;
    ensure(batch.attempt == 1, "Q2", || {
        format!("a message is tried again, attempt {}", batch.attempt)
    })
}

pub(super) fn q6_receives_have_room(books: &Books, limit: u8) -> Checked {
    let room = books.room();
    ensure(
        usize::from(limit) == room.min(10) && 0 < limit,
        "Q6",
        || format!("asks for {limit} messages with room for {room}"),
    )
}

pub(super) fn q6_receives_are_as_many_as_wanted(
    books: &Books,
    wait: Duration,
    visibility: Duration,
) -> Checked {
    let n_receives = books.receives.len();
    ensure(n_receives < books.wanted, "Q6", || {
        format!(
            "receives beside {n_receives} others, {} wanted",
            books.wanted
        )
    })?;
    let holds = wait == books.wait() && visibility == books.visibility();
    ensure(holds, "Q6", || {
        format!("receives with wait {wait:?} and visibility {visibility:?}")
    })
}

pub(super) fn q6_the_buffer_is_bounded(books: &Books) -> Checked {
    let n_held = books.held.len();
    ensure(
        n_held <= books.settings.limits.buffer_messages,
        "Q6",
        || format!("{n_held} messages are held"),
    )
}

pub(super) fn q7_nothing_after_drain(books: &Books, command: &QueueCommand) -> Checked {
    let begins = matches!(
        command,
        QueueCommand::Invoke(_) | QueueCommand::Receive { .. }
    );
    ensure(!(books.draining && begins), "Q7", || {
        format!("begins {command:?} while it drains")
    })
}

pub(super) fn q8_receives_wait_for_the_function(books: &Books) -> Checked {
    ensure(!books.holds_enough(), "Q8", || {
        "receives more than it needs to try an unreachable function".to_owned()
    })
}

pub(super) fn q8_one_try_at_a_time(books: &Books) -> Checked {
    let second = books.unreached.is_failing() && books.probe.is_some();
    ensure(!second, "Q8", || {
        format!("{:?} is still being tried", books.probe)
    })
}

pub(super) fn q9_nothing_gets_stuck(books: &Books, timeout: Option<Timestamp>) -> Checked {
    let by = |due: Timestamp, what: &str| {
        ensure(timeout.is_some_and(|at| at <= due), "Q9", || {
            format!("{what} is due at {due:?}, the timer is at {timeout:?}")
        })
    };
    for hold in books.held.values() {
        if hold.state == State::Gathered {
            by(hold.visible_at, "the end of a visibility")?;
        }
        if hold.state == State::Owed {
            by(books.delete_pause.latest(), "a deletion")?;
        }
        if let Some(due) = books.extension_due(hold) {
            by(due, "an extension")?;
        }
    }
    for flight in books.flights.values() {
        if let Some(due) = books.over_at(flight) {
            by(due, "the end of a batch that waits")?;
        }
    }
    let requests = books.receives.len() + books.deletions.len() + books.extensions.len();
    let begun = 0 < books.n_running() + requests + books.returns.len();
    if books.draining {
        let busy = begun || !books.held.is_empty();
        return ensure(busy, "Q9", || "a drain does not end".to_owned());
    }
    let tries = books.unreached.is_failing() && books.probe.is_some();
    if !tries && books.n_running() < books.settings.limits.maximum_concurrency {
        let not_before = books.unreached.latest();
        if books.flights.values().any(|it| it.since.is_none()) {
            by(not_before, "a batch that waits")?;
        } else if let Some(fill) = books.fill() {
            by(not_before.max(books.closes_at(&fill)), "a batch")?;
        }
    }
    let wanted = books.receives.len() < books.wanted && 0 < books.room();
    if wanted && !books.holds_enough() {
        let due = books.receive_from.max(books.receive_pause.latest());
        by(due, "a receive")?;
    }
    ensure(begun || timeout.is_some(), "Q9", || "stuck".to_owned())
}

pub(super) fn q10_timers_lie_ahead(timeout: Option<Timestamp>, now: Timestamp) -> Checked {
    ensure(timeout.is_none_or(|at| now < at), "Q10", || {
        format!("the timer is at {timeout:?}, now is {now:?}")
    })
}

pub(super) fn q10_timers_do_something(holds: bool, what: impl FnOnce() -> String) -> Checked {
    ensure(holds, "Q10", || format!("a timer does {}", what()))
}

pub(super) fn q10_receives_keep_their_pace(books: &Books, now: Timestamp) -> Checked {
    let may = books.receive_from <= now && books.receive_pause.may_begin(now);
    ensure(may, "Q10", || {
        format!(
            "a receive at {now:?}, from {:?}, {:?}",
            books.receive_from, books.receive_pause
        )
    })
}

pub(super) fn q10_invocations_keep_their_pace(books: &Books, now: Timestamp) -> Checked {
    ensure(books.unreached.may_begin(now), "Q10", || {
        format!("an invocation at {now:?}, {:?}", books.unreached)
    })
}

pub(super) fn q10_deletions_keep_their_pace(books: &Books, now: Timestamp) -> Checked {
    ensure(books.delete_pause.may_begin(now), "Q10", || {
        format!("a deletion at {now:?}, {:?}", books.delete_pause)
    })
}

pub(super) fn batches_are_what_has_gathered(
    books: &Books,
    batch: &Batch,
    now: Timestamp,
) -> Checked {
    let given: Vec<_> = batch.messages.iter().map(|it| &it.message_id).collect();
    if let Some(flight) = books.flights.get(&batch.id) {
        let same = flight.messages.iter().eq(given.iter().copied());
        return ensure(same && flight.since.is_none(), "Q2", || {
            format!("{flight:?} is tried again with {given:?}")
        });
    }
    let mut waiting = books.flights.values().filter(|it| it.since.is_none());
    ensure(waiting.next().is_none(), "window", || {
        "a new batch overtakes one that waits".to_owned()
    })?;
    let fill = books.fill();
    let same = fill
        .as_ref()
        .is_some_and(|fill| fill.messages.iter().eq(given.iter().copied()));
    ensure(same, "window", || {
        format!("{given:?} make a batch instead of {fill:?}")
    })?;
    let due = fill.map(|fill| books.closes_at(&fill));
    ensure(due.is_some_and(|due| due <= now), "window", || {
        format!("a batch at {now:?}, due at {due:?}")
    })
}

/// Says whether messages are given back; if not, they must be extended.
pub(super) fn returns_are_owed(
    books: &mut Books,
    receipts: &[ReceiptHandle],
    timeout: Duration,
) -> Result<bool, Violation> {
    let first = receipts.first();
    ensure(first.is_some(), "return", || "of nothing".to_owned())?;
    if first.is_none_or(|first| !books.owed_returns.contains_key(first)) {
        return Ok(false);
    }
    for receipt in receipts {
        let owed = books.owed_returns.remove(receipt);
        ensure(owed == Some(timeout), "return", || {
            format!("{receipt} is returned with {timeout:?} instead of {owed:?}")
        })?;
    }
    Ok(true)
}

pub(super) fn reports_are_owed(books: &mut Books, report: &Report) -> Checked {
    let mut owed = books.owed_reports.iter();
    let Some(index) = owed.position(|owed| owed == report) else {
        let how = format!("{report:?} instead of {:?}", books.owed_reports);
        return Err(Violation::new("report", how));
    };
    books.owed_reports.remove(index);
    Ok(())
}

pub(super) fn nothing_is_owed(books: &Books) -> Checked {
    ensure(books.owed_reports.is_empty(), "report", || {
        format!("{:?} are owed", books.owed_reports)
    })?;
    ensure(books.owed_returns.is_empty(), "return", || {
        format!("{:?} are owed", books.owed_returns)
    })
}

pub(super) fn finishes_in_time(books: &Books) -> Checked {
    let requests = books.receives.len() + books.deletions.len() + books.extensions.len();
    let idle = requests + books.returns.len() + books.flights.len() == 0;
    let holds = books.draining && idle && books.held.is_empty();
    ensure(holds, "finish", || format!("ends too early: {books:?}"))
}

pub(super) fn views_are_true(
    books: &Books,
    view: &QueueView,
    timeout: Option<Timestamp>,
) -> Checked {
    let sizes = books.held.values().map(|hold| hold.message.event.len());
    let running = books.flights.values().filter(|it| it.since.is_some());
    let holds = view.received == books.received
        && view.buffered_messages == books.held.len()
        && view.buffered_bytes == sizes.sum::<usize>()
        && view.in_flight_messages == running.map(|it| it.messages.len()).sum::<usize>()
        && view.concurrency == books.n_running()
        && view.last_outcome == books.last_outcome
        && waiting_is_true(books, view.waiting.as_ref())
        && next_is_true(books, view, timeout);
    ensure(holds, "view", || {
        format!("{view:?} is not what {books:?} say")
    })
}

/// Whether what is shown as the next moment is that of what it waits for.
fn next_is_true(books: &Books, view: &QueueView, timeout: Option<Timestamp>) -> bool {
    let pause = match &view.waiting {
        Some(Waiting::Source(_)) => &books.receive_pause,
        Some(Waiting::NotInvoked(_)) => &books.unreached,
        None => return view.next_at == timeout,
    };
    if books.draining {
        return view.next_at == timeout;
    }
    view.next_at.is_none_or(|at| pause.may_end(at))
}

fn waiting_is_true(books: &Books, waiting: Option<&Waiting>) -> bool {
    match waiting {
        Some(Waiting::Source(fault)) => books.receive_fault == Some(*fault),
        Some(Waiting::NotInvoked(fault)) => {
            books.receive_fault.is_none()
                && !books.unreached.is_clear()
                && books.cause == Some(*fault)
        }
        // When a pause ends that no try needs to end, cannot be known from outside.
        None => books.receive_fault.is_none() && !books.unreached.is_failing(),
    }
}
