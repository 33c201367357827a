//! What surrounds a daemon in these tests: its directory, its configuration, a function with a ledger.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use windlass_emulator::{Counts, Emulator};
use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::TIMEOUT;

/// A configuration, and the directory of its store.
pub(crate) struct Setup {
    dir: TempDir,
    config: Value,
}

impl Setup {
    /// A daemon that polls often, with nothing to poll yet.
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

    /// Where a service of AWS is.
    pub(crate) fn endpoint(mut self, service: &str, url: &str) -> Self {
        self.config["aws"]["endpoints"][service] = url.into();
        self
    }

    /// A function that is invoked at a URL.
    pub(crate) fn function(mut self, name: &str, url: &str) -> Self {
        self.config["functions"][name] = json!({"url": url});
        self
    }

    /// Messages are invisible as on AWS: for as long as the queue says, and never longer.
    pub(crate) fn without_heartbeat(mut self, function: &str) -> Self {
        self.config["sqs"]["visibility_heartbeat"] = false.into();
        self.config["functions"][function]["timeout"] = "1s".into();
        self
    }

    /// A mapping of the file, with members besides source and function.
    pub(crate) fn mapping(mut self, function: &str, arn: &str, mut members: Value) -> Self {
        members["FunctionName"] = function.into();
        members["EventSourceArn"] = arn.into();
        let mappings = self.config["mappings"].as_array_mut();
        mappings.expect("it was made as a list").push(members);
        self
    }

    /// Starts a daemon on the store of this setup.
    pub(crate) async fn start(&self) -> anyhow::Result<Daemon> {
        Daemon::start(self.dir.path(), &self.text()).await
    }

    /// The directory of the configuration.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The configuration: JSON is YAML.
    pub(crate) fn text(&self) -> String {
        self.config.to_string()
    }
}

/// Functions with a ledger.
pub(crate) async fn emulator() -> anyhow::Result<Emulator> {
    Ok(Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?)
}

/// Waits until everything that was put has been delivered.
pub(crate) async fn until_delivered(emulator: &Emulator) -> anyhow::Result<()> {
    let waited = wait::until("everything is delivered", TIMEOUT, || {
        let counts = emulator.ledger().counts();
        0 < counts.put && counts.missing() == 0
    });
    let waited = waited.await;
    waited.map_err(|error| error.context(format!("{:?}", emulator.ledger().counts())))
}

/// Everything that was put has arrived once, in its order, and nothing else.
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

/// Everything that was put has arrived, in its order, and nothing else; repeats do no harm.
#[track_caller]
pub(crate) fn assert_complete_and_in_order(counts: Counts, put: u64) {
    let without_repeats = Counts {
        repeated: 0,
        ..counts
    };
    assert_once_and_in_order(without_repeats, put);
}

/// The numbers of Kinesis records and SQS messages as they came, which must grow for each key.
pub(crate) fn numbers_in_order(records: &[Value]) -> anyhow::Result<Vec<u64>> {
    let mut last = BTreeMap::new();
    let mut numbers = Vec::new();
    for record in records {
        let payload: Value = match (&record["kinesis"]["data"], &record["body"]) {
            (Value::String(data), _) => {
                serde_json::from_slice(&base64_simd::STANDARD.decode_to_vec(data)?)?
            }
            (_, body) => serde_json::from_str(body.as_str().context("it has a body")?)?,
        };
        let n = payload["n"].as_u64().context("it has a number")?;
        let before = last.insert(payload["key"].to_string(), n);
        ensure!(before < Some(n), "{before:?} comes before {n}");
        numbers.push(n);
    }
    Ok(numbers)
}
