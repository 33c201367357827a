//! The lease rows of the mapping, and what is checked whenever they change.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::arn::{Arn, StreamKind};
use windlass_core::ids::ShardId;
use windlass_core::lease::{Lease, LeaseKey, Unit};
use windlass_core::lease_rows::{LeaseRowPlan, RemovalReason};
use windlass_core::mapping::{MappingId, Source as MappingSource, StreamSettings, StreamSource};
use windlass_core::parks::{Park, Parks};
use windlass_core::position::Position;
use windlass_core::seek::{SeekPlan, SeekStart};
use windlass_core::shard::lineage::Shard;
use windlass_core::stretch_rows::StretchShards;
use windlass_core::time::Timestamp;

use super::source::{Listed, Source};
use super::{BrokenInvariant, ensure};
use crate::rng::Rng;

/// What the store has.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) mapping: MappingId,
    pub(super) source: MappingSource,
    settings: StreamSettings,
    /// `None`: they are those of the mapping.
    pub(super) replay: Option<StretchShards>,
    rows: BTreeMap<LeaseKey, Row>,
    pub(super) parks: Parks,
    pub(super) start: Option<SeekStart>,
    /// Greater than the epochs of all rows that were removed.
    next_epoch: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    lease: Lease,
    /// The stream that its shard is of.
    generation: u64,
    /// It was of a former stream until its start was set.
    was_former: bool,
}

impl Rows {
    pub(super) fn new(settings: StreamSettings) -> Self {
        let arn = Arn::parse("arn:aws:kinesis:us-east-1:000000000000:stream/s");
        Self {
            mapping: MappingId::new("m"),
            source: MappingSource::Stream(StreamSource {
                kind: StreamKind::Kinesis,
                arn: arn.expect("it is an ARN"),
                consumer: None,
                takes_aggregates_apart: false,
                settings: settings.clone(),
            }),
            settings,
            replay: None,
            rows: BTreeMap::new(),
            parks: Parks::default(),
            start: None,
            next_epoch: 0,
        }
    }

