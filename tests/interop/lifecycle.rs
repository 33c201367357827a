//! The whole life of mappings by clients of AWS whose signatures are checked, and our parameters compared
//! with the model of these clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};
use tokio::process::Command;
use windlass_core::parameters::{self, Type};
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_core::validate;
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::servers::Servers;
use windlass_tests::temp_dir::TempDir;

use crate::TIMEOUT;
use crate::clients::{Cli, client};

/// An access key of the daemon.
const KEY: (&str, &str) = ("WINDLASSADMIN", "secret-of-the-admin");

/// Sources of an emulator and a daemon that asks for keys.
struct Life {
    _dir: TempDir,
    _emulator: Emulator,
    daemon: Daemon,
    /// A Kinesis stream, a DynamoDB stream and a queue.
    sources: [String; 3],
}

impl Life {
    async fn start(name: &str) -> anyhow::Result<Self> {
        let dir = TempDir::new(name);
        let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let sources = [
            emulator.kinesis().create_stream("life", 1)?,
            emulator.dynamodb().create_table("life", "id", 1)?,
            emulator.sqs().create_queue("life", &[])?,
        ];
        let endpoint = emulator.endpoint();
        let config = json!({
            "store": format!("sqlite:{}", dir.path().join("store").display()),
            "aws": {"endpoints": {
                "kinesis": endpoint, "dynamodb_streams": endpoint, "sqs": endpoint,
            }},
            "sqs": {"wait_time": "1s"},
            "functions": {"orders": {"url": emulator.function_url("orders")}},
            "auth": {"access_keys": [{"id": KEY.0, "secret": KEY.1, "role": "admin"}]},
        });
        let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
        Ok(Self {
            _dir: dir,
            _emulator: emulator,
            daemon,
            sources,
        })
    }

    /// Runs a script that has the endpoint and the sources as its last arguments.
    async fn run(&self, mut script: Command) -> anyhow::Result<()> {
        script.arg(&self.daemon.endpoint).args(&self.sources);
        script.env("AWS_ACCESS_KEY_ID", KEY.0);
        script.env("AWS_SECRET_ACCESS_KEY", KEY.1);
        script.env("AWS_REGION", "us-east-1");
        finished(script).await.map(drop)
    }
}

async fn finished(mut command: Command) -> anyhow::Result<Output> {
    let output = tokio::time::timeout(TIMEOUT, command.output()).await;
    let output = output.context("the client does not exit in time")??;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(output)
}

