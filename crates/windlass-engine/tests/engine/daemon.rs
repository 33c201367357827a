//! The engine of one daemon with its fakes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::lease::{Unit, WorkerId};
use windlass_core::mapping::{Change, DesiredState, MappingId, MappingRow, Origin, Revision};
use windlass_core::outcome::Swap;
use windlass_core::position::Position;
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_engine::clock::Clock;
use windlass_engine::jobs::{DryRuns, Redriver};
use windlass_engine::memory::Budget;
use windlass_engine::ports::MappingStore as _;
use windlass_engine::settings::EngineSettings;
use windlass_engine::status::{MappingStatus, StatusBoard, waiting_for};
use windlass_engine::stop::Stop;
use windlass_engine::supervisor::{Operator, Supervisor, SupervisorParts, Wakeup};
use windlass_testkit::fakes::{ErrorsFail, FakeAdapters, FakeQueue, FakeStore, FakeStream};

/// A test that takes longer waits for something that does not happen.
const TEST_TIMEOUT: Duration = Duration::from_secs(3_600);

pub(crate) struct Daemon {
    pub(crate) store: Arc<FakeStore>,
    pub(crate) adapters: Arc<FakeAdapters>,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) budget: Budget,
    pub(crate) clock: Clock,
    pub(crate) errors: ErrorsFail,
    stop: watch::Sender<Stop>,
    wakeup: Wakeup,
    pub(crate) operator: Operator,
    pub(crate) redriver: Redriver,
    pub(crate) dry_runs: DryRuns,
    supervisor: JoinSet<()>,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut EngineSettings)) -> Self {
        let errors = ErrorsFail::watch();
        let mut settings = EngineSettings::default();
        change(&mut settings);
        let clock = Clock::starting_at(Timestamp::from_millis(1_700_000_000_000));
        let (store, adapters) = (Arc::default(), Arc::default());
        Self::run(settings, clock, store, adapters, errors)
    }

    fn run(
        settings: EngineSettings,
        clock: Clock,
        store: Arc<FakeStore>,
        adapters: Arc<FakeAdapters>,
        errors: ErrorsFail,
    ) -> Self {
        let board = Arc::new(StatusBoard::default());
        let budget = Budget::new(settings.buffer_limit);
        let supervisor = Supervisor::new(SupervisorParts {
            store: Arc::clone(&store) as _,
            adapters: Arc::clone(&adapters) as _,
            board: Arc::clone(&board),
            clock,
            worker: WorkerId::new("this daemon"),
            settings,
            budget: budget.clone(),
            seed: 1,
        });
        let (stop, stopped) = watch::channel(Stop::No);
        let (wakeup, operator) = (supervisor.wakeup(), supervisor.operator());
        let (redriver, dry_runs) = (supervisor.redriver(), supervisor.dry_runs());
        let mut tasks = JoinSet::new();
        tasks.spawn(supervisor.run(stopped));
        Self {
            store,
            adapters,
            board,
            budget,
            clock,
            errors,
            stop,
            wakeup,
            operator,
            redriver,
            dry_runs,
            supervisor: tasks,
        }
    }

    /// Kills the daemon unless it has ended, and starts it again with what is in the store.
    pub(crate) async fn restart_after_a_kill(mut self) -> Self {
        self.stop(Stop::Now);
        if !self.supervisor.is_empty() {
            self.ended().await;
        }
        let settings = EngineSettings::default();
        Self::run(settings, self.clock, self.store, self.adapters, self.errors)
    }

    /// Adds a stream with open shards.
    pub(crate) fn stream(&self, name: &str, n_shards: usize) -> Arc<FakeStream> {
        self.adapters
            .stream(name, FakeStream::new(self.clock, n_shards))
    }

    /// Adds a queue whose messages become dead letters after one failed receive.
    pub(crate) fn queue(&self, name: &str) -> Arc<FakeQueue> {
        let visibility = Duration::from_secs(30);
        self.adapters.queue(name, FakeQueue::new(visibility, 1))
    }

    /// Creates a mapping on the stream `stream/NAME` or the queue `NAME`.
    pub(crate) async fn map(&self, source: &str, function: &str, batch_size: i64) -> MappingId {
        self.map_with(source, function, batch_size, |_| {}).await
    }

    /// Creates a mapping with further parameters.
    pub(crate) async fn map_with(
        &self,
        source: &str,
        function: &str,
        batch_size: i64,
        change: impl FnOnce(&mut MappingSpec),
    ) -> MappingId {
        let (service, position) = if source.starts_with("stream/") {
            ("kinesis", Some("TRIM_HORIZON"))
        } else {
            ("sqs", None)
        };
        let id = MappingId::new(&format!("{source} to {function}"));
        let source_arn = format!("arn:aws:{service}:us-east-1:000000000000:{source}");
        let mut row = MappingRow {
            id: id.clone(),
            revision: Revision(1),
            spec: Default::default(),
            source: SourceArn::parse(&source_arn).expect("it is a source's ARN"),
            function_arn: Arn::parse(&format!(
                "arn:aws:lambda:us-east-1:000000000000:function:{function}"
            ))
            .expect("the ARN is valid"),
            desired: DesiredState::Enabled,
            change: Change::Created,
            created: self.clock.wall(),
            last_modified: self.clock.wall(),
            origin: Origin::Api,
        };
        row.spec.set("FunctionName", function);
        row.spec.set("EventSourceArn", source_arn);
        if let Some(position) = position {
            row.spec.set("StartingPosition", position);
        }
        row.spec.set("BatchSize", batch_size);
        change(&mut row.spec);
        let put = self.store.put(&row, None, None).await;
        assert_eq!(put.expect("the store works"), Swap::Done);
        self.wakeup.wake();
        id
    }

    /// Creates a mapping on a stream that starts at a time.
    pub(crate) async fn map_at(&self, source: &str, function: &str, start: Timestamp) -> MappingId {
        let id = self.map(source, function, 1).await;
        self.change(&id, |row| {
            row.spec.set("StartingPosition", "AT_TIMESTAMP");
            let seconds = Duration::from_millis(start.as_millis()).as_secs_f64();
            row.spec.set("StartingPositionTimestamp", seconds);
        })
        .await;
        id
    }

    /// Creates a mapping on a stream that starts at the records that arrive after its creation.
    pub(crate) async fn map_latest(
        &self,
        source: &str,
        function: &str,
        created: Timestamp,
    ) -> MappingId {
        let id = self.map(source, function, 1).await;
        self.change(&id, |row| {
            row.spec.set("StartingPosition", "LATEST");
            row.created = created;
        })
        .await;
        id
    }

    /// Changes a mapping as the API does.
    pub(crate) async fn change(&self, id: &MappingId, change: impl FnOnce(&mut MappingRow)) {
        let current = self.store.row(id).expect("the mapping exists");
        let mut row = current.next_revision(self.clock.wall());
        change(&mut row);
        let put = self.store.put(&row, Some(current.revision), None).await;
        assert_eq!(put.expect("the store works"), Swap::Done);
        self.wakeup.wake();
    }

    /// Enables, disables or deletes a mapping.
    pub(crate) async fn set(&self, id: &MappingId, desired: DesiredState) {
        let change = match desired {
            DesiredState::Enabled => Change::Enabled,
            DesiredState::Disabled => Change::Disabled,
            DesiredState::Deleted => Change::Deleted,
        };
        self.change(id, |row| (row.desired, row.change) = (desired, change))
            .await;
    }

    pub(crate) fn status(&self, id: &MappingId) -> MappingStatus {
        let row = self.store.row(id).expect("the mapping exists");
        self.board.mapping(&row)
    }

    pub(crate) fn state(&self, id: &MappingId) -> &'static str {
        self.status(id).state
    }

    /// Why units of a mapping wait, of those that do.
    pub(crate) fn all_waiting_for(&self, id: &MappingId) -> Vec<String> {
        let (status, now) = (self.status(id), self.clock.now());
        let units = status.units.values();
        units.filter_map(|unit| waiting_for(unit, now)).collect()
    }

    /// Why the first of them waits.
    pub(crate) fn waiting_for(&self, id: &MappingId) -> Option<String> {
        self.all_waiting_for(id).into_iter().next()
    }

    pub(crate) fn checkpoint(&self, id: &MappingId, shard: &str) -> Position {
        let leases = self.store.leases_of(id);
        let of_shard = leases
            .into_iter()
            .find(|lease| matches!(&lease.key.unit, Unit::Shard(name) if name.as_str() == shard));
        let lease = of_shard.expect("the shard has a lease");
        lease.checkpoint.position
    }

    /// Whether a shard has a lease with this checkpoint.
    pub(crate) fn checkpoint_is(&self, id: &MappingId, shard: &str, position: &Position) -> bool {
        let leases = self.store.leases_of(id);
        let mut of_shard = leases
            .iter()
            .filter(|lease| matches!(&lease.key.unit, Unit::Shard(name) if name.as_str() == shard));
        of_shard.any(|lease| lease.checkpoint.position == *position)
    }

    /// Tells the supervisor that the store has changed.
    pub(crate) fn wake(&self) {
        self.wakeup.wake();
    }

    pub(crate) fn stop(&self, stop: Stop) {
        self.stop.send_replace(stop);
    }

    /// Waits until the supervisor has ended.
    pub(crate) async fn ended(&mut self) {
        let ended = tokio::time::timeout(TEST_TIMEOUT, self.supervisor.join_next()).await;
        ended
            .expect("it ends in time")
            .expect("it was running")
            .expect("it does not panic");
    }
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) -> impl Future<Output = ()> {
    let location = std::panic::Location::caller();
    async move {
        let end = tokio::time::Instant::now() + TEST_TIMEOUT;
        while !holds() {
            assert!(
                tokio::time::Instant::now() < end,
                "{location}: never: {what}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

pub(crate) fn after(number: &str) -> Position {
    Position::After(number.into())
}
