//! Leases: inserted once, changed only at the expected owner and epoch.

use windlass_core::ids::SequenceNumber;
use windlass_core::lease::{Lease, Unit, WorkerId};
use windlass_core::outcome::Swap;
use windlass_core::position::Position;
use windlass_core::time::Timestamp;
use windlass_engine::ports::Store;

use super::{free, insert, key, leases, put, row, save, shard, swap, taken};

pub(super) async fn are_read_back_unchanged(store: &dyn Store) {
    assert_eq!(leases(store).await, [], "a new store has no leases");
    put(store, &row(1), None).await;
    let owned = Lease {
        owner: Some(WorkerId::new("host'1 é")),
        epoch: 41,
        checkpoint: after(&"9".repeat(56)),
        shard_start: Some(SequenceNumber::from("8")),
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
    swap(store, &lease, &owned).await;
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
        swap(store, &lease, &one).await,
        Swap::Conflict,
        "the lease does not exist"
    );
    insert(store, &[lease.clone(), other.clone()]).await;
    let moved = Lease {
        checkpoint: after("999"),
        ..one.clone()
    };
    let swapped = swap(store, &moved, &moved).await;
    assert_eq!(swapped, Swap::Conflict, "owner and epoch differ");
    assert_eq!(swap(store, &lease, &moved).await, Swap::Done);
    assert_eq!(
        leases(store).await,
        [one.clone(), other.clone()],
        "the checkpoint is unchanged"
    );
    let two = taken(&one, "two");
    assert_eq!(
        swap(store, &lease, &two).await,
        Swap::Conflict,
        "the lease has an owner"
    );
    let old = Lease {
        epoch: 0,
        ..one.clone()
    };
    assert_eq!(
        swap(store, &old, &two).await,
        Swap::Conflict,
        "the epoch differs"
    );
    let stranger = Lease {
        owner: two.owner.clone(),
        ..one.clone()
    };
    assert_eq!(
        swap(store, &stranger, &two).await,
        Swap::Conflict,
        "the owner differs"
    );
    assert_eq!(swap(store, &one, &two).await, Swap::Done);
    let released = Lease {
        owner: None,
        ..two.clone()
    };
    assert_eq!(
        swap(store, &two, &released).await,
        Swap::Done,
        "a lease can be released"
    );
    assert_eq!(leases(store).await, [released, other]);
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
    swap(store, &lease, &owned).await;
    for epoch in [0, 2, u64::MAX] {
        let saved = save(store, &lease.key, epoch, &after("5")).await;
        assert_eq!(
            saved,
            Swap::Conflict,
            "epoch {epoch} is not the current one"
        );
    }
    assert_eq!(leases(store).await, [owned.clone(), other.clone()]);
    let positions = [
        Position::AtTimestamp(Timestamp::from_millis(1_732_552_345_678)),
        after("49590338271490256608559692538361571095921575989136588898"),
        Position::TrimHorizon,
        after("0"),
        Position::ShardEnd,
    ];
    for checkpoint in positions {
        let saved = save(store, &lease.key, 1, &checkpoint).await;
        assert_eq!(saved, Swap::Done, "{checkpoint:?}");
        let written = Lease {
            checkpoint,
            ..owned.clone()
        };
        assert_eq!(leases(store).await, [written, other.clone()]);
    }
}

pub(super) async fn are_removed_only_at_the_expected_epoch(store: &dyn Store) {
    put(store, &row(1), None).await;
    let all = ["a", "b", "c"].map(|name| free(shard(1, name)));
    insert(store, &all).await;
    let [a, b, c] = all;
    let owned = taken(&b, "one");
    swap(store, &b, &owned).await;
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
    swap(store, &b, &owned).await;
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
    let former = Lease {
        epoch: 7,
        ..taken(&lease, "one")
    };
    swap(store, &lease, &former).await;
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

fn after(number: &str) -> Position {
    Position::After(SequenceNumber::from(number))
}
