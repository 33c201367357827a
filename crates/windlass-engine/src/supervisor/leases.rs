//! What a supervisor does with leases: which rows there are, and which of them are taken and
//! released.

use std::sync::Arc;
use std::time::Duration;

use windlass_core::ids::ShardId;
use windlass_core::lease::{Lease, LeaseKey, Unit};
use windlass_core::lease_rows::{LeaseRowPlan, RemovalReason, blocked_shards, plan_lease_rows};
use windlass_core::mapping::{DesiredState, MappingId};
use windlass_core::reconcile::{Action, Running, reconcile};
use windlass_core::time::Timestamp;

use super::Supervisor;
use super::known::KnownMapping;
use crate::ports::{PortError, chain};
use crate::run_unit::{UnitParts, run_unit};

/// Between the starts of two units in one round. Shards that start together would be read together,
/// second after second: each of thousands of reads would take memory and a connection at that moment.
const START_SPACING: Duration = Duration::from_micros(100);

/// Why the children of a shard are not read.
const LACKS_PARENTS: &str = "the list of shards lacks parents of shards that it has, and the source \
                             does not report them as gone when they are read: their children wait";

impl Supervisor {
    /// Inserts and removes rows of the mappings of this round as shards come and go; returns whether
    /// anything changed.
    pub(super) async fn sync_lease_rows(&mut self, now: Timestamp) -> Result<bool, PortError> {
        let (mut changes, mut has_changed) = (LeaseRowPlan::default(), false);
        for id in self.round.clone() {
            match self.settle_parks(&id).await? {
                None => continue,
                Some(is_change) => has_changed |= is_change,
            }
            let Some(mut plan) = self.plan(&id) else {
                continue;
            };
            if !plan.remove.is_empty() || !plan.set_start.is_empty() {
                // It may depend on a checkpoint, which may have been saved since.
                match self.store.leases_of(&id).await {
                    Ok(leases) => {
                        if let Some(known) = self.known.get_mut(&id) {
                            known.leases = leases;
                        }
                        plan = self.plan(&id).unwrap_or_default();
                    }
                    Err(error) => {
                        let problem = chain(&error);
                        tracing::error!(uuid = %id, problem, "cannot compare the shards");
                        self.context.board.problem(&id, Some(problem));
                        self.uncompared.insert(id);
                        continue;
                    }
                }
            }
            let rows = self.known.get(&id).map(|known| &known.leases);
            let rows = rows.into_iter().flatten();
            let shards = rows.filter_map(|row| match &row.key.unit {
                Unit::Shard(shard) => Some(shard),
                Unit::QueueSlot(_) => None,
            });
            let is_shown = self.discovery.handle_comparison(&id, &plan, shards, now);
            if is_shown {
                let board = &self.context.board;
                board.problem(&id, Some(LACKS_PARENTS.to_owned()));
            }
            changes.insert.extend(plan.insert);
            changes.remove.extend(plan.remove);
            changes.set_start.extend(plan.set_start);
            changes.resume.extend(plan.resume);
        }
        if !changes.is_empty() {
            self.write(&changes).await?;
            has_changed = true;
        }
        Ok(has_changed)
    }

    /// Shows the shards of a mapping that wait for their parents.
    pub(super) fn show_blocked(&self, id: &MappingId) {
        let blocked = || {
            let (known, connected) = (self.known.get(id)?, self.connections.get(id)?);
            let listings = self.discovery.history(id)?;
            let source = &connected.mapping.source;
            let start = known.overrides.start.as_ref();
            let mut blocked = blocked_shards(source, start, listings, &known.leases);
            if let Some(replay) = &known.replay {
                let is_read = |shard: &ShardId| match &replay.shards.selected {
                    Some(selected) => selected.contains(shard),
                    None => true,
                };
                blocked.retain(|shard, _| is_read(shard));
            }
            Some(blocked)
        };
        let board = &self.context.board;
        board.show_blocked(id, blocked().unwrap_or_default());
    }

    /// `None` if the mapping does not run here.
    fn plan(&self, id: &MappingId) -> Option<LeaseRowPlan> {
        let (known, connected) = (self.known.get(id)?, self.connections.get(id)?);
        let history = self.discovery.history(id);
        if let Some(replay) = &known.replay {
            return Some(replay.plan(history, &known.leases));
        }
        let source = &connected.mapping.source;
        let start = known.overrides.start.as_ref();
        Some(plan_lease_rows(id, source, start, history, &known.leases))
    }

