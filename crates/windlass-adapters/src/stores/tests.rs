//! The stores implement their contract, and the one on disk reports what is wrong with it.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use windlass_core::arn::Arn;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::lease::{Lease, LeaseKey, Unit, WorkerId};
use windlass_core::mapping::{MappingId, MappingRow, Origin};
use windlass_core::marks::MarkedSection;
use windlass_core::outcome::{Fault, Swap};
use windlass_core::position::{Checkpoint, Position};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{
    ChangeNumber, DeadLetter, DeadLetterId, DeadLetterLimit, DeadLetterReason,
    DeadLetterStore as _, HistoryId, HistoryLine, HistoryStore as _, LeaseStore as _,
    MappingStore as _, NewDeadLetter, RedriveLine, Store, StoredMapping, What, chain,
};
use windlass_testkit::contract;

use super::lock::StoreLock;
use super::schema::{APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION};
use super::sqlite::prepare;
use super::{SqliteStore, StoreContents, StoreError, inspect, open};

/// A directory of one test, removed at its end.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        let name = format!("windlass-store-{:016x}", fastrand::u64(..));
        Self(std::env::temp_dir().join(name))
    }

    fn database(&self) -> PathBuf {
        self.0.join("windlass.db")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A directory that remains in the system's temporary directory does no harm.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sqlite_store_implements_the_contract() {
    let directory = TempDir::new();
    let number = AtomicU32::new(0);
    contract::store(|| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let directory = directory.0.join(number.to_string());
        Arc::new(SqliteStore::open(&directory).unwrap())
    })
    .await;
}

/// The line of a redrive says what was deleted whenever the daemon is killed.
#[tokio::test]
async fn a_redrive_and_its_line_are_one_change() {
    let directory = TempDir::new();
    let limit = DeadLetterLimit {
        maximum_size: 1 << 20,
        drops_oldest: false,
    };
    let letters: Vec<_> = (0..4).map(dead_letter).collect();
    let store = SqliteStore::open(&directory.0).unwrap();
    store.keep(letters.clone(), limit, None).await.unwrap();
    drop(store);
    let ids: Vec<_> = letters.iter().map(|it| it.letter.id).collect();
    for n_redriven in 1..=3 {
        // What the daemon before had claimed is free.
        let store = SqliteStore::open(&directory.0).unwrap();
        let claimed = store.claim_dead_letters(&ids).await.unwrap();
        assert_eq!(claimed.len(), 5 - n_redriven);
        let line = RedriveLine {
            line: HistoryLine {
                id: HistoryId(1),
                time: Timestamp::from_millis(1),
                who: "local".to_owned(),
                what: What::Redrive,
                mapping: None,
                before: serde_json::Value::Null,
                after: serde_json::json!({"all": true}),
            },
            redriven: vec![claimed[0].id.to_string()],
            failed: 1,
        };
        let swap = store.delete_redriven(claimed[0].marker(), &line).await;
        assert_eq!(swap.unwrap(), Swap::Done);
        drop(store);
        let store = SqliteStore::open(&directory.0).unwrap();
        let lines = store.history(None, None, 9).await.unwrap().lines;
        let texts = ids[..n_redriven].iter().map(ToString::to_string);
        let expected = serde_json::json!({
            "all": true, "redriven": n_redriven, "failed": n_redriven,
            "ids": texts.collect::<Vec<_>>(),
        });
        assert_eq!((lines.len(), &lines[0].after), (1, &expected));
        let left = store.dead_letter_totals().await.unwrap().letters;
        assert_eq!(left, 4 - n_redriven as u64);
    }
}

fn dead_letter(number: u64) -> NewDeadLetter {
    let arn = |text: &str| Arn::parse(text).unwrap();
    let shard = ShardId::from("0");
    let number_text = number.to_string();
    let payload = bytes::Bytes::from_static(b"{}");
    NewDeadLetter {
        letter: DeadLetter {
            id: DeadLetterId::of("m", &shard, &number_text),
            mapping: None,
            replay: None,
            function_arn: arn("arn:aws:lambda:us-east-1:0:function:f"),
            event_source_arn: arn("arn:aws:kinesis:us-east-1:0:stream/s"),
            shard,
            first: number_text.as_str().into(),
            last: number_text.as_str().into(),
            records: 1,
            reason: DeadLetterReason::Skipped,
            attempts: 0,
            last_error: None,
            first_arrival: None,
            given_up: Timestamp::from_millis(number),
            bytes: payload.len() as u64,
            redrives: 0,
        },
        payload,
    }
}

