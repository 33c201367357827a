//! Drives one [`ShardConsumer`]: executes its commands and feeds the results back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::poll;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use windlass_core::arn::Arn;
use windlass_core::batch::BatchId;
use windlass_core::event::Event;
use windlass_core::failure::{DeliveryFault, FailureRecord};
use windlass_core::ids::ShardId;
use windlass_core::lease::LeaseKey;
use windlass_core::outcome::Fault;
use windlass_core::position::{Checkpoint, Cursor};
use windlass_core::record::Record;
use windlass_core::shard::ReadResult;
use windlass_core::shard::{Batch, Finish, Report, ShardCommand, ShardConsumer, ShardInput};
use windlass_core::time::Timestamp;

use crate::checkpoint_saver::CheckpointSaver;
use crate::clock::{Clock, Timer};
use crate::dead_letters::DeadLetterBox;
use crate::invoker::{Call, Invoker, Preparation};
use crate::memory::{PageMemory, ReadGrant};
use crate::ports::{CheckpointSave, Destination, Failure, ShardOrigin, ShardReader};
use crate::rate::{NextTurn, RateLimiter};
use crate::shared_reads::ReadShare;
use crate::slots::{NextSlot, Slot};
use crate::status::{
    SourceCall, SourceCalls, UnitHandle, UnitView, describe_gap, describe_unreadable,
};
use crate::stop::{Stop, wait_for_stop};

pub(crate) struct ShardDriver {
    pub(crate) consumer: ShardConsumer,
    /// `None` while a read is in flight.
    pub(crate) reader: Option<Box<dyn ShardReader>>,
    pub(crate) io: Arc<ShardIo>,
    pub(crate) memory: PageMemory,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) status: UnitHandle,
    pub(crate) next_slot: NextSlot,
    pub(crate) preparation: Preparation,
    /// Of a replay.
    pub(crate) rate: Option<RateLimiter>,
    pub(crate) next_turn: NextTurn,
    /// `None` if the time of the source does not matter.
    pub(crate) source_clock: Option<SourceClock>,
    /// When the records of each delivery that has not succeeded were given up, by the wall clock.
    pub(crate) given_up: BTreeMap<BatchId, Timestamp>,
}

/// What the consumer knows of the clock of its source.
#[derive(Debug, Default)]
pub(crate) struct SourceClock {
    /// By how many milliseconds it is ahead of monotonic time.
    ahead: Option<i64>,
}

/// What the I/O of a shard needs.
pub(crate) struct ShardIo {
    pub(crate) key: LeaseKey,
    pub(crate) shard: ShardId,
    /// As its records have it.
    pub(crate) event_source_arn: Arn,
    pub(crate) epoch: u64,
    pub(crate) saver: CheckpointSaver,
    /// For records that are given up.
    pub(crate) destination: Option<Arc<dyn Destination>>,
    /// Where these are kept, if they are.
    pub(crate) dead_letters: Option<DeadLetterBox>,
    /// Shared with the other readers of the stream; with the interval of catching up.
    pub(crate) reads: Option<(ReadShare, Duration)>,
    pub(crate) invoker: Invoker,
    pub(crate) calls: SourceCalls,
    pub(crate) clock: Clock,
}

/// A smaller change of the source's clock is not worth an input.
const CLOCK_TOLERANCE: u64 = 1_000;

type InFlight = FuturesUnordered<BoxFuture<'static, Completion>>;

/// Result of a command.
enum Completion {
    Read {
        reader: Box<dyn ShardReader>,
        result: Result<ReadResult, Fault>,
        grant: ReadGrant,
    },
    Other(ShardInput),
}

impl ShardDriver {
    /// Runs until the consumer has finished; `None` after [`Stop::Now`].
    pub(crate) async fn run(&mut self) -> Option<Finish> {
        let mut in_flight = InFlight::new();
        let mut timer = Timer::new(self.io.clock);
        loop {
            while let Some(command) = self.consumer.poll_command() {
                if let ControlFlow::Break(finish) = self.execute(command, &in_flight) {
                    return Some(finish);
                }
            }
            if self.next_slot.take_news() {
                self.handle_slot_granted();
                continue;
            }
            if self.update_source_time() {
                continue;
            }
            let view = self.consumer.view();
            self.memory.settle(&view, self.consumer.state_bytes());
            let target = &*self.io.invoker.target;
            let some_wait = view.in_flight_records < view.buffered_records;
            self.preparation.update(target, some_wait);
            self.status.publish(UnitView::Shard(view));
            tokio::select! {
                biased;
                stop = wait_for_stop(&mut self.stop) => match stop {
                    Stop::Now => return None, // Dropping `in_flight` cancels the I/O.
                    Stop::Drain => self.consumer.handle(ShardInput::Drain, self.io.clock.now()),
                    Stop::No => {}
                },
                Some(completion) = in_flight.next() => self.handle_completion(completion),
                // No slot is held while a batch waits for its turn.
                () = self.next_turn.given() => self.next_slot = self.io.invoker.request_slot(),
                () = self.next_slot.granted() => self.handle_slot_granted(),
                () = timer.sleep_until(self.consumer.poll_timeout()) => {
                    self.consumer.handle_timeout(self.io.clock.now());
                }
            }
        }
    }