    async fn write(&self, changes: &LeaseRowPlan) -> Result<(), PortError> {
        let store = &self.store;
        if !changes.remove.is_empty() {
            let removed: Vec<_> = changes.remove.iter().map(|it| it.0.clone()).collect();
            store.remove_leases(&removed).await?;
        }
        if !changes.insert.is_empty() {
            store.insert(&changes.insert).await?;
        }
        if !changes.set_start.is_empty() {
            store.set_shard_starts(&changes.set_start).await?;
        }
        if !changes.resume.is_empty() {
            store.resume(&changes.resume).await?;
        }
        for (lease, reason) in &changes.remove {
            self.report_removal(lease, *reason);
        }
        Ok(())
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

    /// Stops and starts the consumers of the mappings of this round.
    pub(super) async fn start_and_stop(&mut self, now: Timestamp) -> Result<(), PortError> {
        let mut free = Vec::new();
        for id in &self.round {
            let known = self.known.get(id).filter(|known| {
                let is_connected = self.connections.get(id).is_some();
                is_connected || known.row.desired != DesiredState::Enabled
            });
            let wanted = known.map(|known| (id.clone(), (known.row.revision, known.row.desired)));
            let leases = known.map_or(&[][..], |known| &known.leases);
            let running = self.tasks.running_of(id);
            let held = self.held(id, now);
            let is_parked = |key: &LeaseKey| {
                let held = held.as_ref();
                held.is_some_and(|(units, _)| units.covers(&key.unit))
                    || known.is_some_and(|known| known.is_parked(key))
            };
            if let Some((units, _)) = held.as_ref().filter(|(_, at)| *at <= now) {
                let overdue = running.keys().filter(|key| units.covers(&key.unit));
                overdue.for_each(|key| self.tasks.cancel(key));
            }
            if let (Some(known), Some(restarts)) = (known, self.restarts.get_mut(id)) {
                restarts.retain(|unit, _| !known.overrides.parks.covers(unit));
            }
            let mappings = wanted.into_iter().collect();
            for action in reconcile(&mappings, leases, &running, is_parked) {
                match action {
                    Action::Stop(key) if KnownMapping::breaks_off(self.known.get(id), id) => {
                        self.tasks.cancel(&key);
                    }
                    Action::Stop(key) => self.tasks.drain(&key),
                    Action::Start(key) if self.may_start(&key, now) => {
                        free.extend(known.and_then(|known| known.lease(&key)).cloned());
                    }
                    Action::Start(_) => {}
                }
            }
        }
        if free.is_empty() {
            return Ok(());
        }
        // A lease that another daemon was faster to take is missing, and is a change of the store.
        let taken = self.store.take_many(&free, &self.worker).await?;
        for (index, lease) in taken.into_iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            self.start(lease, START_SPACING.saturating_mul(index));
        }
        Ok(())
    }

    fn may_start(&self, key: &LeaseKey, now: Timestamp) -> bool {
        let restart = self.restarts.get(&key.mapping);
        let restart = restart.and_then(|units| units.get(&key.unit));
        let connected = self.connections.get(&key.mapping);
        restart.is_none_or(|restart| restart.not_before <= now)
            && connected.is_some_and(|connected| connected.has_unit(&key.unit))
    }

    /// Starts the consumer of a lease that was taken, `delay` from now.
    fn start(&mut self, taken: Lease, delay: Duration) {
        let key = taken.key.clone();
        let Some(connected) = self.connections.get(&key.mapping) else {
            return;
        };
        let listings = self.discovery.listings(&key.mapping);
        let (clock, board) = (self.context.clock, &self.context.board);
        let Some(source) = connected.unit(&key.unit, listings, clock, board) else {
            return;
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
        if let Some(known) = self.known.get_mut(&key.mapping) {
            known.replace(taken.clone());
        }
        let parts = Box::new(UnitParts {
            context: self.context.clone(),
            mapping,
            source,
            target,
            lease: taken,
            delay,
        });
        self.tasks
            .spawn_unit(key, versions, |stop| run_unit(parts, stop));
    }

    pub(super) async fn release_leases(&self) -> Result<(), PortError> {
        let leases = self.known.values().flat_map(|known| &known.leases);
        let own = leases.filter(|lease| lease.owner.as_ref() == Some(&self.worker));
        let own: Vec<_> = own.cloned().collect();
        // Those that another daemon has acquired meanwhile stay with it.
        self.store.release_many(&own).await
    }
}
