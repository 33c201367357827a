//! What the pages of one shard take in memory: what is reserved for a read, and what is held of it.
//!
//! A read is paid for before it begins, since nobody can refuse what has arrived. What it will
//! bring is not known, so that the most it can bring is reserved, unless what came before tells
//! more. Afterwards what is held is counted as it is: a page is held as long as one of its records
//! is, and a batch is copied when it is sent.

use std::collections::VecDeque;
use std::time::Duration;

use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::record::{PageWatch, Record};
use windlass_core::shard::ReadResult;
use windlass_core::shard::ShardView;
use windlass_core::time::Timestamp;

use crate::memory::{Account, Reservation};

/// What a record takes besides its rendered text: its place in the page, in its lane and in the
/// account of what is resolved.
const RECORD_OVERHEAD: usize = 128;

/// How long a read at the tip of a shard says what the next can bring.
const TIP_TTL: Duration = Duration::from_secs(2);

/// What a read soon after another one at the tip may ask for, and what is reserved for it: Kinesis
/// lets a shard take in 1,000 records and 1 MB a second.
///
/// <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
const TIP_RECORDS: u32 = 1_000;
const TIP_BYTES: usize = 8 * 1024 * 1024;

/// With little room so many records are read of which nothing is known: enough to know them.
const FEW_RECORDS: u32 = 10;

/// The memory of one shard.
#[derive(Debug)]
pub(crate) struct PageMemory {
    reservation: Reservation,
    /// The most that a read of this source takes.
    most: usize,
    /// The largest record seen lately, rendered.
    largest: Option<usize>,
    /// When a read last reached the tip of the shard.
    at_tip: Option<Timestamp>,
    /// A page that has arrived and is not taken in yet.
    arriving: Option<Arriving>,
    /// The pages of which records are held, oldest first.
    pages: VecDeque<Held>,
    /// What all of them take.
    bytes: usize,
    /// What their records take that were taken in, whether they are still held or not.
    kept: usize,
    /// The rendered size of the records that are held.
    buffered: usize,
}

/// A read that is about to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// At most so many records.
    pub(crate) limit: u32,
    largest: Option<usize>,
    most: usize,
}

#[derive(Debug)]
struct Arriving {
    bytes: usize,
    /// Tells whether anybody still holds it.
    page: PageWatch,
}

#[derive(Debug)]
struct Held {
    bytes: usize,
    /// What its records take that were taken in.
    kept: usize,
}

impl PageMemory {
    /// Of a shard of which one read takes `most` bytes at the most.
    pub(crate) fn new(account: &Account, most: usize) -> Self {
        Self {
            reservation: account.nothing(),
            most,
            largest: None,
            at_tip: None,
            arriving: None,
            pages: VecDeque::new(),
            bytes: 0,
            kept: 0,
            buffered: 0,
        }
    }

    /// What a read of at most `limit` records can be expected to take.
    pub(crate) fn plan(&self, limit: u32, now: Timestamp) -> Plan {
        let recent = |tip: Timestamp| now.since(tip) <= TIP_TTL;
        let at_tip = self.at_tip.is_some_and(recent);
        Plan {
            limit: if at_tip {
                limit.min(TIP_RECORDS)
            } else {
                limit
            },
            largest: self.largest,
            most: if at_tip {
                self.most.min(TIP_BYTES)
            } else {
                self.most
            },
        }
    }

    /// A page has arrived that was asked for with `limit`, with what was reserved for it.
    pub(crate) fn arrives(&mut self, page: &ReadResult, limit: u32, now: Timestamp) {
        let sizes = page.records.iter().map(Record::event_len);
        let full = limit as usize <= page.records.len();
        self.at_tip = (page.behind.is_zero() && !full).then_some(now);
        let Some(last) = page.records.last() else {
            return;
        };
        let before = self.largest.unwrap_or(0);
        self.largest = sizes.clone().max().max(Some(before - before / 8));
        self.arriving = Some(Arriving {
            bytes: sizes.sum(),
            page: last.watch_page(),
        });
    }

    /// Adds what was reserved for a read that has ended.
    pub(crate) fn add(&mut self, reservation: Reservation) {
        self.reservation.merge(reservation);
    }

    /// Counts what the consumer holds, and gives back what goes beyond it.
    pub(crate) fn settle(&mut self, view: &ShardView) {
        if let Some(Arriving { bytes, page }) = self.arriving.take() {
            let kept = view.buffered_bytes.saturating_sub(self.buffered);
            // The consumer moves what it keeps of a page elsewhere if that is little.
            let bytes = if page.is_retained() { bytes } else { kept };
            if 0 < kept {
                self.pages.push_back(Held { bytes, kept });
                self.bytes += bytes;
                self.kept += kept;
            }
        }
        self.buffered = view.buffered_bytes;
        // Records are resolved in the order of the shard, or nearly so.
        while let Some(page) = self.pages.front() {
            if self.kept < self.buffered + page.kept {
                break;
            }
            self.bytes -= page.bytes;
            self.kept -= page.kept;
            self.pages.pop_front();
        }
        let records = view.buffered_records * RECORD_OVERHEAD;
        // The event of the next invocation is another copy: it cannot wait for room.
        let event = self.bytes.min(PAYLOAD_LIMIT);
        self.reservation.set(self.bytes + records + event);
    }
}

impl Plan {
    /// What must be reserved for a read: for the page, and for as much again, first while it grows
    /// and later for the copy that is sent.
    pub(crate) fn bytes(&self) -> usize {
        let records = self.limit as usize;
        let expected = self
            .record()
            .map(|bytes| bytes.saturating_mul(records))
            .unwrap_or(self.most);
        expected.min(self.most)
    }

    /// The same read, for which less room was found than it wanted, or room that is scarce.
    pub(crate) fn fit(self, room: usize, scarce: bool, batch_size: u32) -> Self {
        let fitting = if room < self.bytes() || scarce {
            self.record().map_or(FEW_RECORDS, |bytes| {
                u32::try_from(room / bytes).unwrap_or(u32::MAX)
            })
        } else {
            self.limit
        };
        let most = if scarce { batch_size } else { self.limit };
        let limit = self.limit.min(most).min(fitting.max(1));
        Self { limit, ..self }
    }

    /// What one record takes, as large as they have been lately.
    fn record(&self) -> Option<usize> {
        let largest = self.largest?;
        Some(
            largest
                .saturating_mul(2)
                .saturating_add(2 * RECORD_OVERHEAD),
        )
    }
}

#[cfg(test)]
mod tests;
