//! Starts servers, waits until they are ready, writes their endpoints to `running.json`, and stops
//! them.
//!
//! The file also holds the commands, so that a test can start a server of its own on a chosen port,
//! stop it and start it again.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::catalog::{self, Launch, PORT, SERVERS, Server};
use super::probe;
use crate::command::{last_lines, program};
use crate::http;
use crate::process::{Identity, Scope, sleep, terminate_all};
use crate::watchdog::Watchdog;

/// Describes the running servers.
pub(super) const FILE: &str = "running.json";

/// The slowest server takes three seconds on an idle machine.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// Another process may take the free port before the server binds it.
const ATTEMPTS: usize = 3;

pub(super) struct RunningServers {
    servers: Vec<Started>,
    file: PathBuf,
}

struct Started {
    server: &'static Server,
    port: u16,
    child: Child,
    identity: Identity,
    log: PathBuf,
}

/// Starts servers that outlive this process, unless they already run.
pub(super) fn start(dir: &Path, servers: &[&'static Server]) -> Result<()> {
    let file = dir.join(FILE);
    if file.exists() && all_run(&file, servers)? {
        println!("already running: {}", file.display());
        return Ok(());
    }
    stop(dir)?;
    let running = RunningServers::start(dir, &dir.join("started"), servers, None)?;
    fs::rename(&running.file, &file).with_context(|| format!("writing {}", file.display()))?;
    println!("running: {}", file.display());
    Ok(())
}

/// Stops the servers of [`start`], if there are any.
pub(super) fn stop(dir: &Path) -> Result<()> {
    let file = dir.join(FILE);
    if !file.exists() {
        println!("no servers are running");
        return Ok(());
    }
    terminate_all(&groups_in(&read(&file)?));
    fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))
}

impl RunningServers {
    /// Starts servers, with logs and `running.json` in `work_dir`, and waits until all are ready. If
    /// one fails, none is left running.
    pub(super) fn start(
        dir: &Path,
        work_dir: &Path,
        servers: &[&'static Server],
        watchdog: Option<&Watchdog>,
    ) -> Result<Self> {
        for server in servers {
            expect_installed(server, dir)?;
        }
        fs::create_dir_all(work_dir).with_context(|| format!("creating {}", work_dir.display()))?;
        let mut running = Self {
            servers: Vec::new(),
            file: work_dir.join(FILE),
        };
        if let Err(error) = running.start_all(dir, work_dir, servers, watchdog) {
            running.end();
            return Err(error);
        }
        running.write(dir)?;
        Ok(running)
    }

    /// Stops the servers and removes `running.json`.
    pub(super) fn stop(mut self) -> Result<()> {
        self.end();
        fs::remove_file(&self.file).with_context(|| format!("removing {}", self.file.display()))
    }

    fn start_all(
        &mut self,
        dir: &Path,
        work_dir: &Path,
        servers: &[&'static Server],
        watchdog: Option<&Watchdog>,
    ) -> Result<()> {
        let begin = Instant::now();
        for &server in servers {
            self.servers.push(spawn(server, dir, work_dir, watchdog)?);
        }
        for started in &mut self.servers {
            let mut attempt = 1;
            while let Err(error) = started.wait_until_ready() {
                let gone = !started.identity.is_alive();
                if !gone || attempt == ATTEMPTS {
                    return Err(error);
                }
                attempt += 1;
                *started = spawn(started.server, dir, work_dir, watchdog)?;
            }
            let (name, seconds) = (started.server.name, begin.elapsed().as_secs_f64());
            println!("{name:<14}{} after {seconds:.1} s", started.endpoint());
        }
        Ok(())
    }

    fn end(&mut self) {
        let groups: Vec<_> = self
            .servers
            .iter()
            .map(|started| (Scope::Group, started.identity))
            .collect();
        terminate_all(&groups);
        for started in &mut self.servers {
            if let Err(error) = started.child.wait() {
                let name = started.server.name;
                eprintln!("warning: cannot wait for {name}: {error}");
            }
        }
    }

    fn write(&self, dir: &Path) -> Result<()> {
        let mut about = Map::new();
        let mut pids = Map::new();
        let mut started_at = Map::new();
        let mut logs = Map::new();
        for started in &self.servers {
            let name = started.server.name.to_owned();
            about.insert(name.clone(), started.endpoint().into());
            pids.insert(name.clone(), started.identity.pid.into());
            started_at.insert(name.clone(), started.identity.started.into());
            logs.insert(name, path(&started.log));
        }
        about.insert("python".to_owned(), path(&catalog::python(dir)));
        let node_modules = catalog::node_modules(dir);
        about.insert("node_modules".to_owned(), path(&node_modules));
        about.insert("aws".to_owned(), path(&catalog::aws(dir)));
        let event_ruler = catalog::event_ruler(dir);
        about.insert("event_ruler".to_owned(), path(&event_ruler));
        about.insert("rust_example".to_owned(), path(&catalog::rust_example(dir)));
        about.insert("go_example".to_owned(), path(&catalog::go_example(dir)));
        about.insert("pids".to_owned(), pids.into());
        about.insert("started".to_owned(), started_at.into());
        about.insert("logs".to_owned(), logs.into());
        about.insert("commands".to_owned(), commands(dir));
        let text = serde_json::to_string_pretty(&Value::Object(about))
            .context("rendering running.json")?;
        let next = self.file.with_extension("json.next");
        fs::write(&next, text + "\n").with_context(|| format!("writing {}", next.display()))?;
        fs::rename(&next, &self.file).with_context(|| format!("writing {}", self.file.display()))
    }
}

impl Started {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let end = Instant::now() + READY_TIMEOUT;
        let name = self.server.name;
        loop {
            if probe::is_ready(self.port, self.server) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().context("polling a server")? {
                bail!("{name} ended with {status}; {}", self.end_of_log());
            }
            if Instant::now() >= end {
                let seconds = READY_TIMEOUT.as_secs();
                bail!(
                    "{name} is not ready after {seconds} s; {}",
                    self.end_of_log()
                );
            }
            sleep(Duration::from_millis(50));
        }
    }

    fn end_of_log(&self) -> String {
        format!("{}:\n{}", self.log.display(), last_lines(&self.log, 20))
    }
}

fn expect_installed(server: &Server, dir: &Path) -> Result<()> {
    if !server.package.is_installed(dir) {
        let (name, dir) = (server.name, dir.display());
        bail!("{name} is not installed in {dir}: `cargo xtask test-servers install`");
    }
    Ok(())
}

fn spawn(
    server: &'static Server,
    dir: &Path,
    work_dir: &Path,
    watchdog: Option<&Watchdog>,
) -> Result<Started> {
    let name = server.name;
    let work = work_dir.join(name);
    fs::create_dir_all(&work).with_context(|| format!("creating {}", work.display()))?;
    let log = work_dir.join(format!("{name}.log"));
    let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let errors = output.try_clone().context("sharing a log")?;
    let port = http::free_port()?;
    let mut command = to_command(&(server.launch)(dir), port);
    command
        .current_dir(work)
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors))
        .process_group(0);
    let child = command
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let identity = Identity::of(child.id())
        .with_context(|| format!("{name} ended immediately; see {}", log.display()))?;
    if let Some(watchdog) = watchdog {
        watchdog.watch_group(child.id())?;
    }
    Ok(Started {
        server,
        port,
        child,
        identity,
        log,
    })
}

