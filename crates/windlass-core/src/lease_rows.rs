//! Which lease rows a mapping has: one for each shard that may be read, or one for its queue.
//!
//! A child shard gets its row when its parents are resolved (see [`crate::shard::lineage`]). The
//! row of a resolved shard stays until the stream no longer lists the shard, or it would be read
//! again.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{SequenceNumber, ShardId};
use crate::lease::{Lease, LeaseKey, Unit};
use crate::mapping::{MappingId, Source, StreamSettings};
use crate::position::Position;
use crate::shard::lineage::{self, Shard};

/// Changes to the lease rows of one mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRowPlan {
    pub insert: Vec<Lease>,
    pub remove: Vec<(Lease, RemovalReason)>,
}

/// Why a lease row is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalReason {
    /// The shard is resolved and no longer listed.
    Resolved,
    /// The shard is no longer listed, though not resolved: the retention period of its last records
    /// has passed.
    Expired,
    /// The mapping's source has no such unit.
    WrongUnit,
}

impl LeaseRowPlan {
    pub fn is_empty(&self) -> bool {
        self.insert.is_empty() && self.remove.is_empty()
    }

    fn insert(
        &mut self,
        mapping: &MappingId,
        unit: Unit,
        checkpoint: Position,
        shard_start: Option<SequenceNumber>,
    ) {
        self.insert.push(Lease {
            key: LeaseKey {
                mapping: mapping.clone(),
                unit,
            },
            owner: None,
            epoch: 0,
            checkpoint,
            shard_start,
        });
    }
}

/// Compares the rows of a mapping with the shards of its stream: `None` while they are not known.
pub fn plan_lease_rows(
    mapping: &MappingId,
    source: &Source,
    listed: Option<&[Shard]>,
    rows: &[Lease],
) -> LeaseRowPlan {
    let mut plan = LeaseRowPlan::default();
    let mut shards = BTreeMap::new();
    let mut n_slots = 0;
    for row in rows {
        match (&row.key.unit, source) {
            (Unit::Shard(shard), Source::Stream(_)) => {
                shards.insert(shard, row);
            }
            (Unit::QueueSlot(_), Source::Queue(_)) => n_slots += 1,
            (Unit::Shard(_), Source::Queue(_)) | (Unit::QueueSlot(_), Source::Stream(_)) => {
                plan.remove.push((row.clone(), RemovalReason::WrongUnit));
            }
        }
    }
    match source {
        Source::Queue(_) if n_slots == 0 => {
            plan.insert(mapping, Unit::QueueSlot(0), Position::TrimHorizon, None);
        }
        Source::Queue(_) => {}
        Source::Stream(stream) => {
            let listed = listed.unwrap_or_default();
            plan_shards(&mut plan, mapping, &stream.settings, listed, &shards);
        }
    }
    plan
}

/// New shards start at the mapping's position, children included: one that is a time excludes no
/// record that arrived in a child later. An empty listing changes nothing.
fn plan_shards(
    plan: &mut LeaseRowPlan,
    mapping: &MappingId,
    settings: &StreamSettings,
    listed: &[Shard],
    rows: &BTreeMap<&ShardId, &Lease>,
) {
    if listed.is_empty() {
        return;
    }
    let checkpoints = rows.iter().map(|(shard, row)| (*shard, &row.checkpoint));
    for shard in lineage::readable(listed, &checkpoints.collect()) {
        if !rows.contains_key(&shard.id) {
            let unit = Unit::Shard(shard.id.detached());
            let start = shard.starting_sequence_number.clone();
            plan.insert(mapping, unit, settings.starting_position.clone(), start);
        }
    }
    let ids: BTreeSet<_> = listed.iter().map(|shard| &shard.id).collect();
    for (_, row) in rows.iter().filter(|(shard, _)| !ids.contains(*shard)) {
        let reason = if row.checkpoint == Position::ShardEnd {
            RemovalReason::Resolved
        } else {
            RemovalReason::Expired
        };
        plan.remove.push(((*row).clone(), reason));
    }
}
