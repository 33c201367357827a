//! Batch ids, and the limits of a batch by count and bytes.
//!
//! The third limit, the batching window, depends on time and belongs to the consumers.

use crate::event;
use crate::record::Record;

/// Identifies a batch of one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// Assigns the batch ids of one consumer, from 1.
#[derive(Debug, Default)]
pub(crate) struct BatchIds {
    last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// Records or messages; at least 1.
    pub(crate) max_items: usize,
    /// Bytes of the event, envelope included.
    pub(crate) max_bytes: usize,
}

/// The batch that can be made of the items that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    /// The first `n_items` belong to it; 0 if none wait.
    pub(crate) n_items: usize,
    /// Whether no more items can be added.
    pub(crate) is_full: bool,
}

impl BatchIds {
    pub(crate) fn assign(&mut self) -> BatchId {
        self.last += 1;
        BatchId(self.last)
    }
}

impl BatchLimits {
    /// Counts items from the front, each given by the bytes of its event, until one does not fit.
    /// The first always counts; callers check it with [`BatchLimits::fits_alone`].
    pub(crate) fn fill(self, sizes: impl IntoIterator<Item = usize>) -> Fill {
        let (mut n_items, mut total) = (0, 0);
        for size in sizes {
            let is_too_large = self.max_bytes < event::event_len(n_items + 1, total + size);
            if n_items == self.max_items || (is_too_large && 0 < n_items) {
                return Fill {
                    n_items,
                    is_full: true,
                };
            }
            n_items += 1;
            total += size;
        }
        let is_full =
            n_items == self.max_items || self.max_bytes <= event::event_len(n_items, total);
        Fill {
            n_items,
            is_full: is_full && 0 < n_items,
        }
    }

    /// Bytes of the event of a record, as batches are filled: one that cannot be rendered fits into
    /// none.
    pub(crate) fn size_of(self, record: &Record) -> usize {
        match record.unreadable() {
            Some(_) => self.max_bytes,
            None => record.event_len(),
        }
    }

    /// Whether an item whose event has `size` bytes can be delivered at all.
    pub(crate) fn fits_alone(self, size: usize) -> bool {
        event::event_len(1, size) <= self.max_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sizes: &[usize], n_items: usize, is_full: bool) {
        let limits = BatchLimits {
            max_items: 3,
            max_bytes: event::ENVELOPE_LEN + 100,
        };
        assert_eq!(
            limits.fill(sizes.iter().copied()),
            Fill { n_items, is_full },
            "{sizes:?}"
        );
    }

    #[test]
    fn a_batch_closes_at_its_count_or_its_bytes() {
        check(&[], 0, false);
        check(&[10, 10], 2, false);
        check(&[10, 10, 10], 3, true);
        check(&[10, 10, 10, 10], 3, true);
        check(&[50, 49], 2, true);
        check(&[50, 50], 1, true);
        check(&[100], 1, true);
        check(&[101, 1], 1, true);
    }
}
