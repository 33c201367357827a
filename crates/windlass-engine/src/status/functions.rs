//! The processes of functions that run on this machine, for people.

use std::sync::{Mutex, MutexGuard, PoisonError};

use windlass_core::time::Timestamp;

/// The processes of one function: written by its pool.
#[derive(Debug, Default)]
pub struct FunctionProcesses(Mutex<FunctionCounts>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionCounts {
    /// Those that have not exited.
    pub processes: usize,
    /// Those that have an event.
    pub busy: usize,
    /// Since the daemon started.
    pub starts: u64,
    pub exits: u64,
    /// Wall time.
    pub last_start: Option<Timestamp>,
    /// Why no process can be started, until one has asked for an event.
    pub problem: Option<String>,
}

impl FunctionProcesses {
    pub fn set_processes(&self, processes: usize, busy: usize) {
        let mut counts = self.lock();
        counts.processes = processes;
        counts.busy = busy;
    }

    pub fn started(&self, wall: Timestamp) {
        let mut counts = self.lock();
        counts.starts += 1;
        counts.last_start = Some(wall);
    }

    pub fn exited(&self) {
        self.lock().exits += 1;
    }

    pub fn set_problem(&self, problem: Option<String>) {
        self.lock().problem = problem;
    }

    pub fn counts(&self) -> FunctionCounts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, FunctionCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
