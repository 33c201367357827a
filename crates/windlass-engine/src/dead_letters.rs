//! Dead letters: keeps what shards give up, and deletes what was kept for long enough.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use windlass_core::arn::Arn;
use windlass_core::failure::DeliveryFault;
use windlass_core::mapping::MappingId;
use windlass_core::record::Record;
use windlass_core::time::Timestamp;

use crate::claims::{AbandonedClaims, Claims};
use crate::clock::Clock;
use crate::count::Count;
use crate::ports::{
    DeadLetter, DeadLetterId, DeadLetterLimit, DeadLetterReason, DeadLetterTotals, Failure, Kept,
    NewDeadLetter, PortError, Store, log_fault,
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
                let counts = &self.letters.counts;
                counts.set_totals(totals);
                let DeadLetterTotals { letters, bytes } = dropped;
                if letters != 0 {
                    counts
                        .dropped_oldest
                        .add(usize::try_from(letters).unwrap_or(usize::MAX));
                    tracing::warn!(
                        letters,
                        bytes,
                        "the oldest dead letters were dropped: there was no room"
                    );
                }
                Ok(id)
            }
            // `Conflict` is about a checkpoint, which is not written here.
            Kept::Full | Kept::Conflict => Err(DeliveryFault::NoRoom),
        }
    }

    fn letter(&self, failure: &Failure) -> NewDeadLetter {
        let Failure {
            shard,
            record,
            given_up,
        } = failure;
        let records = &record.records;
        let payload = failure.event(&self.event_source);
        let (first, last) = (&records[0], &records[records.len() - 1]);
        let DeadLetterOrigin { mapping, replay } = &self.origin;
        let origin = match (replay, mapping) {
            (Some(name), _) => format!("replay/{name}"),
            (None, mapping) => mapping.iter().map(MappingId::as_str).collect(),
        };
        let ends = [first, last].map(|record| match record.inner() {
            Some(inner) => format!("{}.{}", record.sequence_number(), inner.index),
            None => record.sequence_number().to_owned(),
        });
        let id = DeadLetterId::of(&origin, shard, &ends.join("-"));
        let letter = DeadLetter {
            id,
            mapping: mapping.clone(),
            replay: replay.clone(),
            function_arn: self.function.clone(),
            event_source_arn: self.event_source.clone(),
            shard: shard.detached(),
            first: first.sequence_number().into(),
            last: last.sequence_number().into(),
            records: records.len() as u64,
            reason: DeadLetterReason::GivenUp(record.condition),
            attempts: record.attempts,
            last_error: record.last_error.as_deref().map(ToOwned::to_owned),
            first_arrival: records.iter().map(Record::approximate_arrival).min(),
            given_up: *given_up,
            bytes: payload.len() as u64,
            redrives: 0,
        };
        NewDeadLetter { letter, payload }
    }
}
