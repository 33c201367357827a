//! What runs and how it goes, as the drivers publish it and the API shows it.
//!
//! Drivers write, the API reads; nothing here decides anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use windlass_core::lease::{Lease, LeaseKey, Unit, WorkerId};
use windlass_core::mapping::{DesiredState, MappingId, MappingRow, Revision};
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::position::Position;
use windlass_core::queue::{self, QueueView};
use windlass_core::shard::{self, ShardView};
use windlass_core::time::Timestamp;

use crate::memory::Budget;
use crate::memory::{Backpressure, Limit};
use crate::metrics::Labels;

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
    /// `None` until they were looked at, and while the store fails.
    leases: Mutex<Option<LeaseCounts>>,
    limits: OnceLock<DaemonLimits>,
}

/// How many leases there are, by who processes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    /// A consumer of this daemon does.
    pub running: usize,
    /// Nobody does, although somebody should: a consumer has failed and is started again later.
    pub waiting: usize,
    /// Another daemon holds it.
    pub elsewhere: usize,
    /// The shard has been processed to its end.
    pub ended: usize,
}

/// The limits that all drivers share, with what is used of them.
#[derive(Clone, Debug)]
pub struct DaemonLimits {
    /// The invocations at a time.
    pub invocations: Budget,
    /// The invocations at a time of one queue.
    pub queue_concurrency: usize,
}

#[derive(Debug, Default)]
struct Entry {
    /// `None` until the supervisor has seen the mapping.
    labels: Option<Labels>,
    counts: Arc<Counts>,
    applied: Option<Revision>,
    last_outcome: Option<Outcome>,
    /// Why nothing of the mapping can run, if that is so.
    problem: Option<String>,
    units: BTreeMap<Unit, Shown>,
}

/// What is shown of one consumer.
#[derive(Debug)]
struct Shown {
    view: UnitView,
    backpressure: Backpressure,
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
    pub units: BTreeMap<Unit, UnitStatus>,
}

/// What one consumer is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitStatus {
    /// What it last said of itself.
    pub view: UnitView,
    /// The limit of the daemon that it waits for, if it does.
    pub limit: Option<Limit>,
}

/// The place of one consumer on the board; it is taken off when this is dropped.
#[derive(Debug)]
pub struct UnitHandle {
    board: Arc<StatusBoard>,
    mapping: MappingId,
    unit: Unit,
    backpressure: Backpressure,
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

impl LeaseCounts {
    /// Counts leases of mappings that can run; `worker` is this daemon.
    pub(crate) fn of<'a>(
        leases: impl Iterator<Item = &'a Lease>,
        runs: impl Fn(&LeaseKey) -> bool,
        worker: &WorkerId,
    ) -> Self {
        let mut counts = Self::default();
        for lease in leases {
            let elsewhere = lease.owner.as_ref().is_some_and(|owner| owner != worker);
            let count = if lease.checkpoint == Position::ShardEnd {
                &mut counts.ended
            } else if runs(&lease.key) {
                &mut counts.running
            } else if elsewhere {
                &mut counts.elsewhere
            } else {
                &mut counts.waiting
            };
            *count += 1;
        }
        counts
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
            units: entry
                .units
                .iter()
                .map(|(unit, shown)| (unit.clone(), shown.status()))
                .collect(),
        }
    }

    /// The counts of every mapping.
    pub(crate) fn counts(&self) -> Vec<(Labels, Arc<Counts>)> {
        let mappings = self.lock();
        let labelled = mappings
            .values()
            .filter_map(|entry| Some((entry.labels.clone()?, Arc::clone(&entry.counts))));
        labelled.collect()
    }

    /// The invocations under way of every mapping on a queue.
    pub(crate) fn queue_invocations(&self) -> Vec<(Labels, usize)> {
        let mappings = self.lock();
        let queues = mappings.values().filter_map(|entry| {
            let views = entry.units.values().filter_map(|shown| match &shown.view {
                UnitView::Queue(view) => Some(view.concurrency),
                UnitView::Starting { .. } | UnitView::Shard(_) => None,
            });
            let n_invocations = views.reduce(|sum, more| sum + more)?;
            Some((entry.labels.clone()?, n_invocations))
        });
        queues.collect()
    }

    /// Who processes which leases; `None` while that is not known.
    pub fn leases(&self) -> Option<LeaseCounts> {
        *self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says who processes which leases; `None`: the store does not tell.
    pub fn show_leases(&self, counts: Option<LeaseCounts>) {
        *self.leases.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// The limits that all drivers share.
    pub(crate) fn limits(&self) -> Option<&DaemonLimits> {
        self.limits.get()
    }

    /// Says which limits all drivers share; once for a daemon.
    pub(crate) fn show_limits(&self, limits: DaemonLimits) {
        self.limits.get_or_init(|| limits);
    }

    /// How many consumers run.
    pub fn n_units(&self) -> usize {
        self.lock().values().map(|entry| entry.units.len()).sum()
    }

    /// Puts a consumer on the board.
    pub fn unit(self: &Arc<Self>, mapping: &MappingId, unit: &Unit, view: UnitView) -> UnitHandle {
        let backpressure = Backpressure::default();
        let shown = Shown {
            view,
            backpressure: backpressure.clone(),
        };
        self.lock()
            .entry(mapping.clone())
            .or_default()
            .units
            .insert(unit.clone(), shown);
        UnitHandle {
            board: Arc::clone(self),
            mapping: mapping.clone(),
            unit: unit.clone(),
            backpressure,
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

    /// Takes in the mappings that are kept, and forgets those that no longer are.
    pub(crate) fn keep(&self, rows: &[MappingRow]) {
        let kept: BTreeSet<_> = rows.iter().map(|row| &row.id).collect();
        let mut mappings = self.lock();
        mappings.retain(|id, entry| kept.contains(id) || !entry.units.is_empty());
        for row in rows {
            let entry = mappings.entry(row.id.clone()).or_default();
            entry.labels = Some(Labels::new(&row.id, &row.function_arn));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MappingId, Entry>> {
        self.mappings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn status(&self) -> UnitStatus {
        UnitStatus {
            view: self.view.clone(),
            limit: self.backpressure.limit(),
        }
    }
}

impl UnitHandle {
    /// Where the consumer says which limits it waits for.
    pub const fn backpressure(&self) -> &Backpressure {
        &self.backpressure
    }

    /// Shows a new view.
    pub fn publish(&self, view: UnitView) {
        let mut mappings = self.board.lock();
        if let Some(shown) = mappings
            .get_mut(&self.mapping)
            .and_then(|entry| entry.units.get_mut(&self.unit))
        {
            shown.view = view;
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

/// What holds a consumer back, in words; `None` if nothing does. A limit of the daemon comes last:
/// one whose function fails is helped by no limit.
pub fn waiting_for(unit: &UnitStatus, now: Timestamp) -> Option<String> {
    let limit = |limit| match limit {
        Limit::Memory => {
            "memory is full: functions have not finished with what the daemon holds for them"
        }
        Limit::Invocations => "as many invocations are under way as the daemon allows",
    };
    words_of(&unit.view, now).or_else(|| unit.limit.map(limit).map(ToOwned::to_owned))
}

fn words_of(view: &UnitView, now: Timestamp) -> Option<String> {
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
