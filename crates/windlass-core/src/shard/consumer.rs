//! The consumer of one shard: reads, saves and ending, and the one place that issues commands.
//!
//! It holds no rule of its own about batches ([`super::lane`]), retries ([`crate::retry`]) or
//! checkpoints ([`crate::progress`]); it brings them together.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::ReadResult;
use super::lane::Lane;
use super::reading::{Arrival, Reading};
use super::saving::{Mark, Saving};
use super::sifting::{self, Item};
use super::{Finish, Report, ShardCommand, ShardConsumerSettings, ShardInput, ShardView, Waiting};
use crate::event;
use crate::outcome::{Fault, Outcome, Swap};
use crate::position::Position;
use crate::progress::Progress;
use crate::record::Record;
use crate::time::Timestamp;

/// One leased shard of one mapping: inputs in, commands out; the caller does the I/O.
///
/// # How to call it
///
/// - After [`ShardConsumer::new`] and after every `handle` or `handle_timeout`, take commands until
///   [`ShardConsumer::poll_command`] returns `None`; only then read
///   [`ShardConsumer::poll_timeout`] and feed the next input. A command that was given stands, even
///   if the next input is [`ShardInput::Drain`].
/// - Every command but [`ShardCommand::Report`] and [`ShardCommand::Finish`] is answered by exactly
///   one input. After `Finish` nothing needs an answer, and what is still under way may be dropped.
/// - `now` must not decrease.
/// - `handle` also fires every timer that is due, so that a busy shard cannot starve its own window
///   or backoff. A late or repeated `handle_timeout` does nothing.
///
/// # Panics
///
/// If that contract or one of the invariants in the module's documentation is broken, also in
/// release builds: a consumer that is wrong about itself must not write a checkpoint.
#[derive(Debug)]
pub struct ShardConsumer {
    settings: ShardConsumerSettings,
    random: ChaCha8Rng,
    reading: Reading,
    lane: Lane,
    progress: Progress,
    saving: Saving,
    commands: VecDeque<ShardCommand>,
    draining: bool,
    finished: bool,
    last_outcome: Option<Outcome>,
    now: Timestamp,
}

