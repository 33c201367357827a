//! What runs and how it goes, as the drivers publish it and the API shows it.
//!
//! Drivers write, the API reads; nothing here decides anything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::lease::Unit;
use windlass_core::mapping::{DesiredState, MappingId, MappingRow, Revision};
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::queue::{self, QueueView};
use windlass_core::shard::{self, ShardView};
use windlass_core::time::Timestamp;

/// Events of one mapping since the daemon started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Read from the source.
    pub polled: Count,
    /// Passed over, because no filter let them through or the mapping begins later.
    pub filtered_out: Count,
    /// Sent to the function; retries count again.
    pub invoked: Count,
    /// Invocations that the function failed.
    pub failed_invocations: Count,
    /// Events of those invocations.
    pub failed_events: Count,
    /// Given up.
    pub dropped: Count,
    /// Delivered to the on-failure destination.
    pub on_failure_delivered: Count,
    /// Deleted from the queue after success.
    pub deleted: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

/// All mappings of this daemon.
#[derive(Debug, Default)]
pub struct StatusBoard {
    mappings: Mutex<BTreeMap<MappingId, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    counts: Arc<Counts>,
    applied: Option<Revision>,
    last_outcome: Option<Outcome>,
    /// Why nothing of the mapping can run, if that is so.
    problem: Option<String>,
    units: BTreeMap<Unit, UnitView>,
}

/// What one consumer last said of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitView {
    /// It waits for its source to be described.
    Starting {
        /// Why it has not started yet, if an attempt failed.
        fault: Option<Fault>,
    },
    /// A shard.
    Shard(ShardView),
    /// A queue.
    Queue(QueueView),
}

/// What one mapping is doing.
#[derive(Clone, Debug)]
pub struct MappingStatus {
    /// The API's `State`.
    pub state: &'static str,
    /// The API's `LastProcessingResult`.
    pub last_processing_result: &'static str,
    /// Events since the daemon started.
    pub counts: Arc<Counts>,
    /// Why nothing of it can run, if that is so.
    pub problem: Option<String>,
    /// Its consumers.
    pub units: BTreeMap<Unit, UnitView>,
}

/// The place of one consumer on the board; it is taken off when this is dropped.
#[derive(Debug)]
pub struct UnitHandle {
    board: Arc<StatusBoard>,
    mapping: MappingId,
    unit: Unit,
}

impl Count {
    /// Adds to it.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl StatusBoard {
    /// The status of a mapping as the store has it.
    pub fn mapping(&self, row: &MappingRow) -> MappingStatus {
        let mut mappings = self.lock();
        let entry = mappings.entry(row.id.clone()).or_default();
        MappingStatus {
            state: state(row, entry.applied, entry.units.len()),
            last_processing_result: last_processing_result(entry.last_outcome.as_ref()),
            counts: Arc::clone(&entry.counts),
            problem: entry.problem.clone(),
            units: entry.units.clone(),
        }
    }

    /// The counts of every mapping.
    pub fn counts(&self) -> Vec<(MappingId, Arc<Counts>)> {
        let mappings = self.lock();
        mappings
            .iter()
            .map(|(id, entry)| (id.clone(), Arc::clone(&entry.counts)))
            .collect()
    }

    /// How many consumers run.
    pub fn n_units(&self) -> usize {
        self.lock().values().map(|entry| entry.units.len()).sum()
    }

    /// Puts a consumer on the board.
    pub fn unit(self: &Arc<Self>, mapping: &MappingId, unit: &Unit, view: UnitView) -> UnitHandle {
        self.lock()
            .entry(mapping.clone())
            .or_default()
            .units
            .insert(unit.clone(), view);
        UnitHandle {
            board: Arc::clone(self),
            mapping: mapping.clone(),
            unit: unit.clone(),
        }
    }

    /// The counts of one mapping, to add to.
    pub fn counts_of(&self, mapping: &MappingId) -> Arc<Counts> {
        Arc::clone(&self.lock().entry(mapping.clone()).or_default().counts)
    }

    /// Everything that this revision asks for runs, or has stopped.
    pub fn applied(&self, mapping: &MappingId, revision: Revision) {
        self.lock().entry(mapping.clone()).or_default().applied = Some(revision);
    }

    /// An invocation has ended.
    pub fn outcome(&self, mapping: &MappingId, outcome: &Outcome) {
        self.lock().entry(mapping.clone()).or_default().last_outcome = Some(outcome.clone());
    }

