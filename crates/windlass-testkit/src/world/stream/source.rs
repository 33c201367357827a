//! The stream as it is: its shards, their records, and which of them were delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::shard::PageStart;
use windlass_core::shard::lineage::Shard;
use windlass_core::time::Timestamp;

use super::plan::{START, SourcePlan};
use super::{BrokenInvariant, ensure};
use crate::rng::Rng;

const N_KEYS: u64 = 8;

/// The start of the first shard of the first stream. Others begin before it or after it.
const FIRST_NUMBER: u64 = 10_000_000;

/// Numbers that the shards of one stream use at most.
const NUMBERS_OF_A_STREAM: u64 = 1_000_000;

/// A shard has fewer records than this leaves room for.
const NUMBERS_OF_A_SHARD: u64 = 1_000;

const MAX_RECORDS_OF_A_SHARD: usize = 90;

const MAX_SHARDS: usize = 24;

const MAX_GENERATIONS: u64 = 8;

#[derive(Debug)]
pub(super) struct Source {
    pub(super) plan: SourcePlan,
    /// Records that arrived earlier need not be delivered.
    since: Timestamp,
    /// Of a replay, what must be delivered.
    pub(super) stretch: Option<StretchOfShards>,
    /// Of the present stream, except those whose retention period is over.
    shards: BTreeMap<ShardId, TrueShard>,
    /// Counts the streams that had the name.
    pub(super) generation: u64,
    /// Of the present stream, those whose retention period is over included.
    n_names: u64,
    next_number: u64,
    root_start: u64,
    records: Vec<TrueRecord>,
    /// Every name that a shard ever had.
    names: BTreeSet<ShardId>,
    pub(super) now: Timestamp,
    /// When the stream was created.
    pub(super) created: Timestamp,
    /// See [`Source::read_by_former`].
    pub(super) is_disordered: bool,
}

/// The records of a replay.
#[derive(Debug)]
pub(super) struct StretchOfShards {
    pub(super) from: Timestamp,
    /// Exclusive.
    pub(super) to: Timestamp,
    /// `None`: of all shards.
    pub(super) chosen: Option<BTreeSet<ShardId>>,
}

#[derive(Debug)]
pub(super) struct TrueShard {
    pub(super) parents: Vec<ShardId>,
    start: u64,
    keys: Range<u64>,
    pub(super) closed: bool,
    /// Indices of all its records.
    records: Vec<usize>,
    n_trimmed: usize,
}

#[derive(Debug)]
struct TrueRecord {
    number: u64,
    generation: u64,
    key: u64,
    arrival: Timestamp,
    shard: ShardId,
    /// It was delivered, was trimmed before, or arrived before the start.
    is_settled: bool,
}

/// A shard as it was listed, with the stream that it is of.
#[derive(Clone)]
pub(super) struct Listed {
    pub(super) generation: u64,
    pub(super) shard: Shard,
}

/// The result of one read.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) start: PageStart,
    pub(super) records: Vec<usize>,
    pub(super) is_at_tip: bool,
    /// Whether the source returned no next iterator.
    pub(super) is_last: bool,
}

impl StretchOfShards {
    fn has(&self, record: &TrueRecord) -> bool {
        let is_chosen = |chosen: &BTreeSet<ShardId>| chosen.contains(&record.shard);
        let is_within = self.from <= record.arrival && record.arrival < self.to;
        is_within && self.chosen.as_ref().is_none_or(is_chosen)
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, generation) = (&self.shard, self.generation);
        let parents: Vec<_> = shard.parents.iter().map(ShardId::as_str).collect();
        let start = shard.starting_sequence_number.as_ref();
        let start = start.map_or("", SequenceNumber::as_str);
        let closed = if shard.is_closed { ", closed" } else { "" };
        write!(
            f,
            "{} of {generation} from {start}, parents {parents:?}{closed}",
            shard.id
        )
    }
}

impl Source {
    pub(super) fn new(plan: SourcePlan, since: Timestamp, rng: &mut Rng) -> Self {
        let mut source = Self {
            plan,
            since,
            stretch: None,
            shards: BTreeMap::new(),
            generation: 0,
            n_names: 0,
            next_number: FIRST_NUMBER,
            root_start: FIRST_NUMBER,
            records: Vec::new(),
            names: BTreeSet::new(),
            now: START,
            created: START,
            is_disordered: false,
        };
        source.open_roots(rng);
        source
    }

