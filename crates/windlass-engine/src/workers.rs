//! The threads on which consumers run.
//!
//! A consumer stays on the thread on which it was started, and so does everything that belongs to
//! it: the page that it has read is still in that thread's cache when it is sent, and no other
//! thread is woken for it. Threads that take work from each other would balance it better, and cost
//! a fifth more for each record.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// Threads that consumers take turns on. They end when this is dropped.
#[derive(Debug)]
pub struct Workers {
    /// At least one.
    threads: Vec<Handle>,
    next: usize,
    _running: watch::Sender<()>,
}

impl Workers {
    /// Starts so many threads, at least one.
    ///
    /// # Errors
    /// A thread or its runtime cannot be started.
    pub fn start(n_threads: usize) -> io::Result<Self> {
        let (running, ended) = watch::channel(());
        let start = |_| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let mut ended = ended.clone();
            let thread = std::thread::Builder::new().name("windlass-worker".to_owned());
            thread.spawn(move || {
                // There is nothing to be told but that nobody is left to tell it.
                drop(runtime.block_on(ended.changed()));
            })?;
            Ok(handle)
        };
        let threads: io::Result<_> = (0..n_threads.max(1)).map(start).collect();
        Ok(Self {
            threads: threads?,
            next: 0,
            _running: running,
        })
    }

    /// No threads: consumers run on the runtime of the caller.
    ///
    /// # Panics
    /// If there is none.
    pub fn here() -> Self {
        Self {
            threads: vec![Handle::current()],
            next: 0,
            _running: watch::Sender::new(()),
        }
    }

    /// Where the next consumer runs.
    pub(crate) fn next(&mut self) -> &Handle {
        self.next = (self.next + 1) % self.threads.len();
        &self.threads[self.next]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[tokio::test]
    async fn threads_take_turns_and_end_with_their_owner() {
        let mut workers = Workers::start(2).unwrap();
        let mut names = BTreeMap::new();
        for _ in 0..4 {
            let thread = workers.next().spawn(async { std::thread::current().id() });
            *names
                .entry(format!("{:?}", thread.await.unwrap()))
                .or_insert(0) += 1;
        }
        assert_eq!(names.into_values().collect::<Vec<_>>(), [2, 2]);
        let pending = workers.next().spawn(std::future::pending::<()>());
        drop(workers);
        assert!(pending.await.unwrap_err().is_cancelled());
    }
}
