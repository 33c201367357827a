//! Mappings: one of an id, one of a source and function, changed only as they were seen.

use windlass_core::mapping::{Change, DesiredState, MappingRow, Revision};
use windlass_core::outcome::Swap;
use windlass_core::time::Timestamp;
use windlass_engine::ports::Store;

use super::{free, function, id, insert, leases, mappings, put, row, shard};

pub(super) async fn are_kept_as_they_were(store: &dyn Store) {
    assert_eq!(mappings(store).await, [], "a new store is empty");
    let one = row(1);
    assert_eq!(put(store, &one, None).await, Swap::Done);
    assert_eq!(read(store, 1).await, Some(one));
    assert_eq!(read(store, 2).await, None);
    let two = MappingRow {
        desired: DesiredState::Disabled,
        change: Change::Updated,
        revision: Revision(7),
        from_config: true,
        last_modified: Timestamp::from_millis(4_102_444_800_000),
        function_arn: function("f:$LATEST"),
        ..row(2)
    };
    assert_eq!(put(store, &two, None).await, Swap::Done);
    assert_eq!(read(store, 2).await, Some(two));
}

pub(super) async fn are_ordered(store: &dyn Store) {
    for number in [3, 1, 20, 2] {
        assert_eq!(put(store, &row(number), None).await, Swap::Done);
    }
    let ids = mappings(store).await.into_iter().map(|row| row.id);
    let ordered = [1, 2, 3, 20].map(id);
    assert_eq!(ids.collect::<Vec<_>>(), ordered, "mappings come by id");
}

pub(super) async fn have_one_id_and_one_pair(store: &dyn Store) {
    put(store, &row(1), None).await;
    let other_source = MappingRow {
        id: id(1),
        ..row(2)
    };
    assert_eq!(
        put(store, &other_source, None).await,
        Swap::Conflict,
        "the id is taken"
    );
    let same_pair = MappingRow {
        id: id(2),
        ..row(1)
    };
    assert_eq!(
        put(store, &same_pair, None).await,
        Swap::Conflict,
        "the pair is taken"
    );
    let alias = MappingRow {
        function_arn: function("f:alias"),
        ..same_pair.clone()
    };
    assert_eq!(
        put(store, &alias, None).await,
        Swap::Done,
        "an alias is another function"
    );
    assert_eq!(
        put(store, &row(3), None).await,
        Swap::Done,
        "another source is free"
    );
    let onto = MappingRow {
        revision: Revision(2),
        ..same_pair
    };
    let seen = put(store, &onto, Some(1)).await;
    assert_eq!(seen, Swap::Conflict, "a change onto a pair that is taken");
    assert_eq!(read(store, 1).await, Some(row(1)));
    assert_eq!(
        read(store, 2).await,
        Some(alias),
        "a refused change leaves no trace"
    );
}

pub(super) async fn give_their_pair_back_when_deleted(store: &dyn Store) {
    put(store, &row(1), None).await;
    let deleted = |revision| MappingRow {
        revision: Revision(revision),
        desired: DesiredState::Deleted,
        change: Change::Deleted,
        ..row(1)
    };
    assert_eq!(put(store, &deleted(2), Some(1)).await, Swap::Done);
    let next = MappingRow {
        id: id(2),
        ..row(1)
    };
    assert_eq!(
        put(store, &next, None).await,
        Swap::Done,
        "the pair is free again"
    );
    let again = put(store, &deleted(3), Some(2)).await;
    assert_eq!(again, Swap::Done, "what is being deleted needs no pair");
    let back = MappingRow {
        revision: Revision(4),
        ..row(1)
    };
    assert_eq!(
        put(store, &back, Some(3)).await,
        Swap::Conflict,
        "the pair is another's now"
    );
    assert_eq!(mappings(store).await, [deleted(3), next]);
}

pub(super) async fn change_only_as_they_were_seen(store: &dyn Store) {
    let next = MappingRow {
        revision: Revision(2),
        desired: DesiredState::Disabled,
        change: Change::Disabled,
        last_modified: Timestamp::from_millis(1),
        from_config: true,
        function_arn: function("g"),
        spec: row(9).spec,
        source: row(9).source,
        ..row(1)
    };
    assert_eq!(
        put(store, &next, Some(1)).await,
        Swap::Conflict,
        "there is none to change"
    );
    put(store, &row(1), None).await;
    put(store, &row(2), None).await;
    for seen in [0, 2, u64::MAX] {
        assert_eq!(
            put(store, &next, Some(seen)).await,
            Swap::Conflict,
            "{seen}"
        );
    }
    assert_eq!(read(store, 1).await, Some(row(1)));
    assert_eq!(put(store, &next, Some(1)).await, Swap::Done);
    assert_eq!(
        put(store, &next, Some(1)).await,
        Swap::Conflict,
        "it has changed since"
    );
    assert_eq!(
        mappings(store).await,
        [next, row(2)],
        "the other is as it was"
    );
}

pub(super) async fn go_with_their_leases(store: &dyn Store) {
    for number in [1, 2] {
        put(store, &row(number), None).await;
        insert(store, &[free(shard(number, "a")), free(shard(number, "b"))]).await;
    }
    let remove = async |number, seen| {
        let removed = store.remove(&id(number), Revision(seen)).await;
        removed.expect("a mapping can be removed")
    };
    assert_eq!(
        remove(1, 2).await,
        Swap::Conflict,
        "it has another revision"
    );
    assert_eq!(remove(3, 1).await, Swap::Conflict, "there is none");
    assert_eq!(leases(store).await.len(), 4);
    assert_eq!(remove(1, 1).await, Swap::Done);
    assert_eq!(remove(1, 1).await, Swap::Conflict, "it is gone");
    assert_eq!(mappings(store).await, [row(2)]);
    let left = [free(shard(2, "a")), free(shard(2, "b"))];
    assert_eq!(
        leases(store).await,
        left,
        "its leases are gone, and no other"
    );
}

async fn read(store: &dyn Store, number: u32) -> Option<MappingRow> {
    let row = store.mapping(&id(number)).await;
    row.expect("a mapping can be read")
}
