//! The state of each mapping and consumer: written by the drivers, shown by the API.
//!
//! No decision depends on it.

mod counts;
mod functions;
mod lag;
mod source_calls;
mod text;
mod view;

pub use counts::{Counts, LeaseCounts};
pub use functions::{FunctionCounts, FunctionProcesses};
pub use lag::LagHistory;
pub use source_calls::SourceCall;
pub(crate) use source_calls::SourceCalls;
pub use text::{
    describe_blocked, describe_gap, describe_lag, describe_parked, describe_unreadable,
    last_processing_result, state, waiting_for,
};
pub use view::{UnitStatus, UnitView};

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use windlass_core::ids::ShardId;
use windlass_core::lease::Unit;
use windlass_core::lease_rows::BlockedShard;
use windlass_core::mapping::{MappingId, MappingRow, Revision};
use windlass_core::outcome::OutcomeKind;
use windlass_core::time::Timestamp;

use crate::clock::Clock;
use crate::dead_letters::DeadLetterCounts;
use crate::histogram::InvocationMetrics;
use crate::labels::Labels;
use crate::memory::Backpressure;
use crate::ports::UnreadableMapping;
use crate::requests::QueueRequests;
use crate::slots::Slots;

/// A supervisor that misses more rounds is stalled.
const MISSED_ROUNDS: u32 = 3;

/// Gaps of a mapping or replay that are kept.
const MAX_GAPS: usize = 10;

/// All mappings of this daemon.
#[derive(Debug, Default)]
pub struct StatusBoard {
    mappings: Mutex<BTreeMap<MappingId, MappingEntry>>,
    unreadable: Mutex<BTreeMap<MappingId, UnreadableMapping>>,
    /// `None` before the first round of the supervisor, and while the store fails.
    leases: Mutex<Option<LeaseCounts>>,
    limits: OnceLock<DaemonLimits>,
    /// `None` before the first round of the supervisor.
    last_round: Mutex<Option<Round>>,
    /// Functions that run in processes of this machine, by name.
    functions: Mutex<BTreeMap<String, Arc<FunctionProcesses>>>,
    dead_letters: Arc<DeadLetterCounts>,
}

/// A round that the supervisor has finished.
#[derive(Clone, Copy, Debug)]
struct Round {
    at: Instant,
    /// The longest time until the next one begins.
    interval: Duration,
}

/// Limits that all drivers share, with their current use.
#[derive(Clone, Debug)]
pub struct DaemonLimits {
    /// Concurrent invocations.
    pub invocations: Slots,
    /// Concurrent invocations of one queue.
    pub queue_concurrency: usize,
}

#[derive(Debug, Default)]
struct MappingEntry {
    /// `None` until the supervisor has seen the mapping.
    labels: Option<Labels>,
    counts: Arc<Counts>,
    metrics: Arc<InvocationMetrics>,
    applied: Option<Revision>,
    last_outcome: Option<OutcomeKind>,
    /// Why the mapping cannot run.
    problem: Option<String>,
    /// See [`MappingStatus::clock_difference`].
    clock_difference: Option<i64>,
    /// The same with monotonic time in place of wall time.
    source_ahead: Option<i64>,
    /// See [`MappingStatus::notice`].
    notice: Option<String>,
    /// The first gaps that its shards had since the daemon started.
    gaps: Vec<String>,
    /// See [`StatusBoard::raise_fraction`].
    fraction: f64,
    /// See [`MappingStatus::blocked`].
    blocked: BTreeMap<ShardId, BlockedShard>,
    units: BTreeMap<Unit, Arc<UnitEntry>>,
}

/// One consumer.
#[derive(Debug)]
struct UnitEntry {
    published: Mutex<Published>,
    backpressure: Backpressure,
    source_calls: SourceCalls,
}

/// What a consumer shows.
#[derive(Debug)]
struct Published {
    view: UnitView,
    /// Empty for a queue.
    lag: LagHistory,
}

