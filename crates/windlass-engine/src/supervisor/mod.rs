//! Starts and stops drivers until what runs matches the mappings and leases of the store.
//!
//! It wakes on a timer and on a signal, and does the same at every wake-up: it reads mappings and
//! leases and reconciles. It takes no hint about what has changed, so a start, an update, a failure
//! and a restart take the same path.

mod absent_shards;
mod connections;
mod discovery;
mod leases;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use windlass_core::lease::{Lease, LeaseKey, WorkerId};
use windlass_core::mapping::{DesiredState, MappingRow};
use windlass_core::outcome::Swap;
use windlass_core::position::Position;
use windlass_core::reconcile::{Action, reconcile};
use windlass_core::shard::Finish;
use windlass_core::time::Timestamp;

use self::connections::{Connection, Connections};
use self::discovery::Discovery;
use self::tasks::{Subject, TaskEnd, Tasks};
use crate::backoff::RetryDelay;
use crate::clock::Clock;
use crate::memory::Budget;
use crate::ports::{AdapterFactory, PortError, Store, chain};
use crate::run_unit::EngineContext;
use crate::settings::EngineSettings;
use crate::status::{DaemonLimits, LeaseCounts, StatusBoard};
use crate::stop::{Stop, wait_for_stop};

/// Delays after errors of the store.
const STORE_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Delays before a unit that failed is restarted.
const RESTART_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Tells a supervisor that something in the store has changed.
#[derive(Clone, Debug, Default)]
pub struct Wakeup(Arc<Notify>);

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
    adapters: Arc<dyn AdapterFactory>,
    worker: WorkerId,
    wakeup: Wakeup,
    connections: Connections,
    discovery: Discovery,
    tasks: Tasks,
    /// Units that failed.
    restarts: BTreeMap<LeaseKey, Restart>,
    store_delay: RetryDelay,
}

struct Restart {
    not_before: Timestamp,
    delay: RetryDelay,
}

