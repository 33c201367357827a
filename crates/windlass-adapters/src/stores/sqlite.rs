//! The embedded store: one SQLite database in a directory, used by one thread.
//!
//! All requests that arrive while the thread is busy share one transaction.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use windlass_core::lease::{Lease, WorkerId};
use windlass_core::mapping::{MappingId, MappingRow, Revision};
use windlass_core::outcome::{Fault, Swap};
use windlass_core::tags::Tags;
use windlass_engine::ports::{
    ChangeNumber, Changes, CheckpointSave, HistoryLine, LeaseStore, MappingFilter, MappingStore,
    PortError,
};

use super::lock::StoreLock;
use super::rows::KnownSpecs;
use super::{StoreError, dead_letters, history, rows, schema};

pub(super) const DATABASE_FILE: &str = "windlass.db";

pub(super) const LOCK_FILE: &str = "windlass.lock";

/// Rights of what is created here: the store names sources and functions, and has the checkpoints.
const DIRECTORY_MODE: u32 = 0o700;
pub(super) const FILE_MODE: u32 = 0o600;

/// Requests that wait for the thread. When the queue is full, callers wait.
const QUEUE_LEN: usize = 1_024;

/// Limit of requests in one transaction.
const MAX_TRANSACTION_REQUESTS: usize = 1_024;

/// Another program (a backup, a shell) may lock the database for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct SqliteStore {
    requests: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    specs: Arc<Mutex<KnownSpecs>>,
    _lock: StoreLock,
}

/// Work inside a transaction, or the error of beginning one. It returns a closure to call with the
/// result of the commit.
type Job = Box<dyn FnOnce(Result<&Transaction<'_>, &rusqlite::Error>) -> Finish + Send>;
type Finish = Box<dyn FnOnce(Result<(), &rusqlite::Error>) + Send>;

#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
struct DatabaseError(String);

impl SqliteStore {
    /// Opens the database in a directory, and creates both if they do not exist.
    ///
    /// # Errors
    /// Another daemon uses it, or it is damaged, of a newer version or not writable.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let store = format!("sqlite:{}", directory.display());
        let mut new_directory = DirBuilder::new();
        new_directory.recursive(true).mode(DIRECTORY_MODE);
        new_directory.create(directory).map_err(|error| {
            let reason = format!("cannot create directory {}", directory.display());
            StoreError::of_file(&store, &reason, error)
        })?;
        let lock = StoreLock::acquire(&store, &directory.join(LOCK_FILE))?;
        let file = directory.join(DATABASE_FILE);
        let db = prepare(&store, &file)?;
        Self::start(&store, db, lock)
    }

    /// Starts the thread of a database.
    pub(super) fn start(store: &str, db: Connection, lock: StoreLock) -> Result<Self, StoreError> {
        let (requests, received) = mpsc::channel(QUEUE_LEN);
        let failed = |error| StoreError::with(store, "cannot start its thread", error);
        let thread = std::thread::Builder::new()
            .name("windlass-store".to_owned())
            .spawn(move || serve(db, received))
            .map_err(failed)?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
            specs: Arc::default(),
            _lock: lock,
        })
    }

    /// Runs work in a transaction and waits until it is durable.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let (result_sender, result) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            let result = match tx {
                Ok(tx) => whole(tx, work).map_err(|error| DatabaseError(error.to_string())),
                Err(error) => Err(DatabaseError(error.to_string())),
            };
            Box::new(move |committed| {
                let committed = committed.map_err(|error| DatabaseError(error.to_string()));
                // The caller may have been cancelled.
                drop(result_sender.send(committed.and(result)));
            })
        });
        let failed = |error: DatabaseError| PortError {
            operation: format!("{operation} in the SQLite store"),
            fault: Fault::Transient,
            source: error.into(),
        };
        let gone = || failed(DatabaseError("the store's thread has ended".to_owned()));
        let requests = self.requests.as_ref().expect("it is taken only by drop");
        requests.send(job).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?.map_err(failed)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Without a sender, the thread ends after the last request.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            drop(thread.join());
        }
    }
}

/// Opens the file, checks that it is a store, and brings its tables to the schema of this version.
pub(super) fn prepare(store: &str, file: &Path) -> Result<Connection, StoreError> {
    let failed = |reason: &str, error| failed(store, file, reason, error);
    // SQLite gives its other files the rights of this one. If it cannot be created, opening says why.
    let mut new_file = OpenOptions::new();
    drop(
        new_file
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(file),
    );
    // Opening takes no lock; every later statement waits for those of other programs.
    let mut db = Connection::open(file).map_err(|error| failed("cannot open it", error))?;
    let version = check(store, file, &db)?;
    let applied = usize::try_from(version).unwrap_or_default();
    set_up(&mut db, applied).map_err(|error| failed("cannot set it up", error))?;
    Ok(db)
}

