//! `windlass doctor` with servers that others wrote: it finds what is there and what is not, and sends
//! nothing to a destination and takes nothing from a source.

use serde_json::{Value, json};
use windlass_tests::aws::{ACCOUNT, REGION, unique_name};
use windlass_tests::daemon;
use windlass_tests::function::Function;
use windlass_tests::servers::Servers;

use crate::setup::Setup;

/// The exit code, and the result of each finding by its subject.
fn doctor(setup: &Setup) -> anyhow::Result<(i32, Value)> {
    let file = setup.dir().join("windlass.yaml");
    std::fs::write(&file, setup.text())?;
    let mut command = daemon::command();
    let arguments = [
        "doctor",
        "--listen",
        "127.0.0.1:0",
        "-o",
        "json",
        "--config",
    ];
    let output = command.args(arguments).arg(&file).output()?;
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let results = findings.iter().map(|finding| {
        let subject = finding["subject"].as_str().unwrap_or_default();
        (subject.to_owned(), finding["result"].clone())
    });
    Ok((
        output.status.code().unwrap_or(-1),
        Value::from_iter(results),
    ))
}

#[tokio::test]
async fn sources_and_destinations_are_found_and_left_alone() {
    found_and_left_alone().await.unwrap();
}

async fn found_and_left_alone() -> anyhow::Result<()> {
    let servers = Servers::running();
    let (elasticmq, ministack) = (servers.aws("elasticmq"), servers.aws("ministack"));
    let function = Function::start(200).await?;
    let stream = ministack.create_stream("doctor", 1).await?;
    let (queue_url, queue) = elasticmq.create_queue("doctor", false, json!({})).await?;
    let (subscriber_url, subscriber) = ministack.create_queue("doctor", false, json!({})).await?;
    let (topic, bucket) = (unique_name("doctor"), unique_name("doctor"));
    ministack.sns("CreateTopic", &[("Name", &topic)]).await?;
    let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{topic}");
    let subscription = [
        ("TopicArn", &*topic),
        ("Protocol", "sqs"),
        ("Endpoint", &*subscriber),
    ];
    ministack.sns("Subscribe", &subscription).await?;
    ministack.s3("PUT", &format!("/{bucket}")).await?;
    let setup = |suffix: &str| {
        let mut setup = Setup::new("doctor")
            .endpoint("kinesis", ministack.endpoint())
            .endpoint("sqs", elasticmq.endpoint())
            .endpoint("sns", ministack.endpoint())
            .endpoint("s3", ministack.endpoint())
            .function("f", &function.url)
            .mapping("f", &format!("{queue}{suffix}"), json!({}));
        let bucket = format!("arn:aws:s3:::{bucket}{suffix}");
        let destinations = [
            format!("{queue}{suffix}"),
            format!("{topic}{suffix}"),
            bucket,
        ];
        for (name, arn) in ["queue", "topic", "bucket"].into_iter().zip(&destinations) {
            let members = json!({
                "StartingPosition": "LATEST",
                "DestinationConfig": {"OnFailure": {"Destination": arn}},
            });
            setup = setup.function(name, &function.url).mapping(
                name,
                &format!("{stream}{suffix}"),
                members,
            );
        }
        (setup, destinations)
    };
    for (suffix, code, result) in [("", 0, "ok"), ("-missing", 1, "wrong")] {
        let (setup, destinations) = setup(suffix);
        let sources = [&stream, &queue].map(|arn| format!("source {arn}{suffix}"));
        let destinations = destinations.map(|arn| format!("destination {arn}"));
        let (found, results) = doctor(&setup)?;
        assert_eq!(found, code, "{results:#}");
        for subject in sources.iter().chain(&destinations) {
            assert_eq!(results[subject], result, "{subject}: {results:#}");
        }
    }
    assert_eq!(elasticmq.queue_depth(&queue_url).await?, 0);
    assert_eq!(
        ministack.queue_depth(&subscriber_url).await?,
        0,
        "nothing was published"
    );
    let objects = ministack
        .s3("GET", &format!("/{bucket}?list-type=2"))
        .await?;
    assert!(
        !String::from_utf8_lossy(&objects).contains("<Key>"),
        "nothing was put"
    );
    assert_eq!(function.events().len(), 0);
    Ok(())
}
