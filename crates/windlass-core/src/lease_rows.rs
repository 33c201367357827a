//! Which lease rows a mapping has: one for each shard that may be read, or one for its queue.
//!
//! A child shard gets its row when its parents are resolved (see [`crate::shard::lineage`]). The
//! row of a resolved shard stays until the stream no longer has the shard, or it would be read
//! again: several listings must lack it, and a read must be refused ([`doubtful_shards`]). The row of a shard that is not resolved stays, whatever is listed: only reading the shard
//! can show that it no longer exists, and its consumer then ends it.
//!
//! A row belongs to a shard with its name and its starting sequence number. The same name with
//! another start is a shard of a stream that was deleted and created again.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{SequenceNumber, ShardId};
use crate::lease::{Lease, LeaseKey, Unit};
use crate::mapping::{MappingId, Source};
use crate::parks::Parks;
use crate::position::{Checkpoint, Position};
use crate::seek::{SeekMark, SeekStart};
use crate::shard::lineage::{self, ListingHistory, Shard};

/// Changes to the lease rows of one mapping, in this order: a row may be removed and inserted again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRowPlan {
    pub remove: Vec<(Lease, RemovalReason)>,
    pub insert: Vec<Lease>,
    /// Rows that differ from those of the store by their `shard_start`.
    pub set_start: Vec<Lease>,
    /// Rows that a seek had set aside, and whose parents have ended again.
    pub resume: Vec<Lease>,
    /// Shards that the listing shows to be those of their rows: with the same start, or new, and
    /// without a listed parent that is unresolved.
    pub shown: BTreeSet<ShardId>,
    /// The listing lacks the parent of a listed shard although the parent is not resolved, or may
    /// exist. It says nothing about that family of shards, and should be repeated soon.
    pub is_inconsistent: bool,
}

/// Why a lease row is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalReason {
    /// The shard is resolved and no longer exists.
    Resolved,
    /// The stream was deleted and created again: another shard has the name.
    Recreated,
    /// The mapping's source has no such unit.
    WrongUnit,
}

/// A listed shard that waits for its parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedShard {
    /// Those that are not resolved.
    pub parents: Vec<ShardId>,
    /// Where it begins after that.
    pub start: Position,
}

impl LeaseRowPlan {
    pub fn is_empty(&self) -> bool {
        self.insert.is_empty()
            && self.remove.is_empty()
            && self.set_start.is_empty()
            && self.resume.is_empty()
    }

    fn insert(
        &mut self,
        mapping: &MappingId,
        unit: Unit,
        from: Position,
        shard_start: Option<SequenceNumber>,
        seek: Option<SeekMark>,
    ) {
        self.insert.push(Lease {
            key: LeaseKey {
                mapping: mapping.clone(),
                unit,
            },
            owner: None,
            epoch: 0,
            checkpoint: Checkpoint::at(from),
            shard_start,
            seek,
            waits: false,
        });
    }
}

/// Compares the rows of a mapping with the shards of its stream: `None` while they are not known.
/// `start` is where a seek of all shards lets those without a row begin.
pub fn plan_lease_rows(
    mapping: &MappingId,
    source: &Source,
    start: Option<&SeekStart>,
    listings: Option<&ListingHistory>,
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
            let slot = Unit::QueueSlot(0);
            plan.insert(mapping, slot, Position::TrimHorizon, None, None);
        }
        Source::Queue(_) => {}
        Source::Stream(stream) => {
            if let Some(listings) = listings {
                let rules = RowRules {
                    start: start.map_or(&stream.settings.starting_position, |it| &it.position),
                    mark: start.map(|start| start.mark),
                    recreated: &stream.settings.recreated_position,
                    keeps_resolved: false,
                };
                plan_shards(&mut plan, mapping, &rules, listings, shards);
            }
        }
    }
    plan
}

