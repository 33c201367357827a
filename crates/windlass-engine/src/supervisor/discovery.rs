//! The known shards of each mapping's stream, and when to list them again.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_core::mapping::MappingId;
use windlass_core::shard::lineage::Shard;
use windlass_core::time::Timestamp;

use crate::backoff::RetryDelay;

/// Delays after failed listings.
const LISTING_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

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
    shards: Option<Vec<Shard>>,
}

impl Discovery {
    /// Whether a listing is due; if so, it counts as started.
    pub(super) fn start(&mut self, mapping: &MappingId, now: Timestamp) -> bool {
        let listings = self.listings.entry(mapping.clone());
        let listing = listings.or_insert_with(|| Listing {
            due: now,
            in_flight: false,
            is_outdated: false,
            delay: RetryDelay::new(LISTING_DELAYS.0, LISTING_DELAYS.1),
            shards: None,
        });
        let starts = !listing.in_flight && listing.due <= now;
        listing.in_flight |= starts;
        starts
    }

    /// A listing has ended; `None` if it failed.
    pub(super) fn handle_end(
        &mut self,
        mapping: &MappingId,
        shards: Option<Vec<Shard>>,
        interval: Duration,
        now: Timestamp,
    ) {
        let Some(listing) = self.listings.get_mut(mapping) else {
            return;
        };
        listing.in_flight = false;
        let Some(shards) = shards else {
            listing.due = now + listing.delay.next_delay();
            return;
        };
        listing.shards = Some(shards);
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

    /// `None` before the first listing.
    pub(super) fn shards(&self, mapping: &MappingId) -> Option<&[Shard]> {
        self.listings.get(mapping)?.shards.as_deref()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&MappingId) -> bool) {
        self.listings.retain(|mapping, _| keep(mapping));
    }

    /// When the next listing is due.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let idle = self.listings.values().filter(|listing| !listing.in_flight);
        idle.map(|listing| listing.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_ends_during_a_listing_causes_another() {
        let (mapping, mut discovery) = (MappingId::new("m"), Discovery::default());
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let interval = Duration::from_secs(30);
        assert!(discovery.start(&mapping, at(0)));
        assert!(!discovery.start(&mapping, at(0)));
        discovery.handle_shard_end(&mapping, at(1));
        discovery.handle_end(&mapping, Some(Vec::new()), interval, at(2));
        assert!(discovery.start(&mapping, at(2)));
        discovery.handle_end(&mapping, None, interval, at(3));
        let due = discovery.due().unwrap();
        assert!(at(3) < due && due < at(5));
        assert!(discovery.start(&mapping, due));
        discovery.handle_end(&mapping, Some(Vec::new()), interval, at(5));
        assert_eq!(discovery.due(), Some(at(35)));
    }
}
