//! Composes a daemon from its parts, starts and stops it.
//!
//! A [`Config`] is loaded, [`App::build`] opens and binds everything that can fail, [`App::spawn`]
//! starts the work, [`Running::stop`] drains it.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use windlass_adapters::{Adapters, stores};
use windlass_admin::{
    ApplyParts, AuthSettings, Control, ControlParts, MappingProblems, Metrics, PendingMappings,
    Readiness, Server, ServerParts,
};
use windlass_core::lease::WorkerId;
use windlass_engine::clock::Clock;
use windlass_engine::memory::Budget;
use windlass_engine::ports::Store;
use windlass_engine::status::StatusBoard;
use windlass_engine::stop::Stop;
use windlass_engine::supervisor::{Supervisor, SupervisorParts};

use crate::config::Config;
use crate::telemetry::Log;

/// A daemon with an open store and a bound port.
pub(crate) struct App {
    config: Config,
    prune: bool,
    store: Arc<dyn Store>,
    adapters: Arc<Adapters>,
    board: Arc<StatusBoard>,
    clock: Clock,
    budget: Budget,
    supervisor: Supervisor,
    listener: TcpListener,
    metrics: Metrics,
}

/// A running daemon.
pub(crate) struct Running {
    stop: watch::Sender<Stop>,
    supervisor: JoinSet<()>,
    adapters: Arc<Adapters>,
    /// Looks up and writes mappings of the file; cancelled on drop.
    _config: JoinSet<()>,
    readiness: Readiness,
    server: Server,
}

impl App {
    /// Opens the store and binds the port.
    ///
    /// # Errors
    /// The store cannot be opened, the port is in use, or an endpoint of the AWS profile is not a URL.
    pub(crate) async fn build(mut config: Config, prune: bool, log: &Log) -> anyhow::Result<Self> {
        let listener = bind(config.listen.address)?;
        let store = stores::open(&config.store)?;
        // The file may be in the directory of the store.
        let auth = config.listen.auth.as_mut();
        auth.map_or(Ok(()), AuthSettings::save_new_secrets)
            .map_err(anyhow::Error::msg)?;
        let adapters = Arc::new(Adapters::load(config.adapters.clone()).await);
        if let Some(problem) = adapters.endpoint_problem() {
            anyhow::bail!(problem);
        }
        let board = Arc::new(StatusBoard::default());
        let (clock, budget) = (Clock::start(), Budget::new(config.engine.buffer_limit));
        let supervisor = Supervisor::new(SupervisorParts {
            store: Arc::clone(&store),
            adapters: Arc::clone(&adapters) as _,
            board: Arc::clone(&board),
            clock,
            worker: worker_id(),
            budget: budget.clone(),
            settings: config.engine.clone(),
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        });
        let metrics = Metrics::install(config.metrics, log.dropped())?;
        Ok(Self {
            config,
            prune,
            store,
            adapters,
            board,
            clock,
            budget,
            supervisor,
            listener,
            metrics,
        })
    }

    pub(crate) const fn drain_timeout(&self) -> Duration {
        self.config.engine.drain_timeout
    }

    /// Applies the mappings of the configuration and starts the work.
    ///
    /// # Errors
    /// The store fails, or the API server cannot be started.
    pub(crate) async fn spawn(self) -> anyhow::Result<Running> {
        self.spawn_with(Supervisor::run).await
    }

