//! The command line: what can be asked of the program, and its help.

use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::dead_letters::DeadLettersCommand;
use crate::doctor::DoctorArgs;
use crate::history::HistoryArgs;
use crate::mappings::{ApplyArgs, MappingArgs};
use crate::park::{ParkArgs, UnparkArgs};
use crate::redrive::RedriveArgs;
use crate::replay::ReplayCommand;
use crate::seek::SeekArgs;
use crate::skip::SkipArgs;

/// AWS Lambda's event source mapping as a program of its own: polls Kinesis streams, DynamoDB
/// streams and SQS queues, and invokes functions wherever they run.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line. A variable of the environment that is empty counts as unset, as it
    /// does everywhere else: a container cannot always leave one out.
    ///
    /// # Errors
    /// It is wrong, or asks for help.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let command = without_empty_variables(Self::command());
        Self::from_arg_matches(&command.try_get_matches()?)
    }
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    let unless_empty = |argument: Arg| {
        let value = argument.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) {
            argument.env(Resettable::Reset)
        } else {
            argument
        }
    };
    command
        .mut_args(unless_empty)
        .mut_subcommands(without_empty_variables)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon.
    Serve(ServeArgs),
    /// Show the main job on this machine, with nothing installed: records flow for some seconds from
    /// emulated sources through a daemon into a function, and a summary proves that all arrived.
    Demo(DemoArgs),
    /// Say everything that is wrong with a configuration.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check what a configuration needs, without starting anything: functions, sources, destinations and
    /// their permissions, the store, and the machine.
    ///
    /// Prints a line for each, with what to do about it. Nothing is created, read from a source or invoked.
    /// Exit code 0: nothing is wrong, though there may be warnings; 1: something is; 64: the configuration
    /// itself is.
    Doctor(DoctorArgs),
    /// Create, show, change and delete event source mappings of a running daemon.
    Mappings {
        #[command(flatten)]
        client: ClientArgs,
        #[command(subcommand)]
        command: MappingsCommand,
    },
    /// Show what each mapping and shard is doing, and why one is not moving.
    ///
    /// `events/s` are events read from the source between two looks a second apart. A narrow
    /// terminal shows fewer columns and the end of each position; -o json shows everything.
    Status {
        /// Only this mapping: its UUID, the start of it, or SOURCE/FUNCTION.
        mapping: Option<String>,
        /// Show it again every second until interrupted, whether the daemon is there or not.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Stop reading and invoking in one shard of a stream, or in all shards of a mapping.
    ///
    /// What is in flight ends, and the position stays, also over a restart of the daemon.
    Park(ParkArgs),
    /// Let a shard or a mapping that was parked continue.
    Unpark(UnparkArgs),
    /// Move the checkpoint of one shard of a stream, or of all shards of a mapping, forwards or back.
    ///
    /// What is in flight ends first; then the shard continues from there. What a seek forwards leaves
    /// out is not delivered and not kept.
    Seek(SeekArgs),
    /// Pass what blocks a shard of a stream: its next records, the batches that are being retried, or
    /// everything through a sequence number.
    ///
    /// What is in flight ends first. What is skipped becomes dead letters, which can be redriven; then
    /// the shard continues after it.
    Skip(SkipArgs),
    /// Show, redrive, delete and export what mappings have given up: records whose retries or age were exhausted,
    /// that were too large or could not be read, with their events.
    DeadLetters {
        #[command(flatten)]
        client: ClientArgs,
        #[command(subcommand)]
        command: DeadLettersCommand,
    },
    /// Read a stretch of a stream once more, and deliver it to a function.
    Replay {
        #[command(flatten)]
        client: ClientArgs,
        #[command(subcommand)]
        command: ReplayCommand,
    },
    /// Send what failed once more: the records of on-failure documents, or the messages of a dead-letter
    /// queue.
    ///
    /// Prints a line for each document or message. Exit code 0: all were redriven; 1: some were not, and say
    /// why.
    Redrive(Box<RedriveArgs>),
    /// Show who changed what, and when, the latest change first.
    ///
    /// Every change of a mapping, its parks and its positions, of replays and of dead letters, and every
    /// redrive, is kept for 90 days. The table is a summary;
    /// -o json shows what was changed in full.
    History(HistoryArgs),
    /// Try filters of mappings.
    Filter {
        #[command(subcommand)]
        command: FilterCommand,
    },
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// What to do with filters.
#[derive(Debug, Subcommand)]
pub(crate) enum FilterCommand {
    /// Print whether an event would pass, and if not, which fields do not match.
    ///
    /// Exit code 0: the event, or at least one of its records, passes; 1: it does not; 64: a pattern
    /// or the event is invalid.
    Test(FilterTestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FilterTestArgs {
    /// The event pattern: JSON, @FILE, or @- for standard input. One of several has to match.
    #[arg(long = "pattern", value_name = "PATTERN", required = true)]
    pub(crate) patterns: Vec<String>,
    /// The event: a file, - for standard input, or JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) event: String,
    /// Source of the event, which is then a record as the function receives it, or an object with
    /// Records. Without this option the event is matched as it is.
    #[arg(long, value_enum)]
    pub(crate) source: Option<SourceName>,
}

/// The kinds of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceName {
    /// The pattern matches `data`, decoded, and the record's other members
    Kinesis,
    /// The pattern matches the record as it is
    Dynamodb,
    /// The pattern sees `body` as JSON, if it is JSON.
    Sqs,
}

/// How the daemon runs.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The configuration file; without one, defaults.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen here, whatever the file says.
    #[arg(long, value_name = "ADDRESS", env = "WINDLASS_LISTEN")]
    pub(crate) listen: Option<String>,
    /// Keep mappings and checkpoints here, whatever the file says.
    #[arg(long, value_name = "URL", env = "WINDLASS_STORE")]
    pub(crate) store: Option<String>,
    /// Delete mappings that have left the file.
    #[arg(long)]
    pub(crate) prune: bool,
    /// How the log is written.
    #[arg(long, value_enum, default_value = "text", env = "WINDLASS_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// The two forms of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How the demo runs.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave it running at the end, until interrupted.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Then replay half of the records into a second function.
    #[arg(long)]
    pub(crate) replay: bool,
    /// How many records to put, over all sources.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) records: u32,
    /// The port of the API; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Invoke a function in this language, in processes that the demo starts, in place of one over
    /// HTTP. Needs what runs it.
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) function: Option<DemoLanguage>,
}

