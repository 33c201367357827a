//! `windlass serve`: the daemon's life, from its configuration to its last save.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::App;
use crate::cli::ServeArgs;
use crate::config::{Config, Problem};
use crate::{refuse, surroundings, telemetry};

/// Runs the daemon until it is told to stop.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let config = match configuration(args) {
        Ok(config) => config,
        Err(problems) => return Ok(refuse(args.config.as_deref(), &problems)),
    };
    if let Err(problem) = telemetry::start(args.log_format, None) {
        return Ok(refuse(None, &[problem]));
    }
    let runtime = runtime(config.threads).context("starting the runtime")?;
    runtime.block_on(life(config, args.prune))?;
    // Whatever still hangs has had its time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

/// What the daemon's work runs on.
///
/// One thread moves hundreds of megabytes a second. Where one is enough, another makes each record
/// dearer: what one has in its caches the other one works on, and they wake each other. Therefore
/// there are fewer of them than processors, which also leaves some to the functions.
fn runtime(threads: Option<usize>) -> io::Result<Runtime> {
    let half = || available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
    let threads = threads.unwrap_or_else(half);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build()
}

/// The file's configuration, or the defaults, with what the command line puts above it.
fn configuration(args: &ServeArgs) -> Result<Config, Vec<Problem>> {
    let mut config = match &args.config {
        Some(file) => Config::load(Path::new(file), surroundings())?,
        None => Config::without_file(surroundings())?,
    };
    if let Some(listen) = &args.listen {
        config.listen_at(listen).map_err(|problem| vec![problem])?;
    }
    if let Some(store) = &args.store {
        config.store_at(store).map_err(|problem| vec![problem])?;
    }
    Ok(config)
}

/// Starts, runs until it is told to stop, and stops.
async fn life(config: Config, prune: bool) -> anyhow::Result<()> {
    // Before anything else: from here on no request to stop goes unheard.
    let mut signals = Signals::new()?;
    let start = async {
        let app = App::build(config, prune).await?;
        let grace = app.drain_timeout();
        anyhow::Ok((grace, app.spawn().await?))
    };
    let (grace, running) = tokio::select! {
        started = start => started?,
        signal = signals.next() => {
            tracing::info!(signal, "stopped before it had started");
            return Ok(());
        }
    };
    let signal = signals.next().await;
    tracing::info!(signal, "stopping: what has begun is finished and saved");
    running.stop(grace, signals.next()).await;
    Ok(())
}

/// The signals that ask for a stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on none goes unheard.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("waiting for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("waiting for SIGINT")?,
        })
    }

    /// Waits for the next one; gives its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
