//! The listings of each mapping's stream, and when to repeat them.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_core::ids::ShardId;
use windlass_core::lease_rows::LeaseRowPlan;
use windlass_core::mapping::MappingId;
use windlass_core::shard::lineage::ListingHistory;
use windlass_core::time::Timestamp;

use super::absent_shards::KnownListings;
use crate::backoff::RetryDelay;

/// Delays after failed listings.
const LISTING_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Delays after listings that lack the parent of a listed shard.
const INCONSISTENT_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Inconsistent listings in a row after which the status shows them: a single one is normal while
/// shards split or merge.
const SHOWN_INCONSISTENT: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Discovery {
    listings: BTreeMap<MappingId, Listing>,
}

#[derive(Debug)]
struct Listing {
    due: Timestamp,
    in_flight: bool,
    /// A shard ended while this listing was in flight: its result may miss the children.
    is_outdated: bool,
    delay: RetryDelay,
    history: ListingHistory,
    /// Whether any listing has succeeded.
    is_known: bool,
    /// Whether the lease rows were compared with the last listing.
    is_compared: bool,
    inconsistent_delay: RetryDelay,
    /// Inconsistent listings in a row.
    n_inconsistent: u32,
    known: KnownListings,
    /// When the last listing began, and the last one that has succeeded.
    began: Timestamp,
    last_began: Timestamp,
}

impl Discovery {
    /// If a listing is due, it counts as started: the listings before it.
    pub(super) fn start(&mut self, mapping: &MappingId, now: Timestamp) -> Option<ListingHistory> {
        let listings = self.listings.entry(mapping.clone());
        let listing = listings.or_insert_with(|| Listing {
            due: now,
            in_flight: false,
            is_outdated: false,
            delay: RetryDelay::new(LISTING_DELAYS.0, LISTING_DELAYS.1),
            history: ListingHistory::default(),
            is_known: false,
            is_compared: true,
            inconsistent_delay: RetryDelay::new(INCONSISTENT_DELAYS.0, INCONSISTENT_DELAYS.1),
            n_inconsistent: 0,
            known: KnownListings::default(),
            began: now,
            last_began: now,
        });
        if listing.in_flight || now < listing.due {
            return None;
        }
        listing.in_flight = true;
        listing.began = now;
        Some(listing.history.clone())
    }

    /// A listing has ended: the listings until then, `None` if it failed.
    pub(super) fn handle_end(
        &mut self,
        mapping: &MappingId,
        history: Option<ListingHistory>,
        interval: Duration,
        now: Timestamp,
    ) {
        let Some(listing) = self.listings.get_mut(mapping) else {
            return;
        };
        listing.in_flight = false;
        let Some(history) = history else {
            listing.due = now + listing.delay.next_delay();
            return;
        };
        listing.history = history;
        listing.is_known = true;
        listing.last_began = listing.began;
        listing.is_compared = false;
        if listing.history.shards().is_empty() {
            // The stream is new: it has shards soon.
            listing.due = now + interval.min(listing.delay.next_delay());
            return;
        }
        listing.delay.reset();
        listing.due = if std::mem::take(&mut listing.is_outdated) {
            now
        } else {
            now + interval
        };
    }

    /// A shard has ended: its children may be listed now.
    pub(super) fn handle_shard_end(&mut self, mapping: &MappingId, now: Timestamp) {
        let Some(listing) = self.listings.get_mut(mapping) else {
            return;
        };
        if listing.in_flight {
            listing.is_outdated = true;
        } else {
            listing.due = listing.due.min(now);
        }
    }

