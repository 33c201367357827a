//! Measures the API of a daemon that has many mappings: the times of Create, Get and List, and memory.
//!
//! The mappings are disabled: what they would read is the business of other benchmarks.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, value_parser};
use serde_json::{Value, json};

use super::daemon_config::STREAM;
use super::measure::memory_of;
use super::programs::{Client, Launcher, Load, Program};
use super::report::mib;
use super::with_release_programs;
use crate::http::Response;

const PATH: &str = "/2015-03-31/event-source-mappings";

/// Requests of each kind whose times are measured; of Create, the last ones.
const N_TIMED: usize = 200;

#[derive(Args)]
pub(crate) struct Options {
    /// Number of mappings
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(200..=100_000))]
    count: u32,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Median and 99th percentile.
#[derive(Clone, Copy)]
struct Times {
    p50: Duration,
    p99: Duration,
}

struct Figures {
    mappings: u32,
    create: Times,
    get: Times,
    /// A page of 100, of any part of the list.
    page: Times,
    /// The mapping of one function.
    of_function: Times,
    /// Before the first mapping, and after all measurements.
    resident_bytes: (u64, u64),
}

pub(super) fn run(options: &Options) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let figures = measure(launcher, options.count)?;
        let rendered = format!("{:#}\n", figures.to_json());
        let file = work_dir.join("api.json");
        fs::write(&file, &rendered).with_context(|| format!("writing {}", file.display()))?;
        match options.json {
            true => print!("{rendered}"),
            false => println!("{}", figures.describe()),
        }
        Ok(())
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    println!("{}", measure(launcher, 250)?.describe());
    Ok(())
}

fn measure(launcher: &Launcher<'_>, count: u32) -> Result<Figures> {
    let load = Load::default();
    let source = launcher.start_source(&load)?;
    let daemon = launcher.start_client(Client::Windlass, &load, &source)?;
    let before = memory_of(&daemon, "VmRSS")?;
    let (mut uuids, mut create) = (Vec::new(), Vec::new());
    for number in 0..count {
        // Each qualifier is a function of its own.
        let body = json!({
            "FunctionName": format!("bench0:v{number}"),
            "EventSourceArn": STREAM,
            "StartingPosition": "TRIM_HORIZON",
            "Enabled": false,
        });
        let (created, time) = timed(&daemon, "POST", PATH, &body.to_string())?;
        let uuid = created["UUID"].as_str().context("a mapping has a UUID")?;
        uuids.push(uuid.to_owned());
        create.push(time);
    }
    let create = create.split_off(create.len().saturating_sub(N_TIMED));
    let (mut get, mut of_function) = (Vec::new(), Vec::new());
    let step = (uuids.len() / N_TIMED).max(1);
    for (number, uuid) in uuids.iter().enumerate().step_by(step) {
        get.push(timed(&daemon, "GET", &format!("{PATH}/{uuid}"), "")?.1);
        let path = format!("{PATH}?FunctionName=bench0:v{number}");
        let (list, time) = timed(&daemon, "GET", &path, "")?;
        ensure!(n_mappings(&list) == 1, "{path}: {list}");
        of_function.push(time);
    }
    let page = pages(&daemon, count)?;
    Ok(Figures {
        mappings: count,
        create: Times::of(create),
        get: Times::of(get),
        page: Times::of(page),
        of_function: Times::of(of_function),
        resident_bytes: (before, memory_of(&daemon, "VmRSS")?),
    })
}

/// How long each page takes, of the whole list, twice.
fn pages(daemon: &Program, count: u32) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..2 {
        let (mut found, mut path) = (0, PATH.to_owned());
        loop {
            let (list, time) = timed(daemon, "GET", &path, "")?;
            times.push(time);
            found += n_mappings(&list);
            match list["NextMarker"].as_str() {
                Some(next) => path = format!("{PATH}?Marker={next}"),
                None => break,
            }
        }
        // And that of the configuration.
        ensure!(found == count as usize + 1, "{found} mappings are listed");
    }
    Ok(times)
}

fn n_mappings(list: &Value) -> usize {
    list["EventSourceMappings"].as_array().map_or(0, Vec::len)
}

fn timed(daemon: &Program, method: &str, path: &str, body: &str) -> Result<(Value, Duration)> {
    let start = Instant::now();
    let Response { status, body } = daemon.call(method, path, body)?;
    let time = start.elapsed();
    ensure!(
        matches!(status, 200 | 202),
        "{method} {path}: {status} {body}"
    );
    Ok((serde_json::from_str(&body)?, time))
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let percentile = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).copied().unwrap_or_default()
        };
        Self {
            p50: percentile(50),
            p99: percentile(99),
        }
    }

    fn describe(self) -> String {
        let [p50, p99] = [self.p50, self.p99].map(|time| time.as_secs_f64() * 1e3);
        format!("{p50:.1} ms (p99 {p99:.1} ms)")
    }

    fn to_json(self) -> Value {
        let [p50, p99] = [self.p50, self.p99].map(|time| time.as_secs_f64() * 1e3);
        json!({"p50_ms": p50, "p99_ms": p99})
    }
}

impl Figures {
    fn describe(&self) -> String {
        format!(
            "{} mappings: Create {}, Get {}, a page of List {}, List of a function {}, {:.1} MiB resident, \
             {:.1} MiB before",
            self.mappings,
            self.create.describe(),
            self.get.describe(),
            self.page.describe(),
            self.of_function.describe(),
            mib(self.resident_bytes.1),
            mib(self.resident_bytes.0)
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "mappings": self.mappings,
            "create": self.create.to_json(),
            "get": self.get.to_json(),
            "page": self.page.to_json(),
            "list_of_function": self.of_function.to_json(),
            "resident_bytes_before": self.resident_bytes.0,
            "resident_bytes": self.resident_bytes.1,
        })
    }
}