    pub(super) fn leases(&self) -> Vec<Lease> {
        self.rows.values().map(|row| row.lease.clone()).collect()
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = (&ShardId, &Row)> {
        self.rows.values().map(|row| (id(&row.lease), row))
    }

    pub(super) fn of(&self, shard: &ShardId) -> Option<&Row> {
        self.rows.get(&LeaseKey {
            mapping: self.mapping.clone(),
            unit: Unit::Shard(shard.clone()),
        })
    }

    /// A consumer starts: a new epoch, and where it begins.
    pub(super) fn take(&mut self, key: &LeaseKey) -> Option<(u64, Position)> {
        let lease = &mut self.rows.get_mut(key)?.lease;
        lease.epoch += 1;
        Some((lease.epoch, lease.checkpoint.position.clone()))
    }

    pub(super) fn save(&mut self, key: &LeaseKey, epoch: u64, position: &Position) {
        let row = self.rows.get_mut(key).map(|row| &mut row.lease);
        if let Some(lease) = row.filter(|lease| lease.epoch == epoch) {
            lease.checkpoint.position = position.clone();
        }
    }

    /// Ends a shard that nothing reads.
    pub(super) fn end(&mut self, key: &LeaseKey) {
        if let Some((epoch, _)) = self.take(key) {
            self.save(key, epoch, &Position::ShardEnd);
        }
    }

    /// An operator moves shards: their rows are in their next epochs.
    pub(super) fn seek(&mut self, plan: SeekPlan) {
        for moved in plan.update {
            if let Some(row) = self.rows.get_mut(&moved.key) {
                row.lease = Lease {
                    epoch: row.lease.epoch + 1,
                    ..moved
                };
            }
        }
        for row in plan.set_aside {
            if let Some(row) = self.rows.get_mut(&row.key) {
                (row.lease.waits, row.lease.epoch) = (true, row.lease.epoch + 1);
            }
        }
        self.start = plan.start.or(self.start.take());
    }

    /// An operator parks a shard or the mapping, or ends a park.
    pub(super) fn operate(&mut self, now: Timestamp, rng: &mut Rng) {
        let shards: Vec<_> = self.shards().map(|(shard, _)| shard.clone()).collect();
        let is_one = !shards.is_empty() && rng.per_mille(800);
        let shard = is_one.then(|| shards[rng.size(0, shards.len() - 1)].clone());
        if rng.per_mille(500) {
            let park = Park {
                since: now,
                reason: None,
            };
            self.parks.park(shard.as_ref(), park);
        } else {
            self.parks.unpark(shard.as_ref());
        }
    }

    /// Whether a row is of a former stream, or was taken for one of the present stream later.
    pub(super) fn is_former(&self, shard: &ShardId, source: &Source) -> bool {
        let row = self.of(shard);
        row.is_none_or(|row| row.was_former || row.generation != source.generation)
    }

    /// Whether a stream that is created again can be told from this one by its numbers.
    pub(super) fn have_starts(&self) -> bool {
        self.shards()
            .all(|(_, row)| row.lease.shard_start.is_some())
    }

    pub(super) fn have_ends(&self) -> bool {
        self.shards().any(|(_, row)| is_ended(&row.lease))
    }

    /// Whether there is one row for each shard, at the end of each that is closed.
    pub(super) fn are_settled(&self, source: &Source) -> Result<(), String> {
        for (id, shard) in source.shards() {
            let row = self.of(id).ok_or_else(|| format!("{id} has no row"))?;
            if shard.closed != is_ended(&row.lease) || row.lease.waits {
                return Err(format!("{id} has {:?}", row.lease));
            }
        }
        let mut rows = self.shards();
        let extra = rows.find(|(id, _)| source.get(id).is_none());
        extra.map_or(Ok(()), |(id, _)| Err(format!("{id} has a row and is gone")))
    }

    /// Whether the last listing lacks a parent that is not resolved: it must be repeated soon.
    pub(super) fn check_consistency(
        &self,
        plan: &LeaseRowPlan,
        listed: &[Listed],
        refused: &BTreeSet<ShardId>,
    ) -> Result<(), BrokenInvariant> {
        if self.replay.as_ref().is_some_and(|it| it.selected.is_some()) {
            return Ok(());
        }
        let lacks = |parent: &ShardId| !listed.iter().any(|it| it.shard.id == *parent);
        let removed: BTreeSet<_> = plan.remove.iter().map(|(row, _)| id(row)).collect();
        let is_new = |it: &Listed| {
            let id = &it.shard.id;
            self.of(id).is_none_or(|row| row.lease.waits) || removed.contains(id)
        };
        let mut families = listed.iter().flat_map(|it| {
            let parents = it.shard.parents.iter().filter(|parent| lacks(parent));
            parents.map(move |parent| (it, parent))
        });
        let unresolved = families.find(|(child, parent)| match self.of(parent) {
            Some(row) => !is_ended(&row.lease) || row.lease.waits,
            None => is_new(child) && !refused.contains(*parent),
        });
        let found = plan.is_inconsistent;
        ensure(found == unresolved.is_some(), "repeated", || {
            format!("a listing is inconsistent: {found}, and lacks {unresolved:?}")
        })
    }

    /// Whether each row has a start if the last listing has one of its shard.
    pub(super) fn check_starts(&self, listed: &[Listed]) -> Result<(), BrokenInvariant> {
        for it in listed {
            let row = self.of(&it.shard.id).map(|row| &row.lease);
            let start = row.map(|row| row.shard_start.is_some());
            let is_listed = it.shard.starting_sequence_number.is_some();
            ensure(!is_listed || start != Some(false), "start", || {
                format!("{row:?} has no start, and {it:?} is listed")
            })?;
        }
        Ok(())
    }

    pub(super) fn apply(
        &mut self,
        plan: LeaseRowPlan,
        listed: &[Listed],
        source: &Source,
    ) -> Result<(), BrokenInvariant> {
        let generation = |row: &Lease| {
            let mut listed = listed.iter().filter(|it| it.shard.id == *id(row));
            listed.next().map_or(source.generation, |it| it.generation)
        };
        let mut position = self.settings.starting_position.clone();
        if let Some(start) = &self.start {
            position = start.position.clone();
        }
        for (row, reason) in plan.remove {
            if reason == RemovalReason::Recreated {
                position = self.settings.recreated_position.clone();
            }
            let Some(current) = self.rows.get(&row.key) else {
                continue;
            };
            if current.lease.epoch == row.epoch {
                self.check_removal(current, reason, listed, source)?;
                self.next_epoch = self.next_epoch.max(row.epoch + 1);
                self.rows.remove(&row.key);
            }
        }
        for mut lease in plan.insert {
            self.check_insertion(&lease, generation(&lease), source)?;
            let mut listed = listed.iter().map(|it| &it.shard);
            let start = listed.find(|it| it.id == *id(&lease));
            let start = start.and_then(|it| it.starting_sequence_number.as_ref());
            ensure(lease.shard_start.as_ref() == start, "start", || {
                format!("{lease:?} is of the shard that starts at {start:?}")
            })?;
            ensure(lease.checkpoint.position == position, "start", || {
                format!("{lease:?} begins elsewhere than at {position:?}")
            })?;
            lease.epoch = self.next_epoch;
            let row = Row {
                generation: generation(&lease),
                was_former: false,
                lease,
            };
            self.rows.entry(row.lease.key.clone()).or_insert(row);
        }
        for lease in plan.resume {
            self.check_insertion(&lease, generation(&lease), source)?;
            let row = self.rows.get_mut(&lease.key).map(|row| &mut row.lease);
            if let Some(row) = row.filter(|row| row.epoch == lease.epoch) {
                row.waits = false;
            }
        }
        for lease in plan.set_start {
            let generation = generation(&lease);
            let row = self.rows.get_mut(&lease.key);
            if let Some(row) = row.filter(|row| row.lease.epoch == lease.epoch) {
                row.lease.shard_start = lease.shard_start;
                row.was_former |= row.generation != generation;
                row.generation = generation;
            }
        }
        Ok(())
    }

    fn check_removal(
        &self,
        row: &Row,
        reason: RemovalReason,
        listed: &[Listed],
        source: &Source,
    ) -> Result<(), BrokenInvariant> {
        let shard = id(&row.lease);
        let listed = listed.iter().find(|it| it.shard.id == *shard);
        match reason {
            RemovalReason::Resolved => {
                ensure(is_ended(&row.lease), "checkpoint", || {
                    format!("{:?} is removed before its end", row.lease)
                })?;
                let is_present = row.generation == source.generation;
                let exists = is_present && source.get(shard).is_some();
                ensure(!exists, "checkpoint", || {
                    format!("the row of {shard} is removed, which exists")
                })
            }
            RemovalReason::Recreated => {
                let is_other = listed.is_some_and(|it| it.generation != row.generation);
                let is_moved = listed.is_some_and(|it| is_moved(&it.shard, &row.lease));
                let is_undecided = source.plan.moves_starts && is_moved;
                ensure(is_other || is_undecided, "checkpoint", || {
                    format!("{shard} is the same shard: {:?}, {listed:?}", row.lease)
                })
            }
            RemovalReason::WrongUnit => Err(BrokenInvariant::new("checkpoint", "a wrong unit")),
        }
    }

    /// A shard begins when all records of its parents were delivered, or have left the stream.
    fn check_insertion(
        &self,
        row: &Lease,
        generation: u64,
        source: &Source,
    ) -> Result<(), BrokenInvariant> {
        let shard = id(row);
        ensure(source.has_existed(shard), "phantom", || {
            format!("{shard} has never existed")
        })?;
        let Some(exists) = source
            .get(shard)
            .filter(|_| generation == source.generation)
        else {
            return Ok(());
        };
        for parent in exists.parents.iter().filter(|_| !source.is_disordered) {
            let row = self.of(parent).filter(|row| row.generation == generation);
            let waits = row.is_some_and(|row| !is_ended(&row.lease) || row.lease.waits);
            let settled = source.get(parent).is_none_or(|it| source.is_settled(it));
            ensure(!waits && settled, "order", || {
                format!("{shard} begins before its parent {parent} has ended: {row:?}")
            })?;
        }
        Ok(())
    }
}

fn id(row: &Lease) -> &ShardId {
    shard(&row.key)
}

pub(super) fn shard(key: &LeaseKey) -> &ShardId {
    match &key.unit {
        Unit::Shard(shard) => shard,
        Unit::QueueSlot(_) => unreachable!("the source is a stream"),
    }
}

fn is_ended(row: &Lease) -> bool {
    row.checkpoint.position == Position::ShardEnd
}

/// Whether the oldest record that is listed comes after those that were read.
fn is_moved(listed: &Shard, row: &Lease) -> bool {
    let read = row.checkpoint.position.sequence_number();
    let (Some(read), Some(start)) = (read, &listed.starting_sequence_number) else {
        return true;
    };
    read.is_lower_than(start)
}
