//! Takes the figures of one process: CPU over a known number of records, and resident memory.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::programs::{Client, Launcher, Load, Program, Source};
use super::report::{Cost, Hanging, Idle};
use crate::command::{program, read_output};
use crate::process::sleep;

/// Without any progress for so long, a measurement has failed.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// How long an idle daemon is watched.
const IDLE_FOR: Duration = Duration::from_secs(10);

/// The reading has stopped when nothing was read for so long.
const QUIET_FOR: Duration = Duration::from_secs(5);

/// A daemon that still reads after this, though its function hangs, has no limit.
const READS_AT_MOST: Duration = Duration::from_secs(120);

/// What the daemon says of what it holds.
const HELD: &str = "windlass_buffered_bytes";
const LIMIT: &str = "windlass_buffer_limit_bytes";

/// What a daemon may take beside what it says it holds: the program itself with its connections,
/// about a quarter of this, and what the allocator keeps of the room that pages were read into.
const OVERHEAD: u64 = 192 * 1024 * 1024;

/// More than any limit lets the daemon hold.
const ENDLESS: u64 = 10_000_000;

/// What the client uses for `records`, once everything is warm.
///
/// # Errors
/// If a program does not start, or the records do not arrive.
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
    let (before, start) = (cpu_of(&program)?, Instant::now());
    deliver(&mut program, &source, records, warm_up + records).with_context(what)?;
    let wall = start.elapsed();
    Ok(Cost {
        records,
        cpu: cpu_of(&program)?.saturating_sub(before),
        wall,
    })
}

/// What windlass weighs, and uses, while there is nothing on its shards.
///
/// # Errors
/// If a program does not start or ends.
pub(super) fn idle(launcher: &Launcher<'_>, load: &Load) -> Result<Idle> {
    let source = launcher.start_source(load)?;
    let mut program = launcher.start_client(Client::Windlass, load, &source)?;
    let before = cpu_of(&program)?;
    sleep(IDLE_FOR);
    program
        .expect_alive()
        .context("windlass with idle shards")?;
    let cpu = cpu_of(&program)?.saturating_sub(before);
    Ok(Idle {
        shards: load.shards,
        resident_bytes: memory_of(&program, "VmRSS")?,
        cpu_per_second: cpu.as_secs_f64() / IDLE_FOR.as_secs_f64(),
    })
}

/// What windlass weighs when its functions hang and it has stopped reading.
///
/// # Errors
/// If a program does not start or ends, if the reading never stops, or if windlass holds more than
/// it may or more than it says.
pub(super) fn hanging(launcher: &Launcher<'_>, load: &Load) -> Result<Hanging> {
    let source = launcher.start_source(load)?;
    let mut program = launcher.start_client(Client::Windlass, load, &source)?;
    source.release(ENDLESS)?;
    let start = Instant::now();
    let mut read = (source.status()?.read, Instant::now());
    while read.1.elapsed() < QUIET_FOR {
        sleep(Duration::from_millis(100));
        program
            .expect_alive()
            .context("windlass with a function that hangs")?;
        let status = source.status()?;
        if status.read != read.0 {
            read = (status.read, Instant::now());
        }
        if start.elapsed() > READS_AT_MOST {
            let seconds = READS_AT_MOST.as_secs();
            bail!(
                "{} records read in {seconds} s while the function hangs",
                status.read
            );
        }
    }
    ensure!(read.0 > 0, "nothing was read; {}", program.end_of_log());
    let hanging = Hanging {
        shards: load.shards,
        mappings: load.mappings,
        records_read: read.0,
        record_bytes: load.record_bytes,
        held_bytes: program.metric(HELD)?,
        limit_bytes: program.metric(LIMIT)?,
        resident_bytes: memory_of(&program, "VmRSS")?,
        peak_bytes: memory_of(&program, "VmHWM")?,
    };
    ensure!(
        hanging.held_bytes <= hanging.limit_bytes,
        "more is held than may be: {hanging}"
    );
    ensure!(
        hanging.resident_bytes <= hanging.held_bytes + OVERHEAD,
        "more is resident than is held: {hanging}"
    );
    Ok(hanging)
}

/// Releases records and waits until all that there are have been delivered.
fn deliver(program: &mut Program, source: &Source, records: u64, expected: u64) -> Result<()> {
    source.release(records)?;
    let mut progress = (0, Instant::now());
    loop {
        let status = source.status()?;
        if status.delivered >= expected {
            let more = status.delivered - expected;
            ensure!(more == 0, "{more} records were delivered twice");
            return Ok(());
        }
        if status.delivered != progress.0 {
            progress = (status.delivered, Instant::now());
        }
        program.expect_alive()?;
        if progress.1.elapsed() > STALLED_AFTER {
            bail!(
                "stuck at {} of {expected} records; {}",
                status.delivered,
                program.end_of_log()
            );
        }
        sleep(Duration::from_millis(20));
    }
}

/// User and system time of the process with all its threads.
fn cpu_of(program: &Program) -> Result<Duration> {
    let path = format!("/proc/{}/stat", program.pid());
    let line = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ticks = ticks_in(&line).with_context(|| format!("{path} reads {line}"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second()?))
}

/// The fourteenth and fifteenth field; the second, in brackets, may hold blanks.
fn ticks_in(line: &str) -> Option<u32> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn ticks_per_second() -> Result<f64> {
    let answer = read_output(program("getconf").arg("CLK_TCK"))?;
    let number = answer.trim().parse().ok().filter(|ticks| *ticks > 0.0);
    number.with_context(|| format!("`getconf CLK_TCK` answers {answer}"))
}

/// A line of the process's status that is given in KiB, in bytes.
fn memory_of(program: &Program, name: &str) -> Result<u64> {
    let path = format!("/proc/{}/status", program.pid());
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    memory_in(&text, name).with_context(|| format!("{path} has no {name}"))
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
    fn the_times_are_read_behind_a_name_with_blanks_and_brackets() {
        let line = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 3 0 999 0 0";
        assert_eq!(ticks_in(line), Some(300));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\twindlass\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!(memory_in(status, "VmRSS"), Some(1024 * 1024));
        assert_eq!(memory_in(status, "VmSwap"), None);
    }
}
