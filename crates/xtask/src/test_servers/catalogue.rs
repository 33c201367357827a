//! The servers: what each is for, how it is started, and how one sees that it is ready.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::install::Part;

/// Stands in arguments and variables for the port that the server is to listen on.
pub(super) const PORT: &str = "{port}";

/// One server that can be started any number of times, each on its own port.
pub(crate) struct Server {
    /// Its name in `running.json`.
    pub(super) name: &'static str,
    /// What must be installed for it.
    pub(super) part: Part,
    /// The `X-Amz-Target` of a request that it answers with 200 as soon as it is ready.
    pub(super) ready_target: &'static str,
    /// The content type of that request: the version of AWS's JSON protocol.
    pub(super) ready_content_type: &'static str,
    pub(super) launch: fn(&Path) -> Launch,
}

/// How a server is started; [`PORT`] may stand in arguments and in variables.
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
        part: Part::Npm,
        ready_target: KINESIS_TARGET,
        ready_content_type: JSON_1_1,
        launch: kinesis_mock,
    },
    Server {
        name: "ferrokinesis",
        part: Part::Ferrokinesis,
        ready_target: KINESIS_TARGET,
        ready_content_type: JSON_1_1,
        launch: ferrokinesis,
    },
    Server {
        name: "ministack",
        part: Part::Python,
        ready_target: KINESIS_TARGET,
        ready_content_type: JSON_1_1,
        launch: ministack,
    },
    Server {
        name: "elasticmq",
        part: Part::Elasticmq,
        ready_target: SQS_TARGET,
        ready_content_type: JSON_1_0,
        launch: elasticmq,
    },
    Server {
        name: "fauxqs",
        part: Part::Npm,
        ready_target: SQS_TARGET,
        ready_content_type: JSON_1_0,
        launch: fauxqs,
    },
];

/// Finds a server by its name, for the command line.
///
/// # Errors
/// If there is none; the error lists those there are.
pub(super) fn server_named(name: &str) -> Result<&'static Server> {
    let Some(server) = SERVERS.iter().find(|server| server.name == name) else {
        let names: Vec<&str> = SERVERS.iter().map(|server| server.name).collect();
        bail!("no server has this name; there are {}", names.join(", "));
    };
    Ok(server)
}

/// The Python that has boto3.
pub(super) fn python(folder: &Path) -> PathBuf {
    Part::Python.folder(folder).join("bin/python")
}

/// The AWS CLI.
pub(super) fn aws(folder: &Path) -> PathBuf {
    Part::Python.folder(folder).join("bin/aws")
}

/// The folder with AWS's library for event patterns, and with the program that asks it, see
/// `tests/servers/EventRuler.java`.
pub(super) fn event_ruler(folder: &Path) -> PathBuf {
    Part::EventRuler.folder(folder)
}

/// The library that keeps a server on loopback, see `tests/servers/loopback.c`.
pub(super) fn loopback(folder: &Path) -> PathBuf {
    Part::Loopback.folder(folder).join("loopback.so")
}

/// Listens on every interface by itself, hence the preloaded library; the second port, for TLS,
/// cannot be switched off and takes any that is free.
fn kinesis_mock(folder: &Path) -> Launch {
    let package = modules(folder).join("kinesis-local");
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
            ("LD_PRELOAD", text(&loopback(folder))),
        ]),
    }
}

fn ferrokinesis(folder: &Path) -> Launch {
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
        program: Part::Ferrokinesis.folder(folder).join("bin/ferrokinesis"),
        arguments: arguments.map(str::to_owned).to_vec(),
        variables: BTreeMap::from([("LD_PRELOAD", text(&loopback(folder)))]),
    }
}

fn ministack(folder: &Path) -> Launch {
    Launch {
        program: Part::Python.folder(folder).join("bin/ministack"),
        arguments: Vec::new(),
        variables: BTreeMap::from([
            ("BIND_HOST", "127.0.0.1".to_owned()),
            ("GATEWAY_PORT", PORT.to_owned()),
        ]),
    }
}

fn elasticmq(folder: &Path) -> Launch {
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
        format!("{}/*", text(&Part::Elasticmq.folder(folder))),
        "org.elasticmq.server.Main".to_owned(),
    ]);
    Launch {
        program: "java".into(),
        arguments,
        variables: BTreeMap::new(),
    }
}

/// Needs a newer Node than the machine may have, so that one comes with it from the registry.
fn fauxqs(folder: &Path) -> Launch {
    let modules = modules(folder);
    Launch {
        program: modules.join("node/bin/node"),
        arguments: vec![text(&modules.join("fauxqs/dist/cli.js"))],
        variables: BTreeMap::from([
            ("FAUXQS_PORT", PORT.to_owned()),
            ("FAUXQS_HOST", "127.0.0.1".to_owned()),
            ("FAUXQS_LOGGER", "false".to_owned()),
            ("LD_PRELOAD", text(&loopback(folder))),
        ]),
    }
}

fn modules(folder: &Path) -> PathBuf {
    Part::Npm.folder(folder).join("node_modules")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
