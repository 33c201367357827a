//! Units that do not run while an operation changes their positions.
//!
//! An operation takes a [`Hold`]; the supervisor stops what it covers, tells when nothing of it runs
//! any more, and starts it again when the hold has ended. Nothing of this is stored: if the daemon
//! ends, nothing has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use windlass_core::ids::ShardId;
use windlass_core::lease::Unit;
use windlass_core::mapping::MappingId;
use windlass_core::time::Timestamp;

use super::wakeup::Wakeup;

/// The holds of a daemon. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    holds: BTreeMap<MappingId, Held>,
    /// Mappings whose holds have begun or ended since the last round of the supervisor.
    changed: BTreeSet<MappingId>,
    /// The supervisor has ended, or drains.
    is_closed: bool,
}

#[derive(Debug)]
struct Held {
    units: HeldUnits,
    has_stopped: watch::Sender<bool>,
    /// When what is still in flight is cancelled; `None` until the supervisor has seen the hold.
    cancel_at: Option<Timestamp>,
}

/// What a hold covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeldUnits {
    All,
    Shards(BTreeSet<ShardId>),
}

/// Why there is no hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHold {
    /// The mapping has one already.
    Taken,
    /// The daemon drains.
    Closed,
}

/// Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    holds: Holds,
    mapping: MappingId,
    units: HeldUnits,
    has_stopped: watch::Receiver<bool>,
    wakeup: Wakeup,
}

impl HeldUnits {
    pub(super) fn covers(&self, unit: &Unit) -> bool {
        match (self, unit) {
            (Self::All, _) => true,
            (Self::Shards(shards), Unit::Shard(shard)) => shards.contains(shard),
            (Self::Shards(_), Unit::QueueSlot(_)) => false,
        }
    }
}

impl Holds {
    pub(super) fn hold(
        &self,
        mapping: &MappingId,
        units: HeldUnits,
        wakeup: &Wakeup,
    ) -> Result<Hold, NoHold> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(NoHold::Closed);
        }
        if state.holds.contains_key(mapping) {
            return Err(NoHold::Taken);
        }
        let (sender, has_stopped) = watch::channel(false);
        let held = Held {
            units: units.clone(),
            has_stopped: sender,
            cancel_at: None,
        };
        state.holds.insert(mapping.clone(), held);
        state.changed.insert(mapping.clone());
        wakeup.wake();
        Ok(Hold {
            holds: self.clone(),
            mapping: mapping.clone(),
            units,
            has_stopped,
            wakeup: wakeup.clone(),
        })
    }

    pub(super) fn take_changed(&self) -> BTreeSet<MappingId> {
        std::mem::take(&mut self.lock().changed)
    }

    /// What is held of a mapping, and when it is cancelled: at `deadline`, if this is the first call.
    pub(super) fn of(
        &self,
        mapping: &MappingId,
        deadline: Timestamp,
    ) -> Option<(HeldUnits, Timestamp)> {
        let mut state = self.lock();
        let held = state.holds.get_mut(mapping)?;
        let cancel_at = *held.cancel_at.get_or_insert(deadline);
        Some((held.units.clone(), cancel_at))
    }

    /// Nothing that is held of a mapping runs.
    pub(super) fn set_stopped(&self, mapping: &MappingId) {
        if let Some(held) = self.lock().holds.get(mapping) {
            held.has_stopped.send_replace(true);
        }
    }

    /// No hold is accepted from now on, and those that wait end.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.holds.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Waits until nothing that it covers runs; `false` if the daemon drains.
    pub(super) async fn stopped(&mut self) -> bool {
        self.has_stopped.wait_for(|stopped| *stopped).await.is_ok()
    }

    pub(super) const fn units(&self) -> &HeldUnits {
        &self.units
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.holds.lock();
        if !state.is_closed {
            state.holds.remove(&self.mapping);
            state.changed.insert(self.mapping.clone());
        }
        drop(state);
        self.wakeup.wake();
    }
}
