//! Counted is what is in memory; reserved is what arrives.

use std::time::Duration;

use futures::FutureExt;
use windlass_core::ids::KeyHash;
use windlass_core::mapping::MappingId;
use windlass_core::position::{Cursor, Position};
use windlass_core::record_page::{RecordMeta, RecordPageBuilder};
use windlass_core::shard::PageStart;
use windlass_core::time::Timestamp;

use super::*;
use crate::memory::Budget;
use crate::ports::ResponseMemory;

const MAX_PAGE: usize = 32 * 1024 * 1024;
const NOW: Timestamp = Timestamp::from_millis(1_000_000);

const META: RecordMeta<'_> = RecordMeta {
    sequence_number: "1",
    inner: None,
    key: KeyHash(1),
    approximate_arrival: NOW,
};

struct Shard {
    budget: Budget,
    memory: PageMemory,
}

impl Shard {
    fn new() -> Self {
        Self::waiting(MemoryWait::BeforeRead)
    }

    fn waiting(wait: MemoryWait) -> Self {
        let budget = Budget::new(1 << 30);
        let account = budget.account(&MappingId::new("m"));
        let (waits, clock) = (Backpressure::default(), Clock::start());
        let memory = PageMemory::new(account, waits, clock, MAX_PAGE, 100, wait);
        Self { budget, memory }
    }

    /// Reads a page of up to 100 records.
    fn read(&mut self, n_records: usize, size: usize, behind: Duration) -> Vec<Record> {
        let records = page(n_records, size);
        let result = Ok(ReadResult {
            start: PageStart::Continued,
            records: records.clone(),
            next: Some(Cursor::at(Position::TrimHorizon)),
            behind,
            has_children: false,
            unreadable: None,
        });
        let grant = self.grant(100);
        self.memory.handle_read(grant, &result, NOW);
        records
    }

    fn grant(&self, max_records: u32) -> ReadGrant {
        let grant = self
            .memory
            .grant_read(max_records, false, NOW)
            .now_or_never();
        grant.expect("there is memory")
    }

    /// The memory in use when the consumer has these records.
    fn used_by(&mut self, records: &[Record]) -> usize {
        self.memory.settle(&view(records), 0);
        self.budget.used()
    }
}

fn page(n_records: usize, size: usize) -> Vec<Record> {
    let mut builder = RecordPageBuilder::default();
    for _ in 0..n_records {
        builder.push(&META, &vec![b'x'; size], 0..0);
    }
    Record::of_page(builder.finish())
}

/// Events, each with a comma after it, and sequence numbers.
fn page_len(n_records: usize, size: usize) -> usize {
    n_records * (size + 2)
}

fn view(records: &[Record]) -> ShardView {
    ShardView {
        reached: None,
        n_lanes: 1,
        waiting_lanes: 0,
        checkpoint: Position::TrimHorizon,
        behind: None,
        oldest: None,
        buffered_records: records.len(),
        buffered_bytes: records.iter().map(Record::event_len).sum(),
        in_flight_records: 0,
        attempt: 1,
        retried: Vec::new(),
        last_outcome: None,
        waiting: None,
        gap: None,
        next_at: None,
    }
}

#[test]
fn a_page_counts_until_the_last_of_its_records_is_resolved() {
    let mut shard = Shard::new();
    let mut records = shard.read(10, 1_000, Duration::ZERO);
    // The page, and the copy that is sent.
    let bytes = 2 * page_len(10, 1_000);
    assert_eq!(shard.used_by(&records), bytes + 10 * RECORD_OVERHEAD);
    records.drain(..9);
    assert_eq!(shard.used_by(&records), bytes + RECORD_OVERHEAD);
    records.clear();
    assert_eq!(shard.used_by(&records), 0);
}

#[test]
fn pages_are_released_in_any_order() {
    let mut shard = Shard::new();
    let pages = [(); 3].map(|()| shard.read(2, 4_000_000, Duration::ZERO));
    let [first, second, third] = pages;
    let bytes = page_len(2, 4_000_000);
    // The copy that is sent is not larger than the payload of one invocation.
    let of_records = |n| PAYLOAD_LIMIT + n * RECORD_OVERHEAD;
    let all = [&first[..], &second, &third].concat();
    assert_eq!(shard.used_by(&all), 3 * bytes + of_records(6));
    drop((all, second));
    let rest = [&first[..], &third].concat();
    assert_eq!(shard.used_by(&rest), 2 * bytes + of_records(4));
    drop((rest, third));
    assert_eq!(shard.used_by(&first[1..]), bytes + of_records(1));
    drop(first);
    assert_eq!(shard.used_by(&[]), 0);
}

