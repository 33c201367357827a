//! Stores of mappings, leases, checkpoints and the history.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;
use windlass_engine::ports::{BoxError, Store};

mod dead_letters;
mod history;
mod inspection;
mod lock;
mod overrides;
mod replays;
mod rows;
mod schema;
mod sqlite;

pub use inspection::{StoreContents, StoreInspection, inspect};
pub use sqlite::SqliteStore;

/// Failure to open a store.
#[derive(Debug, Error)]
#[error("cannot open store {store}: {reason}")]
pub struct StoreError {
    store: String,
    reason: String,
    #[source]
    source: Option<BoxError>,
}

/// Opens the store of a configuration: `sqlite:DIRECTORY`.
///
/// # Errors
/// The URL is of another kind, or the store is in use, damaged, of a newer version or not writable.
pub fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    match sqlite_directory(url) {
        Some(directory) => Ok(Arc::new(SqliteStore::open(directory)?)),
        None => Err(StoreError::new(
            url,
            "only sqlite:DIRECTORY is supported, for example sqlite:./windlass-data",
        )),
    }
}

/// Whether [`open`] supports this kind of store.
#[must_use]
pub fn is_known(url: &str) -> bool {
    sqlite_directory(url).is_some()
}

fn sqlite_directory(url: &str) -> Option<&Path> {
    let directory = url.strip_prefix("sqlite:")?;
    (!directory.is_empty()).then(|| Path::new(directory))
}

impl StoreError {
    fn new(store: &str, reason: &str) -> Self {
        Self {
            store: store.to_owned(),
            reason: reason.to_owned(),
            source: None,
        }
    }

    /// A file operation failed; the reason includes a remedy.
    fn of_file(store: &str, reason: &str, error: io::Error) -> Self {
        Self::with(store, &format!("{reason}; {}", remedy(&error)), error)
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

/// What an operator can do about a file that cannot be used.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only a few kinds have a specific remedy"
)]
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "make it writable for the daemon's user, or set another directory with 'store' or --store"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "a part of this path is a file; set the path of a directory with 'store' or --store"
        }
        ErrorKind::IsADirectory => {
            "it is a directory; move it away, or set another directory with 'store' or --store"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space, or set another directory with 'store' or --store"
        }
        _ => "check the path, or set another directory with 'store' or --store",
    }
}

#[cfg(test)]
mod tests;
