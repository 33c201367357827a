//! Lets one daemon at a time use a store: a file next to the database is locked until the process
//! ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::StoreError;

/// The lock of a store. The operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Locks the file and writes the process id into it.
    pub(super) fn acquire(store: &str, path: &Path) -> Result<Self, StoreError> {
        let file_name = path.display();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| {
                StoreError::of_file(store, &format!("cannot open {file_name}"), error)
            })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // An unreadable process id is only missing from the message.
                let read = file.read_to_string(&mut holder);
                let process = match holder.trim() {
                    pid if read.is_ok() && !pid.is_empty() => format!("process {pid}"),
                    _ => "another process".to_owned(),
                };
                let reason = format!(
                    "it is in use by {process}; stop that process, or set another directory"
                );
                return Err(StoreError::new(store, &reason));
            }
            Err(TryLockError::Error(error)) => {
                let reason = format!("cannot lock {file_name}, perhaps on a network file system");
                return Err(StoreError::of_file(store, &reason, error));
            }
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .and_then(|()| file.flush());
        written.map_err(|error| {
            StoreError::of_file(store, &format!("cannot write {file_name}"), error)
        })?;
        Ok(Self { _file: file })
    }
}
