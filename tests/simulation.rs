//! Simulated worlds with a fixed range of seeds; `windlass-sim` runs others.

use windlass_testkit::world::{self, Run, Totals};

const SEEDS: std::ops::Range<u64> = 0..2_000;

#[track_caller]
fn simulate(run: Run) -> Totals {
    let mut totals = Totals::default();
    for seed in SEEDS {
        match world::simulate(run, seed) {
            Ok(world) => totals += world,
            Err(failure) => panic!("{failure}"),
        }
    }
    totals
}

#[test]
fn a_shard_keeps_its_invariants() {
    let totals = simulate(world::shard::run);
    println!("{totals}");
    // Worlds without faults would prove nothing.
    let faults = [
        totals.crashes,
        totals.drains,
        totals.leases_lost,
        totals.trims,
    ];
    assert!(faults.iter().all(|n| 100 < *n), "{totals}");
}

#[test]
fn a_queue_keeps_its_invariants() {
    let totals = simulate(world::queue::run);
    println!("{totals}");
    let faults = [totals.crashes, totals.drains, totals.redeliveries];
    assert!(faults.iter().all(|n| 100 < *n), "{totals}");
}

#[test]
fn the_processes_of_a_function_keep_their_invariants() {
    let totals = simulate(world::process::run);
    println!("{totals}");
    let faults = [totals.crashes, totals.drains];
    assert!(faults.iter().all(|n| 100 < *n), "{totals}");
}

#[test]
fn redrives_keep_their_invariants() {
    let totals = simulate(world::redrive::run);
    println!("{totals}");
    let faults = [totals.crashes, totals.cancellations];
    assert!(faults.iter().all(|n| 100 < *n), "{totals}");
}

#[test]
fn slots_keep_their_invariants() {
    let totals = simulate(world::slot::run);
    println!("{totals}");
    assert!(100 < totals.cancellations, "{totals}");
}

#[test]
fn the_rows_of_a_stream_keep_their_invariants() {
    let totals = simulate(world::stream::run);
    println!("{totals}");
    let faults = [
        totals.crashes,
        totals.trims,
        totals.expired,
        totals.recreated,
    ];
    assert!(faults.iter().all(|n| 100 < *n), "{totals}");
}
