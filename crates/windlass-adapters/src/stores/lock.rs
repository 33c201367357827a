//! Lets one daemon at a time use a store: a file next to the database is locked until the process
//! ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::StoreError;
use super::sqlite::FILE_MODE;

/// A process id and the end of its line.
const MAX_LOCK_FILE_LEN: u64 = 21;

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
            .mode(FILE_MODE)
            // In a directory of others, a link would let them choose the file that is written.
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(|error| {
                if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
                    let reason = format!(
                        "{file_name} is a symbolic link; remove it, or set another directory"
                    );
                    return StoreError::new(store, &reason);
                }
                StoreError::of_file(store, &format!("cannot open {file_name}"), error)
            })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = format!(
                    "it is in use by {}; stop that process, or set another directory",
                    holder_of(&mut file)
                );
                return Err(StoreError::new(store, &reason));
            }
            Err(TryLockError::Error(error)) => {
                let reason = format!("cannot lock {file_name}, perhaps on a network file system");
                return Err(StoreError::of_file(store, &reason, error));
            }
        }
        if !is_lock_file(&mut file) {
            let reason = format!(
                "{file_name} is a file of another program; move it away, or set another directory"
            );
            return Err(StoreError::new(store, &reason));
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

/// The process that has locked a store, for messages; `None` if none has, or it cannot be found out.
pub(super) fn holder(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    // For a moment only, and given back when the file is closed.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(holder_of(&mut file)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// An unreadable process id is only missing from the message.
fn holder_of(file: &mut File) -> String {
    let mut holder = String::new();
    let read = file.take(MAX_LOCK_FILE_LEN).read_to_string(&mut holder);
    match holder.trim() {
        pid if read.is_ok() && !pid.is_empty() => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}

/// Whether a file has nothing but a process id, so that it can be overwritten.
fn is_lock_file(file: &mut File) -> bool {
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let mut start = Vec::new();
    let read = file.take(MAX_LOCK_FILE_LEN + 1).read_to_end(&mut start);
    is_file
        && read.is_ok_and(|len| len as u64 <= MAX_LOCK_FILE_LEN)
        && start.trim_ascii().iter().all(u8::is_ascii_digit)
}