#[test]
fn a_read_at_the_tip_reserves_when_its_response_arrives() {
    let mut shard = Shard::new();
    shard.read(0, 0, Duration::ZERO);
    shard.used_by(&[]);
    let grant = shard.grant(10_000);
    assert_eq!((grant.max_records, shard.budget.used()), (FIRST_RECORDS, 0));
    let reserve = |bytes| grant.response.reserve(bytes).now_or_never();
    // An idle shard returns less than a record.
    assert_eq!(reserve(Some(200)), Some(MIN_PAGE_BYTES));
    assert_eq!(shard.budget.used(), 0);
    assert_eq!(reserve(Some(1_000_000)), Some(2_000_000));
    assert_eq!(shard.budget.used(), 2_000_000);
}

#[test]
fn a_response_of_unknown_length_reserves_the_largest_page() {
    let mut shard = Shard::new();
    shard.read(0, 0, Duration::ZERO);
    shard.used_by(&[]);
    let grant = shard.grant(10_000);
    let max_bytes = grant.response.reserve(None).now_or_never();
    assert_eq!(max_bytes, Some(MAX_PAGE));
    assert_eq!(shard.budget.used(), MAX_PAGE);
    drop(grant);
    assert_eq!(shard.budget.used(), 0);
}

#[test]
fn a_read_that_returns_records_reserves_before_it_starts() {
    let mut shard = Shard::new();
    // It is unknown how large the first records are.
    let first = shard.grant(10_000);
    assert_eq!(
        (first.max_records, shard.budget.used()),
        (FIRST_RECORDS, FIRST_BYTES)
    );
    let reserved = first.response.reserve(Some(100_000_000)).now_or_never();
    assert_eq!(reserved, Some(FIRST_BYTES), "it waits for no more");
    drop(first);
    drop(shard.read(10, 2_000, Duration::from_secs(9)));
    shard.used_by(&[]);
    let grant = shard.grant(100);
    assert_eq!(shard.budget.used(), 100 * 2 * (2_000 + RECORD_OVERHEAD));
    drop(grant);
    // Some servers report every page to end at the tip; a full one does not.
    drop(shard.read(100, 10, Duration::ZERO));
    shard.used_by(&[]);
    let _grant = shard.grant(100);
    assert!(0 < shard.budget.used());
}

#[test]
fn while_memory_is_scarce_a_read_requests_little() {
    let mut shard = Shard::new();
    let other = shard.budget.account(&MappingId::new("other"));
    let mut full = other.empty();
    full.set(shard.budget.total() / 8 * 7);
    assert_eq!(shard.grant(10_000).max_records, PROBE_RECORDS);
    drop(shard.read(1, 1_000, Duration::from_secs(9)));
    shard.used_by(&[]);
    assert_eq!(shard.grant(10_000).max_records, 100);
    drop(shard.read(1, 10_000, Duration::from_secs(9)));
    shard.used_by(&[]);
    let record = 2 * (10_000 + RECORD_OVERHEAD);
    let fitting = u32::try_from(MIN_PAGE_BYTES / record).unwrap();
    assert_eq!(shard.grant(10_000).max_records, fitting);
    full.set(shard.budget.total());
    let grant = |is_in_memory| shard.memory.grant_read(1, is_in_memory, NOW);
    assert!(grant(false).now_or_never().is_none());
    assert!(grant(true).now_or_never().is_some());
}

#[test]
fn what_a_reader_keeps_of_a_response_is_counted_until_it_drops_it() {
    let mut shard = Shard::waiting(MemoryWait::OnArrival);
    let grant = shard.grant(100);
    grant.response.reserve(Some(1_000_000)).now_or_never();
    let kept = grant.response.keep(300_000);
    assert_eq!(shard.budget.used(), 2_000_000);
    shard.memory.handle_read(grant, &Err(Fault::Transient), NOW);
    assert_eq!(shard.used_by(&[]), 300_000);
    drop(kept);
    assert_eq!(shard.used_by(&[]), 0);
}

#[test]
fn a_read_requests_no_more_records_than_fit_into_a_share() {
    let mut shard = Shard::new();
    shard.read(1, 1_000_000, Duration::from_secs(9));
    let share = shard.budget.total() / 16;
    let record = 2 * (1_000_000 + RECORD_OVERHEAD);
    let fitting = u32::try_from(share / record).unwrap();
    assert_eq!(shard.grant(10_000).max_records, fitting);
}

#[tokio::test]
async fn a_page_that_the_source_sends_by_itself_gets_its_memory_on_arrival() {
    let mut shard = Shard::waiting(MemoryWait::OnArrival);
    let behind = Duration::from_secs(60);
    let records = shard.read(100, 10_000, behind);
    let held = shard.used_by(&records);
    let grant = shard.grant(100);
    assert_eq!(shard.budget.used(), held, "no memory while it waits");
    let limits = grant.limits(Duration::ZERO);
    let event = 4 << 20;
    assert!(event <= limits.memory.reserve(Some(event)).await);
    assert!(held + event <= shard.budget.used());
    drop(grant);
    assert_eq!(shard.budget.used(), held);
}
