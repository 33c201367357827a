//! Memory of one shard: reserved before each read, and kept until the pages are dropped.
//!
//! The size of a page is unknown before the read. The largest possible page is reserved, or less if
//! earlier records tell how large records are. Afterwards the actual size counts: a page stays in
//! memory as long as one of its records does, and a batch is copied when it is sent.

use std::time::Duration;

use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::outcome::Fault;
use windlass_core::record::Record;
use windlass_core::record_page::RetainedBytes;
use windlass_core::shard::{ReadResult, ShardView};
use windlass_core::time::Timestamp;

use super::backpressure::{Backpressure, Limit};
use super::budget::{Account, Reservation};
use crate::ports::ReadLimits;

/// Memory of a record in addition to its event: its entries in its page, its lane and the progress.
const RECORD_OVERHEAD: usize = 128;

/// How long after a read at the tip of a shard [`TIP_RECORDS`] and [`TIP_BYTES`] apply.
const TIP_TTL: Duration = Duration::from_secs(2);

/// Limits of a read shortly after another one at the tip: a shard of Kinesis accepts 1,000 records
/// and 1 MB a second.
///
/// <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
const TIP_RECORDS: u32 = 1_000;
const TIP_BYTES: usize = 8 * 1024 * 1024;

/// Records of a first read while memory is scarce: enough to learn how large they are.
const PROBE_RECORDS: u32 = 10;

/// Minimum page size, even under memory pressure: a tiny read costs as much as a large one.
const MIN_PAGE_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct PageMemory {
    account: Account,
    backpressure: Backpressure,
    /// Records of one batch: the most to read while memory is scarce.
    batch_size: u32,
    /// Memory of the largest page that this source returns.
    max_page: usize,
    reservation: Reservation,
    /// All pages in memory.
    retained: RetainedBytes,
    /// Bytes of the largest recent event.
    largest: Option<usize>,
    /// When a read last reached the tip of the shard.
    at_tip: Option<Timestamp>,
}

/// Permission to read, with the memory that is reserved for it.
#[derive(Debug)]
pub(crate) struct ReadGrant {
    pub(crate) limits: ReadLimits,
    reservation: Reservation,
}

/// What a read may need.
#[derive(Clone, Copy, Debug)]
struct ReadPlan {
    max_records: u32,
    /// Bytes of the largest recent event.
    largest: Option<usize>,
    max_page: usize,
}

impl PageMemory {
    pub(crate) fn new(
        account: Account,
        backpressure: Backpressure,
        max_page: usize,
        batch_size: usize,
    ) -> Self {
        Self {
            reservation: account.empty(),
            account,
            backpressure,
            batch_size: u32::try_from(batch_size).unwrap_or(u32::MAX),
            max_page,
            retained: RetainedBytes::default(),
            largest: None,
            at_tip: None,
        }
    }

    /// Waits for the memory of a read of up to `max_records` records, which then has `timeout`.
    pub(crate) fn grant_read(
        &self,
        max_records: u32,
        timeout: Duration,
        now: Timestamp,
    ) -> impl Future<Output = ReadGrant> + Send + use<> {
        let plan = self.plan(max_records, now);
        let (account, backpressure) = (self.account.clone(), self.backpressure.clone());
        let batch_size = self.batch_size;
        async move {
            let bytes = plan.bytes();
            let reservation = backpressure.reserve(Limit::Memory, &account, bytes);
            let mut reservation = reservation.await;
            let is_scarce = reservation.is_scarce();
            let plan = plan.fit(reservation.amount(), is_scarce, batch_size);
            reservation.shrink_to(plan.bytes());
            ReadGrant {
                limits: ReadLimits {
                    max_records: plan.max_records,
                    max_bytes: reservation.amount().max(MIN_PAGE_BYTES),
                    timeout,
                },
                reservation,
            }
        }
    }

    /// Accounts for the result of a read.
    pub(crate) fn handle_read(
        &mut self,
        grant: ReadGrant,
        result: &Result<ReadResult, Fault>,
        now: Timestamp,
    ) {
        self.reservation.merge(grant.reservation);
        let Ok(page) = result else {
            return;
        };
        let is_full = grant.limits.max_records as usize <= page.records.len();
        self.at_tip = (page.behind.is_zero() && !is_full).then_some(now);
        let Some(record) = page.records.first() else {
            return;
        };
        record.count_page_in(&self.retained);
        let previous = self.largest.unwrap_or(0);
        let largest = page.records.iter().map(Record::event_len).max();
        self.largest = largest.max(Some(previous - previous / 8));
    }

    /// Releases what the consumer no longer needs. Call it after each input of the consumer.
    pub(crate) fn settle(&mut self, view: &ShardView) {
        let pages = self.retained.get();
        let records = view.buffered_records * RECORD_OVERHEAD;
        // The event of the next invocation is another copy, and its memory cannot be waited for.
        let event = pages.min(PAYLOAD_LIMIT);
        self.reservation.set(pages + records + event);
    }

    fn plan(&self, max_records: u32, now: Timestamp) -> ReadPlan {
        let at_tip = self.at_tip.is_some_and(|tip| now.since(tip) <= TIP_TTL);
        let (tip_records, tip_bytes) = if at_tip {
            (TIP_RECORDS, TIP_BYTES)
        } else {
            (u32::MAX, usize::MAX)
        };
        ReadPlan {
            max_records: max_records.min(tip_records),
            largest: self.largest,
            max_page: self.max_page.min(tip_bytes),
        }
    }
}

impl ReadPlan {
    /// Memory of the page, and the same again: first for the buffer that grows, later for the copy
    /// that is sent.
    fn bytes(&self) -> usize {
        let records = self.max_records as usize;
        let expected = self.record().map(|bytes| bytes.saturating_mul(records));
        expected.unwrap_or(self.max_page).min(self.max_page)
    }

    /// Reads fewer records if less memory is available than planned, or if it is scarce.
    fn fit(mut self, available: usize, is_scarce: bool, batch_size: u32) -> Self {
        if available < self.bytes() || is_scarce {
            let fitting = self.record().map_or(PROBE_RECORDS, |bytes| {
                u32::try_from(available / bytes).unwrap_or(u32::MAX)
            });
            self.max_records = self.max_records.min(fitting.max(1));
        }
        if is_scarce {
            self.max_records = self.max_records.min(batch_size);
        }
        self
    }

    /// Memory of one record, if it is as large as recent ones.
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
