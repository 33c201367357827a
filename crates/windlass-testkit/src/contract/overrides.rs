//! Parks and seeks: written as they were seen, with their mapping, and reported as changes.

use windlass_core::lease::Lease;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Swap;
use windlass_core::parks::{Park, Parks};
use windlass_core::position::{Checkpoint, Position};
use windlass_core::seek::{SeekMark, SeekPlan, SeekStart};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{SeekWrite, Store, StoredMapping};

use super::{after, changes, free, insert, leases, put, row, save, shard, take, taken};

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
    let mut other = one.clone();
    other.park(Some(&"c".into()), park(8, None));
    other.park(Some(&"b".into()), park(9, Some("again")));
    other.unpark(Some(&"shardId: 'a".into()));
    for (seen, new) in [(&one, &other), (&other, &one)] {
        assert_eq!(set(store, &id, seen, new).await, Swap::Done);
        assert_eq!(parks(store, &id).await, *new);
    }
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

pub(super) async fn seeks_move_all_rows_or_none(store: &dyn Store) {
    let [a, b, c] = taken_rows(store).await;
    let seen = leases(store).await;
    let write = seek_write(&a, &b, &seen[1..]);
    assert_eq!(
        seek(store, &write).await,
        Swap::Conflict,
        "a row was not seen"
    );
    assert_eq!(leases(store).await, seen);
    let outdated = seen.iter().map(|lease| Lease {
        epoch: 0,
        ..lease.clone()
    });
    let outdated: Vec<_> = outdated.collect();
    assert_eq!(
        seek(store, &seek_write(&a, &b, &outdated)).await,
        Swap::Conflict,
        "the epochs differ"
    );
    let write = seek_write(&a, &b, &seen);
    let before = changes(store, Default::default()).await.last;
    assert_eq!(seek(store, &write).await, Swap::Done);
    let next = |lease: &Lease| Lease {
        epoch: 2,
        ..lease.clone()
    };
    let set_aside = Lease {
        waits: true,
        ..next(&seen[1])
    };
    let SeekPlan {
        update,
        insert,
        start,
        ..
    } = write.plan;
    let [moved, added] = [&update[0], &insert[0]];
    let expected = [
        next(moved),
        set_aside.clone(),
        seen[2].clone(),
        added.clone(),
    ];
    assert_eq!(leases(store).await, expected);
    let overrides = store.overrides(&row(1).id).await;
    assert_eq!(overrides.expect("it can be read").start, start);
    assert_eq!(changes(store, before).await.mappings.len(), 1);
    for lease in [moved, &b] {
        let saved = save(store, &lease.key, 1, &after("8")).await;
        assert_eq!(saved, Swap::Conflict, "nothing saves over it");
    }
    assert_eq!(save(store, &c.key, 1, &after("8")).await, Swap::Done);
    let before = changes(store, Default::default()).await.last;
    let resumed = store.resume(&[next(moved), b]).await;
    resumed.expect("rows can be written");
    let stored = leases(store).await;
    assert!(!stored[0].waits, "its epoch is the expected one");
    assert_eq!(stored[1], set_aside);
    assert_eq!(changes(store, before).await.mappings.len(), 1);
}

/// Three shards of a mapping, each taken, with a checkpoint.
async fn taken_rows(store: &dyn Store) -> [Lease; 3] {
    put(store, &row(1), None).await;
    let all = ["a", "b", "c"].map(|name| free(shard(1, name)));
    insert(store, &all).await;
    for lease in &all {
        take(store, lease, "one").await;
        save(store, &lease.key, 1, &after("7")).await;
    }
    all.map(|lease| taken(&lease, "one"))
}

/// Moves one row, sets another aside and adds one.
fn seek_write(moved: &Lease, set_aside: &Lease, seen: &[Lease]) -> SeekWrite {
    let start = SeekStart {
        position: Position::AtTimestamp(Timestamp::from_millis(5)),
        mark: SeekMark {
            at: Timestamp::from_millis(9),
            skip_before: Some(Timestamp::from_millis(5)),
        },
    };
    let moved = Lease {
        checkpoint: Checkpoint::at(start.position.clone()),
        seek: Some(start.mark),
        waits: true,
        ..moved.clone()
    };
    let added = Lease {
        key: shard(1, "d"),
        waits: true,
        ..free(shard(1, "d"))
    };
    SeekWrite {
        mapping: row(1).id,
        seen: seen.to_vec(),
        plan: SeekPlan {
            update: vec![moved],
            insert: vec![added],
            set_aside: vec![set_aside.clone()],
            start: Some(start),
            moved: Vec::new(),
        },
    }
}

async fn seek(store: &dyn Store, write: &SeekWrite) -> Swap {
    let written = store.seek(write, None).await;
    written.expect("positions can be written")
}

async fn parks(store: &dyn Store, id: &MappingId) -> Parks {
    let overrides = store.overrides(id).await;
    overrides.expect("parks can be read").parks
}

async fn set(store: &dyn Store, id: &MappingId, seen: &Parks, parks: &Parks) -> Swap {
    let set = store.set_parks(id, seen, parks, None).await;
    set.expect("parks can be written")
}
