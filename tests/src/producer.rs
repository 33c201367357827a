//! Puts numbered records, messages and items, each written into the ledger first: record `n` has the key
//! `n` modulo the number of keys, so numbers grow for each key.

use std::ops::Range;

use anyhow::ensure;
use serde_json::{Map, Value, json};
use windlass_emulator::Ledger;

use crate::aws::Aws;

/// Most records of one PutRecords.
const RECORDS: usize = 500;

/// Most messages of one SendMessageBatch.
const MESSAGES: usize = 10;

/// Most items of one BatchWriteItem.
const ITEMS: usize = 25;

/// Where records go, and how many keys they have.
#[derive(Clone, Copy, Debug)]
pub struct Producer<'a> {
    /// The server of the source.
    pub aws: &'a Aws,
    /// Where every put is noted.
    pub ledger: &'a Ledger,
    /// The stream's or queue's ARN.
    pub arn: &'a str,
    /// How many keys, or message groups.
    pub keys: u64,
}

impl Producer<'_> {
    /// Puts records into a Kinesis stream, in their order.
    ///
    /// # Errors
    /// The server does not take one of them.
    pub async fn put_records(&self, numbers: Range<u64>) -> anyhow::Result<()> {
        let (_, stream) = self.arn.rsplit_once('/').unwrap_or_default();
        for some in chunks(numbers, RECORDS) {
            let records = some.map(|n| {
                let (key, payload) = self.note(n);
                let data = base64_simd::STANDARD.encode_to_string(payload);
                json!({"PartitionKey": key, "Data": data})
            });
            let records: Vec<Value> = records.collect();
            let body = json!({"StreamName": stream, "Records": records});
            let answer = self.aws.kinesis("PutRecords", body).await?;
            let failed = answer["FailedRecordCount"].as_u64().unwrap_or(0);
            ensure!(failed == 0, "{failed} records were not taken: {answer}");
        }
        Ok(())
    }

    /// Sends messages to a queue, in their order; to a FIFO queue, if its URL says that it is one,
    /// with the key as the group.
    ///
    /// # Errors
    /// The server does not take one of them.
    pub async fn send_messages(&self, url: &str, numbers: Range<u64>) -> anyhow::Result<()> {
        let fifo = url.ends_with(".fifo");
        for some in chunks(numbers, MESSAGES) {
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
            ensure!(failed == 0, "{failed} messages were not taken: {answer}");
        }
        Ok(())
    }

    /// Writes items of a table, one for each key: each is written again and again, so there must
    /// be at least as many keys as items in one request.
    ///
    /// # Errors
    /// The server does not take one of them.
    pub async fn write_items(&self, table: &str, numbers: Range<u64>) -> anyhow::Result<()> {
        for some in chunks(numbers, ITEMS) {
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
                "items were not taken: {answer}"
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
