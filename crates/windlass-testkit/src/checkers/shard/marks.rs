//! Which records a checkpoint marks as resolved: recognized when they are read again, and checked
//! when they are saved.

use std::collections::{BTreeSet, VecDeque};

use windlass_core::marks::MarkedSection;
use windlass_core::record::Record;

use super::model::TrackedRecord;
use super::{BrokenInvariant, ensure};
use crate::world::Contents;

#[derive(Debug)]
pub(super) struct MarksModel {
    sections: VecDeque<MarkedSection>,
    pub(super) held: Vec<Record>,
    /// How many records of the first section were delivered before it was complete; `None` if it is not
    /// known which records are its own.
    n_released: Option<usize>,
    /// Records of sections that were not recognized.
    pub(super) unrecognized: BTreeSet<usize>,
    /// Whether the position of the checkpoint was that of another stream.
    pub(super) are_dropped: bool,
}

impl MarksModel {
    pub(super) fn new(sections: Vec<MarkedSection>) -> Self {
        Self {
            sections: sections.into(),
            held: Vec::new(),
            n_released: Some(0),
            unrecognized: BTreeSet::new(),
            are_dropped: false,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held.iter().map(Record::event_len).sum()
    }

    /// The records that are certain now, each with whether it is marked.
    pub(super) fn read(&mut self, records: &[Record], contents: &Contents) -> Vec<(Record, bool)> {
        let mut certain = Vec::new();
        for record in records {
            if self.sections.is_empty() {
                certain.push((record.clone(), false));
                continue;
            }
            self.held.push(record.clone());
            let index = contents.index_of(record);
            let ends = |section: &MarkedSection| last_of(section, contents) == index;
            let ended = self.sections.iter().position(ends);
            let expected = self.expected();
            let n_held = self.held.len();
            if ended == Some(0) && n_held == expected.len() {
                certain.extend(self.held.drain(..).zip(expected));
                self.sections.pop_front();
                self.n_released = Some(0);
            } else if let Some(index) = ended {
                certain.extend(self.release(contents));
                self.sections.drain(..=index);
                self.n_released = Some(0);
            } else if expected.len() <= n_held {
                certain.extend(self.release(contents));
                self.n_released = None;
            }
        }
        certain
    }

    /// The marks of the records of the first section that were not delivered yet; none if it is not known
    /// which these are.
    fn expected(&self) -> Vec<bool> {
        let (Some(section), Some(n_released)) = (self.sections.front(), self.n_released) else {
            return Vec::new();
        };
        section.resolved().skip(n_released).collect()
    }

    /// The sections that a checkpoint keeps.
    fn unread(&self) -> impl ExactSizeIterator<Item = &MarkedSection> {
        let is_useless = self.sections.len() == 1 && self.expected().is_empty();
        self.sections.iter().skip(usize::from(is_useless))
    }

    /// Records that are held in vain.
    pub(super) fn release(&mut self, contents: &Contents) -> Vec<(Record, bool)> {
        if let Some(n_released) = &mut self.n_released {
            *n_released += self.held.len();
        }
        let index = |record: &Record| contents.index_of(record);
        self.unrecognized.extend(self.held.iter().filter_map(index));
        self.held.drain(..).map(|record| (record, false)).collect()
    }

    pub(super) fn clear(&mut self) {
        self.are_dropped = true;
        self.sections.clear();
    }

    /// Checks the marks of a checkpoint after the first `prefix` of the records that were read.
    pub(super) fn check(
        &self,
        sections: &[MarkedSection],
        records: &[TrackedRecord],
        prefix: usize,
        contents: &Contents,
    ) -> Result<(), BrokenInvariant> {
        let mut next = prefix;
        let mut sections = sections.iter();
        let mut unread = self.unread();
        for section in sections.by_ref() {
            let index = last_of(section, contents);
            let last = index.and_then(|index| records.iter().rposition(|it| it.index == index));
            let Some(last) = last else {
                let is_first = unread.next().is_some_and(|first| {
                    let is_end = first.last == section.last
                        && first.sub_sequence_number == section.sub_sequence_number;
                    is_end && section.resolved().eq(self.expected())
                });
                ensure(is_first, "I1", || {
                    format!("saves {section:?}, which is not what was not read")
                })?;
                break;
            };
            let marks: Vec<_> = section.resolved().collect();
            ensure(next + marks.len() == last + 1, "I1", || {
                format!("saves {section:?}, which does not follow record {next}")
            })?;
            for (record, is_resolved) in records[next..=last].iter().zip(marks) {
                ensure(record.resolved || !is_resolved, "I1", || {
                    format!("marks record {} as resolved", record.index)
                })?;
                let is_left_out = record.resolved && !record.unseen && !is_resolved;
                ensure(!is_left_out, "marks", || {
                    format!("does not mark record {} as resolved", record.index)
                })?;
            }
            next = last + 1;
        }
        ensure(unread.eq(sections), "marks", || {
            "the sections that were not read are not saved".to_owned()
        })?;
        let needs_mark = |record: &TrackedRecord| {
            let was_marked = record.was_marked;
            (record.resolved && !record.unseen) || was_marked || 0 < self.unread().len()
        };
        let left_out = records[next..].iter().find(|it| needs_mark(it));
        ensure(left_out.is_none(), "marks", || {
            format!("{left_out:?} is not marked")
        })
    }
}

/// The last record of a section; `None` if it is not of this stream.
fn last_of(section: &MarkedSection, contents: &Contents) -> Option<usize> {
    contents.index_at(section.last.as_str(), section.sub_sequence_number)
}
