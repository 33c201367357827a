//! Errors outside the daemon: ports, credentials, functions, streams.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use serde_json::json;
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::{FAILED, TIMEOUT, answering, one_mapping, run};

const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";

#[tokio::test]
async fn a_port_in_use() {
    let dir = TempDir::new("port");
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(dir.path(), &["serve", "--listen", &address]).await;
    ended.assert(
        FAILED,
        &[&address, "if another program uses the port", "--listen"],
    );
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 0, "no store was created");
}

#[tokio::test]
async fn functions_that_do_not_exist() {
    let dir = TempDir::new("function");
    let (lambda, asked, _server) = answering(
        "HTTP/1.1 404 Not Found\r\nx-amzn-errortype: ResourceNotFoundException\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: 46\r\n\r\n\
         {\"Type\":\"User\",\"Message\":\"Function not found\"}",
    )
    .await;
    let mapping =
        |function: &str, source: &str| json!({"FunctionName": function, "EventSourceArn": source});
    let queue = "arn:aws:sqs:us-east-1:000000000000:jobs";
    let config = json!({
        "store": format!("sqlite:{}", dir.path().join("store").display()),
        "aws": {"endpoints": {"lambda": lambda}},
        "functions": {"f": {"url": "http://127.0.0.1:9"}, "g": {"url": "http://127.0.0.1:9"}},
        "mappings": [
            mapping("f", queue),
            mapping("g", queue),
            mapping("resize", queue),
            {"FunctionName": "thumbs", "EventSourceArn": STREAM, "StartingPosition": "LATEST"},
        ],
    });
    // The daemon runs, and so do the mappings whose functions exist.
    let daemon = Daemon::start(dir.path(), &config.to_string())
        .await
        .unwrap();
    let mut shown = json!(null);
    let reported = wait::until_some("the problems are reported", TIMEOUT, async || {
        (_, shown) = daemon.call("GET", "/windlass/v1/mappings", None).await?;
        let all = shown.as_array().into_iter().flatten();
        let problems: Vec<_> = all.filter_map(|it| it["problem"].as_str()).collect();
        let says = |name| {
            let text = format!("the function '{name}' does not exist; add it under 'functions'");
            problems.iter().any(|problem| problem.starts_with(&text))
        };
        Ok((says("resize") && says("thumbs")).then_some(()))
    });
    reported.await.unwrap();
    let path = "/2015-03-31/event-source-mappings";
    let (_, created) = daemon.call("GET", path, None).await.unwrap();
    let created = created["EventSourceMappings"].as_array().unwrap();
    assert_eq!(created.len(), 2, "{created:?}");
    let log = daemon.stop().await.unwrap();
    assert!(log.contains("mappings[2] (line 1): the function 'resize'"));
    assert_ne!(asked.load(Ordering::Relaxed), 0, "Lambda was called");
}

#[tokio::test]
async fn functions_that_cannot_be_looked_up() {
    let dir = TempDir::new("lookup");
    // It accepts connections and never answers: a lookup would take longer than the test waits.
    let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let lambda = format!("http://{}", silent.local_addr().unwrap());
    let queue = |name| format!("arn:aws:sqs:us-east-1:000000000000:{name}");
    let config = json!({
        "store": format!("sqlite:{}", dir.path().join("store").display()),
        "aws": {"endpoints": {"lambda": lambda, "sqs": "http://127.0.0.1:9"}},
        "functions": {"f": {"url": "http://127.0.0.1:9"}},
        "mappings": [
            {"FunctionName": "resize", "EventSourceArn": queue("a")},
            {"FunctionName": "f", "EventSourceArn": queue("b")},
        ],
    });
    let daemon = Daemon::start(dir.path(), &config.to_string())
        .await
        .unwrap();
    let (status, _) = daemon.call("GET", "/livez", None).await.unwrap();
    assert_eq!(status, 200);
    let path = "/2015-03-31/event-source-mappings";
    let (_, created) = daemon.call("GET", path, None).await.unwrap();
    let created = created["EventSourceMappings"].as_array().unwrap();
    assert_eq!(created.len(), 1, "the other runs already: {created:?}");
    let reported = wait::until_some("the notice is shown", TIMEOUT, async || {
        let (_, shown) = daemon.call("GET", "/windlass/v1/mappings", None).await?;
        let all = shown.as_array().into_iter().flatten();
        let mut notices = all.filter_map(|it| it["notice"].as_str());
        let says = "the function could not be checked: no answer within 5s";
        Ok(notices.any(|notice| notice == says).then_some(()))
    });
    reported.await.unwrap();
    let (_, created) = daemon.call("GET", path, None).await.unwrap();
    let created = created["EventSourceMappings"].as_array().unwrap();
    assert_eq!(created.len(), 2, "it may be invoked: {created:?}");
    daemon.stop().await.unwrap();
}

