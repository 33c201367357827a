//! Seeks: an operator moves the checkpoints of shards to another place of the stream.
//!
//! A shard whose parents are read again must wait for them, though it has a row: its row is set aside
//! ([`Lease::waits`]) until they have ended again. Which shards these are, one listing tells.

use std::collections::{BTreeMap, BTreeSet};

use crate::arn::StreamKind;
use crate::ids::ShardId;
pub use crate::lease::SeekMark;
use crate::lease::{Lease, LeaseKey, Unit};
use crate::mapping::MappingId;
use crate::position::{Checkpoint, Position};
use crate::shard::lineage::Shard;
use crate::stretch::StretchStart;
use crate::time::Timestamp;

/// Where shards begin after a seek.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeekStart {
    pub position: Position,
    pub mark: SeekMark,
}

impl SeekStart {
    /// At a place, by a seek at `at`. DynamoDB has no iterator by time: its shards are read from their
    /// oldest record.
    pub fn new(to: &StretchStart, kind: StreamKind, at: Timestamp) -> Self {
        let skip_before = match (to, kind) {
            (StretchStart::Time(time), StreamKind::DynamoDbStreams) => Some(*time),
            _ => None,
        };
        Self {
            position: to.position(),
            mark: SeekMark { at, skip_before },
        }
    }
}

/// What a seek changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeekPlan {
    /// Rows as they are to be, with the epochs that they have.
    pub update: Vec<Lease>,
    pub insert: Vec<Lease>,
    /// Rows that are set aside: their positions stay.
    pub set_aside: Vec<Lease>,
    /// Where shards without a row begin; `None`: as before.
    pub start: Option<SeekStart>,
    pub moved: Vec<MovedShard>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedShard {
    pub shard: ShardId,
    /// `None` if it had no row.
    pub from: Option<Position>,
    pub to: Position,
}

/// The shards of rows that a listing lacks: whether they exist, a read must tell.
pub fn unlisted_rows(rows: &[Lease], listed: &[Shard]) -> BTreeSet<ShardId> {
    let listed: BTreeSet<_> = listed.iter().map(|shard| &shard.id).collect();
    let shards = rows.iter().filter_map(|row| row.key.unit.shard());
    shards
        .filter(|shard| !listed.contains(shard))
        .cloned()
        .collect()
}

/// The shards with a row that a seek of one shard concerns: itself, and those that come after it.
pub fn family(shard: &ShardId, rows: &[Lease], listed: &[Shard]) -> BTreeSet<ShardId> {
    let mut family = descendants(shard, listed);
    family.insert(shard);
    let shards = rows.iter().filter_map(|row| row.key.unit.shard());
    shards
        .filter(|shard| family.contains(shard))
        .cloned()
        .collect()
}

/// Moves all shards. `gone` are those of rows that have left the stream: if they were resolved, they
/// stay so.
pub fn seek_all(
    rows: &[Lease],
    listed: &[Shard],
    gone: &BTreeSet<ShardId>,
    to: &SeekStart,
) -> SeekPlan {
    let mut plan = SeekPlan {
        start: Some(to.clone()),
        ..SeekPlan::default()
    };
    let ids: BTreeSet<_> = listed.iter().map(|shard| &shard.id).collect();
    let has_parents = |shard: &&Shard| shard.parents.iter().any(|parent| ids.contains(parent));
    let children: BTreeSet<_> = listed.iter().filter(has_parents).map(|it| &it.id).collect();
    for row in rows {
        let Some(shard) = row.key.unit.shard() else {
            continue;
        };
        let is_ended = row.checkpoint.position == Position::ShardEnd;
        if !(is_ended && gone.contains(shard)) {
            plan.update(row, shard, to, children.contains(shard));
        }
    }
    plan
}

/// Moves one shard; those that come after it wait until it has ended again, and go on where they are.
/// `None` if neither the rows nor the listing have it.
pub fn seek_one(
    mapping: &MappingId,
    shard: &ShardId,
    rows: &[Lease],
    listed: &[Shard],
    to: &SeekStart,
) -> Option<SeekPlan> {
    let mut plan = SeekPlan::default();
    let by_shard = rows
        .iter()
        .filter_map(|row| Some((row.key.unit.shard()?, row)));
    let by_shard: BTreeMap<_, _> = by_shard.collect();
    match by_shard.get(shard) {
        Some(row) => plan.update(row, shard, to, row.waits),
        None => {
            let listed = listed.iter().find(|listed| listed.id == *shard)?;
            plan.insert(mapping, listed, to);
        }
    }
    let later = descendants(shard, listed);
    for (_, row) in by_shard.iter().filter(|(shard, _)| later.contains(*shard)) {
        plan.set_aside.push((*row).clone());
    }
    Some(plan)
}

impl SeekPlan {
    fn update(&mut self, row: &Lease, shard: &ShardId, to: &SeekStart, waits: bool) {
        self.update.push(Lease {
            checkpoint: Checkpoint::at(to.position.clone()),
            seek: Some(to.mark),
            waits,
            ..row.clone()
        });
        self.moved.push(MovedShard {
            shard: shard.clone(),
            from: Some(row.checkpoint.position.clone()),
            to: to.position.clone(),
        });
    }

