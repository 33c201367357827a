//! Runs programs for the tasks and prints their command lines.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::sleep;

/// The root of the workspace, independent of the current directory.
pub(crate) fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .ancestors()
        .nth(2)
        .expect("the crate is two levels below the root")
        .to_path_buf()
}

/// Cargo's target directory: `CARGO_TARGET_DIR`, or `target`.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The cargo that started this task; runs in the root directory.
pub(crate) fn cargo() -> Command {
    program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program that runs in the root directory with an empty standard input.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a command and shows its command line and its output. An exit status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = command_line(command);
    println!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("starting `{line}`"))?;
    expect_success(&line, status)
}

/// Runs a command and returns its standard output.
pub(crate) fn read_output(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting `{line}`"))?;
    expect_success(&line, output.status)?;
    String::from_utf8(output.stdout).with_context(|| format!("reading the output of `{line}`"))
}

/// Runs a command and returns its standard output. Kills it after the timeout.
pub(crate) fn read_output_within(command: &mut Command, timeout: Duration) -> Result<String> {
    let line = command_line(command);
    println!("$ {line}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{line}`"))?;
    let mut output = child
        .stdout
        .take()
        .context("standard output is not piped")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting for a program")? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill().context("killing a program")?;
            child.wait().context("killing a program")?;
            bail!("`{line}` did not end within {} s", timeout.as_secs());
        }
        sleep(Duration::from_millis(20));
    };
    expect_success(&line, status)?;
    match reader.join() {
        Ok(text) => text.with_context(|| format!("reading the output of `{line}`")),
        Err(_) => bail!("reading the output of `{line}` panicked"),
    }
}

/// The paths of the repository's files from its root: those that git tracks or would track.
pub(crate) fn repository_files() -> Result<Vec<String>> {
    let mut list = program("git");
    list.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = read_output(&mut list)?;
    let present = listed
        .split_terminator('\0')
        .filter(|path| root().join(path).is_file());
    Ok(present.map(str::to_owned).collect())
}

/// Looks a program up in `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// A command as a person would type it.
pub(crate) fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![
        program
            .file_name()
            .unwrap_or(command.get_program())
            .to_string_lossy(),
    ];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}

/// The last lines of a log, for an error message; if it cannot be read, the reason.
pub(crate) fn last_lines(path: &Path, n_lines: usize) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(n_lines)..].join("\n")
        }
        Err(error) => format!("(unreadable: {error})"),
    }
}

fn expect_success(line: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{line}` failed with {status}");
    }
    Ok(())
}
