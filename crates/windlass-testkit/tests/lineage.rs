//! The lease rows of streams that split, merge, trim and are created again, while their listings
//! lack shards: all drawn from seeds.
//!
//! The stream keeps what is true; the mapping knows only the listings. Three rules are checked at
//! every step: a child begins only when no record of its parents is left to read, no unresolved row
//! is lost, and in the end everything has been read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use windlass_core::arn::{Arn, StreamKind};
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::lease::{Lease, LeaseKey, Unit};
use windlass_core::lease_rows::{Absence, RemovalReason, plan_lease_rows};
use windlass_core::mapping::{MappingId, Source, StreamSettings, StreamSource};
use windlass_core::position::Position;
use windlass_core::shard::lineage::{ListingHistory, Shard, close_parents};
use windlass_core::time::Timestamp;
use windlass_testkit::rng::Rng;

const SEEDS: u64 = 300;

const STEPS: usize = 60;

/// A shard as it is, whatever is listed.
#[derive(Clone, Debug)]
struct TrueShard {
    parents: Vec<ShardId>,
    start: u64,
    closed: bool,
    /// Records that were not read yet.
    unread: usize,
    /// The last sequence number that was read.
    read: Option<u64>,
    ended: bool,
}

struct World {
    rng: Rng,
    /// Of the present stream, those that are trimmed excepted.
    shards: BTreeMap<ShardId, TrueShard>,
    n_names: u64,
    next_number: u64,
    /// Whether the source reports where its shards start.
    reports_start: bool,
    rows: BTreeMap<LeaseKey, Lease>,
    history: ListingHistory,
    absent: BTreeMap<ShardId, Absence>,
    now: Timestamp,
    source: Source,
    mapping: MappingId,
}

