//! What `windlass doctor` finds, and that it changes nothing.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::aws::Aws;
use windlass_tests::daemon::Daemon;
use windlass_tests::function::Function;
use windlass_tests::temp_dir::TempDir;

use crate::{Ended, FAILED, USAGE, answering, run, run_with};

const DENIED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\n\
    date: Fri, 01 Jan 2027 00:00:00 GMT\r\nconnection: close\r\ncontent-length: 34\r\n\r\n\
    {\"__type\":\"AccessDeniedException\"}";

async fn emulator() -> Emulator {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    emulator.await.expect("a port is free")
}

/// A free address of this machine.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener
        .local_addr()
        .expect("the socket is bound")
        .to_string()
}

fn config(dir: &Path, endpoint: &str, function: &str, mappings: &Value) -> Value {
    let endpoints = [
        "kinesis",
        "dynamodb_streams",
        "sqs",
        "sns",
        "s3",
        "lambda",
        "sts",
    ];
    let endpoints = endpoints.map(|service| (service.to_owned(), Value::from(endpoint)));
    json!({
        "listen": free_address(),
        "store": format!("sqlite:{}", dir.join("store").display()),
        "aws": {"endpoints": Value::from_iter(endpoints)},
        "functions": {"f": {"url": function}},
        "mappings": mappings,
    })
}

async fn doctor(dir: &Path, config: &Value, more: &[&str]) -> Ended {
    std::fs::write(dir.join("windlass.yaml"), config.to_string()).expect("it can be written");
    run(
        dir,
        &[&["doctor", "--config", "windlass.yaml"], more].concat(),
    )
    .await
}

/// The results by subject, and the findings.
fn results(ended: &Ended) -> Vec<(String, String)> {
    let findings: Value = serde_json::from_str(&ended.text).expect("it is JSON");
    let findings = findings.as_array().expect("it is a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    findings
        .map(|it| (text(&it["subject"]), text(&it["result"])))
        .collect()
}

#[tokio::test]
async fn all_is_well_and_nothing_is_changed() {
    let emulator = emulator().await;
    let stream = emulator.kinesis().create_stream("orders", 1).unwrap();
    emulator.kinesis().put("orders", "k", b"{}").unwrap();
    let queue = emulator.sqs().create_queue("jobs", &[]).unwrap();
    emulator.sqs().send("jobs", None, "job").unwrap();
    let (dir, function) = (TempDir::new("well"), Function::start(200).await.unwrap());
    let mappings = json!([
        {
            "FunctionName": "f", "EventSourceArn": stream, "StartingPosition": "TRIM_HORIZON",
            "DestinationConfig": {"OnFailure": {"Destination": queue}},
        },
        {"FunctionName": "f", "EventSourceArn": queue},
    ]);
    let config = config(dir.path(), &emulator.endpoint(), &function.url, &mappings);
    let ended = doctor(dir.path(), &config, &["-o", "json"]).await;
    assert_eq!(ended.code, 0, "{}", ended.text);
    for subject in [
        "function f".to_owned(),
        format!("source {stream}"),
        format!("clock of {stream}"),
        format!("source {queue}"),
        "AWS credentials".to_owned(),
        format!("destination {queue}"),
        format!("address {}", config["listen"].as_str().unwrap()),
    ] {
        let expected = (subject, "ok".to_owned());
        assert!(
            results(&ended).contains(&expected),
            "{expected:?}: {}",
            ended.text
        );
    }
    assert_eq!(function.events().len(), 0, "nothing is invoked");
    let receive = json!({
        "QueueUrl": format!("{}/000000000000/jobs", emulator.endpoint()),
        "MessageSystemAttributeNames": ["All"],
    });
    let received = Aws::new(&emulator.endpoint())
        .sqs("ReceiveMessage", receive)
        .await;
    let attributes = received.unwrap()["Messages"][0]["Attributes"].clone();
    assert_eq!(
        attributes["ApproximateReceiveCount"], "1",
        "no message was received before"
    );
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 1, "only the configuration is there");
    // As text, one line each.
    let ended = doctor(dir.path(), &config, &[]).await;
    ended.assert(
        0,
        &[
            "ok       function f: it accepts connections",
            "ok       source arn:",
        ],
    );
}

