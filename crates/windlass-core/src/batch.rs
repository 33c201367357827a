//! The limits of a batch: how many items, how many bytes.
//!
//! The third limit, the batching window, is time and so belongs to the machines.

use crate::event;

/// Counts the batches of one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// What may go into one invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most records or messages; at least 1.
    pub items: usize,
    /// Most bytes of the event, envelope included.
    pub payload: usize,
}

/// The batch that can be made of what has gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// How many of the first items belong to it; 0 if there are none.
    pub items: usize,
    /// Whether waiting for more cannot make it larger.
    pub full: bool,
}

impl BatchLimits {
    /// Takes items from the front, each given by its rendered size in bytes, until one does not
    /// fit. The first is always taken: whether it fits alone is for the caller to ask, by
    /// [`BatchLimits::fits_alone`].
    pub fn fill(self, sizes: impl IntoIterator<Item = usize>) -> Fill {
        let (mut items, mut total) = (0, 0);
        for size in sizes {
            let too_large = self.payload < event::event_len(items + 1, total + size);
            if items == self.items || (too_large && 0 < items) {
                return Fill { items, full: true };
            }
            items += 1;
            total += size;
        }
        let full = items == self.items || self.payload <= event::event_len(items, total);
        Fill {
            items,
            full: full && 0 < items,
        }
    }

    /// Whether an item of this rendered size in bytes can be delivered at all.
    pub fn fits_alone(self, size: usize) -> bool {
        event::event_len(1, size) <= self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sizes: &[usize], items: usize, full: bool) {
        let limits = BatchLimits {
            items: 3,
            payload: event::ENVELOPE_LEN + 100,
        };
        assert_eq!(
            limits.fill(sizes.iter().copied()),
            Fill { items, full },
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