#[tokio::test]
async fn mappings_live_and_end_by_boto3() {
    let life = Life::start("life-boto3").await.unwrap();
    let mut script = client(Servers::running().python());
    script.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/lifecycle.py"));
    life.run(script).await.unwrap();
    life.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn mappings_live_and_end_by_the_sdk_for_javascript() {
    let life = Life::start("life-js").await.unwrap();
    let servers = Servers::running();
    let modules = servers.node_modules();
    let mut script = client(&format!("{modules}/node/bin/node"));
    script.arg(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/interop/lifecycle.cjs"
    ));
    script.arg(modules);
    life.run(script).await.unwrap();
    life.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn mappings_live_and_end_by_the_aws_cli() {
    by_the_cli().await.unwrap();
}

async fn by_the_cli() -> anyhow::Result<()> {
    let life = Life::start("life-cli").await?;
    let servers = Servers::running();
    let cli = Cli {
        program: servers.aws_cli(),
        daemon: &life.daemon,
        key: KEY,
    };
    let [kinesis, dynamodb, queue] = &life.sources;
    let stream = [
        "--starting-position=TRIM_HORIZON",
        "--maximum-retry-attempts=3",
    ];
    let pollers = [r#"--scaling-config={"MaximumConcurrency":5}"#];
    let created = tokio::try_join!(
        create(&cli, kinesis, &stream),
        create(&cli, dynamodb, &stream),
        create(&cli, queue, &pollers),
    )?;
    // Pages of one, which the CLI puts together.
    let list = ["list-event-source-mappings", "--page-size=1"];
    let listed = cli.lambda(&list).await?;
    let listed = listed["EventSourceMappings"].as_array().map(Vec::len);
    ensure!(listed == Some(3), "{listed:?}");
    let first = ["list-event-source-mappings", "--max-items=1"];
    ensure!(cli.lambda(&first).await?["NextToken"].is_string());
    let live = async |mapping| {
        change(&cli, mapping).await?;
        end(&cli, mapping).await
    };
    tokio::try_join!(live(&created.0), live(&created.1), live(&created.2))?;
    let forger = Cli {
        key: (KEY.0, "secret-of-nobody"),
        ..cli
    };
    let refused = forger.refused(&["list-event-source-mappings"]).await?;
    ensure!(refused.contains("(InvalidSignatureException)"), "{refused}");
    life.daemon.stop().await?;
    Ok(())
}

async fn create(cli: &Cli<'_>, source: &str, more: &[&str]) -> anyhow::Result<Value> {
    let source = format!("--event-source-arn={source}");
    let arguments = [
        "create-event-source-mapping",
        "--function-name=orders",
        &source,
        "--batch-size=7",
        "--tags=team=images,a/b=c d",
    ];
    let created = cli.lambda(&[&arguments, more].concat()).await?;
    ensure!(created["State"] == "Creating", "{created}");
    settle(cli, &created, "Enabled", 7).await?;
    Ok(created)
}

async fn end(cli: &Cli<'_>, mapping: &Value) -> anyhow::Result<()> {
    let by_uuid = format!("--uuid={}", text(mapping, "UUID")?);
    let delete = ["delete-event-source-mapping", &by_uuid];
    let deleted = cli.lambda(&delete).await?;
    ensure!(deleted["State"] == "Deleting", "{deleted}");
    until(async || {
        let get = ["get-event-source-mapping", &by_uuid];
        let (code, output) = cli.run(&get).await?;
        Ok(code != Some(0) && output.contains("(ResourceNotFoundException)"))
    })
    .await
}

/// Tags after settings, and settings after tags.
async fn change(cli: &Cli<'_>, mapping: &Value) -> anyhow::Result<()> {
    let by_uuid = format!("--uuid={}", text(mapping, "UUID")?);
    let by_arn = format!("--resource={}", text(mapping, "EventSourceMappingArn")?);
    let update = async |more: &[&str]| {
        let arguments = ["update-event-source-mapping", &by_uuid];
        cli.lambda(&[&arguments, more].concat()).await
    };
    let quiet = async |arguments: &[&str]| {
        let (code, output) = cli.run(arguments).await?;
        ensure!(
            code == Some(0) && output.is_empty(),
            "{arguments:?}: {output}"
        );
        Ok(())
    };
    update(&["--batch-size=9"]).await?;
    quiet(&["tag-resource", &by_arn, "--tags=team=words,new="]).await?;
    quiet(&["untag-resource", &by_arn, "--tag-keys", "a/b", "absent"]).await?;
    update(&["--no-enabled", "--batch-size=8"]).await?;
    settle(cli, mapping, "Disabled", 8).await?;
    update(&["--enabled"]).await?;
    settle(cli, mapping, "Enabled", 8).await?;
    let tags = cli.lambda(&["list-tags", &by_arn]).await?;
    ensure!(
        tags["Tags"] == json!({"team": "words", "new": ""}),
        "{tags}"
    );
    Ok(())
}

async fn settle(
    cli: &Cli<'_>,
    mapping: &Value,
    state: &str,
    batch_size: i64,
) -> anyhow::Result<()> {
    let by_uuid = format!("--uuid={}", text(mapping, "UUID")?);
    until(async || {
        let got = cli.lambda(&["get-event-source-mapping", &by_uuid]).await?;
        ensure!(got["BatchSize"] == batch_size, "{got}");
        Ok(got["State"] == state)
    })
    .await
}

/// Every call of the CLI starts a process, so there is no pause between them.
async fn until(condition: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let holds = async {
        while !condition().await? {}
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), holds).await?
}

fn text<'a>(mapping: &'a Value, member: &str) -> anyhow::Result<&'a str> {
    mapping[member]
        .as_str()
        .with_context(|| format!("no {member} in {mapping}"))
}

