//! Mappings: unique by id and by source and function, changed only at the expected revision.

use windlass_core::mapping::{Change, DesiredState, MappingRow, Origin, Revision};
use windlass_core::outcome::Swap;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{FunctionFilter, MappingFilter, Store};

use super::{free, function, id, insert, leases, mappings, put, row, shard};

pub(super) async fn are_read_back_unchanged(store: &dyn Store) {
    assert_eq!(mappings(store).await, [], "a new store is empty");
    let one = row(1);
    assert_eq!(put(store, &one, None).await, Swap::Done);
    assert_eq!(read(store, 1).await, Some(one));
    assert_eq!(read(store, 2).await, None);
    let two = MappingRow {
        desired: DesiredState::Disabled,
        change: Change::Updated,
        revision: Revision(7),
        origin: Origin::Configuration,
        last_modified: Timestamp::from_millis(4_102_444_800_000),
        function_arn: function("f:$LATEST"),
        ..row(2)
    };
    assert_eq!(put(store, &two, None).await, Swap::Done);
    assert_eq!(read(store, 2).await, Some(two));
    let applied = MappingRow {
        origin: Origin::Apply,
        ..row(3)
    };
    assert_eq!(put(store, &applied, None).await, Swap::Done);
    assert_eq!(read(store, 3).await, Some(applied));
}

pub(super) async fn are_read_page_by_page(store: &dyn Store) {
    for number in [3, 1, 4, 2] {
        put(store, &row(number), None).await;
    }
    let of_same_source = MappingRow {
        function_arn: function("f:alias"),
        source: row(2).source,
        ..row(5)
    };
    put(store, &of_same_source, None).await;
    let (none, one, two) = (None, Some(id(1)), Some(id(2)));
    let of_source = |source: &str| MappingFilter {
        source: Some(source.to_owned()),
        function: None,
    };
    let of_function = |function: &str, name: &str| MappingFilter {
        source: None,
        function: Some(FunctionFilter {
            arn: self::function(function),
            name: name.to_owned(),
        }),
    };
    let all = MappingFilter::default();
    let source = of_source(of_same_source.source.as_str());
    for (after, filter, limit, expected) in [
        (&none, &all, 10, vec![1, 2, 3, 4, 5]),
        (&none, &all, 2, vec![1, 2]),
        (&one, &all, 2, vec![2, 3]),
        (&Some(id(5)), &all, 2, vec![]),
        (&none, &source, 10, vec![2, 5]),
        (&none, &source, 1, vec![2]),
        (&two, &source, 10, vec![5]),
        (&none, &of_source("arn"), 10, vec![]),
        (&none, &all, 0, vec![]),
        (&none, &of_function("f:alias", "other"), 10, vec![5]),
        (&two, &of_function("g", "läuft"), 2, vec![3, 4]),
        (&none, &of_function("g", "absent"), 10, vec![]),
    ] {
        let rows = store.mappings_after(after.as_ref(), filter, limit).await;
        let ids: Vec<_> = rows
            .expect("the store works")
            .into_iter()
            .map(|row| row.id)
            .collect();
        let expected: Vec<_> = expected.into_iter().map(id).collect();
        assert_eq!(ids, expected, "after {after:?}, {filter:?}, {limit}");
    }
}

pub(super) async fn are_ordered(store: &dyn Store) {
    for number in [3, 1, 20, 2] {
        assert_eq!(put(store, &row(number), None).await, Swap::Done);
    }
    let ids = mappings(store).await.into_iter().map(|row| row.id);
    let ordered = [1, 2, 3, 20].map(id);
    assert_eq!(
        ids.collect::<Vec<_>>(),
        ordered,
        "mappings are ordered by id"
    );
}

pub(super) async fn have_unique_ids_and_unique_pairs_of_source_and_function(store: &dyn Store) {
    put(store, &row(1), None).await;
    let other_source = MappingRow {
        id: id(1),
        ..row(2)
    };
    assert_eq!(
        put(store, &other_source, None).await,
        Swap::Conflict,
        "the id exists"
    );
    let same_pair = MappingRow {
        id: id(2),
        ..row(1)
    };
    assert_eq!(
        put(store, &same_pair, None).await,
        Swap::Conflict,
        "the pair exists"
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
        "another source is another pair"
    );
    let onto = MappingRow {
        revision: Revision(2),
        ..same_pair
    };
    let seen = put(store, &onto, Some(1)).await;
    assert_eq!(seen, Swap::Conflict, "an update to an existing pair");
    assert_eq!(read(store, 1).await, Some(row(1)));
    assert_eq!(
        read(store, 2).await,
        Some(alias),
        "a conflicting update changes nothing"
    );
}

pub(super) async fn free_their_pair_when_deleted(store: &dyn Store) {
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
        "the pair is free after deletion"
    );
    let again = put(store, &deleted(3), Some(2)).await;
    assert_eq!(
        again,
        Swap::Done,
        "a mapping that is being deleted does not occupy its pair"
    );
    let back = MappingRow {
        revision: Revision(4),
        ..row(1)
    };
    assert_eq!(
        put(store, &back, Some(3)).await,
        Swap::Conflict,
        "the pair belongs to another mapping"
    );
    assert_eq!(mappings(store).await, [deleted(3), next]);
}

pub(super) async fn change_only_at_the_expected_revision(store: &dyn Store) {
    let next = MappingRow {
        revision: Revision(2),
        desired: DesiredState::Disabled,
        change: Change::Disabled,
        last_modified: Timestamp::from_millis(1),
        origin: Origin::Configuration,
        function_arn: function("g"),
        spec: row(9).spec,
        source: row(9).source,
        ..row(1)
    };
    assert_eq!(
        put(store, &next, Some(1)).await,
        Swap::Conflict,
        "the mapping does not exist"
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
        "the revision has changed"
    );
    assert_eq!(
        mappings(store).await,
        [next, row(2)],
        "the other mapping is unchanged"
    );
}

pub(super) async fn are_removed_with_their_leases(store: &dyn Store) {
    for number in [1, 2] {
        put(store, &row(number), None).await;
        insert(store, &[free(shard(number, "a")), free(shard(number, "b"))]).await;
    }
    let remove = async |number, seen| {
        let removed = store.remove(&id(number), Revision(seen)).await;
        removed.expect("a mapping can be removed")
    };
    assert_eq!(remove(1, 2).await, Swap::Conflict, "the revision differs");
    assert_eq!(
        remove(3, 1).await,
        Swap::Conflict,
        "the mapping does not exist"
    );
    assert_eq!(leases(store).await.len(), 4);
    assert_eq!(remove(1, 1).await, Swap::Done);
    assert_eq!(
        remove(1, 1).await,
        Swap::Conflict,
        "the mapping was removed"
    );
    assert_eq!(mappings(store).await, [row(2)]);
    let left = [free(shard(2, "a")), free(shard(2, "b"))];
    assert_eq!(leases(store).await, left, "only its leases are removed");
}

async fn read(store: &dyn Store, number: u32) -> Option<MappingRow> {
    let row = store.mapping(&id(number)).await;
    row.expect("a mapping can be read")
}
