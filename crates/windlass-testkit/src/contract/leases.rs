//! Leases: inserted once, changed only at the expected owner and epoch.

use windlass_core::ids::SequenceNumber;
use windlass_core::lease::{Lease, Unit, WorkerId};
use windlass_core::marks::MarkedSection;
use windlass_core::outcome::Swap;
use windlass_core::position::{Checkpoint, Position, ReplayCounts};
use windlass_core::seek::SeekMark;
use windlass_core::time::Timestamp;
use windlass_core::window::{WindowBounds, WindowCheckpoint, WindowState};
use windlass_engine::ports::{CheckpointSave, Store};

use super::{
    after, free, insert, key, leases, put, release, row, save, save_many, shard, take, take_many,
    taken,
};

pub(super) async fn are_read_back_unchanged(store: &dyn Store) {
    assert_eq!(leases(store).await, [], "a new store has no leases");
    put(store, &row(1), None).await;
    let owned = Lease {
        owner: Some(WorkerId::new("host'1 é")),
        epoch: 41,
        checkpoint: after(&"9".repeat(56)),
        shard_start: Some(SequenceNumber::from("8")),
        seek: Some(SeekMark {
            at: Timestamp::from_millis(1_732_552_345_678),
            skip_before: Some(Timestamp::from_millis(7)),
        }),
        waits: true,
        ..free(shard(1, "shardId-000000000000"))
    };
    let all = [owned, free(shard(1, "shardId: 'é"))];
    insert(store, &all).await;
    assert_eq!(leases(store).await, all);
    insert(store, &[]).await;
    assert_eq!(leases(store).await, all);
}

pub(super) async fn are_ordered(store: &dyn Store) {
    put(store, &row(2), None).await;
    put(store, &row(1), None).await;
    let slot = |number| free(key(1, Unit::QueueSlot(number)));
    let ordered = [
        free(shard(1, "a")),
        free(shard(1, "b")),
        slot(2),
        slot(10),
        free(shard(2, "a")),
    ];
    let mut reversed: Vec<_> = ordered.to_vec();
    reversed.reverse();
    insert(store, &reversed).await;
    assert_eq!(leases(store).await, ordered, "leases are ordered by key");
}

pub(super) async fn are_not_overwritten_by_an_insert(store: &dyn Store) {
    put(store, &row(1), None).await;
    let lease = free(shard(1, "a"));
    insert(store, std::slice::from_ref(&lease)).await;
    let owned = taken(&lease, "one");
    take(store, &lease, "one").await;
    save(store, &lease.key, 1, &after("7")).await;
    insert(store, &[lease, free(shard(1, "b"))]).await;
    let kept = Lease {
        checkpoint: after("7"),
        ..owned
    };
    let all = [kept, free(shard(1, "b"))];
    assert_eq!(leases(store).await, all, "an existing lease is unchanged");
}

pub(super) async fn need_their_mapping(store: &dyn Store) {
    put(store, &row(1), None).await;
    insert(store, &[free(shard(1, "a")), free(shard(2, "a"))]).await;
    let of_one = [free(shard(1, "a"))];
    assert_eq!(
        leases(store).await,
        of_one,
        "a lease of a removed mapping is not inserted"
    );
}

pub(super) async fn change_owner_only_at_the_expected_epoch(store: &dyn Store) {
    put(store, &row(1), None).await;
    let lease = free(shard(1, "a"));
    let other = free(shard(1, "b"));
    let one = taken(&lease, "one");
    assert_eq!(
        take(store, &lease, "one").await,
        None,
        "the lease does not exist"
    );
    insert(store, &[lease.clone(), other.clone()]).await;
    assert_eq!(
        take(store, &one, "one").await,
        None,
        "owner and epoch differ"
    );
    let moved = Lease {
        checkpoint: after("999"),
        ..lease.clone()
    };
    assert_eq!(
        take(store, &moved, "one").await.as_ref(),
        Some(&one),
        "its checkpoint is that of the store"
    );
    assert_eq!(leases(store).await, [one.clone(), other.clone()]);
    assert_eq!(
        take(store, &lease, "two").await,
        None,
        "the lease has an owner"
    );
    let old = Lease {
        epoch: 0,
        ..one.clone()
    };
    assert_eq!(take(store, &old, "two").await, None, "the epoch differs");
    let two = taken(&one, "two");
    let stranger = Lease {
        owner: Some(WorkerId::new("two")),
        ..one.clone()
    };
    assert_eq!(
        take(store, &stranger, "two").await,
        None,
        "the owner differs"
    );
    assert_eq!(take(store, &one, "two").await.as_ref(), Some(&two));
    release(store, &[one, stranger, other.clone()]).await;
    assert_eq!(
        leases(store).await,
        [two.clone(), other.clone()],
        "only its owner can release a lease, in its epoch"
    );
    release(store, std::slice::from_ref(&two)).await;
    let released = Lease { owner: None, ..two };
    assert_eq!(leases(store).await, [released, other]);
}

