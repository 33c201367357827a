//! Stores that cannot be opened.

use std::path::{Path, PathBuf};

use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;

use crate::{FAILED, serve};

/// Offset of SQLite's `user_version`, a big-endian `u32`.
///
/// <https://www.sqlite.org/fileformat.html#the_database_header>
const USER_VERSION: usize = 60;

fn config(dir: &TempDir) -> String {
    format!("store: sqlite:{}\n", dir.path().join("store").display())
}

/// Creates a store by running a daemon once, and returns the path of its database.
async fn used_store(dir: &TempDir) -> PathBuf {
    let daemon = Daemon::start(dir.path(), &config(dir))
        .await
        .expect("the daemon starts");
    daemon.stop().await.expect("the daemon stops");
    dir.path().join("store/windlass.db")
}

/// Starts a daemon on a store that it must reject and leave unchanged.
async fn assert_refused(dir: &TempDir, database: &Path, says: &[&str]) {
    let before = std::fs::read(database).expect("the database exists");
    let ended = serve(dir.path(), &config(dir)).await;
    ended.assert(FAILED, says);
    assert!(
        before == std::fs::read(database).expect("the database exists"),
        "the database was changed"
    );
}

#[tokio::test]
async fn a_store_of_a_newer_version() {
    let dir = TempDir::new("newer");
    let database = used_store(&dir).await;
    let mut bytes = std::fs::read(&database).unwrap();
    bytes[USER_VERSION..USER_VERSION + 4].copy_from_slice(&999_u32.to_be_bytes());
    std::fs::write(&database, bytes).unwrap();
    let says = [
        "windlass.db",
        "newer version of windlass (schema 999",
        "set another directory",
    ];
    assert_refused(&dir, &database, &says).await;
}

#[tokio::test]
async fn a_store_that_is_not_a_database() {
    let dir = TempDir::new("garbage");
    let database = used_store(&dir).await;
    std::fs::write(&database, vec![7; 8192]).unwrap();
    let says = ["windlass.db", "damaged", "backup"];
    assert_refused(&dir, &database, &says).await;
}

#[tokio::test]
async fn a_store_with_damaged_pages() {
    let dir = TempDir::new("damaged");
    let database = used_store(&dir).await;
    let mut bytes = std::fs::read(&database).unwrap();
    assert!(4096 < bytes.len(), "it has more than one page");
    bytes[4096..].fill(0xa5);
    std::fs::write(&database, bytes).unwrap();
    let says = ["windlass.db", "damaged", "backup"];
    assert_refused(&dir, &database, &says).await;
}

#[tokio::test]
async fn a_truncated_store() {
    let dir = TempDir::new("short");
    let database = used_store(&dir).await;
    let bytes = std::fs::read(&database).unwrap();
    std::fs::write(&database, &bytes[..bytes.len() / 2]).unwrap();
    let says = ["windlass.db", "damaged", "backup"];
    assert_refused(&dir, &database, &says).await;
}

#[tokio::test]
async fn a_database_of_another_program() {
    let dir = TempDir::new("other");
    let database = used_store(&dir).await;
    let mut bytes = std::fs::read(&database).unwrap();
    // `application_id`.
    bytes[68..72].fill(0);
    std::fs::write(&database, bytes).unwrap();
    let says = ["windlass.db", "another program", "another directory"];
    assert_refused(&dir, &database, &says).await;
}

/// The tests may run as root, so a missing permission would not stop the daemon.
#[tokio::test]
async fn a_store_that_cannot_be_written() {
    let dir = TempDir::new("readonly");
    std::fs::write(dir.path().join("store"), "a file").unwrap();
    let ended = serve(dir.path(), &config(&dir)).await;
    ended.assert(FAILED, &["cannot create directory", "is a file", "--store"]);

    let dir = TempDir::new("readonly");
    std::fs::create_dir_all(dir.path().join("store/windlass.db")).unwrap();
    let ended = serve(dir.path(), &config(&dir)).await;
    ended.assert(FAILED, &["windlass.db", "is not writable", "permissions"]);
}

#[tokio::test]
async fn a_second_daemon_on_the_same_store() {
    let dir = TempDir::new("second");
    let first = Daemon::start(dir.path(), &config(&dir)).await.unwrap();
    let process = format!("process {}", first.pid().unwrap());
    let ended = serve(dir.path(), &config(&dir)).await;
    ended.assert(
        FAILED,
        &[&process, "stop that process, or set another directory"],
    );

    // The first keeps running. Once it is gone, even if it was killed, the store is free.
    let (status, _) = first.call("GET", "/readyz", None).await.unwrap();
    assert_eq!(status, 200);
    first.kill().await.unwrap();
    let second = Daemon::start(dir.path(), &config(&dir)).await.unwrap();
    second.stop().await.unwrap();
}
