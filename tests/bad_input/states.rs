//! A mapping settles after the daemon was killed in the middle of any change.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::TIMEOUT;

const MAPPINGS: &str = "/2015-03-31/event-source-mappings";

#[tokio::test]
async fn a_mapping_settles_after_a_crash_in_the_middle_of_any_change() {
    let dir = TempDir::new("states");
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let emulator = emulator.await.unwrap();
    let stream = emulator.kinesis().create_stream("orders", 2).unwrap();
    let queue = emulator.sqs().create_queue("jobs", &[]).unwrap();
    let endpoint = emulator.endpoint();
    let config = json!({
        "store": format!("sqlite:{}", dir.path().join("store").display()),
        "functions": {"f": {"url": emulator.function_url("f")}},
        "aws": {"endpoints": {"sqs": endpoint, "kinesis": endpoint}},
        "sqs": {"wait_time": "1s"},
    });
    let config = config.to_string();
    let start = async || Daemon::start(dir.path(), &config).await.unwrap();
    let all = [
        json!({"EventSourceArn": stream, "StartingPosition": "LATEST"}),
        json!({"EventSourceArn": queue}),
    ];

    let (daemon, mut uuids) = (start().await, Vec::new());
    for mut members in all {
        members["FunctionName"] = "f".into();
        let created = daemon.call("POST", MAPPINGS, Some(&members)).await;
        let (status, created) = created.unwrap();
        assert_eq!((status, &created["State"]), (202, &json!("Creating")));
        uuids.push(created["UUID"].as_str().unwrap().to_owned());
    }
    daemon.kill().await.unwrap();
    let mut daemon = start().await;
    settles(&daemon, &uuids, "Enabled", 0).await;

    for (change, at_once, state, batch_size) in [
        (json!({"BatchSize": 7}), "Updating", "Enabled", 7),
        (json!({"Enabled": false}), "Disabling", "Disabled", 7),
        (json!({"BatchSize": 8}), "Disabled", "Disabled", 8),
        (
            json!({"Enabled": true, "BatchSize": 9}),
            "Enabling",
            "Enabled",
            9,
        ),
    ] {
        for uuid in &uuids {
            let path = format!("{MAPPINGS}/{uuid}");
            let (status, shown) = daemon.call("PUT", &path, Some(&change)).await.unwrap();
            assert_eq!(
                (status, &shown["State"]),
                (202, &json!(at_once)),
                "{change}"
            );
        }
        daemon.kill().await.unwrap();
        daemon = start().await;
        settles(&daemon, &uuids, state, batch_size).await;
    }

    for uuid in &uuids {
        let path = format!("{MAPPINGS}/{uuid}");
        let (status, shown) = daemon.call("DELETE", &path, None).await.unwrap();
        assert_eq!((status, &shown["State"]), (202, &json!("Deleting")));
    }
    daemon.kill().await.unwrap();
    let daemon = start().await;
    wait::until_some("the mappings are gone", TIMEOUT, async || {
        let (_, list) = daemon.call("GET", MAPPINGS, None).await?;
        Ok((list["EventSourceMappings"] == json!([])).then_some(()))
    })
    .await
    .unwrap();
    daemon.stop().await.unwrap();
}

/// Waits until the mappings have a state, with this batch size unless it is 0.
async fn settles(daemon: &Daemon, uuids: &[String], state: &str, batch_size: i64) {
    for uuid in uuids {
        let settled = daemon.wait_for_state(uuid, state).await;
        settled.expect("it settles");
        let path = format!("{MAPPINGS}/{uuid}");
        let shown: Value = daemon
            .call("GET", &path, None)
            .await
            .expect("it responds")
            .1;
        assert!(
            batch_size == 0 || shown["BatchSize"] == batch_size,
            "{shown}"
        );
    }
}
