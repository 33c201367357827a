//! Measures one process: CPU over a known number of records, and resident memory.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::programs::{Client, Launcher, Load, Program, Source};
use super::report::{Cost, Hanging, Idle};
use crate::command::{program, read_output};
use crate::process::sleep;

/// A measurement without progress for this long has failed.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Measurement time of an idle daemon.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// Reading has stopped if nothing was read for this long.
const QUIET_TIME: Duration = Duration::from_secs(5);

/// A daemon that still reads after this long while its functions hang has no memory limit.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) const BUFFERED_METRIC: &str = "windlass_buffered_bytes";
pub(super) const LIMIT_METRIC: &str = "windlass_buffer_limit_bytes";

/// Allowed resident memory in addition to the record memory: the program and its connections, about a
/// quarter of this, and the pages of memory that the allocator keeps after reads.
const OVERHEAD: u64 = 192 * 1024 * 1024;

/// More records than fit into the daemon's record memory.
const BACKLOG: u64 = 10_000_000;

/// The CPU that the client uses for `records`, after a warm-up.
pub(super) fn cost(
    launcher: &Launcher<'_>,
    client: Client,
    load: &Load,
    records: u64,
) -> Result<Cost> {
    let what = || {
        format!(
            "measuring {client:?} with records of {} B",
            load.record_bytes
        )
    };
    let source = launcher.start_source(load).with_context(what)?;
    let mut program = launcher
        .start_client(client, load, &source)
        .with_context(what)?;
    let warm_up = records / 10;
    deliver(&mut program, &source, warm_up, warm_up).with_context(what)?;
    source.take_wait_times()?;
    let former = source.status()?;
    let (before, start) = (cpu_of(&program)?, Instant::now());
    match load.pace {
        None => deliver(&mut program, &source, records, warm_up + records),
        Some(pace) => deliver_at_pace(&mut program, &source, pace, records, warm_up),
    }
    .with_context(what)?;
    let wall = start.elapsed();
    let status = source.status()?;
    Ok(Cost {
        records: status.delivered - former.delivered,
        cpu: cpu_of(&program)?.saturating_sub(before),
        wall,
        invocations: status.invocations - former.invocations,
        wait: source.take_wait_times()?,
    })
}

/// Memory and CPU of windlass with empty shards.
pub(super) fn idle(launcher: &Launcher<'_>, load: &Load) -> Result<Idle> {
    let source = launcher.start_source(load)?;
    let mut program = launcher.start_client(Client::Windlass, load, &source)?;
    let before = cpu_of(&program)?;
    sleep(IDLE_TIME);
    program
        .expect_alive()
        .context("windlass with idle shards")?;
    let cpu = cpu_of(&program)?.saturating_sub(before);
    Ok(Idle {
        shards: load.shards,
        resident_bytes: memory_of(&program, "VmRSS")?,
        cpu_per_second: cpu.as_secs_f64() / IDLE_TIME.as_secs_f64(),
    })
}

/// Memory of windlass once its functions hang and it has stopped reading. Fails if it never stops
/// reading, or uses more memory than its limit or than it reports.
pub(super) fn hanging(launcher: &Launcher<'_>, load: &Load) -> Result<Hanging> {
    let source = launcher.start_source(load)?;
    let mut program = launcher.start_client(Client::Windlass, load, &source)?;
    source.release(BACKLOG)?;
    let start = Instant::now();
    let mut read = (source.status()?.read, Instant::now());
    while read.1.elapsed() < QUIET_TIME {
        sleep(Duration::from_millis(100));
        program
            .expect_alive()
            .context("windlass with a function that hangs")?;
        let status = source.status()?;
        if status.read != read.0 {
            read = (status.read, Instant::now());
        }
        if start.elapsed() > READ_TIMEOUT {
            let seconds = READ_TIMEOUT.as_secs();
            bail!(
                "windlass still reads after {seconds} s and {} records while its functions hang",
                status.read
            );
        }
    }
    ensure!(read.0 > 0, "no records were read; {}", program.end_of_log());
    let hanging = Hanging {
        shards: load.shards,
        mappings: load.mappings,
        records_read: read.0,
        record_bytes: load.record_bytes,
        held_bytes: program.metric(BUFFERED_METRIC)?,
        limit_bytes: program.metric(LIMIT_METRIC)?,
        resident_bytes: memory_of(&program, "VmRSS")?,
        peak_bytes: memory_of(&program, "VmHWM")?,
    };
    ensure!(
        hanging.held_bytes <= hanging.limit_bytes,
        "the record memory exceeds its limit: {hanging}"
    );
    ensure!(
        hanging.resident_bytes <= hanging.held_bytes + OVERHEAD,
        "the resident memory exceeds the reported record memory by more than {} MiB: {hanging}",
        OVERHEAD / 1024 / 1024
    );
    Ok(hanging)
}

