//! The `windlass` program: its commands and their exit codes.
//!
//! 0: success; 64: invalid usage or configuration; 1: any other failure.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use tokio::runtime::Runtime;
use windlass_adapters::targets::process;

mod app;
mod cli;
mod client;
mod config;
mod credentials;
mod dead_letters;
mod demo;
mod doctor;
mod filter;
mod find;
mod history;
mod input;
mod log_writer;
mod mappings;
mod open_files;
mod output;
mod park;
mod redrive;
mod replay;
mod seek;
mod serve;
mod skip;
mod status;
mod telemetry;

use cli::{Cli, Command, FilterCommand};
use config::{Config, ConfigError, Environment};
use credentials::Credentials;

/// Pages of records are large and short-lived: glibc would map and unmap each of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `EX_USAGE` of sysexits.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    // Processes of functions start with these: they are not commands for people.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == process::SUPERVISOR_COMMAND => {
            return process::supervise(arguments);
        }
        Some(first) if first == process::LAUNCHER_COMMAND => return process::launch(arguments),
        Some(_) | None => {}
    }
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(message) => {
            let code = if message.use_stderr() { EXIT_USAGE } else { 0 };
            // Nothing else can be done if this cannot be written.
            drop(message.print());
            return ExitCode::from(code);
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprint_error(&format!("error: {error:#}"));
            match error.is::<UsageError>() {
                true => ExitCode::from(EXIT_USAGE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// What a command sees by itself that it cannot do, apart from what the command line refuses.
#[derive(Debug)]
struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => return serve::run(&args),
        Command::Demo(args) => return demo::run(&args),
        Command::Check { config } => return check(&config),
        Command::Doctor(args) => return doctor::run(&args),
        Command::Mappings { client, command } => {
            let credentials = Credentials::from_env(process_environment());
            if matches!(credentials, Credentials::Token(_)) {
                eprint_error(
                    "error: the API of AWS is not opened by WINDLASS_TOKEN; set \
                     WINDLASS_ACCESS_KEY_ID and WINDLASS_SECRET_ACCESS_KEY",
                );
                return Ok(ExitCode::from(EXIT_USAGE));
            }
            return Runtime::new()?.block_on(mappings::run(&client, credentials, command));
        }
        Command::Status {
            mapping,
            watch,
            client,
        } => {
            let credentials = Credentials::from_env(process_environment());
            let shown = status::run(&client, credentials, mapping.as_deref(), watch);
            Runtime::new()?.block_on(shown)?;
        }
        Command::Park(args) => {
            let credentials = Credentials::from_env(process_environment());
            Runtime::new()?.block_on(park::park(args, credentials))?;
        }
        Command::Unpark(args) => {
            let credentials = Credentials::from_env(process_environment());
            Runtime::new()?.block_on(park::unpark(args, credentials))?;
        }
        Command::Seek(args) => {
            let credentials = Credentials::from_env(process_environment());
            Runtime::new()?.block_on(seek::run(args, credentials))?;
        }
        Command::Skip(args) => {
            let credentials = Credentials::from_env(process_environment());
            Runtime::new()?.block_on(skip::run(args, credentials))?;
        }
        Command::Replay { client, command } => {
            let credentials = Credentials::from_env(process_environment());
            return Runtime::new()?.block_on(replay::run(&client, credentials, command));
        }
        Command::Redrive(args) => {
            let credentials = Credentials::from_env(process_environment());
            return Runtime::new()?.block_on(redrive::run(*args, credentials));
        }
        Command::History(args) => {
            let credentials = Credentials::from_env(process_environment());
            Runtime::new()?.block_on(history::run(&args, credentials))?;
        }
        Command::DeadLetters { client, command } => {
            let credentials = Credentials::from_env(process_environment());
            let run = dead_letters::run(&client, credentials, command);
            Runtime::new()?.block_on(run)?;
        }
        Command::Filter {
            command: FilterCommand::Test(args),
        } => return filter::test(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "windlass", &mut script);
            output::print(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Validates a file, its mappings included.
fn check(file: &Path) -> anyhow::Result<ExitCode> {
    match Config::load(file, process_environment()) {
        Ok(config) => {
            let (functions, mappings) = (config.adapters.functions.len(), config.mappings.len());
            output::print(&format!(
                "{} is valid: {functions} functions, {mappings} mappings",
                file.display()
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => Ok(print_config_errors(Some(file), &errors)),
    }
}

fn print_config_errors(file: Option<&Path>, errors: &[ConfigError]) -> ExitCode {
    let file = file.map_or_else(
        || "configuration".to_owned(),
        |file| file.display().to_string(),
    );
    for ConfigError { line, message } in errors {
        let location = if *line == 0 {
            file.clone()
        } else {
            format!("{file}:{line}")
        };
        eprint_error(&format!("{location}: {message}"));
    }
    ExitCode::from(EXIT_USAGE)
}

fn process_environment() -> Environment<'static> {
    Environment {
        variable: &env_variable,
        region_of_profile: &region_of_profile,
        directory: None,
    }
}

/// Reads the profile files of AWS, before any other runtime exists.
fn region_of_profile() -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    runtime.block_on(windlass_adapters::aws::region_of_profile())
}

/// A variable that is not Unicode counts as unset.
fn env_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn eprint_error(message: &str) {
    // Nothing else can be done if this cannot be written.
    drop(writeln!(std::io::stderr(), "{message}"));
}
