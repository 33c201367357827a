//! Produces numbered records, messages and items, and enters each into the ledger first. Record `n`
//! has the key `n` modulo the number of keys, so the numbers of each key increase.

use std::ops::Range;

use anyhow::ensure;
use serde_json::{Map, Value, json};
use windlass_emulator::Ledger;

use crate::aws::Aws;

/// Per PutRecords.
const MAX_RECORDS: usize = 500;

/// Per SendMessageBatch.
const MAX_MESSAGES: usize = 10;

/// Per BatchWriteItem.
const MAX_ITEMS: usize = 25;

#[derive(Clone, Copy, Debug)]
pub struct Producer<'a> {
    pub aws: &'a Aws,
    pub ledger: &'a Ledger,
    /// ARN of the stream or queue.
    pub arn: &'a str,
    /// Number of partition keys or message groups.
    pub keys: u64,
}

impl Producer<'_> {
    /// Puts records into a Kinesis stream, in order.
    pub async fn put_records(&self, numbers: Range<u64>) -> anyhow::Result<()> {
        let (_, stream) = self.arn.rsplit_once('/').unwrap_or_default();
        for some in chunks(numbers, MAX_RECORDS) {
            let records = some.map(|n| {
                let (key, payload) = self.note(n);
                let data = base64_simd::STANDARD.encode_to_string(payload);
                json!({"PartitionKey": key, "Data": data})
            });
            let records: Vec<Value> = records.collect();
            let body = json!({"StreamName": stream, "Records": records});
            let answer = self.aws.kinesis("PutRecords", body).await?;
            let failed = answer["FailedRecordCount"].as_u64().unwrap_or(0);
            ensure!(failed == 0, "{failed} records were rejected: {answer}");
        }
        Ok(())
    }

    /// Sends messages to a queue, in order; in a FIFO queue, the key is the message group.
    pub async fn send_messages(&self, url: &str, numbers: Range<u64>) -> anyhow::Result<()> {
        let fifo = url.ends_with(".fifo");
        for some in chunks(numbers, MAX_MESSAGES) {
            let entries = some.map(|n| {
                let (key, payload) = self.note(n);
                let mut entry = json!({"Id": n.to_string(), "MessageBody": payload});
                if fifo {
                    entry["MessageGroupId"] = key.into();
                    entry["MessageDeduplicationId"] = n.to_string().into();
                }
                entry
            });
            let entries: Vec<Value> = entries.collect();
            let body = json!({"QueueUrl": url, "Entries": entries});
            let answer = self.aws.sqs("SendMessageBatch", body).await?;
            let failed = answer["Failed"].as_array().map_or(0, Vec::len);
            ensure!(failed == 0, "{failed} messages were rejected: {answer}");
        }
        Ok(())
    }

    /// Writes items of a table, one per key, each again and again. A request must not contain an item
    /// twice, so there must be at least 25 keys.
    pub async fn write_items(&self, table: &str, numbers: Range<u64>) -> anyhow::Result<()> {
        for some in chunks(numbers, MAX_ITEMS) {
            let requests = some.map(|n| {
                let key = format!("key-{}", n % self.keys);
                let at_us = self.ledger.put(self.arn, &key, n).to_string();
                let item = json!({
                    "key": {"S": key},
                    "n": {"N": n.to_string()},
                    "at_us": {"N": at_us},
                });
                json!({"PutRequest": {"Item": item}})
            });
            let requests: Vec<Value> = requests.collect();
            let body = json!({"RequestItems": {table: requests}});
            let answer = self.aws.dynamodb("BatchWriteItem", body).await?;
            let left = answer["UnprocessedItems"].as_object();
            ensure!(
                left.is_none_or(Map::is_empty),
                "items were rejected: {answer}"
            );
        }
        Ok(())
    }

    fn note(&self, n: u64) -> (String, String) {
        let key = format!("key-{}", n % self.keys);
        let payload = self.ledger.put_payload(self.arn, &key, n);
        (key, payload)
    }
}

fn chunks(numbers: Range<u64>, size: usize) -> impl Iterator<Item = Range<u64>> {
    let starts = numbers.clone().step_by(size);
    starts.map(move |start| start..(start + size as u64).min(numbers.end))
}
