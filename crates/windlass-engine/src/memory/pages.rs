//! Memory of one shard: reserved for the page that arrives, and kept until the pages are dropped.
//!
//! A page ends where the memory that is reserved for it ends; reading continues after it. Afterwards
//! the actual size counts: a page stays in memory as long as one of its records does, and a batch is
//! copied when it is sent.

use std::time::Duration;

use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::outcome::Fault;
use windlass_core::record::Record;
use windlass_core::record_page::RetainedBytes;
use windlass_core::shard::{ReadResult, ShardView};

use super::backpressure::Backpressure;
use super::budget::{Account, Availability, Reservation};
use super::response::{MIN_PAGE_BYTES, ResponseGrant};
use crate::clock::Clock;
use crate::ports::ReadLimits;

/// Memory of a record in addition to its event: its entries in its page, its lane and the progress.
const RECORD_OVERHEAD: usize = 128;

/// Records of a first read while memory is scarce: enough to learn how large they are.
const PROBE_RECORDS: u32 = 10;

#[derive(Debug)]
pub(crate) struct PageMemory {
    account: Account,
    backpressure: Backpressure,
    clock: Clock,
    /// Records of one batch: the most to read while memory is scarce.
    batch_size: u32,
    /// Memory of the largest page that this source returns.
    max_page: usize,
    reservation: Reservation,
    /// All pages in memory.
    retained: RetainedBytes,
    /// Bytes of the largest recent event.
    largest: Option<usize>,
}

/// Permission to read.
#[derive(Debug)]
pub(crate) struct ReadGrant {
    max_records: u32,
    response: ResponseGrant,
}

impl PageMemory {
    pub(crate) fn new(
        account: Account,
        backpressure: Backpressure,
        clock: Clock,
        max_page: usize,
        batch_size: usize,
    ) -> Self {
        Self {
            reservation: account.empty(),
            account,
            backpressure,
            clock,
            batch_size: u32::try_from(batch_size).unwrap_or(u32::MAX),
            max_page,
            retained: RetainedBytes::default(),
            largest: None,
        }
    }

    /// Waits until there is memory for a page of up to `max_records` records, and reserves none.
    pub(crate) fn grant_read(
        &self,
        max_records: u32,
    ) -> impl Future<Output = ReadGrant> + Send + use<> {
        let (account, backpressure) = (self.account.clone(), self.backpressure.clone());
        let (clock, max_page) = (self.clock, self.max_page);
        let fitting = max_records.min(self.fitting_records(account.share()));
        let scarce = fitting.min(self.batch_size).min(self.scarce_records());
        async move {
            let available = backpressure.wait_until_available(&account, MIN_PAGE_BYTES);
            let max_records = match available.await {
                Availability::Ample => fitting,
                Availability::Scarce | Availability::None => scarce,
            };
            ReadGrant {
                max_records,
                response: ResponseGrant::new(account, backpressure, clock, max_page),
            }
        }
    }

    /// Accounts for the result of a read.
    pub(crate) fn handle_read(&mut self, grant: ReadGrant, result: &Result<ReadResult, Fault>) {
        let (reservation, _) = grant.response.into_parts();
        self.reservation.merge(reservation);
        let Ok(page) = result else {
            return;
        };
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

    /// How many records fit into `bytes` if they are as large as recent ones.
    fn fitting_records(&self, bytes: usize) -> u32 {
        let record = |largest: usize| largest.saturating_add(RECORD_OVERHEAD).saturating_mul(2);
        let fitting = self
            .largest
            .map_or(usize::MAX, |largest| bytes / record(largest));
        u32::try_from(fitting).unwrap_or(u32::MAX).max(1)
    }

    fn scarce_records(&self) -> u32 {
        match self.largest {
            Some(_) => self.fitting_records(MIN_PAGE_BYTES),
            None => PROBE_RECORDS,
        }
    }
}

impl ReadGrant {
    pub(crate) fn limits(&self, timeout: Duration) -> ReadLimits<'_> {
        ReadLimits {
            max_records: self.max_records,
            memory: &self.response,
            timeout,
        }
    }
}

#[cfg(test)]
mod tests;
