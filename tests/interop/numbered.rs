//! Numbered records and messages with a key and a kind, for the tests of filters.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use windlass_tests::aws::Aws;

/// Number of partition keys or message groups.
pub(crate) const KEYS: u64 = 20;

/// A record with a number, a key and a kind to filter by. Every seventh is plain text, not JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbered(pub(crate) u64);

impl Numbered {
    pub(crate) fn key(self) -> String {
        format!("key-{}", self.0 % KEYS)
    }

    pub(crate) fn kind(self) -> &'static str {
        ["keep", "drop", "lose"][(self.0 % 3) as usize]
    }

    pub(crate) fn is_plain(self) -> bool {
        self.0.is_multiple_of(7)
    }

    pub(crate) fn text(self) -> String {
        if self.is_plain() {
            return format!("{} {}", self.kind(), self.0);
        }
        json!({"kind": self.kind(), "n": self.0, "say": "\"keep\" \\ für"}).to_string()
    }
}

/// Puts the records with these numbers into a Kinesis stream.
pub(crate) async fn put_records(aws: &Aws, arn: &str, numbers: Range<u64>) -> anyhow::Result<()> {
    let (_, stream) = arn.rsplit_once('/').context("a stream has a name")?;
    let records: Vec<_> = numbers
        .map(Numbered)
        .map(|it| {
            let data = base64_simd::STANDARD.encode_to_string(it.text());
            json!({"PartitionKey": it.key(), "Data": data})
        })
        .collect();
    let body = json!({"StreamName": stream, "Records": records});
    let answer = aws.kinesis("PutRecords", body).await?;
    let failed = answer["FailedRecordCount"].as_u64().unwrap_or(0);
    ensure!(failed == 0, "{failed} records were rejected: {answer}");
    Ok(())
}

/// Sends the messages with these numbers to a queue; in a FIFO queue, the key is the message group.
pub(crate) async fn send_messages(aws: &Aws, url: &str, numbers: Range<u64>) -> anyhow::Result<()> {
    let numbers: Vec<_> = numbers.map(Numbered).collect();
    for some in numbers.chunks(10) {
        let entries = some.iter().map(|it| {
            let mut entry = json!({"Id": it.0.to_string(), "MessageBody": it.text()});
            if url.ends_with(".fifo") {
                entry["MessageGroupId"] = it.key().into();
                entry["MessageDeduplicationId"] = it.0.to_string().into();
            }
            entry
        });
        let entries: Vec<_> = entries.collect();
        let body = json!({"QueueUrl": url, "Entries": entries});
        let answer = aws.sqs("SendMessageBatch", body).await?;
        let failed = answer["Failed"].as_array().map_or(0, Vec::len);
        ensure!(failed == 0, "{failed} messages were rejected: {answer}");
    }
    Ok(())
}

/// Sorts the records of a standard queue, which does not keep the order.
pub(crate) fn in_order_of_sending(mut records: Vec<Value>, fifo: bool) -> Vec<Value> {
    if !fifo {
        records.sort_by_key(|record| number_in(record).unwrap_or_default());
    }
    records
}

/// Checks that exactly the passing records were delivered, once each, in order per key.
pub(crate) fn check_delivered(
    records: &[Value],
    numbers: Range<u64>,
    passes: impl Fn(&Numbered) -> bool,
) -> anyhow::Result<()> {
    let mut delivered: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        let it = Numbered(number_in(record)?);
        delivered.entry(it.key()).or_default().push(it.0);
    }
    let mut expected: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for it in numbers.map(Numbered).filter(passes) {
        expected.entry(it.key()).or_default().push(it.0);
    }
    ensure!(
        delivered == expected,
        "{delivered:?} instead of {expected:?}"
    );
    Ok(())
}

/// The number of a record or message; its text must be what was put.
fn number_in(record: &Value) -> anyhow::Result<u64> {
    let text = match (&record["kinesis"]["data"], &record["body"]) {
        (Value::String(data), _) => String::from_utf8(base64_simd::STANDARD.decode_to_vec(data)?)?,
        (_, body) => body.as_str().context("a message has a body")?.to_owned(),
    };
    let number = match text.split_once(' ') {
        Some((_, number)) if !text.starts_with('{') => number.parse()?,
        _ => {
            let json: Value = serde_json::from_str(&text)?;
            json["n"].as_u64().context("a record has a number")?
        }
    };
    ensure!(text == Numbered(number).text(), "{text:?} was not put");
    Ok(number)
}
