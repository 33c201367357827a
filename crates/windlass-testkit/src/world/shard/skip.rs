//! Skips in the world of a shard: an operator stops its consumer, skips records, and lets it continue.

use std::collections::BTreeSet;

use windlass_core::position::Position;
use windlass_core::shard::{ReadResult, ShardInput, ShardSkip, SkipExtent, SkipStep, SkipWrite};

use super::{Fate, World, since_start};
use crate::checkers::skip::{SkipChecker, resolved_by};
use crate::checkers::{BrokenInvariant, ensure};
use crate::rng::Rng;
use crate::world::Trace;

/// More steps than any skip needs.
const MAX_STEPS: usize = 10_000;

/// Which skips there are. They are drawn apart from everything else, so that they change no world
/// without them.
#[derive(Debug)]
pub(super) struct Skips {
    rng: Rng,
    /// Per mille of the steps.
    chance: u64,
    /// The one that begins when the consumer has stopped.
    next: Option<SkipExtent>,
}

impl Skips {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(!seed);
        Self {
            chance: rng.pick(&[0, 0, 0, 20, 80]),
            rng,
            next: None,
        }
    }
}

/// Whether the records after a page do not come: what is held for a section is not recognized.
fn shows_no_more(page: &ReadResult) -> bool {
    let is_at_tip = page.records.is_empty() && page.behind.is_zero();
    is_at_tip || page.unreadable.is_some()
}

impl World {
    /// Lets the consumer stop for a skip.
    pub(super) fn draw_skip(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let is_mapping = self.plan.settings.stretch.is_none();
        if !is_mapping || !self.skips.rng.per_mille(self.skips.chance) {
            return Ok(());
        }
        let Some(instance) = self.instance.as_ref() else {
            return Ok(());
        };
        if instance.checker.finished().is_some() {
            return Ok(());
        }
        let retried = instance.consumer.view().retried;
        let rng = &mut self.skips.rng;
        let extent = if !retried.is_empty() && rng.per_mille(600) {
            SkipExtent::Batches(retried)
        } else if rng.per_mille(600) {
            let most = rng.pick(&[3, 30]);
            SkipExtent::Records(rng.size(1, most) as u64)
        } else {
            let readable = self.plan.contents.n_readable(self.now);
            let Some(last) = readable.checked_sub(1) else {
                return Ok(());
            };
            let record = &self.plan.contents.records()[rng.size(0, last)];
            SkipExtent::Through(record.sequence_number().into())
        };
        trace.record(|| format!("an operator skips {extent:?}"));
        self.skips.next = Some(extent);
        if self.skips.rng.per_mille(800) {
            self.feed(ShardInput::Drain, trace)
        } else {
            // What is in flight takes too long.
            self.write_saves_in_flight();
            self.end_instance();
            Ok(())
        }
    }

