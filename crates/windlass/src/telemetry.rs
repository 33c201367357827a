//! The log, on standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::config::ConfigError;
use crate::log_writer::LogWriter;

/// The SDK is quieter: its lines repeat errors that are logged anyway.
const DEFAULT_FILTER: &str = "info,aws_config=warn,aws_smithy_runtime=warn,aws_runtime=warn";

const VARIABLE: &str = "RUST_LOG";

/// The log of the process; on drop it waits a moment until everything is written.
#[derive(Debug)]
pub(crate) struct Log(LogWriter);

/// Starts the log; once for a process.
///
/// # Errors
/// `RUST_LOG` is invalid: a log without the requested lines would mislead.
pub(crate) fn start(format: LogFormat, default_filter: Option<&str>) -> Result<Log, ConfigError> {
    let variable = crate::env_variable(VARIABLE).filter(|text| !text.trim().is_empty());
    let filter = match variable {
        Some(text) => EnvFilter::try_new(text).map_err(|error| {
            ConfigError::without_line(format!(
                "{VARIABLE}: {error}; write a level such as info, or levels by module such as \
                 info,windlass_engine=debug"
            ))
        })?,
        None => EnvFilter::new(default_filter.unwrap_or(DEFAULT_FILTER)),
    };
    let stderr = std::io::stderr();
    let is_terminal = stderr.is_terminal();
    let report =
        |lines| tracing::warn!(lines, "lines of this log were dropped: not written in time");
    let writer = LogWriter::start(stderr, report).map_err(|error| {
        ConfigError::without_line(format!("cannot start the thread of the log: {error}"))
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        // They would go to standard error directly.
        .log_internal_errors(false)
        .with_writer(writer.clone());
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    // The default hook writes to standard error directly, and waits for a reader that stalls.
    std::panic::set_hook(Box::new(log_panic));
    Ok(Log(writer))
}

impl Log {
    /// A log without lines of tracing.
    #[cfg(test)]
    pub(crate) fn to(out: impl std::io::Write + Send + 'static) -> std::io::Result<Self> {
        LogWriter::start(out, |_| {}).map(Self)
    }

    /// The number of lines dropped since the start.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.0.dropped()
    }

    /// Writes a line after those of the log, in the form of a command's errors.
    pub(crate) fn print(&self, line: &str) {
        self.0.push(format!("{line}\n").as_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush();
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let message = panic
        .payload_as_str()
        .unwrap_or("a panic without a message");
    let location = panic.location().map(ToString::to_string);
    tracing::error!(thread = thread.name(), location, "panicked: {message}");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!("{backtrace}");
    }
}
