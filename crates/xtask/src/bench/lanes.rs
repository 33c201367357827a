//! Measures what the lanes of a shard cost: CPU per record with a `ParallelizationFactor` of 10,
//! compared with 1.
//!
//! Both have the same records in the same time. As fast as they can, ten lanes are more than twice as
//! fast as one, and share caches and cores with a source that has as much more to do.

use anyhow::Result;

use super::compare::{Comparison, Contestant};
use super::measure::Pace;
use super::programs::{Client, Launcher, Load};
use super::{BATCH_SIZE, SHARDS};

const FACTOR: u32 = 10;

const GOAL: f64 = 1.15;

/// What one lane a shard can do without haste.
const PACE: Pace = Pace {
    releases_per_second: 50,
    per_release: 1_600,
};

/// Of a measurement by default.
pub(super) const RECORDS: u64 = 2_000_000;

pub(super) fn measure(
    launcher: &Launcher<'_>,
    rounds_and_records: (u32, u64),
) -> Result<Vec<Comparison>> {
    let contestant = |name, parallelization_factor| Contestant {
        name,
        client: Client::Windlass,
        load: Load {
            shards: SHARDS,
            batch_size: BATCH_SIZE,
            parallelization_factor,
            pace: Some(PACE),
            ..Load::default()
        },
    };
    let contestants = [
        contestant("ten lanes a shard", FACTOR),
        contestant("one lane a shard", 1),
    ];
    let what = "ParallelizationFactor, Kinesis to HTTP";
    let comparison = Comparison::measure(launcher, what, GOAL, &contestants, rounds_and_records)?;
    Ok(vec![comparison])
}
