//! The history: written with the changes it describes, read from its end.

use std::time::Duration;

use serde_json::{Value, json};
use windlass_core::mapping::{MappingRow, Revision};
use windlass_core::outcome::Swap;
use windlass_core::tags::Tags;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{
    HISTORY_RETENTION, HistoryId, HistoryLine, HistoryMarker, HistoryPage, MAX_LINE_IDS,
    RedriveLine, Store, What,
};

use super::{id, row};

const NOON: Timestamp = Timestamp::from_millis(1_795_435_200_000);

pub(super) async fn is_written_with_its_change(store: &dyn Store) {
    let created = line(1, What::Create, Some(1));
    put(store, &row(1), None, &created, Swap::Done).await;
    let next = MappingRow {
        revision: Revision(2),
        ..row(1)
    };
    let updated = HistoryLine {
        before: json!({"BatchSize": 1, "Windlass": {"é": "\"'; DROP TABLE history"}}),
        after: json!({"BatchSize": 2, "Windlass": {}}),
        ..line(2, What::Update, Some(1))
    };
    put(store, &next, Some(7), &updated, Swap::Conflict).await;
    assert_eq!(all(store).await.len(), 1, "nothing has changed");
    put(store, &next, Some(1), &updated, Swap::Done).await;

    let tags = Tags::default();
    let other = line(3, What::Create, Some(2));
    for expected in [Swap::Done, Swap::Conflict] {
        let swap = store
            .put_with_tags(&row(2), None, &tags, Some(&other))
            .await;
        assert_eq!(swap.ok(), Some(expected));
    }
    let removed = store.remove(&id(1), Revision(2)).await;
    assert_eq!(removed.ok(), Some(Swap::Done));
    let expected = [other, updated, created];
    assert_eq!(all(store).await, expected, "it outlives its mapping");
}

pub(super) async fn has_one_line_a_request(store: &dyn Store) {
    let mut all_lines = Vec::new();
    for (number, what) in (1..).zip(What::ALL) {
        assert_eq!(What::from_name(what.as_str()), Some(*what));
        all_lines.push(line(number, *what, None));
        write(store, all_lines.last().expect("one was just added")).await;
    }
    let grown = HistoryLine {
        after: json!({"redriven": 5}),
        ..all_lines[2].clone()
    };
    write(store, &grown).await;
    all_lines[2] = grown;
    all_lines.reverse();
    assert_eq!(all(store).await, all_lines, "it keeps its position");
}

pub(super) async fn adds_up_the_parts_of_a_redrive(store: &dyn Store) {
    let asked = HistoryLine {
        after: json!({"from": "é", "to": null}),
        ..line(1, What::Redrive, None)
    };
    let write = async |redriven: std::ops::Range<u64>, failed| {
        let part = RedriveLine {
            line: asked.clone(),
            redriven: redriven.map(|id| id.to_string()).collect(),
            failed,
        };
        let written = store.write_redrive(&part).await;
        written.expect("a line can be written");
    };
    write(0..1, 3).await;
    write(1..3, 0).await;
    write(3..3, 2).await;
    let grown = |redriven: u64, failed: u64, ids: u64| HistoryLine {
        after: json!({
            "from": "é", "to": null, "redriven": redriven, "failed": failed,
            "ids": (0..ids).map(|id| id.to_string()).collect::<Vec<_>>(),
        }),
        ..asked.clone()
    };
    assert_eq!(all(store).await, [grown(3, 5, 3)]);
    write(3..1_200, 0).await;
    write(1_200..1_201, 1).await;
    assert_eq!(all(store).await, [grown(1_201, 6, MAX_LINE_IDS as u64)]);
}

pub(super) async fn is_paged_from_the_latest_line(store: &dyn Store) {
    for number in 1..=5 {
        let mapping = Some(2 - u32::from(number % 2 == 1));
        write(store, &line(number, What::Park, mapping)).await;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = page(store, None, after, 2).await;
        assert!(page.lines.len() <= 2);
        seen.extend(numbers(&page));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    let first = page(store, Some(1), None, 2).await;
    assert_eq!(numbers(&first), [5, 3]);
    let last = page(store, Some(1), first.next, 2).await;
    assert_eq!((numbers(&last), last.next), (vec![1], None));
    assert_eq!(page(store, Some(3), None, 2).await, HistoryPage::default());
}

pub(super) async fn is_kept_for_ninety_days(store: &dyn Store) {
    let at = |number, time| HistoryLine {
        time,
        ..line(number, What::Seek, None)
    };
    write(store, &at(1, NOON)).await;
    write(store, &at(2, NOON.shifted(1))).await;
    let first = page(store, None, None, 1).await;
    write(store, &at(3, NOON + HISTORY_RETENTION)).await;
    assert_eq!(numbers(&page(store, None, None, 9).await), [3, 2, 1]);
    let later = NOON + HISTORY_RETENTION + Duration::from_millis(1);
    write(store, &at(4, later)).await;
    assert_eq!(numbers(&page(store, None, None, 9).await), [4, 3, 2]);
    write(store, &at(5, later + Duration::from_millis(1))).await;
    assert_eq!(numbers(&page(store, None, None, 9).await), [5, 4, 3]);
    let rest = page(store, None, first.next, 9).await;
    assert_eq!(rest, HistoryPage::default(), "a marker stays valid");
}

pub(super) fn line(number: u128, what: What, mapping: Option<u32>) -> HistoryLine {
    HistoryLine {
        id: HistoryId(number),
        time: NOON,
        who: "WINDLASSADMIN".to_owned(),
        what,
        mapping: mapping.map(id),
        before: Value::Null,
        after: json!({"number": 1}),
    }
}

async fn put(
    store: &dyn Store,
    row: &MappingRow,
    seen: Option<u64>,
    line: &HistoryLine,
    expected: Swap,
) {
    let swap = store.put(row, seen.map(Revision), Some(line)).await;
    assert_eq!(swap.ok(), Some(expected));
}

/// Writes a line with a mapping that does not exist yet.
async fn write(store: &dyn Store, line: &HistoryLine) {
    for number in 100.. {
        let swap = store.put(&row(number), None, Some(line)).await;
        if swap.expect("a line can be written") == Swap::Done {
            break;
        }
    }
}

async fn page(
    store: &dyn Store,
    mapping: Option<u32>,
    after: Option<HistoryMarker>,
    limit: usize,
) -> HistoryPage {
    let mapping = mapping.map(id);
    let page = store.history(mapping.as_ref(), after, limit).await;
    page.expect("the history can be read")
}

pub(super) async fn all(store: &dyn Store) -> Vec<HistoryLine> {
    page(store, None, None, 100).await.lines
}

fn numbers(page: &HistoryPage) -> Vec<u128> {
    page.lines.iter().map(|line| line.id.0).collect()
}