/// The error of a call of SQLite, with a remedy where the error has one of its own.
pub(super) fn failed(store: &str, file: &Path, reason: &str, error: rusqlite::Error) -> StoreError {
    let reason = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            "it is damaged; restore it from a backup, or move it away to start again at the \
             mappings' starting positions"
        }
        Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
            "it is not writable; check the permissions of the directory and the file, or set \
             another directory with 'store' or --store"
        }
        _ => reason,
    };
    StoreError::with(store, &format!("{}: {reason}", file.display()), error)
}

/// Checks that a database is a store of this version or an earlier one, and not damaged. Returns its
/// schema.
pub(super) fn check(store: &str, file: &Path, db: &Connection) -> Result<i64, StoreError> {
    let file_name = file.display();
    let failed = |reason: &str, error| failed(store, file, reason, error);
    db.busy_timeout(BUSY_TIMEOUT)
        .map_err(|error| failed("cannot set it up", error))?;
    let number =
        |db: &Connection, name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = number(db, "application_id");
    let application = application.map_err(|error| failed("cannot read it", error))?;
    let version = number(db, "user_version");
    let version = version.map_err(|error| failed("cannot read it", error))?;
    let tables = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
        row.get::<_, i64>(0)
    });
    let tables = tables.map_err(|error| failed("cannot read it", error))?;
    if (tables != 0 || application != 0) && application != schema::APPLICATION_ID {
        let reason = format!("{file_name} is a database of another program; set another directory");
        return Err(StoreError::new(store, &reason));
    }
    let supported = schema::SCHEMA_VERSION;
    if i64::from(supported) < version {
        let reason = format!(
            "{file_name} was written by a newer version of windlass (schema {version}, this one \
             supports {supported}); run that version, or set another directory"
        );
        return Err(StoreError::new(store, &reason));
    }
    // Before anything is written: a damaged file stays as it is, for its repair.
    let check = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let check = check.map_err(|error| failed("cannot read it", error))?;
    if check != "ok" {
        let reason = format!("{file_name} is damaged ({check}); restore it from a backup");
        return Err(StoreError::new(store, &reason));
    }
    Ok(version)
}

/// Applies the changes of the schema that the database does not have, all or none.
fn set_up(db: &mut Connection, applied: usize) -> rusqlite::Result<()> {
    set_durability(db)?;
    db.pragma_update(None, "foreign_keys", true)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in schema::MIGRATIONS.iter().skip(applied) {
        tx.execute_batch(migration)?;
    }
    // Also if nothing has changed: fails now if the file is not writable.
    rows::forget_removals(&tx)?;
    dead_letters::void_claims(&tx)?;
    tx.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", schema::SCHEMA_VERSION)?;
    tx.commit()
}

/// A transaction is on the disk when its commit returns.
pub(super) fn set_durability(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")
}

/// The loop of the thread: runs waiting requests in one transaction and returns their results when
/// it is durable.
fn serve(mut db: Connection, mut requests: mpsc::Receiver<Job>) {
    let mut jobs = Vec::new();
    while requests.blocking_recv_many(&mut jobs, MAX_TRANSACTION_REQUESTS) != 0 {
        let jobs = jobs.drain(..);
        let tx = match db.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(tx) => tx,
            Err(error) => {
                for job in jobs {
                    job(Err(&error))(Ok(()));
                }
                continue;
            }
        };
        let finishes: Vec<_> = jobs.map(|job| run(job, &tx)).collect();
        let committed = tx.commit();
        for finish in finishes {
            finish(committed.as_ref().copied());
        }
    }
}

/// Runs a job, unless SQLite has rolled back the whole transaction because a statement before failed,
/// as it does on a full disk: what the job writes would be durable at once, and reported as failed.
fn run(job: Job, tx: &Transaction<'_>) -> Finish {
    if tx.is_autocommit() {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK);
        let reason = "the transaction was rolled back after an earlier error".to_owned();
        return job(Err(&rusqlite::Error::SqliteFailure(code, Some(reason))));
    }
    job(Ok(tx))
}

/// Runs work so that an error undoes all of it: the transaction has the work of others, and is committed
/// nevertheless.
fn whole<T>(
    tx: &Transaction<'_>,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let execute = |sql| tx.prepare_cached(sql)?.execute([]);
    execute("SAVEPOINT job")?;
    let result = work(tx);
    // SQLite may have rolled back the whole transaction, with its savepoints.
    if !tx.is_autocommit() {
        if result.is_err() {
            execute("ROLLBACK TO job")?;
        }
        execute("RELEASE job")?;
    }
    result
}

#[async_trait]
impl MappingStore for SqliteStore {
    async fn mappings(&self) -> Result<Vec<MappingRow>, PortError> {
        self.call("reading the mappings", |tx| rows::mappings(tx))
            .await
    }

    async fn mappings_after(
        &self,
        after: Option<&MappingId>,
        filter: &MappingFilter,
        limit: usize,
    ) -> Result<Vec<MappingRow>, PortError> {
        let (after, filter) = (after.cloned(), filter.clone());
        let read =
            move |tx: &Transaction<'_>| rows::mappings_after(tx, after.as_ref(), &filter, limit);
        self.call("reading a page of the mappings", read).await
    }

