//! The parts of a Lambda event that the ledger needs: source, key and number of each record.
//!
//! The events of the three sources are documented at
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html>.

use std::borrow::Cow;

use serde::Deserialize;

/// Gives the position and not the content, which may be confidential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not an event of Lambda, at line {line} column {column}")]
pub(crate) struct InvalidEvent {
    line: usize,
    column: usize,
}

/// A record that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) source: String,
    /// `None`: the record does not have the fields of the ledger.
    pub(super) payload: Option<Payload>,
}

/// Other fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Payload {
    pub(super) key: String,
    pub(super) n: u64,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<Record<'a>>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(rename = "eventSourceARN", borrow)]
    arn: Cow<'a, str>,
    #[serde(borrow)]
    kinesis: Option<KinesisPart<'a>>,
    #[serde(borrow)]
    body: Option<Cow<'a, str>>,
    #[serde(borrow)]
    dynamodb: Option<DynamoDbPart<'a>>,
}

#[derive(Deserialize)]
struct KinesisPart<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

#[derive(Deserialize)]
struct DynamoDbPart<'a> {
    #[serde(rename = "NewImage", borrow)]
    new_image: Option<Image<'a>>,
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(borrow)]
    key: Option<Attribute<'a>>,
    #[serde(borrow)]
    n: Option<Attribute<'a>>,
}

#[derive(Deserialize)]
struct Attribute<'a> {
    #[serde(rename = "S", borrow)]
    string: Option<Cow<'a, str>>,
    #[serde(rename = "N", borrow)]
    number: Option<Cow<'a, str>>,
}

pub(super) fn parse(event: &[u8]) -> Result<Vec<Arrival>, InvalidEvent> {
    let event: Event<'_> = serde_json::from_slice(event).map_err(|error| InvalidEvent {
        line: error.line(),
        column: error.column(),
    })?;
    let arrivals = event.records.iter().map(|record| Arrival {
        source: source_name(&record.arn).into_owned(),
        payload: payload(record),
    });
    Ok(arrivals.collect())
}

/// Converts the ARN of a stream, table or queue to a name such as `kinesis/orders`; other text is
/// already a name.
pub(super) fn source_name(arn: &str) -> Cow<'_, str> {
    let mut parts = arn.splitn(6, ':');
    if parts.next() != Some("arn") {
        return Cow::Borrowed(arn);
    }
    let (Some(service), Some(resource)) = (parts.nth(1), parts.nth(2)) else {
        return Cow::Borrowed(arn);
    };
    let resource = resource
        .strip_prefix("stream/")
        .or_else(|| resource.strip_prefix("table/"))
        .unwrap_or(resource);
    let name = resource.split('/').next().unwrap_or(resource);
    Cow::Owned(format!("{service}/{name}"))
}

fn payload(record: &Record<'_>) -> Option<Payload> {
    if let Some(kinesis) = &record.kinesis {
        let data = base64_simd::STANDARD.decode_to_vec(kinesis.data.as_bytes());
        return serde_json::from_slice(&data.ok()?).ok();
    }
    if let Some(body) = &record.body {
        return serde_json::from_str(body).ok();
    }
    let image = record.dynamodb.as_ref()?.new_image.as_ref()?;
    Some(Payload {
        key: image.key.as_ref()?.string.as_ref()?.clone().into_owned(),
        n: image.n.as_ref()?.number.as_ref()?.parse().ok()?,
    })
}