    /// It waits until its parents are resolved, as all shards without a row do.
    fn insert(&mut self, mapping: &MappingId, shard: &Shard, to: &SeekStart) {
        self.insert.push(Lease {
            key: LeaseKey {
                mapping: mapping.clone(),
                unit: Unit::Shard(shard.id.detached()),
            },
            owner: None,
            epoch: 0,
            checkpoint: Checkpoint::at(to.position.clone()),
            shard_start: shard.starting_sequence_number.clone(),
            seek: Some(to.mark),
            waits: true,
        });
        self.moved.push(MovedShard {
            shard: shard.id.detached(),
            from: None,
            to: to.position.clone(),
        });
    }
}

/// The listed shards that come after another one: its children, theirs, and so on.
fn descendants<'a>(shard: &'a ShardId, listed: &'a [Shard]) -> BTreeSet<&'a ShardId> {
    let mut found = BTreeSet::new();
    let mut next = vec![shard];
    while let Some(parent) = next.pop() {
        let children = listed.iter().filter(|child| child.parents.contains(parent));
        for child in children.map(|child| &child.id) {
            if found.insert(child) {
                next.push(child);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ShardId {
        ShardId::from(name)
    }

    /// `b` and `c` are the children of `a`, `d` is that of `b`.
    fn listed() -> Vec<Shard> {
        let shard = |name: &str, parents: &[&str]| Shard {
            id: id(name),
            parents: parents.iter().map(|parent| id(parent)).collect(),
            starting_sequence_number: None,
            is_closed: false,
        };
        vec![
            shard("a", &[]),
            shard("b", &["a"]),
            shard("c", &["a"]),
            shard("d", &["b"]),
            shard("x", &["gone"]),
        ]
    }

    fn row(name: &str, position: Position) -> Lease {
        Lease {
            key: LeaseKey {
                mapping: MappingId::new("m"),
                unit: Unit::Shard(id(name)),
            },
            owner: None,
            epoch: 7,
            checkpoint: Checkpoint::at(position),
            shard_start: None,
            seek: None,
            waits: false,
        }
    }

    fn to() -> SeekStart {
        SeekStart {
            position: Position::TrimHorizon,
            mark: SeekMark {
                at: Timestamp::from_millis(9),
                skip_before: None,
            },
        }
    }

    fn after(number: &str) -> Position {
        Position::After(number.into())
    }

    /// Name, position and whether it waits.
    fn rows(plan: &SeekPlan) -> Vec<(String, Position, bool)> {
        let rows = plan.update.iter().chain(&plan.insert);
        let rows = rows.map(|row| {
            let shard = row.key.unit.shard().unwrap().to_string();
            (shard, row.checkpoint.position.clone(), row.waits)
        });
        rows.collect()
    }

    #[test]
    fn a_seek_of_all_lets_children_wait_for_their_parents() {
        let before = [
            row("a", Position::ShardEnd),
            row("b", Position::ShardEnd),
            row("c", after("3")),
            row("d", after("4")),
            row("gone", Position::ShardEnd),
            row("x", after("5")),
        ];
        assert_eq!(unlisted_rows(&before, &listed()), [id("gone")].into());
        let plan = seek_all(&before, &listed(), &[id("gone")].into(), &to());
        let expected = [
            ("a", false),
            ("b", true),
            ("c", true),
            ("d", true),
            ("x", false),
        ];
        let expected =
            expected.map(|(name, waits)| (name.to_owned(), Position::TrimHorizon, waits));
        assert_eq!(rows(&plan), expected);
        assert!(
            plan.update
                .iter()
                .all(|row| row.seek == Some(to().mark) && row.epoch == 7)
        );
        assert_eq!(plan.start, Some(to()));
        assert_eq!(plan.moved.len(), 5);
        assert_eq!(plan.moved[2].from, Some(after("3")));
    }

    #[test]
    fn a_seek_of_one_shard_lets_those_after_it_wait_where_they_are() {
        let before = [
            row("a", Position::ShardEnd),
            row("b", Position::ShardEnd),
            row("c", after("3")),
            row("d", after("4")),
            row("x", after("5")),
        ];
        let mapping = MappingId::new("m");
        let plan = seek_one(&mapping, &id("b"), &before, &listed(), &to()).unwrap();
        assert_eq!(
            rows(&plan),
            [("b".to_owned(), Position::TrimHorizon, false)]
        );
        assert_eq!(plan.set_aside, [row("d", after("4"))]);
        assert_eq!((plan.start.clone(), plan.moved.len()), (None, 1));
        assert_eq!(
            family(&id("b"), &before, &listed()),
            [id("b"), id("d")].into()
        );
        assert!(seek_one(&mapping, &id("y"), &before, &listed(), &to()).is_none());
    }

    #[test]
    fn a_shard_that_waits_for_its_parents_begins_elsewhere() {
        let before = [row("a", after("1"))];
        let mapping = MappingId::new("m");
        let plan = seek_one(&mapping, &id("c"), &before, &listed(), &to()).unwrap();
        assert_eq!(rows(&plan), [("c".to_owned(), Position::TrimHorizon, true)]);
        assert_eq!(plan.moved[0].from, None);
    }
}