/// Without the AWS credentials of the user who runs the tests.
fn to_command(launch: &Launch, port: u16) -> Command {
    let with_port = |text: &String| text.replace(PORT, &port.to_string());
    let mut command = program(&launch.program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.args(launch.arguments.iter().map(with_port));
    for (name, value) in &launch.variables {
        command.env(name, with_port(value));
    }
    command
}

/// The commands of the installed servers, for tests that start one of their own.
fn commands(dir: &Path) -> Value {
    let installed = SERVERS
        .iter()
        .filter(|server| server.package.is_installed(dir));
    installed
        .map(|server| {
            let launch = (server.launch)(dir);
            let about = json!({
                "program": path(&launch.program),
                "args": launch.arguments,
                "env": launch.variables,
                "ready": {
                    "target": server.ready_target,
                    "content_type": server.ready_content_type,
                },
            });
            (server.name.to_owned(), about)
        })
        .collect::<Map<_, _>>()
        .into()
}

fn all_run(file: &Path, servers: &[&'static Server]) -> Result<bool> {
    let about = read(file)?;
    let groups = groups_by_name(&about);
    Ok(servers.iter().all(|server| {
        groups
            .get(server.name)
            .is_some_and(|(_, identity)| identity.is_alive())
    }))
}

fn groups_in(about: &Value) -> Vec<(Scope, Identity)> {
    groups_by_name(about).into_values().collect()
}

fn groups_by_name(about: &Value) -> BTreeMap<&str, (Scope, Identity)> {
    let pids = about["pids"].as_object().into_iter().flatten();
    pids.filter_map(|(name, pid)| {
        let pid = u32::try_from(pid.as_u64()?).ok()?;
        let started = about["started"][name].as_u64()?;
        Some((name.as_str(), (Scope::Group, Identity { pid, started })))
    })
    .collect()
}

fn read(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
}

fn path(path: &Path) -> Value {
    Value::from(path.to_string_lossy())
}