#[tokio::test]
async fn everything_that_is_wrong_is_named_with_its_remedy() {
    let emulator = emulator().await;
    let (dir, nobody) = (TempDir::new("wrong"), format!("http://{}", free_address()));
    let arn = |rest: &str| format!("arn:aws:{rest}");
    let stream = arn("kinesis:us-east-1:000000000000:stream/missing");
    let queue = arn("sqs:us-east-1:000000000000:missing");
    let mappings = json!([{
        "FunctionName": "f", "EventSourceArn": stream, "StartingPosition": "TRIM_HORIZON",
        "DestinationConfig": {"OnFailure": {"Destination": queue}},
    }]);
    let mut config = config(dir.path(), &emulator.endpoint(), &nobody, &mappings);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    config["listen"] = taken.as_str().into();
    config["drain_timeout"] = "5m".into();
    let plain = emulator.endpoint().replace("http://", "https://");
    config["functions"]["secure"] = json!({"url": plain});
    std::fs::write(dir.path().join("file"), "").unwrap();
    config["store"] = format!("sqlite:{}", dir.path().join("file/store").display()).into();
    let ended = doctor(dir.path(), &config, &[]).await;
    ended.assert(
        FAILED,
        &[
            "wrong    function f: cannot connect: ",
            "start the function, or correct its url",
            "wrong    function secure: cannot connect: the server does not speak TLS; call it by http://",
            &format!("wrong    source {stream}: "),
            &format!("wrong    destination {queue}: "),
            "check the name, the account and the region in its ARN",
            &format!(
                "wrong    address {taken}: it is in use by another program; stop that program"
            ),
            "warning  drain_timeout: a stop may take 5m",
            "wrong    store sqlite:",
            "a part of this path is a file",
        ],
    );
    drop(listener);
}

#[tokio::test]
async fn a_source_that_is_denied_and_of_another_time() {
    let (endpoint, _, _server) = answering(DENIED).await;
    let (dir, function) = (TempDir::new("denied"), Function::start(200).await.unwrap());
    let stream = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
    let mappings = json!([{
        "FunctionName": "f", "EventSourceArn": stream, "StartingPosition": "LATEST",
    }]);
    let config = config(dir.path(), &endpoint, &function.url, &mappings);
    let ended = doctor(dir.path(), &config, &["-o", "yaml"]).await;
    ended.assert(
        FAILED,
        &[
            "grant kinesis:DescribeStreamSummary on this resource",
            &format!("clock of {stream}"),
            "AWS refuses signatures",
            "set the clock of this machine",
        ],
    );
}

#[tokio::test]
async fn a_store_that_a_daemon_uses_is_read_all_the_same() {
    let dir = TempDir::new("used");
    let mut config = config(
        dir.path(),
        "http://127.0.0.1:9",
        "http://127.0.0.1:9",
        &json!([]),
    );
    let daemon = Daemon::start(dir.path(), &config.to_string())
        .await
        .unwrap();
    let pid = daemon.pid().unwrap();
    config["functions"] = json!({});
    let address = daemon.endpoint.trim_start_matches("http://");
    let ended = doctor(dir.path(), &config, &["--listen", address]).await;
    ended.assert(
        0,
        &[
            &format!("process {pid} is using it; it has 0 mappings"),
            &format!("warning  address {address}: it is in use, as is the store, by process {pid}"),
            "a transaction takes ",
        ],
    );
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn without_credentials_and_where_nobody_listens() {
    let dir = TempDir::new("nobody");
    let nobody = format!("http://{}", free_address());
    let queue = "arn:aws:sqs:us-east-1:000000000000:jobs";
    let mappings = json!([{"FunctionName": "l", "EventSourceArn": queue}]);
    let config = config(dir.path(), &nobody, &nobody, &mappings);
    std::fs::write(dir.path().join("windlass.yaml"), config.to_string()).unwrap();
    let arguments = ["doctor", "--config", "windlass.yaml"];
    let ended = run(dir.path(), &arguments).await;
    ended.assert(
        FAILED,
        &[
            "ok       AWS credentials: key test from AWS_ACCESS_KEY_ID",
            "wrong    function l: GetFunctionConfiguration",
            &format!("wrong    source {queue}: "),
            "check its endpoint, and that this machine can reach it",
        ],
    );
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let ended = run_with(dir.path(), &none, &arguments).await;
    let says = "wrong    AWS credentials: no credentials were found; set AWS_ACCESS_KEY_ID";
    ended.assert(FAILED, &[says]);
    let lines = ended.text.lines();
    let is_finding = |line: &str| {
        ["ok ", "warning ", "wrong "]
            .iter()
            .any(|it| line.starts_with(it))
    };
    assert!(
        lines.clone().all(is_finding),
        "one line each: {}",
        ended.text
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read() {
    let dir = TempDir::new("unreadable");
    let ended = run(dir.path(), &["doctor", "--config", "missing.yaml"]).await;
    ended.assert(USAGE, &["missing.yaml", "cannot read the file"]);
    let ended = doctor(dir.path(), &json!({"liste": 1}), &[]).await;
    ended.assert(USAGE, &["windlass.yaml:1", "unknown key"]);
}
