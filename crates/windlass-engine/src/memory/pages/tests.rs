//! What is counted is what is held, and what is reserved is what may come.

use windlass_core::ids::KeyHash;
use windlass_core::mapping::MappingId;
use windlass_core::position::{Cursor, Position};
use windlass_core::record_page::{RecordMeta, RecordPageBuilder};

use super::*;
use crate::memory::Budget;

const MOST: usize = 32 * 1024 * 1024;
const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn memory() -> (Budget, PageMemory) {
    let budget = Budget::new(1 << 30);
    let memory = PageMemory::new(&budget.account(&MappingId::new("m")), MOST);
    (budget, memory)
}

const META: RecordMeta<'_> = RecordMeta {
    sequence_number: "1",
    key: KeyHash(1),
    approximate_arrival: NOW,
};

/// A page in one buffer, as the adapters render it.
fn page(n_records: usize, size: usize, behind: Duration) -> ReadResult {
    let mut builder = RecordPageBuilder::default();
    for _ in 0..n_records {
        builder.push(&META, &vec![b'x'; size], 0..0);
    }
    ReadResult {
        records: Record::of_page(builder.finish()),
        next: Some(Cursor::at(Position::TrimHorizon)),
        behind,
    }
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
        next_at: None,
    }
}

#[test]
fn a_page_is_held_until_the_last_of_its_records_is_resolved() {
    let (budget, mut memory) = memory();
    let page = page(10, 1_000, Duration::ZERO);
    memory.arrives(&page, 100, NOW);
    let mut records = page.records;
    memory.settle(&view(&records));
    assert_eq!(budget.used(), 10_000 + 10 * RECORD_OVERHEAD + 10_000);
    records.drain(..9);
    memory.settle(&view(&records));
    assert_eq!(budget.used(), 10_000 + RECORD_OVERHEAD + 10_000);
    memory.settle(&view(&[]));
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_page_of_which_a_filter_keeps_most_is_counted_whole() {
    let (budget, mut memory) = memory();
    let page = page(10, 1_000, Duration::ZERO);
    memory.arrives(&page, 100, NOW);
    let kept = page.records[..6].to_vec();
    drop(page);
    memory.settle(&view(&kept));
    assert_eq!(budget.used(), 10_000 + 6 * RECORD_OVERHEAD + 10_000);
    memory.settle(&view(&kept[5..]));
    assert_eq!(budget.used(), 10_000 + RECORD_OVERHEAD + 10_000);
    memory.settle(&view(&[]));
    assert_eq!(budget.used(), 0);
}

#[test]
fn pages_go_one_after_the_other() {
    let (budget, mut memory) = memory();
    let mut records = Vec::new();
    for _ in 0..3 {
        let page = page(2, 4_000_000, Duration::ZERO);
        memory.arrives(&page, 100, NOW);
        records.extend(page.records);
        memory.settle(&view(&records));
    }
    // The copy that is sent is never larger than what one invocation may carry.
    let overhead = PAYLOAD_LIMIT + 6 * RECORD_OVERHEAD;
    assert_eq!(budget.used(), 24_000_000 + overhead);
    records.drain(..3);
    memory.settle(&view(&records));
    let overhead = PAYLOAD_LIMIT + 3 * RECORD_OVERHEAD;
    assert_eq!(budget.used(), 16_000_000 + overhead);
}

#[test]
fn what_was_moved_out_of_its_page_is_counted_alone() {
    let (budget, mut memory) = memory();
    let page = page(10, 1_000, Duration::ZERO);
    memory.arrives(&page, 100, NOW);
    let kept = Record::standalone(&META, page.records[3].event(), 0..0);
    drop(page);
    memory.settle(&view(&[kept]));
    assert_eq!(budget.used(), 1_000 + RECORD_OVERHEAD + 1_000);
}

#[test]
fn a_read_takes_the_most_until_something_is_known() {
    let (_, mut memory) = memory();
    let plan = memory.plan(10_000, NOW);
    assert_eq!((plan.limit, plan.bytes()), (10_000, MOST));
    memory.arrives(&page(10, 2_000, Duration::from_secs(9)), 100, NOW);
    let plan = memory.plan(10_000, NOW);
    assert_eq!((plan.limit, plan.bytes()), (10_000, MOST));
    let record = 4_000 + 2 * RECORD_OVERHEAD;
    assert_eq!(memory.plan(100, NOW).bytes(), 100 * record);
}

#[test]
fn soon_after_the_tip_a_read_brings_little() {
    let (_, mut memory) = memory();
    memory.arrives(&page(0, 0, Duration::ZERO), 100, NOW);
    let plan = memory.plan(10_000, NOW + Duration::from_secs(1));
    assert_eq!((plan.limit, plan.bytes()), (1_000, TIP_BYTES));
    let plan = memory.plan(10_000, NOW + Duration::from_secs(3));
    assert_eq!((plan.limit, plan.bytes()), (10_000, MOST));
    // Some servers say of every page that it ends at the tip; one that is full does not.
    memory.arrives(&page(100, 10, Duration::ZERO), 100, NOW);
    assert_eq!(memory.plan(10_000, NOW).limit, 10_000);
}

#[test]
fn a_read_asks_for_what_there_is_room_for() {
    let (_, mut memory) = memory();
    let unknown = memory.plan(10_000, NOW);
    assert_eq!(unknown.fit(MOST, false, 100).limit, 10_000);
    assert_eq!(unknown.fit(MOST, true, 100).limit, 10);
    assert_eq!(unknown.fit(MOST / 2, false, 100).limit, 10);
    memory.arrives(&page(1, 1_000, Duration::from_secs(9)), 100, NOW);
    let known = memory.plan(1_000, NOW);
    let record = 2_000 + 2 * RECORD_OVERHEAD;
    assert_eq!(known.fit(known.bytes(), false, 100).limit, 1_000);
    assert_eq!(known.fit(50 * record, false, 100).limit, 50);
    assert_eq!(known.fit(50 * record, true, 10).limit, 10);
    assert_eq!(known.fit(1, true, 100).limit, 1);
}
