//! A store that can be made to fail, and whose leases can be taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::Value;
use windlass_core::lease::{Lease, LeaseKey, WorkerId};
use windlass_core::mapping::{DesiredState, MappingId, MappingRow, Revision};
use windlass_core::outcome::{Fault, Swap};
use windlass_core::overrides::Overrides;
use windlass_core::parks::Parks;
use windlass_core::position::{Checkpoint, Position};
use windlass_core::replay::{ReplayName, ReplayRow};
use windlass_core::tags::Tags;
use windlass_engine::ports::{
    ChangeNumber, Changes, CheckpointSave, DeadLetterId, HISTORY_RETENTION, HistoryLine,
    HistoryMarker, HistoryPage, HistoryStore, LeaseStore, MAX_LINE_IDS, MappingFilter,
    MappingStore, OverrideStore, PortError, RedriveLine, ReplayStore, SeekWrite, StoredMapping,
    UnreadableMapping,
};

use super::dead_letters::FakeDeadLetter;
use super::{failed, lock};

#[derive(Debug, Default)]
pub struct FakeStore {
    mappings: Mutex<BTreeMap<MappingId, MappingRow>>,
    replays: Mutex<BTreeMap<MappingId, ReplayRow>>,
    /// Of the mappings that have some.
    tags: Mutex<BTreeMap<MappingId, Tags>>,
    leases: Mutex<BTreeMap<LeaseKey, Lease>>,
    /// Of the mappings that have some.
    overrides: Mutex<BTreeMap<MappingId, Overrides>>,
    /// Why the rows of some mappings cannot be read.
    unreadable: Mutex<BTreeMap<MappingId, String>>,
    /// Mappings whose leases cannot be read on their own.
    unreadable_leases: Mutex<BTreeSet<MappingId>>,
    /// The last change of each mapping, of those that were removed as well.
    changes: Mutex<BTreeMap<MappingId, ChangeNumber>>,
    /// Of rows that are inserted: larger than the epochs of all rows that were removed.
    next_epoch: Mutex<u64>,
    saves: Mutex<Vec<(LeaseKey, Checkpoint)>>,
    /// By the number of the line.
    history: Mutex<BTreeMap<u64, HistoryLine>>,
    /// See [`FakeStore::fails_after_letters`].
    pub(super) letters_left: Mutex<Option<usize>>,
    pub(super) dead_letters: Mutex<BTreeMap<DeadLetterId, FakeDeadLetter>>,
    fault: Mutex<Option<Fault>>,
    /// How often each operation was called.
    calls: Mutex<BTreeMap<&'static str, usize>>,
    /// Mappings that were returned as changed, in order.
    changes_read: Mutex<Vec<MappingId>>,
}

impl FakeStore {
    /// Makes every later call fail; `None` ends that.
    pub fn fails(&self, fault: Option<Fault>) {
        *lock(&self.fault) = fault;
    }

    /// Makes a mapping unreadable; `None` ends that.
    pub fn cannot_read(&self, mapping: &MappingId, reason: Option<&str>) {
        let mut unreadable = lock(&self.unreadable);
        match reason {
            Some(reason) => unreadable.insert(mapping.clone(), reason.to_owned()),
            None => unreadable.remove(mapping),
        };
        self.changed(mapping);
    }

    /// Lets every read of the leases of a mapping fail, or none.
    pub fn cannot_read_leases_of(&self, mapping: &MappingId, fails: bool) {
        let mut unreadable = lock(&self.unreadable_leases);
        if fails {
            unreadable.insert(mapping.clone());
        } else {
            unreadable.remove(mapping);
        }
    }

    /// Lets another daemon take every lease of a mapping.
    pub fn steal(&self, mapping: &MappingId) {
        let mut leases = lock(&self.leases);
        let of_mapping = leases.values_mut().filter(|it| it.key.mapping == *mapping);
        for lease in of_mapping {
            lease.owner = Some(WorkerId::new("thief"));
            lease.epoch += 1;
        }
        self.changed(mapping);
    }

    /// Loses the checkpoints of a mapping, as if they had not been written.
    pub fn forget_checkpoints(&self, mapping: &MappingId) {
        let mut leases = lock(&self.leases);
        let of_mapping = leases.values_mut().filter(|it| it.key.mapping == *mapping);
        for lease in of_mapping {
            lease.checkpoint = Checkpoint::at(Position::TrimHorizon);
        }
    }

