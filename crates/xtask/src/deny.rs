//! Checks the dependencies against `deny.toml`: bans, licences, sources, advisories.
//!
//! `cargo-deny` is not part of the toolchain, and its database of advisories is a git repository
//! that not every machine can reach. So the task runs what it can and names what it did not run.

use anyhow::Result;

use crate::command;

/// Runs the checks that this machine can run.
///
/// # Errors
/// If a check that could be run found something.
pub(crate) fn run() -> Result<()> {
    if command::find_program("cargo-deny").is_none() {
        println!(
            "not run: bans, licences, sources, advisories (there is no cargo-deny here; \
             `cargo install cargo-deny --locked` gives it)"
        );
        return Ok(());
    }
    check(&["bans", "licenses", "sources"])?;
    let mut fetch = command::cargo();
    if command::run(fetch.args(["deny", "fetch", "db"])).is_err() {
        println!("not run: advisories (their database cannot be fetched from here)");
        return Ok(());
    }
    check(&["advisories"])
}

fn check(what: &[&str]) -> Result<()> {
    command::run(command::cargo().args(["deny", "check"]).args(what))
}
