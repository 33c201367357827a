//! Starts and stops drivers until what runs matches the mappings and leases of the store.
//!
//! It works in rounds, which begin on a timer, on a signal and when a task ends. Every round does the
//! same: it asks the store which mappings have changed since the last one, and reconciles these and
//! the mappings whose tasks have ended. At the start every mapping counts as changed, so a start, an
//! update, a failure and a restart take the same path. A round in which nothing has changed costs
//! the same however many mappings there are.

mod absent_shards;
mod connections;
mod discovery;
mod holds;
mod known;
mod lease_totals;
mod leases;
mod operator;
mod parks;
mod replay_ends;
mod replays;
mod schedule;
mod shard_reader;
mod skip;
mod stream_listing;
mod tasks;
mod wakeup;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use windlass_core::lease::{LeaseKey, Unit, WorkerId};
use windlass_core::mapping::{DesiredState, MappingId, Source};
use windlass_core::outcome::{Fault, Swap};
use windlass_core::parks::Parks;
use windlass_core::position::Position;
use windlass_core::reconcile::Running;
use windlass_core::replay::is_replay;
use windlass_core::shard::Finish;
use windlass_core::time::Timestamp;

use self::connections::{Connection, Connections};
pub(crate) use self::connections::{replayed, stretch_settings};
use self::discovery::Discovery;
use self::holds::{HeldUnits, Holds};
use self::known::KnownMapping;
use self::lease_totals::LeaseTotals;
pub use self::operator::{OperationError, Operator, Seek};
use self::replay_ends::ReplayEnds;
use self::schedule::Schedule;
pub use self::skip::{Skip, SkipRecords, SkipResult};
use self::stream_listing::StreamListing;
use self::tasks::{Subject, TaskEnd, Tasks};
pub use self::wakeup::Wakeup;
use crate::backoff::RetryDelay;
use crate::checkpoint_saver::CheckpointSaver;
use crate::clock::Clock;
use crate::dead_letters::DeadLetters;
use crate::jobs::{DryRuns, Jobs, Redriver};
use crate::memory::Budget;
use crate::ports::{AdapterFactory, ChangeNumber, PortError, Store, StoredMapping, chain};
use crate::run_unit::EngineContext;
use crate::settings::EngineSettings;
use crate::shared_reads::SharedReads;
use crate::slots::Slots;
use crate::status::{DaemonLimits, LeaseCounts, StatusBoard};
use crate::stop::{Stop, wait_for_stop, wait_for_stop_now};

/// Delays after errors of the store.
const STORE_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Delays before a unit that failed is restarted.
const RESTART_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Before a mapping that cannot run is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(60);

/// Between the starts of two rounds: what happens in the meantime is dealt with in one round.
const MIN_ROUND_INTERVAL: Duration = Duration::from_millis(100);

pub struct SupervisorParts {
    pub store: Arc<dyn Store>,
    pub adapters: Arc<dyn AdapterFactory>,
    pub board: Arc<StatusBoard>,
    pub clock: Clock,
    /// Identifies this daemon.
    pub worker: WorkerId,
    pub settings: EngineSettings,
    /// Bytes of events in memory, of all consumers.
    pub budget: Budget,
    /// Seeds the jitter of the consumers.
    pub seed: u64,
}

/// Supervises the drivers of one daemon.
pub struct Supervisor {
    context: EngineContext,
    store: Arc<dyn Store>,
    adapters: Arc<dyn AdapterFactory>,
    worker: WorkerId,
    wakeup: Wakeup,
    holds: Holds,
    jobs: Jobs,
    connections: Connections,
    discovery: Discovery,
    tasks: Tasks,
    /// Units that failed.
    restarts: BTreeMap<MappingId, BTreeMap<Unit, Restart>>,
    store_delay: RetryDelay,
    /// The last change of the store that was read.
    seen: ChangeNumber,
    /// The mappings of the store that can be read, as they were at that change.
    known: BTreeMap<MappingId, KnownMapping>,
    /// Mappings that the next round must look at: changed in the store, or with a task that ended.
    changed: BTreeSet<MappingId>,
    /// Mappings that the current round looks at. They stay here if it fails.
    round: BTreeSet<MappingId>,
    /// Mappings of this round whose leases could not be read to compare them with a listing.
    uncompared: BTreeSet<MappingId>,
    schedule: Schedule,
    lease_totals: LeaseTotals,
    replay_ends: ReplayEnds,
}

