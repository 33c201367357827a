//! The daemon: command line, configuration, composition, signals.
//!
//! Exit codes: 0 done, 64 wrong usage or configuration, 1 anything else.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use tokio::runtime::Runtime;

mod app;
mod cli;
mod client;
mod config;
mod demo;
mod filter;
mod mappings;
mod output;
mod serve;
mod status;
mod telemetry;

use cli::{Cli, Command, FilterCommand};
use config::{Config, Problem, Surroundings};

/// Pages of records are large and come and go all the time: glibc maps and unmaps each of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage or configuration: `EX_USAGE` of sysexits.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(message) => {
            let code = if message.use_stderr() { EXIT_USAGE } else { 0 };
            // Nothing more can be done where even this cannot be written.
            drop(message.print());
            return ExitCode::from(code);
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => return serve::run(&args),
        Command::Demo(args) => return demo::run(&args),
        Command::Check { config } => return check(&config),
        Command::Mappings { client, command } => {
            Runtime::new()?.block_on(mappings::run(&client, command))?;
        }
        Command::Status {
            mapping,
            watch,
            client,
        } => {
            Runtime::new()?.block_on(status::run(&client, mapping.as_deref(), watch))?;
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

/// Says everything that is wrong with a file, its mappings included.
fn check(file: &Path) -> anyhow::Result<ExitCode> {
    match Config::load(file, surroundings()) {
        Ok(config) => {
            let (functions, mappings) = (config.functions.len(), config.mappings.len());
            output::print(&format!(
                "{} is right: {functions} functions, {mappings} mappings",
                file.display()
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => Ok(refuse(Some(file), &problems)),
    }
}

/// Prints every problem of a configuration.
fn refuse(file: Option<&Path>, problems: &[Problem]) -> ExitCode {
    let file = file.map_or_else(
        || "configuration".to_owned(),
        |file| file.display().to_string(),
    );
    for Problem { line, message } in problems {
        let place = if *line == 0 {
            file.clone()
        } else {
            format!("{file}:{line}")
        };
        complain(&format!("{place}: {message}"));
    }
    ExitCode::from(EXIT_USAGE)
}

/// The environment and the files of AWS's own programs.
fn surroundings() -> Surroundings<'static> {
    Surroundings {
        variable: &environment,
        region_of_profile: &region_of_profile,
    }
}

/// Reads a file or two, before there is any other runtime.
fn region_of_profile() -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    runtime.block_on(windlass_adapters::aws::region_of_profile())
}

/// A variable of the environment; one that is not Unicode counts as unset.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(
    clippy::print_stderr,
    reason = "errors of the command line belong there"
)]
fn complain(message: &str) {
    eprintln!("{message}");
}
