//! Which shards of a stream get a row of their own, and from where they are read.
//!
//! A shard may be read only when every record of its parents is resolved, or the order of a key
//! that moved from parent to child would be lost. So a child gets its row when the rows of its
//! parents have reached the end of their shards.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::ShardId;
use crate::position::Position;

/// A shard as its stream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// The shards it came from: none, one (split) or two (merge). They may no longer be listed.
    pub parents: Vec<ShardId>,
}

/// What to change in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineagePlan {
    /// New rows.
    pub insert: Vec<(ShardId, Position)>,
    /// Rows that have served: their shards are resolved and no longer listed.
    pub remove: Vec<ShardId>,
    /// Rows of shards that the source has given up before they were resolved. They are removed;
    /// what was left in them has passed the source's retention.
    pub expired: Vec<ShardId>,
}

/// Compares the shards that are listed with the rows that are stored (by shard: the checkpoint).
///
/// Shards begin at `start`, children of a stream read from the trim horizon at the trim horizon. A
/// start by time holds for children too: a record that arrived later cannot be passed over by it.
/// A parent that is not listed has no records left and counts as resolved. An empty listing says
/// nothing, and changes nothing.
///
/// <https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-after-resharding.html>
pub fn plan(
    listed: &[Shard],
    stored: &BTreeMap<ShardId, Position>,
    start: &Position,
) -> LineagePlan {
    let mut plan = LineagePlan::default();
    if listed.is_empty() {
        return plan;
    }
    let ids: BTreeSet<_> = listed.iter().map(|shard| &shard.id).collect();
    let resolved =
        |parent: &ShardId| !ids.contains(parent) || stored.get(parent) == Some(&Position::ShardEnd);
    for shard in listed {
        if !stored.contains_key(&shard.id) && shard.parents.iter().all(resolved) {
            plan.insert.push((shard.id.detached(), start.clone()));
        }
    }
    for (id, checkpoint) in stored {
        if ids.contains(id) {
            continue;
        }
        if *checkpoint == Position::ShardEnd {
            plan.remove.push(id.clone());
        } else {
            plan.expired.push(id.clone());
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, parents: &[&str]) -> Shard {
        let parents = parents
            .iter()
            .map(|parent| ShardId::from(*parent))
            .collect();
        Shard {
            id: ShardId::from(id),
            parents,
        }
    }

    fn after() -> Position {
        Position::After("7".into())
    }

    #[track_caller]
    fn check(listed: &[Shard], stored: &[(&str, Position)], insert: &[&str], gone: &[&str]) {
        let stored = stored
            .iter()
            .map(|(id, it)| (ShardId::from(*id), it.clone()))
            .collect();
        let plan = plan(listed, &stored, &Position::TrimHorizon);
        let inserted: Vec<_> = plan.insert.iter().map(|(id, _)| id.as_str()).collect();
        let removed: Vec<_> = plan
            .remove
            .iter()
            .chain(&plan.expired)
            .map(ShardId::as_str)
            .collect();
        assert_eq!((inserted.as_slice(), removed.as_slice()), (insert, gone));
    }

    #[test]
    fn a_split_waits_for_its_parent() {
        let listed = [shard("a", &[]), shard("b", &["a"]), shard("c", &["a"])];
        check(&listed, &[], &["a"], &[]);
        check(&listed, &[("a", after())], &[], &[]);
        check(&listed, &[("a", Position::ShardEnd)], &["b", "c"], &[]);
        check(
            &listed,
            &[("a", Position::ShardEnd), ("b", after())],
            &["c"],
            &[],
        );
    }

    #[test]
    fn a_merge_waits_for_both_parents() {
        let listed = [shard("a", &[]), shard("b", &[]), shard("c", &["a", "b"])];
        check(
            &listed,
            &[("a", Position::ShardEnd), ("b", after())],
            &[],
            &[],
        );
        let both = [("a", Position::ShardEnd), ("b", Position::ShardEnd)];
        check(&listed, &both, &["c"], &[]);
    }

    #[test]
    fn a_parent_past_retention_counts_as_resolved() {
        check(&[shard("b", &["a"])], &[], &["b"], &[]);
        check(
            &[shard("b", &["a"])],
            &[("a", Position::ShardEnd)],
            &["b"],
            &["a"],
        );
        check(&[shard("b", &["a"])], &[("a", after())], &["b"], &["a"]);
    }

    #[test]
    fn an_empty_listing_changes_nothing() {
        check(&[], &[("a", after())], &[], &[]);
    }
}
