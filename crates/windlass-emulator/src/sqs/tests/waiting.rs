//! Receives that wait.

use std::future::Future;

use tokio::time::Instant;

use super::*;

/// What a waiting receive of one message gets, and the seconds until then.
async fn wait(bench: &Bench, queue: &str, seconds: u64) -> (Vec<String>, u64) {
    let start = Instant::now();
    let request = json!({"WaitTimeSeconds": seconds});
    let messages = bench.receive_with(queue, request).await;
    let bodies = bodies(&messages).into_iter().map(str::to_owned).collect();
    (bodies, start.elapsed().as_secs())
}

async fn later(seconds: u64, act: impl Future) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    act.await;
}

fn got(body: &str, seconds: u64) -> (Vec<String>, u64) {
    (vec![body.to_owned()], seconds)
}

#[tokio::test(start_paused = true)]
async fn a_receive_waits_for_as_long_as_it_says_or_the_queue() {
    let bench = Bench::with_queue("q", &[("ReceiveMessageWaitTimeSeconds", "7")]);
    assert_eq!(wait(&bench, "q", 20).await, (vec![], 20));
    assert_eq!(wait(&bench, "q", 0).await, (vec![], 0));
    let start = Instant::now();
    assert_eq!(bench.receive("q").await, Vec::<Value>::new());
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_send_wakes_a_receive_that_waits() {
    let bench = Bench::with_queue("q", &[]);
    let send = async { bench.0.send("q", None, "m").unwrap() };
    let (received, ()) = tokio::join!(wait(&bench, "q", 20), later(3, send));
    assert_eq!(received, got("m", 3));
}

#[tokio::test(start_paused = true)]
async fn each_of_two_that_wait_gets_a_message_of_its_own() {
    let bench = Bench::with_queue("q", &[]);
    let send = |body: &'static str| async { bench.0.send("q", None, body).unwrap() };
    let (first, second, (), ()) = tokio::join!(
        wait(&bench, "q", 20),
        wait(&bench, "q", 20),
        later(3, send("a")),
        later(5, send("b")),
    );
    let mut all = [first, second];
    all.sort();
    assert_eq!(all, [got("a", 3), got("b", 5)]);
}

#[tokio::test(start_paused = true)]
async fn what_becomes_visible_wakes_a_receive_at_that_moment() {
    let bench = Bench::with_queue("q", &[("VisibilityTimeout", "4")]);
    let delayed = json!({"MessageBody": "delayed", "DelaySeconds": 6});
    bench.0.send("q", None, "returned").unwrap();
    assert_eq!(bodies(&bench.receive("q").await), ["returned"]);
    bench.call("SendMessage", "q", delayed).await;
    assert_eq!(wait(&bench, "q", 20).await, got("returned", 4));
    assert_eq!(wait(&bench, "q", 20).await, got("delayed", 2));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_made_shorter_wakes_a_receive_earlier() {
    let bench = Bench::with_queue("q", &[]);
    bench.0.send("q", None, "m").unwrap();
    bench.0.send("q", None, "other").unwrap();
    let messages = bench.receive("q").await;
    let change = bench.change("q", &messages[0], 2);
    let (received, ()) = tokio::join!(wait(&bench, "q", 20), later(3, change));
    assert_eq!(received, got("m", 5));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_message_lets_the_next_of_its_group_go() {
    let bench = Bench::with_queue("q.fifo", &[]);
    bench.0.send("q.fifo", Some("g"), "one").unwrap();
    let one = bench.receive("q.fifo").await.remove(0);
    bench.0.send("q.fifo", Some("g"), "two").unwrap();
    let delete = bench.delete("q.fifo", &one);
    let (received, ()) = tokio::join!(wait(&bench, "q.fifo", 20), later(3, delete));
    assert_eq!(received, got("two", 3));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_goes_away_takes_nothing_with_it() {
    let bench = Bench::with_queue("q", &[]);
    let gone = tokio::time::timeout(Duration::from_secs(3), wait(&bench, "q", 20)).await;
    assert!(gone.is_err());
    bench.0.send("q", None, "m").unwrap();
    assert_eq!(bench.counts("q"), (1, 0, 0));
    assert_eq!(wait(&bench, "q", 20).await, got("m", 0));
}

#[tokio::test(start_paused = true)]
async fn a_receive_ends_with_its_queue() {
    let bench = Bench::with_queue("q", &[]);
    let wait = bench.ask("ReceiveMessage", "q", json!({"WaitTimeSeconds": 20}));
    let start = Instant::now();
    let delete = bench.call("DeleteQueue", "q", json!({}));
    let (refused, ()) = tokio::join!(wait, later(3, delete));
    assert_eq!(start.elapsed().as_secs(), 3);
    let (code, text) = refused.unwrap_err();
    assert_eq!(code, "com.amazonaws.sqs#QueueDoesNotExist");
    assert_eq!(text, "The specified queue does not exist.");
}