    /// Why nothing of a mapping can run; `None`: it can.
    pub fn problem(&self, mapping: &MappingId, problem: Option<String>) {
        self.lock().entry(mapping.clone()).or_default().problem = problem;
    }

    /// Forgets mappings that are no longer kept.
    pub fn retain(&self, keep: impl Fn(&MappingId) -> bool) {
        self.lock()
            .retain(|id, entry| keep(id) || !entry.units.is_empty());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MappingId, Entry>> {
        self.mappings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnitHandle {
    /// Shows a new view.
    pub fn publish(&self, view: UnitView) {
        let mut mappings = self.board.lock();
        if let Some(shown) = mappings
            .get_mut(&self.mapping)
            .and_then(|entry| entry.units.get_mut(&self.unit))
        {
            *shown = view;
        }
    }
}

impl Drop for UnitHandle {
    fn drop(&mut self) {
        if let Some(entry) = self.board.lock().get_mut(&self.mapping) {
            entry.units.remove(&self.unit);
        }
    }
}

/// The API's `State`: computed from what the user wants, what was applied and what runs.
pub fn state(row: &MappingRow, applied: Option<Revision>, running: usize) -> &'static str {
    use windlass_core::mapping::Change;

    match row.desired {
        DesiredState::Deleted => "Deleting",
        DesiredState::Disabled if running == 0 => "Disabled",
        DesiredState::Disabled => "Disabling",
        DesiredState::Enabled if applied == Some(row.revision) => "Enabled",
        DesiredState::Enabled => match row.change {
            Change::Created => "Creating",
            Change::Enabled => "Enabling",
            Change::Updated | Change::Disabled | Change::Deleted => "Updating",
        },
    }
}

/// The API's `LastProcessingResult`.
fn last_processing_result(outcome: Option<&Outcome>) -> &'static str {
    match outcome {
        None => "No records processed",
        Some(Outcome::Success) => "OK",
        Some(Outcome::FunctionError { .. }) => "PROBLEM: Function call failed",
        Some(Outcome::NotInvoked {
            cause: Fault::Denied,
        }) => "PROBLEM: Function may not be invoked",
        Some(Outcome::NotInvoked { cause: Fault::Gone }) => "PROBLEM: Function does not exist",
        Some(Outcome::NotInvoked { .. }) => "PROBLEM: Function could not be reached",
    }
}

/// How the last invocation of a consumer ended, in the words of the status.
pub fn last_result(outcome: Option<&Outcome>) -> &'static str {
    last_processing_result(outcome)
}

/// What holds a consumer back, in words; `None` if nothing does.
pub fn waiting_for(view: &UnitView, now: Timestamp) -> Option<String> {
    let next = |at: Option<Timestamp>| match at.map(|at| at.since(now)) {
        Some(pause) => format!(", next in {:.1} s", pause.as_secs_f64()),
        None => String::new(),
    };
    match view {
        UnitView::Starting { fault } => {
            let fault = (*fault)?;
            Some(format!("the source {}", in_words(fault)))
        }
        UnitView::Shard(view) => {
            let next = next(view.next_at);
            Some(match view.waiting.as_ref()? {
                shard::Waiting::FunctionErrors { attempt } => {
                    format!("function answers with errors, attempt {attempt}{next}")
                }
                shard::Waiting::NotInvoked(fault) => format!("function {}{next}", in_words(*fault)),
                shard::Waiting::Source(fault) => format!("the stream {}{next}", in_words(*fault)),
                shard::Waiting::Store(fault) => format!("the store {}{next}", in_words(*fault)),
            })
        }
        UnitView::Queue(view) => {
            let next = next(view.next_at);
            Some(match view.waiting.as_ref()? {
                queue::Waiting::NotInvoked(fault) => format!("function {}{next}", in_words(*fault)),
                queue::Waiting::Source(fault) => format!("the queue {}{next}", in_words(*fault)),
            })
        }
    }
}

fn in_words(fault: Fault) -> &'static str {
    match fault {
        Fault::Throttled { .. } => "asks to be called less often",
        Fault::Transient => "cannot be reached",
        Fault::Denied => "refuses access",
        Fault::Gone => "does not exist",
        Fault::Trimmed => "no longer has the records at this position",
    }
}
