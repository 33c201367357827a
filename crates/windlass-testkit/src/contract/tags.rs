//! Tags: written with their mapping or alone, removed with it.

use windlass_core::mapping::{MappingRow, Revision};
use windlass_core::outcome::Swap;
use windlass_core::tags::Tags;
use windlass_engine::ports::{ChangeNumber, Store};

use super::{changes, id, put, row};

pub(super) async fn are_written_with_their_mapping(store: &dyn Store) {
    assert_eq!(read(store, 1).await, None, "the mapping does not exist");
    let some = tags(&[("team", "'; DROP TABLE tags"), ("Team", "läuft"), ("e", "")]);
    assert_eq!(create(store, &row(1), None, &some).await, Swap::Done);
    assert_eq!(read(store, 1).await, Some(some.clone()));
    put(store, &row(2), None).await;
    assert_eq!(read(store, 2).await, Some(Tags::default()));
    let others = tags(&[("other", "1")]);
    let same_pair = MappingRow {
        id: id(3),
        ..row(1)
    };
    assert_eq!(
        create(store, &same_pair, None, &others).await,
        Swap::Conflict
    );
    assert_eq!(read(store, 3).await, None);
    let next = MappingRow {
        revision: Revision(2),
        ..row(1)
    };
    assert_eq!(create(store, &next, Some(7), &others).await, Swap::Conflict);
    assert_eq!(
        read(store, 1).await,
        Some(some.clone()),
        "nothing was written"
    );
    assert_eq!(put(store, &next, Some(1)).await, Swap::Done);
    assert_eq!(read(store, 1).await, Some(some), "an update keeps them");
    let last = MappingRow {
        revision: Revision(3),
        ..row(1)
    };
    assert_eq!(create(store, &last, Some(2), &others).await, Swap::Done);
    assert_eq!(read(store, 1).await, Some(others), "they are replaced");
}

pub(super) async fn change_only_as_expected_and_change_no_mapping(store: &dyn Store) {
    put(store, &row(1), None).await;
    put(store, &row(2), None).await;
    let last = changes(store, ChangeNumber::default()).await.last;
    let (none, a, b) = (Tags::default(), tags(&[("a", "1")]), tags(&[("b", "2")]));
    assert_eq!(set(store, 1, &a, &b).await, Swap::Conflict);
    assert_eq!(set(store, 1, &none, &a).await, Swap::Done);
    assert_eq!(set(store, 1, &none, &b).await, Swap::Conflict);
    assert_eq!(read(store, 1).await, Some(a.clone()));
    assert_eq!(set(store, 1, &a, &b).await, Swap::Done);
    assert_eq!(read(store, 1).await, Some(b));
    assert_eq!(read(store, 2).await, Some(none.clone()));
    assert_eq!(set(store, 3, &none, &a).await, Swap::Conflict);
    let changed = changes(store, last).await;
    assert_eq!(changed.mappings, [], "nothing that runs has changed");
    assert_eq!(store.mapping(&id(1)).await.ok().flatten(), Some(row(1)));
}

pub(super) async fn are_removed_with_their_mapping(store: &dyn Store) {
    create(store, &row(1), None, &tags(&[("a", "1")])).await;
    let removed = store.remove(&id(1), Revision(1)).await;
    assert_eq!(removed.ok(), Some(Swap::Done));
    assert_eq!(read(store, 1).await, None);
    put(store, &row(1), None).await;
    assert_eq!(read(store, 1).await, Some(Tags::default()));
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

async fn create(store: &dyn Store, row: &MappingRow, seen: Option<u64>, tags: &Tags) -> Swap {
    let put = store
        .put_with_tags(row, seen.map(Revision), tags, None)
        .await;
    put.expect("a mapping can be written")
}

async fn read(store: &dyn Store, number: u32) -> Option<Tags> {
    let tags = store.tags(&id(number)).await;
    tags.expect("tags can be read")
}

async fn set(store: &dyn Store, number: u32, seen: &Tags, tags: &Tags) -> Swap {
    let set = store.set_tags(&id(number), seen, tags).await;
    set.expect("tags can be written")
}
