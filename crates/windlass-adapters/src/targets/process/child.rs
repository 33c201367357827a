//! One process: started under its supervisor, served, and followed to its end.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::future::pending;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::FusedFuture as _;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use windlass_core::process::ProcessId;

use super::context::{Context, LOG_STREAM_NAME};
use super::event_reports::EventReports;
use super::exit::Exit;
use super::logs::Logs;
use super::memory_groups::MemoryGroup;
use super::messages::Sender;
use super::process_tree::{KILL_INTERVAL, kill_all, with_variable};
use super::protocol::{KILL, Report};
use super::runtime_api::RuntimeApi;
use super::supervisor::{NO_LIMIT, OWN_PROGRAM, SUPERVISOR_COMMAND};

/// A supervisor that has not ended this long after it was asked to kill everything is killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// After the end of all descendants nothing holds the streams open, save a program that was handed
/// them by other means.
const LOG_TIMEOUT: Duration = Duration::from_secs(1);

/// Rounds of killing after a supervisor was lost: a process that is forking may need several, and one
/// that does nothing else must not keep its replacement from starting.
const MAX_KILL_ROUNDS: u32 = 500;

pub(super) struct ChildParts {
    pub(super) id: ProcessId,
    pub(super) context: Arc<Context>,
    pub(super) pool: Sender,
    /// Bytes of the protocol.
    pub(super) signals: mpsc::UnboundedReceiver<u8>,
}

struct Started {
    supervisor: Child,
    control: UnixStream,
    logs: Arc<Logs>,
    api: RuntimeApi,
    main: Arc<AtomicU32>,
    log_stream_name: OsString,
    group: Option<Arc<MemoryGroup>>,
    reports: Arc<EventReports>,
}

/// Starts a process and serves it until it has ended, with all its descendants.
pub(super) async fn run(parts: ChildParts) -> Exit {
    let started = match start(&parts).await {
        Ok(started) => started,
        Err(reason) => return Exit::NotStarted(reason),
    };
    let (group, reports) = (started.group.clone(), Arc::clone(&started.reports));
    let exit = follow(started, parts.signals).await;
    reports.end();
    let Some(group) = group else { return exit };
    let exit = match (exit, parts.context.function.memory) {
        (Exit::Signal(_), Some(limit)) if group.was_exceeded() => Exit::MemoryExceeded(limit),
        (exit, _) => exit,
    };
    group.remove().await;
    exit
}

async fn start(parts: &ChildParts) -> Result<Started, String> {
    let context = &parts.context;
    let program = context.function.find_program(context.path())?;
    let memory = context.function.memory;
    let group = match memory.zip(context.memory_groups.as_ref()) {
        Some((limit, groups)) => Some(Arc::new(groups.create(limit)?)),
        None => None,
    };
    let memory = match (&group, memory) {
        (Some(group), _) => group.path().as_os_str().to_owned(),
        (None, Some(bytes)) => bytes.to_string().into(),
        (None, None) => NO_LIMIT.into(),
    };
    let prepare = async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (own, theirs) = std::os::unix::net::UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let environment = context.environment(listener.local_addr()?);
        let log_stream_name = environment.get(OsStr::new(LOG_STREAM_NAME)).cloned();
        let mut supervisor = Command::new(OWN_PROGRAM)
            .arg(SUPERVISOR_COMMAND)
            .arg(memory)
            .arg(program)
            .args(&context.function.command[1..])
            .env_clear()
            .envs(environment)
            .current_dir(&context.function.directory)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let streams = (supervisor.stdout.take(), supervisor.stderr.take());
        let (Some(stdout), Some(stderr)) = streams else {
            return Err(io::Error::other("the process has no standard output"));
        };
        let (stdout, stderr) = (stdout.into_owned_fd()?, stderr.into_owned_fd()?);
        let logs = Arc::new(Logs::new(Arc::clone(&context.name), stdout, stderr)?);
        let main = Arc::new(AtomicU32::new(0));
        let reports =
            EventReports::new(Arc::clone(&context.name), Arc::clone(&main), group.clone());
        let reports = Arc::new(reports);
        let api = RuntimeApi {
            process: parts.id,
            context: Arc::clone(context),
            pool: parts.pool.clone(),
            logs: Arc::clone(&logs),
            supervisor: supervisor.id().unwrap_or_default(),
            main: Arc::clone(&main),
            reports: Arc::clone(&reports),
            listener,
        };
        io::Result::Ok(Started {
            supervisor,
            control: UnixStream::from_std(own)?,
            logs,
            api,
            main,
            log_stream_name: log_stream_name.unwrap_or_default(),
            group,
            reports,
        })
    };
    prepare.await.map_err(|error| error.to_string())
}

async fn follow(started: Started, signals: mpsc::UnboundedReceiver<u8>) -> Exit {
    let Started {
        mut supervisor,
        control,
        logs,
        api,
        main,
        log_stream_name,
        group,
        reports: _,
    } = started;
    let (reports, control) = control.into_split();
    let mut printing = pin!(logs.run().fuse());
    let exit = tokio::select! {
        exit = read_reports(reports, &main) => exit,
        () = obey(control, signals) => Exit::Lost,
        never = api.serve() => match never {},
        never = async {
            (&mut printing).await;
            pending::<Infallible>().await
        } => match never {},
    };
    if matches!(exit, Exit::Lost) {
        // It may have ended.
        drop(supervisor.start_kill());
    }
    drop(supervisor.wait().await);
    if matches!(exit, Exit::Lost) {
        if let Some(group) = &group {
            group.kill();
        }
        kill_orphans(&log_stream_name.into()).await;
    }
    if !printing.is_terminated() {
        drop(tokio::time::timeout(LOG_TIMEOUT, printing).await);
    }
    exit
}

/// Kills what a supervisor has left behind: the process itself has ended with it, but descendants in
/// sessions of their own are found only by the variables that they were started with.
async fn kill_orphans(log_stream_name: &Arc<OsStr>) {
    for _ in 0..MAX_KILL_ROUNDS {
        let name = Arc::clone(log_stream_name);
        // It reads a file of each process of the machine.
        let found = tokio::task::spawn_blocking(move || {
            let orphans = with_variable(LOG_STREAM_NAME, &name);
            let is_empty = orphans.is_empty();
            kill_all(orphans);
            !is_empty
        });
        if !matches!(found.await, Ok(true)) {
            return;
        }
        tokio::time::sleep(KILL_INTERVAL).await;
    }
}

/// Passes signals on. Returns only if the supervisor does not do what it is asked for.
async fn obey(mut control: OwnedWriteHalf, mut signals: mpsc::UnboundedReceiver<u8>) {
    while let Some(signal) = signals.recv().await {
        // A supervisor that has ended needs no signal.
        drop(control.write_all(&[signal]).await);
        if signal == KILL {
            tokio::time::sleep(KILL_TIMEOUT).await;
            return;
        }
    }
    pending().await
}

/// Reads until the supervisor has reported the end, or has closed its socket.
async fn read_reports(reports: OwnedReadHalf, main: &AtomicU32) -> Exit {
    let mut reports = BufReader::new(reports).lines();
    while let Ok(Some(line)) = reports.next_line().await {
        match Report::parse(&line) {
            Some(Report::Started { pid }) => main.store(pid, Ordering::Relaxed),
            Some(Report::Exited { status }) => return Exit::Status(status),
            Some(Report::Signaled { signal }) => return Exit::Signal(signal),
            None => {}
        }
    }
    Exit::Lost
}