    /// The lease rows were compared with the last listing, which is repeated soon if it is
    /// inconsistent. `rows` are the shards that have one. Returns whether
    /// [`SHOWN_INCONSISTENT`] listings in a row were.
    pub(super) fn handle_comparison<'a>(
        &mut self,
        mapping: &MappingId,
        plan: &LeaseRowPlan,
        rows: impl Iterator<Item = &'a ShardId>,
        now: Timestamp,
    ) -> bool {
        let Some(listing) = self.listings.get_mut(mapping) else {
            return false;
        };
        listing.known.set_shown(plan, listing.last_began);
        if std::mem::replace(&mut listing.is_compared, true) {
            return SHOWN_INCONSISTENT <= listing.n_inconsistent;
        }
        for shard in listing.known.take_read() {
            listing.history.handle_read(shard);
        }
        let absent = rows.filter(|shard| listing.history.is_absent(shard));
        listing.known.set_absent(absent.cloned().collect());
        if plan.is_inconsistent {
            let delay = listing.inconsistent_delay.next_delay();
            listing.due = listing.due.min(now + delay);
            listing.n_inconsistent = listing.n_inconsistent.saturating_add(1);
        } else {
            listing.inconsistent_delay.reset();
            listing.n_inconsistent = 0;
        }
        SHOWN_INCONSISTENT <= listing.n_inconsistent
    }

    /// `None` before the first listing.
    pub(super) fn history(&self, mapping: &MappingId) -> Option<&ListingHistory> {
        let listing = self.listings.get(mapping)?;
        listing.is_known.then_some(&listing.history)
    }

    /// The same, and when the last listing that has succeeded began.
    pub(super) fn last_listing(&self, mapping: &MappingId) -> Option<(&ListingHistory, Timestamp)> {
        let began = self.listings.get(mapping)?.last_began;
        self.history(mapping).map(|history| (history, began))
    }

    /// What the listings of a mapping's stream say about its rows.
    pub(super) fn listings(&self, mapping: &MappingId) -> KnownListings {
        let listing = self.listings.get(mapping);
        listing.map_or_else(KnownListings::default, |listing| listing.known.clone())
    }

    pub(super) fn remove(&mut self, mapping: &MappingId) {
        self.listings.remove(mapping);
    }

    /// When the next listing of a mapping is due; `None` while one is in flight.
    pub(super) fn due(&self, mapping: &MappingId) -> Option<Timestamp> {
        let listing = self.listings.get(mapping)?;
        (!listing.in_flight).then_some(listing.due)
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::shard::lineage::Shard;

    use super::*;

    fn listed() -> ListingHistory {
        let mut history = ListingHistory::default();
        let shard = Shard {
            id: ShardId::from("a"),
            parents: Vec::new(),
            starting_sequence_number: None,
            is_closed: false,
        };
        history.record(vec![shard], Timestamp::EPOCH);
        history
    }

    #[test]
    fn a_shard_that_ends_during_a_listing_causes_another() {
        let (mapping, mut discovery) = (MappingId::new("m"), Discovery::default());
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let interval = Duration::from_secs(30);
        assert!(discovery.start(&mapping, at(0)).is_some());
        assert!(discovery.start(&mapping, at(0)).is_none());
        discovery.handle_shard_end(&mapping, at(1));
        discovery.handle_end(&mapping, Some(listed()), interval, at(2));
        assert!(discovery.start(&mapping, at(2)).is_some());
        discovery.handle_end(&mapping, None, interval, at(3));
        let due = discovery.due(&mapping).unwrap();
        assert!(at(3) < due && due < at(5));
        assert!(discovery.start(&mapping, due).is_some());
        discovery.handle_end(&mapping, Some(listed()), interval, at(5));
        assert_eq!(discovery.due(&mapping), Some(at(35)));
    }

    #[test]
    fn an_inconsistent_listing_is_repeated_after_growing_delays() {
        let (mapping, mut discovery) = (MappingId::new("m"), Discovery::default());
        let interval = Duration::from_secs(30);
        let mut now = Timestamp::EPOCH;
        let mut next = |is_inconsistent: bool| {
            assert!(discovery.start(&mapping, now).is_some());
            discovery.handle_end(&mapping, Some(listed()), interval, now);
            for _ in 0..2 {
                let rows = std::iter::empty();
                let plan = LeaseRowPlan {
                    is_inconsistent,
                    ..LeaseRowPlan::default()
                };
                discovery.handle_comparison(&mapping, &plan, rows, now);
            }
            let due = discovery.due(&mapping).unwrap();
            let delay = due.since(now).as_secs_f64();
            now = due;
            delay
        };
        for seconds in [1.0, 2.0, 4.0, 8.0, 16.0] {
            let delay = next(true);
            let range = 0.8 * seconds..=1.2 * seconds + 0.001;
            assert!(range.contains(&delay), "{delay} s, not {range:?}");
        }
        assert!(next(true) <= 30.0);
        assert!((next(false) - 30.0).abs() < f64::EPSILON);
        assert!(next(true) < 1.3);
    }

    #[test]
    fn a_stream_without_shards_is_listed_again_soon() {
        let (mapping, mut discovery) = (MappingId::new("m"), Discovery::default());
        let (mut now, interval) = (Timestamp::EPOCH, Duration::from_secs(30));
        let mut next = |history: ListingHistory| {
            assert!(discovery.start(&mapping, now).is_some());
            discovery.handle_end(&mapping, Some(history), interval, now);
            let due = discovery.due(&mapping).unwrap();
            let delay = due.since(now);
            now = due;
            delay
        };
        let empty = ListingHistory::default;
        assert!(next(empty()) < Duration::from_secs(2));
        assert!(next(empty()) < Duration::from_secs(3));
        for _ in 0..10 {
            assert!(next(empty()) <= interval);
        }
        assert_eq!(next(listed()), interval);
    }
}
