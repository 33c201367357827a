//! Mappings of the file, applied to a store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use windlass_core::arn::SourceArn;
use windlass_core::function::FunctionName;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::mapping::Mapping;
use windlass_core::shard::lineage::Shard;
use windlass_core::tags::Tags;
use windlass_core::time::Timestamp;
use windlass_engine::clock::Clock;
use windlass_engine::ports::{
    FunctionLookup, HistoryStore as _, MappingStore as _, NeededCall, Permission, PortError,
    QueueDefaults, ResourceLookup, Store, What,
};
use windlass_engine::supervisor::Wakeup;
use windlass_testkit::fakes::FakeStore;

use super::*;
use crate::problems::MappingProblems;

/// Functions whose names start with `f` exist and need no call. Those of `slow` never answer.
#[derive(Default)]
struct FakeLookup {
    missing: Mutex<BTreeSet<String>>,
    slow: Mutex<BTreeSet<String>>,
    calls: AtomicUsize,
}

#[async_trait]
impl ResourceLookup for FakeLookup {
    async fn function(&self, name: &FunctionName) -> Result<FunctionLookup, PortError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let is_slow = self.slow.lock().unwrap().contains(&name.name);
        if is_slow {
            std::future::pending::<()>().await;
        }
        if !name.name.starts_with('f') {
            tokio::task::yield_now().await;
        }
        let is_missing = self.missing.lock().unwrap().contains(&name.name);
        let arn = name.resolve(&home());
        Ok(if is_missing {
            FunctionLookup::Missing
        } else if name.name == "unchecked" {
            let reason = "denied".to_owned();
            FunctionLookup::Unchecked { arn, reason }
        } else {
            FunctionLookup::Found(arn)
        })
    }

    async fn source(&self, _source: &SourceArn) -> Result<Option<Timestamp>, PortError> {
        Ok(None)
    }

    fn needed_calls(&self, _: &Mapping, _: &QueueDefaults) -> Vec<NeededCall> {
        unreachable!("mappings are written without it")
    }

    async fn permission(&self, _: &NeededCall) -> Permission {
        unreachable!("mappings are written without it")
    }

    async fn shards(&self, _: &SourceArn) -> Result<Vec<Shard>, PortError> {
        unreachable!("mappings are written without it")
    }

    async fn is_of_shard(
        &self,
        _: &SourceArn,
        _: &ShardId,
        _: &SequenceNumber,
    ) -> Result<bool, PortError> {
        unreachable!("mappings are written without it")
    }
}

fn home() -> ArnScope {
    ArnScope {
        partition: "aws".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "000000000000".to_owned(),
    }
}

fn mapping(function: &str) -> ConfigMapping {
    let arn = "arn:aws:sqs:us-east-1:000000000000:jobs";
    let members = json!({"FunctionName": function, "EventSourceArn": arn});
    let members = members.as_object().unwrap();
    ConfigMapping::parse("line 1", members, &home(), Clock::start().now()).unwrap()
}

fn tagged(function: &str, tags: Value) -> ConfigMapping {
    let mut mapping = mapping(function);
    mapping.checked.tags = Some(Tags::from_json(&tags));
    mapping
}

fn parts(store: &Arc<FakeStore>, lookup: &Arc<FakeLookup>) -> ApplyParts {
    ApplyParts {
        store: Arc::clone(store) as _,
        lookup: Arc::clone(lookup) as _,
        problems: MappingProblems::default(),
        wakeup: Wakeup::default(),
        clock: Clock::start(),
        prune: false,
    }
}

