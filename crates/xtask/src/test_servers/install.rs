//! Installs the servers' packages, each with its own package manager.
//!
//! A package is defined by a few pinned lines or files, and a stamp next to it holds their text as of
//! the installation. If the two are equal, nothing is done; otherwise the package is reinstalled from
//! scratch.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::command::{self, program, root};

/// Some servers share a package, and some packages are not servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Package {
    Elasticmq,
    Npm,
    Python,
    Ferrokinesis,
    EventRuler,
    Loopback,
    RustExample,
    GoExample,
}

const PACKAGES: [Package; 8] = [
    Package::Elasticmq,
    Package::Npm,
    Package::Python,
    Package::Ferrokinesis,
    Package::EventRuler,
    Package::Loopback,
    Package::RustExample,
    Package::GoExample,
];

const FERROKINESIS: &str = "0.7.0";

/// Installs all packages that are missing or have another version, in parallel.
pub(super) fn run(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let lock = File::create(dir.join("install.lock")).context("creating install.lock")?;
    lock.lock().context("waiting for another installation")?;
    for package in PACKAGES {
        package.expect_programs()?;
    }
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let packages = PACKAGES.map(|package| scope.spawn(move || package.install(dir)));
        packages
            .into_iter()
            .map(|package| {
                package
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a package panicked")))
            })
            .collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    println!("test servers installed in {}", dir.display());
    Ok(())
}

impl Package {
    /// The directory of its files.
    pub(super) fn dir(self, dir: &Path) -> PathBuf {
        dir.join(self.name())
    }

    /// Whether the pinned version is installed.
    pub(super) fn is_installed(self, dir: &Path) -> bool {
        let pinned = self.pinned();
        pinned.is_ok_and(|pinned| {
            fs::read_to_string(self.stamp(dir)).is_ok_and(|stamp| stamp == pinned)
        })
    }

    fn name(self) -> &'static str {
        match self {
            Package::Elasticmq => "elasticmq",
            Package::Npm => "npm",
            Package::Python => "python",
            Package::Ferrokinesis => "ferrokinesis",
            Package::EventRuler => "event-ruler",
            Package::Loopback => "loopback",
            Package::RustExample => "rust-example",
            Package::GoExample => "go-example",
        }
    }

    /// The programs that it needs, each with the command that installs it.
    fn programs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Package::Elasticmq => &[
                ("mvn", "apt-get install maven"),
                ("java", "apt-get install openjdk-17-jre-headless"),
            ],
            Package::Npm => &[
                ("node", "apt-get install nodejs"),
                ("npm", "apt-get install npm"),
            ],
            // The toolchain of Go comes from PyPI.
            Package::Python | Package::GoExample => {
                &[("python3", "apt-get install python3 python3-venv")]
            }
            Package::Ferrokinesis | Package::RustExample => &[("cargo", "apt-get install rustup")],
            Package::EventRuler => &[
                ("mvn", "apt-get install maven"),
                ("javac", "apt-get install openjdk-17-jdk-headless"),
            ],
            Package::Loopback => &[("cc", "apt-get install gcc libc6-dev")],
        }
    }

    fn expect_programs(self) -> Result<()> {
        for (name, remedy) in self.programs() {
            if command::find_program(name).is_none() {
                bail!("{} needs `{name}`; install it with `{remedy}`", self.name(),);
            }
        }
        Ok(())
    }

    /// The text that defines the package and its version.
    fn pinned(self) -> Result<String> {
        let files: &[&str] = match self {
            Package::Elasticmq => &["elasticmq.pom.xml"],
            Package::Npm => &["package.json", "package-lock.json"],
            Package::Python => &["requirements.txt"],
            Package::Ferrokinesis => return Ok(format!("ferrokinesis {FERROKINESIS}\n")),
            Package::EventRuler => &["event-ruler.pom.xml", "EventRuler.java"],
            Package::Loopback => &["loopback.c"],
            Package::RustExample => &[
                "../../config/examples/rust/Cargo.toml",
                "../../config/examples/rust/Cargo.lock",
                "../../config/examples/rust/src/main.rs",
            ],
            Package::GoExample => &[
                "go-requirements.txt",
                "../../config/examples/go/go.mod",
                "../../config/examples/go/go.sum",
                "../../config/examples/go/main.go",
            ],
        };
        let mut pinned = String::new();
        for file in files {
            let path = source(file);
            let text =
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            pinned.extend([file, "\n", &text]);
        }
        Ok(pinned)
    }

    fn stamp(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.stamp", self.name()))
    }

    fn install(self, dir: &Path) -> Result<()> {
        if self.is_installed(dir) {
            return Ok(());
        }
        let start = Instant::now();
        println!("installing {}", self.name());
        let package_dir = self.dir(dir);
        remove(&self.stamp(dir))?;
        remove(&package_dir)?;
        fs::create_dir_all(&package_dir)
            .with_context(|| format!("creating {}", package_dir.display()))?;
        let log = dir.join(format!("install-{}.log", self.name()));
        fs::write(&log, "").with_context(|| format!("writing {}", log.display()))?;
        for mut command in self.commands(&package_dir)? {
            logged(&mut command, &log).with_context(|| format!("installing {}", self.name()))?;
        }
        fs::write(self.stamp(dir), self.pinned()?).context("writing the stamp")?;
        let seconds = start.elapsed().as_secs_f64();
        println!("installed {} in {seconds:.1} s", self.name());
        Ok(())
    }

    fn commands(self, package_dir: &Path) -> Result<Vec<Command>> {
        Ok(match self {
            Package::Elasticmq => vec![maven("elasticmq.pom.xml", package_dir)],
            Package::Npm => {
                for file in ["package.json", "package-lock.json"] {
                    fs::copy(source(file), package_dir.join(file))
                        .with_context(|| format!("copying {file}"))?;
                }
                let mut npm = program("npm");
                npm.args(["ci", "--no-audit", "--no-fund"]);
                npm.current_dir(package_dir);
                vec![npm]
            }
            Package::Python => {
                let [create, pip] = python(package_dir, "requirements.txt");
                vec![create, pip]
            }
            Package::Ferrokinesis => vec![ferrokinesis(package_dir)],
            Package::EventRuler => {
                let mut compile = program("javac");
                compile.arg("-cp").arg(package_dir.join("*"));
                compile
                    .arg("-d")
                    .arg(package_dir)
                    .arg(source("EventRuler.java"));
                vec![maven("event-ruler.pom.xml", package_dir), compile]
            }
            Package::Loopback => {
                let mut compile = program("cc");
                compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
                compile.arg(package_dir.join("loopback.so"));
                compile.arg(source("loopback.c")).arg("-ldl");
                vec![compile]
            }
            Package::RustExample => vec![rust_example(package_dir)],
            Package::GoExample => {
                let [create, pip] = python(package_dir, "go-requirements.txt");
                vec![create, pip, go_example(package_dir)]
            }
        })
    }
}