impl Wakeup {
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

impl Supervisor {
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
            connections: Connections::default(),
            discovery: Discovery::default(),
            tasks: Tasks::default(),
            restarts: BTreeMap::new(),
            store_delay: RetryDelay::new(STORE_DELAYS.0, STORE_DELAYS.1),
        }
    }

    pub fn wakeup(&self) -> Wakeup {
        self.wakeup.clone()
    }

    /// Runs until it is asked to stop. `Drain` lets every consumer finish and save what is in
    /// flight, and releases the leases; `Now` drops everything, which is safe at any time.
    pub async fn run(mut self, mut stop: watch::Receiver<Stop>) {
        loop {
            let pause = match self.round().await {
                Ok(()) => {
                    self.store_delay.reset();
                    self.until_next_round()
                }
                Err(error) => {
                    tracing::error!("{}; retrying", chain(&error));
                    self.context.board.show_leases(None);
                    self.store_delay.next_delay()
                }
            };
            let wakeup = Arc::clone(&self.wakeup.0);
            tokio::select! {
                biased;
                stop_now = wait_for_stop(&mut stop) => match stop_now {
                    Stop::No => {}
                    Stop::Drain => return self.drain(stop).await,
                    Stop::Now => return,
                },
                Some(end) = self.tasks.next_end() => self.handle_task_end(end),
                () = wakeup.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            while let Some(end) = self.tasks.try_next_end() {
                self.handle_task_end(end);
            }
        }
    }

    /// Compares what should run with what runs, and applies the differences.
    async fn round(&mut self) -> Result<(), PortError> {
        let rows = self.context.store.mappings().await?;
        let mut leases = self.context.store.leases().await?;
        self.context.board.keep(&rows);
        self.connections
            .update(&rows, &*self.adapters, &self.context.board);
        let connections = &self.connections;
        self.discovery.retain(|id| connections.contains(id));
        self.restarts
            .retain(|key, _| connections.contains(&key.mapping));
        self.discover();
        if self.sync_lease_rows(&leases).await? {
            leases = self.context.store.leases().await?;
        }
        let wanted = rows.iter().filter(|row| {
            row.desired != DesiredState::Enabled || self.connections.contains(&row.id)
        });
        let wanted = wanted.map(|row| (row.id.clone(), (row.revision, row.desired)));
        let running = self.tasks.running().map(|(key, it)| (key.clone(), it));
        for action in reconcile(&wanted.collect(), &leases, &running.collect()) {
            match action {
                Action::Stop(key) => self.tasks.drain(&key),
                Action::Start(key) => {
                    let lease = leases.iter().find(|lease| lease.key == key);
                    let lease = lease.expect("actions name leases that were given");
                    self.start(lease).await?;
                }
            }
        }
        for row in &rows {
            self.finish_transition(row, &leases).await?;
        }
        let of_connected = leases
            .iter()
            .filter(|lease| self.connections.contains(&lease.key.mapping));
        let runs = |key: &LeaseKey| self.tasks.is_running(key);
        let counts = LeaseCounts::of(of_connected, runs, &self.worker);
        self.context.board.show_leases(Some(counts));
        self.context
            .board
            .round_finished(self.context.settings.reconcile_interval);
        Ok(())
    }

    /// Starts the listings that are due, and shows what earlier calls found of the sources' clocks.
    fn discover(&mut self) {
        let now = self.context.clock.now();
        for (id, connected) in self.connections.iter() {
            let Connection::Stream { reader, .. } = &connected.connection else {
                continue;
            };
            let difference = reader.clock_difference();
            self.context.board.set_clock_difference(id, difference);
            if self.discovery.start(id, now) {
                let reader = Arc::clone(reader);
                self.tasks
                    .spawn_listing(id.clone(), async move { reader.list_shards().await });
            }
        }
    }

    /// Ends the transition of a mapping whose consumers are as they should be: marks it as applied,
    /// or removes it.
    async fn finish_transition(&self, row: &MappingRow, leases: &[Lease]) -> Result<(), PortError> {
        let mut running = self.tasks.running_of(&row.id);
        match row.desired {
            DesiredState::Disabled => {}
            DesiredState::Deleted => {
                if running.next().is_none()
                    && self.context.store.remove(&row.id, row.revision).await? == Swap::Done
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
                let is_up_to_date = running.all(|versions| versions.revision == row.revision);
                let mut open = leases.iter().filter(|lease| {
                    lease.key.mapping == row.id && lease.checkpoint.position != Position::ShardEnd
                });
                if is_listed && is_up_to_date && open.all(|it| self.tasks.is_running(&it.key)) {
                    self.context.board.applied(&row.id, row.revision);
                }
            }
        }
        Ok(())
    }

    fn handle_task_end(&mut self, end: TaskEnd) {
        let now = self.context.clock.now();
        match end {
            TaskEnd::Unit(key, finish) => {
                let (uuid, unit) = (&key.mapping, key.unit.name());
                tracing::info!(%uuid, unit, ?finish, "stopped");
                match finish {
                    Some(Finish::ShardEnd) => {
                        self.restarts.remove(&key);
                        self.discovery.handle_shard_end(&key.mapping, now);
                    }
                    Some(Finish::LeaseLost) => {
                        tracing::warn!(%uuid, unit, "lease lost while in use");
                        self.postpone(key, now);
                    }
                    Some(Finish::Drained) | None => {
                        self.restarts.remove(&key);
                    }
                }
            }
            TaskEnd::Listing(mapping, result) => {
                let interval = self.context.settings.discovery_interval;
                let problem = result.as_ref().err().map(|error| chain(error));
                if let Some(problem) = &problem {
                    tracing::warn!(uuid = %mapping, problem, "cannot list the shards");
                }
                self.context.board.problem(&mapping, problem);
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

    /// Delays the restart of a unit that failed.
    fn postpone(&mut self, key: LeaseKey, now: Timestamp) {
        let restart = self.restarts.entry(key).or_insert_with(|| Restart {
            not_before: now,
            delay: RetryDelay::new(RESTART_DELAYS.0, RESTART_DELAYS.1),
        });
        restart.not_before = now + restart.delay.next_delay();
    }

    fn until_next_round(&self) -> Duration {
        let now = self.context.clock.now();
        let regular = now + self.context.settings.reconcile_interval;
        let restarts = self.restarts.values().map(|restart| restart.not_before);
        let due = restarts.filter(|at| now < *at).chain(self.discovery.due());
        due.fold(regular, Timestamp::min).since(now)
    }

    /// Lets every consumer finish what is in flight, and releases the leases.
    async fn drain(mut self, mut stop: watch::Receiver<Stop>) {
        self.tasks.drain_all();
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
        if let Err(error) = self.release_leases().await {
            tracing::warn!("{}; leases not released", chain(&error));
        }
    }
}