/// The state of one mapping.
#[derive(Clone, Debug)]
pub struct MappingStatus {
    /// The API's `State`.
    pub state: &'static str,
    /// The API's `LastProcessingResult`.
    pub last_processing_result: Cow<'static, str>,
    pub counts: Arc<Counts>,
    /// Why it cannot run.
    pub problem: Option<String>,
    /// How many milliseconds the clock of its source is ahead of the daemon's wall time; `None` if
    /// that is unknown.
    pub clock_difference: Option<i64>,
    /// The last thing that happened to its source and that an operator should know, since the
    /// daemon started.
    pub notice: Option<String>,
    /// Listed shards that wait for their parents.
    pub blocked: BTreeMap<ShardId, BlockedShard>,
    pub units: BTreeMap<Unit, UnitStatus>,
}

/// One consumer on the board; removed on drop.
#[derive(Debug)]
pub struct UnitHandle {
    board: Arc<StatusBoard>,
    mapping: MappingId,
    unit: Unit,
    entry: Arc<UnitEntry>,
}

impl StatusBoard {
    /// Counts of the dead letters of this daemon.
    pub fn dead_letters(&self) -> Arc<DeadLetterCounts> {
        Arc::clone(&self.dead_letters)
    }

    pub fn mapping(&self, row: &MappingRow) -> MappingStatus {
        let mappings = self.lock();
        // The supervisor has not seen it yet, or the store no longer has it.
        let unknown = MappingEntry::default();
        let entry = mappings.get(&row.id).unwrap_or(&unknown);
        MappingStatus {
            state: state(row, entry.applied, entry.units.len()),
            last_processing_result: entry.last_processing_result(),
            counts: Arc::clone(&entry.counts),
            problem: entry.problem.clone(),
            clock_difference: entry.clock_difference,
            notice: entry.notice.clone(),
            blocked: entry.blocked.clone(),
            units: entry
                .units
                .iter()
                .map(|(unit, entry)| (unit.clone(), entry.status()))
                .collect(),
        }
    }

    /// The processes of a function, which its pool reports.
    pub fn function(&self, name: &str) -> Arc<FunctionProcesses> {
        let mut functions = self.lock_functions();
        Arc::clone(functions.entry(name.to_owned()).or_default())
    }

    /// By name.
    pub fn functions(&self) -> Vec<(String, FunctionCounts)> {
        let functions = self.lock_functions();
        let counts = functions.iter();
        counts
            .map(|(name, processes)| (name.clone(), processes.counts()))
            .collect()
    }

    fn lock_functions(&self) -> MutexGuard<'_, BTreeMap<String, Arc<FunctionProcesses>>> {
        self.functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> Vec<(Labels, Arc<Counts>)> {
        let mappings = self.lock();
        let labelled = mappings
            .values()
            .filter_map(|entry| Some((entry.labels.clone()?, Arc::clone(&entry.counts))));
        labelled.collect()
    }

    pub(crate) fn invocation_metrics(&self) -> Vec<(Labels, Arc<InvocationMetrics>)> {
        let mappings = self.lock();
        let labelled = mappings
            .values()
            .filter_map(|entry| Some((entry.labels.clone()?, Arc::clone(&entry.metrics))));
        labelled.collect()
    }

    /// Invocations in flight of each mapping on a queue.
    pub(crate) fn queue_invocations(&self) -> Vec<(Labels, usize)> {
        let mappings = self.lock();
        let queues = mappings.values().filter_map(|entry| {
            let views = entry
                .units
                .values()
                .filter_map(|unit| match &unit.lock().view {
                    UnitView::Queue(view) => Some(view.concurrency),
                    UnitView::Starting { .. } | UnitView::Shard(_) => None,
                });
            let n_invocations = views.reduce(|sum, more| sum + more)?;
            Some((entry.labels.clone()?, n_invocations))
        });
        queues.collect()
    }

    /// How far each running shard is behind its tip, by the clock of its source; `wall` is the
    /// daemon's wall time. A shard whose first read has not ended is left out.
    pub(crate) fn shards_behind(&self, wall: Timestamp) -> Vec<(Labels, ShardId, Duration)> {
        let mappings = self.lock();
        let mut shards = Vec::new();
        for entry in mappings.values() {
            let Some(labels) = &entry.labels else {
                continue;
            };
            let wall = wall.shifted(entry.clock_difference.unwrap_or(0));
            for (unit, entry) in &entry.units {
                if let (Unit::Shard(shard), UnitView::Shard(view)) = (unit, &entry.lock().view)
                    && let Some(behind) = view.behind_at(wall)
                {
                    shards.push((labels.clone(), shard.clone(), behind));
                }
            }
        }
        shards
    }

