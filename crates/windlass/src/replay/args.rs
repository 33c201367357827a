//! What can be asked of `windlass replay`.

use std::num::NonZeroU32;

use clap::{Args, Subcommand};
use windlass_core::place::PlaceText;
use windlass_core::replay::ReplayName;

#[derive(Debug, Subcommand)]
pub(crate) enum ReplayCommand {
    /// Start a replay: the records of a stretch are read once more and delivered to a function.
    ///
    /// A place is trim-horizon, now, a time with its zone (2026-11-23T12:00:00Z), a time ago (-2h, -15m,
    /// -9s), or with exactly one --shard sequence:NUMBER or after:NUMBER.
    Start(Box<StartArgs>),
    /// List replays, ended ones too.
    List,
    /// Show a replay with its shards.
    Show {
        #[arg(value_parser = parse_name)]
        name: String,
    },
    /// Let what is in flight end, and send nothing more until it is resumed.
    Pause {
        #[arg(value_parser = parse_name)]
        name: String,
    },
    /// Let a paused replay go on.
    Resume {
        #[arg(value_parser = parse_name)]
        name: String,
    },
    /// End a replay, and break off what is in flight.
    Cancel {
        #[arg(value_parser = parse_name)]
        name: String,
    },
    /// Remove a replay; one that runs is cancelled first. Its name is free then.
    Delete {
        #[arg(value_parser = parse_name)]
        name: String,
    },
    /// Change a replay while it runs.
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Set {
        #[arg(value_parser = parse_name)]
        name: String,
        /// Records a second over all shards; none removes the limit.
        #[arg(long, value_name = "RATE", value_parser = parse_rate, group = "change")]
        rate: Option<RateArg>,
        /// Retries of a failing batch, 0 to 10000; -1: until it succeeds.
        #[arg(
            long,
            value_name = "N",
            allow_negative_numbers = true,
            group = "change"
        )]
        maximum_retry_attempts: Option<i64>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Names the replay: 1 to 128 letters, digits, '.', '_' and '-'.
    #[arg(long, value_parser = parse_name, required_unless_present = "dry_run")]
    pub(super) name: Option<String>,
    /// Take source, function and every setting from this mapping, as it is now: its UUID, the start of
    /// it, or SOURCE/FUNCTION.
    #[arg(long, required_unless_present = "source")]
    pub(super) mapping: Option<String>,
    /// The ARN of the stream.
    #[arg(
        long,
        value_name = "ARN",
        requires = "function",
        conflicts_with = "mapping"
    )]
    pub(super) source: Option<String>,
    /// Who gets the records.
    #[arg(long)]
    pub(super) function: Option<String>,
    /// Where the stretch begins; trim-horizon unless given.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(super) from: Option<PlaceText>,
    /// Where it ends; now unless given. The end may be in the future.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(super) to: Option<PlaceText>,
    /// Only this shard; may be repeated.
    #[arg(long = "shard", value_name = "ID")]
    pub(super) shards: Vec<String>,
    /// Records a second over all shards.
    #[arg(long, value_name = "N")]
    pub(super) rate: Option<NonZeroU32>,
    /// Records of one invocation.
    #[arg(long, value_name = "N")]
    pub(super) batch_size: Option<i64>,
    /// Concurrent invocations of one shard.
    #[arg(long, value_name = "N")]
    pub(super) parallelization_factor: Option<i64>,
    /// Only records that match this event pattern, in place of the mapping's filters; may be repeated.
    #[arg(long = "filter", value_name = "PATTERN")]
    pub(super) filters: Vec<String>,
    /// Retries of a failing batch, 0 to 10000; -1: until it succeeds.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) maximum_retry_attempts: Option<i64>,
    /// Say for each shard what would be read and sent up to now; start nothing.
    #[arg(long, conflicts_with = "watch")]
    pub(super) dry_run: bool,
    /// Show its progress until it has ended. Exit code 0: it is completed; 1: it was cancelled or has
    /// failed. An interrupt leaves it running.
    #[arg(long)]
    pub(super) watch: bool,
}

/// A rate that is set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RateArg {
    None,
    Records(NonZeroU32),
}

fn parse_name(text: &str) -> Result<String, String> {
    match ReplayName::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("a name has 1 to 128 letters, digits, '.', '_' and '-'".to_owned()),
    }
}

fn parse_rate(text: &str) -> Result<RateArg, String> {
    if text == "none" {
        return Ok(RateArg::None);
    }
    let rate = text.parse().map(RateArg::Records);
    rate.map_err(|_| "expected records a second, at least 1, or none".to_owned())
}