    pub(super) fn n_records(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = (&ShardId, &TrueShard)> {
        self.shards.iter()
    }

    pub(super) fn get(&self, id: &ShardId) -> Option<&TrueShard> {
        self.shards.get(id)
    }

    pub(super) fn has_existed(&self, id: &ShardId) -> bool {
        self.names.contains(id)
    }

    /// The shards as a listing without lies has them.
    pub(super) fn list(&self) -> Vec<Listed> {
        let listed = self.shards.iter().map(|(id, shard)| Listed {
            generation: self.generation,
            shard: Shard {
                id: id.clone(),
                parents: shard.parents.clone(),
                starting_sequence_number: Some(number(self.listed_start(shard))),
                is_closed: shard.closed,
            },
        });
        listed.collect()
    }

    fn listed_start(&self, shard: &TrueShard) -> u64 {
        let oldest = shard.records.get(shard.n_trimmed);
        let oldest = oldest.or(shard.records.last());
        match oldest {
            Some(index) if self.plan.moves_starts => self.records[*index].number,
            _ => shard.start,
        }
    }

    /// Whether every record of a shard that must be delivered was delivered.
    pub(super) fn is_settled(&self, shard: &TrueShard) -> bool {
        let mut records = shard.records.iter();
        records.all(|index| self.records[*index].is_settled)
    }

    /// Whether every record was delivered, or has left the stream before that.
    pub(super) fn check_deliveries(&self) -> Result<(), BrokenInvariant> {
        let lost = self.records.iter().find(|record| !record.is_settled);
        ensure(lost.is_none(), "lost", || format!("{lost:?}"))
    }

    /// The row of a former stream reads a shard that has its name now and may have parents: the order
    /// of the present stream is lost. No reader can prevent it if the stream was created again between
    /// a listing and the read that opens the shard anew, without a fault from this stream before.
    pub(super) fn read_by_former(&mut self, id: &ShardId) {
        let shard = self.shards.get(id);
        self.is_disordered |= shard.is_some_and(|shard| !shard.parents.is_empty());
    }

    /// The records of a shard are to be delivered again.
    pub(super) fn deliver_again(&mut self, id: &ShardId) {
        if let Some(shard) = self.shards.get(id) {
            for index in &shard.records[shard.n_trimmed..] {
                self.records[*index].is_settled = false;
            }
        }
    }

    /// Only the records of a stretch must be delivered.
    pub(super) fn set_stretch(&mut self, stretch: StretchOfShards) {
        for record in &mut self.records {
            record.is_settled |= !stretch.has(record);
        }
        self.stretch = Some(stretch);
    }

    pub(super) fn arrival_of(&self, index: usize) -> Timestamp {
        self.records[index].arrival
    }

    /// A record reaches the function.
    pub(super) fn deliver(&mut self, index: usize) -> Result<(), BrokenInvariant> {
        let record = &self.records[index];
        let is_wanted = self.stretch.as_ref().is_none_or(|it| it.has(record));
        ensure(is_wanted, "outside", || format!("{record:?} is delivered"))?;
        if record.is_settled {
            return Ok(());
        }
        let (key, generation) = (record.key, record.generation);
        let mut earlier = self.records[..index].iter().filter(|it| !it.is_settled);
        let overtaken = earlier.find(|it| (it.key, it.generation) == (key, generation));
        ensure(overtaken.is_none() || self.is_disordered, "order", || {
            format!("{key} of record {index} overtakes {overtaken:?}")
        })?;
        self.records[index].is_settled = true;
        Ok(())
    }

    pub(super) fn number_of(&self, index: usize) -> SequenceNumber {
        number(self.records[index].number)
    }

    /// The records from a position on, without faults other than those that the position causes. An
    /// iterator is the number of its stream; one of a former stream is rejected, and reading
    /// continues at the position.
    pub(super) fn read(&self, id: &ShardId, from: &Cursor, rng: &mut Rng) -> Result<Page, Fault> {
        let shard = self.shards.get(id).ok_or(Fault::Gone)?;
        let start = match &from.iterator {
            Some(iterator) if **iterator == *self.iterator() => PageStart::Continued,
            _ if from.inclusive => PageStart::AtPosition,
            _ => PageStart::AfterPosition,
        };
        let begin = self.offset(shard, &from.after, start, rng)?;
        let rest = shard.records.get(begin..).unwrap_or_default();
        let records: Vec<_> = rest.iter().take(rng.size(0, 6)).copied().collect();
        Ok(Page {
            start,
            is_at_tip: records.len() == rest.len(),
            is_last: shard.closed && records.len() == rest.len(),
            records,
        })
    }

    /// Of every shard of this stream.
    pub(super) fn iterator(&self) -> Arc<str> {
        self.generation.to_string().into()
    }

    fn offset(
        &self,
        shard: &TrueShard,
        from: &Position,
        start: PageStart,
        rng: &mut Rng,
    ) -> Result<usize, Fault> {
        let records = &shard.records;
        let first = |matches: &dyn Fn(&TrueRecord) -> bool| {
            let found = records.iter().position(|it| matches(&self.records[*it]));
            found.unwrap_or(records.len())
        };
        let begin = match from {
            Position::TrimHorizon => shard.n_trimmed,
            Position::AtTimestamp(time) => first(&|it| *time <= it.arrival).max(shard.n_trimmed),
            Position::ShardEnd => records.len(),
            Position::At(at) => first(&|it| number(it.number) == *at),
            Position::After(after) | Position::Within(after, _) => {
                let after: u64 = after.as_str().parse().unwrap_or(u64::MAX);
                let known = records
                    .iter()
                    .position(|it| self.records[*it].number == after);
                match known {
                    Some(known) => known + usize::from(start != PageStart::AtPosition),
                    None if self.plan.is_lenient => {
                        first(&|it| after < it.number).max(shard.n_trimmed)
                    }
                    None => return Err(rng.pick(&[Fault::UnknownPosition, Fault::Trimmed])),
                }
            }
        };
        if begin < shard.n_trimmed {
            return Err(Fault::Trimmed);
        }
        Ok(begin)
    }

    pub(super) fn put(&mut self, rng: &mut Rng) {
        let has_room = |shard: &TrueShard| shard.records.len() + 5 < MAX_RECORDS_OF_A_SHARD;
        let Some(id) = self.pick(rng, |shard| !shard.closed && has_room(shard)) else {
            return;
        };
        for _ in 0..rng.size(1, 5) {
            self.put_record(&id, rng);
        }
    }

    fn put_record(&mut self, id: &ShardId, rng: &mut Rng) {
        let generation = self.generation;
        let shard = self.shards.get_mut(id).expect("the shard exists");
        // The numbers of two streams differ although their shards may start at the same one.
        let offset = 10 * (shard.records.len() as u64 + 1) + generation;
        shard.records.push(self.records.len());
        let mut record = TrueRecord {
            number: shard.start + offset,
            generation,
            key: rng.between(shard.keys.start, shard.keys.end - 1),
            arrival: self.now,
            shard: id.clone(),
            is_settled: self.now < self.since,
        };
        let stretch = self.stretch.as_ref();
        record.is_settled |= stretch.is_some_and(|it| !it.has(&record));
        self.records.push(record);
    }

    pub(super) fn split(&mut self, rng: &mut Rng) {
        let has_room = self.has_room();
        let splits =
            |shard: &TrueShard| has_room && !shard.closed && shard.keys.start + 1 < shard.keys.end;
        if let Some(id) = self.pick(rng, splits) {
            let keys = self.close(&id);
            let middle = rng.between(keys.start + 1, keys.end - 1);
            self.open(vec![id.clone()], keys.start..middle, rng);
            self.open(vec![id], middle..keys.end, rng);
        }
    }

    /// Two neighbours become one.
    pub(super) fn merge(&mut self, rng: &mut Rng) {
        let has_room = self.has_room();
        let merges = |shard: &TrueShard| has_room && !shard.closed && shard.keys.end < N_KEYS;
        let Some(first) = self.pick(rng, merges) else {
            return;
        };
        let end = self.shards[&first].keys.end;
        let Some(second) = self.pick(rng, |shard| !shard.closed && shard.keys.start == end) else {
            return;
        };
        let keys = self.close(&first).start..self.close(&second).end;
        self.open(vec![first, second], keys, rng);
    }

    pub(super) fn roll(&mut self, rng: &mut Rng) {
        let has_room = self.has_room();
        if let Some(id) = self.pick(rng, |shard| has_room && !shard.closed) {
            let keys = self.close(&id);
            self.open(vec![id], keys, rng);
        }
    }

    /// The oldest records of a shard leave the stream, whether or not they were read.
    pub(super) fn trim(&mut self, rng: &mut Rng) -> bool {
        let Some(id) = self.pick(rng, |shard| shard.n_trimmed < shard.records.len()) else {
            return false;
        };
        let shard = self.shards.get_mut(&id).expect("the shard exists");
        shard.n_trimmed = rng.size(shard.n_trimmed + 1, shard.records.len());
        for index in &shard.records[..shard.n_trimmed] {
            self.records[*index].is_settled = true;
        }
        true
    }

    /// The retention period of a closed shard is over, whether or not it was read. Those of its
    /// parents were over before.
    pub(super) fn expire(&mut self, rng: &mut Rng) -> bool {
        let existing: BTreeSet<_> = self.shards.keys().cloned().collect();
        let is_oldest = |shard: &TrueShard| !shard.parents.iter().any(|it| existing.contains(it));
        let expired = self.pick(rng, |shard| shard.closed && is_oldest(shard));
        let Some(shard) = expired.and_then(|id| self.shards.remove(&id)) else {
            return false;
        };
        for index in shard.records {
            self.records[index].is_settled = true;
        }
        true
    }

    pub(super) const fn can_recreate(&self) -> bool {
        self.generation < MAX_GENERATIONS
    }

    /// The stream is deleted and created again, with numbers before, after or equal to those of the
    /// former one. Equal ones only if `same_numbers`: its shards cannot be told from the former ones.
    pub(super) fn recreate(&mut self, same_numbers: bool, rng: &mut Rng) {
        for record in &mut self.records {
            record.is_settled = true;
        }
        self.shards.clear();
        self.generation += 1;
        self.is_disordered = false;
        self.created = self.now;
        let distance = self.generation * NUMBERS_OF_A_STREAM;
        let unused = FIRST_NUMBER + distance;
        if same_numbers && rng.per_mille(500) {
            self.n_names = 0;
            self.next_number = self.root_start;
            self.open_roots(rng);
            self.next_number = unused;
            return;
        }
        if rng.per_mille(800) {
            self.n_names = 0;
        }
        self.next_number = rng.pick(&[unused, FIRST_NUMBER - distance]);
        self.root_start = self.next_number;
        self.open_roots(rng);
    }

    fn open_roots(&mut self, rng: &mut Rng) {
        let n_roots = rng.pick(&[1, 1, 2, 4]);
        let width = N_KEYS / n_roots;
        for root in 0..n_roots {
            self.open(Vec::new(), root * width..(root + 1) * width, rng);
        }
    }

    fn close(&mut self, id: &ShardId) -> Range<u64> {
        let shard = self.shards.get_mut(id).expect("the shard exists");
        shard.closed = true;
        shard.keys.clone()
    }

    fn open(&mut self, parents: Vec<ShardId>, keys: Range<u64>, rng: &mut Rng) {
        let id = ShardId::from(format!("shard-{:03}", self.n_names).as_str());
        self.n_names += 1;
        let shard = TrueShard {
            parents,
            start: self.next_number,
            keys,
            closed: false,
            records: Vec::new(),
            n_trimmed: 0,
        };
        self.next_number += NUMBERS_OF_A_SHARD;
        self.names.insert(id.clone());
        self.shards.insert(id.clone(), shard);
        for _ in 0..rng.size(0, 3) {
            self.put_record(&id, rng);
        }
    }

    fn has_room(&self) -> bool {
        self.shards.len() < MAX_SHARDS
    }

    fn pick(&self, rng: &mut Rng, matches: impl Fn(&TrueShard) -> bool) -> Option<ShardId> {
        let matching = self.shards.iter().filter(|(_, shard)| matches(shard));
        let ids: Vec<_> = matching.map(|(id, _)| id).collect();
        let last = ids.len().checked_sub(1)?;
        Some(ids[rng.size(0, last)].clone())
    }
}

fn number(number: u64) -> SequenceNumber {
    SequenceNumber::from(number.to_string().as_str())
}
