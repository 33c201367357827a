//! Dead letters: keeps what shards give up, and deletes what was kept for long enough.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use windlass_core::arn::Arn;
use windlass_core::failure::{DeliveryFault, FailureRecord};
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::mapping::MappingId;
use windlass_core::position::Position;
use windlass_core::record::Record;
use windlass_core::shard::SkippedBatch;
use windlass_core::time::Timestamp;
use windlass_core::window::WindowCall;

use crate::claims::{AbandonedClaims, Claims};
use crate::clock::Clock;
use crate::count::Count;
use crate::ports::{
    DeadLetter, DeadLetterId, DeadLetterLimit, DeadLetterReason, DeadLetterTotals, Failure, Kept,
    NewDeadLetter, PortError, SkipSave, Store, event_of, log_fault,
};

/// Between looks for letters whose retention is over.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

/// Letters that expire in one transaction: checkpoints wait for it.
const EXPIRY_BATCH: usize = 200;

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterSettings {
    pub keep: Keep,
    pub retention: Duration,
    /// Of the sum of all payloads, in bytes.
    pub maximum_size: u64,
    pub on_full: OnFull,
}

/// What becomes a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// What is given up and has no on-failure destination.
    NoDestination,
    Always,
    Never,
}

/// What happens to a letter for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Its shard waits.
    Hold,
    DropOldest,
}

impl Default for DeadLetterSettings {
    fn default() -> Self {
        Self {
            keep: Keep::NoDestination,
            retention: Duration::from_hours(14 * 24),
            maximum_size: 1 << 30,
            on_full: OnFull::Hold,
        }
    }
}

impl DeadLetterSettings {
    /// Whether records are kept that are given up.
    pub(crate) const fn keeps(&self, has_destination: bool) -> bool {
        match self.keep {
            Keep::NoDestination => !has_destination,
            Keep::Always => true,
            Keep::Never => false,
        }
    }

    #[must_use]
    pub const fn limit(&self) -> DeadLetterLimit {
        DeadLetterLimit {
            maximum_size: self.maximum_size,
            drops_oldest: matches!(self.on_full, OnFull::DropOldest),
        }
    }
}

/// Counts of the dead letters of a daemon.
#[derive(Debug, Default)]
pub struct DeadLetterCounts {
    /// Letters whose retention was over.
    pub expired: Count,
    /// Letters that made room for new ones.
    pub dropped_oldest: Count,
    /// Those in the store, as it was looked at last.
    totals: Mutex<DeadLetterTotals>,
}

impl DeadLetterCounts {
    pub fn totals(&self) -> DeadLetterTotals {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_totals(&self, totals: DeadLetterTotals) {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner) = totals;
    }
}

/// The dead letters of a daemon.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    store: Arc<dyn Store>,
    settings: DeadLetterSettings,
    counts: Arc<DeadLetterCounts>,
    abandoned: AbandonedClaims,
    clock: Clock,
}

/// The dead letters of the shards of one mapping or replay.
pub(crate) struct DeadLetterBox {
    letters: DeadLetters,
    origin: DeadLetterOrigin,
    function: Arn,
    /// As the records have it.
    event_source: Arn,
}

/// What gives records up: a mapping, or a replay, which may have been started with one.
pub(crate) struct DeadLetterOrigin {
    pub(crate) mapping: Option<MappingId>,
    pub(crate) replay: Option<String>,
}

impl DeadLetters {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        settings: DeadLetterSettings,
        counts: Arc<DeadLetterCounts>,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            settings,
            counts,
            abandoned: AbandonedClaims::default(),
            clock,
        }
    }

    /// The claims of one job, which has none yet.
    pub(crate) fn claims(&self) -> Claims {
        Claims::new(&self.store, &self.abandoned)
    }

    /// Where a shard keeps what it gives up; `None` if that is not kept.
    pub(crate) fn of_unit(
        &self,
        origin: DeadLetterOrigin,
        function: &Arn,
        event_source: &Arn,
        has_destination: bool,
    ) -> Option<DeadLetterBox> {
        self.settings.keeps(has_destination).then(|| DeadLetterBox {
            letters: self.clone(),
            origin,
            function: function.clone(),
            event_source: event_source.clone(),
        })
    }

    /// Where what an operator skips of a mapping is kept, whatever becomes of what it gives up.
    pub(crate) fn of_skip(
        &self,
        mapping: &MappingId,
        function: &Arn,
        event_source: &Arn,
    ) -> DeadLetterBox {
        DeadLetterBox {
            letters: self.clone(),
            origin: DeadLetterOrigin {
                mapping: Some(mapping.clone()),
                replay: None,
            },
            function: function.clone(),
            event_source: event_source.clone(),
        }
    }

    /// Counts what was written.
    fn count(&self, dropped: DeadLetterTotals, totals: DeadLetterTotals) {
        self.counts.set_totals(totals);
        let DeadLetterTotals { letters, bytes } = dropped;
        if letters != 0 {
            let n_letters = usize::try_from(letters).unwrap_or(usize::MAX);
            self.counts.dropped_oldest.add(n_letters);
            tracing::warn!(
                letters,
                bytes,
                "the oldest dead letters were dropped: there was no room"
            );
        }
    }

    /// Deletes letters whose retention is over, and ends claims that jobs have left, for ever.
    pub(crate) async fn run(&self) {
        tokio::select! {
            () = self.expire_all() => {}
            never = self.abandoned.run(&*self.store) => match never {},
        }
    }

    async fn expire_all(&self) {
        loop {
            // The store is looked at again in any case.
            if let Err(error) = self.expire().await {
                log_fault(&error);
            }
            tokio::time::sleep(EXPIRY_INTERVAL).await;
        }
    }

    async fn expire(&self) -> Result<(), PortError> {
        let retention = self.settings.retention.as_millis();
        let retention = u64::try_from(retention).unwrap_or(u64::MAX);
        let before = self.clock.wall().as_millis().saturating_sub(retention);
        let before = Timestamp::from_millis(before);
        loop {
            let n_expired = self.store.expire_dead_letters(before, EXPIRY_BATCH).await?;
            let n_expired = usize::try_from(n_expired).unwrap_or(usize::MAX);
            if n_expired != 0 {
                self.counts.expired.add(n_expired);
                tracing::info!(n_expired, "dead letters deleted: their retention is over");
            }
            if n_expired < EXPIRY_BATCH {
                break;
            }
        }
        let totals = self.store.dead_letter_totals().await?;
        self.counts.set_totals(totals);
        Ok(())
    }
}

