//! Listings that lie: shards are missing, open, without a start, or of an earlier time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use windlass_core::ids::ShardId;
use windlass_core::time::Timestamp;

use super::plan::Lies;
use super::rows::Rows;
use super::source::{Listed, Source};
use crate::rng::Rng;

/// Absences at least this far apart that prove, with a refused iterator, that a shard is gone.
const DISTANCE: Duration = Duration::from_secs(10);
const PROOF: u32 = 3;

/// For so long listings may show a stream that was deleted. If they did for longer, no reader could
/// tell the one that was created again from it.
const MAX_LAG: Duration = Duration::from_secs(10);

const MAX_REMEMBERED: usize = 4;

#[derive(Debug)]
pub(super) struct Listings {
    lies: Lies,
    /// What some earlier listings would have had.
    former: Vec<Vec<Listed>>,
}

/// The absences that one daemon has seen: of each shard that its last listing lacks, how many of them
/// were far enough apart, and when the last of these was.
#[derive(Debug, Default)]
pub(super) struct Absences(BTreeMap<ShardId, (u32, Timestamp)>);

impl Listings {
    pub(super) const fn new(lies: Lies) -> Self {
        Self {
            lies,
            former: Vec::new(),
        }
    }

    /// The stream is created again. Without starts no reader can tell it from the former one, so
    /// from now on every listing has them.
    pub(super) fn recreated(&mut self) {
        if 0 < std::mem::take(&mut self.lies.lacks_start) {
            self.former.clear();
        }
    }

    /// `None` if the listing fails.
    pub(super) fn draw(
        &mut self,
        source: &Source,
        absences: &Absences,
        rows: &Rows,
        faulty: bool,
        rng: &mut Rng,
    ) -> Option<Vec<Listed>> {
        let lies = &self.lies;
        let mut happens = |chance: u64| faulty && rng.per_mille(chance);
        if happens(lies.fails) {
            return None;
        }
        if happens(lies.is_empty) {
            return Some(Vec::new());
        }
        let (is_stale, is_truncated) = (happens(lies.is_stale), happens(lies.is_truncated));
        let truth = source.list();
        let mut listed = truth.clone();
        let shows_former = source.now < source.created + MAX_LAG;
        let earlier = self.former.iter().filter(|listed| {
            let of = listed.first().map(|it| it.generation);
            shows_former || of == Some(source.generation)
        });
        let earlier: Vec<_> = earlier.collect();
        if is_stale && !earlier.is_empty() {
            listed = earlier[rng.size(0, earlier.len() - 1)].clone();
        } else if rng.per_mille(300) {
            self.former.truncate(MAX_REMEMBERED - 1);
            self.former.insert(0, truth.clone());
        }
        if is_truncated {
            let (one, other) = (rng.size(0, listed.len()), rng.size(0, listed.len()));
            listed.drain(one.min(other)..one.max(other));
        }
        let mut happens = |chance: u64| faulty && rng.per_mille(chance);
        listed.retain(|_| !happens(lies.lacks_shard));
        keep_needed(&mut listed, truth, |id| {
            let is_proven = PROOF <= absences.after(id, source.now).0;
            source.plan.refuses_existing && (rows.of(id).is_none() || is_proven)
        });
        for it in &mut listed {
            // Some sources never list a shard as closed.
            if lies.shows_open == 1_000 || happens(lies.shows_open) {
                it.shard.is_closed = false;
            }
            if happens(lies.lacks_start) {
                it.shard.starting_sequence_number = None;
            }
        }
        Some(listed)
    }
}

/// Where a shard that exists may be refused as unknown, its absence must not be proven as well; of a
/// shard without a row one absence is enough.
fn keep_needed(listed: &mut Vec<Listed>, truth: Vec<Listed>, is_needed: impl Fn(&ShardId) -> bool) {
    let ids: BTreeSet<_> = listed.iter().map(|it| it.shard.id.clone()).collect();
    let missing = truth
        .iter()
        .filter(|it| !ids.contains(&it.shard.id) && is_needed(&it.shard.id));
    let missing: Vec<_> = missing.cloned().collect();
    let is_former = |listed: &[Listed]| {
        listed.first().map(|it| it.generation) != truth.first().map(|it| it.generation)
    };
    if listed.is_empty() || missing.is_empty() {
    } else if is_former(listed) {
        *listed = truth;
    } else {
        listed.extend(missing);
    }
}

impl Absences {
    /// Records a listing; `known` are all shards that might be in it.
    pub(super) fn record<'a>(
        &mut self,
        listed: &[Listed],
        known: impl Iterator<Item = &'a ShardId>,
        now: Timestamp,
    ) {
        let ids: BTreeSet<_> = listed.iter().map(|it| &it.shard.id).collect();
        for id in known {
            if ids.contains(id) {
                self.0.remove(id);
            } else {
                let after = self.after(id, now);
                self.0.insert(id.clone(), after);
            }
        }
    }

    /// With one more absence.
    fn after(&self, id: &ShardId, now: Timestamp) -> (u32, Timestamp) {
        match self.0.get(id) {
            None => (1, now),
            Some((n, at)) if DISTANCE <= now.since(*at) => (n + 1, now),
            Some(known) => *known,
        }
    }

    pub(super) fn are_proof(&self, id: &ShardId) -> bool {
        self.0.get(id).is_some_and(|(n, _)| PROOF <= *n)
    }
}
