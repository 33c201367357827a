//! Puts and deliveries, and their counts.

use serde_json::{Value, json};

use super::*;

const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";

fn kinesis_event(payloads: &[&str]) -> Vec<u8> {
    let records = payloads.iter().map(|payload| {
        let data = base64_simd::STANDARD.encode_to_string(payload);
        json!({"eventSourceARN": STREAM, "kinesis": {"data": data, "partitionKey": "k"}})
    });
    let records: Vec<Value> = records.collect();
    json!({"Records": records}).to_string().into_bytes()
}

fn payload(key: &str, n: u64) -> String {
    json!({"key": key, "n": n}).to_string()
}

#[test]
fn records_that_are_put_and_not_delivered_are_missing() {
    let ledger = Ledger::new();
    let first = ledger.put_payload("kinesis/orders", "k", 1);
    ledger.put(STREAM, "k", 2);
    ledger.deliver(&kinesis_event(&[&first])).unwrap();
    let summary = ledger.summary();
    assert_eq!((summary.counts.put, summary.counts.delivered), (2, 1));
    assert_eq!((summary.lost(), summary.counts.batches), (1, 1));
    assert!(summary.p50.is_some() && summary.p99 >= summary.p50);
}

#[test]
fn repeats_do_not_count_as_out_of_order() {
    let ledger = Ledger::new();
    for n in 1..=4 {
        ledger.put(STREAM, "k", n);
    }
    let deliver = |numbers: &[u64]| {
        let payloads: Vec<String> = numbers.iter().map(|n| payload("k", *n)).collect();
        let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
        ledger.deliver(&kinesis_event(&payloads)).unwrap();
    };
    deliver(&[1, 2]);
    deliver(&[1, 2]);
    let counts = ledger.counts();
    assert_eq!((counts.repeated, counts.out_of_order), (2, 0));
    deliver(&[4]);
    deliver(&[3, 4]);
    let counts = ledger.counts();
    assert_eq!((counts.repeated, counts.out_of_order), (3, 1));
    assert_eq!(
        (counts.delivered, counts.missing(), counts.batches),
        (4, 0, 4)
    );
}

#[test]
fn order_matters_within_a_key_only() {
    let ledger = Ledger::new();
    ledger.put(STREAM, "a", 1);
    ledger.put(STREAM, "b", 2);
    let event = kinesis_event(&[&payload("b", 2), &payload("a", 1)]);
    ledger.deliver(&event).unwrap();
    let counts = ledger.counts();
    assert_eq!((counts.delivered, counts.out_of_order), (2, 0));
}

#[test]
fn sqs_messages_and_dynamodb_items_are_delivered_too() {
    let ledger = Ledger::new();
    let queue = "arn:aws:sqs:us-east-1:000000000000:orders";
    let table =
        "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-01-01T00:00:00.000";
    let body = ledger.put_payload(queue, "k", 1);
    let at_us = ledger.put(table, "k", 1).to_string();
    let image = json!({"key": {"S": "k"}, "n": {"N": "1"}, "at_us": {"N": at_us}, "x": {"L": []}});
    let event = json!({"Records": [
        {"eventSourceARN": queue, "messageId": "m", "body": body},
        {"eventSourceARN": table, "dynamodb": {"Keys": {}, "NewImage": image}},
    ]});
    ledger.deliver(event.to_string().as_bytes()).unwrap();
    let counts = ledger.counts();
    assert_eq!((counts.delivered, counts.missing()), (2, 0));
    assert_eq!((counts.foreign, counts.batches), (0, 2));
}

#[test]
fn records_that_were_not_put_are_foreign() {
    let ledger = Ledger::new();
    ledger.put(STREAM, "k", 1);
    let event = kinesis_event(&["not JSON", &payload("k", 2), &payload("other", 1)]);
    ledger.deliver(&event).unwrap();
    let removed = json!({"Records": [{"eventSourceARN": STREAM, "dynamodb": {"Keys": {}}}]});
    ledger.deliver(removed.to_string().as_bytes()).unwrap();
    assert_eq!((ledger.counts().foreign, ledger.counts().missing()), (4, 1));
}

#[test]
fn an_invalid_event_is_rejected_and_changes_nothing() {
    let ledger = Ledger::new();
    for invalid in ["", "{}", "{\"Records\":[{}]}", "[1]"] {
        assert!(ledger.deliver(invalid.as_bytes()).is_err(), "{invalid}");
    }
    assert_eq!(ledger.counts(), Counts::default());
}

#[test]
fn percentiles_use_the_nearest_rank() {
    let values: Vec<u64> = (1..=200).collect();
    let micros = |percent| percentile(&values, percent).map(|time| time.as_micros());
    assert_eq!((micros(50), micros(99)), (Some(100), Some(198)));
    assert_eq!(percentile(&[], 50), None);
    assert_eq!(percentile(&[7], 99), Some(Duration::from_micros(7)));
}
