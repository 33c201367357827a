//! What a supervisor does with leases: which rows there are, and which of them are taken and
//! released.

use std::collections::BTreeMap;
use std::sync::Arc;

use windlass_core::lease::Lease;
use windlass_core::lease_rows::{RemovalReason, plan_lease_rows};
use windlass_core::outcome::Swap;
use windlass_core::reconcile::Running;

use super::Supervisor;
use crate::ports::PortError;
use crate::run_unit::run_unit;

impl Supervisor {
    /// Inserts and removes rows as shards come and go; returns whether anything changed.
    pub(super) async fn sync_lease_rows(&self, leases: &[Lease]) -> Result<bool, PortError> {
        let by_mapping = leases.chunk_by(|one, next| one.key.mapping == next.key.mapping);
        let by_mapping: BTreeMap<_, _> = by_mapping
            .map(|leases| (&leases[0].key.mapping, leases))
            .collect();
        let (mut insert, mut remove) = (Vec::new(), Vec::new());
        for (id, connected) in self.connections.iter() {
            let rows = by_mapping.get(id).copied().unwrap_or_default();
            let listed = self.discovery.shards(id);
            let plan = plan_lease_rows(id, &connected.mapping.source, listed, rows);
            insert.extend(plan.insert);
            for (lease, reason) in plan.remove {
                let unit = lease.key.unit.name();
                match reason {
                    RemovalReason::Resolved => {
                        tracing::debug!(uuid = %id, unit, "lease row of a resolved shard removed");
                    }
                    RemovalReason::Expired => tracing::warn!(
                        uuid = %id, unit,
                        "records lost: the shard has left the stream before it was resolved"
                    ),
                    RemovalReason::WrongUnit => tracing::warn!(
                        uuid = %id, unit,
                        "lease row removed: the mapping's source has no such unit"
                    ),
                }
                remove.push(lease);
            }
        }
        if insert.is_empty() && remove.is_empty() {
            return Ok(false);
        }
        self.context.store.insert(&insert).await?;
        self.context.store.remove_leases(&remove).await?;
        Ok(true)
    }

    /// Takes a lease and starts its consumer.
    pub(super) async fn start(&mut self, lease: &Lease) -> Result<(), PortError> {
        let (key, now) = (&lease.key, self.context.clock.now());
        let restart = self.restarts.get(key);
        if restart.is_some_and(|restart| now < restart.not_before) {
            return Ok(());
        }
        let connected = self.connections.get(&key.mapping);
        let unit = connected.and_then(|connected| Some((connected, connected.unit(&key.unit)?)));
        let Some((connected, source)) = unit else {
            return Ok(());
        };
        let taken = Lease {
            owner: Some(self.worker.clone()),
            epoch: lease.epoch + 1,
            ..lease.clone()
        };
        let swap = self.context.store.compare_and_swap(lease, &taken).await?;
        if swap == Swap::Conflict {
            return Ok(()); // Another daemon was faster; the next round looks again.
        }
        let (mapping, target) = (connected.mapping.clone(), Arc::clone(&connected.target));
        let versions = Running {
            revision: mapping.revision,
            epoch: taken.epoch,
        };
        tracing::info!(
            uuid = %mapping.id, unit = key.unit.name(), epoch = taken.epoch,
            position = taken.checkpoint.kind(), "started"
        );
        let context = self.context.clone();
        self.tasks.spawn_unit(key.clone(), versions, |stop| {
            run_unit(context, mapping, source, target, taken, stop)
        });
        Ok(())
    }

    pub(super) async fn release_leases(&self) -> Result<(), PortError> {
        for lease in self.context.store.leases().await? {
            if lease.owner.as_ref() == Some(&self.worker) {
                let free = Lease {
                    owner: None,
                    ..lease.clone()
                };
                // After a conflict another daemon has the lease.
                self.context.store.compare_and_swap(&lease, &free).await?;
            }
        }
        Ok(())
    }
}
