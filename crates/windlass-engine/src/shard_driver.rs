//! Drives one [`ShardConsumer`]: takes its commands, starts the I/O, feeds the results back.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use windlass_core::lease::LeaseKey;
use windlass_core::outcome::Fault;
use windlass_core::record::ShardId;
use windlass_core::shard::{Finish, Report, ShardCommand, ShardConsumer, ShardInput};

use crate::budget::{ByteBudget, Reservation};
use crate::clock::Clock;
use crate::invoking::Invoker;
use crate::ports::{PortError, Store, StreamReader, chain};
use crate::settings::READ_RESERVATION;
use crate::status::{UnitHandle, UnitView};

/// Whether a driver should go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It should.
    No,
    /// It finishes what is in flight, and saves.
    Drain,
    /// It drops everything at once: the right to write is gone, or the grace period is over.
    Now,
}

/// The loop around the consumer of one shard.
pub(crate) struct ShardDriver {
    pub(crate) consumer: ShardConsumer,
    pub(crate) io: ShardIo,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) status: UnitHandle,
}

/// What the commands of a shard need.
#[derive(Clone)]
pub(crate) struct ShardIo {
    pub(crate) key: LeaseKey,
    pub(crate) shard: ShardId,
    pub(crate) epoch: u64,
    pub(crate) reader: Arc<dyn StreamReader>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) invoker: Invoker,
    pub(crate) budget: ByteBudget,
    pub(crate) clock: Clock,
}

/// What an I/O gave, with the part of the daemon's budget that it took.
type Done = (ShardInput, Reservation);

impl ShardDriver {
    /// Runs until the consumer has finished; `None` if it was told to drop everything.
    pub(crate) async fn run(mut self) -> Option<Finish> {
        let mut in_flight: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        let mut held = Reservation::default();
        loop {
            while let Some(command) = self.consumer.poll_command() {
                match command {
                    ShardCommand::Finish(how) => return Some(how),
                    ShardCommand::Report(report) => self.report(&report),
                    ShardCommand::Read { .. } | ShardCommand::Invoke(_) | ShardCommand::Save(_) => {
                        in_flight.push(Box::pin(self.io.clone().start(command)));
                    }
                }
            }
            let view = self.consumer.view();
            held.shrink_to(view.buffered_bytes);
            self.status.publish(UnitView::Shard(view));
            tokio::select! {
                biased;
                stop = wait_for_stop(&mut self.stop) => match stop {
                    Stop::Now => return None, // Dropping `in_flight` cancels the I/O.
                    Stop::Drain => self.consumer.handle(ShardInput::Drain, self.io.clock.now()),
                    Stop::No => {}
                },
                Some((input, reservation)) = in_flight.next() => {
                    held.merge(reservation);
                    self.consumer.handle(input, self.io.clock.now());
                }
                () = self.io.clock.sleep_until(self.consumer.poll_timeout()) => {
                    self.consumer.handle_timeout(self.io.clock.now());
                }
            }
        }
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
    async fn start(self, command: ShardCommand) -> Done {
        match command {
            ShardCommand::Read { from, limit } => {
                let reservation = self.budget.reserve(READ_RESERVATION).await;
                let page = self.reader.read(&self.shard, &from, limit).await;
                if let Ok(page) = &page {
                    self.invoker.counts.polled.add(page.records.len());
                    tracing::trace!(n_records = page.records.len(), behind = ?page.behind, "read");
                }
                (
                    ShardInput::Read(page.map_err(|error| note(&error))),
                    reservation,
                )
            }
            ShardCommand::Invoke(batch) => {
                let newest = batch.records.last().expect("a batch is never empty");
                let newest = newest.approximate_arrival;
                let events = batch.records.iter().map(|record| &record.event);
                let outcome = self.invoker.invoke(batch.attempt, events, newest).await;
                (
                    ShardInput::Invoked {
                        batch: batch.id,
                        outcome,
                    },
                    Reservation::default(),
                )
            }
            ShardCommand::Save(position) => {
                let saved = self.store.save(&self.key, self.epoch, &position).await;
                let saved = saved.map_err(|error| note(&error));
                (ShardInput::Saved(saved), Reservation::default())
            }
            ShardCommand::Report(_) | ShardCommand::Finish(_) => {
                unreachable!("the driver answers these itself")
            }
        }
    }
}

/// Logs an error that will be retried, and gives what decisions depend on.
pub(crate) fn note(error: &PortError) -> Fault {
    match error.fault {
        Fault::Throttled { .. } => tracing::debug!("{}", chain(error)),
        Fault::Transient | Fault::Denied | Fault::Gone | Fault::Trimmed => {
            tracing::warn!("{}", chain(error));
        }
    }
    error.fault
}

/// The next thing that a driver is told; never if nobody can tell it anything any more.
pub(crate) async fn wait_for_stop(stop: &mut watch::Receiver<Stop>) -> Stop {
    match stop.changed().await {
        Ok(()) => *stop.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}
