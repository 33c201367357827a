//! The log: what `RUST_LOG` or `info` lets through, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::config::Problem;

/// What is logged unless `RUST_LOG` says otherwise. The SDK's own lines repeat our errors.
const DEFAULT_FILTER: &str = "info,aws_config=warn,aws_smithy_runtime=warn,aws_runtime=warn";

/// Where the user says what is logged.
const VARIABLE: &str = "RUST_LOG";

/// Starts the log; done once for a process.
///
/// # Errors
/// `RUST_LOG` cannot be understood: a log that leaves out what was asked for would mislead.
pub(crate) fn start(format: LogFormat, default_filter: Option<&str>) -> Result<(), Problem> {
    let asked = crate::environment(VARIABLE).filter(|text| !text.trim().is_empty());
    let filter = match asked {
        Some(text) => EnvFilter::try_new(text).map_err(|error| Problem {
            line: 0,
            message: format!(
                "{VARIABLE}: {error}; write a level such as info, or levels of parts such as \
                 info,windlass_engine=debug"
            ),
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
