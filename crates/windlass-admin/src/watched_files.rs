//! Files that are read again when they change: secrets and certificates.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often files are looked at.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// When files are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reread {
    IfChanged,
    /// Also if the last read failed: the cause may have been another than the files.
    IfChangedOrFailed,
}

/// Files that are used together, as they were when they were last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchedFiles {
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// Why the last read failed.
    problem: Option<String>,
}

/// What changes when a file is written or replaced, also by a link to another: device, inode, size,
/// and the times in seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp([i64; 4], u64, u64, u64);

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let it = fs::metadata(path).ok()?;
        let times = [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()];
        Some(Self(times, it.dev(), it.ino(), it.size()))
    }
}

/// Opens a file of secrets or certificates. Others than regular ones are refused: a pipe would block the
/// API until somebody writes to it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    File::open(path)
}

impl WatchedFiles {
    /// Before they are read, so that no change after it is missed.
    pub(crate) fn new<const N: usize>(paths: [&Path; N]) -> Self {
        let stamped = |path: &Path| (path.to_owned(), Stamp::of(path));
        Self {
            files: paths.map(stamped).to_vec(),
            problem: None,
        }
    }

    /// Why the files cannot be used, while what was read before is.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Returns what was read if the files have changed and can be used. A failure is logged once, with
    /// `what` for what the files are.
    pub(crate) fn refresh<T>(
        &mut self,
        when: Reread,
        what: &str,
        read: impl FnOnce() -> Result<T, String>,
    ) -> Option<T> {
        let mut is_due = when == Reread::IfChangedOrFailed && self.problem.is_some();
        for (path, seen) in &mut self.files {
            let stamp = Stamp::of(path);
            is_due |= stamp != *seen;
            *seen = stamp;
        }
        if !is_due {
            return None;
        }
        match read() {
            Ok(value) => {
                self.problem = None;
                tracing::info!("{what}: read again after a change");
                Some(value)
            }
            Err(error) => {
                let problem = format!("{what}: {error}; what was read before stays in use");
                if self.problem.as_deref() != Some(&problem) {
                    tracing::warn!("{problem}");
                    self.problem = Some(problem);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct TempDir(PathBuf);

    impl TempDir {
        fn new() -> Self {
            let name = format!("windlass-watched-{}", uuid::Uuid::new_v4());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn read(path: &Path) -> Result<String, String> {
        fs::read_to_string(path).map_err(|error| error.to_string())
    }

    /// As Kubernetes does it: the names are links through a directory, whose link is replaced.
    #[test]
    fn files_that_are_replaced_by_links_are_read_again() {
        let dir = TempDir::new();
        for version in ["1", "2"] {
            fs::create_dir(dir.0.join(version)).unwrap();
            fs::write(dir.0.join(version).join("file"), version).unwrap();
        }
        symlink("1", dir.0.join("data")).unwrap();
        let path = dir.0.join("file");
        symlink("data/file", &path).unwrap();
        let mut files = WatchedFiles::new([&path]);
        let mut refresh = || files.refresh(Reread::IfChanged, "it", || read(&path));
        assert_eq!(refresh(), None);
        symlink("2", dir.0.join("new")).unwrap();
        fs::rename(dir.0.join("new"), dir.0.join("data")).unwrap();
        assert_eq!(refresh().as_deref(), Some("2"));
        assert_eq!(refresh(), None);
    }

    #[test]
    fn what_would_block_is_not_opened() {
        let dir = TempDir::new();
        let pipe = dir.0.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [&*pipe, &*dir.0, Path::new("/dev/zero")] {
            let error = open(path).unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file");
        }
        let path = dir.0.join("file");
        assert_eq!(open(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "1").unwrap();
        open(&path).unwrap();
    }

    #[test]
    fn a_failure_is_kept_until_the_files_can_be_used() {
        let dir = TempDir::new();
        let path = dir.0.join("file");
        fs::write(&path, "1").unwrap();
        let mut files = WatchedFiles::new([&path]);
        fs::remove_file(&path).unwrap();
        let when = Reread::IfChanged;
        assert_eq!(files.refresh(when, "it", || read(&path)), None);
        let problem = files.problem().unwrap().to_owned();
        assert!(problem.starts_with("it: No such file"), "{problem}");
        let unread = || -> Result<(), String> { panic!("nothing has changed") };
        assert_eq!(files.refresh(when, "it", unread), None);
        assert_eq!(files.problem(), Some(&*problem));
        let again = files.refresh(Reread::IfChangedOrFailed, "it", || Ok("1"));
        assert_eq!(again, Some("1"));
        assert_eq!(files.problem(), None);
    }
}
