//! Measures the memory of a daemon whose queues all get large messages at the same time, while their
//! functions are slow.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, value_parser};

use super::peak::Peak;
use super::programs::{Function, Launcher, Load, Queue};
use super::{finish, with_release_programs};

/// Messages of each queue: as many as one receive returns.
const MESSAGES: u64 = 10;

/// The largest message of SQS.
const MESSAGE_BYTES: u32 = 1024 * 1024;

#[derive(Args)]
pub(crate) struct Options {
    /// Number of queues
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u32).range(1..=1_000))]
    count: u32,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Measures, prints the figures and writes them to `target/bench/queues.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let peak = measure(launcher, options.count)?;
        let text = describe(options.count, &peak);
        let figures = peak.to_json("queues", options.count);
        let file = work_dir.join("queues.json");
        finish(&file, &figures, &text, options.json)
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    print!("{}", describe(3, &measure(launcher, 3)?));
    Ok(())
}

fn measure(launcher: &Launcher<'_>, queues: u32) -> Result<Peak> {
    let load = Load {
        queue: Some(Queue {
            groups: 0,
            handle_bytes: Queue::HANDLE_BYTES,
            window: Duration::ZERO,
        }),
        record_bytes: MESSAGE_BYTES,
        batch_size: 10,
        mappings: queues,
        function: Function::AnswersLate,
        ..Load::default()
    };
    Peak::measure(launcher, &load, u64::from(queues) * MESSAGES)
}

fn describe(queues: u32, peak: &Peak) -> String {
    format!("{queues} queues that get {MESSAGES} messages of 1 MiB at once: {peak}\n")
}
