//! Looks at a store without opening it: whether a daemon can use it, what it has, and how long a
//! transaction takes on its disk. Nothing of it is changed, and nothing is created that stays.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::Access;

use super::sqlite::{self, DATABASE_FILE, FILE_MODE, LOCK_FILE};
use super::{StoreError, lock, schema, sqlite_directory};

/// Transactions that are measured.
const TRANSACTIONS: u32 = 8;

/// A store as it is found.
#[derive(Debug)]
pub struct StoreInspection {
    /// `process 17`, while a daemon uses it.
    pub used_by: Option<String>,
    pub contents: StoreContents,
    /// The median of some transactions; `None` if there is no directory to measure in.
    pub transaction: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreContents {
    /// There is no store yet.
    None,
    /// Of a schema that the next start updates.
    Older,
    Mappings(u64),
}

/// Looks at the store of a configuration.
///
/// # Errors
/// A daemon could not use it: the reason, and the remedy.
pub fn inspect(url: &str) -> Result<StoreInspection, StoreError> {
    let Some(directory) = sqlite_directory(url) else {
        return Err(StoreError::new(url, "only sqlite:DIRECTORY is supported"));
    };
    if !directory.exists() {
        check_can_be_created(url, directory)?;
        return Ok(StoreInspection {
            used_by: None,
            contents: StoreContents::None,
            transaction: None,
        });
    }
    let transaction = measure(url, directory)?;
    Ok(StoreInspection {
        used_by: lock::holder(&directory.join(LOCK_FILE)),
        contents: contents(url, &directory.join(DATABASE_FILE))?,
        transaction: Some(transaction),
    })
}

/// The directory that exists nearest above must be writable.
fn check_can_be_created(store: &str, directory: &Path) -> Result<(), StoreError> {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let mut above = absolute.ancestors();
    let above = above.find(|it| it.exists()).unwrap_or(Path::new("/"));
    let writable = if above.is_dir() {
        rustix::fs::access(above, Access::WRITE_OK | Access::EXEC_OK).map_err(Into::into)
    } else {
        Err(ErrorKind::NotADirectory.into())
    };
    writable.map_err(|error| {
        let reason = format!("cannot create directory {}", directory.display());
        StoreError::of_file(store, &reason, error)
    })
}

fn contents(store: &str, file: &Path) -> Result<StoreContents, StoreError> {
    match OpenOptions::new().write(true).open(file) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(StoreContents::None),
        Err(error) => {
            let reason = format!("cannot write {}", file.display());
            return Err(StoreError::of_file(store, &reason, error));
        }
    }
    let failed = |error| sqlite::failed(store, file, "cannot read it", error);
    let db = open_to_read(file).map_err(failed)?;
    let version = sqlite::check(store, file, &db)?;
    if version < i64::from(schema::SCHEMA_VERSION) {
        return Ok(StoreContents::Older);
    }
    let count = db.query_row("SELECT count(*) FROM mappings", [], |row| {
        row.get::<_, i64>(0)
    });
    let count = count.map_err(failed)?;
    Ok(StoreContents::Mappings(
        u64::try_from(count).unwrap_or_default(),
    ))
}

/// Without a log next to it, nobody has the database open, and SQLite would create an empty log that
/// stays, unless it is told that the file does not change.
fn open_to_read(file: &Path) -> rusqlite::Result<Connection> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    if Path::new(&log).exists() {
        return Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY);
    }
    let mut uri = "file:".to_owned();
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags)
}

/// The time of a transaction, in a database of its own next to the store's.
fn measure(store: &str, directory: &Path) -> Result<Duration, StoreError> {
    let scratch = Scratch::new(directory);
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&scratch.0);
    created.map_err(|error| {
        let reason = format!("cannot create a file in {}", directory.display());
        StoreError::of_file(store, &reason, error)
    })?;
    let times = times(&scratch.0);
    let mut times =
        times.map_err(|error| sqlite::failed(store, &scratch.0, "cannot write it", error))?;
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

fn times(file: &Path) -> rusqlite::Result<Vec<Duration>> {
    let db = Connection::open(file)?;
    sqlite::set_durability(&db)?;
    db.execute("CREATE TABLE times (n INTEGER NOT NULL) STRICT", [])?;
    let insert = |n| {
        let started = Instant::now();
        db.execute("INSERT INTO times VALUES (?1)", [n])?;
        Ok(started.elapsed())
    };
    (0..TRANSACTIONS).map(insert).collect()
}

/// The path of a database that is removed when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(directory: &Path) -> Self {
        Self(directory.join(format!("windlass-doctor-{:016x}.db", fastrand::u64(..))))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.0.clone().into_os_string();
            path.push(suffix);
            // Those that do not exist need not be removed; one that stays is of no harm.
            drop(std::fs::remove_file(path));
        }
    }
}
