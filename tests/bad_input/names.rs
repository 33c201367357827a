//! The forms in which commands name a mapping, and the history of what they change.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;

use crate::{Ended, FAILED, run};

/// A daemon with mappings of the queue `jobs`, in the order of their UUIDs: of `f` and `g`.
struct Named {
    dir: TempDir,
    daemon: Daemon,
    uuids: Vec<String>,
    _emulator: Emulator,
}

impl Named {
    async fn start() -> Self {
        let dir = TempDir::new("names");
        let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let emulator = emulator.await.expect("it starts");
        let queue = emulator.sqs().create_queue("jobs", &[]).expect("it is new");
        let config = format!(
            "store: sqlite:{}\nfunctions:\n  f: {{url: 'http://127.0.0.1:9'}}\n  \
             g: {{url: 'http://127.0.0.1:9'}}\naws: {{endpoints: {{sqs: '{}'}}}}\n",
            dir.path().join("store").display(),
            emulator.endpoint()
        );
        let daemon = Daemon::start(dir.path(), &config).await;
        let daemon = daemon.expect("it starts");
        let mut named = Self {
            dir,
            daemon,
            uuids: Vec::new(),
            _emulator: emulator,
        };
        for function in ["f", "g"] {
            let source = format!("--event-source-arn={queue}");
            let name = format!("--function-name={function}");
            let create = ["mappings", "create", &source, &name, "-o", "json"];
            let created = named.call(&create).await;
            created.assert(0, &[]);
            let created: Value = serde_json::from_str(&created.text).expect("it is JSON");
            let uuid = created["UUID"].as_str().expect("it has a UUID");
            let enabled = named.daemon.wait_for_state(uuid, "Enabled").await;
            enabled.expect("it becomes Enabled");
            named.uuids.push(uuid.to_owned());
        }
        named
    }

    async fn call(&self, arguments: &[&str]) -> Ended {
        let at = ["--endpoint", &self.daemon.endpoint];
        run(self.dir.path(), &[arguments, &at].concat()).await
    }
}

#[tokio::test]
async fn a_mapping_is_named_by_its_uuid_the_start_of_it_or_its_source_and_function() {
    let named = Named::start().await;
    let uuid = &named.uuids[0];
    for name in [uuid, &uuid[..30], "jobs/f"] {
        let get = named.call(&["mappings", "get", name]).await;
        get.assert(0, &[uuid]);
        let status = named.call(&["status", name]).await;
        status.assert(0, &[uuid, "sqs jobs → f"]);
    }
    let none = [
        "no mapping is 'jobs/h'",
        "SOURCE/FUNCTION",
        "windlass mappings list",
    ];
    for command in [&["status"][..], &["history"], &["mappings", "delete"]] {
        let unknown = named.call(&[command, &["jobs/h"]].concat()).await;
        unknown.assert(FAILED, &none);
        let nothing = named.call(&[command, &[""]].concat()).await;
        nothing.assert(FAILED, &["no mapping is ''"]);
    }
    let gone = ["mappings", "get", "00000000-0000-4000-8000-000000000000"];
    let missing = ["ResourceNotFoundException (404)"];
    named.call(&gone).await.assert(FAILED, &missing);
    named.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn the_history_of_a_mapping_outlives_it() {
    let named = Named::start().await;
    let (deleted, other) = (&named.uuids[0], &named.uuids[1]);
    let update = ["mappings", "update", "jobs/f", "--batch-size=7"];
    named.call(&update).await.assert(0, &[]);
    named
        .daemon
        .wait_for_state(deleted, "Enabled")
        .await
        .unwrap();
    let delete = named.call(&["mappings", "delete", "jobs/f"]).await;
    delete.assert(0, &["Deleting"]);

    let table = named.call(&["history", deleted]).await;
    let says = [
        "delete",
        "create",
        "local",
        "BatchSize: 10 → 7",
        "sqs jobs → f",
    ];
    table.assert(0, &says);
    assert!(!table.text.contains(other), "{}", table.text);
    let lines = named.call(&["history", "-o", "json"]).await;
    lines.assert(0, &[]);
    let lines: Value = serde_json::from_str(&lines.text).unwrap();
    let lines = lines.as_array().unwrap().iter();
    let what: Vec<_> = lines.map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["delete", "update", "create", "create"]);
    let yaml = named.call(&["history", "-o", "yaml", "jobs/g"]).await;
    yaml.assert(0, &["what: create", other]);
    let unknown = ["history", "00000000-0000-4000-8000-000000000000"];
    named.call(&unknown).await.assert(0, &["no history"]);
    named.daemon.stop().await.unwrap();
}
