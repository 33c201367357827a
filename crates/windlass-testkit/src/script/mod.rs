//! Runs `tests/scripts/**/*.txt`: behaviour as text that a person can read.
//!
//! A script feeds one machine one input at a time and shows every command that comes out; those about
//! filters give them events and show what they say. The expected parts are written by
//! `UPDATE_GOLDENFILES=1 cargo test -p windlass-tests --test scripts` and read by whoever reviews the
//! change.

mod arguments;
pub mod filter;
pub mod lease;
pub mod queue;
pub mod shard;

use std::error::Error;
use std::time::Duration;

use self::arguments::Arguments;

/// A mistake in a script.
type ScriptError = Box<dyn Error>;

/// Reads `250ms`, `5s` or `2m`.
fn duration(text: &str) -> Result<Duration, ScriptError> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let number: u64 = number
        .parse()
        .map_err(|_| format!("no duration: {text:?}"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Err(format!("a duration ends with ms, s or m: {text:?}").into()),
    }
}
