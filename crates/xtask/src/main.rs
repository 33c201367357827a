//! The project's own checks and chores, as `cargo xtask COMMAND`.
//!
//! Rust rather than shell scripts: nothing has to be installed, the rules have unit tests, and the
//! commands that CI runs are the ones a developer runs. It depends on no crate of ours, so that it
//! still builds, and can say what is wrong, while those do not.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what a task is for"
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

/// What can be asked of it.
#[derive(Parser)]
#[command(name = "cargo xtask", about, version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks everything, in order, and stops at the first step that fails
    Ci(ci::Options),
    /// Checks what neither the compiler nor clippy can: edges between crates, file length, the map
    Tidy,
    /// Checks bans, licences and sources of the dependencies, and advisories where they can be had
    Deny,
    /// Runs the simulation, or shows that it catches faults planted on purpose
    Sim(sim::Options),
    /// Installs, starts and stops the servers that others wrote and our tests need
    TestServers(test_servers::Options),
    /// Measures CPU per record and memory, and compares with the least that could be done
    Bench(bench::Options),
    /// Ends the processes named on its standard input when that closes
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
