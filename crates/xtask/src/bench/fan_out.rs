//! Measures enhanced fan-out: CPU per record of subscriptions, compared with their floor.

use anyhow::Result;

use super::compare::{Comparison, Contestant};
use super::programs::{Client, Launcher, Load};
use super::{BATCH_SIZE, SHARDS};

/// Of CPU per record to that of the floor.
const GOAL: f64 = 2.0;

/// Bytes of a record, and what is measured with it.
const SIZES: [(u32, &str); 2] = [
    (1024, "Enhanced fan-out to HTTP, records of 1,024 B"),
    (200, "Enhanced fan-out to HTTP, records of 200 B"),
];

/// Of a measurement by default.
pub(super) const RECORDS: u64 = 400_000;

pub(super) fn measure(
    launcher: &Launcher<'_>,
    rounds_and_records: (u32, u64),
) -> Result<Vec<Comparison>> {
    let comparisons = SIZES.iter().map(|(record_bytes, what)| {
        let contestant = |name, client| Contestant {
            name,
            client,
            load: Load {
                shards: SHARDS,
                record_bytes: *record_bytes,
                fan_out: true,
                batch_size: BATCH_SIZE,
                ..Load::default()
            },
        };
        let contestants = [
            contestant("windlass", Client::Windlass),
            contestant("floor", Client::FanOutFloor),
        ];
        Comparison::measure(launcher, what, GOAL, &contestants, rounds_and_records)
    });
    comparisons.collect()
}
