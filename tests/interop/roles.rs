//! A queue that another account of MiniStack owns, read with a role of that account.

use std::collections::BTreeSet;

use serde_json::json;
use windlass_tests::function::Function;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::Setup;

const THEIRS: &str = "111122223333";

#[tokio::test]
async fn a_queue_of_another_account_is_read_with_a_role() {
    with_a_role().await.unwrap();
}

async fn with_a_role() -> anyhow::Result<()> {
    let ministack = Servers::running().aws("ministack");
    let theirs = ministack.clone().of_account(THEIRS);
    let function = Function::start(200).await?;
    let (url, queue) = theirs.create_queue("theirs", false, json!({})).await?;
    for number in 0..3 {
        let message = json!({"QueueUrl": url, "MessageBody": number.to_string()});
        theirs.sqs("SendMessage", message).await?;
    }
    let setup = Setup::new("role")
        .endpoint("sqs", ministack.endpoint())
        .endpoint("sts", ministack.endpoint())
        .role(
            &format!("arn:aws:sqs:*:{THEIRS}:*"),
            &format!("arn:aws:iam::{THEIRS}:role/reader"),
        )
        .function("jobs", &function.url)
        .mapping("jobs", &queue, json!({}));
    let daemon = setup.start().await?;
    wait::until("all messages arrive", TIMEOUT, || {
        let events = function.events();
        let records = events.iter().filter_map(|it| it["Records"].as_array());
        let bodies = records.flatten().filter_map(|it| it["body"].as_str());
        bodies.collect::<BTreeSet<_>>().len() == 3
    })
    .await?;
    wait::until_some("all messages are deleted", TIMEOUT, async || {
        Ok((theirs.queue_depth(&url).await? == 0).then_some(()))
    })
    .await?;
    daemon.stop().await?;
    Ok(())
}
