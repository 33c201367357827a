//! FIFO queues: order, and groups with messages in flight.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_group_is_locked_while_one_of_its_messages_is_in_flight() {
    let sqs = with_queue("q.fifo", &[]);
    for (group, body) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")] {
        sqs.send("q.fifo", Some(group), body).unwrap();
    }
    let one = json!({"MaxNumberOfMessages": 1});
    let first = sqs.receive_with("q.fifo", one).await;
    assert_eq!(bodies(&first), ["a1"]);
    assert_eq!(bodies(&sqs.receive_all("q.fifo").await), ["b1"]);
    assert_eq!(sqs.receive_all("q.fifo").await, Vec::<Value>::new());
    assert_eq!(sqs.counts("q.fifo"), (2, 2));
    // A message that is released comes before the others of its group.
    sqs.change_visibility("q.fifo", &first[0], 0).await;
    let again = sqs.receive_all("q.fifo").await;
    assert_eq!(bodies(&again), ["a1", "a2", "a3"]);
    // A released message still waits for the others that are in flight.
    sqs.change_visibility("q.fifo", &again[1], 0).await;
    sqs.delete("q.fifo", &again[0]).await;
    assert_eq!(sqs.receive_all("q.fifo").await, Vec::<Value>::new());
    sqs.delete("q.fifo", &again[2]).await;
    assert_eq!(bodies(&sqs.receive_all("q.fifo").await), ["a2"]);
}

#[tokio::test(start_paused = true)]
async fn messages_have_a_group_and_growing_sequence_numbers() {
    let sqs = with_queue("q.fifo", &[]);
    for body in ["one", "two"] {
        sqs.send("q.fifo", Some("g"), body).unwrap();
    }
    let messages = sqs.receive_all("q.fifo").await;
    let attribute = |at: usize, name: &str| {
        let value = messages[at]["Attributes"][name].as_str();
        value.unwrap().to_owned()
    };
    assert_eq!(attribute(0, "MessageGroupId"), "g");
    let (one, two) = (
        attribute(0, "SequenceNumber"),
        attribute(1, "SequenceNumber"),
    );
    assert_eq!((one.len(), two.len()), (20, 20));
    assert!(one < two, "{one} {two}");
    let id = "MessageDeduplicationId";
    assert_ne!(attribute(0, id), attribute(1, id));
}

#[tokio::test(start_paused = true)]
async fn an_expired_receipt_handle_cannot_delete() {
    let sqs = with_queue("q.fifo", &[("VisibilityTimeout", "20")]);
    sqs.send("q.fifo", Some("g"), "m").unwrap();
    let message = sqs.receive_all("q.fifo").await.remove(0);
    advance(20).await;
    let failed = sqs.delete("q.fifo", &message).await;
    assert_eq!(failed["Code"], "InvalidParameterValue");
    let text = failed["Message"].as_str().unwrap();
    assert!(text.ends_with("The receipt handle has expired."), "{text}");
    assert_eq!(sqs.counts("q.fifo"), (1, 0));
}