    /// Skips what was asked for, if anything was, while no consumer runs.
    pub(super) fn run_skip(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let Some(extent) = self.skips.next.take() else {
            return Ok(());
        };
        let from = self.store.checkpoint.clone();
        if from.position == Position::ShardEnd || self.is_passed(&extent) {
            return Ok(());
        }
        self.totals.skips += 1;
        let settings = self.plan.settings.clone();
        let (contents, trimmed) = (&self.plan.contents, self.source.trimmed);
        let mut checker =
            SkipChecker::new(settings.clone(), &from, extent.clone(), contents, trimmed);
        let seed = self.skips.rng.any();
        let checked = extent.clone();
        let mut skip = ShardSkip::new(settings, from, extent, true, seed, self.now);
        // The daemon may end at any time.
        let is_killed = self.skips.rng.per_mille(200);
        let mut writes_left = is_killed.then(|| self.skips.rng.size(0, 3));
        for _ in 0..MAX_STEPS {
            let faulty = self.is_faulty();
            match skip.step(self.now) {
                // The number through which to skip is looked up again.
                SkipStep::Read { from, .. }
                    if from.after.sequence_number().is_none() && self.is_of_former(&checked) =>
                {
                    return Ok(());
                }
                SkipStep::Read { from, limit, .. } => {
                    trace.record(|| format!("{} skip reads {from:?}", since_start(self.now)));
                    let (contents, rng) = (&self.plan.contents, &mut self.rng);
                    let result = self
                        .source
                        .read(contents, &from, limit, faulty, self.now, rng)?;
                    trace.record(|| format!("    → {result:?}"));
                    if result.as_ref().is_ok_and(shows_no_more) {
                        checker.forget_marks();
                    }
                    skip.handle_read(result, self.now);
                }
                SkipStep::Wait(until) => self.now = self.now.max(until),
                SkipStep::Write(write) => {
                    if writes_left == Some(0) {
                        trace.record(|| "the skip is broken off".to_owned());
                        return Ok(());
                    }
                    writes_left = writes_left.map(|left| left - 1);
                    trace.record(|| format!("{} skip writes {write:?}", since_start(self.now)));
                    if skip.gap().is_some() {
                        checker.forget_marks();
                    }
                    let indexes = checker.write(&write, &self.plan.contents)?;
                    self.write_skip(&write, indexes)?;
                    self.marks_are_kept(checker.marked())?;
                }
                SkipStep::Done(end) => {
                    trace.record(|| format!("{} skip ends: {end:?}", since_start(self.now)));
                    return checker.end(end);
                }
            }
        }
        Err(BrokenInvariant::new("skip", "it does not end"))
    }

    /// Whether the shard has passed the number through which it should skip.
    fn is_passed(&self, extent: &SkipExtent) -> bool {
        let SkipExtent::Through(number) = extent else {
            return false;
        };
        let contents = &self.plan.contents;
        let last = contents.index_at(number.as_str(), None);
        let offset = contents.offset_of(&self.store.checkpoint.position, self.source.trimmed);
        last < offset
    }

    /// Whether the number through which to skip is of a stream that was created again.
    fn is_of_former(&self, extent: &SkipExtent) -> bool {
        let SkipExtent::Through(number) = extent else {
            return false;
        };
        let contents = &self.plan.contents;
        contents.index_at(number.as_str(), None) < Some(contents.stream_start(self.now))
    }

    fn write_skip(&mut self, write: &SkipWrite, kept: Vec<usize>) -> Result<(), BrokenInvariant> {
        for index in kept {
            self.dead_letters.kept[index] = true;
        }
        let window = write.batch.as_ref().and_then(|batch| batch.window.as_ref());
        if let Some(window) = window.filter(|window| window.is_final) {
            for index in self.function.of_state(&window.state) {
                self.function.unfinished.remove(&index);
            }
        }
        self.store.checkpoint = write.checkpoint.clone();
        let (contents, trimmed) = (&self.plan.contents, self.source.trimmed);
        let resolved = resolved_by(&write.checkpoint, contents, trimmed);
        let lost = self.expected().find(|(index, fate)| {
            let is_owed = *fate == Fate::Invoked && !self.is_settled(*index);
            is_owed && resolved.contains(index)
        });
        ensure(lost.is_none(), "skip", || {
            format!("a checkpoint passes record {lost:?}, which is not resolved")
        })?;
        // Records whose marks were not recognized come again.
        self.settled = resolved;
        self.settled
            .retain(|index| !self.repairable.contains(index));
        Ok(())
    }

    /// What was marked as resolved stays so.
    fn marks_are_kept(&self, marked: &BTreeSet<usize>) -> Result<(), BrokenInvariant> {
        let (contents, trimmed) = (&self.plan.contents, self.source.trimmed);
        let resolved = resolved_by(&self.store.checkpoint, contents, trimmed);
        let lost: Vec<_> = marked.difference(&resolved).copied().collect();
        ensure(lost.is_empty(), "skip", || {
            format!("the marks of records {lost:?} are lost")
        })
    }
}
