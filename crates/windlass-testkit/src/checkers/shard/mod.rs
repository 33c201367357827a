//! The invariants of a [`ShardConsumer`](windlass_core::shard::ShardConsumer), one function each.
//!
//! | | |
//! |---|---|
//! | I1 | A checkpoint never passes an unresolved record. |
//! | I2 | Checkpoints only move forward while one daemon holds the lease. |
//! | I3 | At most one invocation is in flight. |
//! | I4 | A record is not invoked before every earlier one is resolved or is in the same batch. |
//! | I5 | A batch holds at least one record, and keeps within its count and its bytes. |
//! | I6 | Records in memory never exceed the buffer; a full buffer stops reading. |
//! | I7 | After a drain nothing new is begun. |
//! | I8 | Nothing is written or begun after the lease is lost. |
//! | I9 | What can go on goes on: nothing gets stuck. (That everything is resolved in the end, the world checks.) |
//! | I10 | Nothing spins: a timer names a time at which something happens, nothing is repeated early. |
//!
//! Beside them: `attempt` (the same batch is tried again, and only a reached function uses an
//! attempt), `window` (when a batch is due), `reading` (reads go on where the last one ended),
//! `report`, `finish` and `view`.

mod books;

use windlass_core::event::Event;
use windlass_core::outcome::{Outcome, Swap};
use windlass_core::position::Position;
use windlass_core::record::Record;
use windlass_core::shard::{
    Batch, Finish, Report, ShardCommand, ShardConsumerSettings, ShardInput, ShardView, Waiting,
};
use windlass_core::time::Timestamp;

use self::books::Books;
use super::pace::Due;
use super::{Violation, ensure};
use crate::world::Contents;

/// Watches one consumer from its start to its end.
#[derive(Debug)]
pub struct ShardChecker(Books);

type Checked = Result<(), Violation>;

impl ShardChecker {
    /// For a consumer that starts at a stored checkpoint.
    pub fn new(settings: ShardConsumerSettings, from: Position, now: Timestamp) -> Self {
        Self(Books::new(settings, from, now))
    }

    /// An input is about to be fed.
    ///
    /// # Errors
    /// The world does what no world may do.
    pub fn input(&mut self, input: &ShardInput, contents: &Contents, now: Timestamp) -> Checked {
        self.0.must_act = None;
        match input {
            ShardInput::Read(result) => self.0.read(result, contents, now),
            ShardInput::Invoked { outcome, .. } => {
                self.0.invoked(outcome, now);
                Ok(())
            }
            ShardInput::Saved(Ok(Swap::Done)) => {
                self.0.saved();
                Ok(())
            }
            ShardInput::Saved(Ok(Swap::Conflict)) => {
                self.0.lease_lost = true;
                Ok(())
            }
            ShardInput::Saved(Err(fault)) => {
                self.0.save_failed(*fault, now);
                Ok(())
            }
            ShardInput::Drain => {
                self.0.draining = true;
                Ok(())
            }
        }
    }

    /// `handle_timeout` is about to be called. `due`: at the time that was named, or later.
    pub fn timer(&mut self, due: bool) {
        self.0.must_act = Some(due);
    }

    /// A command has come out.
    ///
    /// # Errors
    /// It breaks a rule.
    pub fn command(
        &mut self,
        command: &ShardCommand,
        contents: &Contents,
        now: Timestamp,
    ) -> Checked {
        let books = &mut self.0;
        ensure(books.finished.is_none(), "finish", || {
            format!("something follows the end: {command:?}")
        })?;
        i8_nothing_after_the_lease(books, command)?;
        i7_nothing_after_drain(books, command)?;
        i10_timers_do_something(books.must_act != Some(false), || format!("{command:?}"))?;
        books.must_act = None;
        match command {
            ShardCommand::Read { from, limit } => {
                i6_reads_fit_the_buffer(books, *limit)?;
                i10_reads_keep_their_pace(books, now)?;
                reads_go_on(books, &from.after)?;
                books.begin_read(*limit as usize, now);
            }
            ShardCommand::Invoke(batch) => {
                i3_one_invocation(books)?;
                i4_in_order(books, batch, contents)?;
                i5_batches_keep_their_limits(books, batch)?;
                i10_invocations_keep_their_pace(books, now)?;
                attempts_count(books, batch)?;
                windows_close(books, batch, now)?;
                books.begin_invocation(batch);
            }
            ShardCommand::Save(position) => {
                i1_only_resolved(books, position, contents)?;
                i2_forward(books, position)?;
                i10_saves_keep_their_pace(books, now)?;
                books.begin_save(position);
            }
            ShardCommand::Report(report) => reports_are_owed(books, report, contents)?,
            ShardCommand::Finish(how) => {
                finishes_in_time(books, *how)?;
                books.finished = Some(*how);
            }
        }
        Ok(())
    }

