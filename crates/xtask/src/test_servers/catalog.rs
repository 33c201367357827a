//! The servers: how each is started, and the request that shows that it is ready.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::install::Package;

/// Placeholder in arguments and variables for the port to listen on.
pub(super) const PORT: &str = "{port}";

/// A server; several instances can run, each on its own port.
pub(crate) struct Server {
    /// The key in `running.json`.
    pub(super) name: &'static str,
    pub(super) package: Package,
    /// The `X-Amz-Target` of a request that succeeds once the server is ready.
    pub(super) ready_target: &'static str,
    /// The content type of that request: the version of AWS's JSON protocol.
    pub(super) ready_content_type: &'static str,
    pub(super) launch: fn(&Path) -> Launch,
}

/// The command of a server; arguments and variables may contain [`PORT`].
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) variables: BTreeMap<&'static str, String>,
}

const KINESIS_TARGET: &str = "Kinesis_20131202.ListStreams";
const SQS_TARGET: &str = "AmazonSQS.ListQueues";
const JSON_1_0: &str = "application/x-amz-json-1.0";
const JSON_1_1: &str = "application/x-amz-json-1.1";

pub(super) const SERVERS: &[Server] = &[
    Server {
        name: "kinesis_mock",
        package: Package::Npm,
        ready_target: KINESIS_TARGET,
        ready_content_type: JSON_1_1,
        launch: kinesis_mock,
    },
    Server {
        name: "ferrokinesis",
        package: Package::Ferrokinesis,
        ready_target: KINESIS_TARGET,
        ready_content_type: JSON_1_1,
        launch: ferrokinesis,
    },
    Server {
        name: "ministack",
        package: Package::Python,
        ready_target: KINESIS_TARGET,
        ready_content_type: JSON_1_1,
        launch: ministack,
    },
    Server {
        name: "elasticmq",
        package: Package::Elasticmq,
        ready_target: SQS_TARGET,
        ready_content_type: JSON_1_0,
        launch: elasticmq,
    },
    Server {
        name: "fauxqs",
        package: Package::Npm,
        ready_target: SQS_TARGET,
        ready_content_type: JSON_1_0,
        launch: fauxqs,
    },
];

pub(super) fn server_named(name: &str) -> Result<&'static Server> {
    let Some(server) = SERVERS.iter().find(|server| server.name == name) else {
        let names: Vec<&str> = SERVERS.iter().map(|server| server.name).collect();
        bail!("unknown server, expected one of {}", names.join(", "));
    };
    Ok(server)
}

/// The Python that has boto3.
pub(super) fn python(dir: &Path) -> PathBuf {
    Package::Python.dir(dir).join("bin/python")
}

pub(super) fn aws(dir: &Path) -> PathBuf {
    Package::Python.dir(dir).join("bin/aws")
}

/// The directory of AWS's library for event patterns and of the program that calls it,
/// `tests/servers/EventRuler.java`.
pub(super) fn event_ruler(dir: &Path) -> PathBuf {
    Package::EventRuler.dir(dir)
}

/// The target directory of `config/examples/rust`.
pub(super) fn rust_example(dir: &Path) -> PathBuf {
    Package::RustExample.dir(dir)
}

/// The program of `config/examples/go`.
pub(super) fn go_example(dir: &Path) -> PathBuf {
    Package::GoExample.dir(dir).join("hello")
}

/// The preloaded library that restricts a server to loopback, `tests/servers/loopback.c`.
pub(super) fn loopback(dir: &Path) -> PathBuf {
    Package::Loopback.dir(dir).join("loopback.so")
}

/// Listens on all interfaces, hence the preloaded library. The TLS port cannot be disabled; 0 selects
/// a free one.
fn kinesis_mock(dir: &Path) -> Launch {
    let package = node_modules(dir).join("kinesis-local");
    Launch {
        program: "node".into(),
        arguments: vec![text(&package.join("main.js"))],
        variables: BTreeMap::from([
            ("KINESIS_MOCK_PLAIN_PORT", PORT.to_owned()),
            ("KINESIS_MOCK_TLS_PORT", "0".to_owned()),
            ("KINESIS_MOCK_CERT_PATH", text(&package.join("server.json"))),
            ("CREATE_STREAM_DURATION", "50ms".to_owned()),
            ("DELETE_STREAM_DURATION", "50ms".to_owned()),
            ("SPLIT_SHARD_DURATION", "50ms".to_owned()),
            ("MERGE_SHARDS_DURATION", "50ms".to_owned()),
            ("UPDATE_SHARD_COUNT_DURATION", "50ms".to_owned()),
            ("LOG_LEVEL", "WARN".to_owned()),
            ("LD_PRELOAD", text(&loopback(dir))),
        ]),
    }
}

fn ferrokinesis(dir: &Path) -> Launch {
    let arguments = [
        "--port",
        PORT,
        "--create-stream-ms",
        "50",
        "--update-stream-ms",
        "50",
        "--delete-stream-ms",
        "50",
        "--shard-limit",
        "1000",
    ];
    Launch {
        program: Package::Ferrokinesis.dir(dir).join("bin/ferrokinesis"),
        arguments: arguments.map(str::to_owned).to_vec(),
        variables: BTreeMap::from([("LD_PRELOAD", text(&loopback(dir)))]),
    }
}

fn ministack(dir: &Path) -> Launch {
    Launch {
        program: Package::Python.dir(dir).join("bin/ministack"),
        arguments: Vec::new(),
        variables: BTreeMap::from([
            ("BIND_HOST", "127.0.0.1".to_owned()),
            ("GATEWAY_PORT", PORT.to_owned()),
        ]),
    }
}

fn elasticmq(dir: &Path) -> Launch {
    let properties = [
        "rest-sqs.bind-hostname=127.0.0.1",
        "rest-sqs.bind-port={port}",
        "node-address.host=127.0.0.1",
        "node-address.port={port}",
        "rest-stats.enabled=false",
        "aws.region=us-east-1",
        "aws.accountId=000000000000",
    ];
    let mut arguments: Vec<String> = properties.map(|property| format!("-D{property}")).to_vec();
    arguments.extend([
        "-cp".to_owned(),
        format!("{}/*", text(&Package::Elasticmq.dir(dir))),
        "org.elasticmq.server.Main".to_owned(),
    ]);
    Launch {
        program: "java".into(),
        arguments,
        variables: BTreeMap::new(),
    }
}

/// Needs a newer Node than the machine may have, so npm installs one with it.
fn fauxqs(dir: &Path) -> Launch {
    let modules = node_modules(dir);
    Launch {
        program: modules.join("node/bin/node"),
        arguments: vec![text(&modules.join("fauxqs/dist/cli.js"))],
        variables: BTreeMap::from([
            ("FAUXQS_PORT", PORT.to_owned()),
            ("FAUXQS_HOST", "127.0.0.1".to_owned()),
            ("FAUXQS_LOGGER", "false".to_owned()),
            ("LD_PRELOAD", text(&loopback(dir))),
        ]),
    }
}

pub(super) fn node_modules(dir: &Path) -> PathBuf {
    Package::Npm.dir(dir).join("node_modules")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
