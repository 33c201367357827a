//! Compares, again and again, what should run with what runs, and starts and stops drivers.
//!
//! It wakes on a timer and on a signal, and does the same thing at every wake-up: it reads mappings
//! and leases and reconciles. It takes no hint about what has changed, so there is one path for a
//! start, an update, a failure and a restart.

mod discovery;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use windlass_core::lease::{Lease, LeaseKey, Unit, WorkerId};
use windlass_core::mapping::{DesiredState, Mapping, MappingId, MappingRow, Source};
use windlass_core::outcome::Swap;
use windlass_core::position::Position;
use windlass_core::reconcile::{Action, Running, reconcile};
use windlass_core::shard::Finish;
use windlass_core::shard::lineage::{self, Shard};
use windlass_core::time::Timestamp;
use windlass_core::validate;

use self::discovery::Discovery;
use crate::clock::Clock;
use crate::memory::Budget;
use crate::ports::{AdapterFactory, PortError, Store, chain};
use crate::run_unit::{self, Connection, EngineContext, Reader};
use crate::settings::EngineSettings;
use crate::status::{DaemonLimits, LeaseCounts, StatusBoard};
use crate::stop::{Stop, wait_for_stop};

/// Before the store is tried again after it has failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Before a consumer that has failed is started again: the first pause, doubled each time, and the
/// last.
const RESTART_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Tells a supervisor that something in the store has changed.
#[derive(Clone, Debug, Default)]
pub struct Wakeup(Arc<Notify>);

/// What a supervisor is made of.
pub struct SupervisorParts {
    /// Mappings, leases and checkpoints.
    pub store: Arc<dyn Store>,
    /// Makes readers and targets.
    pub adapters: Arc<dyn AdapterFactory>,
    /// Where the drivers say how it goes.
    pub board: Arc<StatusBoard>,
    /// The daemon's clock.
    pub clock: Clock,
    /// This daemon.
    pub worker: WorkerId,
    /// How it behaves.
    pub settings: EngineSettings,
    /// The bytes that all consumers share.
    pub budget: Budget,
    /// Decides the jitter of every backoff.
    pub seed: u64,
}

/// Supervises the drivers of one daemon.
pub struct Supervisor {
    context: EngineContext,
    adapters: Arc<dyn AdapterFactory>,
    worker: WorkerId,
    wakeup: Wakeup,
    tasks: JoinSet<TaskEnd>,
    /// To know which unit a task was that panicked.
    units_by_task: BTreeMap<tokio::task::Id, LeaseKey>,
    running: BTreeMap<LeaseKey, RunningUnit>,
    connections: BTreeMap<MappingId, (Mapping, Connection)>,
    discovery: Discovery,
    restarts: BTreeMap<LeaseKey, Restart>,
}

struct RunningUnit {
    identity: Running,
    stop: watch::Sender<Stop>,
}

#[derive(Clone, Copy)]
struct Restart {
    failures: u32,
    not_before: Timestamp,
}

enum TaskEnd {
    Unit(LeaseKey, Option<Finish>),
    Listed(MappingId, Result<Vec<Shard>, PortError>),
}

impl Wakeup {
    /// Something has changed.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

impl Supervisor {
    /// A supervisor that runs nothing yet.
    pub fn new(parts: SupervisorParts) -> Self {
        let slots = Budget::of_invocations(parts.settings.invocation_limit);
        parts.board.show_limits(DaemonLimits {
            invocations: slots.clone(),
            queue_concurrency: parts.settings.queue_concurrency,
        });
        let context = EngineContext {
            store: parts.store,
            board: parts.board,
            clock: parts.clock,
            settings: parts.settings,
            budget: parts.budget,
            slots,
            seed: parts.seed,
        };
        Self {
            context,
            adapters: parts.adapters,
            worker: parts.worker,
            wakeup: Wakeup::default(),
            tasks: JoinSet::new(),
            units_by_task: BTreeMap::new(),
            running: BTreeMap::new(),
            connections: BTreeMap::new(),
            discovery: Discovery::default(),
            restarts: BTreeMap::new(),
        }
    }

    /// Wakes this supervisor.
    pub fn wakeup(&self) -> Wakeup {
        self.wakeup.clone()
    }