#[test]
fn no_child_overtakes_its_parent_and_no_shard_is_lost() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            let result = world.step();
            result.unwrap_or_else(|broken| panic!("seed {seed}, step {step}: {broken}"));
        }
        let settled = world.settle();
        settled.unwrap_or_else(|broken| panic!("seed {seed}, at the end: {broken}"));
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
        let reports_start = rng.per_mille(700);
        let mut world = Self {
            rng,
            shards: BTreeMap::new(),
            n_names: 0,
            next_number: 100,
            reports_start,
            rows: BTreeMap::new(),
            history: ListingHistory::default(),
            absent: BTreeMap::new(),
            now: Timestamp::EPOCH,
            source: Source::Stream(StreamSource {
                kind: StreamKind::Kinesis,
                arn: Arn::parse(arn).expect("it is an ARN"),
                settings: StreamSettings {
                    starting_position: Position::TrimHorizon,
                    recreated_position: Position::TrimHorizon,
                    skip_before: None,
                    batch_size: 100,
                    maximum_batching_window: Duration::ZERO,
                },
            }),
            mapping: MappingId::new("m"),
        };
        for _ in 0..world.rng.size(1, 3) {
            world.open(Vec::new());
        }
        world
    }

    fn step(&mut self) -> Result<(), String> {
        match self.rng.between(1, 100) {
            1..=10 => self.split(),
            11..=15 => self.merge(),
            16..=25 => self.put(),
            26..=31 => self.trim(),
            32..=34 if self.reports_start => self.recreate(),
            35..=65 => {
                let lacks = self.rng.pick(&[0, 0, 200, 500]);
                return self.list(lacks);
            }
            _ => self.read(),
        }
        Ok(())
    }

    /// The listings become true, and everything is read.
    fn settle(&mut self) -> Result<(), String> {
        let mut rest = Ok(());
        for _ in 0..500 {
            self.list(0)?;
            for _ in 0..10 {
                self.read();
            }
            rest = self.is_settled();
            if rest.is_ok() {
                break;
            }
        }
        rest
    }

    fn is_settled(&self) -> Result<(), String> {
        for (id, shard) in &self.shards {
            let is_done = shard.unread == 0 && (shard.ended || !shard.closed);
            if !is_done {
                return Err(format!("{id} was not read: {shard:?}"));
            }
        }
        for row in self.rows.values() {
            let id = id(row);
            if !self.shards.contains_key(id) {
                return Err(format!("{id} no longer exists and has a row"));
            }
        }
        Ok(())
    }

    fn open(&mut self, parents: Vec<ShardId>) {
        let id = ShardId::from(format!("shard-{:03}", self.n_names).as_str());
        self.n_names += 1;
        let shard = TrueShard {
            parents,
            start: self.next_number,
            closed: false,
            unread: self.rng.size(0, 3),
            read: None,
            ended: false,
        };
        // More than a shard ever has records: the numbers of streams do not overlap.
        self.next_number += 1_000;
        self.shards.insert(id, shard);
    }

    fn pick(&mut self, matches: impl Fn(&TrueShard) -> bool) -> Option<ShardId> {
        let matching = self.shards.iter().filter(|(_, shard)| matches(shard));
        let ids: Vec<_> = matching.map(|(id, _)| id.clone()).collect();
        let last = ids.len().checked_sub(1)?;
        Some(ids[self.rng.size(0, last)].clone())
    }

    fn shard(&mut self, id: &ShardId) -> &mut TrueShard {
        self.shards.get_mut(id).expect("the shard exists")
    }

    fn split(&mut self) {
        if let Some(parent) = self.pick(|shard| !shard.closed) {
            self.shard(&parent).closed = true;
            self.open(vec![parent.clone()]);
            self.open(vec![parent]);
        }
    }

    fn merge(&mut self) {
        let first = self.pick(|shard| !shard.closed);
        let second = self.pick(|shard| !shard.closed);
        if let (Some(first), Some(second)) = (first, second)
            && first != second
        {
            self.shard(&first).closed = true;
            self.shard(&second).closed = true;
            self.open(vec![first, second]);
        }
    }

    fn put(&mut self) {
        if let Some(id) = self.pick(|shard| !shard.closed) {
            let n_records = self.rng.size(1, 5);
            self.shard(&id).unread += n_records;
        }
    }

    /// The retention period of a closed shard is over, whether or not it was read. Those of its
    /// parents were over before.
    fn trim(&mut self) {
        let existing: BTreeSet<_> = self.shards.keys().cloned().collect();
        let trimmed = self
            .pick(|shard| shard.closed && !shard.parents.iter().any(|it| existing.contains(it)));
        if let Some(id) = trimmed {
            self.shards.remove(&id);
        }
    }

    /// The stream is deleted and created again; names begin at the first one.
    fn recreate(&mut self) {
        self.shards.clear();
        self.n_names = 0;
        for _ in 0..self.rng.size(1, 3) {
            self.open(Vec::new());
        }
    }

    /// A listing that lacks each shard with a chance of `lacks` per mille.
    fn list(&mut self, lacks: u64) -> Result<(), String> {
        self.now = self.now + self.rng.millis(1_000, 30_000);
        let mut listed = Vec::new();
        for (id, shard) in &self.shards {
            if !self.rng.per_mille(lacks) {
                let start = SequenceNumber::from(shard.start.to_string().as_str());
                listed.push(Shard {
                    id: id.clone(),
                    parents: shard.parents.clone(),
                    starting_sequence_number: self.reports_start.then_some(start),
                    is_closed: shard.closed && self.rng.per_mille(800),
                });
            }
        }
        close_parents(&mut listed);
        self.history.record(listed, self.now);
        let rows: Vec<_> = self.rows.values().cloned().collect();
        let plan = plan_lease_rows(&self.mapping, &self.source, Some(&self.history), &rows);
        self.absent = plan.absent;
        let recreated = plan.remove.iter();
        let recreated = recreated.filter(|(_, reason)| *reason == RemovalReason::Recreated);
        let recreated: Vec<_> = recreated.map(|(row, _)| row).collect();
        let resolved = rows.iter().filter(|row| !recreated.contains(row));
        let resolved = resolved.filter(|row| row.checkpoint.position == Position::ShardEnd);
        let resolved: BTreeSet<_> = resolved.map(|row| id(row).clone()).collect();
        for (row, reason) in plan.remove {
            let id = id(&row);
            let exists = self.shards.get(id).is_some_and(|it| is_of(&row, it));
            if exists && row.checkpoint.position != Position::ShardEnd {
                return Err(format!("the row of {id} is lost: {reason:?}"));
            }
            // Without a start it may be another one.
            if exists && row.shard_start.is_some() && reason == RemovalReason::Recreated {
                return Err(format!("{id} is still the same shard"));
            }
            self.rows.remove(&row.key);
        }
        for row in plan.insert {
            self.check_parents(id(&row), &resolved)?;
            self.rows.insert(row.key.clone(), row);
        }
        for row in plan.set_start {
            self.rows.insert(row.key.clone(), row);
        }
        Ok(())
    }

    /// A shard may begin only when its parents have ended, whether or not they were ever listed. Of
    /// one that is not listed they are not known; and the row of a former shard stands for one of the
    /// same name until that is listed.
    fn check_parents(&self, child: &ShardId, resolved: &BTreeSet<ShardId>) -> Result<(), String> {
        let is_listed = self.history.shards().iter().any(|shard| shard.id == *child);
        let Some(shard) = self.shards.get(child).filter(|_| is_listed) else {
            return Ok(());
        };
        for parent in &shard.parents {
            let is_read = self.shards.get(parent).is_none_or(|parent| parent.ended);
            if !is_read && !resolved.contains(parent) {
                return Err(format!(
                    "{child} begins before its parent {parent} has ended"
                ));
            }
        }
        Ok(())
    }

    /// The consumer of one row reads.
    fn read(&mut self) {
        let open = self.rows.values();
        let open: Vec<_> = open
            .filter(|row| row.checkpoint.position != Position::ShardEnd)
            .map(|row| row.key.clone())
            .collect();
        let Some(last) = open.len().checked_sub(1) else {
            return;
        };
        let key = open[self.rng.size(0, last)].clone();
        let row = self.rows.get_mut(&key).expect("it is one of them");
        let id = id(row).clone();
        let Some(shard) = self.shards.get_mut(&id) else {
            // The read is refused: the shard ends if listings lack it as well.
            if self.absent.contains_key(&id) {
                row.checkpoint.position = Position::ShardEnd;
            }
            return;
        };
        if !is_of(row, shard) {
            // The stream was created again, and does not know the position.
            return;
        }
        if 0 < shard.unread {
            shard.unread -= 1;
            let number = shard.read.unwrap_or(shard.start) + 1;
            shard.read = Some(number);
            row.checkpoint.position = Position::After(number.to_string().as_str().into());
        } else if shard.closed {
            shard.ended = true;
            row.checkpoint.position = Position::ShardEnd;
        }
    }
}

/// Whether a row was made for this shard and not for a former one of the same name.
fn is_of(row: &Lease, shard: &TrueShard) -> bool {
    let start = row.shard_start.as_ref();
    start.is_none_or(|start| start.as_str() == shard.start.to_string())
}

fn id(row: &Lease) -> &ShardId {
    match &row.key.unit {
        Unit::Shard(shard) => shard,
        Unit::QueueSlot(_) => unreachable!("the source is a stream"),
    }
}
