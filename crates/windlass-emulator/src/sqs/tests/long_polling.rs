//! Receives that wait.

use std::future::Future;

use tokio::time::Instant;

use super::*;

/// The bodies that a waiting receive of one message returns, and the seconds until then.
async fn wait(sqs: &Sqs, queue: &str, seconds: u64) -> (Vec<String>, u64) {
    let start = Instant::now();
    let request = json!({"WaitTimeSeconds": seconds});
    let messages = sqs.receive_with(queue, request).await;
    let bodies = bodies(&messages).into_iter().map(str::to_owned).collect();
    (bodies, start.elapsed().as_secs())
}

async fn after<F: Future>(seconds: u64, future: F) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    future.await;
}

fn received(body: &str, seconds: u64) -> (Vec<String>, u64) {
    (vec![body.to_owned()], seconds)
}

#[tokio::test(start_paused = true)]
async fn a_receive_waits_as_long_as_requested() {
    let sqs = with_queue("q", &[]);
    assert_eq!(wait(&sqs, "q", 20).await, (vec![], 20));
    assert_eq!(wait(&sqs, "q", 0).await, (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_send_wakes_a_waiting_receive() {
    let sqs = with_queue("q", &[]);
    let send = async { sqs.send("q", None, "m").unwrap() };
    let (result, ()) = tokio::join!(wait(&sqs, "q", 20), after(3, send));
    assert_eq!(result, received("m", 3));
}

#[tokio::test(start_paused = true)]
async fn two_waiting_receives_get_different_messages() {
    let sqs = with_queue("q", &[]);
    let send = async |body: &'static str| sqs.send("q", None, body).unwrap();
    let (first, second, (), ()) = tokio::join!(
        wait(&sqs, "q", 20),
        wait(&sqs, "q", 20),
        after(3, send("a")),
        after(5, send("b")),
    );
    let mut both = [first, second];
    both.sort();
    assert_eq!(both, [received("a", 3), received("b", 5)]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_visibility_timeout_wakes_a_waiting_receive() {
    let sqs = with_queue("q", &[("VisibilityTimeout", "4")]);
    sqs.send("q", None, "m").unwrap();
    assert_eq!(bodies(&sqs.receive_all("q").await), ["m"]);
    assert_eq!(wait(&sqs, "q", 20).await, received("m", 4));
}

#[tokio::test(start_paused = true)]
async fn a_shortened_visibility_timeout_wakes_a_waiting_receive_earlier() {
    let sqs = with_queue("q", &[]);
    sqs.send("q", None, "m").unwrap();
    sqs.send("q", None, "other").unwrap();
    let messages = sqs.receive_all("q").await;
    let change = sqs.change_visibility("q", &messages[0], 2);
    let (result, ()) = tokio::join!(wait(&sqs, "q", 20), after(3, change));
    assert_eq!(result, received("m", 5));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_unlocks_a_group_wakes_a_waiting_receive() {
    let sqs = with_queue("q.fifo", &[]);
    sqs.send("q.fifo", Some("g"), "one").unwrap();
    let one = sqs.receive_all("q.fifo").await.remove(0);
    sqs.send("q.fifo", Some("g"), "two").unwrap();
    let delete = sqs.delete("q.fifo", &one);
    let (result, ()) = tokio::join!(wait(&sqs, "q.fifo", 20), after(3, delete));
    assert_eq!(result, received("two", 3));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_disconnects_takes_no_message_with_it() {
    let sqs = with_queue("q", &[]);
    let dropped = tokio::time::timeout(Duration::from_secs(3), wait(&sqs, "q", 20)).await;
    assert!(dropped.is_err());
    sqs.send("q", None, "m").unwrap();
    assert_eq!(sqs.counts("q"), (1, 0));
    assert_eq!(wait(&sqs, "q", 20).await, received("m", 0));
}
