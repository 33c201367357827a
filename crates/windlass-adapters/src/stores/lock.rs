//! One daemon at a time: a file beside the database, locked as long as the process lives.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::StoreError;

/// The lock of a store. The operating system gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the lock and writes down whose it is.
    pub(super) fn take(store: &str, path: &Path) -> Result<Self, StoreError> {
        let place = path.display();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| {
                StoreError::of_file(store, &format!("{place} cannot be opened"), error)
            })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // What cannot be read is only missing from the message.
                let read = file.read_to_string(&mut holder);
                let process = match holder.trim() {
                    pid if read.is_ok() && !pid.is_empty() => format!("process {pid}"),
                    _ => "another process".to_owned(),
                };
                let reason = format!("{process} uses it; stop that one, or give another folder");
                return Err(StoreError::new(store, &reason));
            }
            Err(TryLockError::Error(error)) => {
                let what = format!(
                    "{place} cannot be locked, perhaps because its file system is a network's"
                );
                return Err(StoreError::of_file(store, &what, error));
            }
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .and_then(|()| file.flush());
        written.map_err(|error| {
            StoreError::of_file(store, &format!("{place} cannot be written"), error)
        })?;
        Ok(Self { _file: file })
    }
}
