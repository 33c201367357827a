//! The shards of a stream and their parents: when a shard may be read.
//!
//! A record whose key moved from a parent to a child must not overtake the earlier records of that
//! key. A shard may therefore be read only when every record of its parents is resolved.
//!
//! A listing is not a snapshot: it may lack a shard that exists. So a shard is absent only when
//! several listings in a row lack it ([`ListingHistory`]), and a parent whose row is not resolved
//! is never resolved by its absence. Whether a shard that is not listed exists, a read tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::{SequenceNumber, ShardId};
use crate::outcome::Fault;
use crate::position::Position;
use crate::time::Timestamp;

/// Listings in a row that must lack a shard before it counts as absent.
pub const MIN_ABSENCES: u64 = 3;

/// Listings that follow sooner count as one.
pub const LISTING_DISTANCE: Duration = Duration::from_secs(10);

/// A shard as its stream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub id: ShardId,
    /// None, one (split) or two (merge). They may no longer be listed.
    pub parents: Vec<ShardId>,
    /// `None` if the source does not report it.
    pub starting_sequence_number: Option<SequenceNumber>,
    /// Whether it receives no more records.
    pub is_closed: bool,
}

/// The shards of the last listing, and which shards the listings before it had.
#[derive(Clone, Debug, Default)]
pub struct ListingHistory {
    shards: Vec<Shard>,
    /// Listings so far; those that follow sooner than [`LISTING_DISTANCE`] count as one.
    n_listings: u64,
    counted_at: Option<Timestamp>,
    /// The last listing that had a shard. Entries that no longer matter are removed.
    last_seen: BTreeMap<ShardId, u64>,
    /// Shards that the last listing lacks, and whose reads were refused as unknown after it.
    refused: BTreeSet<ShardId>,
}

/// Closes the shards that are listed as parents: a source may show a parent as open after its
/// children have begun.
pub fn close_parents(shards: &mut [Shard]) {
    let parents = shards.iter().flat_map(|shard| shard.parents.clone());
    let parents: BTreeSet<_> = parents.collect();
    for shard in shards {
        shard.is_closed |= parents.contains(&shard.id);
    }
}

impl ListingHistory {
    /// A listing has succeeded. A stream always has shards: an empty listing is a mistake of the
    /// source and is ignored.
    pub fn record(&mut self, shards: Vec<Shard>, now: Timestamp) {
        if shards.is_empty() {
            return;
        }
        if self
            .counted_at
            .is_none_or(|at| LISTING_DISTANCE <= now.since(at))
        {
            self.n_listings += 1;
            self.counted_at = Some(now);
        }
        for shard in &shards {
            self.last_seen.insert(shard.id.clone(), self.n_listings);
        }
        self.shards = shards;
        self.refused.clear();
        let n_listings = self.n_listings;
        self.last_seen
            .retain(|_, seen| n_listings - *seen < MIN_ABSENCES);
    }

    /// The shards of the last listing; empty before the first.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Whether several listings in a row lack a shard. A shard whose iterator is refused as well no
    /// longer exists.
    pub fn is_absent(&self, shard: &ShardId) -> bool {
        MIN_ABSENCES <= self.n_listings && !self.last_seen.contains_key(shard)
    }

    /// The shards that the last listings have shown, whichever of them.
    pub(crate) fn recent(&self) -> impl Iterator<Item = &ShardId> {
        self.last_seen.keys()
    }

    /// A shard was read: it exists, although listings lack it.
    pub fn handle_read(&mut self, shard: ShardId) {
        self.last_seen.insert(shard, self.n_listings);
    }

    /// A shard that the last listing lacks was read from its oldest record, and the source refused
    /// that; see [`doubtful_shards`].
    ///
    /// [`doubtful_shards`]: crate::lease_rows::doubtful_shards
    pub fn handle_refusal(&mut self, shard: ShardId, fault: Fault) {
        if fault == Fault::Gone {
            self.refused.insert(shard);
        }
    }

    /// As if the stream had these shards alone: the parents of each are the nearest of them among its
    /// listed ancestors.
    pub(crate) fn of_shards(&self, selected: &BTreeSet<ShardId>) -> Self {
        let by_id = self.shards.iter().map(|shard| (&shard.id, shard));
        let by_id: BTreeMap<_, _> = by_id.collect();
        let nearest = |shard: &Shard| {
            let mut found = Vec::new();
            let mut seen = BTreeSet::new();
            let mut ancestors: Vec<_> = shard.parents.iter().collect();
            while let Some(ancestor) = ancestors.pop() {
                if !seen.insert(ancestor) {
                    continue;
                }
                if selected.contains(ancestor) {
                    found.push(ancestor.clone());
                } else if let Some(shard) = by_id.get(ancestor) {
                    ancestors.extend(&shard.parents);
                }
            }
            found.sort();
            found
        };
        let chosen = self.shards.iter();
        let chosen = chosen.filter(|shard| selected.contains(&shard.id));
        let chosen = chosen.map(|shard| Shard {
            parents: nearest(shard),
            ..shard.clone()
        });
        Self {
            shards: chosen.collect(),
            ..self.clone()
        }
    }

    /// Whether the last listing lacks a shard, and its read was refused as unknown after it.
    pub(crate) fn is_refused(&self, shard: &ShardId) -> bool {
        self.refused.contains(shard)
    }
}

