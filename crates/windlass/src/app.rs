//! Composition: the parts of a daemon put together, started and stopped.
//!
//! Four verbs: a [`Config`] is loaded, [`App::build`] opens and binds everything that can fail,
//! [`App::spawn`] lets it run, [`Running::stop`] drains it.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use windlass_adapters::aws::{AwsSettings, Service};
use windlass_adapters::{AdapterSettings, Adapters, stores};
use windlass_admin::{
    ConfigMapping, Control, ControlParts, Metrics, Readiness, Server, ServerParts,
};
use windlass_core::lease::WorkerId;
use windlass_engine::clock::Clock;
use windlass_engine::memory::Budget;
use windlass_engine::ports::Store;
use windlass_engine::settings::EngineSettings;
use windlass_engine::status::StatusBoard;
use windlass_engine::stop::Stop;
use windlass_engine::supervisor::{Supervisor, SupervisorParts};

use crate::config::Config;

/// A daemon that can run: its store is open, its port is bound.
pub(crate) struct App {
    config: Config,
    prune: bool,
    store: Arc<dyn Store>,
    world: Arc<Adapters>,
    board: Arc<StatusBoard>,
    clock: Clock,
    budget: Budget,
    supervisor: Supervisor,
    listener: TcpListener,
    metrics: Metrics,
}

/// A daemon that runs.
pub(crate) struct Running {
    stop: watch::Sender<Stop>,
    supervisor: JoinSet<()>,
    readiness: Readiness,
    server: Server,
}

impl App {
    /// Opens the store and binds the port.
    ///
    /// # Errors
    /// The store cannot be opened, or the port is in use.
    pub(crate) async fn build(config: Config, prune: bool) -> anyhow::Result<Self> {
        let listener = listen(config.listen)?;
        let store = stores::open(&config.store)?;
        let world = Arc::new(Adapters::load(adapter_settings(&config)).await);
        let settings = engine_settings(&config);
        let board = Arc::new(StatusBoard::default());
        let (clock, budget) = (Clock::start(), Budget::new(settings.buffer_limit));
        let supervisor = Supervisor::new(SupervisorParts {
            store: Arc::clone(&store),
            adapters: Arc::clone(&world) as _,
            board: Arc::clone(&board),
            clock,
            worker: worker_id(),
            budget: budget.clone(),
            settings,
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        });
        let metrics = Metrics::install()?;
        Ok(Self {
            config,
            prune,
            store,
            world,
            board,
            clock,
            budget,
            supervisor,
            listener,
            metrics,
        })
    }

    /// How long a stop may take.
    pub(crate) const fn drain_timeout(&self) -> Duration {
        self.config.drain_timeout
    }

    /// Applies the declared mappings and lets it run.
    ///
    /// # Errors
    /// A declared mapping names a function that does not exist, or the store fails.
    pub(crate) async fn spawn(self) -> anyhow::Result<Running> {
        let declared = &self.config.mappings;
        ConfigMapping::apply(declared, &*self.store, &*self.world, self.clock, self.prune).await?;
        let readiness = Readiness::default();
        let control = Control::new(ControlParts {
            store: self.store,
            directory: self.world,
            board: self.board,
            wakeup: self.supervisor.wakeup(),
            clock: self.clock,
            home: self.config.place(),
        });
        let parts = ServerParts {
            control,
            readiness: readiness.clone(),
            metrics: self.metrics,
            budget: self.budget,
        };
        let server =
            Server::start(self.listener, parts).context("starting the server of the API")?;
        let (stop, stopped) = watch::channel(Stop::No);
        let mut supervisor = JoinSet::new();
        supervisor.spawn(self.supervisor.run(stopped));
        tracing::info!("listening on http://{}", server.address());
        Ok(Running {
            stop,
            supervisor,
            readiness,
            server,
        })
    }
}

impl Running {
    /// Where its API is.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Drains within a grace period; a second request ends everything at once, which costs repeated
    /// invocations and nothing else. The API answers until the last.
    pub(crate) async fn stop(mut self, grace: Duration, again: impl Future<Output = &'static str>) {
        self.readiness.drain();
        self.stop.send_replace(Stop::Drain);
        tokio::select! {
            _ = self.supervisor.join_next() => {}
            () = tokio::time::sleep(grace) => {
                tracing::warn!("not everything has finished in {grace:?}; what runs will be repeated");
            }
            signal = again => {
                tracing::warn!(signal, "stopping at once; what runs will be repeated");
            }
        }
        self.stop.send_replace(Stop::Now);
        self.supervisor.shutdown().await;
        let server = self.server;
        if tokio::task::spawn_blocking(move || server.stop())
            .await
            .is_err()
        {
            tracing::error!("the server of the API could not be stopped");
        }
        tracing::info!("stopped");
    }
}

/// Takes the port, so that a mistake shows before anything else is done.
fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!(
            "listening on {address}; another program may use the port: stop it, or choose another \
             address with 'listen' or --listen"
        )
    })
}

fn worker_id() -> WorkerId {
    WorkerId::new(&format!(
        "{}-{}",
        std::process::id(),
        uuid::Uuid::new_v4().simple()
    ))
}

fn engine_settings(config: &Config) -> EngineSettings {
    let defaults = EngineSettings::default();
    EngineSettings {
        kinesis_poll_interval: config.kinesis_poll_interval,
        kinesis_catch_up_interval: defaults
            .kinesis_catch_up_interval
            .min(config.kinesis_poll_interval),
        dynamodb_streams_poll_interval: config.dynamodb_streams_poll_interval,
        dynamodb_streams_catch_up_interval: defaults
            .dynamodb_streams_catch_up_interval
            .min(config.dynamodb_streams_poll_interval),
        sqs_wait_time: config.sqs_wait_time,
        sqs_visibility_heartbeat: config.sqs_visibility_heartbeat,
        ..defaults
    }
}

fn adapter_settings(config: &Config) -> AdapterSettings {
    let endpoints = Service::ALL.into_iter().filter_map(|service| {
        let url = config.endpoints.get(service.name())?;
        Some((service, url.clone()))
    });
    AdapterSettings {
        aws: AwsSettings {
            region: config.region.clone(),
            endpoints: endpoints.collect(),
            placeholder_credentials: config.placeholder_credentials,
            ca_bundle: config.ca_bundle.clone(),
        },
        account_id: config.account_id.clone(),
        functions: config.functions.clone(),
    }
}
