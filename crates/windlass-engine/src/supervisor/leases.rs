//! What a supervisor does with leases: which rows there are, and which of them are taken and
//! released.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use windlass_core::lease::Lease;
use windlass_core::lease_rows::{LeaseRowPlan, RemovalReason, plan_lease_rows};
use windlass_core::reconcile::Running;

use super::Supervisor;
use super::absent_shards::EndingReader;
use crate::ports::PortError;
use crate::run_unit::{UnitSource, run_unit};

impl Supervisor {
    /// Inserts and removes rows as shards come and go; returns whether anything changed.
    pub(super) async fn sync_lease_rows(&mut self, leases: &[Lease]) -> Result<bool, PortError> {
        let by_mapping = leases.chunk_by(|one, next| one.key.mapping == next.key.mapping);
        let by_mapping: BTreeMap<_, _> = by_mapping
            .map(|leases| (&leases[0].key.mapping, leases))
            .collect();
        let now = self.context.clock.now();
        let mut changes = LeaseRowPlan::default();
        for (id, connected) in self.connections.iter() {
            let rows = by_mapping.get(id).copied().unwrap_or_default();
            let history = self.discovery.history(id);
            let plan = plan_lease_rows(id, &connected.mapping.source, history, rows);
            self.discovery
                .handle_comparison(id, plan.is_inconsistent, plan.absent, now);
            changes.insert.extend(plan.insert);
            changes.remove.extend(plan.remove);
            changes.set_start.extend(plan.set_start);
        }
        if changes.is_empty() {
            return Ok(false);
        }
        let removed: Vec<_> = changes.remove.iter().map(|it| it.0.clone()).collect();
        self.context.store.remove_leases(&removed).await?;
        self.context.store.insert(&changes.insert).await?;
        self.context
            .store
            .set_shard_starts(&changes.set_start)
            .await?;
        for (lease, reason) in &changes.remove {
            self.report_removal(lease, *reason);
        }
        Ok(true)
    }

    fn report_removal(&self, lease: &Lease, reason: RemovalReason) {
        let (id, unit) = (&lease.key.mapping, lease.key.unit.name());
        match reason {
            RemovalReason::Resolved => {
                tracing::debug!(uuid = %id, unit, "lease row of a resolved shard removed");
            }
            RemovalReason::Recreated => {
                let position = lease.checkpoint.position.describe();
                tracing::warn!(
                    uuid = %id, unit, position,
                    "the stream was deleted and created again: another shard has this name; the \
                     checkpoint of the former one is dropped"
                );
                let board = &self.context.board;
                board.counts_of(id).recreated_shards.add(1);
                let notice = "the stream was deleted and created again, and is read from its \
                              oldest record, or from the time at which the mapping starts";
                board.notice(id, notice.to_owned());
            }
            RemovalReason::WrongUnit => tracing::warn!(
                uuid = %id, unit,
                "lease row removed: the mapping's source has no such unit"
            ),
        }
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
        let Some((connected, mut source)) = unit else {
            return Ok(());
        };
        if let UnitSource::Shard { reader, .. } = &mut source {
            *reader = Arc::new(EndingReader {
                inner: Arc::clone(reader),
                listings: self.discovery.listings(&key.mapping),
                refused_at: Mutex::default(),
                board: Arc::clone(&self.context.board),
                mapping: key.mapping.clone(),
            });
        }
        let Some(taken) = self.context.store.take(lease, &self.worker).await? else {
            return Ok(()); // Another daemon was faster; the next round looks again.
        };
        let (mapping, target) = (connected.mapping.clone(), Arc::clone(&connected.target));
        let versions = Running {
            revision: mapping.revision,
            epoch: taken.epoch,
        };
        tracing::info!(
            uuid = %mapping.id, unit = key.unit.name(), epoch = taken.epoch,
            position = taken.checkpoint.position.kind(), "started"
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
                // After a conflict another daemon has the lease.
                self.context.store.release(&lease).await?;
            }
        }
        Ok(())
    }
}
