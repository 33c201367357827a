//! `windlass serve`: the daemon's life, from its configuration to its last save.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::cli::ServeArgs;
use crate::config::{Config, Problem};
use crate::{environment, refuse, telemetry};

/// Runs the daemon until it is told to stop.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let config = match configuration(args) {
        Ok(config) => config,
        Err(problems) => return Ok(refuse(args.config.as_deref(), &problems)),
    };
    telemetry::start(args.log_format, None);
    let runtime = Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        let app = App::build(config, args.prune).await?;
        let grace = app.drain_timeout();
        let running = app.spawn().await?;
        let first = until_told().await?;
        tracing::info!(
            signal = first,
            "stopping: what has begun is finished and saved"
        );
        let second = async {
            let again = until_told().await;
            tokio::select! {
                signal = std::future::ready(again) => signal.unwrap_or("a signal"),
            }
        };
        running.stop(grace, second).await;
        anyhow::Ok(())
    })?;
    // Whatever still hangs has had its time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

/// The file's configuration, or the defaults, with what the command line puts above it.
fn configuration(args: &ServeArgs) -> Result<Config, Vec<Problem>> {
    let mut config = match &args.config {
        Some(file) => Config::load(Path::new(file), &environment)?,
        None => Config::without_file(&environment)?,
    };
    if let Some(listen) = &args.listen {
        config.listen_at(listen).map_err(|problem| vec![problem])?;
    }
    if let Some(store) = &args.store {
        config.store_at(store).map_err(|problem| vec![problem])?;
    }
    Ok(config)
}

/// Waits for SIGTERM or SIGINT; gives its name.
async fn until_told() -> anyhow::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
