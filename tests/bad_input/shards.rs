//! What holds shards back, as an operator sees it.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::function::Function;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::{TIMEOUT, one_mapping, run};

#[tokio::test]
async fn a_shard_that_waits_for_its_parent_names_it() {
    blocked_shard().await.unwrap();
}

async fn blocked_shard() -> anyhow::Result<()> {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let arn = emulator.kinesis().create_stream("orders", 1)?;
    let parent = "shardId-000000000000";
    emulator.kinesis().put("orders", "k", b"{}")?;
    emulator.kinesis().split_shard("orders", parent)?;
    let (dir, function) = (TempDir::new("blocked"), Function::start(500).await?);
    let mut config = one_mapping(dir.path(), &emulator.endpoint(), &arn, &function.url);
    config["mappings"][0]["MaximumRetryAttempts"] = 100.into();
    let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
    let uuid = daemon.only_mapping().await?;
    let waiting = |status: &Value, shard: usize| {
        let words = status["shards"][shard]["waiting_for"].as_str();
        words.unwrap_or_default().to_owned()
    };
    let status = wait::until_some("the parent is retried", TIMEOUT, async || {
        let status = daemon.status(&uuid).await?;
        let is_retried = waiting(&status, 0).starts_with("function returns errors, attempt ");
        Ok(is_retried.then_some(status))
    })
    .await?;
    assert!(
        waiting(&status, 0).contains(" of 101, next in "),
        "{status}"
    );
    let shards = status["shards"].as_array().map_or(0, Vec::len);
    assert_eq!(shards, 3, "{status}");
    let blocked = format!("blocked on its parent {parent}:");
    for child in [1, 2] {
        assert!(waiting(&status, child).starts_with(&blocked), "{status}");
        assert_eq!(status["shards"][child]["daemon"], Value::Null);
    }
    let arguments = ["status", &uuid, "--endpoint", &daemon.endpoint];
    let shown = run(dir.path(), &arguments).await;
    shown.assert(0, &[&blocked, "shardId-000000000002"]);

    function.set_status(200);
    wait::until_some("nothing is blocked", TIMEOUT, async || {
        let status = daemon.status(&uuid).await?;
        let is_free = (0..3).all(|shard| waiting(&status, shard).is_empty());
        Ok(is_free.then_some(()))
    })
    .await?;
    daemon.stop().await?;
    Ok(())
}
