//! Parks: written as they were seen, with their mapping, and reported as changes.

use windlass_core::mapping::MappingId;
use windlass_core::outcome::Swap;
use windlass_core::parks::{Park, Parks};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{Store, StoredMapping};

use super::{changes, put, row};

pub(super) async fn parks_are_written_only_as_seen(store: &dyn Store) {
    put(store, &row(1), None).await;
    put(store, &row(2), None).await;
    let id = row(1).id;
    assert_eq!(parks(store, &id).await, Parks::default());
    let park = |millis, reason: Option<&str>| Park {
        since: Timestamp::from_millis(millis),
        reason: reason.map(ToOwned::to_owned),
    };
    let mut one = Parks::default();
    one.park(None, park(1_732_552_345_678, Some("it's é")));
    one.park(Some(&"shardId: 'a".into()), park(7, None));
    one.unpark(Some(&"b".into()));
    assert_eq!(set(store, &id, &one, &one).await, Swap::Conflict);
    assert_eq!(set(store, &id, &Parks::default(), &one).await, Swap::Done);
    assert_eq!(parks(store, &id).await, one);
    assert_eq!(parks(store, &row(2).id).await, Parks::default());
    assert_eq!(
        set(store, &id, &Parks::default(), &one).await,
        Swap::Conflict
    );
    assert_eq!(set(store, &id, &one, &Parks::default()).await, Swap::Done);
    assert_eq!(parks(store, &id).await, Parks::default());
    let unknown = set(store, &row(3).id, &Parks::default(), &one).await;
    assert_eq!(unknown, Swap::Conflict, "there is no such mapping");
}

pub(super) async fn parks_are_changes_of_their_mapping(store: &dyn Store) {
    put(store, &row(1), None).await;
    put(store, &row(2), None).await;
    let before = changes(store, Default::default()).await.last;
    let mut one = Parks::default();
    one.park(
        Some(&"a".into()),
        Park {
            since: Timestamp::from_millis(7),
            reason: None,
        },
    );
    let id = row(1).id;
    set(store, &id, &Parks::default(), &one).await;
    let parked = changes(store, before).await;
    let [(changed, StoredMapping::Readable(_, _, overrides))] = &parked.mappings[..] else {
        panic!("one mapping has changed: {parked:?}");
    };
    assert_eq!((changed, &overrides.parks), (&id, &one));
    set(store, &id, &one, &Parks::default()).await;
    assert_eq!(changes(store, parked.last).await.mappings.len(), 1);
    set(store, &id, &Parks::default(), &one).await;
    let removed = store.remove(&id, row(1).revision).await;
    assert_eq!(removed.expect("a mapping can be removed"), Swap::Done);
    put(store, &row(1), None).await;
    assert_eq!(
        parks(store, &id).await,
        Parks::default(),
        "they go with their mapping"
    );
}

async fn parks(store: &dyn Store, id: &MappingId) -> Parks {
    let overrides = store.overrides(id).await;
    overrides.expect("parks can be read").parks
}

async fn set(store: &dyn Store, id: &MappingId, seen: &Parks, parks: &Parks) -> Swap {
    let set = store.set_parks(id, seen, parks, None).await;
    set.expect("parks can be written")
}