struct Restart {
    not_before: Timestamp,
    delay: RetryDelay,
}

impl Supervisor {
    pub fn new(parts: SupervisorParts) -> Self {
        let slots = Slots::new(parts.settings.invocation_limit);
        parts.board.show_limits(DaemonLimits {
            invocations: slots.clone(),
            queue_concurrency: parts.settings.queue_concurrency,
        });
        let context = EngineContext {
            saver: CheckpointSaver::new(Arc::clone(&parts.store)),
            dead_letters: DeadLetters::new(
                Arc::clone(&parts.store),
                parts.settings.dead_letters,
                parts.board.dead_letters(),
                parts.clock,
            ),
            board: parts.board,
            clock: parts.clock,
            settings: parts.settings,
            budget: parts.budget,
            slots,
            reads: SharedReads::default(),
            seed: parts.seed,
        };
        Self {
            connections: Connections::new(context.reads.clone()),
            context,
            store: parts.store,
            adapters: parts.adapters,
            worker: parts.worker,
            wakeup: Wakeup::default(),
            holds: Holds::default(),
            jobs: Jobs::default(),
            discovery: Discovery::default(),
            tasks: Tasks::default(),
            restarts: BTreeMap::new(),
            store_delay: RetryDelay::new(STORE_DELAYS.0, STORE_DELAYS.1),
            seen: ChangeNumber::default(),
            known: BTreeMap::new(),
            changed: BTreeSet::new(),
            round: BTreeSet::new(),
            uncompared: BTreeSet::new(),
            schedule: Schedule::default(),
            lease_totals: LeaseTotals::default(),
            replay_ends: ReplayEnds::default(),
        }
    }

    pub fn wakeup(&self) -> Wakeup {
        self.wakeup.clone()
    }

    /// What an operator does with the mappings that this supervisor runs.
    pub fn operator(&self) -> Operator {
        Operator {
            store: Arc::clone(&self.store),
            adapters: Arc::clone(&self.adapters),
            board: Arc::clone(&self.context.board),
            clock: self.context.clock,
            holds: self.holds.clone(),
            wakeup: self.wakeup.clone(),
            worker: self.worker.clone(),
            context: self.context.clone(),
            jobs: self.jobs.clone(),
        }
    }

    /// Starts redrives, which run while the supervisor does.
    pub fn redriver(&self) -> Redriver {
        Redriver {
            context: self.context.clone(),
            adapters: Arc::clone(&self.adapters),
            store: Arc::clone(&self.store),
            jobs: self.jobs.clone(),
        }
    }

    /// Starts dry runs of replays, which run while the supervisor does.
    pub fn dry_runs(&self) -> DryRuns {
        DryRuns {
            context: self.context.clone(),
            adapters: Arc::clone(&self.adapters),
            jobs: self.jobs.clone(),
        }
    }

    /// Runs until it is asked to stop. `Drain` lets every consumer finish and save what is in
    /// flight, and releases the leases; `Now` drops everything, which is safe at any time.
    pub async fn run(self, stop: watch::Receiver<Stop>) {
        let (saver, jobs) = (self.context.saver.clone(), self.jobs.clone());
        let dead_letters = self.context.dead_letters.clone();
        let holds = self.holds.clone();
        tokio::select! {
            biased;
            () = self.supervise(stop) => {}
            () = saver.run() => {}
            () = dead_letters.run() => {}
            () = jobs.run() => {}
        }
        holds.close();
    }

    async fn supervise(mut self, mut stop: watch::Receiver<Stop>) {
        loop {
            let started = Instant::now();
            let (earliest, latest) = match self.round().await {
                Ok(()) => {
                    self.store_delay.reset();
                    let earliest = started + MIN_ROUND_INTERVAL;
                    (
                        earliest,
                        earliest.max(Instant::now() + self.until_next_round()),
                    )
                }
                Err(error) => {
                    tracing::error!("{}; retrying", chain(&error));
                    self.context.board.show_leases(None);
                    let retry = Instant::now() + self.store_delay.next_delay();
                    (retry, retry)
                }
            };
            match self.wait(earliest, latest, &mut stop).await {
                Stop::No => {}
                Stop::Drain => return self.drain(stop).await,
                Stop::Now => return,
            }
        }
    }