impl DeadLetterBox {
    /// Returns when the letter is in the store.
    pub(crate) async fn keep(&self, failure: &Failure) -> Result<DeadLetterId, DeliveryFault> {
        let letter = self.letter(failure);
        let id = letter.letter.id;
        let (store, settings) = (&self.letters.store, &self.letters.settings);
        let kept = store.keep(vec![letter], settings.limit(), None).await;
        let kept = kept.map_err(|error| DeliveryFault::DeadLetters(log_fault(&error)))?;
        match kept {
            Kept::Done { dropped, totals } => {
                self.letters.count(dropped, totals);
                Ok(id)
            }
            // `Conflict` is about a checkpoint, which is not written here.
            Kept::Full | Kept::Conflict => Err(DeliveryFault::NoRoom),
        }
    }

    /// Writes the checkpoint of a skip, and with it what is skipped as a letter.
    pub(crate) async fn skip(
        &self,
        letter: Option<NewDeadLetter>,
        skip: SkipSave,
    ) -> Result<Kept, PortError> {
        let letters = letter.into_iter().collect();
        let limit = self.letters.settings.limit();
        let kept = self.letters.store.keep(letters, limit, Some(skip)).await?;
        if let Kept::Done { dropped, totals } = kept {
            self.letters.count(dropped, totals);
        }
        Ok(kept)
    }

    fn letter(&self, failure: &Failure) -> NewDeadLetter {
        let FailureRecord {
            condition,
            records,
            attempts,
            last_error,
            window,
            ..
        } = &failure.record;
        let letter = self.new_letter(&failure.shard, records, window.as_ref(), failure.given_up);
        NewDeadLetter {
            letter: DeadLetter {
                reason: DeadLetterReason::GivenUp(*condition),
                attempts: *attempts,
                last_error: last_error.as_deref().map(ToOwned::to_owned),
                ..letter.letter
            },
            ..letter
        }
    }

    /// What an operator has skipped. `after`: where the shard was before it; the final invocation of a
    /// window has no records of its own.
    pub(crate) fn skipped(
        &self,
        shard: &ShardId,
        batch: &SkippedBatch,
        after: &Position,
    ) -> NewDeadLetter {
        let SkippedBatch { records, window } = batch;
        let given_up = self.letters.clock.wall();
        let mut letter = self.new_letter(shard, records, window.as_ref(), given_up);
        if let (true, Some(window), Some(number)) =
            (records.is_empty(), window, after.sequence_number())
        {
            let of_window = format!("window {}", window.bounds.start.as_millis());
            letter.letter.id = self.id_of(shard, &of_window);
            letter.letter.first = number.detached();
            letter.letter.last = number.detached();
        }
        letter
    }

    /// Of records that were skipped.
    fn new_letter(
        &self,
        shard: &ShardId,
        records: &Arc<[Record]>,
        window: Option<&WindowCall>,
        given_up: Timestamp,
    ) -> NewDeadLetter {
        let payload = event_of(records, window, shard, &self.event_source);
        let ends = [records.first(), records.last()];
        let names = ends.map(
            |record| match record.map(|it| (it.sequence_number(), it.inner())) {
                Some((number, Some(inner))) => format!("{number}.{}", inner.index),
                Some((number, None)) => number.to_owned(),
                None => String::new(),
            },
        );
        let [first, last] =
            ends.map(|record| SequenceNumber::from(record.map_or("", Record::sequence_number)));
        let letter = DeadLetter {
            id: self.id_of(shard, &names.join("-")),
            mapping: self.origin.mapping.clone(),
            replay: self.origin.replay.clone(),
            function_arn: self.function.clone(),
            event_source_arn: self.event_source.clone(),
            shard: shard.detached(),
            first,
            last,
            records: records.len() as u64,
            reason: DeadLetterReason::Skipped,
            attempts: 0,
            last_error: None,
            first_arrival: records.iter().map(Record::approximate_arrival).min(),
            given_up,
            bytes: payload.len() as u64,
            redrives: 0,
        };
        NewDeadLetter { letter, payload }
    }

    /// `records`: what tells them from all others of the shard.
    fn id_of(&self, shard: &ShardId, records: &str) -> DeadLetterId {
        let DeadLetterOrigin { mapping, replay } = &self.origin;
        let origin = match (replay, mapping) {
            (Some(name), _) => format!("replay/{name}"),
            (None, mapping) => mapping.iter().map(MappingId::as_str).collect(),
        };
        DeadLetterId::of(&origin, shard, records)
    }
}
