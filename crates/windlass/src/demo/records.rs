//! The sources of the demo, and the records put into them.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::time::{Instant, MissedTickBehavior};
use windlass_core::time::Timestamp;
use windlass_emulator::{Emulator, Ledger};

const STREAM: &str = "orders";
const TABLE: &str = "carts";

/// A FIFO queue, because the ledger checks the order.
const QUEUE: &str = "jobs.fifo";

/// All records are put within this time, however many they are.
const PUT_TIME: Duration = Duration::from_secs(12);

const PUT_INTERVAL: Duration = Duration::from_millis(50);

/// Keys per source.
const N_KEYS: u64 = 200;

/// Of every ten records, six go to the stream, two to the table, and the rest to the queue.
const STREAM_SHARE: u64 = 6;
const TABLE_SHARE: u64 = 2;
const QUEUE_SHARE: u64 = 10 - STREAM_SHARE - TABLE_SHARE;

/// Records put without yielding to other tasks.
const MAX_BURST: u64 = 5_000;

/// Creates the sources. Returns their ARNs, each with the starting position of its mapping.
pub(super) fn create_sources(
    emulator: &Emulator,
) -> anyhow::Result<[(String, Option<&'static str>); 3]> {
    let stream = emulator
        .kinesis()
        .create_stream(STREAM, 4)
        .context("creating the stream")?;
    let table = emulator
        .dynamodb()
        .create_table(TABLE, "key", 2)
        .context("creating the table")?;
    let queue = emulator.sqs().create_queue(QUEUE, &[("FifoQueue", "true")]);
    let queue = queue.context("creating the queue")?;
    let start = Some("TRIM_HORIZON");
    Ok([(stream, start), (table, start), (queue, None)])
}

/// Puts `total` records, evenly over time. Those of the stream from a sixth of the time on, which are
/// half of all, are noted in `replayed` as well. Returns when they begin.
pub(super) async fn put(
    emulator: &Emulator,
    total: u64,
    replayed: Option<&Ledger>,
) -> anyhow::Result<Option<Timestamp>> {
    let first_replayed = total / 6;
    let mut replayed_from = None;
    let started = Instant::now();
    let mut ticks = tokio::time::interval(PUT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut n_put = 0;
    while n_put < total {
        ticks.tick().await;
        let share = started.elapsed().as_secs_f64() / PUT_TIME.as_secs_f64();
        // A machine that is too slow for the schedule still responds to signals.
        let n_due = due(total, share).min(n_put + MAX_BURST);
        for index in n_put..n_due {
            if replayed.is_some() && index == first_replayed {
                replayed_from = Some(time_between_records().await);
            }
            let replayed = replayed.filter(|_| first_replayed <= index);
            put_one(emulator, index, replayed)?;
        }
        n_put = n_due;
    }
    Ok(replayed_from)
}

/// Records before it have an earlier stamp: stamps have whole milliseconds.
async fn time_between_records() -> Timestamp {
    const GAP: Duration = Duration::from_millis(5);
    tokio::time::sleep(GAP).await;
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    tokio::time::sleep(GAP).await;
    Timestamp::EPOCH
        + Duration::from_secs(since_epoch.as_secs())
        + Duration::from_millis(u64::from(since_epoch.subsec_millis()))
}

/// The number of records to put by the time that `share` of [`PUT_TIME`] has passed.
fn due(total: u64, share: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the share is between 0 and 1, and a millionth is precise enough"
    )]
    let millionths = (share.clamp(0.0, 1.0) * 1_000_000.0) as u64;
    total * millionths / 1_000_000
}

fn put_one(emulator: &Emulator, index: u64, replayed: Option<&Ledger>) -> anyhow::Result<()> {
    let (round, slot) = (index / 10, index % 10);
    let ledger = emulator.ledger();
    if slot < STREAM_SHARE {
        let (key, n) = key_and_number(round * STREAM_SHARE + slot);
        let payload = ledger.put_payload("kinesis/orders", &key, n);
        if let Some(replayed) = replayed {
            replayed.put("kinesis/orders", &key, n);
        }
        emulator.kinesis().put(STREAM, &key, payload.as_bytes())?;
    } else if slot < STREAM_SHARE + TABLE_SHARE {
        let (key, n) = key_and_number(round * TABLE_SHARE + slot - STREAM_SHARE);
        let payload = ledger.put_payload("dynamodb/carts", &key, n);
        emulator.dynamodb().put_item(TABLE, &key, &payload)?;
    } else {
        let index_in_queue = round * QUEUE_SHARE + slot - STREAM_SHARE - TABLE_SHARE;
        let (key, n) = key_and_number(index_in_queue);
        let payload = ledger.put_payload("sqs/jobs.fifo", &key, n);
        emulator.sqs().send(QUEUE, Some(&key), &payload)?;
    }
    Ok(())
}

/// The key of a record of one source, and its number within the key.
fn key_and_number(index: u64) -> (String, u64) {
    (format!("key-{:03}", index % N_KEYS), index / N_KEYS + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_due_evenly_over_the_put_time() {
        assert_eq!(due(30_000, 0.0), 0);
        assert_eq!(due(30_000, 0.5), 15_000);
        assert_eq!(due(30_001, 1.0), 30_001);
        assert_eq!(due(30_001, 7.0), 30_001);
    }

    #[test]
    fn numbers_of_a_key_are_consecutive() {
        assert_eq!(key_and_number(0), ("key-000".to_owned(), 1));
        assert_eq!(key_and_number(N_KEYS), ("key-000".to_owned(), 2));
        assert_eq!(key_and_number(2 * N_KEYS + 1), ("key-001".to_owned(), 3));
    }
}
