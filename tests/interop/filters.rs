//! Filters on third-party servers: exactly the matching records are delivered, in order. Streams skip
//! the others, and queues delete them.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use windlass_tests::aws::Aws;
use windlass_tests::daemon::Daemon;
use windlass_tests::function::Function;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::clients::Cli;
use crate::numbered::{
    KEYS, Numbered, check_delivered, in_order_of_sending, put_records, send_messages,
};
use crate::setup::Setup;

const RECORDS: u64 = 400;

const MESSAGES: u64 = 120;

const ITEMS: u64 = 30;

#[tokio::test]
async fn a_kinesis_stream_skips_records_that_do_not_match() {
    kinesis_stream().await.unwrap();
}

async fn kinesis_stream() -> anyhow::Result<()> {
    let aws = Servers::running().aws("kinesis_mock");
    let (function, arn) = (
        Function::start(200).await?,
        aws.create_stream("filter", 3).await?,
    );
    let criteria = filters(&[
        r#"{"data": {"kind": ["keep"], "n": [{"numeric": [">=", 100]}]}}"#,
        r#"{"partitionKey": ["key-3"]}"#,
    ]);
    let members = json!({"StartingPosition": "TRIM_HORIZON", "FilterCriteria": criteria});
    let setup = Setup::new("filter")
        .endpoint("kinesis", aws.endpoint())
        .function("orders", &function.url)
        .mapping("orders", &arn, members);
    let matches = |it: &Numbered| {
        let by_data = !it.is_plain() && it.kind() == "keep" && 100 <= it.0;
        by_data || it.key() == "key-3"
    };
    put_records(&aws, &arn, 0..RECORDS / 2).await?;
    let daemon = setup.start().await?;
    put_records(&aws, &arn, RECORDS / 2..RECORDS).await?;
    let expected = (0..RECORDS).map(Numbered).filter(matches).count() as u64;
    let counts = json!({
        "polled": RECORDS, "filtered_out": RECORDS - expected, "invoked": expected, "deleted": 0,
    });
    until_counts(&daemon, &counts).await?;
    daemon.stop().await?;
    check_delivered(&function.records(), 0..RECORDS, matches)?;

    // After a restart nothing is read again, not even from a shard whose last records did not match.
    let daemon = setup.start().await?;
    put_records(&aws, &arn, RECORDS..RECORDS + KEYS).await?;
    let more = (RECORDS..RECORDS + KEYS).map(Numbered).filter(matches);
    let more = more.count() as u64;
    let counts = json!({
        "polled": KEYS, "filtered_out": KEYS - more, "invoked": more, "deleted": 0,
    });
    until_counts(&daemon, &counts).await?;
    daemon.stop().await?;
    check_delivered(&function.records(), 0..RECORDS + KEYS, matches)
}

#[tokio::test]
async fn a_dynamodb_stream_skips_records_that_do_not_match() {
    dynamodb_stream().await.unwrap();
}

