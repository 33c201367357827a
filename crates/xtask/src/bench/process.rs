//! Measures functions as local processes, compared with the same function over HTTP: CPU of the
//! daemon per record, and the time of an invocation.
//!
//! Both take turns, and the results are those within a round, as everywhere in this benchmark. The
//! function answers at once, so the time of an invocation is the time on the way.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, value_parser};
use serde_json::json;

use super::measure::{Pace, cost, deliver, deliver_at_pace};
use super::programs::{Client, Function, Launcher, Load};
use super::report::median;
use super::{BATCH_SIZE, SHARDS, with_release_programs};

const RECORD_BYTES: u32 = 1024;

/// For the times: one shard, whose subscription gets a batch every 10 ms. Shards that are read would be
/// read at once, and the functions would wait for each other.
const TIMED_BATCH_SIZE: u32 = 10;
const TIMED_PACE: Pace = Pace {
    releases_per_second: 100,
    per_release: TIMED_BATCH_SIZE as u64,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Number of rounds; a round measures both kinds of function
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,
    /// Number of records per measurement of CPU, after a warm-up with a tenth as many
    #[arg(long, default_value_t = 400_000, value_parser = value_parser!(u64).range(1_000..))]
    records: u64,
    /// Seconds per measurement of times, at 100 invocations a second
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..))]
    seconds: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// What one kind of function costs.
#[derive(Clone, Copy)]
struct Figures {
    us_per_record: f64,
    /// Of the time of an invocation, in milliseconds.
    p50: f64,
    p99: f64,
}

struct Round {
    process: Figures,
    url: Figures,
}

struct Report(Vec<Round>);

pub(super) fn run(options: &Options) -> Result<()> {
    with_release_programs(|launcher, _| {
        let mut rounds = Vec::new();
        for number in 0..options.rounds {
            rounds.push(round(
                launcher,
                options.records,
                options.seconds,
                number % 2 == 1,
            )?);
            eprintln!("round {} of {}", number + 1, options.rounds);
        }
        let report = Report(rounds);
        if options.json {
            println!("{:#}", report.to_json());
        } else {
            print!("{report}");
        }
        Ok(())
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    round(launcher, 1_000, 1, false).map(drop)
}

fn round(
    launcher: &Launcher<'_>,
    records: u64,
    seconds: u64,
    process_is_second: bool,
) -> Result<Round> {
    let figures = |function| figures(launcher, function, records, seconds);
    if process_is_second {
        let url = figures(Function::Answers)?;
        let process = figures(Function::Process)?;
        return Ok(Round { process, url });
    }
    Ok(Round {
        process: figures(Function::Process)?,
        url: figures(Function::Answers)?,
    })
}

fn figures(
    launcher: &Launcher<'_>,
    function: Function,
    records: u64,
    seconds: u64,
) -> Result<Figures> {
    let load = Load {
        shards: SHARDS,
        record_bytes: RECORD_BYTES,
        batch_size: BATCH_SIZE,
        function,
        ..Load::default()
    };
    let cost = cost(launcher, Client::Windlass, &load, records)?;
    let mut times = times(launcher, function, seconds)?;
    times.sort_unstable();
    let percentile = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times
            .get(index)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    Ok(Figures {
        us_per_record: cost.us_per_record(),
        p50: percentile(50),
        p99: percentile(99),
    })
}

/// How long invocations take when there are few of them.
fn times(launcher: &Launcher<'_>, function: Function, seconds: u64) -> Result<Vec<Duration>> {
    let load = Load {
        shards: 1,
        fan_out: true,
        record_bytes: RECORD_BYTES,
        batch_size: TIMED_BATCH_SIZE,
        function,
        logs_invocations: true,
        ..Load::default()
    };
    let source = launcher.start_source(&load)?;
    let mut daemon = launcher.start_client(Client::Windlass, &load, &source)?;
    // The first event waits for the start of the process.
    let warm_up = u64::from(TIMED_BATCH_SIZE);
    deliver(&mut daemon, &source, warm_up, warm_up)?;
    let n_warm_up = daemon.invocation_times()?.len();
    let records = TIMED_PACE.records(seconds);
    deliver_at_pace(&mut daemon, &source, TIMED_PACE, records, warm_up)?;
    let mut times = daemon.invocation_times()?;
    times.drain(..n_warm_up.min(times.len()));
    Ok(times)
}

impl Round {
    fn cpu_ratio(&self) -> f64 {
        self.process.us_per_record / self.url.us_per_record
    }

    fn added_p99(&self) -> f64 {
        self.process.p99 - self.url.p99
    }
}

impl Report {
    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.0.iter().map(figure).collect())
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "process_us_per_record": self.median(|it| it.process.us_per_record),
            "url_us_per_record": self.median(|it| it.url.us_per_record),
            "ratio": self.median(Round::cpu_ratio),
            "process_p50_ms": self.median(|it| it.process.p50),
            "process_p99_ms": self.median(|it| it.process.p99),
            "url_p50_ms": self.median(|it| it.url.p50),
            "url_p99_ms": self.median(|it| it.url.p99),
            "added_p99_ms": self.median(Round::added_p99),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "Functions as processes, compared with HTTP: CPU of the daemon per record of 1 KiB in \
             batches of {BATCH_SIZE}, and the time of an invocation at \
             {} a second; medians of {} rounds",
            TIMED_PACE.releases_per_second,
            self.0.len()
        )?;
        writeln!(
            formatter,
            "CPU per record   process {:.2} µs   url {:.2} µs   ratio {:.2}",
            self.median(|it| it.process.us_per_record),
            self.median(|it| it.url.us_per_record),
            self.median(Round::cpu_ratio),
        )?;
        for (name, process, url) in [
            (
                "p50",
                self.median(|it| it.process.p50),
                self.median(|it| it.url.p50),
            ),
            (
                "p99",
                self.median(|it| it.process.p99),
                self.median(|it| it.url.p99),
            ),
        ] {
            writeln!(
                formatter,
                "{name}              process {process:.2} ms   url {url:.2} ms"
            )?;
        }
        let added = self.median(Round::added_p99);
        writeln!(formatter, "p99 added        {added:.2} ms")
    }
}
