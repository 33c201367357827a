//! The results of a benchmark, as JSON and as text.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::programs::WaitTimes;

pub(super) struct Report {
    /// Per measurement.
    pub(super) records: u64,
    pub(super) pipelines: Vec<Pipeline>,
    pub(super) idle: Idle,
    pub(super) hanging: Hanging,
}

/// Kinesis to HTTP, with one record size.
pub(super) struct Pipeline {
    pub(super) record_bytes: u32,
    pub(super) rounds: Vec<Round>,
}

/// Consecutive measurements, compared with each other.
pub(super) struct Round {
    pub(super) windlass: Cost,
    /// At the pace that Kinesis allows: five reads per second and shard.
    pub(super) floor: Cost,
    /// As fast as possible: CPU per record is lower without pauses. Called `hurried` in the JSON, which
    /// keeps it comparable with earlier runs.
    pub(super) unpaced_floor: Cost,
}

/// Resources used for a number of records.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    pub(super) records: u64,
    pub(super) cpu: Duration,
    pub(super) wall: Duration,
    pub(super) invocations: u64,
    /// Of a queue.
    pub(super) wait: Option<WaitTimes>,
}

/// A daemon without records.
pub(super) struct Idle {
    pub(super) shards: u32,
    pub(super) resident_bytes: u64,
    /// CPU seconds per second.
    pub(super) cpu_per_second: f64,
}

/// A daemon whose functions never respond.
pub(super) struct Hanging {
    pub(super) shards: u32,
    pub(super) mappings: u32,
    pub(super) records_read: u64,
    pub(super) record_bytes: u32,
    /// Record memory in use, as reported by the daemon.
    pub(super) held_bytes: u64,
    /// Limit of the record memory.
    pub(super) limit_bytes: u64,
    pub(super) resident_bytes: u64,
    pub(super) peak_bytes: u64,
}

impl Report {
    pub(super) fn to_json(&self) -> Value {
        let pipelines: Vec<Value> = self.pipelines.iter().map(Pipeline::to_json).collect();
        json!({
            "records": self.records,
            "kinesis_to_http": pipelines,
            "idle": {
                "shards": self.idle.shards,
                "resident_bytes": self.idle.resident_bytes,
                "cpu_per_second": self.idle.cpu_per_second,
            },
            "function_hangs": {
                "shards": self.hanging.shards,
                "mappings": self.hanging.mappings,
                "records_read": self.hanging.records_read,
                "record_bytes": self.hanging.record_bytes,
                "held_bytes": self.hanging.held_bytes,
                "limit_bytes": self.hanging.limit_bytes,
                "resident_bytes": self.hanging.resident_bytes,
                "peak_bytes": self.hanging.peak_bytes,
            },
        })
    }
}

impl Pipeline {
    fn to_json(&self) -> Value {
        let rounds: Vec<Value> = self
            .rounds
            .iter()
            .map(|round| {
                json!({
                    "windlass": round.windlass.to_json(),
                    "floor": round.floor.to_json(),
                    "ratio": round.ratio(),
                    "hurried_floor": round.unpaced_floor.to_json(),
                    "hurried_ratio": round.unpaced_ratio(),
                })
            })
            .collect();
        json!({
            "record_bytes": self.record_bytes,
            "rounds": rounds,
            "median": {
                "windlass_us_per_record": self.median(|round| round.windlass.us_per_record()),
                "floor_us_per_record": self.median(|round| round.floor.us_per_record()),
                "ratio": self.median(Round::ratio),
                "hurried_floor_us_per_record":
                    self.median(|round| round.unpaced_floor.us_per_record()),
                "hurried_ratio": self.median(Round::unpaced_ratio),
            },
        })
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }
}

impl Round {
    fn ratio(&self) -> f64 {
        self.windlass.us_per_record() / self.floor.us_per_record()
    }

    fn unpaced_ratio(&self) -> f64 {
        self.windlass.us_per_record() / self.unpaced_floor.us_per_record()
    }
}

impl Cost {
    pub(super) fn us_per_record(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.records as f64
    }

    pub(super) fn records_per_second(&self) -> f64 {
        self.records as f64 / self.wall.as_secs_f64()
    }

    pub(super) fn records_per_invocation(&self) -> f64 {
        self.records as f64 / self.invocations as f64
    }