    /// Waits for the next round: until `latest`, or until `earliest` if there is something to do.
    async fn wait(
        &mut self,
        earliest: Instant,
        latest: Instant,
        stop: &mut watch::Receiver<Stop>,
    ) -> Stop {
        let wakeup = self.wakeup.clone();
        let mut at = latest;
        loop {
            tokio::select! {
                biased;
                stop = wait_for_stop(stop) => return stop,
                Some(end) = self.tasks.next_end() => {
                    self.handle_task_end(end);
                    at = earliest;
                }
                () = wakeup.notified() => at = earliest,
                () = tokio::time::sleep_until(at) => return Stop::No,
            }
        }
    }

    /// Compares what should run with what runs, and applies the differences: of the mappings that
    /// have changed, whose tasks have ended or whose time has come. A round that fails is repeated.
    async fn round(&mut self) -> Result<(), PortError> {
        self.read_changes().await?;
        let now = self.context.clock.now();
        self.changed.extend(self.schedule.take_due(now));
        self.changed.extend(self.holds.take_changed());
        self.round.append(&mut self.changed);
        self.prepare(&self.round.clone(), now);
        if self.sync_lease_rows(now).await? {
            // What has changed since then is looked at in the next round as well.
            self.read_changes().await?;
            self.prepare(&self.changed.clone(), now);
        }
        self.start_and_stop(now).await?;
        for id in self.round.clone() {
            self.finish(&id, now).await?;
        }
        self.round.clear();
        let board = &self.context.board;
        board.show_leases(Some(self.lease_totals.sum()));
        board.round_finished(self.context.settings.reconcile_interval);
        Ok(())
    }

    async fn read_changes(&mut self) -> Result<(), PortError> {
        let changes = self.store.changes(self.seen).await?;
        self.seen = changes.last;
        let board = &self.context.board;
        for (id, stored) in changes.mappings {
            let mut unreadable = None;
            match stored {
                StoredMapping::Readable(row, leases, overrides) => {
                    board.show(&row);
                    let replay = None;
                    let known = KnownMapping {
                        row,
                        leases,
                        overrides,
                        replay,
                    };
                    self.known.insert(id.clone(), known);
                }
                StoredMapping::Replay(row, leases) => {
                    let known = KnownMapping::of_replay(*row, leases);
                    match known {
                        Some(known) => self.known.insert(id.clone(), known),
                        None => self.known.remove(&id),
                    };
                }
                StoredMapping::Unreadable(mapping) => {
                    let reason = &mapping.reason;
                    tracing::error!(uuid = %id, reason, "mapping cannot run: it cannot be read");
                    self.known.remove(&id);
                    unreadable = Some(mapping);
                }
                StoredMapping::Removed => {
                    self.known.remove(&id);
                }
            }
            board.show_unreadable(&id, unreadable);
            self.changed.insert(id);
        }
        Ok(())
    }

    /// Connects mappings and starts the listings that are due; shows what earlier calls found of the
    /// sources' clocks.
    fn prepare(&mut self, ids: &BTreeSet<MappingId>, now: Timestamp) {
        let (board, clock) = (&self.context.board, self.context.clock);
        for id in ids {
            match self.known.get(id) {
                Some(known) => {
                    self.connections
                        .update(known, &*self.adapters, board, clock);
                }
                None => self.connections.remove(id),
            }
            let Some(connected) = self.connections.get(id) else {
                self.discovery.remove(id);
                self.restarts.remove(id);
                self.replay_ends.remove(id);
                continue;
            };
            if let (Connection::Stream { reader, .. }, Source::Stream(stream)) =
                (&connected.connection, &connected.mapping.source)
            {
                board.set_clock_difference(id, reader.clock_difference(), clock);
                if let Some(history) = self.discovery.start(id, now) {
                    let known = self.known.get(id);
                    let replay = known.and_then(|known| known.replay.as_ref());
                    let listing = StreamListing {
                        reader: Arc::clone(reader),
                        history,
                        rows: known.map_or_else(Vec::new, |it| it.leases.clone()),
                        parks: known.map_or_else(Parks::default, |it| it.overrides.parks.clone()),
                        stretch: replay.map(|replay| replay.shards.clone()),
                        start: stream.settings.start(),
                        mapping: id.clone(),
                        board: Arc::clone(board),
                        clock: self.context.clock,
                    };
                    self.tasks.spawn_listing(id.clone(), listing.run());
                }
            }
        }
    }