impl ShardConsumer {
    /// A consumer that goes on at a stored checkpoint. `seed` decides the jitter of its backoff.
    ///
    /// # Panics
    /// If a limit of the settings is zero, or no event fits the payload limit.
    pub fn new(settings: ShardConsumerSettings, from: Position, seed: u64, now: Timestamp) -> Self {
        let limits = &settings.limits;
        let positive = [
            settings.mapping.batch_size,
            limits.buffer_records,
            limits.buffer_bytes,
            limits.read_limit as usize,
        ];
        assert!(!positive.contains(&0), "every limit is at least 1");
        assert!(
            event::ENVELOPE_LEN < limits.payload_limit,
            "an event fits the payload limit"
        );
        let mut consumer = Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            reading: Reading::new(from.clone(), now),
            lane: Lane::new(&settings),
            progress: Progress::new(from.clone()),
            saving: Saving::new(from),
            commands: VecDeque::new(),
            draining: false,
            finished: false,
            last_outcome: None,
            now,
            settings,
        };
        consumer.advance(now);
        consumer
    }

    /// Something happened. Inputs after the end are passed over.
    pub fn handle(&mut self, input: ShardInput, now: Timestamp) {
        assert!(self.commands.is_empty(), "commands are taken before input");
        if self.finished {
            return;
        }
        match input {
            ShardInput::Read(result) => self.handle_read(result, now),
            ShardInput::Invoked { batch, outcome } => {
                let resolved = self.lane.end(batch, &outcome, &mut self.random, now);
                self.progress.resolve(resolved);
                self.last_outcome = Some(outcome);
            }
            ShardInput::Saved(Ok(Swap::Done)) => self.saving.done(),
            ShardInput::Saved(Ok(Swap::Conflict)) => return self.finish(Finish::LeaseLost),
            ShardInput::Saved(Err(fault)) => self.saving.failed(fault, &mut self.random, now),
            ShardInput::Drain => self.draining = true,
        }
        self.advance(now);
    }

    /// The time that [`ShardConsumer::poll_timeout`] named has come, or any other.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        assert!(self.commands.is_empty(), "commands are taken before input");
        self.advance(now);
    }

    /// What to do next.
    pub fn poll_command(&mut self) -> Option<ShardCommand> {
        self.commands.pop_front()
    }

    /// When to call [`ShardConsumer::handle_timeout`]; `None` if only an input can move it on.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.finished {
            return None;
        }
        let save = self.saving.timeout().filter(|_| self.has_unsaved());
        if self.draining {
            return save;
        }
        let read = self.reading.due().filter(|_| 0 < self.read_room());
        [read, save, self.lane.timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What a person may want to know.
    pub fn view(&self) -> ShardView {
        let (waiting, next_at) = self.waiting();
        ShardView {
            checkpoint: self.saving.saved().position.clone(),
            behind: self.reading.behind(),
            oldest: self.lane.oldest(),
            buffered_records: self.lane.n_records(),
            buffered_bytes: self.lane.bytes(),
            in_flight_records: self.lane.n_in_flight(),
            attempt: self.lane.attempt(),
            last_outcome: self.last_outcome.clone(),
            waiting,
            next_at,
        }
    }

    /// What holds the shard back, and when it is tried again; without such a thing, when the
    /// consumer goes on by itself.
    fn waiting(&self) -> (Option<Waiting>, Option<Timestamp>) {
        let function = self.lane.waiting().cloned();
        let store = self.saving.fault().map(Waiting::Store);
        let source = self.reading.fault().map(Waiting::Source);
        let all = [
            (function, self.lane.timeout()),
            (store, self.saving.timeout()),
            (source, self.reading.due()),
        ];
        let first = all.into_iter().find(|(waiting, _)| waiting.is_some());
        match first {
            // A drain begins nothing again but saves.
            Some(first) if !self.draining => first,
            first => (first.and_then(|(waiting, _)| waiting), self.poll_timeout()),
        }
    }

    fn handle_read(&mut self, result: Result<ReadResult, Fault>, now: Timestamp) {
        if self.draining {
            // Whatever it is, it was not taken in: not even the end of the shard may be believed.
            return;
        }
        let arrival = self
            .reading
            .end(result, &self.settings.limits, &mut self.random, now);
        match arrival {
            Arrival::Records(records) => self.take_in(records, now),
            Arrival::Nothing => {}
            Arrival::Trimmed { after } => {
                self.command(ShardCommand::Report(Report::Trimmed { after }))
            }
        }
        assert!(
            self.progress.behind_run() <= self.settings.limits.buffer_records,
            "the buffer is bounded"
        );
    }

    /// Takes in the next records of the shard.
    fn take_in(&mut self, records: Vec<Record>, now: Timestamp) {
        let sifted = sifting::sift(records, &self.settings);
        for item in sifted.items {
            match item {
                Item::Wanted(record) => {
                    let ticket = self.progress.admit(record.clone());
                    self.lane.push(ticket, record, now);
                }
                Item::PassedOver { n_records, last } => self.progress.pass_over(n_records, last),
            }
        }
        for report in sifted.reports {
            self.command(ShardCommand::Report(report));
        }
    }

    /// Moves everything that can move.
    fn advance(&mut self, now: Timestamp) {
        assert!(self.now <= now, "time does not run backwards");
        self.now = now;
        if self.finished {
            return;
        }
        if !self.draining {
            self.advance_lane(now);
            self.advance_reading(now);
        }
        self.advance_saving(now);
        if !self.finished {
            let under_way = self.reading.is_under_way()
                || self.saving.is_under_way()
                || 0 < self.lane.n_in_flight();
            let timeout = self.poll_timeout();
            assert!(under_way || timeout.is_some(), "it is never stuck");
            assert!(
                timeout.is_none_or(|at| now < at),
                "what is due has been done"
            );
        }
    }

    fn advance_lane(&mut self, now: Timestamp) {
        let no_more = self.reading.has_ended() || self.buffer_room() == 0;
        if let Some(batch) = self.lane.next_batch(no_more, now) {
            self.command(ShardCommand::Invoke(batch));
        }
    }

    fn advance_reading(&mut self, now: Timestamp) {
        let room = self.read_room();
        if room == 0 {
            return;
        }
        let limit = self
            .settings
            .limits
            .read_limit
            .min(u32::try_from(room).unwrap_or(u32::MAX));
        if let Some(from) = self.reading.start(limit as usize, now) {
            assert!(limit as usize <= room, "a read fits the buffer");
            self.command(ShardCommand::Read { from, limit });
        }
    }

    fn advance_saving(&mut self, now: Timestamp) {
        let mark = self.mark();
        if let Some(position) = self.saving.start(&mark, now) {
            let unresolved = self.lane.first();
            assert!(
                unresolved.is_none_or(|ticket| self.progress.is_behind_run(ticket)),
                "a checkpoint never passes an unresolved record"
            );
            self.command(ShardCommand::Save(position));
        }
        if self.saving.is_news(&mark) || self.saving.is_under_way() {
            return;
        }
        if mark.position == Position::ShardEnd {
            self.finish(Finish::ShardEnd);
        } else if self.draining && self.lane.n_in_flight() == 0 {
            self.finish(Finish::Drained);
        }
    }

    /// What may be saved.
    fn mark(&self) -> Mark {
        let at_end = self.reading.has_ended() && self.progress.all_resolved();
        Mark {
            run: self.progress.run(),
            position: if at_end {
                Position::ShardEnd
            } else {
                self.progress.end().clone()
            },
        }
    }

    fn has_unsaved(&self) -> bool {
        self.saving.is_news(&self.mark())
    }

    /// How many records the buffer can take.
    fn buffer_room(&self) -> usize {
        if self.settings.limits.buffer_bytes <= self.lane.bytes() {
            return 0;
        }
        self.settings.limits.buffer_records - self.progress.behind_run()
    }

    /// How many records may be read. What is resolved and not saved will be repeated after a crash,
    /// so that it has a bound too.
    fn read_room(&self) -> usize {
        let unsaved = self.progress.run() - self.saving.saved().run;
        if self.settings.limits.buffer_records as u64 <= unsaved {
            return 0;
        }
        self.buffer_room()
    }

    fn finish(&mut self, how: Finish) {
        self.command(ShardCommand::Finish(how));
        self.finished = true;
    }

    fn command(&mut self, command: ShardCommand) {
        assert!(!self.finished, "nothing follows the end");
        let begins = matches!(command, ShardCommand::Invoke(_) | ShardCommand::Read { .. });
        assert!(
            !(self.draining && begins),
            "a consumer that drains begins nothing"
        );
        self.commands.push_back(command);
    }
}
