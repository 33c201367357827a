//! The stores: where mappings, leases and checkpoints are kept.

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;
use windlass_core::arn::Arn;
use windlass_core::mapping::{DesiredState, MappingRow};
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
    match url.split_once(':') {
        Some(("sqlite", folder)) if !folder.is_empty() => {
            Ok(Arc::new(SqliteStore::open(Path::new(folder))?))
        }
        Some(("memory", "")) => Ok(Arc::new(MemoryStore::default())),
        _ => Err(StoreError::new(
            url,
            "only sqlite:FOLDER is supported, for example sqlite:./windlass-data",
        )),
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

    fn with(store: &str, reason: &str, source: impl Into<BoxError>) -> Self {
        let source = Some(source.into());
        Self {
            store: store.to_owned(),
            reason: reason.to_owned(),
            source,
        }
    }
}

/// What no two mappings may share: the source and the function with its qualifier.
fn pair(row: &MappingRow) -> (&str, &Arn) {
    (
        row.spec.event_source_arn.as_deref().unwrap_or_default(),
        &row.function_arn,
    )
}

/// Whether a mapping may not be there beside another: what is being deleted needs no pair.
fn collides(new: &MappingRow, other: &MappingRow) -> bool {
    let lives = |row: &MappingRow| row.desired != DesiredState::Deleted;
    lives(new) && lives(other) && pair(new) == pair(other)
}

#[cfg(test)]
mod tests;