    /// Ends the transition of a mapping, and shows what runs of it.
    async fn finish(&mut self, id: &MappingId, now: Timestamp) -> Result<(), PortError> {
        let running = self.tasks.running_of(id);
        let is_uncompared = self.uncompared.remove(id);
        let held = self.held(id, now);
        let cancel_at = held.as_ref().and_then(|(units, cancel_at)| {
            let mut running = running.keys();
            let is_running = running.any(|key| units.covers(&key.unit));
            if !is_running {
                self.holds.set_stopped(id);
            }
            is_running.then_some(*cancel_at)
        });
        let Some(known) = self.known.get(id) else {
            if running.is_empty() {
                self.context.board.remove(id);
            }
            self.lease_totals.set(id, LeaseCounts::default());
            self.schedule.set(id, None);
            return Ok(());
        };
        let is_held = |key: &LeaseKey| {
            let held = held.as_ref();
            held.is_some_and(|(units, _)| units.covers(&key.unit)) || known.is_parked(key)
        };
        match &known.replay {
            Some(replay) => self.finish_replay(known, replay).await?,
            None => self.finish_transition(known, &running, is_held).await?,
        }
        self.show_blocked(id);
        let is_connected = self.connections.get(id).is_some();
        // Readiness and metrics are about mappings.
        let is_counted = is_connected && known.replay.is_none();
        let leases = known.leases.iter();
        let leases = leases.filter(|it| is_counted && !it.waits);
        let runs = |key: &LeaseKey| running.contains_key(key) || is_held(key);
        let counts = LeaseCounts::of(leases, runs, &self.worker);
        self.lease_totals.set(id, counts);
        let is_unconnected = !is_connected && known.row.desired == DesiredState::Enabled;
        let retry = (is_unconnected || is_uncompared).then_some(now + RETRY_DELAY);
        let restarts = self.restarts.get(id).into_iter().flatten();
        let restarts = restarts.map(|(_, restart)| restart.not_before);
        let cancel = cancel_at.filter(|at| now < *at);
        let times = restarts.filter(|at| now < *at).chain(retry).chain(cancel);
        self.schedule
            .set(id, times.chain(self.discovery.due(id)).min());
        Ok(())
    }

    /// Ends the transition of a mapping whose consumers are as they should be: marks it as applied,
    /// or removes it.
    async fn finish_transition(
        &self,
        known: &KnownMapping,
        running: &BTreeMap<LeaseKey, Running>,
        is_held: impl Fn(&LeaseKey) -> bool,
    ) -> Result<(), PortError> {
        let row = &known.row;
        match row.desired {
            DesiredState::Disabled => {}
            DesiredState::Deleted => {
                if running.is_empty()
                    && self.store.remove(&row.id, row.revision).await? == Swap::Done
                {
                    tracing::info!(uuid = %row.id, "mapping deleted");
                }
            }
            DesiredState::Enabled => {
                let connected = self.connections.get(&row.id);
                let is_listed = connected.is_some_and(|connected| match connected.connection {
                    Connection::Stream { .. } => self.discovery.history(&row.id).is_some(),
                    Connection::Queue { .. } => true,
                });
                let mut versions = running.values();
                let is_up_to_date = versions.all(|versions| versions.revision == row.revision);
                let leases = known.leases.iter();
                let mut open = leases.filter(|it| {
                    let is_open = it.checkpoint.position != Position::ShardEnd;
                    is_open && !it.waits && !is_held(&it.key)
                });
                if is_listed && is_up_to_date && open.all(|it| running.contains_key(&it.key)) {
                    self.context.board.applied(&row.id, row.revision);
                }
            }
        }
        Ok(())
    }

