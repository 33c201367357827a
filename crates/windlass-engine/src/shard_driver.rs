//! Drives one [`ShardConsumer`]: executes its commands and feeds the results back.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use windlass_core::event::Event;
use windlass_core::lease::LeaseKey;
use windlass_core::outcome::Fault;
use windlass_core::position::{Checkpoint, Cursor};
use windlass_core::shard::ReadResult;
use windlass_core::shard::{Batch, Finish, Report, ShardCommand, ShardConsumer, ShardInput};

use crate::checkpoint_saver::CheckpointSaver;
use crate::clock::{Clock, Timer};
use crate::invoker::Invoker;
use crate::memory::{PageMemory, ReadGrant};
use crate::ports::{CheckpointSave, ShardReader};
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
}

/// What the I/O of a shard needs.
pub(crate) struct ShardIo {
    pub(crate) key: LeaseKey,
    pub(crate) epoch: u64,
    pub(crate) saver: CheckpointSaver,
    pub(crate) invoker: Invoker,
    pub(crate) calls: SourceCalls,
    pub(crate) clock: Clock,
}

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
    pub(crate) async fn run(mut self) -> Option<Finish> {
        let mut in_flight = InFlight::new();
        let mut timer = Timer::new(self.io.clock);
        loop {
            while let Some(command) = self.consumer.poll_command() {
                if let ControlFlow::Break(finish) = self.execute(command, &in_flight) {
                    return Some(finish);
                }
            }
            if self.next_slot.take_news() {
                let now = self.io.clock.now();
                self.consumer.handle(ShardInput::SlotGranted, now);
                continue;
            }
            let view = self.consumer.view();
            self.memory.settle(&view);
            self.status.publish(UnitView::Shard(view));
            tokio::select! {
                biased;
                stop = wait_for_stop(&mut self.stop) => match stop {
                    Stop::Now => return None, // Dropping `in_flight` cancels the I/O.
                    Stop::Drain => self.consumer.handle(ShardInput::Drain, self.io.clock.now()),
                    Stop::No => {}
                },
                Some(completion) = in_flight.next() => self.handle_completion(completion),
                () = self.next_slot.granted() => {
                    let now = self.io.clock.now();
                    self.consumer.handle(ShardInput::SlotGranted, now);
                }
                () = timer.sleep_until(self.consumer.poll_timeout()) => {
                    self.consumer.handle_timeout(self.io.clock.now());
                }
            }
        }
    }

    fn execute(&mut self, command: ShardCommand, in_flight: &InFlight) -> ControlFlow<Finish> {
        let io = Arc::clone(&self.io);
        let future: BoxFuture<'static, Completion> = match command {
            ShardCommand::Read {
                from,
                limit,
                timeout,
            } => {
                let grant = self.memory.grant_read(limit, io.clock.now());
                let reader = self.reader.take();
                let reader = reader.expect("a shard has one read in flight at most");
                Box::pin(io.read(reader, from, timeout, grant))
            }
            ShardCommand::Invoke(batch) => Box::pin(io.invoke(batch, self.next_slot.take())),
            ShardCommand::RequestSlot => {
                self.next_slot = io.invoker.request_slot();
                return ControlFlow::Continue(());
            }
            ShardCommand::CancelSlot => {
                self.next_slot.cancel();
                return ControlFlow::Continue(());
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
        let n_read = self.consumer.n_read();
        self.consumer.handle(input, now);
        let n_read = self.consumer.n_read() - n_read;
        self.io.invoker.counts.polled.add(n_read);
    }

    fn report(&self, report: &Report) {
        let counts = &self.io.invoker.counts;
        match report {
            Report::FilteredOut { n_records } => counts.filtered_out.add(*n_records),
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
            Report::Unreadable(record) => {
                tracing::warn!("{}", describe_unreadable(record));
            }
            Report::Gap(gap) => {
                counts.trimmed_gaps.add(1);
                tracing::warn!("{}", describe_gap(gap));
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
        let grant = grant.await;
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
        let newest = batch.records.last().expect("a batch is never empty");
        let newest = newest.approximate_arrival();
        let n_records = batch.records.len();
        let event = || Event::of_records(&batch.records);
        let invoker = &self.invoker;
        let outcome = invoker.invoke(slot, batch.attempt, n_records, newest, event);
        let outcome = outcome.await;
        Completion::Other(ShardInput::Invoked {
            batch: batch.id,
            outcome,
        })
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
