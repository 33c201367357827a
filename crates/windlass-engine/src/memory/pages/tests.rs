//! Counted is what is in memory; reserved is what may arrive.

use futures::FutureExt;
use windlass_core::ids::KeyHash;
use windlass_core::mapping::MappingId;
use windlass_core::position::{Cursor, Position};
use windlass_core::record_page::{RecordMeta, RecordPageBuilder};
use windlass_core::shard::PageStart;

use super::*;
use crate::memory::Budget;

const MAX_PAGE: usize = 32 * 1024 * 1024;
const NOW: Timestamp = Timestamp::from_millis(1_000_000);

const META: RecordMeta<'_> = RecordMeta {
    sequence_number: "1",
    key: KeyHash(1),
    approximate_arrival: NOW,
};

struct Shard {
    budget: Budget,
    memory: PageMemory,
}

impl Shard {
    fn new() -> Self {
        let budget = Budget::new(1 << 30);
        let account = budget.account(&MappingId::new("m"));
        let memory = PageMemory::new(account, Backpressure::default(), MAX_PAGE, 100);
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
        });
        let grant = self.memory.grant_read(100, NOW).now_or_never();
        let grant = grant.expect("there is memory");
        self.memory.handle_read(grant, &result, NOW);
        records
    }

    /// The memory in use when the consumer has these records.
    fn used_by(&mut self, records: &[Record]) -> usize {
        self.memory.settle(&view(records));
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

/// Events, commas between them, and sequence numbers.
fn page_len(n_records: usize, size: usize) -> usize {
    n_records * size + (n_records - 1) + n_records
}

fn view(records: &[Record]) -> ShardView {
    ShardView {
        checkpoint: Position::TrimHorizon,
        behind: None,
        oldest: None,
        buffered_records: records.len(),
        buffered_bytes: records.iter().map(Record::event_len).sum(),
        in_flight_records: 0,
        attempt: 1,
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
fn a_first_read_reserves_the_largest_page() {
    let mut shard = Shard::new();
    let plan = shard.memory.plan(10_000, NOW);
    assert_eq!((plan.max_records, plan.bytes()), (10_000, MAX_PAGE));
    shard.read(10, 2_000, Duration::from_secs(9));
    let plan = shard.memory.plan(10_000, NOW);
    assert_eq!((plan.max_records, plan.bytes()), (10_000, MAX_PAGE));
    let record = 4_000 + 2 * RECORD_OVERHEAD;
    assert_eq!(shard.memory.plan(100, NOW).bytes(), 100 * record);
}

#[test]
fn a_read_shortly_after_the_tip_reserves_little() {
    let mut shard = Shard::new();
    shard.read(0, 0, Duration::ZERO);
    let plan = shard.memory.plan(10_000, NOW + Duration::from_secs(1));
    assert_eq!((plan.max_records, plan.bytes()), (1_000, TIP_BYTES));
    let plan = shard.memory.plan(10_000, NOW + Duration::from_secs(3));
    assert_eq!((plan.max_records, plan.bytes()), (10_000, MAX_PAGE));
    // Some servers report every page to end at the tip; a full one does not.
    shard.read(100, 10, Duration::ZERO);
    assert_eq!(shard.memory.plan(10_000, NOW).max_records, 10_000);
}

#[test]
fn a_read_requests_what_fits_into_its_reservation() {
    let mut shard = Shard::new();
    let granted = |plan: ReadPlan, available, is_scarce, batch_size| {
        plan.fit(available, is_scarce, batch_size).max_records
    };
    let unknown = shard.memory.plan(10_000, NOW);
    assert_eq!(granted(unknown, MAX_PAGE, false, 100), 10_000);
    assert_eq!(granted(unknown, MAX_PAGE, true, 100), 10);
    assert_eq!(granted(unknown, MAX_PAGE / 2, false, 100), 10);
    shard.read(1, 1_000, Duration::from_secs(9));
    let known = shard.memory.plan(1_000, NOW);
    let record = 2_000 + 2 * RECORD_OVERHEAD;
    assert_eq!(granted(known, known.bytes(), false, 100), 1_000);
    assert_eq!(granted(known, 50 * record, false, 100), 50);
    assert_eq!(granted(known, 50 * record, true, 10), 10);
    assert_eq!(granted(known, 1, true, 100), 1);
}