/// Whether a failed read shows that its shard no longer exists: several listings in a row lack it
/// ([`ListingHistory::is_absent`]), and the source does not know it either.
pub fn is_gone(is_absent: bool, fault: Fault) -> bool {
    is_absent && fault == Fault::Gone
}

/// The listed shards whose parents are resolved, by their checkpoints.
///
/// A parent that has neither a row nor a place in the listing is resolved if its read was refused:
/// the retention period of its records was over before the mapping began. The row of a resolved
/// parent counts only while the parent is listed: it may be that of a stream that was deleted and
/// created again, whose shard of this name was not listed yet. It is removed once the parent is
/// absent.
///
/// <https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-after-resharding.html>
pub(crate) fn readable<'a>(
    listings: &'a ListingHistory,
    checkpoints: &BTreeMap<&ShardId, &Position>,
) -> impl Iterator<Item = &'a Shard> {
    let listed = listings.shards();
    let ids = ids(listed);
    listed.iter().filter(move |shard| {
        let mut parents = shard.parents.iter();
        parents.all(|parent| match checkpoints.get(parent) {
            Some(checkpoint) => **checkpoint == Position::ShardEnd && ids.contains(parent),
            None => listings.is_refused(parent),
        })
    })
}

/// The listed shards none of whose listed parents is unresolved. One that has a row and is not among
/// them is of another stream than its row.
pub(crate) fn without_unresolved_parents<'a>(
    listed: &'a [Shard],
    checkpoints: &BTreeMap<&ShardId, &Position>,
) -> impl Iterator<Item = &'a Shard> {
    let ids = ids(listed);
    let is_unresolved = move |parent: &ShardId| {
        let checkpoint = checkpoints.get(parent);
        ids.contains(parent) && checkpoint.is_none_or(|it| **it != Position::ShardEnd)
    };
    listed
        .iter()
        .filter(move |shard| !shard.parents.iter().any(&is_unresolved))
}

/// Whether the last listing lacks the parent of a listed shard although the parent is not resolved.
pub(crate) fn is_inconsistent(
    listings: &ListingHistory,
    checkpoints: &BTreeMap<&ShardId, &Position>,
    is_new: impl Fn(&ShardId) -> bool,
) -> bool {
    let ids = ids(listings.shards());
    let mut parents = listings.shards().iter().flat_map(|shard| &shard.parents);
    let lacks_unresolved = parents.any(|parent| {
        let checkpoint = checkpoints.get(parent);
        !ids.contains(parent) && checkpoint.is_some_and(|it| **it != Position::ShardEnd)
    });
    let has_row = |shard: &ShardId| checkpoints.contains_key(shard);
    let unknown = unlisted_parents(listings.shards(), is_new, has_row);
    lacks_unresolved || unknown.iter().any(|parent| !listings.is_refused(parent))
}

/// The parents of new shards that have neither a row nor a place in the listing. A shard whose row is
/// set aside is new, although it has one.
pub(crate) fn unlisted_parents(
    listed: &[Shard],
    is_new: impl Fn(&ShardId) -> bool,
    has_row: impl Fn(&ShardId) -> bool,
) -> BTreeSet<&ShardId> {
    let ids = ids(listed);
    let new = listed.iter().filter(|shard| is_new(&shard.id));
    let parents = new.flat_map(|shard| &shard.parents);
    parents
        .filter(|parent| !ids.contains(parent) && !has_row(parent))
        .collect()
}

fn ids(listed: &[Shard]) -> BTreeSet<&ShardId> {
    listed.iter().map(|shard| &shard.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_whose_listed_parent_is_unresolved_is_not_that_of_its_row() {
        let child = Shard {
            id: ShardId::from("child"),
            parents: vec![ShardId::from("parent")],
            starting_sequence_number: None,
            is_closed: false,
        };
        let parent = Shard {
            id: ShardId::from("parent"),
            parents: Vec::new(),
            ..child.clone()
        };
        let is_shown = |listed: &[Shard], parent: Option<&Position>| {
            let checkpoints = parent.map(|at| (&child.parents[0], at));
            let checkpoints = checkpoints.into_iter().collect();
            let mut shown = without_unresolved_parents(listed, &checkpoints);
            shown.any(|shard| shard.id == child.id)
        };
        let both = [parent, child.clone()];
        assert!(!is_shown(&both, None));
        assert!(!is_shown(&both, Some(&Position::TrimHorizon)));
        assert!(is_shown(&both, Some(&Position::ShardEnd)));
        assert!(is_shown(&both[1..], None), "its retention period is over");
    }

    #[test]
    fn a_read_takes_back_what_listings_have_shown() {
        let shard = |id: &str| Shard {
            id: ShardId::from(id),
            parents: Vec::new(),
            starting_sequence_number: None,
            is_closed: false,
        };
        let mut history = ListingHistory::default();
        let mut listings = 0;
        let mut list = |history: &mut ListingHistory, n_listings: u64| {
            for _ in 0..n_listings {
                listings += 1;
                let now = Timestamp::EPOCH + LISTING_DISTANCE * listings;
                history.record(vec![shard("a")], now);
            }
            history.is_absent(&ShardId::from("b"))
        };
        assert!(!list(&mut history, MIN_ABSENCES - 1));
        assert!(list(&mut history, 1));
        history.handle_read(ShardId::from("b"));
        assert!(!list(&mut history, MIN_ABSENCES - 1));
        assert!(list(&mut history, 1));
    }
}
