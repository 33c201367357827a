//! Runs `tests/scripts/**/*.txt`: behavior as text; `tests/scripts/README.md` explains the format.
//!
//! A script feeds one consumer one input at a time and shows every command that it gives. Scripts
//! about leases show which rows there are and which consumers run, those about filters which events
//! match, and those about slots which invocations may begin.

mod arguments;
pub mod filter;
pub mod lease;
pub mod process;
pub mod queue;
pub mod rate;
pub mod shard;
pub mod skip;
pub mod slots;

use std::error::Error;
use std::time::Duration;

use windlass_core::outcome::Fault;

use self::arguments::Arguments;

type ScriptError = Box<dyn Error>;

/// Parses `250ms` or `5s`.
fn duration(text: &str) -> Result<Duration, ScriptError> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let number: u64 = number
        .parse()
        .map_err(|_| format!("not a duration: {text:?}"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(format!("a duration ends with ms or s: {text:?}").into()),
    }
}

fn duration_text(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    format!("{duration:?}")
}

fn fault_text(fault: Fault) -> String {
    match fault {
        Fault::Throttled { retry_after: None } => "throttled".to_owned(),
        Fault::Throttled {
            retry_after: Some(time),
        } => format!("throttled retry_after={}", duration_text(time)),
        Fault::Transient => "transient".to_owned(),
        Fault::TimedOut => "timed_out".to_owned(),
        Fault::Denied => "denied".to_owned(),
        Fault::Gone => "gone".to_owned(),
        Fault::Trimmed => "trimmed".to_owned(),
        Fault::UnknownPosition => "unknown_position".to_owned(),
    }
}
