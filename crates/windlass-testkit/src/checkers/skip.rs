//! Checks what a skip writes: records that were asked for, in the batches of the mapping, and with a
//! checkpoint that resolves them and nothing else.
//!
//! *skip*: nothing is skipped beyond what was asked; what is skipped is kept, unless no filter matches
//! it; a letter is a batch that the function could have received; order of each key; a checkpoint
//! resolves what was resolved or skipped.

use std::collections::BTreeSet;

use windlass_core::position::Checkpoint;
use windlass_core::record::Record;
use windlass_core::shard::{
    RetriedBatch, ShardConsumerSettings, SkipEnd, SkipExtent, SkipWrite, SkippedBatch,
};

use super::{BrokenInvariant, ensure};
use crate::sample_filter;
use crate::world::Contents;

#[derive(Debug)]
pub struct SkipChecker {
    settings: ShardConsumerSettings,
    extent: SkipExtent,
    /// Where the checkpoint was, in the order of the shard.
    offset: usize,
    /// Records that the checkpoint marks as resolved.
    marked: BTreeSet<usize>,
    kept: BTreeSet<usize>,
    n_skipped: u64,
}

/// The records that a checkpoint reports as resolved, apart from those that are trimmed. Its marks count
/// from the first record that is there.
pub fn resolved_by(
    checkpoint: &Checkpoint,
    contents: &Contents,
    trimmed: usize,
) -> BTreeSet<usize> {
    let offset = contents.offset_of(&checkpoint.position, trimmed);
    let offset = offset.unwrap_or(contents.len());
    let mut resolved: BTreeSet<_> = (0..offset).collect();
    resolved.extend(marked_by(checkpoint, contents, offset.max(trimmed)));
    resolved
}

fn marked_by(checkpoint: &Checkpoint, contents: &Contents, offset: usize) -> BTreeSet<usize> {
    let mut marked = BTreeSet::new();
    let mut next = offset;
    for section in &checkpoint.marks {
        let mut is_resolved = true;
        let mut of_section = BTreeSet::new();
        for run in &section.runs {
            let end = next + usize::try_from(*run).unwrap_or(usize::MAX - next);
            if is_resolved {
                of_section.extend(next..end);
            }
            (next, is_resolved) = (end, !is_resolved);
        }
        let number = section.last.as_str();
        let last = contents.index_at(number, section.sub_sequence_number);
        // Records before it may be trimmed: then it is not recognized.
        if last.map(|last| last + 1) == Some(next) {
            marked.extend(of_section);
        } else if let Some(last) = last {
            next = last + 1;
        }
    }
    marked
}

impl SkipChecker {
    /// The first `trimmed` records are gone.
    pub fn new(
        settings: ShardConsumerSettings,
        from: &Checkpoint,
        extent: SkipExtent,
        contents: &Contents,
        trimmed: usize,
    ) -> Self {
        let offset = contents.offset_of(&from.position, trimmed);
        let offset = offset.unwrap_or(contents.len());
        let marked = marked_by(from, contents, offset.max(trimmed));
        // A section that does not fit into the buffer is not recognized.
        let last = marked.last().map_or(offset, |last| last + 1);
        let held = &contents.records()[offset.min(last)..last];
        let bytes: usize = held.iter().map(Record::event_len).sum();
        let fits =
            held.len() < settings.limits.buffer_records && bytes < settings.limits.buffer_bytes;
        Self {
            marked: if fits { marked } else { BTreeSet::new() },
            settings,
            extent,
            offset,
            kept: BTreeSet::new(),
            n_skipped: 0,
        }
    }

    /// Records that the checkpoint marks as resolved, and that the skip recognizes.
    pub fn marked(&self) -> &BTreeSet<usize> {
        &self.marked
    }

    /// What was read does not show which records the marks mean: records before them are lost, or those
    /// after them do not come.
    pub fn forget_marks(&mut self) {
        self.marked.clear();
    }

    /// Returns the records that the write keeps.
    ///
    /// # Errors
    /// It breaks a rule.
    pub fn write(
        &mut self,
        write: &SkipWrite,
        contents: &Contents,
    ) -> Result<Vec<usize>, BrokenInvariant> {
        let mut indexes = Vec::new();
        if let Some(batch) = &write.batch {
            indexes = self.batch(batch, contents)?;
        }
        let n_kept = indexes.len() as u64;
        let n_more = write.n_skipped.checked_sub(self.n_skipped);
        ensure(
            n_more.is_some_and(|n_more| n_kept <= n_more),
            "skip",
            || format!("{} after {} records", write.n_skipped, self.n_skipped),
        )?;
        self.n_skipped = write.n_skipped;
        if let SkipExtent::Records(most) = self.extent {
            ensure(self.n_skipped <= most, "skip", || {
                format!("{} records instead of {most}", self.n_skipped)
            })?;
        }
        Ok(indexes)
    }

