//! The demo's sources, and the records that are put into them.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, MissedTickBehavior};
use windlass_emulator::Emulator;

const STREAM: &str = "orders";
const TABLE: &str = "carts";

/// A FIFO queue, for the ledger checks order.
const QUEUE: &str = "jobs.fifo";

/// How long records are put, whatever their number.
const PUT_TIME: Duration = Duration::from_secs(12);

/// Between two times that records are put.
const PUT_INTERVAL: Duration = Duration::from_millis(50);

/// Keys of each source: the records of each must arrive in order.
const N_KEYS: u64 = 200;

/// Of ten records, six go to the stream and two to the table; the queue has the others.
const OF_TEN: (u64, u64) = (6, 2);

/// Makes the sources; their ARNs, and the starting position of a mapping on each.
pub(super) fn sources(emulator: &Emulator) -> anyhow::Result<[(String, Option<&'static str>); 3]> {
    let stream = emulator
        .kinesis()
        .create_stream(STREAM, 4)
        .context("making a stream")?;
    let table = emulator
        .dynamodb()
        .create_table(TABLE, "key", 2)
        .context("making a table")?;
    let queue = emulator.sqs().create_queue(QUEUE, &[("FifoQueue", "true")]);
    let queue = queue.context("making a queue")?;
    let first = Some("TRIM_HORIZON");
    Ok([(stream, first), (table, first), (queue, None)])
}

/// Most records that are put before anything else has its turn.
const MOST_AT_A_TIME: u64 = 5_000;

/// Puts that many records, evenly over time.
pub(super) async fn put(emulator: &Emulator, total: u64) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(PUT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut n_put = 0;
    while n_put < total {
        ticks.tick().await;
        let share = started.elapsed().as_secs_f64() / PUT_TIME.as_secs_f64();
        // A machine that is too slow for the plan falls behind it, and still hears a request to stop.
        let n_due = due(total, share).min(n_put + MOST_AT_A_TIME);
        for index in n_put..n_due {
            put_one(emulator, index)?;
        }
        n_put = n_due;
    }
    Ok(())
}

/// How many of all records should have been put by now.
fn due(total: u64, share: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share is between 0 and 1, and a millionth is fine enough"
    )]
    let millionths = (share.clamp(0.0, 1.0) * 1_000_000.0) as u64;
    total * millionths / 1_000_000
}

fn put_one(emulator: &Emulator, index: u64) -> anyhow::Result<()> {
    let (round, place) = (index / 10, index % 10);
    let (of_stream, of_table) = OF_TEN;
    let ledger = emulator.ledger();
    if place < of_stream {
        let (key, n) = numbered(round * of_stream + place);
        let payload = ledger.put_payload("kinesis/orders", &key, n);
        emulator.kinesis().put(STREAM, &key, payload.as_bytes())?;
    } else if place < of_stream + of_table {
        let (key, n) = numbered(round * of_table + place - of_stream);
        let payload = ledger.put_payload("dynamodb/carts", &key, n);
        emulator.dynamodb().put_item(TABLE, &key, &payload)?;
    } else {
        let of_queue = 10 - of_stream - of_table;
        let (key, n) = numbered(round * of_queue + place - of_stream - of_table);
        let payload = ledger.put_payload("sqs/jobs.fifo", &key, n);
        emulator.sqs().send(QUEUE, Some(&key), &payload)?;
    }
    Ok(())
}

/// The key of a source's record, and its number for that key.
fn numbered(index: u64) -> (String, u64) {
    (format!("key-{:03}", index % N_KEYS), index / N_KEYS + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_due_in_the_end_and_none_at_first() {
        assert_eq!(due(30_000, 0.0), 0);
        assert_eq!(due(30_000, 0.5), 15_000);
        assert_eq!(due(30_001, 1.0), 30_001);
        assert_eq!(due(30_001, 7.0), 30_001);
    }

    #[test]
    fn numbers_of_a_key_grow_by_one() {
        assert_eq!(numbered(0), ("key-000".to_owned(), 1));
        assert_eq!(numbered(N_KEYS), ("key-000".to_owned(), 2));
        assert_eq!(numbered(2 * N_KEYS + 1), ("key-001".to_owned(), 3));
    }
}
