//! The stores: where mappings, leases and checkpoints are kept.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;
use windlass_engine::ports::{BoxError, Store};

mod lock;
mod memory;
mod rows;
mod sqlite;

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

/// A store that cannot be opened.
#[derive(Debug, Error)]
#[error("the store {store} cannot be opened: {reason}")]
pub struct StoreError {
    store: String,
    reason: String,
    #[source]
    source: Option<BoxError>,
}

/// Opens the store of a configuration: `sqlite:FOLDER`, or `memory:` for what may be forgotten.
///
/// # Errors
/// The store is of another kind, is in use, damaged, of a newer version, or cannot be written.
pub fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    match Kind::of(url) {
        Some(Kind::Sqlite(folder)) => Ok(Arc::new(SqliteStore::open(folder)?)),
        Some(Kind::Memory) => Ok(Arc::new(MemoryStore::default())),
        None => Err(StoreError::new(
            url,
            "only sqlite:FOLDER is supported, for example sqlite:./windlass-data",
        )),
    }
}

/// Whether [`open`] knows this kind of store; nothing is opened.
#[must_use]
pub fn is_known(url: &str) -> bool {
    Kind::of(url).is_some()
}

/// The kinds of stores.
enum Kind<'a> {
    Sqlite(&'a Path),
    Memory,
}

impl<'a> Kind<'a> {
    fn of(url: &'a str) -> Option<Self> {
        match url.split_once(':')? {
            ("sqlite", folder) if !folder.is_empty() => Some(Self::Sqlite(Path::new(folder))),
            ("memory", "") => Some(Self::Memory),
            _ => None,
        }
    }
}

impl StoreError {
    fn new(store: &str, reason: &str) -> Self {
        Self {
            store: store.to_owned(),
            reason: reason.to_owned(),
            source: None,
        }
    }

    /// Something about a file went wrong; what that is says what can be done.
    fn of_file(store: &str, what: &str, error: io::Error) -> Self {
        Self::with(store, &format!("{what}; {}", remedy(&error)), error)
    }

    fn with(store: &str, reason: &str, source: impl Into<BoxError>) -> Self {
        let source = Some(source.into());
        Self {
            store: store.to_owned(),
            reason: reason.to_owned(),
            source,
        }
    }
}

/// What a person can do about a file that cannot be used.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only a few of the kinds have a remedy of their own"
)]
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "let the daemon's user write there, or give another folder with 'store' or --store"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "a part of this path is a file; give the path of a folder with 'store' or --store"
        }
        ErrorKind::IsADirectory => {
            "a folder is in its place; move that away, or give another folder with 'store' or \
             --store"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room there, or give another folder with 'store' or --store"
        }
        _ => "check the path, or give another folder with 'store' or --store",
    }
}

#[cfg(test)]
mod tests;
