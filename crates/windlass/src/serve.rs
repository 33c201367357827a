//! `windlass serve`: the daemon, from its configuration to its last save.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context;
#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{App, Running};
use crate::cli::ServeArgs;
use crate::config::{Config, ConfigError};
use crate::telemetry::Log;
use crate::{open_files, print_config_errors, process_environment, telemetry};

pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let overrides = (args.listen.as_deref(), args.store.as_deref());
    let config = match configuration(args.config.as_deref(), overrides) {
        Ok(config) => config,
        Err(errors) => return Ok(print_config_errors(args.config.as_deref(), &errors)),
    };
    let log = match telemetry::start(args.log_format, None) {
        Ok(log) => log,
        Err(error) => return Ok(print_config_errors(None, &[error])),
    };
    open_files::raise_limit(config.engine.invocation_limit);
    hide_environment();
    serve(config, args.prune, &log, App::spawn)
}

/// Runs a daemon that `spawn` starts, and returns how the process ends.
fn serve(
    config: Config,
    prune: bool,
    log: &Log,
    spawn: impl AsyncFnOnce(App) -> anyhow::Result<Running>,
) -> anyhow::Result<ExitCode> {
    let runtime = runtime(config.threads).context("starting the runtime")?;
    let ended = runtime.block_on(run_until_stopped(config, prune, log, spawn));
    // Tasks that still hang had their time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Through the log, which does not wait for a reader that stalls.
            log.print(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    })
}

/// One thread moves hundreds of MB/s. A second one makes each record more expensive (cache misses,
/// wake-ups), so half of the processors do the work, and the functions have the rest.
fn runtime(threads: Option<usize>) -> io::Result<Runtime> {
    let half = || available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
    let threads = threads.unwrap_or_else(half);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build()
}

/// Functions that run as the same user could otherwise read the daemon's variables, credentials
/// among them.
fn hide_environment() {
    #[cfg(target_os = "linux")]
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "functions of the same user can read the daemon's environment");
    }
}

/// The configuration of the file, or the defaults, overridden by the command line: by an address and a
/// store.
pub(crate) fn configuration(
    file: Option<&Path>,
    (listen, store): (Option<&str>, Option<&str>),
) -> Result<Config, Vec<ConfigError>> {
    let env = process_environment();
    let mut config = match file {
        Some(file) => Config::load(file, env)?,
        None => Config::without_file(env)?,
    };
    if let Some(listen) = listen {
        config
            .override_listen(listen)
            .map_err(|error| vec![error])?;
    }
    if let Some(store) = store {
        config.override_store(store).map_err(|error| vec![error])?;
    }
    Ok(config)
}

async fn run_until_stopped(
    config: Config,
    prune: bool,
    log: &Log,
    spawn: impl AsyncFnOnce(App) -> anyhow::Result<Running>,
) -> anyhow::Result<()> {
    // First of all: from here on no signal is missed.
    let mut signals = Signals::new()?;
    let start = async {
        let app = App::build(config, prune, log).await?;
        let grace = app.drain_timeout();
        anyhow::Ok((grace, spawn(app).await?))
    };
    let (grace, mut running) = tokio::select! {
        started = start => started?,
        signal = signals.next() => {
            tracing::info!(signal, "stopped before the start was complete");
            return Ok(());
        }
    };
    let failure = tokio::select! {
        signal = signals.next() => {
            tracing::info!(
                signal,
                "stopping: draining invocations and saving checkpoints"
            );
            None
        }
        failure = running.failed() => {
            tracing::error!("{failure:#}; stopping");
            Some(failure)
        }
    };
    let stopped = running.stop(grace, signals.next()).await;
    failure.map_or(stopped, Err)
}

/// Signals that request a stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// The terminal or the SSH session was closed; `None` where `nohup` keeps the process running.
    hangup: Option<Signal>,
}

impl Signals {
    /// From here on no signal is missed.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let hangup = (!ignores_hangup()).then(|| signal(SignalKind::hangup()));
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("waiting for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("waiting for SIGINT")?,
            hangup: hangup.transpose().context("waiting for SIGHUP")?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = hangup => "SIGHUP",
        }
    }
}

/// Whether the process was started with SIGHUP ignored, as `nohup` does. Known on Linux only.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Bit 0 is signal 1, which is SIGHUP.
    mask.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            written.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_environment_is_hidden_from_other_processes() {
        hide_environment();
        let behavior = rustix::process::dumpable_behavior();
        assert_eq!(behavior, Ok(DumpableBehavior::NotDumpable));
    }

    #[test]
    fn a_supervisor_that_panics_ends_the_process_with_the_cause() {
        let env = crate::config::Environment {
            variable: &|_| None,
            directory: None,
            region_of_profile: &|| None,
        };
        let name = format!("windlass-serve-{}", uuid::Uuid::new_v4());
        let dir = std::env::temp_dir().join(name);
        let mut config = Config::without_file(env).unwrap();
        config.override_listen("127.0.0.1:0").unwrap();
        config
            .override_store(&format!("sqlite:{}", dir.display()))
            .unwrap();
        let written = Written::default();
        let log = Log::to(written.clone()).unwrap();
        let spawn = async |app: App| {
            let supervise = |_, _| async { panic!("a fault of ours") };
            app.spawn_with(supervise).await
        };
        let ended = serve(config, false, &log, spawn).unwrap();
        assert_eq!(ended, ExitCode::FAILURE);
        drop(log);
        std::fs::remove_dir_all(dir).unwrap();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("error: the supervisor failed: "), "{text}");
        assert!(text.contains("a fault of ours"), "{text}");
    }
}