    /// How often all mappings were read.
    pub fn reads_of_mappings(&self) -> usize {
        self.n_calls("reading mappings")
    }

    /// How often an operation was called.
    pub fn n_calls(&self, operation: &str) -> usize {
        lock(&self.calls).get(operation).copied().unwrap_or(0)
    }

    /// How often any operation was called.
    pub fn n_all_calls(&self) -> usize {
        lock(&self.calls).values().sum()
    }

    /// The mappings that were read because they had changed, since the last call of this.
    pub fn take_changes_read(&self) -> Vec<MappingId> {
        std::mem::take(&mut *lock(&self.changes_read))
    }

    pub fn row(&self, id: &MappingId) -> Option<MappingRow> {
        lock(&self.mappings).get(id).cloned()
    }

    pub fn replay_row(&self, id: &MappingId) -> Option<ReplayRow> {
        lock(&self.replays).get(id).cloned()
    }

    pub fn leases_of(&self, mapping: &MappingId) -> Vec<Lease> {
        let leases = lock(&self.leases);
        let of_mapping = leases.values().filter(|it| it.key.mapping == *mapping);
        of_mapping.cloned().collect()
    }

    pub fn overrides_of(&self, mapping: &MappingId) -> Overrides {
        let overrides = lock(&self.overrides);
        overrides.get(mapping).cloned().unwrap_or_default()
    }

    /// Saved checkpoints in order.
    pub fn saves(&self) -> Vec<(LeaseKey, Checkpoint)> {
        lock(&self.saves).clone()
    }

    fn retire(&self, epoch: u64) {
        let mut next = lock(&self.next_epoch);
        *next = (*next).max(epoch + 1);
    }

    fn changed(&self, mapping: &MappingId) {
        let mut changes = lock(&self.changes);
        let last = changes.values().max().map_or(0, |number| number.0);
        changes.insert(mapping.clone(), ChangeNumber(last + 1));
    }

    fn stored(&self, mapping: &MappingId) -> StoredMapping {
        let Some(row) = self.row(mapping) else {
            let replay = lock(&self.replays).get(mapping).cloned();
            return replay.map_or(StoredMapping::Removed, |row| {
                StoredMapping::Replay(Box::new(row), self.leases_of(mapping))
            });
        };
        match lock(&self.unreadable).get(mapping) {
            Some(reason) => StoredMapping::Unreadable(UnreadableMapping {
                source_arn: row.source.as_str().to_owned(),
                function_arn: row.function_arn.as_str().to_owned(),
                reason: reason.clone(),
            }),
            None => {
                let leases = self.leases_of(mapping);
                StoredMapping::Readable(row, leases, self.overrides_of(mapping))
            }
        }
    }

    pub(super) fn save_checkpoint(&self, save: &CheckpointSave) -> Swap {
        let mut leases = lock(&self.leases);
        let lease = leases.get_mut(&save.key);
        let Some(lease) = lease.filter(|lease| lease.epoch == save.epoch) else {
            return Swap::Conflict;
        };
        lease.checkpoint = save.checkpoint.clone();
        if lease.checkpoint.position == Position::ShardEnd {
            self.changed(&save.key.mapping);
        }
        lock(&self.saves).push((save.key.clone(), save.checkpoint.clone()));
        Swap::Done
    }

    fn remove_leases_of(&self, id: &MappingId) {
        lock(&self.leases).retain(|key, lease| {
            let is_kept = key.mapping != *id;
            if !is_kept {
                self.retire(lease.epoch);
            }
            is_kept
        });
    }

    /// Writes the line of a change, if it has one.
    pub(super) fn write_line(&self, line: Option<&HistoryLine>) {
        let Some(line) = line else { return };
        let mut lines = lock(&self.history);
        let next = lines.keys().last().map_or(1, |last| last + 1);
        lines.retain(|_, other| line.time.since(other.time) <= HISTORY_RETENTION);
        match lines.values_mut().find(|other| other.id == line.id) {
            Some(other) => {
                other.before.clone_from(&line.before);
                other.after.clone_from(&line.after);
            }
            None => drop(lines.insert(next, line.clone())),
        }
    }

