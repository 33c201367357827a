//! Memory of one shard: reserved for the page that arrives, and kept until the pages are dropped.
//!
//! A read at the tip usually returns nothing, and thousands can be in flight, so it reserves memory
//! only when its response arrives. A read elsewhere returns as much as it requests: it reserves that
//! before it starts, or its response would wait for memory on its connection. A source that sends
//! records by itself has a connection for each shard, where they wait.
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
use windlass_core::time::Timestamp;

use super::backpressure::Backpressure;
use super::budget::{Account, Availability, Reservation};
use super::response::{MIN_PAGE_BYTES, ResponseGrant};
use crate::clock::Clock;
use crate::ports::ReadLimits;

/// Memory of a record in addition to its event: its entries in its page, its lane and the progress.
const RECORD_OVERHEAD: usize = 128;

/// Limits of a first read, while it is unknown how large records are.
const FIRST_RECORDS: u32 = 1_000;
const FIRST_BYTES: usize = 8 * 1024 * 1024;

/// Records of a first read while memory is scarce.
const PROBE_RECORDS: u32 = 10;

/// How long after a read at the tip of a shard another one is expected to return nothing.
const TIP_TTL: Duration = Duration::from_secs(2);

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
    wait: MemoryWait,
    /// When a read last reached the tip of the shard.
    at_tip: Option<Timestamp>,
}

/// When a read that is not at the tip waits for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryWait {
    BeforeRead,
    /// For a source that sends records by itself.
    OnArrival,
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
        wait: MemoryWait,
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
            wait,
            at_tip: None,
        }
    }

    /// Waits until there is memory for a page of up to `max_records` records, unless it is in memory
    /// already. It reserves none at the tip, and for a source that sends records by itself.
    pub(crate) fn grant_read(
        &self,
        max_records: u32,
        is_in_memory: bool,
        now: Timestamp,
    ) -> impl Future<Output = ReadGrant> + Send + use<> {
        let (account, backpressure) = (self.account.clone(), self.backpressure.clone());
        let (clock, max_page) = (self.clock, self.max_page);
        let fitting = max_records.min(self.fitting_records(account.share()));
        let scarce = fitting.min(self.batch_size).min(self.scarce_records());
        let is_at_tip = self.at_tip.is_some_and(|tip| now.since(tip) <= TIP_TTL);
        let waits_on_arrival = is_at_tip || self.wait == MemoryWait::OnArrival;
        let expected = self.page_bytes(fitting);
        async move {
            let (is_scarce, reservation) = if is_in_memory {
                (false, account.empty())
            } else if waits_on_arrival {
                let available = backpressure.wait_until_available(&account, MIN_PAGE_BYTES);
                (available.await != Availability::Ample, account.empty())
            } else {
                let reservation = backpressure.reserve(&account, expected).await;
                (reservation.is_scarce(), reservation)
            };
            let response = ResponseGrant::new(account, backpressure, clock, max_page);
            ReadGrant {
                max_records: if is_scarce { scarce } else { fitting },
                response: response.with(reservation),
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
        let max_records = grant.max_records as usize;
        let (reservation, _) = grant.response.into_parts();
        self.reservation.merge(reservation);
        let Ok(page) = result else {
            return;
        };
        let is_full = max_records <= page.records.len();
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
    pub(crate) fn settle(&mut self, view: &ShardView, state_bytes: usize) {
        let pages = self.retained.get();
        let records = view.buffered_records * RECORD_OVERHEAD;
        // Kept, in the checkpoint that is written, and returned by the next invocation.
        let states = state_bytes * 3;
        // The event of each lane's next invocation is another copy, and its memory cannot be waited
        // for.
        let events = pages.min(view.n_lanes * PAYLOAD_LIMIT);
        self.reservation.set(pages + records + events + states);
    }

    /// How many records fit into `bytes` if they are as large as recent ones.
    fn fitting_records(&self, bytes: usize) -> u32 {
        match self.record_bytes() {
            Some(record) => u32::try_from(bytes / record).unwrap_or(u32::MAX).max(1),
            None => FIRST_RECORDS,
        }
    }

    /// Memory of a page of `n_records` if they are as large as recent ones.
    fn page_bytes(&self, n_records: u32) -> usize {
        let expected = match self.record_bytes() {
            Some(record) => record.saturating_mul(n_records as usize),
            None => FIRST_BYTES,
        };
        expected.min(self.max_page)
    }

    /// Memory of one record, if it is as large as recent ones: on its page, and in the buffer that
    /// grows or in the copy that is sent.
    fn record_bytes(&self) -> Option<usize> {
        let largest = self.largest?;
        Some(largest.saturating_add(RECORD_OVERHEAD).saturating_mul(2))
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