async fn dynamodb_stream() -> anyhow::Result<()> {
    let aws = Servers::running().aws("ministack");
    let (table, arn) = aws.create_table("filter").await?;
    let function = Function::start(200).await?;
    let criteria = filters(&[
        r#"{"eventName": ["INSERT"], "dynamodb": {"NewImage": {"kind": {"S": ["keep"]}}}}"#,
        r#"{"eventName": ["REMOVE"], "dynamodb": {"OldImage": {"n": {"N": ["7", "9"]}}}}"#,
    ]);
    let members = json!({"StartingPosition": "TRIM_HORIZON", "FilterCriteria": criteria});
    let setup = Setup::new("filter-dynamodb")
        .endpoint("dynamodb_streams", aws.endpoint())
        .function("changes", &function.url)
        .mapping("changes", &arn, members);
    let daemon = setup.start().await?;
    let items = || (0..ITEMS).map(Numbered);
    for changed in [false, true] {
        for it in items() {
            let item = json!({
                "key": {"S": format!("item-{}", it.0)},
                "kind": {"S": it.kind()},
                "n": {"N": it.0.to_string()},
                "changed": {"BOOL": changed},
            });
            let body = json!({"TableName": table, "Item": item});
            aws.dynamodb("PutItem", body).await?;
        }
    }
    for it in items() {
        let key = json!({"key": {"S": format!("item-{}", it.0)}});
        let body = json!({"TableName": table, "Key": key});
        aws.dynamodb("DeleteItem", body).await?;
    }
    let kept = items().filter(|it| it.kind() == "keep").count() as u64;
    let all = 3 * ITEMS;
    let counts = json!({
        "polled": all, "filtered_out": all - kept - 2, "invoked": kept + 2, "deleted": 0,
    });
    until_counts(&daemon, &counts).await?;
    daemon.stop().await?;
    let describe = |record: &Value| {
        let (name, keys) = (&record["eventName"], &record["dynamodb"]["Keys"]);
        format!("{} {}", name, keys["key"]["S"])
    };
    let mut delivered: Vec<_> = function.records().iter().map(describe).collect();
    let inserted = items().filter(|it| it.kind() == "keep");
    let mut expected: Vec<_> = inserted
        .map(|it| format!(r#""INSERT" "item-{}""#, it.0))
        .collect();
    expected.extend([7, 9].map(|n| format!(r#""REMOVE" "item-{n}""#)));
    delivered.sort();
    expected.sort();
    ensure!(delivered == expected, "{delivered:?}");
    Ok(())
}

#[tokio::test]
async fn a_queue_deletes_messages_that_do_not_match() {
    let servers = Servers::running();
    for name in ["elasticmq", "ministack", "fauxqs"] {
        for fifo in [false, true] {
            let done = queue(&servers.aws(name), fifo).await;
            done.with_context(|| format!("{name}, FIFO: {fifo}"))
                .unwrap();
        }
    }
}

async fn queue(aws: &Aws, fifo: bool) -> anyhow::Result<()> {
    let function = Function::start(200).await?;
    let (url, arn) = aws.create_queue("filter", fifo, json!({})).await?;
    let criteria = filters(&[
        r#"{"body": {"kind": ["keep"]}}"#,
        r#"{"body": [{"prefix": "keep "}]}"#,
    ]);
    let setup = Setup::new("filter-queue")
        .endpoint("sqs", aws.endpoint())
        .function("jobs", &function.url)
        .mapping("jobs", &arn, json!({"FilterCriteria": criteria}));
    send_messages(aws, &url, 0..MESSAGES / 2).await?;
    let daemon = setup.start().await?;
    send_messages(aws, &url, MESSAGES / 2..MESSAGES).await?;
    let matches = |it: &Numbered| it.kind() == "keep";
    let kept = (0..MESSAGES).map(Numbered).filter(matches).count() as u64;
    let counts = json!({
        "polled": MESSAGES, "filtered_out": MESSAGES - kept, "invoked": kept, "deleted": kept,
    });
    until_counts(&daemon, &counts).await?;
    wait::until_some("the queue is empty", TIMEOUT, async || {
        Ok((aws.queue_depth(&url).await? == 0).then_some(()))
    })
    .await?;
    daemon.stop().await?;
    check_delivered(
        &in_order_of_sending(function.records(), fifo),
        0..MESSAGES,
        matches,
    )
}

#[tokio::test]
async fn filters_change_while_a_stream_is_polled() {
    changing_filters().await.unwrap();
}

async fn changing_filters() -> anyhow::Result<()> {
    let servers = Servers::running();
    let aws = servers.aws("kinesis_mock");
    let (function, arn) = (
        Function::start(200).await?,
        aws.create_stream("refilter", 2).await?,
    );
    let setup = Setup::new("refilter")
        .endpoint("kinesis", aws.endpoint())
        .function("orders", &function.url);
    let daemon = setup.start().await?;
    let cli = Cli {
        program: servers.aws_cli(),
        daemon: &daemon,
        key: crate::clients::ANY_KEY,
    };
    let keep = filters(&[r#"{"data": {"kind": ["keep"]}}"#]);
    let create = [
        "create-event-source-mapping",
        "--function-name=orders",
        &format!("--event-source-arn={arn}"),
        "--starting-position=TRIM_HORIZON",
        &format!("--filter-criteria={keep}"),
    ];
    let created = cli.lambda(&create).await?;
    ensure!(created["FilterCriteria"] == keep, "{created}");
    let uuid = created["UUID"].as_str().context("a mapping has a UUID")?;
    daemon.wait_for_state(uuid, "Enabled").await?;
    put_records(&aws, &arn, 0..60).await?;
    until_polled(&daemon, 60).await?;

    let update = async |criteria: &Value| {
        let by_uuid = format!("--uuid={uuid}");
        let criteria = format!("--filter-criteria={criteria}");
        cli.lambda(&["update-event-source-mapping", &by_uuid, &criteria])
            .await?;
        daemon.wait_for_state(uuid, "Enabled").await
    };
    update(&filters(&[r#"{"data": {"kind": ["drop"]}}"#])).await?;
    put_records(&aws, &arn, 60..120).await?;
    until_polled(&daemon, 120).await?;

    update(&json!({})).await?;
    let by_uuid = format!("--uuid={uuid}");
    let got = cli.lambda(&["get-event-source-mapping", &by_uuid]).await?;
    ensure!(got.get("FilterCriteria").is_none(), "{got}");
    put_records(&aws, &arn, 120..180).await?;

    let matches = |it: &Numbered| match it.0 {
        0..60 => !it.is_plain() && it.kind() == "keep",
        60..120 => !it.is_plain() && it.kind() == "drop",
        _ => true,
    };
    let expected = (0..180).map(Numbered).filter(matches).count();
    let counts = json!({
        "polled": 180, "filtered_out": 180 - expected, "invoked": expected, "deleted": 0,
    });
    until_counts(&daemon, &counts).await?;

    let broken = filters(&[r#"{"data": {"kind": "keep"}}"#]);
    let broken = format!("--filter-criteria={broken}");
    let update = ["update-event-source-mapping", &by_uuid, &broken];
    let error = cli.refused(&update).await?;
    ensure!(
        error.contains("Invalid filter pattern definition."),
        "{error}"
    );
    daemon.stop().await?;
    check_delivered(&function.records(), 0..180, matches)
}

#[tokio::test]
async fn filters_change_while_a_queue_is_polled() {
    let servers = Servers::running();
    for fifo in [false, true] {
        changing_filters_of_a_queue(&servers.aws("elasticmq"), fifo)
            .await
            .unwrap();
    }
}

async fn changing_filters_of_a_queue(aws: &Aws, fifo: bool) -> anyhow::Result<()> {
    let function = Function::start(200).await?;
    let (url, arn) = aws.create_queue("refilter", fifo, json!({})).await?;
    let setup = Setup::new("refilter-queue")
        .endpoint("sqs", aws.endpoint())
        .function("jobs", &function.url);
    let daemon = setup.start().await?;
    let members = json!({
        "FunctionName": "jobs",
        "EventSourceArn": arn,
        "FilterCriteria": filters(&[r#"{"body": {"kind": ["keep"]}}"#]),
    });
    let uuid = daemon.create_mapping(&members).await?;
    send_messages(aws, &url, 0..60).await?;
    until_polled(&daemon, 60).await?;
    let path = format!("/2015-03-31/event-source-mappings/{uuid}");
    let update = json!({"FilterCriteria": {"Filters": []}});
    let (status, mapping) = daemon.call("PUT", &path, Some(&update)).await?;
    ensure!(status == 202, "{status} {mapping}");
    daemon.wait_for_state(&uuid, "Enabled").await?;
    send_messages(aws, &url, 60..MESSAGES).await?;
    let matches = |it: &Numbered| 60 <= it.0 || (!it.is_plain() && it.kind() == "keep");
    let kept = (0..MESSAGES).map(Numbered).filter(matches).count() as u64;
    let counts = json!({
        "polled": MESSAGES, "filtered_out": MESSAGES - kept, "invoked": kept, "deleted": kept,
    });
    until_counts(&daemon, &counts).await?;
    daemon.stop().await?;
    ensure!(aws.queue_depth(&url).await? == 0, "everything is deleted");
    check_delivered(
        &in_order_of_sending(function.records(), fifo),
        0..MESSAGES,
        matches,
    )
}

fn filters(patterns: &[&str]) -> Value {
    let filters: Vec<_> = patterns.iter().map(|it| json!({"Pattern": it})).collect();
    json!({"Filters": filters})
}

async fn counts(daemon: &Daemon) -> anyhow::Result<Value> {
    let (_, mappings) = daemon.call("GET", "/windlass/v1/mappings", None).await?;
    let uuid = mappings[0]["uuid"].as_str().context("there is a mapping")?;
    let path = format!("/windlass/v1/mappings/{uuid}");
    let (_, mut mapping) = daemon.call("GET", &path, None).await?;
    Ok(mapping["counts"].take())
}

/// Waits until the counts of the only mapping are as expected.
async fn until_counts(daemon: &Daemon, expected: &Value) -> anyhow::Result<()> {
    let expected = expected.as_object().context("counts have names")?;
    let mut last = Value::Null;
    let waited = wait::until_some("everything is counted", TIMEOUT, async || {
        last = counts(daemon).await?;
        let holds = expected.iter().all(|(name, n)| last[name] == *n);
        Ok(holds.then_some(()))
    });
    let waited = waited.await;
    waited.with_context(|| format!("{last} instead of {expected:?}"))
}

async fn until_polled(daemon: &Daemon, n_records: u64) -> anyhow::Result<()> {
    until_counts(daemon, &json!({"polled": n_records})).await
}