    /// Adds to the line of a redrive.
    pub(super) fn add_to_redrive(&self, part: &RedriveLine) {
        let after = {
            let lines = lock(&self.history);
            let known = lines.values().find(|line| line.id == part.line.id);
            known.map(|line| line.after.clone())
        };
        let mut after = after.unwrap_or_else(|| {
            let mut after = part.line.after.clone();
            after["redriven"] = 0.into();
            after["failed"] = 0.into();
            after["ids"] = Value::Array(Vec::new());
            after
        });
        let sum = |value: &Value, more: u64| (value.as_u64().unwrap_or(0) + more).into();
        after["redriven"] = sum(&after["redriven"], part.redriven.len() as u64);
        after["failed"] = sum(&after["failed"], part.failed);
        if let Some(ids) = after["ids"].as_array_mut() {
            ids.extend(part.redriven.iter().map(|id| Value::from(id.as_str())));
            ids.truncate(MAX_LINE_IDS);
        }
        self.write_line(Some(&HistoryLine {
            after,
            ..part.line.clone()
        }));
    }

    pub(super) fn call(&self, operation: &'static str) -> Result<(), PortError> {
        *lock(&self.calls).entry(operation).or_default() += 1;
        let fault = *lock(&self.fault);
        fault.map_or(Ok(()), |fault| Err(failed(operation, fault)))
    }
}

#[async_trait]
impl MappingStore for FakeStore {
    async fn mappings(&self) -> Result<Vec<MappingRow>, PortError> {
        self.call("reading mappings")?;
        let unreadable = lock(&self.unreadable);
        let mappings = lock(&self.mappings);
        let readable = mappings
            .values()
            .filter(|row| !unreadable.contains_key(&row.id));
        Ok(readable.cloned().collect())
    }

    async fn mappings_after(
        &self,
        after: Option<&MappingId>,
        filter: &MappingFilter,
        limit: usize,
    ) -> Result<Vec<MappingRow>, PortError> {
        let mut rows = self.mappings().await?;
        let MappingFilter { source, function } = filter;
        rows.retain(|row| {
            let is_after = after.is_none_or(|after| *after < row.id);
            let of_source = source.as_ref().is_none_or(|it| row.source.as_str() == it);
            let names = |name: &str| row.spec.function_name().is_some_and(|it| it.contains(name));
            let of_function = function
                .as_ref()
                .is_none_or(|it| row.function_arn == it.arn || names(&it.name));
            is_after && of_source && of_function
        });
        rows.truncate(limit);
        Ok(rows)
    }

    async fn mapping(&self, id: &MappingId) -> Result<Option<MappingRow>, PortError> {
        self.call("reading a mapping")?;
        if lock(&self.unreadable).contains_key(id) {
            return Err(failed("reading a mapping", Fault::Transient));
        }
        Ok(self.row(id))
    }

    async fn changes(&self, since: ChangeNumber) -> Result<Changes, PortError> {
        self.call("reading changes")?;
        let (last, changed) = {
            let changes = lock(&self.changes);
            let changed = changes.iter().filter(|(_, number)| since < **number);
            let changed: Vec<_> = changed.map(|(id, _)| id.clone()).collect();
            let last = changes.values().max().copied();
            (last.unwrap_or_default(), changed)
        };
        lock(&self.changes_read).extend(changed.iter().cloned());
        let mappings = changed.into_iter().map(|id| {
            let stored = self.stored(&id);
            (id, stored)
        });
        Ok(Changes {
            last,
            mappings: mappings.collect(),
        })
    }