    /// Every command has been taken.
    ///
    /// # Errors
    /// What it shows of itself, or what it has left undone, breaks a rule.
    pub fn settled(
        &mut self,
        view: &ShardView,
        timeout: Option<Timestamp>,
        now: Timestamp,
    ) -> Checked {
        let books = &mut self.0;
        i10_timers_do_something(books.must_act != Some(true), || "nothing".to_owned())?;
        let owed = books.owed.front();
        ensure(owed.is_none(), "report", || format!("{owed:?} is owed"))?;
        views_are_true(books, view, timeout)?;
        if books.finished.is_some() {
            return Ok(());
        }
        i6_the_buffer_is_bounded(books)?;
        i9_nothing_gets_stuck(books, timeout, now)?;
        i10_timers_lie_ahead(timeout, now)
    }

    /// How it has ended, if it has.
    pub const fn finished(&self) -> Option<Finish> {
        self.0.finished
    }

    /// Whether all that was read is resolved and saved.
    pub fn is_at_rest(&self) -> bool {
        self.0.waiting.is_empty() && !self.0.has_unsaved()
    }
}

fn i1_only_resolved(books: &Books, position: &Position, contents: &Contents) -> Checked {
    let run_end = books.run_end();
    let holds = match position {
        Position::ShardEnd => books.ended && books.behind_run() == 0,
        Position::After(name) => contents.index_of(name.as_str()).map(|index| index + 1) == run_end,
        Position::TrimHorizon | Position::AtTimestamp(_) => false,
    };
    ensure(holds, "I1", || {
        format!("saves {position:?}, but the resolved records end at {run_end:?}")
    })
}

fn i2_forward(books: &Books, position: &Position) -> Checked {
    ensure(books.save.is_none(), "I2", || {
        "two saves at a time".to_owned()
    })?;
    let news = books.saved.run < books.run || *position == Position::ShardEnd;
    ensure(news && books.saved.position != *position, "I2", || {
        format!("saves {position:?} after {:?}", books.saved.position)
    })
}

fn i3_one_invocation(books: &Books) -> Checked {
    ensure(books.in_flight.is_none(), "I3", || {
        "a second invocation begins".to_owned()
    })
}

