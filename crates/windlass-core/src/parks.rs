//! Parks: where an operator has stopped reading and invoking, while everything else continues.

use std::collections::BTreeMap;

use crate::ids::ShardId;
use crate::lease::{Lease, Unit};
use crate::position::Position;
use crate::shard::lineage::ListingHistory;
use crate::time::Timestamp;

/// One park.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Park {
    /// By the wall clock.
    pub since: Timestamp,
    /// In the operator's words.
    pub reason: Option<String>,
}

/// The parks of a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parks {
    /// Of the whole mapping: shards that come later are parked too.
    pub whole: Option<Park>,
    /// Of single shards. `None` takes a shard out of the park of the whole mapping.
    pub shards: BTreeMap<ShardId, Option<Park>>,
}

impl Parks {
    /// Why a shard is parked; `None` if it is not.
    pub fn of(&self, shard: &ShardId) -> Option<&Park> {
        match self.shards.get(shard) {
            Some(own) => own.as_ref(),
            None => self.whole.as_ref(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.whole.is_none() && self.shards.is_empty()
    }

    /// Whether a unit is parked.
    pub fn covers(&self, unit: &Unit) -> bool {
        match unit {
            Unit::Shard(shard) => self.of(shard).is_some(),
            Unit::QueueSlot(_) => false,
        }
    }

    /// Parks one shard, or all of them: also those that were taken out of the park of the whole
    /// mapping. What is parked stays so since it was, with the new reason.
    pub fn park(&mut self, shard: Option<&ShardId>, park: Park) {
        let replace = |former: Option<&Park>| Park {
            since: former.map_or(park.since, |former| former.since),
            reason: park.reason.clone(),
        };
        match shard {
            Some(shard) => {
                let own = self.shards.get(shard).and_then(Option::as_ref);
                let new = replace(own.or_else(|| self.of(shard)));
                self.shards.insert(shard.clone(), Some(new));
            }
            None => {
                self.whole = Some(replace(self.whole.as_ref()));
                self.shards.retain(|_, own| own.is_some());
            }
        }
    }

    /// Ends the park of one shard, or every park.
    pub fn unpark(&mut self, shard: Option<&ShardId>) {
        match shard {
            Some(shard) if self.whole.is_some() => {
                self.shards.insert(shard.clone(), None);
            }
            Some(shard) => {
                self.shards.remove(shard);
            }
            None => *self = Self::default(),
        }
    }

    /// The parks after those of shards that have ended, or left the stream, were handed to their
    /// children; `None` if there are none. Until a listing has children, they stay.
    pub fn handed_over(&self, listings: &ListingHistory, rows: &[Lease]) -> Option<Self> {
        if self.shards.is_empty() {
            return None;
        }
        let mut parks = self.clone();
        for (shard, own) in &self.shards {
            let row = rows.iter().find(|row| is_of(row, shard));
            let is_over = match row {
                Some(row) => row.checkpoint.position == Position::ShardEnd && !row.waits,
                None => listings.is_absent(shard),
            };
            if !is_over {
                continue;
            }
            let listed = listings.shards().iter();
            let mut children = listed
                .filter(|child| child.parents.contains(shard))
                .peekable();
            if children.peek().is_some() || row.is_none() {
                parks.shards.remove(shard);
            }
            if let Some(park) = own {
                for child in children {
                    let child = parks.shards.entry(child.id.detached());
                    child.or_insert_with(|| Some(park.clone()));
                }
            }
        }
        (parks != *self).then_some(parks)
    }
}

fn is_of(row: &Lease, shard: &ShardId) -> bool {
    matches!(&row.key.unit, Unit::Shard(it) if it == shard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::LeaseKey;
    use crate::mapping::MappingId;
    use crate::position::Checkpoint;
    use crate::shard::lineage::Shard;

    fn park(since: u64, reason: &str) -> Park {
        Park {
            since: Timestamp::from_millis(since),
            reason: Some(reason.to_owned()),
        }
    }

    fn id(name: &str) -> ShardId {
        ShardId::from(name)
    }

    #[test]
    fn a_shard_is_taken_out_of_the_park_of_its_mapping() {
        let mut parks = Parks::default();
        parks.park(None, park(1, "all"));
        parks.park(Some(&id("a")), park(2, "one"));
        assert_eq!(parks.of(&id("a")), Some(&park(1, "one")));
        assert_eq!(parks.of(&id("later")), Some(&park(1, "all")));
        parks.unpark(Some(&id("a")));
        parks.unpark(Some(&id("b")));
        assert_eq!((parks.of(&id("a")), parks.of(&id("b"))), (None, None));
        assert_eq!(parks.of(&id("later")), Some(&park(1, "all")));
        parks.park(None, park(3, "again"));
        assert_eq!(parks.of(&id("a")), Some(&park(1, "again")));
        parks.unpark(None);
        assert_eq!(parks, Parks::default());
    }

    #[test]
    fn a_park_of_a_shard_outlives_that_of_the_mapping_only_with_it() {
        let mut parks = Parks::default();
        parks.park(Some(&id("a")), park(1, "one"));
        parks.unpark(Some(&id("b")));
        parks.park(None, park(2, "all"));
        assert_eq!(parks.of(&id("a")), Some(&park(1, "one")));
        parks.unpark(Some(&id("a")));
        assert_eq!(parks.of(&id("a")), None);
        parks.unpark(None);
        assert!(parks.is_empty());
    }

    #[test]
    fn a_shard_that_has_ended_hands_its_park_to_its_children() {
        let shard = |name: &str, parents: &[&str]| Shard {
            id: id(name),
            parents: parents.iter().map(|parent| id(parent)).collect(),
            starting_sequence_number: None,
            is_closed: false,
        };
        let row = |position| Lease {
            key: LeaseKey {
                mapping: MappingId::new("m"),
                unit: Unit::Shard(id("a")),
            },
            owner: None,
            epoch: 0,
            checkpoint: Checkpoint::at(position),
            shard_start: None,
            seek: None,
            waits: false,
        };
        let mut listings = ListingHistory::default();
        let mut parks = Parks::default();
        parks.park(Some(&id("a")), park(1, "one"));
        let open = row(Position::TrimHorizon);
        listings.record(vec![shard("a", &[]), shard("b", &["a"])], Timestamp::EPOCH);
        assert_eq!(parks.handed_over(&listings, &[open]), None);
        let ended = [row(Position::ShardEnd)];
        let handed = parks.handed_over(&listings, &ended).unwrap();
        assert_eq!(
            (handed.of(&id("a")), handed.of(&id("b"))),
            (None, Some(&park(1, "one")))
        );
        assert_eq!(handed.handed_over(&listings, &ended), None);
        listings.record(vec![shard("a", &[])], Timestamp::EPOCH);
        assert_eq!(
            parks.handed_over(&listings, &ended),
            None,
            "no child is listed yet"
        );
    }
}
