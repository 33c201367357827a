//! Measures replays: CPU per record of a replay without a rate, compared with a mapping that reads the
//! same records.

use anyhow::Result;

use super::compare::{Comparison, Contestant};
use super::programs::{Client, Launcher, Load};
use super::{BATCH_SIZE, SHARDS};

const GOAL: f64 = 1.1;

/// Of a measurement by default.
pub(super) const RECORDS: u64 = 400_000;

pub(super) fn measure(
    launcher: &Launcher<'_>,
    rounds_and_records: (u32, u64),
) -> Result<Vec<Comparison>> {
    let contestant = |name, is_replay| Contestant {
        name,
        client: Client::Windlass,
        load: Load {
            shards: SHARDS,
            batch_size: BATCH_SIZE,
            is_replay,
            ..Load::default()
        },
    };
    let contestants = [contestant("a replay", true), contestant("a mapping", false)];
    let what = "replay, Kinesis to HTTP";
    let comparison = Comparison::measure(launcher, what, GOAL, &contestants, rounds_and_records)?;
    Ok(vec![comparison])
}
