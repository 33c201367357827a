//! A Kinesis stream whose shards split and merge at random while the daemon is killed.

use std::time::Duration;

use anyhow::Context;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};
use windlass_tests::aws::Aws;
use windlass_tests::producer::Producer;
use windlass_tests::proxy::{Proxy, ProxyMode};
use windlass_tests::servers::Servers;

use crate::kill::{run_and_kill, seed};
use crate::setup::{Setup, assert_complete_and_in_order, emulator, until_delivered};

const KILLS: u64 = 5;

/// Of one daemon, in puts. The last daemon runs until everything is delivered.
const MIN_PUTS: u64 = 20;
const MAX_PUTS: u64 = 50;

/// A daemon lives a little shorter or longer than its puts take.
const PUT_INTERVAL: Duration = Duration::from_millis(100);

const RECORDS_PER_PUT: u64 = 6;

/// Puts between two splits or merges: records of each generation are few enough to be read before the
/// next, or not, as it comes.
const PUTS_PER_CHANGE: u64 = 7;

const MAX_OPEN_SHARDS: usize = 5;

/// Of requests and responses of the function, so that kills hit invocations in flight.
const DELAY: Duration = Duration::from_millis(40);

#[tokio::test]
async fn random_splits_and_merges_and_five_kills_lose_nothing_and_keep_the_order() {
    let seed = seed();
    println!("{}", resharding(seed).await.unwrap());
}

async fn resharding(seed: u64) -> anyhow::Result<String> {
    // The shards of all streams of a server are limited, closed ones included.
    let server = Servers::running().start_own("kinesis_mock", &[]).await?;
    let aws = server.aws();
    let (emulator, arn) = (emulator().await?, aws.create_stream("reshard", 2).await?);
    let proxy = Proxy::start(&emulator.endpoint()).await?;
    proxy.set_mode(ProxyMode::Delay(DELAY)).await?;
    let url = emulator.function_url("orders");
    let members = json!({
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": 10,
        "ParallelizationFactor": 2,
    });
    let setup = Setup::new("reshard")
        .endpoint("kinesis", aws.endpoint())
        .function(
            "orders",
            &url.replace(&emulator.endpoint(), &proxy.endpoint()),
        )
        .mapping("orders", &arn, members);
    let mut flow = Flow {
        stream: Stream {
            aws: &aws,
            name: arn.rsplit_once('/').context("a stream has a name")?.1,
        },
        producer: Producer {
            aws: &aws,
            ledger: emulator.ledger(),
            arn: &arn,
            keys: 30,
        },
        random: ChaCha8Rng::seed_from_u64(seed),
        n_puts: 0,
        splits: 0,
        merges: 0,
    };
    for _ in 0..KILLS {
        let n_puts = MIN_PUTS + flow.random.next_u64() % (MAX_PUTS - MIN_PUTS);
        let span = PUT_INTERVAL * u32::try_from(n_puts)?;
        tokio::try_join!(run_and_kill(&setup, span), flow.run(n_puts))?;
    }
    let daemon = setup.start().await?;
    flow.run(MIN_PUTS).await?;
    until_delivered(&emulator).await?;
    daemon.stop().await?;
    let counts = emulator.ledger().counts();
    assert_complete_and_in_order(counts, flow.n_puts * RECORDS_PER_PUT);
    let (splits, merges) = (flow.splits, flow.merges);
    assert!(
        2 <= splits && 2 <= merges,
        "{splits} splits, {merges} merges"
    );
    Ok(format!(
        "kills {KILLS}, splits {splits}, merges {merges}, records {}, repeats {}",
        counts.put, counts.repeated
    ))
}

/// Records, and splits and merges between them.
struct Flow<'a> {
    stream: Stream<'a>,
    producer: Producer<'a>,
    random: ChaCha8Rng,
    n_puts: u64,
    splits: usize,
    merges: usize,
}

impl Flow<'_> {
    async fn run(&mut self, n_puts: u64) -> anyhow::Result<()> {
        let mut pace = tokio::time::interval(PUT_INTERVAL);
        for _ in 0..n_puts {
            pace.tick().await;
            let first = self.n_puts * RECORDS_PER_PUT;
            let numbers = first..first + RECORDS_PER_PUT;
            self.producer.put_records(numbers).await?;
            self.n_puts += 1;
            if self.n_puts.is_multiple_of(PUTS_PER_CHANGE) {
                self.change_shards().await?;
            }
        }
        Ok(())
    }

    /// Splits a shard in two, or merges it with its neighbour.
    async fn change_shards(&mut self) -> anyhow::Result<()> {
        let open = self.stream.open_shards().await?;
        let chosen = usize::try_from(self.random.next_u64() % open.len() as u64)?;
        let merges = match open.len() {
            1 => false,
            MAX_OPEN_SHARDS.. => true,
            _ => self.random.next_u64().is_multiple_of(2),
        };
        if merges {
            let first = chosen.min(open.len() - 2);
            self.stream.merge(&open[first], &open[first + 1]).await?;
            self.merges += 1;
        } else {
            self.stream.split(&open[chosen]).await?;
            self.splits += 1;
        }
        Ok(())
    }
}

struct Stream<'a> {
    aws: &'a Aws,
    name: &'a str,
}

struct OpenShard {
    id: String,
    /// First and last hash key.
    keys: (u128, u128),
}

impl Stream<'_> {
    /// In the order of their hash keys.
    async fn open_shards(&self) -> anyhow::Result<Vec<OpenShard>> {
        let body = json!({"StreamName": self.name});
        let answer = self.aws.kinesis("ListShards", body).await?;
        let mut open = Vec::new();
        for shard in answer["Shards"].as_array().context("a list of shards")? {
            if shard["SequenceNumberRange"]["EndingSequenceNumber"].is_string() {
                continue;
            }
            let key = |name: &str| -> anyhow::Result<u128> {
                let key = shard["HashKeyRange"][name].as_str();
                Ok(key.context("a shard has hash keys")?.parse()?)
            };
            open.push(OpenShard {
                id: shard["ShardId"]
                    .as_str()
                    .context("a shard has a name")?
                    .to_owned(),
                keys: (key("StartingHashKey")?, key("EndingHashKey")?),
            });
        }
        open.sort_by_key(|shard| shard.keys);
        Ok(open)
    }

    async fn split(&self, shard: &OpenShard) -> anyhow::Result<()> {
        let (first, last) = shard.keys;
        let middle = first + (last - first) / 2 + 1;
        let body = json!({
            "StreamName": self.name,
            "ShardToSplit": shard.id,
            "NewStartingHashKey": middle.to_string(),
        });
        self.change("SplitShard", body).await
    }

    async fn merge(&self, shard: &OpenShard, next: &OpenShard) -> anyhow::Result<()> {
        let body = json!({
            "StreamName": self.name,
            "ShardToMerge": shard.id,
            "AdjacentShardToMerge": next.id,
        });
        self.change("MergeShards", body).await
    }

    async fn change(&self, operation: &str, body: Value) -> anyhow::Result<()> {
        self.aws.kinesis(operation, body).await?;
        self.aws.until_active(self.name).await?;
        Ok(())
    }
}