/// The shards that the last listing lacks, and that count as gone once a read from their oldest
/// record is refused as well ([`ListingHistory::handle_refusal`]). No consumer reads a parked shard.
pub fn doubtful_shards(
    listings: &ListingHistory,
    rows: &[Lease],
    parks: &Parks,
) -> BTreeSet<ShardId> {
    let rows = rows.iter().filter_map(|row| match &row.key.unit {
        Unit::Shard(shard) => Some((shard, row)),
        Unit::QueueSlot(_) => None,
    });
    let rows: BTreeMap<_, _> = rows.collect();
    let is_new = |shard: &ShardId| rows.get(shard).is_none_or(|row| row.waits);
    let has_row = |shard: &ShardId| rows.contains_key(shard);
    let parents = lineage::unlisted_parents(listings.shards(), is_new, has_row);
    let unread = rows.iter().filter(|(shard, row)| {
        let is_read = row.checkpoint.position != Position::ShardEnd
            && parks.of(shard).is_none()
            && !row.waits;
        !is_read && listings.is_absent(shard)
    });
    let unread = unread.map(|(shard, _)| *shard);
    parents.into_iter().chain(unread).cloned().collect()
}

/// The rows of parked shards that left the stream before they were resolved: their records are lost,
/// and their children wait in vain.
pub fn lost_parked_shards<'a>(
    listings: &ListingHistory,
    rows: &'a [Lease],
    parks: &Parks,
) -> Vec<&'a Lease> {
    let lost = rows.iter().filter(|row| match &row.key.unit {
        Unit::Shard(shard) => {
            row.checkpoint.position != Position::ShardEnd
                && !row.waits
                && parks.of(shard).is_some()
                && listings.is_absent(shard)
                && listings.is_refused(shard)
        }
        Unit::QueueSlot(_) => false,
    });
    lost.collect()
}

/// The listed shards of a mapping's stream that have no row, or one that a seek has set aside, because
/// their parents are not resolved.
pub fn blocked_shards(
    source: &Source,
    start: Option<&SeekStart>,
    listings: &ListingHistory,
    rows: &[Lease],
) -> BTreeMap<ShardId, BlockedShard> {
    let Source::Stream(stream) = source else {
        return BTreeMap::new();
    };
    let positions = |waits: bool| {
        let rows = rows.iter().filter(move |row| row.waits == waits);
        let rows = rows.filter_map(|row| Some((row.key.unit.shard()?, &row.checkpoint.position)));
        rows.collect::<BTreeMap<_, _>>()
    };
    let (mut checkpoints, waiting) = (positions(false), positions(true));
    let has_row: BTreeSet<_> = checkpoints.keys().copied().collect();
    checkpoints.extend(waiting.keys().map(|shard| (*shard, &UNRESOLVED)));
    let start = start.map_or(&stream.settings.starting_position, |start| &start.position);
    let readable = lineage::readable(listings, &checkpoints);
    let readable: BTreeSet<_> = readable.map(|shard| &shard.id).collect();
    let listed = listings.shards().iter();
    let blocked =
        listed.filter(|shard| !has_row.contains(&shard.id) && !readable.contains(&shard.id));
    let blocked = blocked.map(|shard| {
        let parents = shard.parents.iter();
        let parents = parents.filter(|it| checkpoints.get(it) != Some(&&Position::ShardEnd));
        let blocked = BlockedShard {
            parents: parents.cloned().collect(),
            start: (*waiting.get(&shard.id).unwrap_or(&start)).clone(),
        };
        (shard.id.clone(), blocked)
    });
    blocked.collect()
}

/// For the children of a shard whose row is set aside, wherever that stands: they wait for it.
static UNRESOLVED: Position = Position::TrimHorizon;

/// Where shards without a row begin, and which rows go.
pub(crate) struct RowRules<'a> {
    /// Of all shards, children included: a time excludes no record that arrived in a child later.
    pub(crate) start: &'a Position,
    /// What a seek has left with these.
    pub(crate) mark: Option<SeekMark>,
    /// Of the shards of a stream that was deleted and created again.
    pub(crate) recreated: &'a Position,
    /// Whether the row of a resolved shard stays when the shard no longer exists.
    pub(crate) keeps_resolved: bool,
}

