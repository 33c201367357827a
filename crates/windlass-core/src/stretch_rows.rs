//! Which rows a replay has: one for each shard that holds records of its stretch.
//!
//! Closed shards are read too, parents before their children ([`crate::shard::lineage`]), and shards
//! that appear while the end of the stretch is in the future. A replay of chosen shards reads these and
//! not their children. Rows stay as long as the replay: they have what was delivered.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::ShardId;
use crate::lease::{Lease, Unit};
use crate::lease_rows::{LeaseRowPlan, RowRules, plan_shards};
use crate::mapping::MappingId;
use crate::position::Position;
use crate::shard::lineage::ListingHistory;
use crate::shard::stream_check::LISTING_LAG;
use crate::stretch::{Stretch, StretchEnd};
use crate::time::Timestamp;

/// The shards of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StretchShards {
    pub stretch: Stretch,
    /// `None`: all that hold records of the stretch. Exactly one if
    /// [`Stretch::is_of_one_shard`].
    pub selected: Option<BTreeSet<ShardId>>,
}

impl StretchShards {
    /// Compares the rows of a replay with the shards of its stream. `id` is the replay's in the rows.
    ///
    /// Nothing is left of the stretch in a stream that was created again if its bounds are numbers, so
    /// the row of such a shard begins at its end.
    pub fn plan(&self, id: &MappingId, listings: &ListingHistory, rows: &[Lease]) -> LeaseRowPlan {
        let start = self.stretch.position();
        let recreated = if self.stretch.is_of_one_shard() {
            &Position::ShardEnd
        } else {
            &start
        };
        let rules = RowRules {
            start: &start,
            mark: None,
            recreated,
            keeps_resolved: true,
        };
        let mut plan = LeaseRowPlan::default();
        let listings = self.listings(listings);
        plan_shards(&mut plan, id, &rules, &listings, by_shard(rows));
        let rows = by_shard(rows);
        for row in &mut plan.insert {
            row.checkpoint.arrival = reached_by_parents(row, &listings, &rows);
        }
        plan
    }

    /// The shards that the last listing lacks and that hold others back: they count as gone once a
    /// read from their oldest record is refused as well ([`ListingHistory::handle_refusal`]).
    pub fn doubtful(&self, listings: &ListingHistory, rows: &[Lease]) -> BTreeSet<ShardId> {
        let listings = self.listings(listings);
        let rows = by_shard(rows);
        let ids: BTreeSet<_> = listings.shards().iter().map(|shard| &shard.id).collect();
        let new = listings.shards().iter();
        let new = new.filter(|shard| !rows.contains_key(&shard.id));
        let parents = new.flat_map(|shard| &shard.parents);
        let parents = parents.filter(|parent| !ids.contains(parent));
        let is_doubtful = |parent: &&ShardId| match rows.get(parent) {
            None => true,
            Some(row) => is_resolved(row) && listings.is_absent(parent),
        };
        parents.filter(is_doubtful).cloned().collect()
    }

    /// Whether every record of the stretch is resolved: the replay is complete.
    ///
    /// `listed_at` is when the last listing began, by the clock of the source, and `with_end` the shards
    /// whose consumer has finished with [`Finish::StretchEnd`]: their children hold nothing of the
    /// stretch. After a restart, that is not known; and a shard that has ended by itself has children
    /// that a listing may not show yet. Then a listing is needed that shows all shards that there were
    /// at the end of the stretch.
    ///
    /// [`Finish::StretchEnd`]: crate::shard::Finish::StretchEnd
    pub fn is_complete(
        &self,
        listings: &ListingHistory,
        listed_at: Timestamp,
        rows: &[Lease],
        with_end: &BTreeSet<ShardId>,
    ) -> bool {
        let rows = by_shard(rows);
        if let Some(selected) = &self.selected {
            return selected.iter().all(|shard| match rows.get(shard) {
                Some(row) => is_resolved(row),
                None => listings.is_absent(shard),
            });
        }
        let StretchEnd::Time(to) = &self.stretch.to else {
            return !rows.is_empty() && rows.values().all(|row| is_resolved(row));
        };
        let mut recent = listings.recent();
        let is_whole =
            !listings.shards().is_empty() && recent.all(|shard| rows.contains_key(shard));
        let parents = listings.shards().iter().flat_map(|shard| &shard.parents);
        let parents: BTreeSet<_> = parents.collect();
        let mut youngest = rows.keys().filter(|shard| !parents.contains(*shard));
        let shows_all = *to + LISTING_LAG <= listed_at
            || (*to <= listed_at && youngest.all(|shard| with_end.contains(*shard)));
        is_whole && shows_all && rows.values().all(|row| is_resolved(row))
    }

    /// Of a replay of chosen shards, the others do not count: neither are they read, nor do any wait
    /// for them. The parents of a shard are the nearest chosen ones among its ancestors.
    fn listings(&self, listings: &ListingHistory) -> ListingHistory {
        match &self.selected {
            None => listings.clone(),
            Some(selected) => listings.of_shards(selected),
        }
    }
}

/// The arrival time that the parents of a new row have reached: records of a shard arrive after those
/// of its parents.
fn reached_by_parents(
    row: &Lease,
    listings: &ListingHistory,
    rows: &BTreeMap<&ShardId, &Lease>,
) -> Option<Timestamp> {
    let of_row = row.key.unit.shard()?;
    let shard = listings.shards().iter().find(|shard| shard.id == *of_row)?;
    let parents = shard.parents.iter();
    let parents = parents.filter_map(|parent| rows.get(parent)?.checkpoint.arrival);
    parents.max()
}

fn by_shard(rows: &[Lease]) -> BTreeMap<&ShardId, &Lease> {
    let rows = rows.iter().filter_map(|row| match &row.key.unit {
        Unit::Shard(shard) => Some((shard, row)),
        Unit::QueueSlot(_) => None,
    });
    rows.collect()
}

fn is_resolved(row: &Lease) -> bool {
    row.checkpoint.position == Position::ShardEnd
}
