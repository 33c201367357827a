//! Claims of dead letters, which end with the job that has them, however it ends.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use windlass_core::outcome::Swap;

use crate::backoff::RetryDelay;
use crate::ports::{
    DeadLetter, DeadLetterId, DeadLetterMarker, PortError, RedriveLine, Store, log_fault,
};

/// Claims that end in one transaction: checkpoints wait for it.
const BATCH: usize = 1_000;

/// Delays after errors of the store.
const DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The claims of one job, by their index. Those that are left when it is dropped are abandoned: of a
/// job that has panicked, was broken off, or could not write to the store.
pub(crate) struct Claims {
    store: Arc<dyn Store>,
    abandoned: AbandonedClaims,
    held: Mutex<Vec<Option<DeadLetterMarker>>>,
}

/// Claims whose jobs do not end them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct AbandonedClaims(Arc<Abandoned>);

#[derive(Debug, Default)]
struct Abandoned {
    /// Each with whether its redrive has failed.
    claims: Mutex<Vec<(DeadLetterMarker, bool)>>,
    added: Notify,
}

impl Claims {
    pub(crate) fn new(store: &Arc<dyn Store>, abandoned: &AbandonedClaims) -> Self {
        Self {
            store: Arc::clone(store),
            abandoned: abandoned.clone(),
            held: Mutex::default(),
        }
    }

    /// Claims the letters that nobody else has. Their indexes follow those of earlier calls.
    pub(crate) async fn add(&self, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, PortError> {
        let claimed = self.store.claim_dead_letters(ids).await?;
        let markers = claimed.iter().map(|letter| Some(letter.marker()));
        lock(&self.held).extend(markers);
        Ok(claimed)
    }

    /// Deletes a letter that was redriven. After an error it stays.
    pub(crate) async fn delete(&self, index: usize, line: &RedriveLine) -> Result<Swap, PortError> {
        let Some(marker) = self.held(index) else {
            return Ok(Swap::Conflict);
        };
        let deleted = self.store.delete_redriven(marker, line).await;
        self.forget(index);
        if deleted.is_err() {
            self.abandoned.add([(marker, false)]);
        }
        deleted
    }

    /// Ends claims, also if the store cannot be written now.
    pub(crate) async fn release(&self, indexes: &[usize], has_failed: bool) {
        let held = indexes.iter().filter_map(|index| self.held(*index));
        let markers: Vec<_> = held.collect();
        let released = self.store.release_dead_letters(&markers, has_failed).await;
        for index in indexes {
            self.forget(*index);
        }
        if let Err(error) = released {
            log_fault(&error);
            let claims = markers.into_iter().map(|marker| (marker, has_failed));
            self.abandoned.add(claims);
        }
    }

    fn held(&self, index: usize) -> Option<DeadLetterMarker> {
        lock(&self.held).get(index).copied().flatten()
    }

    fn forget(&self, index: usize) {
        if let Some(held) = lock(&self.held).get_mut(index) {
            *held = None;
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let held = std::mem::take(&mut *lock(&self.held));
        let held = held.into_iter().flatten();
        self.abandoned.add(held.map(|marker| (marker, false)));
    }
}

impl AbandonedClaims {
    fn add(&self, claims: impl IntoIterator<Item = (DeadLetterMarker, bool)>) {
        lock(&self.0.claims).extend(claims);
        self.0.added.notify_one();
    }

    /// Ends them, for ever.
    pub(crate) async fn run(&self, store: &dyn Store) -> Infallible {
        let mut delay = RetryDelay::new(DELAYS.0, DELAYS.1);
        loop {
            let claims: Vec<_> = {
                let mut claims = lock(&self.0.claims);
                let rest = claims.len().saturating_sub(BATCH);
                claims.split_off(rest)
            };
            if claims.is_empty() {
                self.0.added.notified().await;
                continue;
            }
            if let Err(error) = release(store, &claims).await {
                log_fault(&error);
                // To end a claim twice does no harm.
                lock(&self.0.claims).extend(claims);
                tokio::time::sleep(delay.next_delay()).await;
            } else {
                delay.reset();
            }
        }
    }
}

async fn release(store: &dyn Store, claims: &[(DeadLetterMarker, bool)]) -> Result<(), PortError> {
    for has_failed in [true, false] {
        let claims = claims.iter().filter(|(_, failed)| *failed == has_failed);
        let markers: Vec<_> = claims.map(|(marker, _)| *marker).collect();
        if !markers.is_empty() {
            store.release_dead_letters(&markers, has_failed).await?;
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
