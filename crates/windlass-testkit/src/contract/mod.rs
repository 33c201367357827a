//! What every store must do: one suite, run against each of them.
//!
//! The engine relies on nothing else: that a checkpoint is written only while its epoch holds, that
//! of two daemons one gets a lease, and that what was written is there again, as it was.

mod leases;
mod mappings;
mod races;

use std::sync::Arc;

use windlass_core::arn::{Arn, SourceArn};
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::lease::{Lease, LeaseKey, Unit, WorkerId};
use windlass_core::mapping::{Change, DesiredState, MappingId, MappingRow, Revision};
use windlass_core::outcome::Swap;
use windlass_core::position::Position;
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_engine::ports::Store;

/// Runs the whole suite; `open` gives a new, empty store each time.
///
/// # Panics
/// If the store does anything else than what its port says.
pub async fn store(open: impl Fn() -> Arc<dyn Store>) {
    mappings::are_kept_as_they_were(&*open()).await;
    mappings::are_ordered(&*open()).await;
    mappings::have_one_id_and_one_pair(&*open()).await;
    mappings::give_their_pair_back_when_deleted(&*open()).await;
    mappings::change_only_as_they_were_seen(&*open()).await;
    mappings::go_with_their_leases(&*open()).await;
    leases::are_kept_as_they_were(&*open()).await;
    leases::are_ordered(&*open()).await;
    leases::stay_when_added_again(&*open()).await;
    leases::belong_to_a_mapping(&*open()).await;
    leases::change_hands_only_as_they_were_seen(&*open()).await;
    leases::keep_checkpoints_of_their_epoch(&*open()).await;
    leases::are_removed_in_their_epoch(&*open()).await;
    races::one_of_many_gets_a_lease(open()).await;
    races::no_checkpoint_is_written_by_a_former_owner(open()).await;
    races::one_of_many_gets_a_pair(open()).await;
    races::no_change_of_a_mapping_is_lost(open()).await;
}

/// Writes mappings and leases of all kinds, for tests of what is left of them.
///
/// # Panics
/// If the store cannot be written.
pub async fn fill(store: &dyn Store) {
    for number in 1..40 {
        assert_eq!(put(store, &row(number), None).await, Swap::Done);
        let lease = free(shard(number, "shardId-000000000000"));
        insert(
            store,
            &[lease.clone(), free(key(number, Unit::QueueSlot(1)))],
        )
        .await;
        let owned = taken(&lease, "daemon");
        assert_eq!(swap(store, &lease, &owned).await, Swap::Done);
        let checkpoint = Position::After(SequenceNumber::from("49590338271490256608559692"));
        assert_eq!(save(store, &lease.key, 1, &checkpoint).await, Swap::Done);
    }
}

/// A mapping with every kind of value that a row can hold.
fn row(number: u32) -> MappingRow {
    let spec = r#"{"EventSourceArn": "@", "FunctionName": "résumé:läuft", "Enabled": true,
        "BatchSize": 10000, "StartingPositionTimestamp": 1732552345.678,
        "FunctionResponseTypes": [], "DestinationConfig": {"OnFailure": {}},
        "FilterCriteria": {"Filters": [{"Pattern": "{\"data\": [\"'; DROP TABLE mappings\"]}"}]},
        "Tags": {"a": [1, null, {"b": -0.5}]}}"#;
    let source = format!("arn:aws:kinesis:us-east-1:123456789012:stream/s{number}");
    let spec: MappingSpec =
        serde_json::from_str(&spec.replace('@', &source)).expect("it is a mapping's JSON");
    MappingRow {
        id: id(number),
        revision: Revision(1),
        spec,
        source: SourceArn::parse(&source).expect("it is a stream's ARN"),
        function_arn: function("f"),
        desired: DesiredState::Enabled,
        change: Change::Created,
        created: Timestamp::from_millis(1_732_552_345_678),
        last_modified: Timestamp::from_millis(0),
        from_config: false,
    }
}

fn id(number: u32) -> MappingId {
    MappingId::new(&format!("00000000-0000-0000-0000-{number:012}"))
}

fn function(name: &str) -> Arn {
    let arn = format!("arn:aws:lambda:us-east-1:123456789012:function:{name}");
    Arn::parse(&arn).expect("it is an ARN")
}

fn key(mapping: u32, unit: Unit) -> LeaseKey {
    LeaseKey {
        mapping: id(mapping),
        unit,
    }
}

fn shard(mapping: u32, name: &str) -> LeaseKey {
    key(mapping, Unit::Shard(ShardId::from(name)))
}

/// A lease that nobody has had.
fn free(key: LeaseKey) -> Lease {
    Lease {
        key,
        owner: None,
        epoch: 0,
        checkpoint: Position::TrimHorizon,
    }
}

/// The same lease in other hands, an epoch later.
fn taken(lease: &Lease, owner: &str) -> Lease {
    Lease {
        owner: Some(WorkerId::new(owner)),
        epoch: lease.epoch + 1,
        ..lease.clone()
    }
}

async fn put(store: &dyn Store, row: &MappingRow, seen: Option<u64>) -> Swap {
    let put = store.put(row, seen.map(Revision)).await;
    put.expect("a mapping can be written")
}

async fn mappings(store: &dyn Store) -> Vec<MappingRow> {
    store.mappings().await.expect("mappings can be read")
}

async fn insert(store: &dyn Store, leases: &[Lease]) {
    store.insert(leases).await.expect("leases can be added");
}

async fn leases(store: &dyn Store) -> Vec<Lease> {
    store.leases().await.expect("leases can be read")
}

async fn swap(store: &dyn Store, seen: &Lease, next: &Lease) -> Swap {
    let swap = store.compare_and_swap(seen, next).await;
    swap.expect("a lease can be written")
}

async fn save(store: &dyn Store, key: &LeaseKey, epoch: u64, checkpoint: &Position) -> Swap {
    let save = store.save(key, epoch, checkpoint).await;
    save.expect("a checkpoint can be written")
}
