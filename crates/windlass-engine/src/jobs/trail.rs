//! The line that a redrive leaves in the history: what was asked, and what has become of it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::ports::{HistoryLine, Store, chain};

/// Identifiers that a line has at most.
const MAX_IDS: usize = 1_000;

/// Grows with the redrive. It is written with the first success, so that one that is killed has left
/// its line, and at the end.
pub(super) struct Trail {
    store: Arc<dyn Store>,
    /// `None`: it leaves none.
    line: Option<HistoryLine>,
    /// Members that say what was asked.
    asked: Value,
    redriven: u64,
    failed: u64,
    ids: Vec<String>,
    is_written: bool,
}

impl Trail {
    pub(super) fn new(store: &Arc<dyn Store>, line: Option<HistoryLine>, asked: Value) -> Self {
        Self {
            store: Arc::clone(store),
            line,
            asked,
            redriven: 0,
            failed: 0,
            ids: Vec::new(),
            is_written: false,
        }
    }

    /// Something has been redriven.
    pub(super) async fn add_success(&mut self, id: &str) {
        self.redriven += 1;
        if self.ids.len() < MAX_IDS {
            self.ids.push(id.to_owned());
        }
        if !self.is_written {
            self.is_written = true;
            self.write().await;
        }
    }

    pub(super) const fn add_failure(&mut self) {
        self.failed += 1;
    }

    /// What has changed nothing leaves no line.
    pub(super) async fn end(&self) {
        if self.is_written {
            self.write().await;
        }
    }

    async fn write(&self) {
        let Some(line) = &self.line else {
            return;
        };
        let mut after = self.asked.clone();
        after["redriven"] = self.redriven.into();
        after["failed"] = self.failed.into();
        after["ids"] = json!(self.ids);
        let line = HistoryLine {
            after,
            ..line.clone()
        };
        if let Err(error) = self.store.write_history(&line).await {
            tracing::error!("{}; the redrive is missing in the history", chain(&error));
        }
    }
}
