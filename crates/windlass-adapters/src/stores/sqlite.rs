//! The embedded store: one SQLite database in a folder, one thread that writes it.
//!
//! Whatever is asked while the thread is busy is done together in one transaction, and saves wait
//! a moment for others, so the cost of durable saves grows with time and not with shards.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use windlass_core::lease::{Lease, LeaseKey};
use windlass_core::mapping::{MappingId, MappingRow, Revision};
use windlass_core::outcome::{Fault, Swap};
use windlass_core::position::Position;
use windlass_engine::ports::{LeaseStore, MappingStore, PortError};

use super::lock::StoreLock;
use super::{StoreError, rows};
use crate::open_retry;

/// The database's name in its folder.
const DATABASE: &str = "windlass.db";

/// The lock's name in the folder.
const LOCK: &str = "windlass.lock";

/// Requests that wait for the thread; beyond, callers wait to ask.
const QUEUE: usize = 1_024;

/// Most requests of one transaction.
const MOST_TOGETHER: usize = 1_024;

/// From one transaction of nothing but saves to the next. A crash in between costs repeats of what
/// was processed in so short a time.
const SAVE_INTERVAL: Duration = Duration::from_millis(100);

/// Another program (a backup, a person) may hold the database for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps everything in one SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    _lock: StoreLock,
}

/// What the thread is asked to do.
struct Request {
    job: Job,
    /// Whether it may wait for others, so that all are done in one transaction.
    patient: bool,
}

/// Something to be done inside a transaction, if there is one. What it gives back is called after
/// the commit, with whether that went well.
type Job = Box<dyn FnOnce(Result<&Transaction<'_>, &rusqlite::Error>) -> Finish + Send>;
type Finish = Box<dyn FnOnce(Result<(), &rusqlite::Error>) + Send>;

/// An error of the database, for people.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
struct DatabaseError(String);

impl SqliteStore {
    /// Opens the database in a folder, and makes both if they are not there.
    ///
    /// # Errors
    /// Another daemon uses it, it is damaged or of a newer version, or it cannot be written.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let store = format!("sqlite:{}", folder.display());
        std::fs::create_dir_all(folder).map_err(|error| {
            let what = format!("the folder {} cannot be made", folder.display());
            StoreError::of_file(&store, &what, error)
        })?;
        let lock = StoreLock::take(&store, &folder.join(LOCK))?;
        let file = folder.join(DATABASE);
        let db = prepare(&store, &file)?;
        Self::start(&store, db, lock)
    }

    /// Serves a database that is ready.
    pub(super) fn start(store: &str, db: Connection, lock: StoreLock) -> Result<Self, StoreError> {
        let (requests, asked) = mpsc::channel(QUEUE);
        let failed = |error| StoreError::with(store, "its thread cannot be started", error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let runtime = runtime.map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("windlass-store".to_owned())
            .spawn(move || runtime.block_on(serve(db, asked)))
            .map_err(failed)?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
            _lock: lock,
        })
    }

    /// Does something in a transaction and waits until it is durable.
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        self.ask(operation, false, work).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        patient: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            let result = match tx {
                Ok(tx) => work(tx).map_err(|error| DatabaseError(error.to_string())),
                Err(error) => Err(DatabaseError(error.to_string())),
            };
            Box::new(move |committed| {
                let committed = committed.map_err(|error| DatabaseError(error.to_string()));
                // Who no longer waits does not want the answer.
                drop(answer.send(committed.and(result)));
            })
        });
        let failed = |error: DatabaseError| PortError {
            operation: format!("{operation} in the SQLite store"),
            fault: Fault::Transient,
            source: error.into(),
        };
        let gone = || failed(DatabaseError("the store's thread has ended".to_owned()));
        let requests = self
            .requests
            .as_ref()
            .expect("it is taken only when dropped");
        let request = Request { job, patient };
        requests.send(request).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.map_err(failed)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // The thread ends when it has done what was asked and nobody can ask any more.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been reported where it happened.
            drop(thread.join());
        }
    }
}

