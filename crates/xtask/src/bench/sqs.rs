//! Measures queues: receive, invoke over HTTP and delete.
//!
//! CPU per message compared with the floor, and in large batches compared with small ones; messages a
//! second of one daemon; and the time from the response with a message to its event, with a backlog
//! and with few messages.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, value_parser};
use serde_json::{Value, json};

use super::compare::{Comparison, Contestant};
use super::measure::{Pace, deliver, deliver_at_pace};
use super::programs::{Client, Launcher, Load, Queue, WaitTimes};
use super::{finish, with_release_programs};

/// Of CPU per message to that of the floor.
const FLOOR_GOAL: f64 = 2.5;

/// Of CPU per message in a large batch to that in small ones.
const LARGE_BATCH_GOAL: f64 = 1.1;

const SMALL_BATCH: u32 = 10;

/// The limit of AWS. Of messages of this size, an event has room for about 3,000.
const MAX_BATCH: u32 = 10_000;

/// As many as fit into an event if they are short.
const LARGE_BATCH: u32 = 8_000;

const GROUPS: u32 = 1_000;

/// The shortest.
const WINDOW: Duration = Duration::from_secs(1);

/// Longer than it takes to receive a large batch, so that each is full.
const LARGE_BATCH_WINDOW: Duration = Duration::from_secs(20);

/// Messages a second of the measurement with few of them.
const PER_SECOND: u64 = 100;

const RELEASES_PER_SECOND: u32 = 10;

#[derive(Args)]
pub(crate) struct Options {
    /// Number of rounds; a round measures windlass and the floors
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,
    /// Number of messages per measurement, after a warm-up with a tenth as many
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u64).range(1_000..))]
    messages: u64,
    /// Seconds of the measurement with few messages
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..))]
    seconds: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// A queue and its batches.
#[derive(Clone, Copy)]
enum Case {
    Standard,
    Window,
    Fifo,
}

/// Measures, prints the figures and writes them to `target/bench/sqs.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let size = (options.rounds, options.messages);
        let comparisons = [
            Case::Standard.measure(launcher, &Case::CLIENTS, size)?,
            Case::Window.measure(launcher, &Case::CLIENTS, size)?,
            Case::Fifo.measure(launcher, &Case::CLIENTS, size)?,
            large_batches(launcher, LARGE_BATCH, options.rounds)?,
        ];
        let wait = few_messages(launcher, options.seconds)?;
        let more = format!(
            "Few messages, {PER_SECOND} a second: receive to invoke p50 {:.2} ms, p99 {:.2} ms\n",
            millis(wait.p50),
            millis(wait.p99)
        );
        let mut figures: Vec<Value> = comparisons.iter().map(Comparison::to_json).collect();
        figures.push(json!({
            "what": "few messages",
            "messages_per_second": PER_SECOND,
            "p50_ms": millis(wait.p50),
            "p99_ms": millis(wait.p99),
        }));
        let rows = comparisons.iter().map(ToString::to_string);
        let text: String = rows.chain([more]).collect();
        finish(
            &work_dir.join("sqs.json"),
            &figures.into(),
            &text,
            options.json,
        )
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    let (size, clients) = ((1, 300), Case::CLIENTS);
    print!("{}", Case::Standard.measure(launcher, &clients[..2], size)?);
    print!("{}", Case::Fifo.measure(launcher, &clients[..1], size)?);
    print!("{}", large_batches(launcher, 30, 1)?);
    Ok(())
}

impl Case {
    const CLIENTS: [(&'static str, Client); 3] = [
        ("windlass", Client::Windlass),
        ("floor", Client::QueueFloor),
        ("floor, 5 at a time", Client::ConcurrentQueueFloor),
    ];

    fn what(self) -> &'static str {
        match self {
            Self::Standard => "Standard queue, batches of 10",
            Self::Window => "Standard queue, batches of up to 10,000 in a window",
            Self::Fifo => "FIFO queue of 1,000 groups, batches of 10",
        }
    }

    fn load(self) -> Load {
        let mut queue = Queue {
            groups: 0,
            handle_bytes: Queue::HANDLE_BYTES,
            window: Duration::ZERO,
        };
        let mut batch_size = SMALL_BATCH;
        match self {
            Self::Standard => {}
            Self::Window => (queue.window, batch_size) = (WINDOW, MAX_BATCH),
            Self::Fifo => queue.groups = GROUPS,
        }
        Load {
            queue: Some(queue),
            batch_size,
            ..Load::default()
        }
    }

    fn measure(
        self,
        launcher: &Launcher<'_>,
        clients: &[(&'static str, Client)],
        size: (u32, u64),
    ) -> Result<Comparison> {
        let contestants = clients.iter().map(|(name, client)| Contestant {
            name,
            client: *client,
            load: self.load(),
        });
        let contestants: Vec<_> = contestants.collect();
        Comparison::measure(launcher, self.what(), FLOOR_GOAL, &contestants, size)
    }
}

/// Short messages in batches that are as large as an event allows, and in small ones.
fn large_batches(launcher: &Launcher<'_>, large: u32, rounds: u32) -> Result<Comparison> {
    let contestant = |name, batch_size, window| Contestant {
        name,
        client: Client::Windlass,
        load: Load {
            queue: Some(Queue {
                groups: 0,
                handle_bytes: 100,
                window,
            }),
            record_bytes: 100,
            batch_size,
            ..Load::default()
        },
    };
    let contestants = [
        contestant("large batches", large, LARGE_BATCH_WINDOW),
        contestant("batches of 10", SMALL_BATCH, Duration::ZERO),
    ];
    let what = "Standard queue, short messages in large batches";
    // Full batches, also in the warm-up.
    let size = (rounds, 10 * u64::from(large));
    Comparison::measure(launcher, what, LARGE_BATCH_GOAL, &contestants, size)
}

/// How long messages wait in a daemon that has nearly nothing to do.
fn few_messages(launcher: &Launcher<'_>, seconds: u64) -> Result<WaitTimes> {
    let load = Case::Standard.load();
    let source = launcher.start_source(&load)?;
    let mut daemon = launcher.start_client(Client::Windlass, &load, &source)?;
    deliver(&mut daemon, &source, PER_SECOND, PER_SECOND)?;
    source.take_wait_times()?;
    let pace = Pace {
        releases_per_second: RELEASES_PER_SECOND,
        per_release: PER_SECOND / u64::from(RELEASES_PER_SECOND),
    };
    deliver_at_pace(
        &mut daemon,
        &source,
        pace,
        pace.records(seconds),
        PER_SECOND,
    )?;
    let times = source.take_wait_times()?;
    times.context("the source measures no times")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
