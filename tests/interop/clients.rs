//! Our API as its users call it: with the unmodified AWS CLI and boto3.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::process::Command;
use windlass_tests::daemon::Daemon;
use windlass_tests::producer::Producer;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{Setup, assert_once_and_in_order, emulator, until_delivered};

/// Per call, the start of the client included.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The AWS CLI with the endpoint of a daemon.
pub(crate) struct Cli<'a> {
    pub(crate) program: &'a str,
    pub(crate) daemon: &'a Daemon,
    /// The access key with its secret.
    pub(crate) key: (&'a str, &'a str),
}

/// For a daemon that asks for none.
pub(crate) const ANY_KEY: (&str, &str) = ("test", "test");

impl Cli<'_> {
    /// Runs `aws lambda` and returns its output.
    pub(crate) async fn lambda(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let (code, output) = self.run(arguments).await?;
        ensure!(code == Some(0), "{arguments:?}: {output}");
        serde_json::from_str(&output).with_context(|| output)
    }

    /// Runs `aws lambda`, which must fail, and returns its output.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let (code, output) = self.run(arguments).await?;
        // The exit codes of versions 1 and 2 of the CLI after an error of the service.
        let is_service_error = matches!(code, Some(255 | 254));
        ensure!(
            is_service_error,
            "{arguments:?} exits with {code:?}: {output}"
        );
        Ok(output)
    }

    /// Returns the exit code and the output.
    pub(crate) async fn run(&self, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let mut command = client(self.program);
        command
            .env("AWS_ACCESS_KEY_ID", self.key.0)
            .env("AWS_SECRET_ACCESS_KEY", self.key.1)
            .args([
                "--endpoint-url",
                &self.daemon.endpoint,
                "--output",
                "json",
                "lambda",
            ])
            .args(arguments);
        let output = tokio::time::timeout(CALL_TIMEOUT, command.output()).await;
        let output = output.context("the AWS CLI does not exit in time")??;
        let mut text = String::from_utf8(output.stdout)?;
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code(), text))
    }
}

/// A client with fake credentials, isolated from the AWS configuration of the user who runs the tests.
pub(crate) fn client(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_ACCESS_KEY_ID", ANY_KEY.0)
        .env("AWS_SECRET_ACCESS_KEY", ANY_KEY.1)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_PAGER", "")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn a_mapping_created_by_the_aws_cli_delivers() {
    by_the_cli().await.unwrap();
}

async fn by_the_cli() -> anyhow::Result<()> {
    let servers = Servers::running();
    let aws = servers.aws("kinesis_mock");
    let (emulator, arn) = (emulator().await?, aws.create_stream("cli", 2).await?);
    let setup = Setup::new("cli")
        .endpoint("kinesis", aws.endpoint())
        .function("orders", &emulator.function_url("orders"));
    let daemon = setup.start().await?;
    let cli = Cli {
        program: servers.aws_cli(),
        daemon: &daemon,
        key: ANY_KEY,
    };
    let producer = Producer {
        aws: &aws,
        ledger: emulator.ledger(),
        arn: &arn,
        keys: 20,
    };
    producer.put_records(0..500).await?;
    let uuid = create(&cli, &arn).await?;
    until_delivered(&emulator).await?;
    read(&cli, &arn, &uuid).await?;

    let by_uuid = format!("--uuid={uuid}");
    let update = [
        "update-event-source-mapping",
        &by_uuid,
        "--batch-size=10",
        "--no-enabled",
    ];
    cli.lambda(&update).await?;
    daemon.wait_for_state(&uuid, "Disabled").await?;
    producer.put_records(500..600).await?;
    let enabled = cli
        .lambda(&["update-event-source-mapping", &by_uuid, "--enabled"])
        .await?;
    assert_eq!(enabled["UUID"], uuid);
    until_delivered(&emulator).await?;
    let got = cli.lambda(&["get-event-source-mapping", &by_uuid]).await?;
    assert_eq!(got["BatchSize"], 10);

    delete(&cli, &by_uuid).await?;
    daemon.stop().await?;
    assert_once_and_in_order(emulator.ledger().counts(), 600);
    Ok(())
}