    /// The same, with what the supervisor does.
    pub(crate) async fn spawn_with<F>(
        self,
        supervise: impl FnOnce(Supervisor, watch::Receiver<Stop>) -> F,
    ) -> anyhow::Result<Running>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let problems = MappingProblems::default();
        let apply = ApplyParts {
            store: Arc::clone(&self.store),
            lookup: Arc::clone(&self.adapters) as _,
            problems: problems.clone(),
            wakeup: self.supervisor.wakeup(),
            clock: self.clock,
            prune: self.prune,
        };
        let readiness = Readiness::default();
        let control = Control::new(ControlParts {
            store: self.store,
            lookup: Arc::clone(&self.adapters) as _,
            board: Arc::clone(&self.board),
            wakeup: self.supervisor.wakeup(),
            operator: self.supervisor.operator(),
            clock: self.clock,
            problems,
            home: self.config.adapters.home(),
            queues: self.config.engine.queue_defaults(),
        });
        let parts = ServerParts {
            control,
            readiness: readiness.clone(),
            metrics: self.metrics,
            budget: self.budget,
            redriver: self.supervisor.redriver(),
            dry_runs: self.supervisor.dry_runs(),
            allowed_hosts: self.config.listen.allowed_hosts,
            auth: self.config.listen.auth.unwrap_or_default(),
            tls: self.config.listen.tls,
        };
        let scheme = if parts.tls.is_some() { "https" } else { "http" };
        // Their start overlaps with everything else.
        self.adapters.start_processes(&self.board, self.clock);
        let server = Server::start(self.listener, parts).context("starting the API server")?;
        // The API answers already. What the file changes is written before anything runs, except for
        // mappings whose functions must be looked up.
        let pending = PendingMappings::apply(self.config.mappings, apply).await?;
        let mut config = JoinSet::new();
        config.spawn(pending.finish());
        let (stop, stopped) = watch::channel(Stop::No);
        let mut supervisor = JoinSet::new();
        supervisor.spawn(supervise(self.supervisor, stopped));
        tracing::info!("listening on {scheme}://{}", server.address());
        Ok(Running {
            stop,
            supervisor,
            adapters: self.adapters,
            _config: config,
            readiness,
            server,
        })
    }
}

impl Running {
    /// The address of its API.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Waits until a part that must run until it is stopped has ended, and returns the cause.
    /// Without it the process would live on, look healthy and do nothing.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        first_failure(&mut self.supervisor, self.server.ended()).await
    }

    /// Drains within `grace`; a second signal ends everything at once, at the cost of repeated
    /// invocations. The API answers until the end.
    ///
    /// # Errors
    /// The supervisor panicked.
    pub(crate) async fn stop(
        mut self,
        grace: Duration,
        again: impl Future<Output = &'static str>,
    ) -> anyhow::Result<()> {
        self.readiness.drain();
        self.stop.send_replace(Stop::Drain);
        self.adapters.drain_processes();
        let mut drained = Ok(());
        let end = async {
            let end = self.supervisor.join_next().await;
            self.adapters.drained_processes().await;
            end
        };
        tokio::select! {
            end = end => {
                if let Some(Err(panic)) = end {
                    drained = Err(anyhow::Error::new(panic).context("draining"));
                }
            }
            () = tokio::time::sleep(grace) => {
                tracing::warn!("the drain exceeded {grace:?}; invocations in flight will be repeated");
            }
            signal = again => {
                tracing::warn!(signal, "stopping at once; invocations in flight will be repeated");
            }
        }
        self.stop.send_replace(Stop::Now);
        self.supervisor.shutdown().await;
        self.adapters.kill_processes().await;
        let server = self.server;
        if tokio::task::spawn_blocking(move || server.stop())
            .await
            .is_err()
        {
            tracing::error!("the API server could not be stopped");
        }
        tracing::info!("stopped");
        drained
    }
}

async fn first_failure(
    supervisor: &mut JoinSet<()>,
    server: impl Future<Output = ()>,
) -> anyhow::Error {
    tokio::select! {
        end = supervisor.join_next() => match end {
            Some(Err(panic)) => anyhow::Error::new(panic).context("the supervisor failed"),
            Some(Ok(())) | None => anyhow::anyhow!("the supervisor ended without being stopped"),
        },
        () = server => anyhow::anyhow!("the API server ended without being stopped"),
    }
}

/// Binds the port first, so that an error shows before anything else happens.
fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!(
            "cannot listen on {address}; if another program uses the port, stop it or choose another \
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

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    async fn failure(supervisor: impl Future<Output = ()> + Send + 'static) -> String {
        let mut tasks = JoinSet::new();
        tasks.spawn(supervisor);
        format!("{:#}", first_failure(&mut tasks, pending()).await)
    }

    #[tokio::test]
    async fn a_supervisor_or_server_that_ends_unasked_is_a_failure() {
        let panicked = failure(async { panic!("a fault of ours") }).await;
        assert!(panicked.contains("the supervisor failed"), "{panicked}");
        assert!(panicked.contains("a fault of ours"), "{panicked}");
        let ended = failure(async {}).await;
        assert!(ended.contains("the supervisor ended"), "{ended}");
        let mut supervisor = JoinSet::new();
        supervisor.spawn(pending());
        let server = first_failure(&mut supervisor, ready(())).await.to_string();
        assert!(server.contains("the API server ended"), "{server}");
    }
}
