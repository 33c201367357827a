//! Drives one [`ShardConsumer`]: takes its commands, starts the I/O, feeds the results back.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use windlass_core::event::Event;
use windlass_core::ids::ShardId;
use windlass_core::lease::LeaseKey;
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::shard::ReadResult;
use windlass_core::shard::{Batch, Finish, Report, ShardCommand, ShardConsumer, ShardInput};

use crate::clock::{Clock, Timer};
use crate::invoker::Invoker;
use crate::memory::Limit;
use crate::memory::{Account, Reservation};
use crate::memory::{PageMemory, Plan};
use crate::ports::{ReadLimits, Store, StreamReader, log_fault};
use crate::status::{UnitHandle, UnitView};
use crate::stop::{Stop, wait_for_stop};

/// A page may have so many bytes however little room there is: a read that brings a record or two
/// costs as much as one that brings hundreds.
const MIN_PAGE_BYTES: usize = 256 * 1024;

/// The loop around the consumer of one shard.
pub(crate) struct ShardDriver {
    pub(crate) consumer: ShardConsumer,
    pub(crate) io: Arc<ShardIo>,
    pub(crate) memory: PageMemory,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) status: UnitHandle,
}

/// What the commands of a shard need.
pub(crate) struct ShardIo {
    pub(crate) key: LeaseKey,
    pub(crate) shard: ShardId,
    pub(crate) epoch: u64,
    pub(crate) reader: Arc<dyn StreamReader>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) invoker: Invoker,
    pub(crate) account: Account,
    pub(crate) clock: Clock,
    /// Records of one batch: what is read at a time when memory is scarce.
    pub(crate) batch_size: u32,
}

/// What an I/O gave.
enum Done {
    /// A page that was asked for with `limit`, and what was reserved for it.
    Read {
        result: Result<ReadResult, Fault>,
        limit: u32,
        reservation: Reservation,
    },
    /// Anything else.
    Other(ShardInput),
}

impl ShardDriver {
    /// Runs until the consumer has finished; `None` if it was told to drop everything.
    pub(crate) async fn run(mut self) -> Option<Finish> {
        let mut in_flight: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        let mut timer = Timer::new(self.io.clock);
        loop {
            while let Some(command) = self.consumer.poll_command() {
                let io = Arc::clone(&self.io);
                match command {
                    ShardCommand::Finish(how) => return Some(how),
                    ShardCommand::Report(report) => self.report(&report),
                    ShardCommand::Read { from, limit } => {
                        let plan = self.memory.plan(limit, self.io.clock.now());
                        in_flight.push(Box::pin(io.read(from, plan)));
                    }
                    ShardCommand::Invoke(batch) => in_flight.push(Box::pin(io.invoke(batch))),
                    ShardCommand::Save(position) => in_flight.push(Box::pin(io.save(position))),
                }
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
                Some(done) = in_flight.next() => self.done(done),
                () = timer.sleep_until(self.consumer.poll_timeout()) => {
                    self.consumer.handle_timeout(self.io.clock.now());
                }
            }
        }
    }

    fn done(&mut self, done: Done) {
        let now = self.io.clock.now();
        let input = match done {
            Done::Read {
                result,
                limit,
                reservation,
            } => {
                self.memory.add(reservation);
                if let Ok(page) = &result {
                    self.memory.arrives(page, limit, now);
                }
                ShardInput::Read(result)
            }
            Done::Other(input) => input,
        };
        self.consumer.handle(input, now);
    }

    fn report(&self, report: &Report) {
        match report {
            Report::FilteredOut { n_records } => {
                self.io.invoker.counts.filtered_out.add(*n_records);
            }
            Report::RecordTooLarge {
                sequence_number,
                bytes,
            } => {
                self.io.invoker.counts.dropped.add(1);
                tracing::warn!(
                    %sequence_number, bytes,
                    "a record exceeds the payload limit alone and is given up"
                );
            }
            Report::Trimmed { after } => tracing::warn!(
                position = after.kind(),
                sequence_number = after.value(),
                "retention has overtaken the checkpoint: what lay between is gone; reading goes \
                 on at the oldest record"
            ),
        }
    }
}

impl ShardIo {
    /// Reads a page once there is room for it.
    async fn read(self: Arc<Self>, from: Cursor, plan: Plan) -> Done {
        let backpressure = &self.invoker.backpressure;
        let wanted = backpressure.reserve(Limit::Memory, &self.account, plan.bytes());
        let mut reservation = wanted.await;
        let plan = plan.fit(
            reservation.amount(),
            reservation.is_scarce(),
            self.batch_size,
        );
        reservation.shrink_to(plan.bytes());
        let limit = plan.limit;
        let limits = ReadLimits {
            max_records: limit,
            max_bytes: reservation.amount().max(MIN_PAGE_BYTES),
        };
        let page = self.reader.read(&self.shard, &from, limits).await;
        if let Ok(page) = &page {
            self.invoker.counts.polled.add(page.records.len());
            tracing::trace!(n_records = page.records.len(), behind = ?page.behind, "read");
        }
        Done::Read {
            result: page.map_err(|error| log_fault(&error)),
            limit,
            reservation,
        }
    }

    async fn invoke(self: Arc<Self>, batch: Batch) -> Done {
        let newest = batch.records.last().expect("a batch is never empty");
        let newest = newest.approximate_arrival();
        let n_records = batch.records.len();
        let event = || Event::of_records(&batch.records);
        let outcome = self.invoker.invoke(batch.attempt, n_records, newest, event);
        let outcome = outcome.await;
        Done::Other(ShardInput::Invoked {
            batch: batch.id,
            outcome,
        })
    }

    async fn save(self: Arc<Self>, position: Position) -> Done {
        let saved = self.store.save(&self.key, self.epoch, &position).await;
        Done::Other(ShardInput::Saved(saved.map_err(|error| log_fault(&error))))
    }
}
