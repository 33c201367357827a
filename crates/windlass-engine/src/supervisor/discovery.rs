//! Which shards the streams of mappings have, as far as is known, and when to ask again.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_core::mapping::MappingId;
use windlass_core::shard::lineage::Shard;
use windlass_core::time::Timestamp;

/// The pauses after failed listings: the first, doubled each time, and the last.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The listings of all mappings on streams.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    listings: BTreeMap<MappingId, Listing>,
}

#[derive(Debug)]
struct Listing {
    due: Timestamp,
    under_way: bool,
    /// A shard has ended while a listing was under way: what that brings is too old.
    again: bool,
    failures: u32,
    shards: Option<Vec<Shard>>,
}

impl Discovery {
    /// Whether the shards of a mapping must be listed now; if so, that counts as begun.
    pub(crate) fn begin(&mut self, mapping: &MappingId, now: Timestamp) -> bool {
        let listing = self.listings.entry(mapping.clone()).or_insert(Listing {
            due: now,
            under_way: false,
            again: false,
            failures: 0,
            shards: None,
        });
        let begin = !listing.under_way && listing.due <= now;
        listing.under_way |= begin;
        begin
    }

    /// A listing has ended; `None`: it failed.
    pub(crate) fn ended(
        &mut self,
        mapping: &MappingId,
        shards: Option<Vec<Shard>>,
        interval: Duration,
        now: Timestamp,
    ) {
        let Some(listing) = self.listings.get_mut(mapping) else {
            return;
        };
        listing.under_way = false;
        if let Some(shards) = shards {
            listing.shards = Some(shards);
            listing.failures = 0;
            listing.due = if std::mem::take(&mut listing.again) {
                now
            } else {
                now + interval
            };
        } else {
            let (first, last) = PAUSES;
            listing.due = now + (first * 2_u32.pow(listing.failures.min(6))).min(last);
            listing.failures = listing.failures.saturating_add(1);
        }
    }

    /// A shard has ended: its children may be listed by now.
    pub(crate) fn shard_ended(&mut self, mapping: &MappingId, now: Timestamp) {
        let Some(listing) = self.listings.get_mut(mapping) else {
            return;
        };
        if listing.under_way {
            listing.again = true;
        } else {
            listing.due = listing.due.min(now);
        }
    }

    /// The shards of a mapping's stream; `None`: not known yet.
    pub(crate) fn shards(&self, mapping: &MappingId) -> Option<&[Shard]> {
        self.listings.get(mapping)?.shards.as_deref()
    }

    /// Forgets the mappings that need no listing.
    pub(crate) fn retain(&mut self, keep: impl Fn(&MappingId) -> bool) {
        self.listings.retain(|mapping, _| keep(mapping));
    }

    /// When the next listing is due.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let idle = self.listings.values().filter(|listing| !listing.under_way);
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
        assert!(discovery.begin(&mapping, at(0)));
        assert!(!discovery.begin(&mapping, at(0)));
        discovery.shard_ended(&mapping, at(1));
        discovery.ended(&mapping, Some(Vec::new()), interval, at(2));
        assert!(discovery.begin(&mapping, at(2)));
        discovery.ended(&mapping, None, interval, at(3));
        assert_eq!(discovery.due(), Some(at(4)));
        assert!(discovery.begin(&mapping, at(4)));
        discovery.ended(&mapping, Some(Vec::new()), interval, at(5));
        assert_eq!(discovery.due(), Some(at(35)));
    }
}