    /// Runs until it is told to stop: `Drain` lets every consumer finish what it has begun, saves,
    /// and gives the leases back; `Now` drops everything, which is safe at any instant.
    pub async fn run(mut self, mut stop: watch::Receiver<Stop>) {
        loop {
            let pause = match self.round().await {
                Ok(()) => self.until_next_round(),
                Err(error) => {
                    tracing::error!("{}; trying again", chain(&error));
                    self.context.board.show_leases(None);
                    STORE_PAUSE
                }
            };
            let wakeup = Arc::clone(&self.wakeup.0);
            tokio::select! {
                biased;
                told = wait_for_stop(&mut stop) => match told {
                    Stop::No => {}
                    Stop::Drain => return self.drain(stop).await,
                    Stop::Now => return,
                },
                Some(end) = self.tasks.join_next_with_id() => self.handle_task_end(end),
                () = wakeup.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            while let Some(end) = self.tasks.try_join_next_with_id() {
                self.handle_task_end(end);
            }
        }
    }

    /// One comparison of what should run with what runs.
    async fn round(&mut self) -> Result<(), PortError> {
        let rows = self.context.store.mappings().await?;
        let mut leases = self.context.store.leases().await?;
        self.context.board.keep(&rows);
        let mappings = self.connect_all(&rows);
        self.discover(&mappings);
        if self.sync_lease_rows(&mappings, &leases).await? {
            leases = self.context.store.leases().await?;
        }
        let wanted = rows
            .iter()
            .filter(|row| row.desired != DesiredState::Enabled || mappings.contains_key(&row.id));
        let wanted = wanted
            .map(|row| (row.id.clone(), (row.revision, row.desired)))
            .collect();
        let running = self
            .running
            .iter()
            .map(|(key, unit)| (key.clone(), unit.identity))
            .collect();
        for action in reconcile(&wanted, &leases, &running) {
            match action {
                Action::Stop(key) => self.stop(&key),
                Action::Start(key) => {
                    let lease = leases.iter().find(|lease| lease.key == key);
                    let lease = lease.expect("an action is about a lease that was given");
                    self.start(lease, &mappings[&key.mapping]).await?;
                }
            }
        }
        for row in &rows {
            self.finish_transition(row, &leases).await?;
        }
        let leases = leases.iter();
        let of_mappings = leases.filter(|lease| mappings.contains_key(&lease.key.mapping));
        let runs = |key: &LeaseKey| self.running.contains_key(key);
        let counts = LeaseCounts::of(of_mappings, runs, &self.worker);
        self.context.board.show_leases(Some(counts));
        Ok(())
    }

    /// The enabled mappings that can run, with their adapters.
    fn connect_all(&mut self, rows: &[MappingRow]) -> BTreeMap<MappingId, Mapping> {
        let mut mappings = BTreeMap::new();
        for row in rows
            .iter()
            .filter(|row| row.desired == DesiredState::Enabled)
        {
            let known = self.connections.get(&row.id);
            if let Some((mapping, _)) = known.filter(|(it, _)| it.revision == row.revision) {
                mappings.insert(row.id.clone(), mapping.clone());
                continue;
            }
            let connected = validate::mapping(row)
                .map_err(|violations| {
                    violations
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join("; ")
                })
                .and_then(|mapping| {
                    let connection = Connection::new(&*self.adapters, &mapping);
                    connection
                        .map(|it| (mapping, it))
                        .map_err(|error| chain(&error))
                });
            match connected {
                Ok((mapping, connection)) => {
                    self.context.board.problem(&row.id, None);
                    mappings.insert(row.id.clone(), mapping.clone());
                    self.connections
                        .insert(row.id.clone(), (mapping, connection));
                }
                Err(problem) => {
                    tracing::error!(uuid = %row.id, problem, "a mapping cannot run");
                    self.context.board.problem(&row.id, Some(problem));
                }
            }
        }
        self.connections.retain(|id, _| mappings.contains_key(id));
        self.discovery.retain(|id| mappings.contains_key(id));
        mappings
    }

    /// Starts the listings that are due.
    fn discover(&mut self, mappings: &BTreeMap<MappingId, Mapping>) {
        let now = self.context.clock.now();
        for id in mappings.keys() {
            let (_, connection) = &self.connections[id];
            let Reader::Stream(reader) = &connection.reader else {
                continue;
            };
            if self.discovery.begin(id, now) {
                let (id, reader) = (id.clone(), Arc::clone(reader));
                self.tasks
                    .spawn(async move { TaskEnd::Listed(id, reader.list_shards().await) });
            }
        }
    }

    /// Adds and removes rows as the shards of streams come and go; whether anything changed.
    async fn sync_lease_rows(
        &mut self,
        mappings: &BTreeMap<MappingId, Mapping>,
        leases: &[Lease],
    ) -> Result<bool, PortError> {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (id, mapping) in mappings {
            let of_mapping: Vec<_> = leases.iter().filter(|it| it.key.mapping == *id).collect();
            let new = |unit: Unit, checkpoint: Position| Lease {
                key: LeaseKey {
                    mapping: id.clone(),
                    unit,
                },
                owner: None,
                epoch: 0,
                checkpoint,
            };
            let settings = match &mapping.source {
                Source::Queue(_) => {
                    if of_mapping.is_empty() {
                        added.push(new(Unit::QueueSlot(0), Position::TrimHorizon));
                    }
                    continue;
                }
                Source::Stream(stream) => &stream.settings,
            };
            let Some(shards) = self.discovery.shards(id) else {
                continue;
            };
            let stored = of_mapping.iter().filter_map(|lease| match &lease.key.unit {
                Unit::Shard(shard) => Some((shard.clone(), lease.checkpoint.clone())),
                Unit::QueueSlot(_) => None,
            });
            let plan = lineage::plan(shards, &stored.collect(), &settings.starting_position);
            for shard in &plan.expired {
                tracing::warn!(uuid = %id, %shard, "a shard has left the stream unfinished");
            }
            let gone: Vec<_> = plan.remove.iter().chain(&plan.expired).cloned().collect();
            removed.extend(of_mapping.into_iter().filter(|lease| {
                matches!(&lease.key.unit, Unit::Shard(shard) if gone.contains(shard))
            }).cloned());
            let inserts = plan.insert.into_iter();
            added.extend(inserts.map(|(shard, from)| new(Unit::Shard(shard), from)));
        }
        if added.is_empty() && removed.is_empty() {
            return Ok(false);
        }
        self.context.store.insert(&added).await?;
        self.context.store.remove_leases(&removed).await?;
        Ok(true)
    }

    /// Takes a lease and starts its consumer.
    async fn start(&mut self, lease: &Lease, mapping: &Mapping) -> Result<(), PortError> {
        let now = self.context.clock.now();
        if self
            .restarts
            .get(&lease.key)
            .is_some_and(|restart| now < restart.not_before)
        {
            return Ok(());
        }
        let owner = Some(self.worker.clone());
        let taken = Lease {
            owner,
            epoch: lease.epoch + 1,
            ..lease.clone()
        };
        if self.context.store.compare_and_swap(lease, &taken).await? == Swap::Conflict {
            return Ok(()); // Somebody else was faster; the next round looks again.
        }
        let (_, connection) = &self.connections[&mapping.id];
        let (stop, stopped) = watch::channel(Stop::No);
        let identity = Running {
            revision: mapping.revision,
            epoch: taken.epoch,
        };
        let key = lease.key.clone();
        tracing::info!(
            uuid = %mapping.id, unit = key.unit.name(), epoch = taken.epoch,
            position = taken.checkpoint.kind(), "started"
        );
        let run = run_unit::run(
            self.context.clone(),
            mapping.clone(),
            connection.clone(),
            taken,
            stopped,
        );
        let of_task = key.clone();
        let task = self
            .tasks
            .spawn(async move { TaskEnd::Unit(of_task, run.await) });
        self.units_by_task.insert(task.id(), key.clone());
        self.running.insert(key, RunningUnit { identity, stop });
        Ok(())
    }

    fn stop(&self, key: &LeaseKey) {
        self.running[key].stop.send_if_modified(|stop| {
            let begins = *stop == Stop::No;
            if begins {
                *stop = Stop::Drain;
            }
            begins
        });
    }

    /// What is left to do for a mapping whose consumers are as they should be.
    async fn finish_transition(&self, row: &MappingRow, leases: &[Lease]) -> Result<(), PortError> {
        let mut units = self.running.iter().filter(|(key, _)| key.mapping == row.id);
        match row.desired {
            DesiredState::Disabled => {}
            DesiredState::Deleted => {
                if units.next().is_none()
                    && self.context.store.remove(&row.id, row.revision).await? == Swap::Done
                {
                    tracing::info!(uuid = %row.id, "mapping deleted");
                }
            }
            DesiredState::Enabled => {
                let listed = match self.connections.get(&row.id) {
                    None => false,
                    Some((_, connection)) => match &connection.reader {
                        Reader::Stream(_) => self.discovery.shards(&row.id).is_some(),
                        Reader::Queue(_) => true,
                    },
                };
                let up_to_date = units.all(|(_, unit)| unit.identity.revision == row.revision);
                let of_mapping = leases.iter().filter(|lease| lease.key.mapping == row.id);
                let open = |lease: &&Lease| lease.checkpoint != Position::ShardEnd;
                let all_run = of_mapping
                    .filter(open)
                    .all(|it| self.running.contains_key(&it.key));
                if listed && up_to_date && all_run {
                    self.context.board.applied(&row.id, row.revision);
                }
            }
        }
        Ok(())
    }

    fn handle_task_end(&mut self, end: Result<(tokio::task::Id, TaskEnd), JoinError>) {
        let now = self.context.clock.now();
        match end {
            Ok((task, TaskEnd::Unit(key, finish))) => {
                self.units_by_task.remove(&task);
                self.running.remove(&key);
                let unit = key.unit.name();
                tracing::info!(uuid = %key.mapping, unit, ?finish, "stopped");
                match finish {
                    Some(Finish::ShardEnd) => {
                        self.restarts.remove(&key);
                        self.discovery.shard_ended(&key.mapping, now);
                    }
                    Some(Finish::LeaseLost) => {
                        tracing::warn!(uuid = %key.mapping, unit, "the lease was lost while in use");
                        self.postpone(key, now);
                    }
                    Some(Finish::Drained) | None => {
                        self.restarts.remove(&key);
                    }
                }
            }
            Ok((_, TaskEnd::Listed(mapping, listed))) => {
                let interval = self.context.settings.discovery_interval;
                let problem = listed.as_ref().err().map(|error| chain(error));
                if let Some(problem) = &problem {
                    tracing::warn!(uuid = %mapping, problem, "the shards cannot be listed");
                }
                self.context.board.problem(&mapping, problem);
                self.discovery.ended(&mapping, listed.ok(), interval, now);
            }
            Err(error) => {
                let Some(key) = self.units_by_task.remove(&error.id()) else {
                    tracing::error!(%error, "a listing has panicked");
                    return;
                };
                tracing::error!(uuid = %key.mapping, unit = key.unit.name(), %error, "a driver has panicked");
                self.running.remove(&key);
                self.postpone(key, now);
            }
        }
    }

    fn postpone(&mut self, key: LeaseKey, now: Timestamp) {
        let (first, last) = RESTART_PAUSES;
        let restart = self.restarts.entry(key).or_insert(Restart {
            failures: 0,
            not_before: now,
        });
        restart.not_before = now + (first * 2_u32.pow(restart.failures.min(6))).min(last);
        restart.failures = restart.failures.saturating_add(1);
    }

    fn until_next_round(&self) -> Duration {
        let now = self.context.clock.now();
        let regular = now + self.context.settings.reconcile_interval;
        let restarts = self.restarts.values().map(|restart| restart.not_before);
        let due = restarts.filter(|at| now < *at).chain(self.discovery.due());
        due.fold(regular, Timestamp::min).since(now)
    }

    /// Lets every consumer finish what it has begun, and gives the leases back.
    async fn drain(mut self, mut stop: watch::Receiver<Stop>) {
        for key in self.running.keys() {
            self.stop(key);
        }
        while !self.running.is_empty() {
            tokio::select! {
                biased;
                told = wait_for_stop(&mut stop) => {
                    if told == Stop::Now {
                        return;
                    }
                }
                Some(end) = self.tasks.join_next_with_id() => self.handle_task_end(end),
            }
        }
        if let Err(error) = self.release().await {
            tracing::warn!("{}; the leases stay with this daemon", chain(&error));
        }
    }

    async fn release(&self) -> Result<(), PortError> {
        for lease in self.context.store.leases().await? {
            if lease.owner.as_ref() == Some(&self.worker) {
                let free = Lease {
                    owner: None,
                    ..lease.clone()
                };
                // A lost race means that somebody else has it already.
                self.context.store.compare_and_swap(&lease, &free).await?;
            }
        }
        Ok(())
    }
}