fn i4_in_order(books: &Books, batch: &Batch, contents: &Contents) -> Checked {
    let given: Vec<_> = batch
        .records
        .iter()
        .map(|record| contents.index_of(record.sequence_number()))
        .collect();
    let expected = books.waiting.iter().map(|index| Some(*index));
    let holds = given.len() <= books.waiting.len() && expected.zip(&given).all(|(a, b)| a == *b);
    ensure(holds, "I4", || {
        format!("invokes {given:?} while {:?} wait", books.waiting)
    })?;
    let same = batch
        .records
        .iter()
        .zip(&books.waiting)
        .all(|(record, index)| *record == contents.records()[*index]);
    ensure(same, "I4", || "a record is not what was read".to_owned())?;
    let events: Vec<_> = batch.records.iter().map(Record::event).collect();
    let whole = [br#"{"Records":["#, &*events.join(&b','), b"]}"].concat();
    let sent = Event::of_records(&batch.records);
    ensure(sent.to_bytes() == whole, "I4", || {
        "the event is not made of its records".to_owned()
    })
}

fn i5_batches_keep_their_limits(books: &Books, batch: &Batch) -> Checked {
    let n_records = batch.records.len();
    let bytes = event_bytes(batch.records.iter().map(Record::event_len));
    let settings = &books.settings;
    let holds = (1..=settings.mapping.batch_size).contains(&n_records)
        && bytes <= settings.limits.payload_limit;
    ensure(holds, "I5", || {
        format!("a batch of {n_records} records and {bytes} bytes")
    })
}

fn i6_reads_fit_the_buffer(books: &Books, limit: u32) -> Checked {
    let room = books.read_room();
    ensure(0 < limit && limit as usize <= room, "I6", || {
        format!("asks for {limit} records with room for {room}")
    })?;
    ensure(limit <= books.settings.limits.read_limit, "I6", || {
        format!("asks for {limit} records at once")
    })
}

fn i6_the_buffer_is_bounded(books: &Books) -> Checked {
    let held = books.behind_run().max(books.waiting.len());
    ensure(held <= books.settings.limits.buffer_records, "I6", || {
        format!("{held} records are held")
    })
}

fn i7_nothing_after_drain(books: &Books, command: &ShardCommand) -> Checked {
    let begins = matches!(command, ShardCommand::Invoke(_) | ShardCommand::Read { .. });
    ensure(!(books.draining && begins), "I7", || {
        format!("begins {command:?} while it drains")
    })
}

fn i8_nothing_after_the_lease(books: &Books, command: &ShardCommand) -> Checked {
    let ends = matches!(command, ShardCommand::Finish(Finish::LeaseLost));
    ensure(ends == books.lease_lost, "I8", || {
        let lost = if books.lease_lost { "lost" } else { "held" };
        format!("{command:?} while the lease is {lost}")
    })
}

fn i9_nothing_gets_stuck(books: &Books, timeout: Option<Timestamp>, now: Timestamp) -> Checked {
    let by = |due: Timestamp, what: &str| {
        ensure(timeout.is_some_and(|at| at <= due), "I9", || {
            format!("{what} is due at {due:?}, the timer is at {timeout:?}")
        })
    };
    ensure(!books.lease_lost, "I9", || {
        "the lease is lost and it goes on".to_owned()
    })?;
    let unsaved = books.has_unsaved();
    if unsaved && books.save.is_none() {
        let due = books.save_failed.map(|failed| failed.due.latest);
        by(due.unwrap_or(now), "a save")?;
    }
    if books.draining {
        let busy = books.in_flight.is_some() || books.save.is_some() || unsaved;
        return ensure(busy, "I9", || "a drain does not end".to_owned());
    }
    if books.in_flight.is_none() && !books.waiting.is_empty() {
        by(books.batch_due().latest, "a batch")?;
    }
    if books.read.is_none() && !books.ended && 0 < books.read_room() {
        by(books.read_due.latest, "a read")?;
    }
    let begun = books.read.is_some() || books.in_flight.is_some() || books.save.is_some();
    ensure(begun || timeout.is_some(), "I9", || "stuck".to_owned())
}

fn i10_timers_lie_ahead(timeout: Option<Timestamp>, now: Timestamp) -> Checked {
    ensure(timeout.is_none_or(|at| now < at), "I10", || {
        format!("the timer is at {timeout:?}, now is {now:?}")
    })
}

fn i10_timers_do_something(holds: bool, what: impl FnOnce() -> String) -> Checked {
    ensure(holds, "I10", || format!("a timer does {}", what()))
}

fn i10_reads_keep_their_pace(books: &Books, now: Timestamp) -> Checked {
    ensure(books.read.is_none(), "I10", || {
        "two reads at a time".to_owned()
    })?;
    let due = books.read_due.earliest;
    ensure(!books.ended && due <= now, "I10", || {
        format!("a read at {now:?}, due at {due:?}")
    })
}

fn i10_invocations_keep_their_pace(books: &Books, now: Timestamp) -> Checked {
    let earliest = books.failed.as_ref().map(|failed| failed.due.earliest);
    ensure(earliest.is_none_or(|at| at <= now), "I10", || {
        format!("a batch is tried again at {now:?}, due at {earliest:?}")
    })
}

fn i10_saves_keep_their_pace(books: &Books, now: Timestamp) -> Checked {
    let earliest = books.save_failed.map(|failed| failed.due.earliest);
    ensure(earliest.is_none_or(|at| at <= now), "I10", || {
        format!("a save is tried again at {now:?}, due at {earliest:?}")
    })
}

fn attempts_count(books: &Books, batch: &Batch) -> Checked {
    let n_failed = books.failed.as_ref().map(|failed| failed.n_records);
    let n_records = batch.records.len();
    ensure(n_failed.is_none_or(|n| n == n_records), "attempt", || {
        format!("a batch of {n_failed:?} records is tried again as {n_records}")
    })?;
    let expected = books.attempt();
    ensure(batch.attempt == expected, "attempt", || {
        format!("attempt {} is called {}", expected, batch.attempt)
    })
}

fn windows_close(books: &Books, batch: &Batch, now: Timestamp) -> Checked {
    if books.failed.is_some() {
        return Ok(());
    }
    let fill = books.fill();
    let n_records = batch.records.len();
    ensure(n_records == fill.n_records, "window", || {
        format!("{n_records} records make a batch, {} fit", fill.n_records)
    })?;
    let due = books.batch_due().earliest;
    ensure(due <= now, "window", || {
        format!("a batch at {now:?}, due at {due:?}")
    })
}

fn reads_go_on(books: &Books, after: &Position) -> Checked {
    ensure(books.after == *after, "reading", || {
        format!("reads at {after:?} instead of {:?}", books.after)
    })
}

fn reports_are_owed(books: &mut Books, report: &Report, contents: &Contents) -> Checked {
    let owed = books.owed.pop_front();
    ensure(owed.as_ref() == Some(report), "report", || {
        format!("{report:?} instead of {owed:?}")
    })?;
    let known = match report {
        Report::RecordTooLarge {
            sequence_number, ..
        } => contents.index_of(sequence_number.as_str()).is_some(),
        Report::FilteredOut { .. } | Report::Trimmed { .. } => true,
    };
    ensure(known, "report", || format!("{report:?} names no record"))
}

fn finishes_in_time(books: &Books, how: Finish) -> Checked {
    let holds = match how {
        Finish::LeaseLost => books.lease_lost,
        Finish::ShardEnd => books.saved.position == Position::ShardEnd,
        Finish::Drained => {
            books.draining
                && books.in_flight.is_none()
                && books.save.is_none()
                && !books.has_unsaved()
        }
    };
    ensure(holds, "finish", || format!("ends with {how:?} too early"))
}

fn views_are_true(books: &Books, view: &ShardView, timeout: Option<Timestamp>) -> Checked {
    let bytes = books.waiting_bytes;
    let holds = view.buffered_records == books.waiting.len()
        && view.buffered_bytes == bytes
        && view.in_flight_records == books.in_flight.unwrap_or(0)
        && view.attempt == books.attempt()
        && view.checkpoint == books.saved.position
        && view.behind == books.behind
        && view.last_outcome == books.last_outcome
        && view.oldest == books.oldest()
        && view.waiting == expected_waiting(books)
        && next_is_true(books, view, timeout);
    ensure(holds, "view", || {
        format!("{view:?} is not what {books:?} say")
    })
}

/// Whether what is shown as the next moment is that of what it waits for.
fn next_is_true(books: &Books, view: &ShardView, timeout: Option<Timestamp>) -> bool {
    let failed = |due: Option<Due>| {
        let next = view.next_at.zip(due);
        next.is_some_and(|(at, due)| due.earliest <= at && at <= due.latest)
    };
    match view.waiting {
        _ if books.draining || books.finished.is_some() => view.next_at == timeout,
        None => view.next_at == timeout,
        Some(Waiting::FunctionErrors { .. } | Waiting::NotInvoked(_)) => {
            failed(books.failed.as_ref().map(|failed| failed.due))
        }
        Some(Waiting::Store(_)) => failed(books.save_failed.map(|failed| failed.due)),
        Some(Waiting::Source(_)) => match books.read {
            Some(_) => view.next_at.is_none(),
            None => failed(Some(books.read_due)),
        },
    }
}

fn expected_waiting(books: &Books) -> Option<Waiting> {
    let function = books.failed.as_ref().filter(|_| books.in_flight.is_none());
    let waits = function.and_then(|_| match books.last_outcome.as_ref()? {
        Outcome::Success => None,
        Outcome::FunctionError { .. } => Some(Waiting::FunctionErrors {
            attempt: books.attempt(),
        }),
        Outcome::NotInvoked { cause } => Some(Waiting::NotInvoked(*cause)),
    });
    let store = books.save_failed.filter(|_| books.save.is_none());
    waits
        .or_else(|| store.map(|failed| Waiting::Store(failed.fault)))
        .or_else(|| books.read_fault.map(Waiting::Source))
}

/// The size of an event, computed anew: `{"Records":[a,b]}`.
fn event_bytes(sizes: impl Iterator<Item = usize>) -> usize {
    let (n_records, total) = sizes.fold((0, 0), |(n, total), size| (n + 1, total + size));
    r#"{"Records":[]}"#.len() + total + usize::saturating_sub(n_records, 1)
}