    /// `None` while the leases are unknown.
    pub fn leases(&self) -> Option<LeaseCounts> {
        *self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if the store fails.
    pub fn show_leases(&self, counts: Option<LeaseCounts>) {
        *self.leases.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// The supervisor has finished a round, and begins the next one after `interval` at the latest.
    pub fn round_finished(&self, interval: Duration) {
        let at = Instant::now();
        *self.last_round() = Some(Round { at, interval });
    }

    /// How long ago the supervisor finished its last round, if it has missed three since.
    pub fn stalled_for(&self) -> Option<Duration> {
        let round = (*self.last_round())?;
        let elapsed = round.at.elapsed();
        (round.interval * MISSED_ROUNDS < elapsed).then_some(elapsed)
    }

    fn last_round(&self) -> MutexGuard<'_, Option<Round>> {
        self.last_round
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> Option<&DaemonLimits> {
        self.limits.get()
    }

    /// Call it once.
    pub(crate) fn show_limits(&self, limits: DaemonLimits) {
        self.limits.get_or_init(|| limits);
    }

    /// The number of running consumers.
    pub fn n_units(&self) -> usize {
        self.lock().values().map(|entry| entry.units.len()).sum()
    }

    /// Adds a consumer.
    pub fn unit(self: &Arc<Self>, mapping: &MappingId, unit: &Unit, view: UnitView) -> UnitHandle {
        let lag = LagHistory::default();
        let entry = Arc::new(UnitEntry {
            published: Mutex::new(Published { view, lag }),
            backpressure: Backpressure::default(),
            source_calls: SourceCalls::default(),
        });
        self.lock()
            .entry(mapping.clone())
            .or_default()
            .units
            .insert(unit.clone(), Arc::clone(&entry));
        UnitHandle {
            board: Arc::clone(self),
            mapping: mapping.clone(),
            unit: unit.clone(),
            entry,
        }
    }

    pub fn counts_of(&self, mapping: &MappingId) -> Arc<Counts> {
        Arc::clone(&self.lock().entry(mapping.clone()).or_default().counts)
    }

    pub(crate) fn requests_of(&self, mapping: &MappingId) -> Arc<QueueRequests> {
        Arc::clone(&self.counts_of(mapping).requests)
    }

    pub(crate) fn metrics_of(&self, mapping: &MappingId) -> Arc<InvocationMetrics> {
        Arc::clone(&self.lock().entry(mapping.clone()).or_default().metrics)
    }

    /// All consumers run, or have stopped, as this revision wants.
    pub fn applied(&self, mapping: &MappingId, revision: Revision) {
        self.lock().entry(mapping.clone()).or_default().applied = Some(revision);
    }

    /// Sets the outcome of the last invocation.
    pub fn outcome(&self, mapping: &MappingId, outcome: OutcomeKind) {
        self.lock().entry(mapping.clone()).or_default().last_outcome = Some(outcome);
    }

    /// Sets why a mapping cannot run; `None` if it can.
    pub fn problem(&self, mapping: &MappingId, problem: Option<String>) {
        self.lock().entry(mapping.clone()).or_default().problem = problem;
    }

    /// What the clock of a mapping's source shows at a monotonic time, as far as it is known. A step
    /// of the daemon's wall time does not move it, or records would be too old from one moment to the
    /// next.
    pub(crate) fn source_time(
        &self,
        mapping: &MappingId,
        clock: Clock,
        at: Timestamp,
    ) -> Timestamp {
        let mappings = self.lock();
        let ahead = mappings.get(mapping).and_then(|it| it.source_ahead);
        ahead.map_or_else(|| clock.to_wall(at), |ahead| at.shifted(ahead))
    }

    /// Sets how many milliseconds the clock of a mapping's source is ahead of the daemon's now.
    pub(crate) fn set_clock_difference(
        &self,
        mapping: &MappingId,
        millis: Option<i64>,
        clock: Clock,
    ) {
        let mut mappings = self.lock();
        let entry = mappings.entry(mapping.clone()).or_default();
        entry.clock_difference = millis;
        let wall_ahead = clock.wall().millis_since(clock.now());
        entry.source_ahead = millis.map(|millis| millis + wall_ahead);
    }

    /// Shows what happened to the source of a mapping. Returns whether that is news.
    pub fn notice(&self, mapping: &MappingId, notice: String) -> bool {
        let mut mappings = self.lock();
        let shown = &mut mappings.entry(mapping.clone()).or_default().notice;
        shown.replace(notice) != *shown
    }

    /// Keeps what may be lost of a mapping or replay: the first [`MAX_GAPS`].
    pub(crate) fn add_gap(&self, mapping: &MappingId, gap: String) {
        let mut mappings = self.lock();
        let gaps = &mut mappings.entry(mapping.clone()).or_default().gaps;
        if gaps.len() < MAX_GAPS && !gaps.contains(&gap) {
            gaps.push(gap);
        }
    }

    pub(crate) fn gaps_of(&self, mapping: &MappingId) -> Vec<String> {
        let mappings = self.lock();
        mappings
            .get(mapping)
            .map_or_else(Vec::new, |it| it.gaps.clone())
    }

    /// The highest fraction of a replay since the daemon started, this one included: when a shard has
    /// ended and its children have no rows yet, it is too high for a moment.
    pub fn raise_fraction(&self, replay: &MappingId, fraction: f64) -> f64 {
        let mut mappings = self.lock();
        let highest = &mut mappings.entry(replay.clone()).or_default().fraction;
        *highest = highest.max(fraction);
        *highest
    }

    /// Shows the shards of a mapping that wait for their parents.
    pub(crate) fn show_blocked(
        &self,
        mapping: &MappingId,
        blocked: BTreeMap<ShardId, BlockedShard>,
    ) {
        if let Some(entry) = self.lock().get_mut(mapping) {
            entry.blocked = blocked;
        }
    }

    /// Adds a mapping, or shows its changed row.
    pub(crate) fn show(&self, row: &MappingRow) {
        let mut mappings = self.lock();
        let entry = mappings.entry(row.id.clone()).or_default();
        entry.labels = Some(Labels::new(&row.id, &row.function_arn));
    }

    /// Removes a mapping without consumers.
    pub(crate) fn remove(&self, mapping: &MappingId) {
        self.lock().remove(mapping);
    }

    /// The mappings that this version cannot read.
    pub fn unreadable(&self) -> BTreeMap<MappingId, UnreadableMapping> {
        self.lock_unreadable().clone()
    }

    /// Shows that this version cannot read a mapping; `None` if it can.
    pub fn show_unreadable(&self, mapping: &MappingId, unreadable: Option<UnreadableMapping>) {
        let mut all = self.lock_unreadable();
        match unreadable {
            Some(unreadable) => all.insert(mapping.clone(), unreadable),
            None => all.remove(mapping),
        };
    }

    fn lock_unreadable(&self) -> MutexGuard<'_, BTreeMap<MappingId, UnreadableMapping>> {
        self.unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MappingId, MappingEntry>> {
        self.mappings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MappingEntry {
    /// What keeps a shard from its work comes before the result of the last invocation, which may
    /// be long ago.
    fn last_processing_result(&self) -> Cow<'static, str> {
        if let Some(problem) = &self.problem {
            return format!("PROBLEM: {problem}").into();
        }
        let mut units = self.units.values();
        let problem = units.find_map(|unit| text::shard_problem(&unit.lock().view));
        let result = problem.unwrap_or_else(|| last_processing_result(self.last_outcome));
        result.into()
    }
}

impl UnitEntry {
    fn status(&self) -> UnitStatus {
        let Published { view, lag } = &*self.lock();
        UnitStatus {
            view: view.clone(),
            lag: lag.clone(),
            limit: self.backpressure.limit(),
            errors: self.source_calls.errors(),
            overdue: self.source_calls.overdue(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Published> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnitHandle {
    pub fn backpressure(&self) -> &Backpressure {
        &self.entry.backpressure
    }

    pub(crate) fn source_calls(&self) -> &SourceCalls {
        &self.entry.source_calls
    }

    pub fn publish(&self, view: UnitView) {
        let mut published = self.entry.lock();
        if let UnitView::Shard(view) = &view {
            published.lag.record(view);
        }
        published.view = view;
    }
}

impl Drop for UnitHandle {
    fn drop(&mut self) {
        if let Some(entry) = self.board.lock().get_mut(&self.mapping) {
            entry.units.remove(&self.unit);
        }
    }
}