/// Releases records and waits until `expected` records have been delivered in total.
pub(super) fn deliver(
    program: &mut Program,
    source: &Source,
    records: u64,
    expected: u64,
) -> Result<()> {
    source.release(records)?;
    let mut progress = (0, Instant::now());
    loop {
        let status = source.status()?;
        if source.is_done(&status, expected) {
            let more = status.delivered - expected;
            ensure!(more == 0, "{more} records were delivered twice");
            return Ok(());
        }
        if status.delivered != progress.0 {
            progress = (status.delivered, Instant::now());
        }
        program.expect_alive()?;
        if progress.1.elapsed() > STALL_TIMEOUT {
            bail!(
                "no progress after {} of {expected} records; {}",
                status.delivered,
                program.end_of_log()
            );
        }
        sleep(Duration::from_millis(20));
    }
}

/// How records become available, if not all at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) releases_per_second: u32,
    /// Number of records.
    pub(super) per_release: u64,
}

impl Pace {
    /// Number of records in a time.
    pub(super) fn records(self, seconds: u64) -> u64 {
        seconds * u64::from(self.releases_per_second) * self.per_release
    }
}

/// Releases records at a pace, whole releases only, and waits until all are delivered, after `before`
/// others.
pub(super) fn deliver_at_pace(
    program: &mut Program,
    source: &Source,
    pace: Pace,
    records: u64,
    before: u64,
) -> Result<()> {
    let per_release = pace.per_release;
    let n_releases = records.div_ceil(per_release);
    let interval = Duration::from_secs(1) / pace.releases_per_second;
    let started = Instant::now();
    for number in 1..n_releases {
        source.release(per_release)?;
        let next = interval * u32::try_from(number).unwrap_or(u32::MAX);
        sleep(next.saturating_sub(started.elapsed()));
    }
    let expected = before + n_releases * per_release;
    deliver(program, source, per_release, expected)
}

/// User and system time of all threads of the process.
pub(super) fn cpu_of(program: &Program) -> Result<Duration> {
    let path = format!("/proc/{}/stat", program.pid());
    let line = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ticks = ticks_in(&line).with_context(|| format!("parsing {path}: {line}"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second()?))
}

/// Fields 14 and 15; field 2, in brackets, may contain blanks and brackets.
fn ticks_in(line: &str) -> Option<u32> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn ticks_per_second() -> Result<f64> {
    let output = read_output(program("getconf").arg("CLK_TCK"))?;
    let number = output.trim().parse().ok().filter(|ticks| *ticks > 0.0);
    number.with_context(|| format!("`getconf CLK_TCK` printed {output}"))
}

/// A size in the process's status, which is given in KiB; returns bytes.
pub(super) fn memory_of(program: &Program, name: &str) -> Result<u64> {
    let path = format!("/proc/{}/status", program.pid());
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    memory_in(&text, name).with_context(|| format!("{path} has no {name}"))
}

/// Begins to measure the peak of its resident memory (`VmHWM`) anew.
pub(super) fn reset_peak(program: &Program) -> Result<()> {
    let path = format!("/proc/{}/clear_refs", program.pid());
    fs::write(&path, "5").with_context(|| format!("writing {path}"))
}

fn memory_in(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib = line.strip_prefix(':')?.trim().strip_suffix("kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_after_a_name_with_blanks_and_brackets() {
        let line = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 3 0 999 0 0";
        assert_eq!(ticks_in(line), Some(300));
    }

    #[test]
    fn memory_is_converted_to_bytes() {
        let status = "Name:\twindlass\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!(memory_in(status, "VmRSS"), Some(1024 * 1024));
        assert_eq!(memory_in(status, "VmSwap"), None);
    }
}
