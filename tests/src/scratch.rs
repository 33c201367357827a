//! A folder of one test: its configuration and its store.

use std::path::{Path, PathBuf};

use crate::aws::unique_name;

/// A folder that is removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// A new folder, empty.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(unique_name(&format!("windlass-{name}")));
        std::fs::create_dir_all(&folder).expect("a folder can be made for a test");
        Self { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind is only untidy.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
