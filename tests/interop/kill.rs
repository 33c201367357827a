//! `kill -9` at random moments, while records flow.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde_json::json;
use windlass_tests::daemon::spawn;
use windlass_tests::producer::Producer;
use windlass_tests::relay::{Relay, Way};
use windlass_tests::servers::Servers;

use crate::setup::{Setup, assert_complete_and_in_order, emulator, until_delivered};

const KILLS: u64 = 20;
const SHARDS: u32 = 4;
const BATCH: u64 = 50;
const RECORDS: u64 = 20_000;

/// Records of one life of the daemon; the rest flows when it is left alone.
const RECORDS_OF_A_LIFE: u64 = RECORDS / (KILLS + 1);

/// How long a request takes to the function, and its answer back: most kills find an invocation
/// under way, and the function has it or has it not.
const SLOW: Duration = Duration::from_millis(60);

/// A life is no longer, counted from the start of the process: so some end before they have read
/// anything, and some while an invocation or a save is under way.
const LONGEST_LIFE: u64 = 1_500;

#[tokio::test]
async fn twenty_kills_lose_nothing_and_keep_the_order() {
    let seed = std::env::var("WINDLASS_SEED").ok();
    let seed = seed.map_or_else(moment_as_seed, |seed| seed.parse().expect("it is a number"));
    // Printed first, so that a failure shows it too.
    println!("WINDLASS_SEED={seed}");
    println!("{}", kill_often(seed).await.unwrap());
}

fn moment_as_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::from(since.subsec_nanos()))
}

/// Gives a line for people.
async fn kill_often(seed: u64) -> anyhow::Result<String> {
    let aws = Servers::running().aws("ferrokinesis");
    let (emulator, arn) = (emulator().await?, aws.create_stream("kill", SHARDS).await?);
    let relay = Relay::start(&emulator.endpoint()).await?;
    relay.go(Way::Slow(SLOW)).await?;
    let url = emulator.function_url("orders");
    let url = url.replace(&emulator.endpoint(), &relay.endpoint());
    let members = json!({"StartingPosition": "TRIM_HORIZON", "BatchSize": BATCH});
    let setup = Setup::new("kill")
        .endpoint("kinesis", aws.endpoint())
        .function("orders", &url)
        .mapping("orders", &arn, members);
    let ledger = emulator.ledger();
    let producer = Producer {
        aws: &aws,
        ledger,
        arn: &arn,
        keys: 100,
    };
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut lives_that_delivered = 0;
    for life in 0..KILLS {
        let span = Duration::from_millis(50 + random.next_u64() % (LONGEST_LIFE - 50));
        let before = ledger.counts().delivered;
        let first = life * RECORDS_OF_A_LIFE;
        tokio::try_join!(
            live_and_die(&setup, span),
            flow(&producer, first, first + RECORDS_OF_A_LIFE, span),
        )?;
        lives_that_delivered += u64::from(before < ledger.counts().delivered);
    }
    let at_last_kill = ledger.counts();
    let daemon = setup.start().await?;
    producer
        .put_records(KILLS * RECORDS_OF_A_LIFE..RECORDS)
        .await?;
    until_delivered(&emulator).await?;
    daemon.stop().await?;

    let counts = ledger.counts();
    assert_complete_and_in_order(counts, RECORDS);
    // Kills while nothing happens would prove nothing.
    assert!(
        KILLS / 2 < lives_that_delivered,
        "{lives_that_delivered} lives delivered"
    );
    assert_ne!(counts.repeated, 0, "no kill has hit an invocation");
    // A kill costs the batch that is under way, and that whose checkpoint is being saved.
    let most = KILLS * u64::from(SHARDS) * 2 * BATCH;
    assert!(
        counts.repeated <= most,
        "{} repeats, more than {most}",
        counts.repeated
    );
    Ok(format!(
        "kills {KILLS}, repeats {}, lost {} (of {RECORDS}; {lives_that_delivered} lives delivered, \
         {} records before the last kill)",
        counts.repeated,
        counts.missing(),
        at_last_kill.delivered,
    ))
}

/// One life of the daemon.
async fn live_and_die(setup: &Setup, span: Duration) -> anyhow::Result<()> {
    let mut child = spawn(setup.folder(), &setup.text())?;
    // The end of its life is the experiment itself; nothing is waited for.
    tokio::time::sleep(span).await;
    Ok(child.kill().await?)
}

/// Puts records throughout a span of time.
async fn flow(
    producer: &Producer<'_>,
    mut from: u64,
    to: u64,
    span: Duration,
) -> anyhow::Result<()> {
    let portions = 10;
    let mut pace = tokio::time::interval(span / portions);
    for portion in 1..=portions {
        pace.tick().await;
        let end =
            to - (to - from) * u64::from(portions - portion) / u64::from(portions - portion + 1);
        producer.put_records(from..end).await?;
        from = end;
    }
    Ok(())
}
