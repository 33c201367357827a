//! FIFO queues: order, locked groups, duplicates.

use super::*;

/// A FIFO queue that knows duplicates by their content.
fn bench() -> Bench {
    Bench::with_queue("q.fifo", &[("ContentBasedDeduplication", "true")])
}

fn message(group: &str, body: &str, id: &str) -> Value {
    json!({"MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": id})
}

#[tokio::test(start_paused = true)]
async fn a_group_waits_while_one_of_its_messages_is_in_flight() {
    let bench = bench();
    for (group, body) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")] {
        bench.0.send("q.fifo", Some(group), body).unwrap();
    }
    let one = json!({"MaxNumberOfMessages": 1});
    let first = bench.receive_with("q.fifo", one).await;
    assert_eq!(bodies(&first), ["a1"]);
    assert_eq!(bodies(&bench.receive("q.fifo").await), ["b1"]);
    assert_eq!(bench.receive("q.fifo").await, Vec::<Value>::new());
    assert_eq!(bench.counts("q.fifo"), (2, 2, 0));
    // What comes back comes before the others of its group.
    bench.change("q.fifo", &first[0], 0).await;
    let again = bench.receive("q.fifo").await;
    assert_eq!(bodies(&again), ["a1", "a2", "a3"]);
    // One that comes back while another is out still waits.
    bench.change("q.fifo", &again[1], 0).await;
    bench.delete("q.fifo", &again[0]).await;
    assert_eq!(bench.receive("q.fifo").await, Vec::<Value>::new());
    bench.delete("q.fifo", &again[2]).await;
    assert_eq!(bodies(&bench.receive("q.fifo").await), ["a2"]);
}

#[tokio::test(start_paused = true)]
async fn the_system_attributes_of_a_fifo_message_grow_in_the_order_of_sending() {
    let bench = bench();
    let one = bench
        .call("SendMessage", "q.fifo", message("g", "one", "1"))
        .await;
    let two = bench.0.send("q.fifo", Some("g"), "two").unwrap();
    let messages = bench.receive("q.fifo").await;
    let attributes = &messages[0]["Attributes"];
    assert_eq!(attributes["MessageGroupId"], "g");
    assert_eq!(attributes["MessageDeduplicationId"], "1");
    assert_eq!(attributes["SequenceNumber"], one["SequenceNumber"]);
    let (one, two) = (
        one["SequenceNumber"].as_str().unwrap(),
        two.sequence_number.unwrap(),
    );
    assert_eq!((one.len(), two.len()), (20, 20));
    assert!(one < two.as_str(), "{one} {two}");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_taken_and_forgotten_for_five_minutes() {
    let bench = bench();
    let send = |body: &str, id: &str| bench.call("SendMessage", "q.fifo", message("g", body, id));
    let first = send("one", "1").await;
    let received = bench.receive("q.fifo").await.remove(0);
    bench.delete("q.fifo", &received).await;
    pass(299).await;
    let second = send("other", "1").await;
    assert_eq!(second["MessageId"], first["MessageId"]);
    assert_eq!(second["SequenceNumber"], first["SequenceNumber"]);
    assert_eq!(bench.counts("q.fifo"), (0, 0, 0));
    pass(1).await;
    let third = send("other", "1").await;
    assert_ne!(third["MessageId"], first["MessageId"]);
    assert_eq!(bodies(&bench.receive("q.fifo").await), ["other"]);
}

#[tokio::test(start_paused = true)]
async fn without_an_id_the_content_tells_duplicates() {
    let bench = bench();
    let send = |body: &str| {
        let message = json!({"MessageBody": body, "MessageGroupId": "g"});
        bench.call("SendMessage", "q.fifo", message)
    };
    let (one, other, again) = (send("one").await, send("other").await, send("one").await);
    assert_eq!(again["MessageId"], one["MessageId"]);
    assert_ne!(other["MessageId"], one["MessageId"]);
    let id = &bench.receive("q.fifo").await[0]["Attributes"]["MessageDeduplicationId"];
    assert_eq!(
        id,
        "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    );
    // What is sent in process never is one.
    let in_process = || bench.0.send("q.fifo", Some("h"), "one").unwrap().message_id;
    assert_ne!(in_process(), in_process());
    assert_eq!(bench.counts("q.fifo"), (2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_message_lets_its_group_go_on() {
    let bench = Bench::with_queue("dead.fifo", &[]);
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead.fifo","maxReceiveCount":1}"#;
    bench
        .0
        .create_queue("q.fifo", &[("RedrivePolicy", policy)])
        .unwrap();
    bench.0.send("q.fifo", Some("g"), "poison").unwrap();
    bench.0.send("q.fifo", Some("g"), "sound").unwrap();
    let one = json!({"MaxNumberOfMessages": 1});
    let poison = bench.receive_with("q.fifo", one.clone()).await.remove(0);
    bench.change("q.fifo", &poison, 0).await;
    assert_eq!(bodies(&bench.receive_with("q.fifo", one).await), ["sound"]);
    let dead = bench.receive("dead.fifo").await;
    assert_eq!(bodies(&dead), ["poison"]);
    assert_eq!(dead[0]["Attributes"]["MessageGroupId"], "g");
}

#[tokio::test(start_paused = true)]
async fn a_handle_whose_time_is_over_deletes_nothing() {
    let bench = bench();
    bench.0.send("q.fifo", Some("g"), "m").unwrap();
    let message = bench.receive("q.fifo").await.remove(0);
    pass(30).await;
    let handle = json!({"ReceiptHandle": message["ReceiptHandle"]});
    let (code, text) = bench
        .ask("DeleteMessage", "q.fifo", handle)
        .await
        .unwrap_err();
    assert_eq!(code, "com.amazonaws.sqs#InvalidParameterValueException");
    assert!(
        text.ends_with("Reason: The receipt handle has expired."),
        "{text}"
    );
    assert_eq!(bench.counts("q.fifo"), (1, 0, 0));
}
