//! The most memory that a daemon uses while it processes records that come at the same time.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::measure::{BUFFERED_METRIC, LIMIT_METRIC, memory_of};
use super::programs::{Client, Launcher, Load};
use super::report::mib;
use crate::process::sleep;

/// Of the memory that the daemon counts to its limit: the event of an invocation, and a page or message
/// that is larger than expected, are counted even if there is no room for them.
const GOAL: f64 = 1.05;

/// Until all records are processed.
const TIMEOUT: Duration = Duration::from_secs(300);

pub(super) struct Peak {
    /// The most that the daemon counted of its record memory.
    counted_bytes: u64,
    limit_bytes: u64,
    resident_bytes: u64,
}

impl Peak {
    /// Releases `records` at once, and waits until all are processed.
    pub(super) fn measure(launcher: &Launcher<'_>, load: &Load, records: u64) -> Result<Self> {
        let source = launcher.start_source(load)?;
        let mut program = launcher.start_client(Client::Windlass, load, &source)?;
        source.release(records)?;
        let (start, mut counted_bytes) = (Instant::now(), 0);
        loop {
            let status = source.status()?;
            if source.is_done(&status, records) {
                let delivered = status.delivered;
                ensure!(delivered == records, "{delivered} of {records} records");
                break;
            }
            counted_bytes = counted_bytes.max(program.metric(BUFFERED_METRIC)?);
            program.expect_alive()?;
            if TIMEOUT < start.elapsed() {
                let delivered = status.delivered;
                let log = program.end_of_log();
                bail!("only {delivered} of {records} records were processed; {log}");
            }
            sleep(Duration::from_millis(20));
        }
        Ok(Self {
            counted_bytes,
            limit_bytes: program.metric(LIMIT_METRIC)?,
            resident_bytes: memory_of(&program, "VmHWM").context("windlass at its peak")?,
        })
    }

    fn ratio(&self) -> f64 {
        self.counted_bytes as f64 / self.limit_bytes as f64
    }

    /// `count` is the number of what `name` says.
    pub(super) fn to_json(&self, name: &str, count: u32) -> Value {
        json!({
            name: count,
            "counted_bytes": self.counted_bytes,
            "limit_bytes": self.limit_bytes,
            "ratio": self.ratio(),
            "goal": GOAL,
            "peak_bytes": self.resident_bytes,
        })
    }
}

impl fmt::Display for Peak {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.1} MiB counted of {:.1} MiB, ratio {:.2}, goal {GOAL:.2}; {:.1} MiB resident at most",
            mib(self.counted_bytes),
            mib(self.limit_bytes),
            self.ratio(),
            mib(self.resident_bytes)
        )
    }
}
