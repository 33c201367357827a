//! Changes: what others must see raises the number, and nothing else does.

use windlass_core::ids::SequenceNumber;
use windlass_core::lease::Lease;
use windlass_core::mapping::{MappingId, Revision};
use windlass_core::outcome::Swap;
use windlass_core::overrides::Overrides;
use windlass_core::position::{Checkpoint, Position};
use windlass_engine::ports::{ChangeNumber, Changes, Store, StoredMapping};

use super::{changes, free, id, insert, put, release, row, save, shard, take};

pub(super) async fn are_those_since_a_number(store: &dyn Store) {
    let none = changes(store, ChangeNumber::default()).await;
    assert_eq!(none, Changes::default(), "a new store has no changes");
    for number in [2, 1, 3] {
        put(store, &row(number), None).await;
    }
    let all = changes(store, ChangeNumber::default()).await;
    assert_eq!(ids(&all), [id(1), id(2), id(3)]);
    assert_eq!(changed_since(store, all.last).await, []);
    let next = row(2).next_revision(row(2).last_modified);
    assert_eq!(put(store, &next, Some(7)).await, Swap::Conflict);
    assert_eq!(changed_since(store, all.last).await, []);
    assert_eq!(put(store, &next, Some(1)).await, Swap::Done);
    let since = changes(store, all.last).await;
    assert!(all.last < since.last);
    let stored = StoredMapping::Readable(next, Vec::new(), Overrides::default());
    assert_eq!(since.mappings, [(id(2), stored)]);
    put(store, &row(4), None).await;
    assert_eq!(changed_since(store, all.last).await, [id(2), id(4)]);
    assert_eq!(changed_since(store, since.last).await, [id(4)]);
}

pub(super) async fn of_leases_are_reported_with_their_mapping(store: &dyn Store) {
    for number in [1, 2] {
        put(store, &row(number), None).await;
    }
    let (lease, other) = (free(shard(1, "a")), free(shard(1, "b")));
    let mut seen = changes(store, ChangeNumber::default()).await.last;
    insert(store, &[lease.clone(), other.clone()]).await;
    let mut expect = async |leases: &[Lease]| {
        let since = changes(store, seen).await;
        let stored = StoredMapping::Readable(row(1), leases.to_vec(), Overrides::default());
        assert_eq!(since.mappings, [(id(1), stored)]);
        seen = since.last;
        assert_eq!(changed_since(store, seen).await, []);
    };
    expect(&[lease.clone(), other.clone()]).await;
    let mut owned = take(store, &lease, "one").await.expect("it is free");
    expect(&[owned.clone(), other.clone()]).await;
    owned.shard_start = Some(SequenceNumber::from("7"));
    let set = store.set_shard_starts(std::slice::from_ref(&owned)).await;
    set.expect("leases can be written");
    expect(&[owned.clone(), other.clone()]).await;
    release(store, std::slice::from_ref(&owned)).await;
    let released = Lease {
        owner: None,
        ..owned
    };
    expect(&[released.clone(), other.clone()]).await;
    let removed = store.remove_leases(&[other]).await;
    removed.expect("leases can be removed");
    expect(std::slice::from_ref(&released)).await;
    insert(store, std::slice::from_ref(&released)).await;
    let since = changed_since(store, seen).await;
    assert_eq!(since, [], "a lease that exists is not inserted");
}

/// Checkpoints are saved all the time. The daemon that takes a lease is given its checkpoint.
pub(super) async fn of_checkpoints_are_only_the_ends_of_shards(store: &dyn Store) {
    put(store, &row(1), None).await;
    let lease = free(shard(1, "a"));
    insert(store, std::slice::from_ref(&lease)).await;
    let seen = changes(store, ChangeNumber::default()).await.last;
    let after = Checkpoint::at(Position::After(SequenceNumber::from("5")));
    assert_eq!(save(store, &lease.key, 0, &after).await, Swap::Done);
    assert_eq!(changed_since(store, seen).await, []);
    let end = Checkpoint::at(Position::ShardEnd);
    assert_eq!(save(store, &lease.key, 1, &end).await, Swap::Conflict);
    assert_eq!(changed_since(store, seen).await, []);
    assert_eq!(save(store, &lease.key, 0, &end).await, Swap::Done);
    assert_eq!(changed_since(store, seen).await, [id(1)]);
}

pub(super) async fn report_a_removed_mapping_until_it_is_added_again(store: &dyn Store) {
    put(store, &row(1), None).await;
    insert(store, &[free(shard(1, "a"))]).await;
    put(store, &row(2), None).await;
    let seen = changes(store, ChangeNumber::default()).await.last;
    let remove = async |seen| {
        let removed = store.remove(&id(1), Revision(seen)).await;
        removed.expect("a mapping can be removed")
    };
    assert_eq!(remove(9).await, Swap::Conflict);
    assert_eq!(changed_since(store, seen).await, []);
    assert_eq!(remove(1).await, Swap::Done);
    let since = changes(store, seen).await;
    assert_eq!(since.mappings, [(id(1), StoredMapping::Removed)]);
    put(store, &row(1), None).await;
    let since = changes(store, since.last).await;
    let stored = StoredMapping::Readable(row(1), Vec::new(), Overrides::default());
    assert_eq!(since.mappings, [(id(1), stored)], "without its leases");
}

async fn changed_since(store: &dyn Store, since: ChangeNumber) -> Vec<MappingId> {
    ids(&changes(store, since).await)
}

fn ids(changes: &Changes) -> Vec<MappingId> {
    let mut ids: Vec<_> = changes.mappings.iter().map(|it| it.0.clone()).collect();
    ids.sort();
    ids
}
