//! The contract of a store: one suite, run against every implementation.
//!
//! The engine relies on this and nothing else: a checkpoint is written only in its epoch, only one of
//! two daemons gets a lease, and what was written is read back unchanged.

mod changes;
mod dead_letters;
mod history;
mod leases;
mod mappings;
mod overrides;
mod races;
mod replays;
mod tags;

use std::sync::Arc;

use windlass_core::arn::{Arn, SourceArn};
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::lease::{Lease, LeaseKey, Unit, WorkerId};
use windlass_core::mapping::{Change, DesiredState, MappingId, MappingRow, Origin, Revision};
use windlass_core::outcome::Swap;
use windlass_core::position::{Checkpoint, Position};
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{ChangeNumber, Changes, CheckpointSave, Store, StoredMapping};

/// Runs the whole suite; `open` returns a new, empty store each time.
///
/// # Panics
/// If the store breaks the contract.
pub async fn store(open: impl Fn() -> Arc<dyn Store>) {
    mappings::are_read_back_unchanged(&*open()).await;
    mappings::are_ordered(&*open()).await;
    mappings::are_read_page_by_page(&*open()).await;
    mappings::have_unique_ids_and_unique_pairs_of_source_and_function(&*open()).await;
    mappings::free_their_pair_when_deleted(&*open()).await;
    mappings::change_only_at_the_expected_revision(&*open()).await;
    mappings::are_removed_with_their_leases(&*open()).await;
    tags::are_written_with_their_mapping(&*open()).await;
    tags::change_only_as_expected_and_change_no_mapping(&*open()).await;
    tags::are_removed_with_their_mapping(&*open()).await;
    leases::are_read_back_unchanged(&*open()).await;
    leases::are_ordered(&*open()).await;
    leases::are_not_overwritten_by_an_insert(&*open()).await;
    leases::need_their_mapping(&*open()).await;
    leases::change_owner_only_at_the_expected_epoch(&*open()).await;
    leases::save_checkpoints_only_in_their_epoch(&*open()).await;
    leases::return_their_state_when_they_are_taken(&*open()).await;
    leases::are_removed_only_at_the_expected_epoch(&*open()).await;
    leases::take_a_shard_start_only_at_the_expected_epoch(&*open()).await;
    leases::never_have_an_epoch_twice(&*open()).await;
    leases::are_taken_released_and_saved_together(&*open()).await;
    overrides::parks_are_written_only_as_seen(&*open()).await;
    overrides::parks_are_changes_of_their_mapping(&*open()).await;
    overrides::seeks_move_all_rows_or_none(&*open()).await;
    changes::are_those_since_a_number(&*open()).await;
    changes::of_leases_are_reported_with_their_mapping(&*open()).await;
    changes::of_checkpoints_are_only_the_ends_of_shards(&*open()).await;
    changes::report_a_removed_mapping_until_it_is_added_again(&*open()).await;
    history::is_written_with_its_change(&*open()).await;
    history::has_one_line_a_request(&*open()).await;
    history::adds_up_the_parts_of_a_redrive(&*open()).await;
    history::is_paged_from_the_latest_line(&*open()).await;
    history::is_kept_for_ninety_days(&*open()).await;
    dead_letters::are_read_back_unchanged(&*open()).await;
    dead_letters::are_listed_by_age(&*open()).await;
    dead_letters::replace_themselves(&*open()).await;
    dead_letters::have_their_room(&*open()).await;
    dead_letters::are_written_with_their_checkpoint(&*open()).await;
    dead_letters::are_deleted_with_a_line(&*open()).await;
    dead_letters::expire_unless_they_are_redriven(&*open()).await;
    dead_letters::are_deleted_after_a_redrive_with_its_line(&*open()).await;
    replays::are_read_back_unchanged(&*open()).await;
    replays::have_unique_names(&*open()).await;
    replays::change_only_at_the_expected_revision(&*open()).await;
    replays::have_leases_that_are_removed_with_them(&*open()).await;
    replays::are_reported_as_changes(&*open()).await;
    replays::leave_a_line_with_each_change(&*open()).await;
    races::one_daemon_gets_a_lease(open()).await;
    races::a_former_owner_saves_no_checkpoint(open()).await;
    races::one_mapping_of_a_pair_is_created(open()).await;
    races::no_update_is_lost(open()).await;
}

