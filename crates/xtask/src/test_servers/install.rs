//! Installs what the servers need, each part by its own package manager.
//!
//! A part is described by a few pinned lines or files; a stamp beside it holds what it was installed
//! from. Where the stamp says the same, nothing is done, so the command may be called any number of
//! times; where it differs, the part is installed anew from nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::command::{self, program, root};

/// One thing to install. Some servers share one, and some parts are no servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Elasticmq,
    Npm,
    Python,
    Ferrokinesis,
    EventRuler,
    Loopback,
}

const PARTS: [Part; 6] = [
    Part::Elasticmq,
    Part::Npm,
    Part::Python,
    Part::Ferrokinesis,
    Part::EventRuler,
    Part::Loopback,
];

const FERROKINESIS: &str = "0.7.0";

/// Installs every part that is missing or of another version, side by side.
///
/// # Errors
/// If a program is missing, with the command that installs it; if a package manager fails, with
/// the end of what it wrote.
pub(super) fn run(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let lock = File::create(folder.join("install.lock")).context("creating install.lock")?;
    lock.lock().context("waiting for another installation")?;
    for part in PARTS {
        part.expect_programs()?;
    }
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let parts = PARTS.map(|part| scope.spawn(move || part.install(folder)));
        parts
            .into_iter()
            .map(|part| {
                part.join()
                    .unwrap_or_else(|_| Err(anyhow!("a part panicked")))
            })
            .collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    println!("the test servers are installed in {}", folder.display());
    Ok(())
}

impl Part {
    /// Where it is installed.
    pub(super) fn folder(self, folder: &Path) -> PathBuf {
        folder.join(self.name())
    }

    /// Whether it is installed at the version that is pinned.
    pub(super) fn is_installed(self, folder: &Path) -> bool {
        let wanted = self.wanted();
        wanted.is_ok_and(|wanted| {
            fs::read_to_string(self.stamp(folder)).is_ok_and(|stamp| stamp == wanted)
        })
    }

    fn name(self) -> &'static str {
        match self {
            Part::Elasticmq => "elasticmq",
            Part::Npm => "npm",
            Part::Python => "python",
            Part::Ferrokinesis => "ferrokinesis",
            Part::EventRuler => "event-ruler",
            Part::Loopback => "loopback",
        }
    }

    /// The programs it is installed or run with, and the command that brings each of them.
    fn programs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Part::Elasticmq => &[
                ("mvn", "apt-get install maven"),
                ("java", "apt-get install openjdk-17-jre-headless"),
            ],
            Part::Npm => &[
                ("node", "apt-get install nodejs"),
                ("npm", "apt-get install npm"),
            ],
            Part::Python => &[("python3", "apt-get install python3 python3-venv")],
            Part::Ferrokinesis => &[("cargo", "apt-get install rustup")],
            Part::EventRuler => &[
                ("mvn", "apt-get install maven"),
                ("javac", "apt-get install openjdk-17-jdk-headless"),
            ],
            Part::Loopback => &[("cc", "apt-get install gcc libc6-dev")],
        }
    }

    fn expect_programs(self) -> Result<()> {
        for (name, remedy) in self.programs() {
            if command::find(name).is_none() {
                bail!(
                    "`{name}` is missing, which {} needs: `{remedy}`",
                    self.name()
                );
            }
        }
        Ok(())
    }

    /// Everything that decides what is installed.
    fn wanted(self) -> Result<String> {
        let files: &[&str] = match self {
            Part::Elasticmq => &["elasticmq.pom.xml"],
            Part::Npm => &["package.json", "package-lock.json"],
            Part::Python => &["requirements.txt"],
            Part::Ferrokinesis => return Ok(format!("ferrokinesis {FERROKINESIS}\n")),
            Part::EventRuler => &["event-ruler.pom.xml", "EventRuler.java"],
            Part::Loopback => &["loopback.c"],
        };
        let mut wanted = String::new();
        for file in files {
            let path = source(file);
            let text =
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            wanted.extend([file, "\n", &text]);
        }
        Ok(wanted)
    }

    fn stamp(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.stamp", self.name()))
    }

    fn install(self, folder: &Path) -> Result<()> {
        if self.is_installed(folder) {
            return Ok(());
        }
        let start = Instant::now();
        println!("installing {}", self.name());
        let place = self.folder(folder);
        remove(&self.stamp(folder))?;
        remove(&place)?;
        fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
        let log = folder.join(format!("install-{}.log", self.name()));
        fs::write(&log, "").with_context(|| format!("writing {}", log.display()))?;
        for mut command in self.commands(&place)? {
            logged(&mut command, &log).with_context(|| format!("installing {}", self.name()))?;
        }
        fs::write(self.stamp(folder), self.wanted()?).context("writing the stamp")?;
        let seconds = start.elapsed().as_secs_f64();
        println!("installed {} in {seconds:.1} s", self.name());
        Ok(())
    }

    fn commands(self, place: &Path) -> Result<Vec<Command>> {
        Ok(match self {
            Part::Elasticmq => vec![maven("elasticmq.pom.xml", place)],
            Part::Npm => {
                for file in ["package.json", "package-lock.json"] {
                    fs::copy(source(file), place.join(file))
                        .with_context(|| format!("copying {file}"))?;
                }
                let mut npm = program("npm");
                npm.args(["ci", "--no-audit", "--no-fund"]);
                npm.current_dir(place);
                vec![npm]
            }
            Part::Python => {
                let mut create = program("python3");
                create.args(["-m", "venv"]).arg(place);
                let mut pip = program(place.join("bin/python"));
                pip.args(["-m", "pip", "install", "--no-input", "--requirement"]);
                pip.arg(source("requirements.txt"));
                vec![create, pip]
            }
            Part::Ferrokinesis => vec![ferrokinesis(place)],
            Part::EventRuler => {
                let mut compile = program("javac");
                compile.arg("-cp").arg(place.join("*"));
                compile.arg("-d").arg(place).arg(source("EventRuler.java"));
                vec![maven("event-ruler.pom.xml", place), compile]
            }
            Part::Loopback => {
                let mut compile = program("cc");
                compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
                compile.arg(place.join("loopback.so"));
                compile.arg(source("loopback.c")).arg("-ldl");
                vec![compile]
            }
        })
    }
}

/// Copies the libraries that a file of Maven names, and theirs.
fn maven(file: &str, place: &Path) -> Command {
    let mut command = program("mvn");
    command.args(["--quiet", "--batch-mode", "--file"]);
    command.arg(source(file));
    command.args([
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        "-Dmdep.overWriteReleases=false",
    ]);
    command.arg(format!("-DoutputDirectory={}", place.display()));
    command
}

/// Built in a folder of its own, which cargo removes: the target folder of the workspace may be
/// locked by the very build that waits for this.
fn ferrokinesis(place: &Path) -> Command {
    let mut command = program("cargo");
    command.args(["install", "ferrokinesis", "--locked", "--version"]);
    command.arg(FERROKINESIS).arg("--root").arg(place);
    command.env_remove("CARGO_TARGET_DIR");
    command
}

fn source(file: &str) -> PathBuf {
    root().join("tests/servers").join(file)
}

fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let line = command::line_of(command);
    let file = File::options()
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))?;
    let again = file.try_clone().context("sharing the log")?;
    let status = command
        .stdout(Stdio::from(file))
        .stderr(Stdio::from(again))
        .status()
        .with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        let end = command::last_lines(log, 20);
        bail!("`{line}` ended with {status}; {}:\n{end}", log.display());
    }
    Ok(())
}
