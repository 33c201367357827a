//! The stores keep their contract, and the one on disk says what is wrong with it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use windlass_core::outcome::Fault;
use windlass_engine::ports::{MappingStore, Store, chain};
use windlass_testkit::contract;

use super::lock::StoreLock;
use super::sqlite::prepare;
use super::{SqliteStore, StoreError, open};

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("windlass-store-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn database(&self) -> PathBuf {
        self.0.join("windlass.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the system's own temporary folder does no harm.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    let folder = Folder::new();
    let number = AtomicU32::new(0);
    contract::store(|| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let folder = folder.0.join(number.to_string());
        Arc::new(SqliteStore::open(&folder).unwrap())
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_opened_again_has_everything() {
    let folder = Folder::new();
    let (mappings, leases) = {
        let store = SqliteStore::open(&folder.0).unwrap();
        contract::fill(&store).await;
        contents(&store).await
    };
    assert!(!mappings.is_empty() && !leases.is_empty());
    let store = SqliteStore::open(&folder.0).unwrap();
    assert_eq!(contents(&store).await, (mappings, leases));
}

/// What a crash leaves: the database and its log as they are at some moment, without a close.
#[tokio::test]
async fn a_store_that_was_never_closed_has_all_that_was_answered() {
    let (folder, copy) = (Folder::new(), Folder::new());
    let store = SqliteStore::open(&folder.0).unwrap();
    contract::fill(&store).await;
    let before = contents(&store).await;
    std::fs::create_dir_all(&copy.0).unwrap();
    for name in ["windlass.db", "windlass.db-wal"] {
        std::fs::copy(folder.0.join(name), copy.0.join(name)).unwrap();
    }
    let reopened = SqliteStore::open(&copy.0).unwrap();
    assert_eq!(contents(&reopened).await, before);
}

async fn contents(
    store: &dyn Store,
) -> (
    Vec<windlass_core::mapping::MappingRow>,
    Vec<windlass_core::lease::Lease>,
) {
    (
        store.mappings().await.unwrap(),
        store.leases().await.unwrap(),
    )
}

#[test]
fn a_second_daemon_is_told_who_uses_the_store() {
    let folder = Folder::new();
    let first = SqliteStore::open(&folder.0).unwrap();
    for _ in 0..2 {
        let error = refusal(&folder.0);
        let me = format!("process {} uses it", std::process::id());
        assert!(error.contains(&me), "{error}");
        assert!(error.contains("give another folder"), "{error}");
    }
    drop(first);
    SqliteStore::open(&folder.0).unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let folder = Folder::new();
    drop(SqliteStore::open(&folder.0).unwrap());
    let db = Connection::open(folder.database()).unwrap();
    db.execute_batch("PRAGMA user_version = 2; CREATE TABLE newer (x); ")
        .unwrap();
    drop(db);
    let before = std::fs::read(folder.database()).unwrap();
    let error = refusal(&folder.0);
    assert!(
        error.contains("newer version (schema 2, this one knows 1)"),
        "{error}"
    );
    assert!(
        std::fs::read(folder.database()).unwrap() == before,
        "it was written"
    );
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let db = Connection::open(folder.database()).unwrap();
    db.execute_batch("CREATE TABLE bookmarks (url)").unwrap();
    drop(db);
    let before = std::fs::read(folder.database()).unwrap();
    let error = refusal(&folder.0);
    assert!(
        error.contains("of another program; give another folder"),
        "{error}"
    );
    assert!(
        std::fs::read(folder.database()).unwrap() == before,
        "it was written"
    );
}

#[tokio::test]
async fn a_damaged_store_is_refused_with_a_remedy() {
    let folder = Folder::new();
    let store = SqliteStore::open(&folder.0).unwrap();
    contract::fill(&store).await;
    drop(store);
    let whole = std::fs::read(folder.database()).unwrap();
    let mut no_head = whole.clone();
    no_head[..64].fill(b'x');
    let mut broken_page = whole.clone();
    broken_page[4096..4096 + 512].fill(0xff);
    let cut_off = whole[..whole.len() / 2].to_vec();
    for (what, bytes) in [("head", no_head), ("page", broken_page), ("cut", cut_off)] {
        std::fs::write(folder.database(), &bytes).unwrap();
        let error = refusal(&folder.0);
        assert!(error.contains("is damaged"), "{what}: {error}");
        assert!(
            error.contains("restore it from a backup"),
            "{what}: {error}"
        );
    }
    std::fs::write(folder.database(), &whole).unwrap();
    SqliteStore::open(&folder.0).unwrap();
}

/// Somebody else holds the database: who asks is told so, and is served afterwards.
#[tokio::test]
async fn a_database_that_another_program_holds_is_an_error_of_the_moment() {
    let folder = Folder::new();
    drop(SqliteStore::open(&folder.0).unwrap());
    let db = prepare("sqlite:x", &folder.database()).unwrap();
    db.busy_timeout(Duration::ZERO).unwrap();
    let lock = StoreLock::take("sqlite:x", &folder.0.join("windlass.lock")).unwrap();
    let store = SqliteStore::start("sqlite:x", db, lock).unwrap();
    let other = Connection::open(folder.database()).unwrap();
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

/// Places that nobody can write to, whatever their permissions say.
#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.database()).unwrap();
    let error = refusal(&folder.0);
    assert!(
        error.contains("windlass.db: it cannot be written"),
        "{error}"
    );
    assert!(error.contains("check the permissions"), "{error}");
    let file = folder.0.join("file");
    std::fs::write(&file, "").unwrap();
    let error = refusal(&file.join("store"));
    assert!(
        error.contains("file/store cannot be made; a part of this path is a file"),
        "{error}"
    );
    let locked = folder.0.join("locked");
    std::fs::create_dir_all(locked.join("windlass.lock")).unwrap();
    let error = refusal(&locked);
    let says = "windlass.lock cannot be opened; a folder is in its place";
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_store_of_another_kind_is_refused() {
    for url in ["postgres://db", "sqlite:", "sqlite", "memory:", ""] {
        let error = open(url).err().map(|error| error.to_string());
        let error = error.expect("there is no such store");
        assert!(error.contains("sqlite:FOLDER"), "{error}");
    }
}

#[track_caller]
fn refusal(folder: &Path) -> String {
    let error = SqliteStore::open(folder).expect_err("it must be refused");
    let error = chain(&error);
    assert!(error.starts_with("the store sqlite:"), "{error}");
    error
}

/// Whoever runs the tests may write anywhere, so the refusals of the operating system are made up.
#[test]
fn every_refusal_of_a_file_says_what_can_be_done() {
    for (kind, says) in [
        (ErrorKind::PermissionDenied, "let the daemon's user write"),
        (ErrorKind::ReadOnlyFilesystem, "let the daemon's user write"),
        (ErrorKind::StorageFull, "make room"),
        (ErrorKind::Other, "check the path"),
    ] {
        let error =
            StoreError::of_file("sqlite:x", "x/windlass.lock cannot be opened", kind.into());
        let error = chain(&error);
        assert!(error.contains(says) && error.contains("--store"), "{error}");
    }
}
