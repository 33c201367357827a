//! Sample records: an order as JSON in a Kinesis record.

use std::ops::Range;

use base64_simd::STANDARD;

use crate::rng::Rng;

#[derive(Clone, Debug)]
pub(super) struct Order {
    /// As a function receives it.
    pub(super) event: Vec<u8>,
    /// Range of the data in the event.
    pub(super) data: Range<usize>,
    /// Whether the patterns match it.
    pub(super) matching: bool,
}

impl Order {
    /// A random order of about `bytes`. The fields of the patterns are at its start, in its middle and
    /// at its end.
    pub(super) fn random(bytes: usize, matching: bool, rng: &mut Rng) -> Self {
        let number = rng.between(1_000_000, 9_999_999);
        let (mark, zone) = if matching { ('w', "eu") } else { ('x', "us") };
        let mut json = format!(
            "{{\"id\":\"order-{mark}{number}\",\"path\":\"/{zone}/{number}/orders/{number}.json\""
        );
        let late = late_fields(matching, rng);
        // Small orders have no items; in larger ones they fill the rest.
        if bytes < 300 {
            json.push_str(&late);
        } else {
            fill(&mut json, bytes / 2, rng);
            json.push_str(&late);
            fill(&mut json, bytes, rng);
        }
        json.push('}');
        Self::of(&json, matching)
    }

    fn of(json: &str, matching: bool) -> Self {
        let before = "{\"kinesis\":{\"kinesisSchemaVersion\":\"1.0\",\"partitionKey\":\"k\",\
            \"sequenceNumber\":\"4959033827149025660855969\",\"data\":\"";
        let after = "\",\"approximateArrivalTimestamp\":1545084650.987},\
            \"eventSource\":\"aws:kinesis\",\"eventVersion\":\"1.0\"}";
        let data = STANDARD.encode_to_string(json);
        Self {
            data: before.len()..before.len() + data.len(),
            event: [before, &data, after].concat().into_bytes(),
            matching,
        }
    }
}

fn late_fields(matching: bool, rng: &mut Rng) -> String {
    let (status, region, tier) = if matching {
        ("paid", "eu-west-1", "gold")
    } else {
        ("open", "us-east-1", "none")
    };
    let amount = if matching {
        rng.between(101, 500)
    } else {
        rng.between(501, 9_000)
    };
    format!(
        ",\"status\":\"{status}\",\"region\":\"{region}\",\
         \"customer\":{{\"tier\":\"{tier}\",\"since\":2019}},\"amount\":{amount}"
    )
}

/// Adds fields with arrays of items until the text has `bytes`.
fn fill(json: &mut String, bytes: usize, rng: &mut Rng) {
    while json.len() < bytes {
        let name = rng.between(100, 999);
        let items: Vec<String> = (0..4).map(|_| item(rng)).collect();
        json.push_str(&format!(",\"items{name}\":[{}]", items.join(",")));
    }
}

fn item(rng: &mut Rng) -> String {
    let (sku, quantity) = (rng.between(10_000, 99_999), rng.between(1, 9));
    let price = rng.between(1, 400);
    format!("{{\"sku\":\"A-{sku}\",\"quantity\":{quantity},\"price\":{price}.95,\"gift\":false}}")
}