/// A store of the first version, as it was written then.
const FIRST_VERSION: &str = r#"
    PRAGMA application_id = 0x77646c73;
    PRAGMA user_version = 1;
    CREATE TABLE mappings (
        id            TEXT PRIMARY KEY,
        revision      INTEGER NOT NULL,
        spec          TEXT NOT NULL,
        source_arn    TEXT NOT NULL,
        function_arn  TEXT NOT NULL,
        desired       TEXT NOT NULL,
        change        TEXT NOT NULL,
        created       INTEGER NOT NULL,
        last_modified INTEGER NOT NULL,
        declared      INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX one_mapping_a_pair ON mappings (source_arn, function_arn)
        WHERE desired <> 'deleted';
    CREATE TABLE leases (
        mapping          TEXT NOT NULL REFERENCES mappings (id) ON DELETE CASCADE,
        unit             TEXT NOT NULL,
        owner            TEXT,
        epoch            INTEGER NOT NULL,
        checkpoint_kind  TEXT NOT NULL,
        checkpoint_value TEXT,
        PRIMARY KEY (mapping, unit)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO mappings VALUES ('m', 3, '{"BatchSize":7}',
        'arn:aws:kinesis:us-east-1:123456789012:stream/s',
        'arn:aws:lambda:us-east-1:123456789012:function:f',
        'enabled', 'updated', 1732552345678, 1732552345679, 1);
    INSERT INTO leases VALUES
        ('m', 'shard:a', 'daemon', 4, 'after', '49590338271490256608559692'),
        ('m', 'shard:b', NULL, 2, 'shard_end', NULL),
        ('m', 'shard:c', NULL, 0, 'at_timestamp', '1732552345000');
"#;

/// The rows of the first version in a store of the second one.
const SECOND_VERSION: &str = "
    PRAGMA user_version = 2;
    ALTER TABLE leases ADD COLUMN shard_start TEXT;
    CREATE TABLE epochs (next INTEGER NOT NULL) STRICT;
    INSERT INTO epochs (next) VALUES (9);
    CREATE TRIGGER epochs_never_repeat AFTER DELETE ON leases BEGIN
        UPDATE epochs SET next = max(next, OLD.epoch + 1);
    END;
    UPDATE leases SET shard_start = '495' WHERE unit = 'shard:a';
";

#[tokio::test]
async fn a_store_of_an_earlier_version_keeps_its_rows_and_checkpoints() {
    keeps_its_rows(&[FIRST_VERSION]).await;
    keeps_its_rows(&[FIRST_VERSION, SECOND_VERSION]).await;
}

async fn keeps_its_rows(versions: &[&str]) {
    let directory = TempDir::new();
    std::fs::create_dir_all(&directory.0).unwrap();
    let db = Connection::open(directory.database()).unwrap();
    for version in versions {
        db.execute_batch(version).unwrap();
    }
    drop(db);
    let start = (versions.len() == 2).then(|| SequenceNumber::from("495"));
    for _ in 0..2 {
        let store = SqliteStore::open(&directory.0).unwrap();
        let (mappings, leases) = contents(&store).await;
        let [mapping] = &mappings[..] else {
            panic!("{mappings:?}")
        };
        assert_eq!((mapping.id.as_str(), mapping.revision.0), ("m", 3));
        assert_eq!(mapping.origin, Origin::Configuration);
        let a = SequenceNumber::from("49590338271490256608559692");
        let c = Timestamp::from_millis(1_732_552_345_000);
        let expected = [
            ("a", Some("daemon"), 4, Position::After(a), start.clone()),
            ("b", None, 2, Position::ShardEnd, None),
            ("c", None, 0, Position::AtTimestamp(c), None),
        ];
        let expected = expected.map(|(shard, owner, epoch, position, shard_start)| Lease {
            key: LeaseKey {
                mapping: MappingId::new("m"),
                unit: Unit::Shard(ShardId::from(shard)),
            },
            owner: owner.map(WorkerId::new),
            epoch,
            checkpoint: Checkpoint::at(position),
            shard_start,
            seek: None,
            waits: false,
        });
        assert_eq!(leases, expected);
    }
    let db = Connection::open(directory.database()).unwrap();
    let version = db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    assert_eq!(version.unwrap(), i64::from(SCHEMA_VERSION));
}

#[tokio::test]
async fn a_checkpoint_of_an_earlier_version_has_no_window() {
    let directory = TempDir::new();
    std::fs::create_dir_all(&directory.0).unwrap();
    let db = Connection::open(directory.database()).unwrap();
    db.execute_batch(FIRST_VERSION).unwrap();
    for migration in &MIGRATIONS[1..5] {
        db.execute_batch(migration).unwrap();
    }
    db.execute_batch(
        r#"UPDATE leases SET checkpoint =
           '{"position":"after","value":"7","arrival":1700,"marks":[{"runs":[0,1],"last":"8"}]}'
           WHERE unit = 'shard:a'"#,
    )
    .unwrap();
    db.pragma_update(None, "user_version", 5).unwrap();
    drop(db);
    let store = SqliteStore::open(&directory.0).unwrap();
    let leases = store.leases_of(&MappingId::new("m")).await.unwrap();
    let taken = store.take_many(&leases[..1], &WorkerId::new("one")).await;
    let expected = Checkpoint {
        position: Position::After("7".into()),
        arrival: Some(Timestamp::from_millis(1_700)),
        marks: vec![MarkedSection {
            runs: vec![0, 1],
            last: "8".into(),
            sub_sequence_number: None,
        }],
        window: None,
        counts: None,
    };
    assert_eq!(taken.unwrap()[0].checkpoint, expected);
}

#[tokio::test]
async fn a_reopened_store_has_everything() {
    let directory = TempDir::new();
    let (mappings, leases) = {
        let store = SqliteStore::open(&directory.0).unwrap();
        contract::fill(&store).await;
        contents(&store).await
    };
    assert!(!mappings.is_empty() && !leases.is_empty());
    let store = SqliteStore::open(&directory.0).unwrap();
    assert_eq!(contents(&store).await, (mappings, leases));
}

/// A crash leaves the database and its log as they are, without closing them.
#[tokio::test]
async fn a_store_has_all_confirmed_writes_after_a_crash() {
    let (directory, copy) = (TempDir::new(), TempDir::new());
    let store = SqliteStore::open(&directory.0).unwrap();
    contract::fill(&store).await;
    let before = contents(&store).await;
    std::fs::create_dir_all(&copy.0).unwrap();
    for name in ["windlass.db", "windlass.db-wal"] {
        std::fs::copy(directory.0.join(name), copy.0.join(name)).unwrap();
    }
    let reopened = SqliteStore::open(&copy.0).unwrap();
    assert_eq!(contents(&reopened).await, before);
}

async fn contents(store: &dyn Store) -> (Vec<MappingRow>, Vec<Lease>) {
    let mappings = store.mappings().await.unwrap();
    let mut leases = Vec::new();
    for row in &mappings {
        leases.extend(store.leases_of(&row.id).await.unwrap());
    }
    (mappings, leases)
}

/// A store of the second version is one of the first with the changes that made it the second.
#[tokio::test]
async fn a_store_of_the_second_version_reports_its_mappings_as_changed() {
    let directory = TempDir::new();
    std::fs::create_dir_all(&directory.0).unwrap();
    let db = Connection::open(directory.database()).unwrap();
    db.execute_batch(FIRST_VERSION).unwrap();
    db.execute_batch(MIGRATIONS[1]).unwrap();
    db.pragma_update(None, "user_version", 2).unwrap();
    drop(db);
    let store = SqliteStore::open(&directory.0).unwrap();
    let changes = store.changes(ChangeNumber::default()).await.unwrap();
    let [(id, StoredMapping::Readable(row, leases, _))] = &changes.mappings[..] else {
        panic!("{changes:?}")
    };
    assert_eq!((id.as_str(), row.revision.0), ("m", 3));
    assert_eq!(leases.len(), 3);
    let since = store.changes(changes.last).await.unwrap();
    assert_eq!(since.mappings, []);
}

#[tokio::test]
async fn a_spec_is_parsed_once_however_often_the_leases_change() {
    let directory = TempDir::new();
    let store = SqliteStore::open(&directory.0).unwrap();
    contract::fill(&store).await;
    let read = async |since| {
        let changes = store.changes(since).await.unwrap();
        match &changes.mappings[..] {
            [(_, StoredMapping::Readable(row, ..)), ..] => (row.clone(), changes.last),
            _ => panic!("{changes:?}"),
        }
    };
    let (first, seen) = read(ChangeNumber::default()).await;
    let leases = store.leases_of(&first.id).await.unwrap();
    store
        .take_many(&leases, &WorkerId::new("one"))
        .await
        .unwrap();
    let (second, seen) = read(seen).await;
    assert!(std::ptr::eq(first.spec.members(), second.spec.members()));
    let mut changed = second.clone();
    changed.revision.0 += 1;
    changed.spec.set("BatchSize", 7);
    store
        .put(&changed, Some(second.revision), None)
        .await
        .unwrap();
    assert_eq!(read(seen).await.0, changed);
}

/// A version that is not this one has written it, without a change of the schema.
#[tokio::test]
async fn a_row_that_cannot_be_read_makes_no_other_unreadable() {
    let directory = TempDir::new();
    let store = SqliteStore::open(&directory.0).unwrap();
    contract::fill(&store).await;
    let all = store.mappings().await.unwrap();
    let [row_of, lease_of, ..] = &all[..] else {
        panic!("{all:?}")
    };
    let seen = store.changes(ChangeNumber::default()).await.unwrap().last;
    let statement = format!(
        r#"UPDATE mappings SET source_arn = 'arn:aws:kafka:us-east-1:1:c' WHERE id = '{}';
         UPDATE leases SET checkpoint = '{{"position":"window"}}', epoch = 9
            WHERE mapping = '{}' AND unit = 'queue:1';"#,
        row_of.id, lease_of.id
    );
    let write = store.call("writing", move |tx| tx.execute_batch(&statement));
    write.await.unwrap();
    assert_eq!(store.mappings().await.unwrap(), all[1..]);
    store.mapping(&row_of.id).await.unwrap_err();
    let changes = store.changes(seen).await.unwrap();
    let [(first, one), (second, two)] = &changes.mappings[..] else {
        panic!("{changes:?}")
    };
    assert_eq!((first, second), (&row_of.id, &lease_of.id));
    let StoredMapping::Unreadable(one) = one else {
        panic!("{one:?}")
    };
    assert_eq!(one.source_arn, "arn:aws:kafka:us-east-1:1:c");
    assert!(one.reason.contains("unsupported source ARN"), "{one:?}");
    let StoredMapping::Unreadable(two) = two else {
        panic!("{two:?}")
    };
    assert!(two.reason.contains("unsupported checkpoint"), "{two:?}");
    let changes = store.changes(ChangeNumber::default()).await.unwrap();
    let readable = changes.mappings.iter();
    let readable = readable.filter(|(_, it)| matches!(it, StoredMapping::Readable(..)));
    assert_eq!(readable.count(), all.len() - 2);
}

/// What another version writes into a checkpoint is not a change, so it is found by taking the lease.
#[tokio::test]
async fn a_lease_that_cannot_be_read_is_not_taken_and_holds_up_no_other() {
    let directory = TempDir::new();
    let store = SqliteStore::open(&directory.0).unwrap();
    contract::fill(&store).await;
    let id = store.mappings().await.unwrap().remove(0).id;
    let seen = store.changes(ChangeNumber::default()).await.unwrap().last;
    let leases = store.leases_of(&id).await.unwrap();
    assert_eq!(leases.len(), 2);
    let statement = format!(
        "UPDATE leases SET checkpoint = '{{\"position\":\"window\"}}' \
         WHERE mapping = '{id}' AND unit = 'queue:1'"
    );
    let write = store.call("writing", move |tx| tx.execute_batch(&statement));
    write.await.unwrap();
    assert_eq!(store.changes(seen).await.unwrap().mappings, []);
    let owner = WorkerId::new("one");
    let taken = store.take_many(&leases, &owner).await.unwrap();
    let taken: Vec<_> = taken.iter().map(|it| it.key.unit.name()).collect();
    assert_eq!(taken, ["shard:shardId-000000000000"]);
    let changes = store.changes(seen).await.unwrap();
    assert!(
        matches!(&changes.mappings[..], [(changed, StoredMapping::Unreadable(_))] if *changed == id),
        "{changes:?}"
    );
}

#[tokio::test]
async fn a_store_that_is_opened_again_forgets_what_was_removed() {
    let directory = TempDir::new();
    let store = SqliteStore::open(&directory.0).unwrap();
    contract::fill(&store).await;
    let row = store.mappings().await.unwrap().remove(0);
    let seen = store.changes(ChangeNumber::default()).await.unwrap();
    store.remove(&row.id, row.revision).await.unwrap();
    let removed = store.changes(seen.last).await.unwrap();
    assert_eq!(removed.mappings, [(row.id, StoredMapping::Removed)]);
    drop(store);
    let store = SqliteStore::open(&directory.0).unwrap();
    let all = store.changes(ChangeNumber::default()).await.unwrap();
    assert_eq!(all.mappings.len(), seen.mappings.len() - 1);
}

#[test]
fn only_the_owner_can_read_what_a_store_creates() {
    let directory = TempDir::new();
    let store = SqliteStore::open(&directory.0.join("nested")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.0), 0o700);
    assert_eq!(mode(&directory.0.join("nested")), 0o700);
    let files = std::fs::read_dir(directory.0.join("nested")).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert!(3 <= files.len(), "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    drop(store);
}

#[test]
fn a_lock_that_is_another_file_is_not_overwritten() {
    let (directory, other) = (TempDir::new(), TempDir::new());
    std::fs::create_dir_all(&directory.0).unwrap();
    std::fs::create_dir_all(&other.0).unwrap();
    let (lock, foreign) = (directory.0.join("windlass.lock"), other.0.join("foreign"));
    std::fs::write(&foreign, "important").unwrap();
    std::os::unix::fs::symlink(&foreign, &lock).unwrap();
    let error = open_error(&directory.0);
    assert!(
        error.contains("windlass.lock is a symbolic link; remove it"),
        "{error}"
    );
    std::fs::remove_file(&lock).unwrap();
    std::fs::hard_link(&foreign, &lock).unwrap();
    let error = open_error(&directory.0);
    assert!(
        error.contains("windlass.lock is a file of another program"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "important");
}

#[tokio::test]
async fn checking_that_a_store_is_writable_writes() {
    let directory = TempDir::new();
    let store = SqliteStore::open(&directory.0).unwrap();
    let log = || std::fs::read(directory.0.join("windlass.db-wal")).unwrap();
    let before = log();
    store.check_writable().await.unwrap();
    assert_ne!(before, log());
}

/// SQLite rolls back by itself when a disk is full, for example.
#[tokio::test]
async fn nothing_runs_outside_of_a_transaction_that_was_rolled_back() {
    let directory = TempDir::new();
    let store = SqliteStore::open(&directory.0).unwrap();
    let (release, released) = std::sync::mpsc::channel();
    // While the first one holds the thread, the others wait for one transaction, unless the first one
    // is in it too.
    let holds = store.call("holding", move |_| {
        released.recv().unwrap();
        Ok(())
    });
    let rolls_back = store.call("rolling back", |tx| tx.execute_batch("ROLLBACK"));
    let writes = store.call("writing", |tx| tx.execute_batch("CREATE TABLE late (x)"));
    let releases = async { release.send(()).unwrap() };
    let (_, rolled_back, written, ()) = tokio::join!(holds, rolls_back, writes, releases);
    rolled_back.unwrap_err();
    let error = chain(&written.unwrap_err());
    assert!(error.contains("writing in the SQLite store"), "{error}");
    let count = "SELECT count(*) FROM sqlite_schema WHERE name = 'late'";
    let tables = store.call("reading", |tx| {
        tx.query_row(count, [], |row| row.get::<_, i64>(0))
    });
    assert_eq!(tables.await.unwrap(), 0, "it was not written");
}

#[tokio::test]
async fn work_that_fails_writes_nothing_and_fails_no_other() {
    let directory = TempDir::new();
    let store = SqliteStore::open(&directory.0).unwrap();
    let (release, released) = std::sync::mpsc::channel();
    // While the first one holds the thread, the others wait for one transaction.
    let holds = store.call("holding", move |_| {
        released.recv().unwrap();
        Ok(())
    });
    let fails = store.call("failing", |tx| {
        tx.execute_batch("CREATE TABLE half (x); INSERT INTO nowhere VALUES (1)")
    });
    let writes = store.call("writing", |tx| tx.execute_batch("CREATE TABLE other (x)"));
    let releases = async { release.send(()).unwrap() };
    let (_, failed, written, ()) = tokio::join!(holds, fails, writes, releases);
    failed.unwrap_err();
    written.unwrap();
    let names = "SELECT group_concat(name) FROM sqlite_schema WHERE name IN ('half', 'other')";
    let tables = store.call("reading", |tx| {
        tx.query_row(names, [], |row| row.get::<_, String>(0))
    });
    assert_eq!(tables.await.unwrap(), "other");
}

#[test]
fn a_store_in_use_names_its_process() {
    let directory = TempDir::new();
    let first = SqliteStore::open(&directory.0).unwrap();
    for _ in 0..2 {
        let error = open_error(&directory.0);
        let holder = format!("in use by process {};", std::process::id());
        assert!(error.contains(&holder), "{error}");
        assert!(error.contains("set another directory"), "{error}");
    }
    drop(first);
    SqliteStore::open(&directory.0).unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_not_changed() {
    let directory = TempDir::new();
    drop(SqliteStore::open(&directory.0).unwrap());
    let db = Connection::open(directory.database()).unwrap();
    db.execute_batch("PRAGMA user_version = 99; CREATE TABLE newer (x); ")
        .unwrap();
    drop(db);
    let before = std::fs::read(directory.database()).unwrap();
    let error = open_error(&directory.0);
    let versions = format!("(schema 99, this one supports {SCHEMA_VERSION})");
    assert!(error.contains("newer version of windlass"), "{error}");
    assert!(error.contains(&versions), "{error}");
    assert!(
        std::fs::read(directory.database()).unwrap() == before,
        "the file was changed"
    );
}

#[test]
fn a_database_of_another_program_is_not_changed() {
    let directory = TempDir::new();
    std::fs::create_dir_all(&directory.0).unwrap();
    let db = Connection::open(directory.database()).unwrap();
    db.execute_batch("CREATE TABLE bookmarks (url)").unwrap();
    drop(db);
    let before = std::fs::read(directory.database()).unwrap();
    let error = open_error(&directory.0);
    assert!(
        error.contains("of another program; set another directory"),
        "{error}"
    );
    assert!(
        std::fs::read(directory.database()).unwrap() == before,
        "the file was changed"
    );
}

#[tokio::test]
async fn a_damaged_store_is_rejected_with_a_remedy() {
    let directory = TempDir::new();
    let store = SqliteStore::open(&directory.0).unwrap();
    contract::fill(&store).await;
    drop(store);
    let whole = std::fs::read(directory.database()).unwrap();
    let mut no_header = whole.clone();
    no_header[..64].fill(b'x');
    let mut broken_page = whole.clone();
    broken_page[4096..4096 + 512].fill(0xff);
    let truncated = whole[..whole.len() / 2].to_vec();
    for (what, bytes) in [
        ("header", no_header),
        ("page", broken_page),
        ("truncated", truncated),
    ] {
        std::fs::write(directory.database(), &bytes).unwrap();
        let error = open_error(&directory.0);
        assert!(error.contains("is damaged"), "{what}: {error}");
        assert!(
            error.contains("restore it from a backup"),
            "{what}: {error}"
        );
    }
    std::fs::write(directory.database(), &whole).unwrap();
    SqliteStore::open(&directory.0).unwrap();
}

#[tokio::test]
async fn a_lock_of_another_program_is_a_transient_fault() {
    let directory = TempDir::new();
    drop(SqliteStore::open(&directory.0).unwrap());
    let db = prepare("sqlite:x", &directory.database()).unwrap();
    db.busy_timeout(Duration::ZERO).unwrap();
    let lock = StoreLock::acquire("sqlite:x", &directory.0.join("windlass.lock")).unwrap();
    let store = SqliteStore::start("sqlite:x", db, lock).unwrap();
    let other = Connection::open(directory.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.mappings().await.unwrap_err();
    assert_eq!(error.fault, Fault::Transient);
    assert_eq!(error.operation, "reading the mappings in the SQLite store");
    assert!(
        error.source.to_string().contains("locked"),
        "{}",
        error.source
    );
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.mappings().await.unwrap(), []);
}

/// The tests may run as root, so the paths are unusable whatever their permissions.
#[test]
fn a_path_that_is_not_writable_is_named() {
    let directory = TempDir::new();
    std::fs::create_dir_all(directory.database()).unwrap();
    let error = open_error(&directory.0);
    assert!(error.contains("windlass.db: it is not writable"), "{error}");
    assert!(error.contains("check the permissions"), "{error}");
    let file = directory.0.join("file");
    std::fs::write(&file, "").unwrap();
    let error = open_error(&file.join("store"));
    assert!(
        error.contains("cannot create directory")
            && error.contains("a part of this path is a file"),
        "{error}"
    );
    let locked = directory.0.join("locked");
    std::fs::create_dir_all(locked.join("windlass.lock")).unwrap();
    let error = open_error(&locked);
    let reason = "windlass.lock; it is a directory";
    assert!(error.contains(reason), "{error}");
}

#[test]
fn an_unknown_kind_of_store_is_rejected() {
    for url in ["postgres://db", "sqlite:", "sqlite", "memory:", ""] {
        let error = open(url).err().map(|error| error.to_string());
        let error = error.expect("it is not a store");
        assert!(error.contains("sqlite:DIRECTORY"), "{error}");
    }
}

#[track_caller]
fn open_error(directory: &Path) -> String {
    let error = SqliteStore::open(directory).expect_err("it must fail");
    let error = chain(&error);
    assert!(error.starts_with("cannot open store sqlite:"), "{error}");
    error
}

/// The tests may run as root, so the errors of the operating system are simulated.
#[test]
fn every_file_error_has_a_remedy() {
    for (kind, remedy) in [
        (
            ErrorKind::PermissionDenied,
            "make it writable for the daemon's user",
        ),
        (
            ErrorKind::ReadOnlyFilesystem,
            "make it writable for the daemon's user",
        ),
        (ErrorKind::StorageFull, "free some space"),
        (ErrorKind::Other, "check the path"),
    ] {
        let error = StoreError::of_file("sqlite:x", "cannot open x/windlass.lock", kind.into());
        let error = chain(&error);
        assert!(
            error.contains(remedy) && error.contains("--store"),
            "{error}"
        );
    }
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_store_is_inspected_without_a_change() {
    // With what has a meaning in a URI.
    let mut directory = TempDir::new();
    directory.0.as_mut_os_string().push(" 100%?#é");
    let url = format!("sqlite:{}", directory.0.display());
    let absent = inspect(&url).unwrap();
    assert_eq!(
        (absent.used_by, absent.contents),
        (None, StoreContents::None)
    );
    assert!(!directory.0.exists(), "it is not created");

    let store = SqliteStore::open(&directory.0).unwrap();
    let used = inspect(&url).unwrap();
    let process = format!("process {}", std::process::id());
    assert_eq!(
        used.used_by,
        Some(process),
        "its contents are read all the same"
    );
    assert_eq!(used.contents, StoreContents::Mappings(0));
    assert!(used.transaction.is_some());
    drop(store);

    let before = (
        files(&directory.0),
        std::fs::read(directory.database()).unwrap(),
    );
    let unused = inspect(&url).unwrap();
    assert_eq!(
        (unused.used_by, unused.contents),
        (None, StoreContents::Mappings(0))
    );
    let after = (
        files(&directory.0),
        std::fs::read(directory.database()).unwrap(),
    );
    assert!(before == after, "{:?}, then {:?}", before.0, after.0);
    drop(SqliteStore::open(&directory.0).expect("nobody has locked it"));
}

#[test]
fn what_a_daemon_could_not_open_is_reported() {
    let directory = TempDir::new();
    let url = format!("sqlite:{}", directory.0.display());
    std::fs::create_dir(&directory.0).unwrap();
    for (version, says) in [
        (SCHEMA_VERSION - 1, None),
        (SCHEMA_VERSION + 1, Some("newer")),
    ] {
        let db = Connection::open(directory.database()).unwrap();
        db.pragma_update(None, "application_id", APPLICATION_ID)
            .unwrap();
        db.pragma_update(None, "user_version", version).unwrap();
        drop(db);
        let inspected = inspect(&url);
        match says {
            None => assert_eq!(inspected.unwrap().contents, StoreContents::Older),
            Some(says) => {
                let error = chain(&inspected.unwrap_err());
                assert!(error.contains(says), "{error}");
            }
        }
    }
    std::fs::write(directory.database(), [7; 8192]).unwrap();
    let error = chain(&inspect(&url).unwrap_err());
    assert!(error.contains("damaged"), "{error}");
    let below_a_file = format!("{url}/windlass.db/store");
    let error = chain(&inspect(&below_a_file).unwrap_err());
    assert!(error.contains("a part of this path is a file"), "{error}");
}