/// Some of the rows are not as they were seen: the others are written all the same.
pub(super) async fn are_taken_released_and_saved_together(store: &dyn Store) {
    put(store, &row(1), None).await;
    put(store, &row(2), None).await;
    let of_two = free(shard(2, "a"));
    let all = [free(shard(1, "a")), free(shard(1, "b")), of_two.clone()];
    insert(store, &all).await;
    let of_one = store.leases_of(&row(1).id).await;
    assert_eq!(of_one.expect("leases can be read"), all[..2]);
    let b = take(store, &all[1], "other").await.expect("it is free");
    let mut taken_now = take_many(store, &all, "one").await;
    taken_now.sort_by(|one, other| one.key.cmp(&other.key));
    let expected = [taken(&all[0], "one"), taken(&of_two, "one")];
    assert_eq!(taken_now, expected);
    let save_of = |lease: &Lease, number: &str| CheckpointSave {
        key: lease.key.clone(),
        epoch: 1,
        checkpoint: after(number),
    };
    let outdated = CheckpointSave {
        epoch: 0,
        ..save_of(&all[0], "9")
    };
    let saves = [
        save_of(&all[0], "5"),
        outdated,
        save_of(&free(shard(3, "a")), "5"),
        save_of(&of_two, "6"),
        save_of(&of_two, "7"),
    ];
    let saved = save_many(store, &saves).await;
    let swaps = [
        Swap::Done,
        Swap::Conflict,
        Swap::Conflict,
        Swap::Done,
        Swap::Done,
    ];
    assert_eq!(saved, swaps);
    let [first, last] = expected;
    let mut stolen = b.clone();
    stolen.owner = Some(WorkerId::new("one"));
    release(store, &[first.clone(), stolen, last.clone()]).await;
    let released = |lease: &Lease, number: &str| Lease {
        owner: None,
        checkpoint: after(number),
        ..lease.clone()
    };
    let left = [released(&first, "5"), b, released(&last, "7")];
    assert_eq!(leases(store).await, left);
    assert_eq!(take_many(store, &[], "x").await, []);
    assert_eq!(save_many(store, &[]).await, []);
}

pub(super) async fn save_checkpoints_only_in_their_epoch(store: &dyn Store) {
    put(store, &row(1), None).await;
    let (lease, other) = (free(shard(1, "a")), free(shard(1, "b")));
    assert_eq!(
        save(store, &lease.key, 0, &after("1")).await,
        Swap::Conflict,
        "the lease does not exist"
    );
    insert(store, &[lease.clone(), other.clone()]).await;
    let owned = taken(&lease, "one");
    take(store, &lease, "one").await;
    for epoch in [0, 2, u64::MAX] {
        let saved = save(store, &lease.key, epoch, &after("5")).await;
        assert_eq!(
            saved,
            Swap::Conflict,
            "epoch {epoch} is not the current one"
        );
    }
    assert_eq!(leases(store).await, [owned.clone(), other.clone()]);
    for checkpoint in checkpoints() {
        let saved = save(store, &lease.key, 1, &checkpoint).await;
        assert_eq!(saved, Swap::Done, "{checkpoint:?}");
        let written = Lease {
            checkpoint,
            ..owned.clone()
        };
        assert_eq!(leases(store).await, [written, other.clone()]);
    }
}

pub(super) async fn return_their_state_when_they_are_taken(store: &dyn Store) {
    put(store, &row(1), None).await;
    let lease = free(shard(1, "a"));
    insert(store, std::slice::from_ref(&lease)).await;
    let mut owned = take(store, &lease, "one").await.expect("it is free");
    for state in [None, Some("{\"1\":282}"), Some("{}"), None] {
        let checkpoint = Checkpoint {
            window: Some(WindowCheckpoint {
                bounds: WindowBounds {
                    start: Timestamp::from_millis(1_607_497_440_000),
                    end: Timestamp::from_millis(1_607_497_560_000),
                },
                state: state.map(|json| WindowState::new(json.into())),
            }),
            ..after("5")
        };
        let saved = save(store, &owned.key, owned.epoch, &checkpoint).await;
        assert_eq!(saved, Swap::Done);
        owned = take(store, &owned, "one").await.expect("it is owned");
        assert_eq!(owned.checkpoint, checkpoint);
    }
}

