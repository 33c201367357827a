//! The log lines that Lambda writes about each event: `START`, `END` and `REPORT`.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html>

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::memory_groups::MemoryGroup;
use crate::targets::response_walker::Reads;

/// The event that a process has, and the lines about it.
#[derive(Debug)]
pub(super) struct EventReports {
    function: Arc<str>,
    /// Pid of the process; 0 while it is unknown.
    main: Arc<AtomicU32>,
    group: Option<Arc<MemoryGroup>>,
    current: Mutex<Option<CurrentEvent>>,
}

#[derive(Debug)]
struct CurrentEvent {
    request_id: Arc<str>,
    since: Instant,
    reads: Option<Reads>,
}

impl EventReports {
    pub(super) fn new(
        function: Arc<str>,
        main: Arc<AtomicU32>,
        group: Option<Arc<MemoryGroup>>,
    ) -> Self {
        Self {
            function,
            main,
            group,
            current: Mutex::default(),
        }
    }

    /// An event is given; its response is read for `reads`.
    pub(super) fn start(&self, request_id: Arc<str>, reads: Option<Reads>) {
        let (function, id) = (&*self.function, &*request_id);
        tracing::debug!(function, request_id = id, "START");
        *self.current() = Some(CurrentEvent {
            request_id,
            since: Instant::now(),
            reads,
        });
    }

    /// What the response to an event is read for.
    pub(super) fn reads(&self, request_id: &str) -> Option<Reads> {
        let current = self.current();
        let current = current.as_ref().filter(|it| *it.request_id == *request_id);
        current?.reads
    }

    /// The event was answered, or its process has ended.
    pub(super) fn end(&self) {
        let Some(event) = self.current().take() else {
            return;
        };
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let (function, request_id) = (&*self.function, &*event.request_id);
        let duration = event.since.elapsed();
        let peak = self.group.as_ref().and_then(|group| group.peak());
        let of_process = || max_memory(self.main.load(Ordering::Relaxed));
        let max_memory_kib = peak.map(|bytes| bytes / 1024).or_else(of_process);
        tracing::debug!(function, request_id, "END");
        tracing::debug!(function, request_id, ?duration, max_memory_kib, "REPORT");
    }

    fn current(&self) -> MutexGuard<'_, Option<CurrentEvent>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most memory that a process alone has had, in KiB; `None` once it has ended.
fn max_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