    async fn put(
        &self,
        row: &MappingRow,
        seen: Option<Revision>,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError> {
        self.call("writing a mapping")?;
        let mut mappings = lock(&self.mappings);
        let there = mappings.get(&row.id).map(|old| old.revision);
        let mut rows = mappings.values();
        if there != seen || rows.any(|other| row.conflicts_with(other)) {
            return Ok(Swap::Conflict);
        }
        mappings.insert(row.id.clone(), row.clone());
        self.write_line(line);
        self.changed(&row.id);
        Ok(Swap::Done)
    }

    async fn put_with_tags(
        &self,
        row: &MappingRow,
        seen: Option<Revision>,
        tags: &Tags,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError> {
        let swap = self.put(row, seen, line).await?;
        if swap == Swap::Done {
            lock(&self.tags).insert(row.id.clone(), tags.clone());
        }
        Ok(swap)
    }

    async fn tags(&self, id: &MappingId) -> Result<Option<Tags>, PortError> {
        self.call("reading tags")?;
        let tags = lock(&self.tags).get(id).cloned();
        Ok(self.row(id).map(|_| tags.unwrap_or_default()))
    }

    async fn set_tags(&self, id: &MappingId, seen: &Tags, tags: &Tags) -> Result<Swap, PortError> {
        self.call("writing tags")?;
        if self.row(id).is_none() {
            return Ok(Swap::Conflict);
        }
        let mut all = lock(&self.tags);
        let stored = all.entry(id.clone()).or_default();
        if stored != seen {
            return Ok(Swap::Conflict);
        }
        *stored = tags.clone();
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
        lock(&self.tags).remove(id);
        lock(&self.overrides).remove(id);
        self.remove_leases_of(id);
        self.changed(id);
        Ok(Swap::Done)
    }
}

#[async_trait]
impl ReplayStore for FakeStore {
    async fn replays(&self) -> Result<Vec<ReplayRow>, PortError> {
        self.call("reading replays")?;
        let mut rows: Vec<_> = lock(&self.replays).values().cloned().collect();
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(rows)
    }

    async fn replay(&self, name: &ReplayName) -> Result<Option<ReplayRow>, PortError> {
        self.call("reading a replay")?;
        let rows = lock(&self.replays);
        Ok(rows.values().find(|row| row.name == *name).cloned())
    }

    async fn put_replay(
        &self,
        row: &ReplayRow,
        seen: Option<Revision>,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError> {
        self.call("writing a replay")?;
        let mut rows = lock(&self.replays);
        let there = rows.get(&row.id).map(|old| old.revision);
        let mut others = rows.values().filter(|other| other.id != row.id);
        if there != seen || others.any(|other| other.name == row.name) {
            return Ok(Swap::Conflict);
        }
        rows.insert(row.id.clone(), row.clone());
        self.write_line(line);
        self.changed(&row.id);
        Ok(Swap::Done)
    }

    async fn remove_replay(
        &self,
        id: &MappingId,
        seen: Revision,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError> {
        self.call("removing a replay")?;
        let mut rows = lock(&self.replays);
        if rows.get(id).is_none_or(|row| row.revision != seen) {
            return Ok(Swap::Conflict);
        }
        rows.remove(id);
        self.remove_leases_of(id);
        self.write_line(line);
        self.changed(id);
        Ok(Swap::Done)
    }
}

#[async_trait]
impl OverrideStore for FakeStore {
    async fn overrides(&self, mapping: &MappingId) -> Result<Overrides, PortError> {
        self.call("reading the parks of a mapping")?;
        Ok(self.overrides_of(mapping))
    }

    async fn set_parks(
        &self,
        mapping: &MappingId,
        seen: &Parks,
        parks: &Parks,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError> {
        self.call("writing the parks of a mapping")?;
        if self.row(mapping).is_none() || self.overrides_of(mapping).parks != *seen {
            return Ok(Swap::Conflict);
        }
        let mut overrides = lock(&self.overrides);
        overrides.entry(mapping.clone()).or_default().parks = parks.clone();
        self.write_line(line);
        self.changed(mapping);
        Ok(Swap::Done)
    }

    async fn seek(&self, write: &SeekWrite, line: Option<&HistoryLine>) -> Result<Swap, PortError> {
        self.call("moving checkpoints")?;
        let row = self.row(&write.mapping);
        let epochs = |leases: &[Lease]| {
            let leases = leases.iter();
            let epochs = leases.map(|lease| (lease.key.clone(), lease.epoch));
            epochs.collect::<BTreeMap<_, _>>()
        };
        let is_live = row.is_some_and(|row| row.desired != DesiredState::Deleted);
        if !is_live || epochs(&self.leases_of(&write.mapping)) != epochs(&write.seen) {
            return Ok(Swap::Conflict);
        }
        let mut leases = lock(&self.leases);
        for moved in &write.plan.update {
            let lease = leases.get_mut(&moved.key).expect("it was seen");
            *lease = Lease {
                owner: lease.owner.clone(),
                epoch: lease.epoch + 1,
                ..moved.clone()
            };
        }
        for set_aside in &write.plan.set_aside {
            let lease = leases.get_mut(&set_aside.key).expect("it was seen");
            (lease.waits, lease.epoch) = (true, lease.epoch + 1);
        }
        for lease in &write.plan.insert {
            let added = Lease {
                epoch: lease.epoch.max(*lock(&self.next_epoch)),
                ..lease.clone()
            };
            leases.insert(lease.key.clone(), added);
        }
        if let Some(start) = &write.plan.start {
            let mut overrides = lock(&self.overrides);
            let overrides = overrides.entry(write.mapping.clone()).or_default();
            overrides.start = Some(start.clone());
        }
        self.write_line(line);
        self.changed(&write.mapping);
        Ok(Swap::Done)
    }

    async fn resume(&self, resumed: &[Lease]) -> Result<(), PortError> {
        self.call("updating leases")?;
        let mut leases = lock(&self.leases);
        for seen in resumed {
            let lease = leases.get_mut(&seen.key);
            if let Some(lease) = lease.filter(|lease| lease.epoch == seen.epoch) {
                lease.waits = false;
                self.changed(&seen.key.mapping);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl HistoryStore for FakeStore {
    async fn history(
        &self,
        mapping: Option<&MappingId>,
        after: Option<HistoryMarker>,
        limit: usize,
    ) -> Result<HistoryPage, PortError> {
        self.call("reading the history")?;
        let lines = lock(&self.history);
        let before = after.map_or(u64::MAX, |marker| marker.0);
        let mut shown: Vec<_> = lines
            .range(..before)
            .rev()
            .filter(|(_, line)| mapping.is_none() || line.mapping.as_ref() == mapping)
            .take(limit + 1)
            .collect();
        let has_more = limit < shown.len();
        shown.truncate(limit);
        let last = shown.last().filter(|_| has_more);
        Ok(HistoryPage {
            next: last.map(|(number, _)| HistoryMarker(**number)),
            lines: shown.into_iter().map(|(_, line)| line.clone()).collect(),
        })
    }

    async fn write_redrive(&self, part: &RedriveLine) -> Result<(), PortError> {
        self.call("writing the history")?;
        self.add_to_redrive(part);
        Ok(())
    }
}

#[async_trait]
impl LeaseStore for FakeStore {
    async fn leases_of(&self, mapping: &MappingId) -> Result<Vec<Lease>, PortError> {
        let operation = "reading the leases of a mapping";
        self.call(operation)?;
        if lock(&self.unreadable_leases).contains(mapping) {
            return Err(failed(operation, Fault::Transient));
        }
        Ok(Self::leases_of(self, mapping))
    }

    async fn insert(&self, new: &[Lease]) -> Result<(), PortError> {
        self.call("adding leases")?;
        let (mappings, replays) = (lock(&self.mappings), lock(&self.replays));
        let mut leases = lock(&self.leases);
        for lease in new {
            let owner = &lease.key.mapping;
            let has_owner = mappings.contains_key(owner) || replays.contains_key(owner);
            if has_owner && !leases.contains_key(&lease.key) {
                let added = Lease {
                    epoch: lease.epoch.max(*lock(&self.next_epoch)),
                    ..lease.clone()
                };
                leases.insert(lease.key.clone(), added);
                self.changed(&lease.key.mapping);
            }
        }
        Ok(())
    }

    async fn take_many(&self, seen: &[Lease], owner: &WorkerId) -> Result<Vec<Lease>, PortError> {
        self.call("taking leases")?;
        let mut leases = lock(&self.leases);
        let mut taken = Vec::new();
        for seen in seen {
            let lease = leases.get_mut(&seen.key);
            let lease = lease.filter(|it| it.owner == seen.owner && it.epoch == seen.epoch);
            let Some(lease) = lease else { continue };
            lease.owner = Some(owner.clone());
            lease.epoch += 1;
            self.changed(&seen.key.mapping);
            taken.push(lease.clone());
        }
        Ok(taken)
    }

    async fn release_many(&self, released: &[Lease]) -> Result<(), PortError> {
        self.call("releasing leases")?;
        let mut leases = lock(&self.leases);
        for seen in released {
            let lease = leases.get_mut(&seen.key);
            let lease = lease.filter(|it| it.owner == seen.owner && it.epoch == seen.epoch);
            if let Some(lease) = lease {
                lease.owner = None;
                self.changed(&seen.key.mapping);
            }
        }
        Ok(())
    }

    async fn save_many(&self, saves: &[CheckpointSave]) -> Result<Vec<Swap>, PortError> {
        self.call("saving checkpoints")?;
        Ok(saves
            .iter()
            .map(|save| self.save_checkpoint(save))
            .collect())
    }

    async fn set_shard_starts(&self, changed: &[Lease]) -> Result<(), PortError> {
        self.call("updating leases")?;
        let mut leases = lock(&self.leases);
        for lease in changed {
            let current = leases.get_mut(&lease.key);
            if let Some(current) = current.filter(|current| current.epoch == lease.epoch) {
                current.shard_start.clone_from(&lease.shard_start);
                self.changed(&lease.key.mapping);
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
                self.changed(&lease.key.mapping);
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