pub(crate) fn plan_shards(
    plan: &mut LeaseRowPlan,
    mapping: &MappingId,
    rules: &RowRules<'_>,
    listings: &ListingHistory,
    rows: BTreeMap<&ShardId, &Lease>,
) {
    let listed = listings.shards();
    let (mut position, mut mark) = (rules.start, rules.mark);
    let (mut waiting, mut rows): (BTreeMap<_, _>, BTreeMap<_, _>) =
        rows.into_iter().partition(|(_, row)| row.waits);
    for shard in listed {
        let row = rows.get(&shard.id).or_else(|| waiting.get(&shard.id));
        let Some(row) = row else {
            continue;
        };
        match identity(shard, row) {
            Identity::Same => {}
            Identity::NewStart => plan.set_start.push(Lease {
                shard_start: detached_start(shard),
                ..(*row).clone()
            }),
            Identity::Recreated => {
                plan.remove.push(((*row).clone(), RemovalReason::Recreated));
                (position, mark) = (rules.recreated, None);
                rows.remove(&shard.id);
                waiting.remove(&shard.id);
            }
        }
    }
    // A resolved row without its shard says no more than its absence.
    let is_gone = |shard: &ShardId, row: &Lease| {
        listings.is_refused(shard) && row.checkpoint.position == Position::ShardEnd
    };
    let checkpoints = rows
        .iter()
        .filter(|(shard, row)| !(rules.keeps_resolved && is_gone(shard, row)));
    let checkpoints = checkpoints.map(|(shard, row)| (*shard, &row.checkpoint.position));
    let waits = waiting.keys().map(|shard| (*shard, &UNRESOLVED));
    let checkpoints = checkpoints.chain(waits).collect();
    let is_new = |shard: &ShardId| !rows.contains_key(shard);
    plan.is_inconsistent = lineage::is_inconsistent(listings, &checkpoints, is_new);
    let shown = lineage::without_unresolved_parents(listed, &checkpoints);
    let shown = shown.filter(|shard| rows.contains_key(&shard.id));
    plan.shown = shown.map(|shard| shard.id.detached()).collect();
    for shard in lineage::readable(listings, &checkpoints) {
        if rows.contains_key(&shard.id) {
            continue;
        }
        plan.shown.insert(shard.id.detached());
        if let Some(row) = waiting.remove(&shard.id) {
            plan.resume.push(row.clone());
        } else {
            let unit = Unit::Shard(shard.id.detached());
            plan.insert(mapping, unit, position.clone(), detached_start(shard), mark);
        }
    }
    // Of a shard that has left the stream nothing is read that could overtake its parents.
    let gone = waiting.iter();
    let gone = gone.filter(|(shard, _)| listings.is_absent(shard) && listings.is_refused(shard));
    plan.resume.extend(gone.map(|(_, row)| (*row).clone()));
    for (shard, row) in rows {
        if !rules.keeps_resolved && is_gone(shard, row) {
            plan.remove.push((row.clone(), RemovalReason::Resolved));
        }
    }
}

/// Whether a listed shard is the one of a row.
enum Identity {
    Same,
    /// The same shard, with another start to remember.
    NewStart,
    Recreated,
}

/// Without a start of both, the name decides.
///
/// Some servers report the oldest record they have as the start. Their start moves forward, up to
/// the checkpoint at most, while that of a stream that was created again is after every earlier
/// record, or anywhere before the former start.
fn identity(listed: &Shard, row: &Lease) -> Identity {
    let (Some(start), former) = (&listed.starting_sequence_number, &row.shard_start) else {
        return Identity::Same;
    };
    let Some(former) = former else {
        return Identity::NewStart;
    };
    if start == former {
        return Identity::Same;
    }
    let is_read = row
        .checkpoint
        .position
        .sequence_number()
        .is_some_and(|read| !read.is_lower_than(start));
    if is_read && former.is_lower_than(start) {
        Identity::NewStart
    } else {
        Identity::Recreated
    }
}

fn detached_start(shard: &Shard) -> Option<SequenceNumber> {
    let start = shard.starting_sequence_number.as_ref();
    start.map(SequenceNumber::detached)
}