    /// Milliseconds; not a number for a stream.
    pub(super) fn wait_ms(&self, time: impl Fn(&WaitTimes) -> Duration) -> f64 {
        let millis = |wait| time(wait).as_secs_f64() * 1e3;
        self.wait.as_ref().map_or(f64::NAN, millis)
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "us_per_record": self.us_per_record(),
            "cpu_seconds": self.cpu.as_secs_f64(),
            "records_per_second": self.records_per_second(),
        })
    }
}

pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        n_figures if n_figures % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "Kinesis to HTTP: user and system CPU per record, over {} records; the floor at the \
             same pace, and without pauses",
            self.records
        )?;
        writeln!(
            formatter,
            "{:>8}{:>8}{:>14}{:>14}{:>8}{:>14}{:>8}",
            "bytes", "round", "windlass", "floor", "ratio", "no pauses", "ratio"
        )?;
        for pipeline in &self.pipelines {
            write!(formatter, "{pipeline}")?;
        }
        writeln!(formatter, "{}", self.idle)?;
        writeln!(formatter, "{}", self.hanging)
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.record_bytes;
        let mut line = |name: &str, figure: &dyn Fn(fn(&Round) -> f64) -> f64| {
            let windlass = figure(|round| round.windlass.us_per_record());
            let floor = figure(|round| round.floor.us_per_record());
            let unpaced = figure(|round| round.unpaced_floor.us_per_record());
            let (ratio, unpaced_ratio) = (figure(Round::ratio), figure(Round::unpaced_ratio));
            writeln!(
                formatter,
                "{bytes:>8}{name:>8}{windlass:>11.2} µs{floor:>11.2} µs{ratio:>8.2}\
                 {unpaced:>11.2} µs{unpaced_ratio:>8.2}"
            )
        };
        for (round, number) in self.rounds.iter().zip(1..) {
            line(&format!("{number}"), &|figure| figure(round))?;
        }
        line("median", &|figure| self.median(figure))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "windlass {:.2} µs ({:.0} records/s), floor {:.2} µs ({:.0} records/s), ratio {:.2}; \
             floor without pauses {:.2} µs ({:.0} records/s), ratio {:.2}",
            self.windlass.us_per_record(),
            self.windlass.records_per_second(),
            self.floor.us_per_record(),
            self.floor.records_per_second(),
            self.ratio(),
            self.unpaced_floor.us_per_record(),
            self.unpaced_floor.records_per_second(),
            self.unpaced_ratio(),
        )
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} idle shards: {:.1} MiB resident, {:.0} ms of CPU per second",
            self.shards,
            mib(self.resident_bytes),
            self.cpu_per_second * 1e3
        )
    }
}

impl fmt::Display for Hanging {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} functions that hang: {:.1} MiB resident, {:.1} MiB peak, {:.1} of {:.1} MiB of \
             record memory in use, after {} records of {} B from {} shards",
            self.mappings,
            mib(self.resident_bytes),
            mib(self.peak_bytes),
            mib(self.held_bytes),
            mib(self.limit_bytes),
            self.records_read,
            self.record_bytes,
            self.shards
        )
    }
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

#[cfg(test)]
impl Cost {
    /// Of a thousand records in a hundred invocations.
    pub(super) fn of_cpu_millis(millis: u64) -> Self {
        Self {
            records: 1_000,
            cpu: Duration::from_millis(millis),
            wall: Duration::from_secs(1),
            invocations: 100,
            wait: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_ratios_and_not_the_ratio_of_the_medians() {
        let rounds = [(2, 1), (9, 3), (4, 4)].map(|(windlass, floor)| Round {
            windlass: Cost::of_cpu_millis(windlass),
            floor: Cost::of_cpu_millis(floor),
            unpaced_floor: Cost::of_cpu_millis(1),
        });
        let pipeline = Pipeline {
            record_bytes: 200,
            rounds: rounds.into(),
        };
        let median = &pipeline.to_json()["median"];
        assert_eq!(median["ratio"], 2.0);
        assert_eq!(median["windlass_us_per_record"], 4.0);
        assert_eq!(median["floor_us_per_record"], 3.0);
        assert_eq!(median["hurried_ratio"], 4.0);
    }

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
    }
}
