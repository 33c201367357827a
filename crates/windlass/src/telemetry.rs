//! The log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::config::ConfigError;

/// The SDK is quieter: its lines repeat errors that are logged anyway.
const DEFAULT_FILTER: &str = "info,aws_config=warn,aws_smithy_runtime=warn,aws_runtime=warn";

const VARIABLE: &str = "RUST_LOG";

/// Starts the log; once for a process.
///
/// # Errors
/// `RUST_LOG` is invalid: a log without the requested lines would mislead.
pub(crate) fn start(format: LogFormat, default_filter: Option<&str>) -> Result<(), ConfigError> {
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
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
