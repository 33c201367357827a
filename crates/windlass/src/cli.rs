//! The command line: what can be asked of the program, and its help.

use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

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
        /// Only this mapping (its UUID).
        mapping: Option<String>,
        /// Show it again every second until interrupted, whether the daemon is there or not.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
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
    /// The pattern sees `data`, decoded, beside the record's other members.
    Kinesis,
    /// The pattern sees the record as it is.
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
    /// How many records to put, over all sources.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) records: u32,
    /// The port of the API; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
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

/// What to do with mappings.
#[derive(Debug, Subcommand)]
pub(crate) enum MappingsCommand {
    /// Every mapping.
    List {
        /// Only those of this source.
        #[arg(long, value_name = "ARN")]
        event_source_arn: Option<String>,
        /// Only those of this function.
        #[arg(long, value_name = "NAME")]
        function_name: Option<String>,
    },
    /// One mapping.
    Get {
        /// Its UUID.
        uuid: String,
    },
    /// A new mapping.
    Create(Box<MappingArgs>),
    /// Change a mapping.
    Update {
        /// Its UUID.
        uuid: String,
        #[command(flatten)]
        mapping: Box<MappingArgs>,
    },
    /// Stop and remove a mapping, its checkpoints included.
    Delete {
        /// Its UUID.
        uuid: String,
    },
    /// Let a mapping run.
    Enable {
        /// Its UUID.
        uuid: String,
    },
    /// Stop a mapping; its checkpoints are kept.
    Disable {
        /// Its UUID.
        uuid: String,
    },
    /// Create or update every mapping of a file.
    Apply {
        /// A list of mappings, or a map with the key `mappings`; YAML or JSON, `-` for standard
        /// input.
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// The members of a mapping, spelled as the AWS CLI does.
#[derive(Debug, Default, Args)]
pub(crate) struct MappingArgs {
    /// A file with AWS's members, YAML or JSON, `-` for standard input; options go before it.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The function: a name or an ARN.
    #[arg(long, value_name = "NAME")]
    pub(crate) function_name: Option<String>,
    /// The stream or queue.
    #[arg(long, value_name = "ARN")]
    pub(crate) event_source_arn: Option<String>,
    /// Whether it runs.
    #[arg(long, overrides_with = "no_enabled", action = ArgAction::SetTrue)]
    pub(crate) enabled: bool,
    /// Do not let it run yet.
    #[arg(long, overrides_with = "enabled", action = ArgAction::SetTrue)]
    pub(crate) no_enabled: bool,
    /// Most records of one batch.
    #[arg(long, value_name = "COUNT")]
    pub(crate) batch_size: Option<i64>,
    /// How long a batch gathers.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) maximum_batching_window_in_seconds: Option<i64>,
    /// TRIM_HORIZON, LATEST or AT_TIMESTAMP.
    #[arg(long, value_name = "POSITION")]
    pub(crate) starting_position: Option<String>,
    /// For AT_TIMESTAMP: seconds since the epoch.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) starting_position_timestamp: Option<f64>,
    /// Batches of one shard that may run at a time.
    #[arg(long, value_name = "COUNT")]
    pub(crate) parallelization_factor: Option<i64>,
    /// Retries after the first attempt; -1 for ever.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub(crate) maximum_retry_attempts: Option<i64>,
    /// Age at which a record is given up; -1 never.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) maximum_record_age_in_seconds: Option<i64>,
    /// Split a failed batch.
    #[arg(long, overrides_with = "no_bisect_batch_on_function_error", action = ArgAction::SetTrue)]
    pub(crate) bisect_batch_on_function_error: bool,
    /// Do not split a failed batch.
    #[arg(long, overrides_with = "bisect_batch_on_function_error", action = ArgAction::SetTrue)]
    pub(crate) no_bisect_batch_on_function_error: bool,
    /// Length of a tumbling window; 0 is none.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) tumbling_window_in_seconds: Option<i64>,
    /// ReportBatchItemFailures.
    #[arg(long, value_name = "TYPE", num_args = 0..)]
    pub(crate) function_response_types: Option<Vec<String>>,
    /// As JSON: {"OnFailure":{"Destination":"ARN"}}.
    #[arg(long, value_name = "JSON")]
    pub(crate) destination_config: Option<String>,
    /// As JSON: {"Filters":[{"Pattern":"…"}]}.
    #[arg(long, value_name = "JSON")]
    pub(crate) filter_criteria: Option<String>,
    /// As JSON: {"MaximumConcurrency":10}.
    #[arg(long, value_name = "JSON")]
    pub(crate) scaling_config: Option<String>,
}
