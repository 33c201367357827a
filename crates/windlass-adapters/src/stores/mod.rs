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
