//! What the daemon needs of its machine: the port, open files, memory, and time to stop.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use windlass_adapters::targets::{FunctionKind, FunctionSettings};
use windlass_core::time::display_duration;

use super::{Finding, memory_limit};
use crate::config::Config;
use crate::open_files;

const MIB: u64 = 1024 * 1024;

/// Memory in addition to that of records: the program, its connections and its tables. A thousand mappings use up
/// to 137 MiB of it.
const OWN_MEMORY: u64 = 192 * MIB;

/// What Kubernetes gives a container from the signal to its end. Docker gives 10 s, systemd 90 s.
///
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination>
const USUAL_GRACE: Duration = Duration::from_secs(30);

/// `used_by`: the process that uses the store.
pub(super) fn port(address: SocketAddr, used_by: Option<&str>) -> Finding {
    let subject = format!("address {address}");
    let error = match TcpListener::bind(address) {
        Ok(_) => return Finding::ok(subject, "it is free"),
        Err(error) => error,
    };
    let remedy = "choose another address with 'listen' or --listen";
    match (error.kind() == ErrorKind::AddrInUse, used_by) {
        (true, Some(process)) => Finding::warning(
            subject,
            format!("it is in use, as is the store, by {process}"),
            "stop that process before another daemon starts",
        ),
        (true, None) => {
            let found = "it is in use by another program";
            let remedy = format!("stop that program, or {remedy}");
            Finding::wrong(subject, found, Some(&remedy))
        }
        (false, _) => {
            let found = format!("it cannot be listened on: {error}");
            Finding::wrong(subject, found, Some(remedy))
        }
    }
}

pub(super) fn open_file_limit(invocations: usize) -> Finding {
    open_file_limit_of(open_files::highest_limit(), invocations)
}

fn open_file_limit_of(limit: Option<u64>, invocations: usize) -> Finding {
    const SUBJECT: &str = "open files";
    let needed = open_files::needed(invocations);
    match limit {
        None => Finding::ok(SUBJECT, "there is no limit"),
        Some(limit) if needed <= limit => Finding::ok(
            SUBJECT,
            format!("{limit} are allowed, {needed} may be needed"),
        ),
        Some(limit) => Finding::warning(
            SUBJECT,
            format!(
                "{limit} are allowed, and {invocations} concurrent invocations may need {needed}"
            ),
            "raise the hard limit (ulimit -Hn, LimitNOFILE)",
        ),
    }
}

pub(super) fn memory(config: &Config) -> Finding {
    const SUBJECT: &str = "memory";
    let records = config.engine.buffer_limit as u64;
    let processes: u64 = config.adapters.functions.values().map(of_processes).sum();
    let needed = records + OWN_MEMORY + processes;
    let shown = |bytes: u64| format!("{} MiB", bytes.div_ceil(MIB));
    let needs = match processes {
        0 => format!("{} for records", shown(records)),
        _ => format!(
            "{} for records, {} for processes of functions",
            shown(records),
            shown(processes)
        ),
    };
    let needs = format!("{} may be needed ({needs})", shown(needed));
    let Some(limit) = memory_limit::read() else {
        return Finding::ok(SUBJECT, format!("{needs}; no limit is known"));
    };
    let (whose, remedy) = if limit.is_of_machine {
        ("the machine has", "use a machine with that much")
    } else {
        (
            "the container may use",
            "raise the limit of the container to that",
        )
    };
    let found = format!("{whose} {}, {needs}", shown(limit.bytes));
    if needed <= limit.bytes {
        Finding::ok(SUBJECT, found)
    } else {
        Finding::warning(
            SUBJECT,
            format!("{found}, and the kernel kills what exceeds it"),
            remedy,
        )
    }
}

/// What the processes of a function may use, as far as it is limited.
fn of_processes(function: &FunctionSettings) -> u64 {
    match &function.kind {
        FunctionKind::Process(it) => {
            let processes = u64::try_from(it.maximum_processes).unwrap_or(u64::MAX);
            it.memory.unwrap_or_default().saturating_mul(processes)
        }
        FunctionKind::Http(_) | FunctionKind::Lambda(_) => 0,
    }
}

pub(super) fn drain_timeout(timeout: Duration) -> Finding {
    const SUBJECT: &str = "drain_timeout";
    let shown = display_duration(timeout);
    if timeout < USUAL_GRACE {
        let found = format!("a stop waits up to {shown} for invocations, and repeats longer ones");
        return Finding::ok(SUBJECT, found);
    }
    Finding::warning(
        SUBJECT,
        format!(
            "a stop may take {shown}; Kubernetes kills a container after 30 s, Docker after 10 s"
        ),
        "give the container more time (terminationGracePeriodSeconds, stop_grace_period)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_port_is_free_or_used_by_the_daemon_of_the_store_or_by_another_program() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(port(address, None).result, Verdict::Wrong);
        let of_daemon = port(address, Some("process 17"));
        assert_eq!(of_daemon.result, Verdict::Warning);
        assert!(of_daemon.found.contains("process 17"), "{of_daemon}");
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        assert_eq!(port(free, None).result, Verdict::Ok);
        // Of the block for documentation: no machine has it.
        let foreign = SocketAddr::from(([192, 0, 2, 1], 9870));
        assert_eq!(port(foreign, None).result, Verdict::Wrong);
    }

    #[test]
    fn the_limit_of_open_files_must_allow_all_invocations() {
        let result = |limit| open_file_limit_of(limit, 1_000).result;
        assert_eq!(result(None), Verdict::Ok);
        assert_eq!(result(Some(open_files::needed(1_000))), Verdict::Ok);
        assert_eq!(result(Some(1_024)), Verdict::Warning);
    }

    #[test]
    fn a_drain_that_containers_are_not_given_is_a_warning() {
        let result = |seconds| drain_timeout(Duration::from_secs(seconds)).result;
        assert_eq!((result(25), result(30)), (Verdict::Ok, Verdict::Warning));
    }
}
