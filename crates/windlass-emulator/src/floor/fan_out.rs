//! The floor of enhanced fan-out: subscribes to shards, and posts the records of each event in events of
//! the length of Lambda's.
//!
//! It cuts the stream into messages by their lengths, and checks no checksum.

use anyhow::{Context as _, Result};
use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use windlass_emulator::PAGE_PREFIX;

use super::{Connection, Floor, batches, count, event, length_of_records, move_shards};

/// Two lengths and a checksum, of four bytes each.
const PRELUDE_LEN: usize = 12;

const CHECKSUM_LEN: usize = 4;

/// The messages of a subscription.
struct Messages {
    body: Incoming,
    /// What has arrived of the next ones.
    arrived: Vec<u8>,
}

impl Floor {
    /// Moves records of all shards by subscriptions, until something fails.
    pub(crate) async fn run_fan_out(self) -> Result<()> {
        move_shards(self.shards, |shard| {
            let floor = self.clone();
            async move { floor.move_subscribed(shard).await }
        })
        .await
    }

    async fn move_subscribed(&self, shard: u32) -> Result<()> {
        let mut source = Connection::open(&self.authority).await?;
        let mut function = Connection::open(&self.authority).await?;
        let request = format!(
            "{{\"ConsumerARN\":\"bench\",\"ShardId\":\"shardId-{shard:012}\",\
             \"StartingPosition\":{{\"Type\":\"TRIM_HORIZON\"}}}}"
        );
        let operation = "Kinesis_20131202.SubscribeToShard";
        let response = source.call(operation, Bytes::from(request)).await?;
        let length = length_of_records(&response)?;
        let mut messages = Messages {
            body: response.into_body(),
            arrived: Vec::new(),
        };
        loop {
            let page = messages.next().await?;
            // The first message is not an event.
            let records = page.get(PAGE_PREFIX.len()..).unwrap_or_default();
            let n_records = count(records, length);
            if n_records == 0 {
                continue;
            }
            for batch in batches(&page, length, n_records, self.batch_size) {
                let response = function.post("/function", event(batch, length)).await?;
                let body = response.into_body().collect().await;
                body.context("reading the response of the function")?;
            }
        }
    }
}

impl Messages {
    /// The payload of the next message.
    async fn next(&mut self) -> Result<Vec<u8>> {
        let (total, headers) = loop {
            if let Some(mut prelude) = self.arrived.get(..PRELUDE_LEN) {
                let (total, headers) = (prelude.get_u32() as usize, prelude.get_u32() as usize);
                if total <= self.arrived.len() {
                    break (total, headers);
                }
            }
            let frame = self.body.frame().await;
            let frame = frame.context("the subscription has ended")?;
            let frame = frame.context("reading an event")?.into_data();
            self.arrived.extend_from_slice(&frame.unwrap_or_default());
        };
        let rest = self.arrived.split_off(total);
        let mut message = std::mem::replace(&mut self.arrived, rest);
        message.truncate(total - CHECKSUM_LEN);
        message.drain(..PRELUDE_LEN + headers);
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use windlass_emulator::{BenchLoad, BenchSource, StreamLoad};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_released_record_is_delivered_once() {
        let load = BenchLoad::Stream(StreamLoad {
            shards: 3,
            record_bytes: 20,
            read_delay: Duration::ZERO,
        });
        let listen = "127.0.0.1:0".parse().unwrap();
        let source = BenchSource::start(listen, load).await.unwrap();
        let floor = Floor {
            authority: source.addr().to_string(),
            shards: 3,
            batch_size: 7,
            read_interval: Duration::ZERO,
        };
        source.release(5_000);
        let all_delivered = async {
            while source.counts().delivered < 5_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            result = floor.run_fan_out() => panic!("the floor ended: {result:?}"),
            () = all_delivered => {}
        }
        let counts = source.counts();
        assert_eq!((counts.read, counts.delivered), (5_000, 5_000));
    }
}