/// Members of the model that no source of windlass has, by operation and path.
const REFUSED: [&str; 10] = [
    "AmazonManagedKafkaEventSourceConfig",
    "DocumentDBEventSourceConfig",
    "KMSKeyArn",
    "LoggingConfig",
    "ProvisionedPollerConfig.PollerGroupName",
    "Queues",
    "SelfManagedEventSource",
    "SelfManagedKafkaEventSourceConfig",
    "SourceAccessConfigurations",
    "Topics",
];

/// Prints the members of both operations, with those of their structures.
const MODEL: &str = r#"
import json
import botocore.session

model = botocore.session.get_session().get_service_model("lambda")

def members(shape):
    if shape.type_name == "list":
        return members(shape.member)
    if shape.type_name == "structure":
        return {name: members(member) for name, member in shape.members.items()}
    return None

operations = ["CreateEventSourceMapping", "UpdateEventSourceMapping"]
print(json.dumps({name: members(model.operation_model(name).input_shape) for name in operations}))
"#;

#[tokio::test]
async fn every_member_of_the_model_is_supported_or_refused() {
    let mut script = client(Servers::running().python());
    script.args(["-c", MODEL]);
    let output = finished(script).await.unwrap();
    let model: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut refused = Vec::new();
    for (operation, members) in model.as_object().unwrap() {
        let members = members.as_object().unwrap();
        assert!(20 < members.len(), "{operation}");
        for (name, inner) in members {
            let is_update = operation.starts_with("Update");
            if is_update && name == "UUID" {
                continue;
            }
            match parameters::find(name) {
                Some(parameter) => {
                    assert!(!is_update || parameter.is_updatable, "{operation}: {name}");
                    compare(&parameter.value_type, inner, name, &mut refused);
                }
                None => {
                    let message = refusal(name, json!("x"));
                    let expected = format!(
                        "Unsupported {name} parameter for given event source mapping type."
                    );
                    assert_eq!(message, expected, "{operation}");
                    refused.push(name.clone());
                }
            }
        }
    }
    refused.sort();
    refused.dedup();
    assert_eq!(refused, REFUSED, "decide about new members of the model");
    let group = json!({"MinimumPollers": 2, "PollerGroupName": "g"});
    let message = refusal("ProvisionedPollerConfig", group);
    assert!(message.contains("PollerGroupName"), "{message}");
}

/// Each member of a structure is known by its name, or refused by it.
fn compare(expected: &Type, members: &Value, path: &str, refused: &mut Vec<String>) {
    match (expected, members) {
        (Type::List { item, .. }, _) => compare(item, members, path, refused),
        (Type::Structure { members: known, .. }, Value::Object(members)) => {
            for (name, inner) in members {
                let path = format!("{path}.{name}");
                match known.iter().find(|member| member.0 == name.as_str()) {
                    Some(member) => compare(&member.1, inner, &path, refused),
                    None => refused.push(path),
                }
            }
        }
        (_, inner) => assert_eq!(*inner, Value::Null, "{path} is a structure"),
    }
}

/// The text of the refusal of a mapping with this member.
fn refusal(name: &str, value: Value) -> String {
    let members = Map::from_iter([
        ("FunctionName".to_owned(), json!("f")),
        (
            "EventSourceArn".to_owned(),
            json!("arn:aws:sqs:us-east-1:000000000000:q"),
        ),
        (name.to_owned(), value),
    ]);
    let (spec, _) = MappingSpec::read(&members, false);
    let checked = validate::create(&spec, Timestamp::EPOCH);
    let violations = checked.expect_err("it is refused");
    violations[0].message.clone()
}