    fn batch(
        &mut self,
        batch: &SkippedBatch,
        contents: &Contents,
    ) -> Result<Vec<usize>, BrokenInvariant> {
        let broken = |what: &str| BrokenInvariant::new("skip", format!("{what}: {batch:?}"));
        let is_windowed = self.settings.mapping.tumbling_window.is_some();
        if is_windowed != batch.window.is_some() {
            return Err(broken("the event of a window"));
        }
        if let Some(window) = batch.window.as_ref().filter(|window| window.is_final) {
            let is_asked = |batch: &RetriedBatch| match batch {
                RetriedBatch::FinalInvocation { window: bounds, .. } => *bounds == window.bounds,
                RetriedBatch::Records { .. } => false,
            };
            let batches = match &self.extent {
                SkipExtent::Batches(batches) => &batches[..],
                SkipExtent::Records(_) | SkipExtent::Through(_) => &[],
            };
            if !batch.records.is_empty() || !batches.iter().any(is_asked) {
                return Err(broken("the end of a window"));
            }
            return Ok(Vec::new());
        }
        let indexes = batch.records.iter().map(|record| contents.index_of(record));
        let indexes: Option<Vec<_>> = indexes.collect();
        let indexes = indexes.ok_or_else(|| broken("not of the shard"))?;
        if indexes.is_empty() || self.settings.mapping.batch_size < indexes.len() {
            return Err(broken("the number of records"));
        }
        let n_bytes: usize = batch.records.iter().map(|it| it.event_len() + 1).sum();
        let state = batch.window.as_ref().map_or(0, |it| it.state.json().len());
        let bytes = n_bytes + state.saturating_sub(2) + self.settings.window_len + 13;
        if 1 < indexes.len() && self.settings.limits.payload_limit < bytes {
            return Err(broken("larger than an event"));
        }
        if !indexes.is_sorted_by(|one, next| one < next) {
            return Err(broken("the order"));
        }
        let n_lanes = self.settings.mapping.parallelization_factor;
        let lane = batch.records[0].key().lane(n_lanes);
        for (record, index) in batch.records.iter().zip(&indexes) {
            if record.key().lane(n_lanes) != lane {
                return Err(broken("several lanes"));
            }
            if *index < self.offset || self.marked.contains(index) || !self.kept.insert(*index) {
                return Err(broken("resolved already"));
            }
            if !self.is_asked(*index, lane, contents) {
                return Err(broken("not asked for"));
            }
            let is_unreadable = record.unreadable().is_some();
            if is_unreadable && 1 < indexes.len() {
                return Err(broken("cannot be rendered"));
            }
            let is_filtered = self.settings.filter.is_some();
            if is_filtered && !is_unreadable && !sample_filter::matches(record.event()) {
                return Err(broken("no filter matches it"));
            }
        }
        self.keys_keep_their_order(&indexes, contents)?;
        Ok(indexes)
    }

    /// Whether a record is of the extent; how many are, is counted.
    fn is_asked(&self, index: usize, lane: usize, contents: &Contents) -> bool {
        match &self.extent {
            SkipExtent::Records(_) => true,
            SkipExtent::Through(number) => {
                let last = contents.index_at(number.as_str(), None);
                last.is_some_and(|last| index <= last)
            }
            SkipExtent::Batches(batches) => batches.iter().any(|batch| match batch {
                RetriedBatch::Records {
                    lane: of_batch,
                    first,
                    last,
                    inner,
                } => {
                    let first = contents.first_of(first.as_str());
                    let last = contents.index_at(last.as_str(), *inner);
                    let is_after_first = first.is_some_and(|first| first <= index);
                    let is_within = is_after_first && last.is_some_and(|last| index <= last);
                    *of_batch == lane && is_within
                }
                RetriedBatch::FinalInvocation { .. } => false,
            }),
        }
    }

    /// No record of a key is skipped after a later one.
    fn keys_keep_their_order(
        &self,
        indexes: &[usize],
        contents: &Contents,
    ) -> Result<(), BrokenInvariant> {
        let key = |index: usize| contents.records()[index].key();
        let overtakes = indexes.iter().find(|index| {
            let later = self.kept.range(**index + 1..);
            let mut earlier = later.filter(|later| !indexes.contains(later));
            earlier.any(|later| key(*later) == key(**index))
        });
        ensure(overtakes.is_none(), "skip", || {
            format!("record {overtakes:?} is skipped after a later one of its key")
        })
    }

    /// # Errors
    /// Less was skipped than was asked, although there is more.
    pub fn end(&self, end: SkipEnd) -> Result<(), BrokenInvariant> {
        if let (SkipExtent::Records(n_records), SkipEnd::Complete) = (&self.extent, end) {
            ensure(self.n_skipped == *n_records, "skip", || {
                format!("{} records instead of {n_records}", self.n_skipped)
            })?;
        }
        Ok(())
    }
}
