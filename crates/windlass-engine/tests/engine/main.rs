//! Tests of the whole engine of a daemon with fake ports, under paused time.
//!
//! A logged error fails the test, unless the test takes it.

mod daemon;
mod dead_letters;
mod dry_runs;
mod fairness;
mod lanes;
mod life;
mod limits;
mod listings;
mod metrics;
mod parks;
mod positions;
mod preparation;
mod queues;
mod redrive;
mod redrive_letters;
mod replays;
mod retries;
mod rounds;
mod seek;
mod skip;
mod slots;
mod states;
mod status;
mod trouble;
mod windows;