    /// What an operation holds of a mapping, and when it is cancelled.
    fn held(&self, id: &MappingId, now: Timestamp) -> Option<(HeldUnits, Timestamp)> {
        let drain_timeout = self.context.settings.drain_timeout;
        self.holds.of(id, now + drain_timeout)
    }

    fn handle_task_end(&mut self, end: TaskEnd) {
        let now = self.context.clock.now();
        self.changed.insert(end.mapping().clone());
        match end {
            TaskEnd::Unit(key, finish) => {
                let (uuid, unit) = (&key.mapping, key.unit.name());
                tracing::info!(%uuid, unit, ?finish, "stopped");
                match finish {
                    Some(finish @ (Finish::ShardEnd | Finish::StretchEnd)) => {
                        self.forget_failures(&key);
                        if finish == Finish::StretchEnd {
                            self.replay_ends.add_end(&key);
                        }
                        self.discovery.handle_shard_end(&key.mapping, now);
                    }
                    Some(Finish::LeaseLost) => {
                        tracing::warn!(%uuid, unit, "lease lost while in use");
                        self.postpone(key, now);
                    }
                    Some(Finish::Drained) | None => self.forget_failures(&key),
                }
            }
            TaskEnd::Listing(mapping, result) => {
                let interval = self.context.settings.discovery_interval;
                let problem = result.as_ref().err().map(|error| chain(error));
                if let Some(problem) = &problem {
                    tracing::warn!(uuid = %mapping, problem, "cannot list the shards");
                }
                if is_replay(&mapping)
                    && let Err(error) = &result
                    && error.fault == Fault::Gone
                {
                    // A stream that is created again has other records.
                    let reason = format!("its stream is gone: {}", chain(error));
                    self.replay_ends.set_failed(&mapping, reason);
                }
                if self.known.contains_key(&mapping) {
                    self.context.board.problem(&mapping, problem);
                }
                self.discovery
                    .handle_end(&mapping, result.ok(), interval, now);
            }
            TaskEnd::Panic(Subject::Unit(key), error) => {
                tracing::error!(
                    uuid = %key.mapping, unit = key.unit.name(), %error, "driver panicked"
                );
                self.postpone(key, now);
            }
            TaskEnd::Panic(Subject::Listing(mapping), error) => {
                tracing::error!(uuid = %mapping, %error, "listing panicked");
                self.discovery
                    .handle_end(&mapping, None, Duration::ZERO, now);
            }
        }
    }

    fn forget_failures(&mut self, key: &LeaseKey) {
        if let Some(units) = self.restarts.get_mut(&key.mapping) {
            units.remove(&key.unit);
        }
    }

    /// Delays the restart of a unit that failed.
    fn postpone(&mut self, key: LeaseKey, now: Timestamp) {
        let units = self.restarts.entry(key.mapping).or_default();
        let restart = units.entry(key.unit).or_insert_with(|| Restart {
            not_before: now,
            delay: RetryDelay::new(RESTART_DELAYS.0, RESTART_DELAYS.1),
        });
        if RESTART_DELAYS.1 < now.since(restart.not_before) {
            // It has run well since the last failure.
            restart.delay.reset();
        }
        restart.not_before = now + restart.delay.next_delay();
    }

    fn until_next_round(&self) -> Duration {
        if !self.changed.is_empty() {
            return Duration::ZERO;
        }
        let now = self.context.clock.now();
        let regular = now + self.context.settings.reconcile_interval;
        let first = self.schedule.first();
        first.map_or(regular, |at| at.min(regular)).since(now)
    }

    /// Lets every consumer finish what is in flight, releases the leases, and closes the functions.
    async fn drain(mut self, mut stop: watch::Receiver<Stop>) {
        self.holds.close();
        self.tasks.drain_all();
        self.jobs.drain();
        while !self.tasks.is_idle() {
            tokio::select! {
                biased;
                stop = wait_for_stop(&mut stop) => {
                    if stop == Stop::Now {
                        return;
                    }
                }
                Some(end) = self.tasks.next_end() => self.handle_task_end(end),
            }
        }
        tokio::select! {
            biased;
            () = self.jobs.idle() => {}
            () = wait_for_stop_now(&mut stop) => return,
        }
        if let Err(error) = self.release_leases().await {
            tracing::warn!("{}; leases not released", chain(&error));
        }
        self.connections.close_targets().await;
    }
}
