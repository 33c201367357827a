//! What a checker remembers of one consumer: the same facts as the machine, kept another way.

use std::collections::VecDeque;
use std::time::Duration;

use windlass_core::outcome::{Fault, Outcome};
use windlass_core::position::Position;
use windlass_core::record::Page;
use windlass_core::rendering::Record;
use windlass_core::shard::{Batch, Finish, Report, ShardSettings};
use windlass_core::time::Timestamp;

use super::event_bytes;
use crate::checkers::pace::Due;
use crate::checkers::{Violation, ensure};
use crate::sample_filter;
use crate::world::Contents;

#[derive(Debug)]
pub(super) struct Books {
    pub(super) settings: ShardSettings,

    /// Where the next read must go on.
    pub(super) after: Position,
    /// The limit and the start of the read under way.
    pub(super) read: Option<(usize, Timestamp)>,
    pub(super) read_due: Due,
    read_failures: u32,
    pub(super) read_fault: Option<Fault>,
    pub(super) behind: Option<Duration>,
    /// The end of the shard was read.
    pub(super) ended: bool,

    /// Every record that was taken in.
    taken: Vec<Taken>,
    /// How many of them are resolved without a gap.
    pub(super) run: usize,
    /// Those that the function must still be given, the batch under way included.
    pub(super) waiting: VecDeque<usize>,
    sizes: VecDeque<usize>,
    arrivals: VecDeque<Timestamp>,
    pub(super) waiting_bytes: usize,
    /// Since when the window runs.
    window: Option<Timestamp>,

    /// How many of those that wait are in flight.
    pub(super) in_flight: Option<usize>,
    pub(super) failed: Option<FailedBatch>,
    pub(super) last_outcome: Option<Outcome>,

    /// What is saved, and what is being saved.
    pub(super) saved: Saved,
    pub(super) save: Option<Saved>,
    pub(super) save_failed: Option<FailedSave>,

    pub(super) owed: VecDeque<Report>,
    pub(super) draining: bool,
    pub(super) lease_lost: bool,
    pub(super) finished: Option<Finish>,
    /// Whether the timer that was fired must do something, or must not.
    pub(super) must_act: Option<bool>,
}

/// A record that was taken in.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// Its place in the shard.
    index: usize,
    /// The function is not to see it.
    passed_over: bool,
    resolved: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub(super) run: usize,
    pub(super) position: Position,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FailedSave {
    n: u32,
    pub(super) fault: Fault,
    pub(super) due: Due,
}

#[derive(Clone, Debug)]
pub(super) struct FailedBatch {
    pub(super) n_records: usize,
    reached: u32,
    not_reached: u32,
    pub(super) due: Due,
}

/// The batch that can be made of what waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    pub(super) n_records: usize,
    full: bool,
}

impl Books {
    pub(super) fn new(settings: ShardSettings, from: Position, now: Timestamp) -> Self {
        Self {
            settings,
            after: from.clone(),
            read: None,
            read_due: Due::at(now),
            read_failures: 0,
            read_fault: None,
            behind: None,
            ended: from == Position::ShardEnd,
            taken: Vec::new(),
            run: 0,
            waiting: VecDeque::new(),
            sizes: VecDeque::new(),
            arrivals: VecDeque::new(),
            waiting_bytes: 0,
            window: None,
            in_flight: None,
            failed: None,
            last_outcome: None,
            saved: Saved {
                run: 0,
                position: from,
            },
            save: None,
            save_failed: None,
            owed: VecDeque::new(),
            draining: false,
            lease_lost: false,
            finished: None,
            must_act: None,
        }
    }

    pub(super) fn begin_read(&mut self, limit: usize, now: Timestamp) {
        self.read = Some((limit, now));
    }

