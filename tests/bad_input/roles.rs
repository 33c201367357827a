//! Roles that cannot be assumed, and those that can.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::function::Function;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::{TIMEOUT, answering, one_mapping};

const ROLE: &str = "arn:aws:iam::000000000000:role/reader";

/// A response of STS.
fn response(status: &str, body: &str) -> &'static str {
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/xml\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    Box::leak(response.into_boxed_str())
}

fn config(dir: &TempDir, emulator: &Emulator, stream: &str, function: &str) -> Value {
    let mut config = one_mapping(dir.path(), &emulator.endpoint(), stream, function);
    config["aws"]["assume_roles"] = json!([{
        "resources": "arn:aws:kinesis:*:000000000000:*",
        "arn": ROLE,
        "external_id": "their-id",
    }]);
    config
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_shown_with_the_remedy() {
    denied().await.unwrap();
}

async fn denied() -> anyhow::Result<()> {
    let dir = TempDir::new("denied-role");
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let stream = emulator.kinesis().create_stream("orders", 4)?;
    let body = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized to perform: \
                sts:AssumeRole</Message></Error></ErrorResponse>";
    let (sts, asked, _server) = answering(response("403 Forbidden", body)).await;
    let config = config(&dir, &emulator, &stream, "http://127.0.0.1:9");
    let variables = [("AWS_ENDPOINT_URL_STS", &*sts)];
    let daemon = Daemon::start_with(dir.path(), &config.to_string(), &variables).await?;
    let mut shown = json!(null);
    let problem = wait::until_some("the problem is shown", TIMEOUT, async || {
        (_, shown) = daemon.call("GET", "/windlass/v1/mappings", None).await?;
        Ok(shown[0]["problem"].as_str().map(str::to_owned))
    });
    let problem = problem.await?;
    for part in [
        "AssumeRole of arn:aws:iam::000000000000:role/reader",
        "grant sts:AssumeRole on this role to the daemon's AWS credentials",
        "trust policy",
    ] {
        assert!(problem.contains(part), "{part}: {problem}");
    }
    let path = "/2015-03-31/event-source-mappings";
    let (_, mappings) = daemon.call("GET", path, None).await?;
    let result = &mappings["EventSourceMappings"][0]["LastProcessingResult"];
    let result = result.as_str().unwrap_or_default();
    assert!(result.starts_with("PROBLEM: "), "{mappings}");
    // One of the readers, one of the lookups.
    assert!(asked.load(Ordering::Relaxed) <= 2);
    let another = json!({
        "FunctionName": "f",
        "EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/others",
        "StartingPosition": "LATEST",
    });
    let (status, refused) = daemon.call("POST", path, Some(&another)).await?;
    let message = refused["message"].as_str().unwrap_or_default();
    assert_eq!(status, 400, "{refused}");
    assert!(message.starts_with("Cannot access stream"), "{message}");
    assert!(message.contains(ROLE), "{message}");
    let log = daemon.stop().await?;
    assert!(log.contains(ROLE), "{log}");
    assert!(!log.contains("their-id"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_stream_of_another_account_is_read_with_a_role() {
    assumed().await.unwrap();
}

async fn assumed() -> anyhow::Result<()> {
    let dir = TempDir::new("role");
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let stream = emulator.kinesis().create_stream("orders", 4)?;
    emulator.kinesis().put("orders", "key", b"{}")?;
    let body = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>\
         <SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
         </AssumeRoleResponse>";
    let (sts, asked, _server) = answering(response("200 OK", body)).await;
    let function = Function::start(200).await?;
    let mut config = config(&dir, &emulator, &stream, &function.url);
    config["aws"]["endpoints"]["sts"] = sts.into();
    let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
    wait::until("the record arrives", TIMEOUT, || {
        !function.events().is_empty()
    })
    .await?;
    assert!((1..=2).contains(&asked.load(Ordering::Relaxed)));
    daemon.stop().await?;
    Ok(())
}
