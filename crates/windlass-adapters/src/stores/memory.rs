//! A store in memory, for the demo and for tests: everything is forgotten at the end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use windlass_core::lease::{Lease, LeaseKey};
use windlass_core::mapping::{MappingId, MappingRow, Revision};
use windlass_core::outcome::Swap;
use windlass_core::position::Position;
use windlass_engine::ports::{LeaseStore, MappingStore, PortError};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    mappings: BTreeMap<MappingId, MappingRow>,
    leases: BTreeMap<LeaseKey, Lease>,
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl MappingStore for MemoryStore {
    async fn mappings(&self) -> Result<Vec<MappingRow>, PortError> {
        Ok(self.tables().mappings.values().cloned().collect())
    }

    async fn mapping(&self, id: &MappingId) -> Result<Option<MappingRow>, PortError> {
        Ok(self.tables().mappings.get(id).cloned())
    }

    async fn put(&self, row: &MappingRow, seen: Option<Revision>) -> Result<Swap, PortError> {
        let mut tables = self.tables();
        let there = tables.mappings.get(&row.id).map(|old| old.revision);
        let mut rows = tables.mappings.values();
        if there != seen || rows.any(|other| row.conflicts_with(other)) {
            return Ok(Swap::Conflict);
        }
        tables.mappings.insert(row.id.clone(), row.clone());
        Ok(Swap::Done)
    }

    async fn remove(&self, id: &MappingId, seen: Revision) -> Result<Swap, PortError> {
        let mut tables = self.tables();
        if tables
            .mappings
            .get(id)
            .is_none_or(|row| row.revision != seen)
        {
            return Ok(Swap::Conflict);
        }
        tables.mappings.remove(id);
        tables.leases.retain(|key, _| key.mapping != *id);
        Ok(Swap::Done)
    }
}

#[async_trait]
impl LeaseStore for MemoryStore {
    async fn leases(&self) -> Result<Vec<Lease>, PortError> {
        Ok(self.tables().leases.values().cloned().collect())
    }

    async fn insert(&self, leases: &[Lease]) -> Result<(), PortError> {
        let mut tables = self.tables();
        for lease in leases {
            if !tables.mappings.contains_key(&lease.key.mapping) {
                continue;
            }
            tables
                .leases
                .entry(lease.key.clone())
                .or_insert_with(|| lease.clone());
        }
        Ok(())
    }

    async fn compare_and_swap(&self, seen: &Lease, next: &Lease) -> Result<Swap, PortError> {
        let mut tables = self.tables();
        let Some(lease) = tables.leases.get_mut(&seen.key) else {
            return Ok(Swap::Conflict);
        };
        if lease.owner != seen.owner || lease.epoch != seen.epoch {
            return Ok(Swap::Conflict);
        }
        lease.owner.clone_from(&next.owner);
        lease.epoch = next.epoch;
        Ok(Swap::Done)
    }

    async fn save(
        &self,
        key: &LeaseKey,
        epoch: u64,
        checkpoint: &Position,
    ) -> Result<Swap, PortError> {
        let mut tables = self.tables();
        match tables.leases.get_mut(key) {
            Some(lease) if lease.epoch == epoch => {
                lease.checkpoint = checkpoint.clone();
                Ok(Swap::Done)
            }
            _ => Ok(Swap::Conflict),
        }
    }

    async fn remove_leases(&self, leases: &[Lease]) -> Result<(), PortError> {
        let mut tables = self.tables();
        for lease in leases {
            if tables
                .leases
                .get(&lease.key)
                .is_some_and(|it| it.epoch == lease.epoch)
            {
                tables.leases.remove(&lease.key);
            }
        }
        Ok(())
    }
}
