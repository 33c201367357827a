//! A store that can be made to fail, and whose leases can be taken away.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use windlass_core::lease::{Lease, LeaseKey, WorkerId};
use windlass_core::mapping::{MappingId, MappingRow, Revision};
use windlass_core::outcome::{Fault, Swap};
use windlass_core::position::Checkpoint;
use windlass_engine::ports::{LeaseStore, MappingStore, PortError};

use super::{failed, lock};

#[derive(Debug, Default)]
pub struct FakeStore {
    mappings: Mutex<BTreeMap<MappingId, MappingRow>>,
    leases: Mutex<BTreeMap<LeaseKey, Lease>>,
    /// Of rows that are inserted: larger than the epochs of all rows that were removed.
    next_epoch: Mutex<u64>,
    saves: Mutex<Vec<(LeaseKey, Checkpoint)>>,
    fault: Mutex<Option<Fault>>,
    reads_of_mappings: AtomicUsize,
}

impl FakeStore {
    /// Makes every later call fail; `None` ends that.
    pub fn fails(&self, fault: Option<Fault>) {
        *lock(&self.fault) = fault;
    }

    /// Lets another daemon take every lease of a mapping.
    pub fn steal(&self, mapping: &MappingId) {
        let mut leases = lock(&self.leases);
        let of_mapping = leases.values_mut().filter(|it| it.key.mapping == *mapping);
        for lease in of_mapping {
            lease.owner = Some(WorkerId::new("thief"));
            lease.epoch += 1;
        }
    }

    /// How often all mappings were read.
    pub fn reads_of_mappings(&self) -> usize {
        self.reads_of_mappings.load(Ordering::Relaxed)
    }

    pub fn row(&self, id: &MappingId) -> Option<MappingRow> {
        lock(&self.mappings).get(id).cloned()
    }

    pub fn leases_of(&self, mapping: &MappingId) -> Vec<Lease> {
        let leases = lock(&self.leases);
        let of_mapping = leases.values().filter(|it| it.key.mapping == *mapping);
        of_mapping.cloned().collect()
    }

    /// Saved checkpoints in order.
    pub fn saves(&self) -> Vec<(LeaseKey, Checkpoint)> {
        lock(&self.saves).clone()
    }

    fn retire(&self, epoch: u64) {
        let mut next = lock(&self.next_epoch);
        *next = (*next).max(epoch + 1);
    }

    fn call(&self, operation: &str) -> Result<(), PortError> {
        let fault = *lock(&self.fault);
        fault.map_or(Ok(()), |fault| Err(failed(operation, fault)))
    }
}

#[async_trait]
impl MappingStore for FakeStore {
    async fn mappings(&self) -> Result<Vec<MappingRow>, PortError> {
        self.call("reading mappings")?;
        self.reads_of_mappings.fetch_add(1, Ordering::Relaxed);
        Ok(lock(&self.mappings).values().cloned().collect())
    }

    async fn mapping(&self, id: &MappingId) -> Result<Option<MappingRow>, PortError> {
        self.call("reading a mapping")?;
        Ok(self.row(id))
    }

    async fn put(&self, row: &MappingRow, seen: Option<Revision>) -> Result<Swap, PortError> {
        self.call("writing a mapping")?;
        let mut mappings = lock(&self.mappings);
        let there = mappings.get(&row.id).map(|old| old.revision);
        let mut rows = mappings.values();
        if there != seen || rows.any(|other| row.conflicts_with(other)) {
            return Ok(Swap::Conflict);
        }
        mappings.insert(row.id.clone(), row.clone());
        Ok(Swap::Done)
    }

    async fn check_writable(&self) -> Result<(), PortError> {
        self.call("writing")
    }

    async fn remove(&self, id: &MappingId, seen: Revision) -> Result<Swap, PortError> {
        self.call("removing a mapping")?;
        let mut mappings = lock(&self.mappings);
        if mappings.get(id).is_none_or(|row| row.revision != seen) {
            return Ok(Swap::Conflict);
        }
        mappings.remove(id);
        lock(&self.leases).retain(|key, lease| {
            let is_kept = key.mapping != *id;
            if !is_kept {
                self.retire(lease.epoch);
            }
            is_kept
        });
        Ok(Swap::Done)
    }
}

#[async_trait]
impl LeaseStore for FakeStore {
    async fn leases(&self) -> Result<Vec<Lease>, PortError> {
        self.call("reading leases")?;
        Ok(lock(&self.leases).values().cloned().collect())
    }

    async fn insert(&self, new: &[Lease]) -> Result<(), PortError> {
        self.call("adding leases")?;
        let mappings = lock(&self.mappings);
        let mut leases = lock(&self.leases);
        for lease in new {
            if mappings.contains_key(&lease.key.mapping) {
                let row = leases.entry(lease.key.clone());
                row.or_insert_with(|| Lease {
                    epoch: lease.epoch.max(*lock(&self.next_epoch)),
                    ..lease.clone()
                });
            }
        }
        Ok(())
    }

    async fn take(&self, seen: &Lease, owner: &WorkerId) -> Result<Option<Lease>, PortError> {
        self.call("taking a lease")?;
        let mut leases = lock(&self.leases);
        let lease = leases
            .get_mut(&seen.key)
            .filter(|it| (&it.owner, it.epoch) == (&seen.owner, seen.epoch));
        Ok(lease.map(|lease| {
            lease.owner = Some(owner.clone());
            lease.epoch += 1;
            lease.clone()
        }))
    }

    async fn release(&self, held: &Lease) -> Result<Swap, PortError> {
        self.call("releasing a lease")?;
        let mut leases = lock(&self.leases);
        let lease = leases
            .get_mut(&held.key)
            .filter(|it| (&it.owner, it.epoch) == (&held.owner, held.epoch));
        Ok(lease.map_or(Swap::Conflict, |lease| {
            lease.owner = None;
            Swap::Done
        }))
    }

    async fn save(
        &self,
        key: &LeaseKey,
        epoch: u64,
        checkpoint: &Checkpoint,
    ) -> Result<Swap, PortError> {
        self.call("saving a checkpoint")?;
        match lock(&self.leases).get_mut(key) {
            Some(lease) if lease.epoch == epoch => {
                lease.checkpoint = checkpoint.clone();
                lock(&self.saves).push((key.clone(), checkpoint.clone()));
                Ok(Swap::Done)
            }
            _ => Ok(Swap::Conflict),
        }
    }

    async fn set_shard_starts(&self, changed: &[Lease]) -> Result<(), PortError> {
        self.call("updating leases")?;
        let mut leases = lock(&self.leases);
        for lease in changed {
            let current = leases.get_mut(&lease.key);
            if let Some(current) = current.filter(|current| current.epoch == lease.epoch) {
                current.shard_start.clone_from(&lease.shard_start);
            }
        }
        Ok(())
    }

    async fn remove_leases(&self, removed: &[Lease]) -> Result<(), PortError> {
        self.call("removing leases")?;
        let mut leases = lock(&self.leases);
        for lease in removed {
            let current = leases.get(&lease.key);
            if current.is_some_and(|current| current.epoch == lease.epoch) {
                leases.remove(&lease.key);
                self.retire(lease.epoch);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract;

    #[tokio::test]
    async fn the_fake_fulfils_the_contract() {
        contract::store(|| Arc::new(FakeStore::default())).await;
    }
}