fn config(dir: &TempDir, kinesis: &str, function_url: &str) -> String {
    let mut config = one_mapping(dir.path(), kinesis, STREAM, function_url);
    config["kinesis"] = json!({"poll_interval": "50ms"});
    config.to_string()
}

/// Waits until the problem of the only mapping contains these words.
async fn until_problem(daemon: &Daemon, words: &[&str]) -> anyhow::Result<()> {
    let mut last = json!(null);
    let found = wait::until_some("the problem is reported", TIMEOUT, async || {
        (_, last) = daemon.call("GET", "/windlass/v1/mappings", None).await?;
        let problem = last[0]["problem"].as_str().unwrap_or_default();
        Ok(words
            .iter()
            .all(|word| problem.contains(word))
            .then_some(()))
    });
    let found = found.await;
    found.map_err(|error| error.context(last.to_string()))
}

#[tokio::test]
async fn no_credentials() {
    let dir = TempDir::new("credentials");
    let (kinesis, called, _server) = answering("HTTP/1.1 500 Oh\r\n\r\n").await;
    let config = config(&dir, &kinesis, "http://127.0.0.1:9");
    let daemon = Daemon::start_without_credentials(dir.path(), &config)
        .await
        .unwrap();
    let words = [
        "orders",
        "no AWS credentials found",
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
    ];
    until_problem(&daemon, &words).await.unwrap();

    // Creating a mapping reports the same problem, and not that a role lacks permissions.
    let mapping = json!({
        "FunctionName": "f",
        "EventSourceArn": STREAM.replace("orders", "others"),
        "StartingPosition": "LATEST",
    });
    let path = "/2015-03-31/event-source-mappings";
    let (status, answer) = daemon.call("POST", path, Some(&mapping)).await.unwrap();
    assert_eq!((status, &answer["Type"]), (500, &json!("Service")));
    let message = answer["Message"].as_str().unwrap();
    for word in ["stream others", words[1], words[2], words[3]] {
        assert!(message.contains(word), "{message}");
    }
    let log = daemon.stop().await.unwrap();
    assert!(log.contains("DescribeStreamSummary of stream others"));
    assert_eq!(
        called.load(Ordering::Relaxed),
        0,
        "an unsigned request was sent"
    );
}

#[tokio::test]
async fn a_stream_that_does_not_exist_yet() {
    let dir = TempDir::new("stream");
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    let config = config(&dir, &emulator.endpoint(), &emulator.function_url("f"));
    let daemon = Daemon::start(dir.path(), &config).await.unwrap();
    until_problem(&daemon, &["stream orders", "ResourceNotFoundException"])
        .await
        .unwrap();

    // `windlass status` shows it too.
    let arguments = ["status", "--endpoint", &daemon.endpoint];
    let shown = run(dir.path(), &arguments).await;
    shown.assert(
        0,
        &["Creating", "cannot run: ", "orders", "ResourceNotFound"],
    );

    // Once the stream exists, it is read from its beginning.
    let arn = emulator.kinesis().create_stream("orders", 1).unwrap();
    assert_eq!(arn, STREAM);
    let payload = emulator.ledger().put_payload(STREAM, "key", 1);
    emulator
        .kinesis()
        .put("orders", "key", payload.as_bytes())
        .unwrap();
    let delivered = || emulator.ledger().counts().delivered == 1;
    wait::until("the record arrives", TIMEOUT, delivered)
        .await
        .unwrap();
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn mappings_that_the_api_rejects() {
    let dir = TempDir::new("api");
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    emulator.kinesis().create_stream("orders", 1).unwrap();
    let config = config(&dir, &emulator.endpoint(), &emulator.function_url("f"));
    let daemon = Daemon::start(dir.path(), &config).await.unwrap();
    let arguments = |arn: &str, more: &[&str]| {
        let mut all = vec!["mappings", "create", "--function-name", "f"];
        all.extend(["--endpoint", &daemon.endpoint, "--event-source-arn"]);
        let mut all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        all.extend([arn].iter().chain(more).map(|it| (*it).to_owned()));
        all
    };
    let missing = STREAM.replace("orders", "missing");
    let latest = ["--starting-position", "LATEST"];
    let many = [&latest[..], &["--batch-size", "10001"]].concat();
    for (arguments, says) in [
        (
            arguments(STREAM, &latest),
            "ResourceConflictException (409)",
        ),
        (arguments(&missing, &latest), "missing"),
        (arguments("nothing", &latest), "ValidationException (400)"),
        (
            arguments(&missing, &[]),
            "InvalidParameterValueException (400)",
        ),
        (arguments(&missing, &many), "'10001' at 'batchSize'"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(dir.path(), &arguments).await.assert(FAILED, &[says]);
    }
    let (_, listed) = daemon
        .call("GET", "/2015-03-31/event-source-mappings/", None)
        .await
        .unwrap();
    assert_eq!(
        listed["EventSourceMappings"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    daemon.stop().await.unwrap();
}