/// Opens the file, looks whether it is ours, and makes the tables of a new one.
pub(super) fn prepare(store: &str, file: &Path) -> Result<Connection, StoreError> {
    let place = file.display();
    let failed = |what: &str, error: rusqlite::Error| {
        let remedy = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                "it is damaged; restore it from a backup, or move it away to start anew from the \
                 mappings' starting positions"
            }
            Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
                "it cannot be written; check the permissions of the folder and of the file, or give \
                 another folder with 'store' or --store"
            }
            _ => what,
        };
        StoreError::with(store, &format!("{place}: {remedy}"), error)
    };
    let busy = |error: &rusqlite::Error| {
        let code = error.sqlite_error_code();
        matches!(
            code,
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        )
    };
    let mut db = open_retry::blocking(|| Connection::open(file), busy)
        .map_err(|error| failed("it cannot be opened", error))?;
    db.busy_timeout(BUSY_TIMEOUT)
        .map_err(|error| failed("it cannot be set up", error))?;
    let number =
        |db: &Connection, name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = number(&db, "application_id");
    let application = application.map_err(|error| failed("it cannot be read", error))?;
    let version = number(&db, "user_version");
    let version = version.map_err(|error| failed("it cannot be read", error))?;
    let tables = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
        row.get::<_, i64>(0)
    });
    let tables = tables.map_err(|error| failed("it cannot be read", error))?;
    if (tables != 0 || application != 0) && application != rows::APPLICATION_ID {
        let reason = format!("{place} is a database of another program; give another folder");
        return Err(StoreError::new(store, &reason));
    }
    if rows::SCHEMA_VERSION < version {
        let reason = format!(
            "{place} was written by a newer version (schema {version}, this one knows {}); run \
             that version, or give another folder",
            rows::SCHEMA_VERSION
        );
        return Err(StoreError::new(store, &reason));
    }
    // Before anything is written: what is damaged is left as it is, for whoever repairs it.
    let check = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let check = check.map_err(|error| failed("it cannot be read", error))?;
    if check != "ok" {
        let reason = format!("{place} is damaged ({check}); restore it from a backup");
        return Err(StoreError::new(store, &reason));
    }
    set_up(&mut db, tables == 0).map_err(|error| failed("it cannot be set up", error))?;
    Ok(db)
}

fn set_up(db: &mut Connection, new: bool) -> rusqlite::Result<()> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if new {
        tx.execute_batch(rows::SCHEMA)?;
        tx.pragma_update(None, "application_id", rows::APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", rows::SCHEMA_VERSION)?;
    } else {
        // Finds out now whether it can be written.
        tx.pragma_update(None, "user_version", rows::SCHEMA_VERSION)?;
    }
    tx.commit()
}

/// The thread: takes what waits, does it in one transaction, answers when that is durable.
async fn serve(mut db: Connection, mut requests: mpsc::Receiver<Request>) {
    let mut due = Instant::now();
    while let Some(first) = requests.recv().await {
        let together = gather(first, &mut requests, due).await;
        due = Instant::now() + SAVE_INTERVAL;
        let tx = match db.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(tx) => tx,
            Err(error) => {
                for job in together {
                    job(Err(&error))(Ok(()));
                }
                continue;
            }
        };
        let finishes: Vec<_> = together.into_iter().map(|job| job(Ok(&tx))).collect();
        let committed = tx.commit();
        for finish in finishes {
            finish(committed.as_ref().copied());
        }
    }
}

/// What is done together: all that waits, and, as long as nobody is in a hurry, what comes until
/// `due`.
async fn gather(first: Request, requests: &mut mpsc::Receiver<Request>, due: Instant) -> Vec<Job> {
    let mut patient = first.patient;
    let mut together = vec![first.job];
    while together.len() < MOST_TOGETHER {
        let next = if patient {
            tokio::time::timeout_at(due, requests.recv())
                .await
                .ok()
                .flatten()
        } else {
            requests.try_recv().ok()
        };
        let Some(next) = next else { break };
        patient &= next.patient;
        together.push(next.job);
    }
    together
}

#[async_trait]
impl MappingStore for SqliteStore {
    async fn mappings(&self) -> Result<Vec<MappingRow>, PortError> {
        self.call("reading the mappings", |tx| rows::mappings(tx))
            .await
    }

    async fn mapping(&self, id: &MappingId) -> Result<Option<MappingRow>, PortError> {
        let id = id.clone();
        self.call("reading a mapping", move |tx| rows::mapping(tx, &id))
            .await
    }

    async fn put(&self, row: &MappingRow, seen: Option<Revision>) -> Result<Swap, PortError> {
        let row = row.clone();
        self.call("writing a mapping", move |tx| rows::put(tx, &row, seen))
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
    async fn leases(&self) -> Result<Vec<Lease>, PortError> {
        self.call("reading the leases", |tx| rows::leases(tx)).await
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

    async fn compare_and_swap(&self, seen: &Lease, next: &Lease) -> Result<Swap, PortError> {
        let (seen, next) = (seen.clone(), next.clone());
        self.call("taking a lease", move |tx| {
            rows::compare_and_swap(tx, &seen, &next)
        })
        .await
    }

    async fn save(
        &self,
        key: &LeaseKey,
        epoch: u64,
        checkpoint: &Position,
    ) -> Result<Swap, PortError> {
        let (key, checkpoint) = (key.clone(), checkpoint.clone());
        self.ask("saving a checkpoint", true, move |tx| {
            rows::save(tx, &key, epoch, &checkpoint)
        })
        .await
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
