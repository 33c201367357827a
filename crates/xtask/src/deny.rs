//! Checks the dependencies against `deny.toml`: bans, licences, sources, advisories.
//!
//! `cargo-deny` is not part of the toolchain, and its advisory database is a git repository that not
//! every machine can reach. The task runs what it can and prints what it skipped.

use anyhow::Result;

use crate::command;

pub(crate) fn run() -> Result<()> {
    if command::find_program("cargo-deny").is_none() {
        println!(
            "skipped: bans, licences, sources, advisories (cargo-deny is not installed; \
             `cargo install cargo-deny --locked` installs it)"
        );
        return Ok(());
    }
    check(&["bans", "licenses", "sources"])?;
    let mut fetch = command::cargo();
    if command::run(fetch.args(["deny", "fetch", "db"])).is_err() {
        println!("skipped: advisories (cannot fetch their database)");
        return Ok(());
    }
    check(&["advisories"])
}

fn check(what: &[&str]) -> Result<()> {
    command::run(command::cargo().args(["deny", "check"]).args(what))
}