    async fn mapping(&self, id: &MappingId) -> Result<Option<MappingRow>, PortError> {
        let id = id.clone();
        self.call("reading a mapping", move |tx| rows::mapping(tx, &id))
            .await
    }

    async fn changes(&self, since: ChangeNumber) -> Result<Changes, PortError> {
        let specs = Arc::clone(&self.specs);
        let read = move |tx: &Transaction<'_>| {
            let mut specs = specs.lock().unwrap_or_else(PoisonError::into_inner);
            rows::changes(tx, since, &mut specs)
        };
        self.call("reading what has changed", read).await
    }

    async fn put(
        &self,
        row: &MappingRow,
        seen: Option<Revision>,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError> {
        let (row, line) = (row.clone(), line.cloned());
        let put = move |tx: &Transaction<'_>| {
            let swap = rows::put(tx, &row, seen)?;
            if swap == Swap::Done {
                history::write(tx, line.as_ref())?;
            }
            Ok(swap)
        };
        self.call("writing a mapping", put).await
    }

    async fn put_with_tags(
        &self,
        row: &MappingRow,
        seen: Option<Revision>,
        tags: &Tags,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError> {
        let (row, tags, line) = (row.clone(), tags.clone(), line.cloned());
        let put = move |tx: &Transaction<'_>| {
            let swap = rows::put(tx, &row, seen)?;
            if swap == Swap::Done {
                rows::replace_tags(tx, &row.id, &tags)?;
                history::write(tx, line.as_ref())?;
            }
            Ok(swap)
        };
        self.call("writing a mapping", put).await
    }

    async fn tags(&self, id: &MappingId) -> Result<Option<Tags>, PortError> {
        let id = id.clone();
        self.call("reading tags", move |tx| rows::tags(tx, &id))
            .await
    }

    async fn set_tags(&self, id: &MappingId, seen: &Tags, tags: &Tags) -> Result<Swap, PortError> {
        let (id, seen, tags) = (id.clone(), seen.clone(), tags.clone());
        let set = move |tx: &Transaction<'_>| {
            if rows::tags(tx, &id)?.as_ref() != Some(&seen) {
                return Ok(Swap::Conflict);
            }
            rows::replace_tags(tx, &id, &tags)?;
            Ok(Swap::Done)
        };
        self.call("writing tags", set).await
    }

    async fn check_writable(&self) -> Result<(), PortError> {
        self.call("writing", |tx| {
            tx.pragma_update(None, "user_version", schema::SCHEMA_VERSION)
        })
        .await
    }

    async fn remove(&self, id: &MappingId, seen: Revision) -> Result<Swap, PortError> {
        let id = id.clone();
        self.call("removing a mapping", move |tx| rows::remove(tx, &id, seen))
            .await
    }
}

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn leases_of(&self, mapping: &MappingId) -> Result<Vec<Lease>, PortError> {
        let mapping = mapping.clone();
        let read = move |tx: &Transaction<'_>| rows::leases_of(tx, &mapping);
        self.call("reading the leases of a mapping", read).await
    }

    async fn insert(&self, leases: &[Lease]) -> Result<(), PortError> {
        let leases = leases.to_vec();
        let insert = move |tx: &Transaction<'_>| {
            leases
                .iter()
                .try_for_each(|lease| rows::insert_lease(tx, lease))
        };
        self.call("adding leases", insert).await
    }

    async fn take_many(&self, seen: &[Lease], owner: &WorkerId) -> Result<Vec<Lease>, PortError> {
        let (seen, owner) = (seen.to_vec(), owner.clone());
        let take = move |tx: &Transaction<'_>| {
            let taken = seen.iter().map(|lease| rows::take(tx, lease, &owner));
            taken.filter_map(Result::transpose).collect()
        };
        self.call("taking leases", take).await
    }

    async fn release_many(&self, leases: &[Lease]) -> Result<(), PortError> {
        let leases = leases.to_vec();
        let release =
            move |tx: &Transaction<'_>| leases.iter().try_for_each(|it| rows::release(tx, it));
        self.call("releasing leases", release).await
    }

    async fn save_many(&self, saves: &[CheckpointSave]) -> Result<Vec<Swap>, PortError> {
        let saves = saves.to_vec();
        let save = move |tx: &Transaction<'_>| saves.iter().map(|it| rows::save(tx, it)).collect();
        self.call("saving checkpoints", save).await
    }

    async fn set_shard_starts(&self, leases: &[Lease]) -> Result<(), PortError> {
        let leases = leases.to_vec();
        let set = move |tx: &Transaction<'_>| {
            leases
                .iter()
                .try_for_each(|lease| rows::set_shard_start(tx, lease))
        };
        self.call("updating leases", set).await
    }

    async fn remove_leases(&self, leases: &[Lease]) -> Result<(), PortError> {
        let leases = leases.to_vec();
        let remove = move |tx: &Transaction<'_>| {
            leases
                .iter()
                .try_for_each(|lease| rows::remove_lease(tx, lease))
        };
        self.call("removing leases", remove).await
    }
}
