//! A temporary directory for the configuration and the store of a test.

use std::path::{Path, PathBuf};

use crate::aws::unique_name;

/// Removed on drop.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(unique_name(&format!("windlass-{name}")));
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A leftover directory does no harm.
        drop(std::fs::remove_dir_all(&self.path));
    }
}