/// Creates the mapping and returns its UUID; a second attempt is a conflict.
async fn create(cli: &Cli<'_>, arn: &str) -> anyhow::Result<String> {
    let create = [
        "create-event-source-mapping",
        "--function-name=orders",
        &format!("--event-source-arn={arn}"),
        "--starting-position=TRIM_HORIZON",
        "--batch-size=50",
    ];
    let created = cli.lambda(&create).await?;
    assert_eq!(created["State"], "Creating");
    assert_eq!(created["BatchSize"], 50);
    assert_eq!(
        created["FunctionArn"],
        "arn:aws:lambda:us-east-1:000000000000:function:orders"
    );
    let uuid = created["UUID"].as_str().context("a mapping has a UUID")?;
    cli.daemon.wait_for_state(uuid, "Enabled").await?;
    let refused = cli.refused(&create).await?;
    assert!(refused.contains("(ResourceConflictException)"), "{refused}");
    Ok(uuid.to_owned())
}

async fn read(cli: &Cli<'_>, arn: &str, uuid: &str) -> anyhow::Result<()> {
    let got = cli
        .lambda(&["get-event-source-mapping", &format!("--uuid={uuid}")])
        .await?;
    assert_eq!(got["EventSourceArn"], arn);
    assert_eq!(got["LastProcessingResult"], "OK");
    assert_eq!(
        cli.lambda(&LIST).await?["EventSourceMappings"],
        json!([got])
    );
    Ok(())
}

const LIST: [&str; 2] = ["list-event-source-mappings", "--function-name=orders"];

async fn delete(cli: &Cli<'_>, by_uuid: &str) -> anyhow::Result<()> {
    let deleted = cli
        .lambda(&["delete-event-source-mapping", by_uuid])
        .await?;
    assert_eq!(deleted["State"], "Deleting");
    wait::until_some("the mapping is deleted", TIMEOUT, async || {
        let listed = cli.lambda(&LIST).await?;
        Ok((listed["EventSourceMappings"] == json!([])).then_some(()))
    })
    .await?;
    let refused = cli.refused(&["get-event-source-mapping", by_uuid]).await?;
    assert!(refused.contains("(ResourceNotFoundException)"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn mappings_created_by_boto3_deliver() {
    by_boto3().await.unwrap();
}

/// The assertions are in the script; this sets up its stream, queue and function.
async fn by_boto3() -> anyhow::Result<()> {
    let servers = Servers::running();
    let kinesis = servers.aws("ferrokinesis");
    let sqs = servers.aws("elasticmq");
    let (emulator, stream) = (emulator().await?, kinesis.create_stream("boto", 2).await?);
    let (url, queue) = sqs.create_queue("boto", false, json!({})).await?;
    let setup = Setup::new("boto3")
        .endpoint("kinesis", kinesis.endpoint())
        .endpoint("sqs", sqs.endpoint())
        .function("orders", &emulator.function_url("orders"));
    let daemon = setup.start().await?;
    let ledger = emulator.ledger();
    let of_stream = Producer {
        aws: &kinesis,
        ledger,
        arn: &stream,
        keys: 10,
    };
    of_stream.put_records(0..100).await?;
    let of_queue = Producer {
        aws: &sqs,
        arn: &queue,
        ..of_stream
    };
    of_queue.send_messages(&url, 0..20).await?;

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/clients.py");
    let mut command = client(servers.python());
    command.args([script, &daemon.endpoint, &stream, &queue]);
    let output = tokio::time::timeout(TIMEOUT, command.output()).await;
    let output = output.context("the script does not exit in time")??;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    until_delivered(&emulator).await?;
    daemon.stop().await?;
    let counts = ledger.counts();
    ensure!(
        (counts.delivered, counts.repeated) == (120, 0),
        "{counts:?}"
    );
    Ok(())
}
