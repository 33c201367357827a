//! Replays: found by their names, with leases of their own.

use std::num::NonZeroU32;

use windlass_core::ids::ShardId;
use windlass_core::lease::{LeaseKey, Unit};
use windlass_core::mapping::{MappingId, Revision};
use windlass_core::outcome::Swap;
use windlass_core::place::Place;
use windlass_core::replay::{ReplayName, ReplayRow, ReplayState, replay_id};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{ChangeNumber, Store, StoredMapping, What};

use super::history::line;
use super::{after, changes, free, id, insert, put, row, save, take};

pub(super) async fn are_read_back_unchanged(store: &dyn Store) {
    assert_eq!(all(store).await, []);
    let second = ReplayRow {
        from: Place::AtSequenceNumber("007".into()),
        to: Place::AtSequenceNumber("49590338271490256608559692".into()),
        shards: vec![ShardId::from("shardId-000000000000")],
        rate: NonZeroU32::new(u32::MAX),
        state: ReplayState::Failed,
        reason: Some("its stream is 'gone'".to_owned()),
        ended: Some(Timestamp::from_millis(9)),
        resumed_fraction: 0.1,
        mapping: Some(id(7)),
        ..replay(2)
    };
    for row in [&second, &replay(1)] {
        assert_eq!(put_replay(store, row, None).await, Swap::Done);
    }
    assert_eq!(all(store).await, [replay(1), second.clone()]);
    let found = store.replay(&second.name).await;
    assert_eq!(found.expect("it can be read"), Some(second));
    let unknown = store.replay(&replay(3).name).await;
    assert_eq!(unknown.expect("it can be read"), None);
    let mappings = store.mappings().await;
    assert_eq!(mappings.expect("they can be read"), [], "none is a mapping");
}

pub(super) async fn have_unique_names(store: &dyn Store) {
    put_replay(store, &replay(1), None).await;
    let namesake = ReplayRow {
        name: replay(1).name,
        ..replay(2)
    };
    assert_eq!(put_replay(store, &namesake, None).await, Swap::Conflict);
    assert_eq!(put_replay(store, &replay(1), None).await, Swap::Conflict);
    assert_eq!(remove(store, &replay(1)).await, Swap::Done);
    assert_eq!(put_replay(store, &namesake, None).await, Swap::Done);
}

pub(super) async fn change_only_at_the_expected_revision(store: &dyn Store) {
    put_replay(store, &replay(1), None).await;
    let paused = ReplayRow {
        state: ReplayState::Paused,
        ..replay(1).next_revision()
    };
    assert_eq!(put_replay(store, &paused, Some(2)).await, Swap::Conflict);
    assert_eq!(put_replay(store, &paused, Some(1)).await, Swap::Done);
    assert_eq!(all(store).await, std::slice::from_ref(&paused));
    assert_eq!(remove(store, &replay(1)).await, Swap::Conflict);
    assert_eq!(remove(store, &paused).await, Swap::Done);
    assert_eq!(put_replay(store, &paused, Some(2)).await, Swap::Conflict);
    assert_eq!(all(store).await, []);
}

pub(super) async fn have_leases_that_are_removed_with_them(store: &dyn Store) {
    put(store, &row(1), None).await;
    put_replay(store, &replay(1), None).await;
    let key = |mapping: &MappingId| LeaseKey {
        mapping: mapping.clone(),
        unit: Unit::Shard(ShardId::from("a")),
    };
    let keys = [key(&id(1)), key(&replay(1).id), key(&replay(2).id)];
    let leases = keys.clone().map(free);
    insert(store, &leases).await;
    let of = |id: MappingId| async move { store.leases_of(&id).await.expect("they can be read") };
    assert_eq!(of(id(1)).await, leases[..1]);
    assert_eq!(of(replay(1).id).await, leases[1..2]);
    assert_eq!(of(replay(2).id).await, [], "there is no such replay");
    let taken = take(store, &leases[1], "one").await.expect("it is free");
    assert_eq!(remove(store, &replay(1)).await, Swap::Done);
    let saved = save(store, &taken.key, taken.epoch, &after("5")).await;
    assert_eq!(saved, Swap::Conflict, "it saves nothing more");
    assert_eq!(of(replay(1).id).await, []);
    assert_eq!(of(id(1)).await, leases[..1], "the mapping has its own");
}

pub(super) async fn are_reported_as_changes(store: &dyn Store) {
    put_replay(store, &replay(1), None).await;
    let added = changes(store, ChangeNumber::default()).await;
    let stored = |row, leases| StoredMapping::Replay(Box::new(row), leases);
    let expected = (replay(1).id, stored(replay(1), Vec::new()));
    assert_eq!(added.mappings, [expected]);
    let lease = free(LeaseKey {
        mapping: replay(1).id,
        unit: Unit::Shard(ShardId::from("a")),
    });
    insert(store, std::slice::from_ref(&lease)).await;
    let next = replay(1).next_revision();
    put_replay(store, &next, Some(1)).await;
    let changed = changes(store, added.last).await;
    let expected = (next.id.clone(), stored(next.clone(), vec![lease]));
    assert_eq!(changed.mappings, [expected]);
    assert!(changes(store, changed.last).await.mappings.is_empty());
    remove(store, &next).await;
    let removed = changes(store, changed.last).await;
    assert_eq!(removed.mappings, [(next.id, StoredMapping::Removed)]);
}

pub(super) async fn leave_a_line_with_each_change(store: &dyn Store) {
    let started = line(1, What::ReplayStart, Some(1));
    for expected in [Swap::Done, Swap::Conflict] {
        let swap = store.put_replay(&replay(1), None, Some(&started)).await;
        assert_eq!(swap.ok(), Some(expected));
    }
    let deleted = line(2, What::ReplayDelete, Some(1));
    for (revision, expected) in [(9, Swap::Conflict), (1, Swap::Done)] {
        let (id, seen) = (replay(1).id, Revision(revision));
        let swap = store.remove_replay(&id, seen, Some(&deleted)).await;
        assert_eq!(swap.ok(), Some(expected));
    }
    assert_eq!(super::history::all(store).await, [deleted, started]);
}

/// A replay that has just been started.
fn replay(number: u32) -> ReplayRow {
    let of_mapping = row(number);
    ReplayRow {
        id: replay_id(&format!("00000000-0000-0000-0000-{number:012}")),
        name: ReplayName::parse(&format!("replay.{number}")).expect("it is a name"),
        revision: Revision(1),
        settings_revision: Revision(1),
        spec: of_mapping.spec,
        source: of_mapping.source,
        function_arn: of_mapping.function_arn,
        mapping: None,
        from: Place::TrimHorizon,
        to: Place::AtTimestamp(Timestamp::from_millis(1_732_552_345_678)),
        shards: Vec::new(),
        rate: None,
        state: ReplayState::Running,
        reason: None,
        created: Timestamp::from_millis(1_732_552_345_678),
        ended: None,
        resumed: Timestamp::from_millis(1_732_552_345_678),
        resumed_fraction: 0.0,
    }
}

async fn all(store: &dyn Store) -> Vec<ReplayRow> {
    store.replays().await.expect("replays can be read")
}

async fn put_replay(store: &dyn Store, row: &ReplayRow, seen: Option<u64>) -> Swap {
    let put = store.put_replay(row, seen.map(Revision), None).await;
    put.expect("a replay can be written")
}

async fn remove(store: &dyn Store, row: &ReplayRow) -> Swap {
    let removed = store.remove_replay(&row.id, row.revision, None).await;
    removed.expect("a replay can be removed")
}