    /// Whether the consumer was told that the source has another time than it knew.
    fn update_source_time(&mut self) -> bool {
        let (clock, invoker) = (self.io.clock, &self.io.invoker);
        let Some(known) = &mut self.source_clock else {
            return false;
        };
        let now = clock.now();
        let time = invoker.board.source_time(&invoker.mapping, clock, now);
        let ahead = time.millis_since(now);
        let is_known = |known: i64| known.abs_diff(ahead) < CLOCK_TOLERANCE;
        if known.ahead.is_some_and(is_known) {
            return false;
        }
        known.ahead = Some(ahead);
        self.consumer.handle(ShardInput::SourceTime(time), now);
        true
    }

    fn handle_slot_granted(&mut self) {
        let max_records = self.rate.as_ref().and_then(RateLimiter::max_records);
        let input = ShardInput::SlotGranted { max_records };
        self.consumer.handle(input, self.io.clock.now());
    }

    fn execute(&mut self, command: ShardCommand, in_flight: &InFlight) -> ControlFlow<Finish> {
        let io = Arc::clone(&self.io);
        let future: BoxFuture<'static, Completion> = match command {
            ShardCommand::Read {
                from,
                limit,
                timeout,
            } => {
                let reader = self.reader.take();
                let reader = reader.expect("a shard has one read in flight at most");
                let is_in_memory = reader.has_page(&from);
                let now = io.clock.now();
                let grant = self.memory.grant_read(limit, is_in_memory, now);
                Box::pin(io.read(reader, from, timeout, grant))
            }
            ShardCommand::Invoke(batch) => {
                self.next_turn.sent(batch.records.len());
                Box::pin(io.invoke(batch, self.next_slot.take()))
            }
            ShardCommand::RequestSlot => {
                match &self.rate {
                    Some(rate) => self.next_turn = rate.request(),
                    None => self.next_slot = io.invoker.request_slot(),
                }
                return ControlFlow::Continue(());
            }
            ShardCommand::CancelSlot => {
                self.next_turn.cancel();
                self.next_slot.cancel();
                return ControlFlow::Continue(());
            }
            ShardCommand::Deliver { delivery, failure } => {
                let given_up = self.given_up.entry(delivery);
                let given_up = *given_up.or_insert_with(|| io.clock.wall());
                Box::pin(io.deliver(delivery, failure, given_up))
            }
            ShardCommand::Save(checkpoint) => Box::pin(io.save(checkpoint)),
            ShardCommand::Report(report) => {
                self.report(&report);
                return ControlFlow::Continue(());
            }
            ShardCommand::Finish(finish) => return ControlFlow::Break(finish),
        };
        in_flight.push(future);
        ControlFlow::Continue(())
    }

    fn handle_completion(&mut self, completion: Completion) {
        let now = self.io.clock.now();
        let input = match completion {
            Completion::Read {
                reader,
                result,
                grant,
            } => {
                self.reader = Some(reader);
                self.memory.handle_read(grant, &result, now);
                ShardInput::Read(result)
            }
            Completion::Other(input) => input,
        };
        if let ShardInput::Delivered {
            delivery,
            result: Ok(()),
        } = &input
        {
            self.given_up.remove(delivery);
        }
        let n_read = self.consumer.n_read();
        self.consumer.handle(input, now);
        let n_read = self.consumer.n_read() - n_read;
        self.io.invoker.counts.polled.add(n_read);
    }

    fn report(&self, report: &Report) {
        let counts = &self.io.invoker.counts;
        match report {
            Report::FilteredOut { n_records } => counts.filtered_out.add(*n_records),
            Report::BeforeStart { n_records } => counts.skipped.add(*n_records),
            Report::OutsideHashKeyRange { n_records } => {
                counts.outside_hash_key_range.add(*n_records);
            }
            Report::RecordTooLarge {
                sequence_number,
                bytes,
            } => {
                counts.dropped.add(1);
                tracing::warn!(
                    %sequence_number, bytes,
                    "record dropped: it alone exceeds the payload limit"
                );
            }
            Report::UnreadableDropped {
                sequence_number,
                reason,
            } => {
                counts.dropped.add(1);
                tracing::warn!(%sequence_number, reason, "record dropped: it cannot be rendered");
            }
            Report::Dropped(failure) => {
                counts.dropped.add(failure.records.len());
                warn_given_up(
                    failure,
                    "records dropped: there is no on-failure destination, and they are not kept",
                );
            }
            Report::Unreadable(record) => {
                tracing::warn!("{}", describe_unreadable(*record));
            }
            Report::WindowStateDropped(bounds) => {
                tracing::warn!(
                    start = bounds.start.to_rfc3339(),
                    end = bounds.end.to_rfc3339(),
                    "the state of a tumbling window was dropped without a final invocation"
                );
            }
            Report::Gap(gap) => {
                counts.trimmed_gaps.add(1);
                let (shard, gap) = (&self.io.shard, describe_gap(gap));
                let invoker = &self.io.invoker;
                let of_shard = format!("shard {shard}: {gap}");
                invoker.board.add_gap(&invoker.mapping, of_shard);
                tracing::warn!("{gap}");
            }
        }
    }
}