/// Copies the dependencies of a Maven project, transitive ones included.
fn maven(file: &str, package_dir: &Path) -> Command {
    let mut command = program("mvn");
    command.args(["--quiet", "--batch-mode", "--file"]);
    command.arg(source(file));
    command.args([
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        "-Dmdep.overWriteReleases=false",
    ]);
    command.arg(format!("-DoutputDirectory={}", package_dir.display()));
    command
}

/// Built in a temporary directory: the workspace's target directory may be locked by the build that
/// waits for this installation.
fn ferrokinesis(package_dir: &Path) -> Command {
    let mut command = program("cargo");
    command.args(["install", "ferrokinesis", "--locked", "--version"]);
    command.arg(FERROKINESIS).arg("--root").arg(package_dir);
    command.env_remove("CARGO_TARGET_DIR");
    command
}

/// A virtual environment with the packages of a file.
fn python(package_dir: &Path, requirements: &str) -> [Command; 2] {
    let mut create = program("python3");
    create.args(["-m", "venv"]).arg(package_dir);
    let mut pip = program(package_dir.join("bin/python"));
    pip.args(["-m", "pip", "install", "--no-input", "--requirement"]);
    pip.arg(source(requirements));
    [create, pip]
}

/// As a user builds it, into a target directory of its own.
fn rust_example(package_dir: &Path) -> Command {
    let mut command = program("cargo");
    command.args(["build", "--locked", "--target-dir"]);
    command.arg(package_dir).arg("--manifest-path");
    command.arg(root().join("config/examples/rust/Cargo.toml"));
    command.env("CARGO_PROFILE_DEV_DEBUG", "0");
    command
}

/// Everything that Go downloads and builds stays in the package, and can be removed.
fn go_example(package_dir: &Path) -> Command {
    let mut command = program(package_dir.join("bin/go"));
    command
        .args(["build", "-o"])
        .arg(package_dir.join("hello"))
        .current_dir(root().join("config/examples/go"))
        .env("GOPATH", package_dir.join("go"))
        .env("GOCACHE", package_dir.join("go/cache"))
        .env("GOFLAGS", "-modcacherw")
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0");
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
    let line = command::command_line(command);
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
        bail!("`{line}` failed with {status}; {}:\n{end}", log.display());
    }
    Ok(())
}
