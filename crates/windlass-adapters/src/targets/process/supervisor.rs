//! The supervisor of one process: a program between the daemon and the function.
//!
//! It is the subreaper of what it starts: a descendant whose parent has ended becomes its child,
//! also one with a session of its own, so that nothing escapes. When the process ends, or the daemon
//! asks for it or ends, however it does, the supervisor kills all of them and ends last.
//!
//! It needs two stages, since only the process itself can ask for a signal at the end of its parent:
//! the supervisor starts this program once more, as the *launcher*, which prepares itself and becomes
//! the function's program.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus,
};

use super::memory_groups::MemoryGroup;
use super::process_tree::{KILL_INTERVAL, descendants, kill_all};
use super::protocol::{KILL, Report, TERMINATE};

/// First argument of the program when it is a supervisor.
pub const SUPERVISOR_COMMAND: &str = "supervise-function";

/// First argument of the program when it is a launcher.
pub const LAUNCHER_COMMAND: &str = "launch-function";

/// The program itself, also if its file was replaced or deleted meanwhile.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";

/// In place of a limit, which is a number of bytes or the directory of a group.
pub(super) const NO_LIMIT: &str = "-";

/// Exit status of a shell for a program that cannot be started.
const CANNOT_START: u8 = 127;

/// The process that a supervisor starts.
#[derive(Debug, Default)]
struct Main {
    /// `None` until it was started.
    pid: Option<Pid>,
    /// `None` until it was reaped; after that its pid may belong to another process.
    status: Option<WaitStatus>,
}

/// Runs a supervisor. `arguments`: the limit of memory, then the program and its arguments. Standard
/// input is the socket of the daemon, standard output and error are those of the function.
pub fn supervise(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match try_supervise(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("the supervisor of the function failed: {error}")),
    }
}

fn try_supervise(arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // A signal to the daemon's group does not reach the supervisor.
    rustix::process::setsid()?;
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let obeying = control.try_clone()?;
    let main = Arc::new(Mutex::new(Main::default()));
    let of_thread = Arc::clone(&main);
    // From now on nothing is left behind, whenever the daemon ends.
    std::thread::Builder::new().spawn(move || obey(&obeying, &of_thread))?;
    // This thread starts it: when a thread ends, what it started has lost its parent.
    let pid = start_main(&main, arguments)?;
    // The daemon may have ended; the other thread sees to that.
    tell(&control, Report::Started { pid });
    let status = reap(&main);
    tell(
        &control,
        match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => Report::Exited { status },
            (None, signal) => Report::Signaled {
                signal: signal.unwrap_or(Signal::KILL.as_raw()),
            },
        },
    );
    Ok(())
}

fn start_main(main: &Mutex<Main>, arguments: impl Iterator<Item = OsString>) -> io::Result<u32> {
    // A request to end it waits until it was started.
    let mut main = main.lock().unwrap_or_else(PoisonError::into_inner);
    let child = Command::new(OWN_PROGRAM)
        .arg(LAUNCHER_COMMAND)
        .arg(std::process::id().to_string())
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()?;
    main.pid = Some(Pid::from_child(&child));
    Ok(child.id())
}

fn tell(mut control: &UnixStream, report: Report) {
    drop(control.write_all(report.to_line().as_bytes()));
}

/// Does what the daemon asks for, until it asks for the end or is gone.
fn obey(mut control: &UnixStream, main: &Mutex<Main>) {
    let mut byte = [0];
    while matches!(control.read(&mut byte), Ok(1)) && byte != [KILL] {
        if byte == [TERMINATE] {
            let main = main.lock().unwrap_or_else(PoisonError::into_inner);
            if let Main {
                pid: Some(pid),
                status: None,
            } = *main
            {
                // It may have ended.
                rustix::process::kill_process(pid, Signal::TERM).ok();
            }
        }
    }
    loop {
        kill_descendants();
        std::thread::park_timeout(KILL_INTERVAL);
    }
}

/// Reaps every process that ends, and kills the rest after the main one. Returns its status when
/// nothing is left.
fn reap(main: &Mutex<Main>) -> WaitStatus {
    let mut options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        let ended = rustix::process::waitid(WaitId::All, options);
        let mut main = main.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if Some(pid) == main.pid {
                main.status = Some(status);
            }
        }
        let Some(status) = main.status else { continue };
        drop(main);
        match ended {
            Err(rustix::io::Errno::CHILD) => return status,
            // Nothing has ended, although everything was killed: something is new.
            Ok(None) => std::thread::park_timeout(KILL_INTERVAL),
            Ok(Some(_)) | Err(_) => {}
        }
        options |= WaitIdOptions::NOHANG;
        kill_descendants();
    }
}

fn kill_descendants() {
    kill_all(descendants(std::process::id()));
}

/// Becomes the program of a function. `arguments`: the pid of the supervisor, the limit of memory,
/// the program and its arguments.
pub fn launch(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let [parent, memory, program, arguments @ ..] = &arguments[..] else {
        return complain("the launcher of functions is started by windlass only");
    };
    match try_launch(parent, memory, program, arguments) {
        Ok(never) => match never {},
        Err(error) => {
            let program = program.to_string_lossy();
            complain(&format!("cannot start the program '{program}': {error}"))
        }
    }
}

fn try_launch(
    parent: &OsStr,
    memory: &OsStr,
    program: &OsStr,
    arguments: &[OsString],
) -> io::Result<std::convert::Infallible> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let current = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if current.is_none_or(|current| parent != current.as_str()) {
        return Err(io::Error::other("its supervisor has ended"));
    }
    rustix::process::setsid()?;
    if memory.as_encoded_bytes().starts_with(b"/") {
        MemoryGroup::join(Path::new(memory))?;
    } else if memory != NO_LIMIT {
        let bytes = memory.to_str().and_then(|text| text.parse().ok());
        let bytes = bytes.ok_or_else(|| io::Error::other("its limit of memory is not a number"))?;
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        // Not the address space: Go and Node reserve far more of it than they use.
        rustix::process::setrlimit(Resource::Data, limit)?;
    }
    close_inherited_files();
    Err(Command::new(program).args(arguments).exec())
}

/// Closes everything but the standard streams. This program opens nothing that outlives an exec, but
/// the one that started the daemon may have.
fn close_inherited_files() {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let files = entries.flatten();
    let files: Vec<i32> = files
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|file| 2 < *file)
        .collect();
    for file in files {
        // The directory itself is closed already.
        nix::unistd::close(file).ok();
    }
}

/// Tells the daemon's log, which reads the function's standard error.
fn complain(message: &str) -> ExitCode {
    drop(writeln!(io::stderr(), "{message}"));
    ExitCode::from(CANNOT_START)
}