impl ShardIo {
    async fn read(
        self: Arc<Self>,
        mut reader: Box<dyn ShardReader>,
        from: Cursor,
        timeout: Duration,
        grant: impl Future<Output = ReadGrant>,
    ) -> Completion {
        if let Some((share, interval)) = self.reads.as_ref().filter(|_| !reader.has_page(&from)) {
            share.turn(&self.shard, *interval, self.clock).await;
        }
        let mut grant = pin!(grant);
        let grant = match poll!(grant.as_mut()) {
            Poll::Ready(grant) => grant,
            Poll::Pending => {
                reader.release_memory();
                grant.await
            }
        };
        let response = reader.read(&from, grant.limits(timeout));
        let calls = &self.calls;
        let result = calls.run(SourceCall::Read, Duration::ZERO, response).await;
        if let Ok(page) = &result {
            tracing::trace!(n_records = page.records.len(), behind = ?page.behind, "read");
        }
        Completion::Read {
            reader,
            result,
            grant,
        }
    }

    async fn invoke(self: Arc<Self>, batch: Batch, slot: Slot) -> Completion {
        let newest = batch.records.last().map(Record::approximate_arrival);
        let first = batch.records.first();
        let origin = ShardOrigin {
            shard: self.shard.clone(),
            epoch: self.epoch,
            sequence_number: first.map(|first| first.sequence_number().into()),
        };
        let event = || match &batch.window {
            None => Event::of_records(&batch.records),
            Some(call) => {
                Event::of_window(&batch.records, call, &self.shard, &self.event_source_arn)
            }
        };
        let call = Call {
            attempt: batch.attempt,
            n_records: batch.records.len(),
            newest,
            origin: Some(origin),
            returns_state: batch.window.is_some(),
        };
        let outcome = self.invoker.invoke(slot, call, event).await;
        let numbers = batch.records.iter().map(Record::sequence_number);
        self.invoker.count_item_failures(&outcome, numbers);
        Completion::Other(ShardInput::Invoked {
            batch: batch.id,
            outcome,
        })
    }

    async fn deliver(
        self: Arc<Self>,
        delivery: BatchId,
        record: FailureRecord,
        given_up: Timestamp,
    ) -> Completion {
        let failure = Failure {
            shard: self.shard.clone(),
            record,
            given_up,
        };
        let result = self.deliver_failure(&failure).await;
        Completion::Other(ShardInput::Delivered { delivery, result })
    }

    /// First to the dead letters: when it is repeated, the letter replaces itself.
    async fn deliver_failure(&self, failure: &Failure) -> Result<(), DeliveryFault> {
        let (counts, record) = (&self.invoker.counts, &failure.record);
        let n_records = record.records.len();
        if let Some(dead_letters) = &self.dead_letters {
            dead_letters.keep(failure).await?;
        }
        if let Some(destination) = &self.destination {
            let (calls, response) = (&self.calls, destination.deliver(failure));
            let delivered = calls.run(SourceCall::Deliver, Duration::ZERO, response);
            delivered.await.map_err(DeliveryFault::Destination)?;
            counts.on_failure_delivered.add(n_records);
            warn_given_up(record, "records given up: their destination was told");
        } else {
            counts.dropped.add(n_records);
        }
        if self.dead_letters.is_some() {
            counts.dead_letters.add(n_records);
            warn_given_up(record, "records given up: they are kept as a dead letter");
        }
        Ok(())
    }

    async fn save(self: Arc<Self>, checkpoint: Checkpoint) -> Completion {
        let result = self.saver.save(CheckpointSave {
            key: self.key.clone(),
            epoch: self.epoch,
            checkpoint,
        });
        Completion::Other(ShardInput::Saved(result.await))
    }
}

fn warn_given_up(failure: &FailureRecord, text: &str) {
    let numbers = [failure.records.first(), failure.records.last()];
    let [first, last] = numbers.map(|record| record.map(Record::sequence_number));
    tracing::warn!(
        condition = failure.condition.as_str(),
        n_records = failure.records.len(),
        first,
        last,
        attempts = failure.attempts,
        "{text}"
    );
}
