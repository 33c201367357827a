//! The environment of a daemon in these tests: directory, configuration, functions with a ledger.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use windlass_emulator::{Counts, Emulator};
use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::TIMEOUT;

/// A configuration and the directory of its store.
pub(crate) struct Setup {
    dir: TempDir,
    config: Value,
}

impl Setup {
    /// A daemon with short poll intervals and no mappings.
    pub(crate) fn new(name: &str) -> Self {
        let dir = TempDir::new(name);
        let store = format!("sqlite:{}", dir.path().join("store").display());
        let config = json!({
            "store": store,
            "aws": {"endpoints": {}},
            "kinesis": {"poll_interval": "100ms"},
            "dynamodb_streams": {"poll_interval": "100ms"},
            "sqs": {"wait_time": "1s"},
            "functions": {},
            "mappings": [],
        });
        Self { dir, config }
    }

    /// Sets the endpoint of an AWS service.
    pub(crate) fn endpoint(mut self, service: &str, url: &str) -> Self {
        self.config["aws"]["endpoints"][service] = url.into();
        self
    }

    /// Assumes a role for the sources and destinations that a pattern matches.
    pub(crate) fn role(mut self, resources: &str, arn: &str) -> Self {
        self.config["aws"]["assume_roles"] = json!([{"resources": resources, "arn": arn}]);
        self
    }

    /// Shows the lag of each shard as a metric.
    pub(crate) fn metrics_per_shard(mut self) -> Self {
        self.config["metrics"] = json!({"per_shard": true});
        self
    }

    /// Adds a function.
    pub(crate) fn function(mut self, name: &str, url: &str) -> Self {
        self.config["functions"][name] = json!({"url": url});
        self
    }

    /// Disables the extension of visibility: messages stay invisible for the queue's timeout, as on AWS.
    pub(crate) fn without_heartbeat(mut self, function: &str) -> Self {
        self.config["sqs"]["visibility_heartbeat"] = false.into();
        self.config["functions"][function]["timeout"] = "1s".into();
        self
    }

    /// Adds a mapping with additional members.
    pub(crate) fn mapping(mut self, function: &str, arn: &str, mut members: Value) -> Self {
        members["FunctionName"] = function.into();
        members["EventSourceArn"] = arn.into();
        let mappings = self.config["mappings"].as_array_mut();
        mappings.expect("it is a list").push(members);
        self
    }

    pub(crate) async fn start(&self) -> anyhow::Result<Daemon> {
        Daemon::start(self.dir.path(), &self.text()).await
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The configuration; JSON is valid YAML.
    pub(crate) fn text(&self) -> String {
        self.config.to_string()
    }
}

/// Serves functions that record deliveries in a ledger.
pub(crate) async fn emulator() -> anyhow::Result<Emulator> {
    Ok(Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?)
}

/// Waits until all records that were put have been delivered.
pub(crate) async fn until_delivered(emulator: &Emulator) -> anyhow::Result<()> {
    let waited = wait::until("all records are delivered", TIMEOUT, || {
        let counts = emulator.ledger().counts();
        0 < counts.put && counts.missing() == 0
    });
    let waited = waited.await;
    waited.map_err(|error| error.context(format!("{:?}", emulator.ledger().counts())))
}

/// Each record that was put has arrived once, in order, and nothing else has.
#[track_caller]
pub(crate) fn assert_once_and_in_order(counts: Counts, put: u64) {
    let expected = Counts {
        put,
        delivered: put,
        batches: counts.batches,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
}

/// Each record that was put has arrived, in order and possibly repeated, and nothing else has.
#[track_caller]
pub(crate) fn assert_complete_and_in_order(counts: Counts, put: u64) {
    let without_repeats = Counts {
        repeated: 0,
        ..counts
    };
    assert_once_and_in_order(without_repeats, put);
}

/// The numbers of Kinesis records or SQS messages in the order of arrival; those of each key must
/// increase.
pub(crate) fn numbers_in_order(records: &[Value]) -> anyhow::Result<Vec<u64>> {
    let mut last = BTreeMap::new();
    let mut numbers = Vec::new();
    for record in records {
        let payload: Value = match (&record["kinesis"]["data"], &record["body"]) {
            (Value::String(data), _) => {
                serde_json::from_slice(&base64_simd::STANDARD.decode_to_vec(data)?)?
            }
            (_, body) => serde_json::from_str(body.as_str().context("a message has a body")?)?,
        };
        let n = payload["n"].as_u64().context("a payload has a number")?;
        let before = last.insert(payload["key"].to_string(), n);
        ensure!(before < Some(n), "{before:?} precedes {n}");
        numbers.push(n);
    }
    Ok(numbers)
}
