//! Measures dead letters: a page of the list, and a redrive of all of them.
//!
//! They are made by a function that fails with one record at a time, and redriven to another that
//! answers at once.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, value_parser};
use serde_json::{Value, json};

use super::daemon_config::ANSWERS;
use super::measure::{cpu_of, memory_of, reset_peak};
use super::programs::{Client, Function, Launcher, Load, Program};
use super::report::mib;
use super::{SHARDS, finish, with_release_programs};
use crate::process::sleep;

/// Whose event has about 10 KiB.
const RECORD_BYTES: u32 = 7_300;

/// Of the slowest page of the list.
const GOAL: Duration = Duration::from_millis(50);

/// Without a letter more for this long, a measurement has failed.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

const LETTERS_METRIC: &str = "windlass_dead_letters";

#[derive(Args)]
pub(crate) struct Options {
    /// Number of dead letters
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u64).range(1..))]
    count: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

struct Figures {
    letters: u64,
    /// How long each page took.
    pages: Vec<Duration>,
    redrive: Duration,
    cpu: Duration,
    idle_bytes: u64,
    peak_bytes: u64,
}

/// Measures, prints the figures and writes them to `target/bench/letters.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let figures = measure(launcher, options.count)?;
        let text = figures.to_string();
        let file = work_dir.join("letters.json");
        finish(&file, &figures.to_json(), &text, options.json)
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    print!("{}", measure(launcher, 250)?);
    Ok(())
}

fn measure(launcher: &Launcher<'_>, letters: u64) -> Result<Figures> {
    let load = Load {
        shards: SHARDS,
        record_bytes: RECORD_BYTES,
        batch_size: 1,
        function: Function::Fails,
        ..Load::default()
    };
    let source = launcher.start_source(&load)?;
    let mut daemon = launcher.start_client(Client::Windlass, &load, &source)?;
    source.release(letters)?;
    wait_for_letters(&mut daemon, letters)?;
    let pages = list(&daemon, letters)?;
    let idle_bytes = memory_of(&daemon, "VmRSS")?;
    reset_peak(&daemon)?;
    let (before, start) = (cpu_of(&daemon)?, Instant::now());
    // As a user does.
    let redrive = ["dead-letters", "redrive", "--all", "--function", ANSWERS];
    launcher.run_client(&daemon, &redrive)?;
    let figures = Figures {
        letters,
        pages,
        redrive: start.elapsed(),
        cpu: cpu_of(&daemon)?.saturating_sub(before),
        idle_bytes,
        peak_bytes: memory_of(&daemon, "VmHWM")?,
    };
    let delivered = source.status()?.delivered;
    ensure!(
        delivered == letters,
        "{delivered} of {letters} letters reached the function; {}",
        daemon.end_of_log()
    );
    Ok(figures)
}

fn wait_for_letters(daemon: &mut Program, letters: u64) -> Result<()> {
    let mut progress = (0, Instant::now());
    while progress.0 < letters {
        sleep(Duration::from_millis(100));
        let n_kept = daemon.metric(LETTERS_METRIC)?;
        if n_kept != progress.0 {
            progress = (n_kept, Instant::now());
        }
        daemon.expect_alive()?;
        ensure!(
            progress.1.elapsed() < STALL_TIMEOUT,
            "no progress after {n_kept} of {letters} letters; {}",
            daemon.end_of_log()
        );
    }
    Ok(())
}

/// Lists all letters, and returns how long each page took.
fn list(daemon: &Program, letters: u64) -> Result<Vec<Duration>> {
    let (mut pages, mut n_listed) = (Vec::new(), 0);
    let mut path = "/windlass/v1/dead-letters".to_owned();
    loop {
        let start = Instant::now();
        let page = daemon.get(&path)?;
        pages.push(start.elapsed());
        let page: Value = serde_json::from_str(&page).context("parsing a page of the list")?;
        n_listed += page["dead_letters"].as_array().map_or(0, Vec::len) as u64;
        let Some(marker) = page["next_marker"].as_str() else {
            break;
        };
        path = format!("/windlass/v1/dead-letters?marker={marker}");
    }
    ensure!(n_listed == letters, "{n_listed} of {letters} are listed");
    pages.sort_unstable();
    Ok(pages)
}

impl Figures {
    fn page(&self, percent: usize) -> f64 {
        let index = (self.pages.len() * percent / 100).min(self.pages.len().saturating_sub(1));
        let page = self.pages.get(index);
        page.map_or(f64::NAN, |page| page.as_secs_f64() * 1e3)
    }

    fn per_second(&self) -> f64 {
        self.letters as f64 / self.redrive.as_secs_f64()
    }

    fn us_per_letter(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.letters as f64
    }

    fn added_bytes(&self) -> u64 {
        self.peak_bytes.saturating_sub(self.idle_bytes)
    }

    fn to_json(&self) -> Value {
        json!({
            "letters": self.letters,
            "page_p50_ms": self.page(50),
            "page_max_ms": self.page(100),
            "page_goal_ms": GOAL.as_secs_f64() * 1e3,
            "redriven_per_second": self.per_second(),
            "us_per_letter": self.us_per_letter(),
            "idle_bytes": self.idle_bytes,
            "added_peak_bytes": self.added_bytes(),
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.letters;
        writeln!(
            formatter,
            "{letters} dead letters of 10 KiB: a page takes {:.1} ms, at most {:.1} ms, goal {} ms",
            self.page(50),
            self.page(100),
            GOAL.as_millis()
        )?;
        writeln!(
            formatter,
            "redrive: {:.0} a second, {:.1} µs of CPU each; {:.1} MiB resident before, at most {:.1} \
             MiB more meanwhile",
            self.per_second(),
            self.us_per_letter(),
            mib(self.idle_bytes),
            mib(self.added_bytes())
        )
    }
}