    pub(super) fn read(
        &mut self,
        result: &Result<Page, Fault>,
        contents: &Contents,
        now: Timestamp,
    ) -> Result<(), Violation> {
        let (limit, started) = self.read.take().expect("a read was asked for");
        if self.draining {
            return Ok(());
        }
        let soon = started + self.settings.catch_up_interval;
        match result {
            Ok(page) => {
                self.read_failures = 0;
                self.read_fault = None;
                self.behind = Some(page.behind);
                self.read_due = Due::at(if page.behind.is_zero() {
                    started + self.settings.poll_interval
                } else {
                    soon
                });
                let taken = &page.records[..limit.min(page.records.len())];
                self.ended = page.next.is_none() && taken.len() == page.records.len();
                if let Some(last) = taken.last() {
                    self.after = Position::After(last.name());
                }
                self.take_in(taken, contents, now)?;
            }
            Err(Fault::Trimmed) if self.after != Position::TrimHorizon => {
                let after = std::mem::replace(&mut self.after, Position::TrimHorizon);
                self.read_due = Due::at(soon);
                self.owed.push_back(Report::Trimmed { after });
            }
            Err(fault) => {
                self.read_failures += 1;
                self.read_fault = Some(*fault);
                self.read_due =
                    Due::after_failure(self.read_failures, *fault, now).not_before(soon);
            }
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        records: &[Record],
        contents: &Contents,
        now: Timestamp,
    ) -> Result<(), Violation> {
        let mut n_filtered_out = 0;
        for record in records {
            let index = contents.index_of(record.sequence_number());
            let index = index.expect("the source gives its own records");
            let last = self.taken.last().map(|last| last.index);
            ensure(last.is_none_or(|last| last < index), "reading", || {
                format!("record {index} is read after record {last:?}")
            })?;
            let size = record.event_len();
            let early = |earliest| record.approximate_arrival() < earliest;
            let filtered_out =
                self.settings.filter.is_some() && !sample_filter::matches(record.event());
            let skipped = filtered_out || self.settings.skip_before.is_some_and(early);
            let too_large = self.settings.payload_limit < event_bytes(std::iter::once(size));
            let passed_over = skipped || too_large;
            self.taken.push(Taken {
                index,
                passed_over,
                resolved: passed_over,
            });
            if skipped {
                n_filtered_out += 1;
                continue;
            }
            if too_large {
                self.owed.push_back(Report::RecordTooLarge {
                    sequence_number: record.name(),
                    bytes: size,
                });
                continue;
            }
            if self.waiting.is_empty() {
                let last_end = self.window.take();
                let open = last_end.filter(|&end| now < end + self.window());
                self.window = Some(open.unwrap_or(now));
            }
            self.waiting.push_back(index);
            self.sizes.push_back(size);
            self.arrivals.push_back(record.approximate_arrival());
            self.waiting_bytes += size;
        }
        if n_filtered_out != 0 {
            let n_records = n_filtered_out;
            self.owed.push_back(Report::FilteredOut { n_records });
        }
        self.advance_run();
        Ok(())
    }

    pub(super) fn begin_invocation(&mut self, batch: &Batch) {
        self.in_flight = Some(batch.records.len());
    }

    pub(super) fn invoked(&mut self, outcome: &Outcome, now: Timestamp) {
        let n_records = self.in_flight.take().expect("an invocation was asked for");
        self.last_outcome = Some(outcome.clone());
        let (mut reached, mut not_reached) = self
            .failed
            .as_ref()
            .map_or((0, 0), |failed| (failed.reached, failed.not_reached));
        let due = match outcome {
            Outcome::Success => {
                self.failed = None;
                for index in self.waiting.drain(..n_records) {
                    let at = self.taken.binary_search_by_key(&index, |it| it.index);
                    self.taken[at.expect("it was taken in")].resolved = true;
                }
                self.waiting_bytes -= self.sizes.drain(..n_records).sum::<usize>();
                self.arrivals.drain(..n_records);
                self.window = Some(now);
                return self.advance_run();
            }
            Outcome::FunctionError { .. } => {
                (reached, not_reached) = (reached + 1, 0);
                Due::after_failure(reached, Fault::Transient, now)
            }
            Outcome::NotInvoked { cause } => {
                not_reached += 1;
                Due::after_failure(not_reached, *cause, now)
            }
        };
        self.failed = Some(FailedBatch {
            n_records,
            reached,
            not_reached,
            due,
        });
    }

    pub(super) fn begin_save(&mut self, position: &Position) {
        self.save = Some(Saved {
            run: self.run,
            position: position.clone(),
        });
    }

    pub(super) fn saved(&mut self) {
        self.saved = self.save.take().expect("a save was asked for");
        self.save_failed = None;
    }

    pub(super) fn save_failed(&mut self, fault: Fault, now: Timestamp) {
        self.save = None;
        let n = self.save_failed.map_or(1, |failed| failed.n + 1);
        let due = Due::after_failure(n, fault, now);
        self.save_failed = Some(FailedSave { n, fault, due });
    }

    /// How many records lie before the end of the unbroken run, if it has an end that is known.
    pub(super) fn run_end(&self) -> Option<usize> {
        let last = self.run.checked_sub(1)?;
        Some(self.taken[last].index + 1)
    }

    /// How many records lie behind the run that the function was to see.
    pub(super) fn behind_run(&self) -> usize {
        let behind = self.taken[self.run..].iter();
        behind.filter(|it| !it.passed_over).count()
    }

    pub(super) fn has_unsaved(&self) -> bool {
        let at_end = self.ended && self.behind_run() == 0;
        self.saved.run < self.run || (at_end && self.saved.position != Position::ShardEnd)
    }

    pub(super) fn attempt(&self) -> u32 {
        self.failed.as_ref().map_or(1, |failed| failed.reached + 1)
    }

    pub(super) fn read_room(&self) -> usize {
        let settings = &self.settings;
        let unsaved = self.run - self.saved.run;
        if self.buffer_is_full() || settings.buffer_records <= unsaved {
            return 0;
        }
        settings.buffer_records - self.behind_run()
    }

    /// When the first of those that wait arrived.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.arrivals.front().copied()
    }

    /// What of those that wait makes one batch.
    pub(super) fn fill(&self) -> Fill {
        let settings = &self.settings;
        // With every record comes a comma, with the first one none.
        let (mut n_records, mut bytes) = (0, event_bytes(std::iter::empty()) - 1);
        for size in self.sizes.iter().take(settings.batch_size) {
            if settings.payload_limit < bytes + 1 + size {
                break;
            }
            n_records += 1;
            bytes += 1 + size;
        }
        let full = n_records < self.sizes.len()
            || n_records == settings.batch_size
            || bytes == settings.payload_limit;
        Fill { n_records, full }
    }

    /// When the batch at the head must be invoked.
    pub(super) fn batch_due(&self) -> Due {
        if let Some(failed) = &self.failed {
            return failed.due;
        }
        let window = self.window.expect("records wait");
        if self.fill().full || self.ended || self.buffer_is_full() {
            return Due::at(window);
        }
        Due::at(window + self.window())
    }

    fn buffer_is_full(&self) -> bool {
        self.settings.buffer_records <= self.behind_run()
            || self.settings.buffer_bytes <= self.waiting_bytes
    }

    fn window(&self) -> Duration {
        self.settings.maximum_batching_window
    }

    fn advance_run(&mut self) {
        while self.taken.get(self.run).is_some_and(|it| it.resolved) {
            self.run += 1;
        }
    }
}
