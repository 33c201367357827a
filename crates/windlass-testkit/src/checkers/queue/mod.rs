//! The invariants of a [`QueueConsumer`](windlass_core::queue::QueueConsumer), one function each.
//!
//! | | |
//! |---|---|
//! | Q1 | A message is deleted only after success, by its newest handle, and all that succeeded are. |
//! | Q2 | A failed message is left to the queue; a message not reached is held and tried again. |
//! | Q3 | Nothing is invoked after its visibility has ended; visibility is extended in time. |
//! | Q4 | FIFO: one batch in flight for each group. (That the order is kept, the world checks.) |
//! | Q5 | No more than so many invocations at a time; a batch keeps within its count and its bytes. |
//! | Q6 | Receives: how many at a time, never for more than there is room for; the buffer is bounded. |
//! | Q7 | After a drain nothing new is begun, and what is held goes back. |
//! | Q8 | While the function cannot be reached, one batch at a time is tried. |
//! | Q9 | What can go on goes on: nothing gets stuck. |
//! | Q10 | Nothing spins: a timer names a time at which something happens, nothing is repeated early. |
//!
//! Beside them: `window` (what makes a batch, and when it is due), `report`, `finish` and `view`.

mod books;
mod dues;
mod pausing;
mod rules;

use windlass_core::ids::MessageId;
use windlass_core::queue::{QueueCommand, QueueConsumerSettings, QueueInput, QueueView};
use windlass_core::time::Timestamp;

use self::books::{Asked, Books, Extension, Receive, State};
use super::{Violation, ensure};

/// Watches one consumer from its start to its end.
#[derive(Debug)]
pub struct QueueChecker(Books);

type Checked = Result<(), Violation>;

impl QueueChecker {
    /// For a consumer that starts.
    pub fn new(settings: QueueConsumerSettings, now: Timestamp) -> Self {
        Self(Books::new(settings, now))
    }

    /// An input is about to be fed.
    pub fn input(&mut self, input: &QueueInput, now: Timestamp) {
        let books = &mut self.0;
        books.must_act = None;
        match input {
            QueueInput::Received { request, result } => books.received(*request, result, now),
            QueueInput::Invoked { batch, outcome } => books.invoked(*batch, outcome, now),
            QueueInput::Deleted { request, result } => books.deleted(*request, result, now),
            QueueInput::VisibilityChanged { request, result } => {
                books.visibility_changed(*request, result, now);
            }
            QueueInput::Drain => books.draining = true,
        }
        books.pass_time(now);
    }

    /// `handle_timeout` is about to be called. `due`: at the time that was named, or later.
    pub fn timer(&mut self, due: bool, now: Timestamp) {
        self.0.must_act = Some(due);
        self.0.pass_time(now);
    }

    /// A command has come out.
    ///
    /// # Errors
    /// It breaks a rule.
    pub fn command(&mut self, command: &QueueCommand, now: Timestamp) -> Checked {
        let books = &mut self.0;
        ensure(!books.finished, "finish", || {
            format!("something follows the end: {command:?}")
        })?;
        rules::q7_nothing_after_drain(books, command)?;
        rules::q10_timers_do_something(books.must_act != Some(false), || format!("{command:?}"))?;
        books.must_act = None;
        match command {
            QueueCommand::Receive {
                request,
                limit,
                wait,
                visibility,
            } => {
                rules::q6_receives_have_room(books, *limit)?;
                rules::q6_receives_are_as_many_as_wanted(books, *wait, *visibility)?;
                rules::q8_receives_wait_for_the_function(books)?;
                rules::q10_receives_keep_their_pace(books, now)?;
                let (limit, sent) = (usize::from(*limit), now);
                books.receive_pause.begin();
                books.receives.insert(*request, Receive { limit, sent });
            }
            QueueCommand::Invoke(batch) => {
                rules::q3_nothing_visible_is_invoked(books, batch, now)?;
                rules::q4_one_batch_for_each_group(books, batch)?;
                rules::q5_invocations_keep_their_limits(books, batch)?;
                rules::q8_one_try_at_a_time(books)?;
                rules::q10_invocations_keep_their_pace(books, now)?;
                rules::batches_are_what_has_gathered(books, batch, now)?;
                books.begin_invocation(batch, now);
            }
            QueueCommand::Delete { request, receipts } => {
                let entries = rules::q1_only_what_succeeded(books, receipts)?;
                rules::q10_deletions_keep_their_pace(books, now)?;
                for entry in &entries {
                    books.held.get_mut(&entry.id).expect("it is owed").state = State::Deleting;
                }
                books.delete_pause.begin();
                let sent = now;
                books.deletions.insert(*request, Asked { entries, sent });
            }
            QueueCommand::ChangeVisibility {
                request,
                receipts,
                timeout,
            } => {
                if rules::returns_are_owed(books, receipts, *timeout)? {
                    books.returns.insert(*request);
                    return Ok(());
                }
                let entries = rules::q3_extensions_are_due(books, receipts, *timeout, now)?;
                for entry in &entries {
                    books.held.get_mut(&entry.id).expect("it is held").extension =
                        Extension::UnderWay;
                }
                let sent = now;
                books.extensions.insert(*request, Asked { entries, sent });
            }
            QueueCommand::Report(report) => rules::reports_are_owed(books, report)?,
            QueueCommand::Finish => {
                rules::finishes_in_time(books)?;
                books.finished = true;
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
        view: &QueueView,
        timeout: Option<Timestamp>,
        now: Timestamp,
    ) -> Checked {
        let books = &self.0;
        rules::q10_timers_do_something(books.must_act != Some(true), || "nothing".to_owned())?;
        rules::nothing_is_owed(books)?;
        rules::views_are_true(books, view, timeout)?;
        if books.finished {
            return Ok(());
        }
        rules::q6_the_buffer_is_bounded(books)?;
        rules::q9_nothing_gets_stuck(books, timeout)?;
        rules::q10_timers_lie_ahead(timeout, now)
    }

    /// Whether it has ended.
    pub const fn is_finished(&self) -> bool {
        self.0.finished
    }

    /// Whether the consumer holds a message, so that nobody else may get it.
    pub fn holds(&self, id: &MessageId) -> bool {
        self.0.held.contains_key(id)
    }
}

/// The size of an event, computed anew: `{"Records":[a,b]}`.
fn event_bytes(sizes: impl Iterator<Item = usize>) -> usize {
    let (n_messages, total) = sizes.fold((0, 0), |(n, total), size| (n + 1, total + size));
    r#"{"Records":[]}"#.len() + total + usize::saturating_sub(n_messages, 1)
}