/// The languages of the demo's functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoLanguage {
    /// Needs Python 3 with the package awslambdaric, and Linux.
    Python,
}

/// Where the daemon is, and how to print.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientArgs {
    /// The daemon's address.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "WINDLASS_ENDPOINT",
        default_value = "http://127.0.0.1:9870",
        value_parser = crate::client::parse_endpoint
    )]
    pub(crate) endpoint: String,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub(crate) output: OutputFormat,
}

/// The forms of what is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Columns for people.
    Table,
    /// The API's own JSON.
    Json,
    /// The same as YAML.
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MappingsCommand {
    /// List mappings.
    List {
        /// Of this source only.
        #[arg(long, value_name = "ARN")]
        event_source_arn: Option<String>,
        /// Of this function only.
        #[arg(long, value_name = "NAME")]
        function_name: Option<String>,
    },
    /// Show a mapping.
    Get {
        /// The mapping: its UUID, the start of it, or SOURCE/FUNCTION.
        mapping: String,
    },
    /// Create a mapping.
    Create(Box<MappingArgs>),
    /// Change a mapping.
    Update {
        /// The mapping: its UUID, the start of it, or SOURCE/FUNCTION.
        mapping: String,
        #[command(flatten)]
        members: Box<MappingArgs>,
    },
    /// Delete a mapping with its checkpoints.
    Delete {
        /// The mapping: its UUID, the start of it, or SOURCE/FUNCTION.
        mapping: String,
    },
    /// Enable a mapping.
    Enable {
        /// The mapping: its UUID, the start of it, or SOURCE/FUNCTION.
        mapping: String,
    },
    /// Disable a mapping; its checkpoints are kept.
    Disable {
        /// The mapping: its UUID, the start of it, or SOURCE/FUNCTION.
        mapping: String,
    },
    /// Make the mappings those of a file: show what differs, then create and update them.
    Apply(ApplyArgs),
}
