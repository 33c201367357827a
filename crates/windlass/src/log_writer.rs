//! Writes the lines of the log on a thread of its own, so that no other thread waits for standard
//! error or fails with it: a pipe whose reader stalls or has gone, a full disk.
//!
//! Lines that cannot be written, or for which the queue has no room, are dropped and counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for the thread; some thousands of them.
const MAX_QUEUED_BYTES: usize = 1024 * 1024;

/// For what is queued at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Accepts lines without waiting.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    is_writing: bool,
}

impl LogWriter {
    /// Starts the thread. `report` gets the number of lines dropped since its last call, once a
    /// line could be written and no other waits.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("windlass-log".to_owned())
            .spawn(move || of_thread.write_all(out, report))?;
        Ok(Self(shared))
    }

    /// The number of lines dropped since the start.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.dropped)
    }

    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if MAX_QUEUED_BYTES < queue.bytes + line.len() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        self.0.changed.notify_all();
    }

    /// Waits until all queued lines are written or dropped, at most for [`FLUSH_TIMEOUT`].
    pub(crate) fn flush(&self) {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.lines.is_empty();
        let queue = self.0.lock();
        // After the timeout the rest is lost with the process.
        drop(
            self.0
                .changed
                .wait_timeout_while(queue, FLUSH_TIMEOUT, is_busy),
        );
    }
}

impl Shared {
    /// The loop of the thread.
    fn write_all(&self, mut out: impl Write, report: impl Fn(u64)) {
        let mut reported = 0;
        loop {
            let line = self.next_line();
            let is_written = out.write_all(&line).and_then(|()| out.flush()).is_ok();
            if !is_written {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            let is_last = self.lock().lines.is_empty();
            let dropped = self.dropped.load(Ordering::Relaxed);
            if is_written && is_last && reported < dropped {
                report(dropped - reported);
                reported = dropped;
            }
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }

    fn next_line(&self) -> Vec<u8> {
        let queue = self.lock();
        let waited = self
            .changed
            .wait_while(queue, |queue| queue.lines.is_empty());
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        let line = queue.lines.pop_front().unwrap_or_default();
        queue.bytes -= line.len();
        queue.is_writing = true;
        line
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A whole line at a time, as the formatter writes them.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Asks for the result of each write.
    struct Scripted {
        results: Receiver<bool>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Scripted {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            if !self.results.recv().unwrap_or(true) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.written.send(line.to_vec()).unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted() -> (LogWriter, Sender<bool>, Receiver<Vec<u8>>, Receiver<u64>) {
        let (result, results) = channel();
        let (written, lines) = channel();
        let (report, reports) = channel();
        let out = Scripted { results, written };
        let writer = LogWriter::start(out, move |dropped| report.send(dropped).unwrap()).unwrap();
        (writer, result, lines, reports)
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_reported_once_writing_works() {
        let (log, result, lines, reports) = scripted();
        for (line, works) in [(b"a", true), (b"b", false), (b"c", false), (b"d", true)] {
            log.push(line);
            result.send(works).unwrap();
        }
        assert_eq!(lines.recv().unwrap(), b"a");
        assert_eq!(lines.recv().unwrap(), b"d");
        assert_eq!(reports.recv().unwrap(), 2);
        log.flush();
        log.push(b"e");
        result.send(true).unwrap();
        assert_eq!(lines.recv().unwrap(), b"e");
        log.flush();
        assert!(reports.try_recv().is_err(), "each line is reported once");
        assert_eq!(log.dropped().load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_a_bounded_queue() {
        let (log, result, lines, reports) = scripted();
        let line = [b'x'; 1024];
        // The reader takes nothing: one line is at the writer, 1 MiB waits.
        log.push(&line);
        drop(
            log.0
                .changed
                .wait_while(log.0.lock(), |queue| !queue.is_writing),
        );
        for _ in 0..MAX_QUEUED_BYTES / line.len() + 5 {
            log.push(&line);
        }
        assert_eq!(log.dropped().load(Ordering::Relaxed), 5);
        drop(result);
        assert_eq!(reports.recv().unwrap(), 5);
        log.flush();
        assert_eq!(lines.try_iter().count(), MAX_QUEUED_BYTES / line.len() + 1);
    }
}
