//! The line that a redrive leaves in the history: what was asked, and what has become of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::ports::{HistoryLine, RedriveLine, Store, chain};

/// Adds to the line of one redrive, with each success. What has changed nothing leaves no line.
pub(super) struct Trail {
    store: Arc<dyn Store>,
    /// Its `after` is what was asked.
    line: HistoryLine,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the line does not say yet.
    redriven: Vec<String>,
    failed: u64,
    is_written: bool,
}

impl Trail {
    pub(super) fn new(store: &Arc<dyn Store>, line: HistoryLine, asked: Value) -> Self {
        Self {
            store: Arc::clone(store),
            line: HistoryLine {
                after: asked,
                ..line
            },
            state: Mutex::default(),
        }
    }

    /// Something outside the store has been redriven.
    pub(super) async fn add_success(&self, id: &str) {
        self.lock().redriven.push(id.to_owned());
        self.write().await;
    }

    pub(super) fn add_failures(&self, n_failed: usize) {
        self.lock().failed += n_failed as u64;
    }

    /// What is written with the deletion of a letter: it, and what the line does not say yet. Call
    /// [`handle_written`](Self::handle_written) then.
    pub(super) fn with_letter(&self, id: String) -> RedriveLine {
        let mut part = self.take();
        part.redriven.push(id);
        part
    }

    /// The part of a letter was written, or was not, like the deletion.
    pub(super) fn handle_written(&self, mut part: RedriveLine, is_written: bool) {
        if is_written {
            self.lock().is_written = true;
        } else {
            part.redriven.pop();
            self.put_back(part);
        }
    }

    pub(super) async fn end(&self) {
        let is_changed = {
            let state = self.lock();
            !state.redriven.is_empty() || state.is_written && state.failed != 0
        };
        if is_changed {
            self.write().await;
        }
    }

    async fn write(&self) {
        let part = self.take();
        match self.store.write_redrive(&part).await {
            Ok(()) => self.lock().is_written = true,
            Err(error) => {
                tracing::error!("{}; the history lacks a part of the redrive", chain(&error));
                self.put_back(part);
            }
        }
    }

    fn take(&self) -> RedriveLine {
        let mut state = self.lock();
        RedriveLine {
            line: self.line.clone(),
            redriven: std::mem::take(&mut state.redriven),
            failed: std::mem::take(&mut state.failed),
        }
    }

    fn put_back(&self, part: RedriveLine) {
        let mut state = self.lock();
        state.redriven.splice(..0, part.redriven);
        state.failed += part.failed;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
