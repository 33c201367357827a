//! The shards of a stream and their parents: when a shard may be read.
//!
//! A record whose key moved from a parent to a child must not overtake the earlier records of that
//! key. A shard may therefore be read only when every record of its parents is resolved.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{SequenceNumber, ShardId};
use crate::position::Position;

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

/// Closes the shards that are listed as parents: a source may show a parent as open after its
/// children have begun.
pub fn close_parents(shards: &mut [Shard]) {
    let parents = shards.iter().flat_map(|shard| shard.parents.clone());
    let parents: BTreeSet<_> = parents.collect();
    for shard in shards {
        shard.is_closed |= parents.contains(&shard.id);
    }
}

/// The listed shards whose parents are resolved, by their checkpoints. A parent that is not listed
/// has no records left and counts as resolved.
///
/// <https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-after-resharding.html>
pub(crate) fn readable<'a>(
    listed: &'a [Shard],
    checkpoints: &BTreeMap<&ShardId, &Position>,
) -> impl Iterator<Item = &'a Shard> {
    let ids: BTreeSet<_> = listed.iter().map(|shard| &shard.id).collect();
    listed.iter().filter(move |shard| {
        let mut parents = shard.parents.iter();
        parents.all(|parent| {
            !ids.contains(parent) || checkpoints.get(parent) == Some(&&Position::ShardEnd)
        })
    })
}
