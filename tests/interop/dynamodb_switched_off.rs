//! A table whose stream is switched off and on again, on MiniStack.

use serde_json::{Value, json};
use windlass_tests::function::Function;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::Setup;

#[tokio::test]
async fn a_stream_that_is_switched_off_is_finished_and_the_next_one_needs_a_mapping() {
    switched_off().await.unwrap();
}

async fn switched_off() -> anyhow::Result<()> {
    let aws = Servers::running().aws("ministack");
    let (table, arn) = aws.create_table("switched").await?;
    let function = Function::start(200).await?;
    let position = json!({"StartingPosition": "TRIM_HORIZON"});
    let setup = Setup::new("switched")
        .endpoint("dynamodb_streams", aws.endpoint())
        .function("changes", &function.url)
        .mapping("changes", &arn, position.clone());
    let put = async |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let item = json!({"key": {"S": format!("item-{number}")}});
            aws.dynamodb("PutItem", json!({"TableName": table, "Item": item}))
                .await?;
        }
        anyhow::Ok(())
    };
    let switch = async |stream: Value| {
        let body = json!({"TableName": table, "StreamSpecification": stream});
        let answer = aws.dynamodb("UpdateTable", body).await?;
        anyhow::Ok(answer["TableDescription"]["LatestStreamArn"].clone())
    };
    let until_received = async |n_records| {
        wait::until("the changes have arrived", TIMEOUT, || {
            n_records <= function.records().len()
        })
        .await
    };
    put(0..10).await?;
    // The daemon starts after the stream was switched off: what it holds is delivered all the same.
    switch(json!({"StreamEnabled": false})).await?;
    let daemon = setup.start().await?;
    until_received(10).await?;
    let uuid = daemon.only_mapping().await?;
    let ended = wait::until_some("the end is saved", TIMEOUT, async || {
        let status = daemon.status(&uuid).await?;
        let checkpoint = &status["shards"][0]["checkpoint"]["type"];
        Ok((checkpoint == "shard_end").then_some(status))
    })
    .await?;
    assert_eq!(ended["state"], "Enabled");
    let notice = ended["notice"].as_str().unwrap_or_default();
    assert!(notice.starts_with("the stream was switched off"), "{ended}");

    let on = json!({"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"});
    let next = switch(on).await?;
    assert_ne!(next, json!(arn));
    let mut members = position;
    members["FunctionName"] = "changes".into();
    members["EventSourceArn"] = next;
    daemon.create_mapping(&members).await?;
    put(10..20).await?;
    until_received(20).await?;
    daemon.stop().await?;
    let records = function.records();
    let keys = records.iter();
    let keys: Vec<_> = keys
        .filter_map(|it| it["dynamodb"]["Keys"]["key"]["S"].as_str())
        .collect();
    let expected: Vec<_> = (0..20).map(|number| format!("item-{number}")).collect();
    assert_eq!(keys, expected, "each change arrives once");
    Ok(())
}