pub(super) async fn are_removed_only_at_the_expected_epoch(store: &dyn Store) {
    put(store, &row(1), None).await;
    let all = ["a", "b", "c"].map(|name| free(shard(1, name)));
    insert(store, &all).await;
    let [a, b, c] = all;
    let owned = taken(&b, "one");
    take(store, &b, "one").await;
    let absent = free(shard(1, "z"));
    let remove = store.remove_leases(&[a, b, absent]).await;
    remove.expect("leases can be removed");
    assert_eq!(
        leases(store).await,
        [owned.clone(), c],
        "only in the expected epoch"
    );
    let as_it_is = Lease {
        owner: None,
        ..owned
    };
    let remove = store.remove_leases(&[as_it_is]).await;
    remove.expect("leases can be removed");
    assert_eq!(leases(store).await.len(), 1);
}

pub(super) async fn take_a_shard_start_only_at_the_expected_epoch(store: &dyn Store) {
    put(store, &row(1), None).await;
    let (a, b) = (free(shard(1, "a")), free(shard(1, "b")));
    insert(store, &[a.clone(), b.clone()]).await;
    let owned = taken(&b, "one");
    take(store, &b, "one").await;
    let with_start = |lease: &Lease| Lease {
        shard_start: Some(SequenceNumber::from("7")),
        ..lease.clone()
    };
    let moved = Lease {
        checkpoint: after("9"),
        ..with_start(&a)
    };
    let set = store.set_shard_starts(&[moved, with_start(&b)]).await;
    set.expect("leases can be written");
    assert_eq!(leases(store).await, [with_start(&a), owned]);
}

/// A daemon that still holds a removed row must not write into the one that replaces it.
pub(super) async fn never_have_an_epoch_twice(store: &dyn Store) {
    put(store, &row(1), None).await;
    let lease = free(shard(1, "a"));
    insert(store, std::slice::from_ref(&lease)).await;
    let mut former = lease.clone();
    for owner in ["one", "two", "three"] {
        former = take(store, &former, owner).await.expect("it is unchanged");
    }
    let remove = store.remove_leases(std::slice::from_ref(&former)).await;
    remove.expect("leases can be removed");
    insert(store, std::slice::from_ref(&lease)).await;
    let again = leases(store).await;
    assert!(former.epoch < again[0].epoch, "{again:?}");
    assert_eq!(
        save(store, &lease.key, former.epoch, &after("5")).await,
        Swap::Conflict,
        "the checkpoint of a removed row is not saved"
    );
    let removed = store.remove(&row(1).id, row(1).revision).await;
    assert_eq!(removed.expect("a mapping can be removed"), Swap::Done);
    put(store, &row(1), None).await;
    insert(store, &[lease]).await;
    let third = leases(store).await;
    assert!(
        again[0].epoch < third[0].epoch,
        "also when the mapping is removed: {third:?}"
    );
}

/// With every kind of value.
fn checkpoints() -> Vec<Checkpoint> {
    vec![
        Checkpoint::at(Position::AtTimestamp(Timestamp::from_millis(
            1_732_552_345_678,
        ))),
        after("49590338271490256608559692538361571095921575989136588898"),
        Checkpoint::at(Position::TrimHorizon),
        Checkpoint {
            arrival: None,
            ..after("0")
        },
        Checkpoint {
            marks: vec![
                MarkedSection {
                    runs: vec![0, 1, 99],
                    last: SequenceNumber::from("101"),
                    sub_sequence_number: None,
                },
                MarkedSection {
                    runs: vec![3],
                    last: SequenceNumber::from("104"),
                    sub_sequence_number: Some(2),
                },
            ],
            ..after("0")
        },
        Checkpoint {
            position: Position::Within(SequenceNumber::from("104"), 0),
            ..after("0")
        },
        Checkpoint {
            position: Position::ShardEnd,
            ..after("0")
        },
        Checkpoint {
            counts: Some(ReplayCounts {
                delivered: 1,
                filtered_out: 2,
                given_up: 3,
                failed_invocations: 4,
                first_arrival: Some(Timestamp::from_millis(5)),
            }),
            ..after("0")
        },
    ]
}