/// Writes mappings and leases of all kinds, for tests that open the store again.
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
        assert_eq!(take(store, &lease, "daemon").await, Some(owned));
        let checkpoint = after("49590338271490256608559692");
        assert_eq!(save(store, &lease.key, 1, &checkpoint).await, Swap::Done);
    }
}

/// A mapping with every kind of value in its row.
fn row(number: u32) -> MappingRow {
    let spec = r#"{"EventSourceArn": "@", "FunctionName": "résumé:läuft", "Enabled": true,
        "BatchSize": 10000, "StartingPositionTimestamp": 1732552345.678,
        "FunctionResponseTypes": [], "DestinationConfig": {"OnFailure": {}},
        "FilterCriteria": {"Filters": [{"Pattern": "{\"data\": [\"'; DROP TABLE mappings\"]}"}]},
        "Topics": {"a": [1, null, {"b": -0.5}]}}"#;
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
        origin: Origin::Api,
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

/// A lease that never had an owner.
fn free(key: LeaseKey) -> Lease {
    Lease {
        key,
        owner: None,
        epoch: 0,
        checkpoint: Checkpoint::at(Position::TrimHorizon),
        shard_start: None,
        seek: None,
        waits: false,
    }
}

/// The checkpoint after a record.
fn after(number: &str) -> Checkpoint {
    Checkpoint {
        position: Position::After(SequenceNumber::from(number)),
        arrival: Some(Timestamp::from_millis(1_732_552_345_678)),
        marks: Vec::new(),
        window: None,
        counts: None,
    }
}

/// The lease with another owner, in the next epoch.
fn taken(lease: &Lease, owner: &str) -> Lease {
    Lease {
        owner: Some(WorkerId::new(owner)),
        epoch: lease.epoch + 1,
        ..lease.clone()
    }
}

async fn put(store: &dyn Store, row: &MappingRow, seen: Option<u64>) -> Swap {
    let put = store.put(row, seen.map(Revision), None).await;
    put.expect("a mapping can be written")
}

async fn mappings(store: &dyn Store) -> Vec<MappingRow> {
    store.mappings().await.expect("mappings can be read")
}

async fn insert(store: &dyn Store, leases: &[Lease]) {
    store.insert(leases).await.expect("leases can be added");
}

/// Every lease, ordered by key.
async fn leases(store: &dyn Store) -> Vec<Lease> {
    let changes = changes(store, ChangeNumber::default()).await;
    let leases = changes.mappings.into_iter().map(|(id, stored)| {
        let StoredMapping::Readable(row, leases, _) = stored else {
            return Vec::new();
        };
        assert_eq!(row.id, id);
        leases
    });
    let mut leases: Vec<_> = leases.collect();
    leases.sort_by_key(|leases| leases.first().map(|it| it.key.mapping.clone()));
    leases.concat()
}

async fn changes(store: &dyn Store, since: ChangeNumber) -> Changes {
    let changes = store.changes(since).await;
    changes.expect("changes can be read")
}

/// Takes a lease; the result is as it is then, or `None` if it is not as `seen`.
async fn take(store: &dyn Store, seen: &Lease, owner: &str) -> Option<Lease> {
    let taken = take_many(store, std::slice::from_ref(seen), owner).await;
    let mut taken = taken.into_iter();
    let lease = taken.next();
    assert_eq!(taken.next(), None, "one lease was given");
    lease
}

async fn take_many(store: &dyn Store, seen: &[Lease], owner: &str) -> Vec<Lease> {
    let taken = store.take_many(seen, &WorkerId::new(owner)).await;
    taken.expect("leases can be taken")
}

async fn release(store: &dyn Store, leases: &[Lease]) {
    let released = store.release_many(leases).await;
    released.expect("leases can be released");
}

async fn save(store: &dyn Store, key: &LeaseKey, epoch: u64, checkpoint: &Checkpoint) -> Swap {
    let save = CheckpointSave {
        key: key.clone(),
        epoch,
        checkpoint: checkpoint.clone(),
    };
    let saved = save_many(store, &[save]).await;
    assert_eq!(saved.len(), 1, "one checkpoint was given");
    saved[0]
}

async fn save_many(store: &dyn Store, saves: &[CheckpointSave]) -> Vec<Swap> {
    let saved = store.save_many(saves).await;
    saved.expect("checkpoints can be written")
}