async fn functions(store: &dyn Store) -> BTreeMap<String, DesiredState> {
    let rows = store.mappings().await.unwrap();
    let name = |row: &MappingRow| row.spec.function_name().unwrap().to_owned();
    rows.iter().map(|row| (name(row), row.desired)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_not_looked_up_again() {
    let (store, lookup) = (Arc::new(FakeStore::default()), Arc::default());
    let all: Vec<_> = (0..1_000).map(|n| mapping(&format!("f{n}"))).collect();
    for calls in [1_000, 1_000] {
        let parts = parts(&store, &lookup);
        let pending = PendingMappings::apply(all.clone(), parts).await.unwrap();
        assert_eq!(functions(&*store).await.len(), 1_000);
        assert_eq!(lookup.calls.load(Ordering::Relaxed), calls);
        pending.finish().await;
    }
    let rows = store.mappings().await.unwrap();
    assert!(rows.iter().all(|row| row.revision == Revision(1)));
    assert_eq!(store.reads_of_mappings(), 2 + 3);
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_cannot_be_looked_up_holds_up_no_other() {
    let store = Arc::new(FakeStore::default());
    let lookup = Arc::new(FakeLookup {
        missing: Mutex::new(BTreeSet::from([
            "f-missing".to_owned(),
            "missing".to_owned(),
        ])),
        slow: Mutex::new(BTreeSet::from(["slow".to_owned()])),
        calls: AtomicUsize::new(0),
    });
    let parts = parts(&store, &lookup);
    let problems = parts.problems.clone();
    let all = ["f-missing", "missing", "slow", "lambda", "f"].map(mapping);
    // Without waiting for anything.
    let pending = PendingMappings::apply(all.to_vec(), parts).await.unwrap();
    assert!(functions(&*store).await.keys().eq(["f"]));

    let mut finish = tokio::task::JoinSet::new();
    finish.spawn(pending.finish());
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert!(functions(&*store).await.keys().eq(["f", "lambda", "slow"]));
    let found = problems.all_config().into_values();
    let texts: BTreeSet<_> = found.map(|it| it.text).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].starts_with("the function 'f-missing' does not exist"));

    lookup.missing.lock().unwrap().clear();
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(functions(&*store).await.len(), 5);
    assert!(problems.all_config().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_function_that_could_not_be_checked_is_a_notice_until_it_is_found_or_invoked() {
    let store = Arc::new(FakeStore::default());
    let lookup = Arc::new(FakeLookup {
        slow: Mutex::new(BTreeSet::from(["slow".to_owned()])),
        ..FakeLookup::default()
    });
    let parts = parts(&store, &lookup);
    let problems = parts.problems.clone();
    let all = ["slow", "unchecked"].map(mapping);
    let pending = PendingMappings::apply(all.to_vec(), parts).await.unwrap();
    let mut finish = tokio::task::JoinSet::new();
    finish.spawn(pending.finish());
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert!(functions(&*store).await.keys().eq(["slow", "unchecked"]));
    let notices = |invoked| {
        all.clone()
            .map(|it| problems.unchecked(&it.id(&it.function), invoked))
    };
    let [slow, unchecked] = notices(0).map(Option::unwrap);
    let says = "the function could not be checked: ";
    assert!(
        slow.starts_with(&format!("{says}no answer within 5s")),
        "{slow}"
    );
    assert_eq!(unchecked, format!("{says}denied"));
    assert_eq!(notices(1), [None, None], "it has been invoked");

    // The one is looked up again, the other is not.
    let calls = lookup.calls.load(Ordering::Relaxed);
    lookup.slow.lock().unwrap().clear();
    tokio::time::timeout(std::time::Duration::from_secs(120), finish.join_next())
        .await
        .expect("nothing is left to be looked up");
    assert_eq!(lookup.calls.load(Ordering::Relaxed), calls + 1);
    assert_eq!(notices(0), [None, Some(unchecked)]);
    assert!(problems.all_config().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_tags_of_the_file_are_written_where_it_has_some() {
    let (store, lookup) = (Arc::new(FakeStore::default()), Arc::default());
    let apply =
        |mapping: ConfigMapping| PendingMappings::apply(vec![mapping], parts(&store, &lookup));
    let row = async || store.mappings().await.unwrap().remove(0);
    let tags = async || {
        store
            .tags(&row().await.id)
            .await
            .unwrap()
            .unwrap()
            .to_json()
    };
    for function in ["f", "looked_up"] {
        apply(tagged(function, json!({"a": "1"})))
            .await
            .unwrap()
            .finish()
            .await;
        assert_eq!(tags().await, json!({"a": "1"}));
        let revision = row().await.revision;
        apply(tagged(function, json!({"b": "2"})))
            .await
            .unwrap()
            .finish()
            .await;
        assert_eq!(tags().await, json!({"b": "2"}));
        apply(mapping(function)).await.unwrap().finish().await;
        assert_eq!(
            tags().await,
            json!({"b": "2"}),
            "the file does not name them"
        );
        assert_eq!(row().await.revision, revision, "nothing is restarted");
        let deleted = MappingRow {
            desired: DesiredState::Deleted,
            change: Change::Deleted,
            ..row().await.next_revision(Timestamp::from_millis(0))
        };
        store.put(&deleted, Some(revision), None).await.unwrap();
        apply(mapping(function)).await.unwrap().finish().await;
        assert_eq!(tags().await, json!({}), "it was created again");
        let row = row().await;
        store.remove(&row.id, row.revision).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_being_deleted_blocks_nothing() {
    let (store, lookup) = (Arc::new(FakeStore::default()), Arc::default());
    let apply =
        |all: &[ConfigMapping]| PendingMappings::apply(all.to_vec(), parts(&store, &lookup));
    let all = [mapping("f"), mapping("f2")];
    apply(&all).await.unwrap();
    // Both are deleted by the API, and one is created by it again.
    for row in store.mappings().await.unwrap() {
        let deleted = MappingRow {
            desired: DesiredState::Deleted,
            change: Change::Deleted,
            ..row.next_revision(row.created)
        };
        store.put(&deleted, Some(row.revision), None).await.unwrap();
        if row.spec.function_name() == Some("f") {
            let twin = MappingRow {
                id: MappingId::new("00000000-0000-4000-8000-000000000000"),
                origin: Origin::Api,
                ..row
            };
            store.put(&twin, None, None).await.unwrap();
        }
    }
    apply(&all).await.unwrap().finish().await;
    let rows = store.mappings().await.unwrap();
    let live = rows
        .iter()
        .filter(|row| row.desired == DesiredState::Enabled);
    let names: BTreeSet<_> = live.map(|row| row.spec.function_name().unwrap()).collect();
    assert!(names.iter().eq(&["f", "f2"]), "{rows:#?}");
    assert_eq!(rows.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_file_leaves_a_line_for_each_mapping_that_it_changes() {
    let (store, lookup) = (Arc::new(FakeStore::default()), Arc::default());
    let apply = async |all: &[ConfigMapping], prune| {
        let parts = ApplyParts {
            prune,
            ..parts(&store, &lookup)
        };
        let pending = PendingMappings::apply(all.to_vec(), parts).await.unwrap();
        pending.finish().await;
        let lines = store.history(None, None, 100).await.unwrap().lines;
        assert!(lines.iter().all(|line| line.who == "configuration"));
        lines
    };
    let mut changed = mapping("f");
    changed.checked.spec.set("BatchSize", 7);
    let row = async || store.mappings().await.unwrap().remove(0);

    let lines = apply(&[mapping("f")], false).await;
    assert_eq!(lines.len(), 1);
    let created = &lines[0];
    assert_eq!(created.what, What::Create);
    assert_eq!(created.mapping, Some(row().await.id));
    assert_eq!(created.before, Value::Null);
    assert_eq!(created.after["BatchSize"], 10);

    let again = apply(&[mapping("f")], true).await;
    assert_eq!(again.len(), 1, "it changes nothing");
    let lines = apply(&[changed], true).await;
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].what, What::Update);
    let expected = (json!({"BatchSize": 10}), json!({"BatchSize": 7}));
    assert_eq!((lines[0].before.clone(), lines[0].after.clone()), expected);

    let kept = apply(&[], false).await;
    assert_eq!(kept.len(), 2, "a mapping that left the file still runs");
    let lines = apply(&[], true).await;
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0].what, What::Delete);
    assert_eq!(lines[0].before["BatchSize"], 7);
    assert_eq!(lines[0].after, Value::Null);

    let lines = apply(&[mapping("f")], true).await;
    assert_eq!(lines[0].what, What::Create, "it is revived");
    assert_eq!(lines[0].mapping, lines[1].mapping);
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_is_looked_up_first_has_its_line_once_it_is_written() {
    let (store, lookup) = (Arc::new(FakeStore::default()), Arc::default());
    let parts = parts(&store, &lookup);
    let pending = PendingMappings::apply(vec![mapping("later")], parts).await;
    let lines = async || store.history(None, None, 100).await.unwrap().lines;
    assert_eq!(lines().await.len(), 0);
    pending.unwrap().finish().await;
    assert_eq!(lines().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_file_changes_enabled_only_where_it_names_it() {
    let (store, lookup) = (Arc::new(FakeStore::default()), Arc::default());
    let apply = async |enabled: Option<bool>, batch_size: i64| {
        let mut mapping = mapping("f");
        mapping.checked.enabled = enabled;
        mapping.checked.spec.set("BatchSize", batch_size);
        let pending = PendingMappings::apply(vec![mapping], parts(&store, &lookup)).await;
        pending.unwrap().finish().await;
        let row = store.mappings().await.unwrap().remove(0);
        (row.desired, row.change, row.revision.0)
    };
    let (on, off) = (DesiredState::Enabled, DesiredState::Disabled);
    assert_eq!(apply(None, 1).await, (on, Change::Created, 1));
    assert_eq!(apply(Some(false), 1).await, (off, Change::Disabled, 2));
    assert_eq!(apply(None, 1).await, (off, Change::Disabled, 2));
    assert_eq!(apply(None, 2).await, (off, Change::Updated, 3));
    assert_eq!(apply(Some(true), 2).await, (on, Change::Enabled, 4));
    assert_eq!(apply(None, 2).await, (on, Change::Enabled, 4));
}

#[tokio::test(start_paused = true)]
async fn the_configuration_deletes_only_what_it_defined() {
    let (store, lookup) = (Arc::new(FakeStore::default()), Arc::default());
    let all = ["f-api", "f-apply", "f-both"].map(mapping);
    let origins = [Origin::Api, Origin::Apply, Origin::Apply];
    for (mapping, origin) in all.iter().zip(origins) {
        let now = Timestamp::from_millis(1);
        let row = MappingRow {
            origin,
            ..mapping.new_row(mapping.function.clone(), now)
        };
        store.put(&row, None, None).await.unwrap();
    }
    let apply = async |all: &[ConfigMapping]| {
        let parts = ApplyParts {
            prune: true,
            ..parts(&store, &lookup)
        };
        PendingMappings::apply(all.to_vec(), parts).await.unwrap();
        functions(&*store).await
    };
    let (on, gone) = (DesiredState::Enabled, DesiredState::Deleted);
    let expected = |both| {
        BTreeMap::from(
            [("f-api", on), ("f-apply", on), ("f-both", both)]
                .map(|(name, state)| (name.to_owned(), state)),
        )
    };
    // What the file defines belongs to it from then on.
    assert_eq!(apply(&all[2..]).await, expected(on));
    assert_eq!(apply(&[]).await, expected(gone));
}
