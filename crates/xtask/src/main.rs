//! The project's checks and tasks, run as `cargo xtask COMMAND`.
//!
//! Rust instead of shell scripts: there is nothing to install, the rules have unit tests, and CI runs
//! the same commands as a developer. It depends on no other crate of the workspace, so it builds, and
//! reports what is wrong, while those do not compile.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task reports to the terminal"
)]

mod bench;
mod ci;
mod command;
mod deny;
mod http;
mod process;
mod sim;
mod test_servers;
mod tidy;
mod watchdog;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run all checks in order; stop at the first step that fails
    Ci(ci::Options),
    /// Check what the compiler and clippy cannot: dependencies, import cycles, wording, the code map
    Tidy,
    /// Check bans, licences and sources of the dependencies, and advisories if they can be fetched
    Deny,
    /// Run the simulation, or prove that it catches faults planted on purpose (mutants)
    Sim(sim::Options),
    /// Install, start and stop the third-party servers that the interop tests need
    TestServers(test_servers::Options),
    /// Measure CPU per record and memory, compared with a program that only moves the bytes
    Bench(bench::Options),
    /// Terminate the processes listed on standard input when it closes
    #[command(hide = true)]
    Watchdog,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Ci(options) => ci::run(&options),
        Task::Tidy => tidy::run(),
        Task::Deny => deny::run(),
        Task::Sim(options) => sim::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Watchdog => watchdog::run(),
        Task::TestServers(options) => test_servers::run(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
