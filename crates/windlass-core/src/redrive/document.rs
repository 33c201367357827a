//! On-failure documents, as windlass and AWS Lambda write them: raw, or in a notification of SNS.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use thiserror::Error;

use crate::arn::{Arn, SourceArn, SourceKind, StreamKind};
use crate::function::FunctionName;
use crate::ids::{SequenceNumber, ShardId};

/// The batch that a document reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureDocument {
    /// Of the last invocation.
    pub request_id: Option<Arc<str>>,
    pub function: Arn,
    pub kind: StreamKind,
    pub stream: Arn,
    pub shard: ShardId,
    pub first: SequenceNumber,
    pub last: SequenceNumber,
    /// At least 1.
    pub batch_size: usize,
    /// The event of the invocation, if the document has it.
    pub payload: Option<Bytes>,
}

/// Why a text is not a document that can be redriven. Never contains any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an on-failure document of a stream: {0}")]
pub struct NotADocument(&'static str);

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(rename = "Type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "Message", borrow)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    request_context: RequestContext,
    #[serde(rename = "KinesisBatchInfo")]
    kinesis: Option<BatchInfo>,
    #[serde(rename = "DDBStreamBatchInfo")]
    dynamodb: Option<BatchInfo>,
    payload: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    request_id: Option<String>,
    function_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchInfo {
    shard_id: String,
    start_sequence_number: String,
    end_sequence_number: String,
    batch_size: u64,
    stream_arn: String,
}

/// Whether two ARNs name the same version of a function: the one without a qualifier is `$LATEST`.
pub fn same_function(one: &Arn, other: &Arn) -> bool {
    fn plain(arn: &Arn) -> &str {
        let text = arn.as_str();
        text.strip_suffix(":$LATEST").unwrap_or(text)
    }
    plain(one) == plain(other)
}

impl FailureDocument {
    /// # Errors
    /// The text is anything else than a document about records of a stream.
    pub fn parse(text: &[u8]) -> Result<Self, NotADocument> {
        if let Ok(notification) = serde_json::from_slice::<Notification<'_>>(text)
            && notification.kind == "Notification"
        {
            return Self::parse_raw(notification.message.as_bytes());
        }
        Self::parse_raw(text)
    }

    fn parse_raw(text: &[u8]) -> Result<Self, NotADocument> {
        let text: Text = serde_json::from_slice(text)
            .map_err(|_| NotADocument("it is not JSON with requestContext and a batch info"))?;
        let (kind, info) = match (text.kinesis, text.dynamodb) {
            (Some(info), None) => (StreamKind::Kinesis, info),
            (None, Some(info)) => (StreamKind::DynamoDbStreams, info),
            (None, None) | (Some(_), Some(_)) => {
                return Err(NotADocument(
                    "it must have either KinesisBatchInfo or DDBStreamBatchInfo",
                ));
            }
        };
        let function = text.request_context.function_arn;
        let function = FunctionName::parse(&function)
            .filter(|name| name.scope.is_some())
            .and_then(|_| Arn::parse(&function).ok())
            .ok_or(NotADocument("functionArn is not the ARN of a function"))?;
        let stream = SourceArn::parse(&info.stream_arn)
            .filter(|arn| arn.kind() == SourceKind::Stream(kind))
            .ok_or(NotADocument("streamArn is not the ARN of such a stream"))?;
        let stream = stream.arn().stream_of_consumer();
        let stream = stream.or_else(|| Arn::parse(&info.stream_arn).ok());
        let stream = stream.ok_or(NotADocument("streamArn is not an ARN"))?;
        let [first, last] = [info.start_sequence_number, info.end_sequence_number];
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        if !is_number(&first) || !is_number(&last) {
            return Err(NotADocument("a sequence number is not a number"));
        }
        let [first, last] = [first, last].map(|text| SequenceNumber::from(text.as_str()));
        if last.is_lower_than(&first) {
            return Err(NotADocument("its last sequence number is before its first"));
        }
        let batch_size = usize::try_from(info.batch_size).unwrap_or(usize::MAX);
        if batch_size == 0 || info.shard_id.is_empty() {
            return Err(NotADocument("it names no records"));
        }
        Ok(Self {
            request_id: text.request_context.request_id.map(Arc::from),
            function,
            kind,
            stream,
            shard: ShardId::from(info.shard_id.as_str()),
            first,
            last,
            batch_size,
            payload: text.payload.map(Bytes::from),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";

    pub(crate) fn json(shard: &str, first: &str, last: &str, batch_size: usize) -> Value {
        json!({
            "requestContext": {
                "requestId": "r-1",
                "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:f",
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 1,
            },
            "responseContext": {
                "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled",
            },
            "version": "1.0",
            "timestamp": "2019-11-14T00:38:06.021Z",
            "KinesisBatchInfo": {
                "shardId": shard,
                "startSequenceNumber": first,
                "endSequenceNumber": last,
                "approximateArrivalOfFirstRecord": "2019-11-14T00:38:04.835Z",
                "approximateArrivalOfLastRecord": "2019-11-14T00:38:05.580Z",
                "batchSize": batch_size,
                "streamArn": STREAM,
            },
        })
    }

    pub(crate) fn document(
        shard: &str,
        first: &str,
        last: &str,
        batch_size: usize,
    ) -> FailureDocument {
        let text = json(shard, first, last, batch_size).to_string();
        FailureDocument::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_document_is_read_raw_and_in_a_notification_with_and_without_its_payload() {
        let raw = document("0", "7", "12", 3);
        assert_eq!(raw.request_id.as_deref(), Some("r-1"));
        assert_eq!((raw.first.as_str(), raw.last.as_str()), ("7", "12"));
        assert_eq!((raw.batch_size, raw.payload.as_ref()), (3, None));
        assert_eq!(raw.stream.as_str(), STREAM);
        let mut value = json("0", "7", "12", 3);
        let wrapped = json!({
            "Type": "Notification", "MessageId": "m", "TopicArn": "t", "Subject": null,
            "Message": value.to_string(),
        });
        let parse = |value: &Value| FailureDocument::parse(value.to_string().as_bytes());
        assert_eq!(parse(&wrapped), Ok(raw));
        // An event is kept byte for byte, whatever its spaces and escapes.
        let event = "{\"Records\": [ \"\\u00e9\" ]}";
        value["payload"] = event.into();
        let payload = parse(&value).unwrap().payload;
        assert_eq!(payload.as_deref(), Some(event.as_bytes()));
        let info = value["KinesisBatchInfo"].take();
        value.as_object_mut().unwrap().remove("KinesisBatchInfo");
        value["DDBStreamBatchInfo"] = info;
        value["DDBStreamBatchInfo"]["streamArn"] =
            "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2024".into();
        let of_table = parse(&value).unwrap();
        assert_eq!(of_table.kind, StreamKind::DynamoDbStreams);
    }

    #[test]
    fn anything_else_is_not_a_document() {
        let change = |change: fn(&mut Value)| {
            let mut value = json("0", "7", "12", 3);
            change(&mut value);
            value.to_string()
        };
        let others = [
            String::new(),
            "{}".to_owned(),
            "[]".to_owned(),
            "\"text\"".to_owned(),
            json!({"Type": "Notification", "Message": "hello"}).to_string(),
            change(|it| it["KinesisBatchInfo"] = Value::Null),
            change(|it| it["DDBStreamBatchInfo"] = it["KinesisBatchInfo"].clone()),
            change(|it| it["KinesisBatchInfo"]["batchSize"] = 0.into()),
            change(|it| it["KinesisBatchInfo"]["shardId"] = "".into()),
            change(|it| it["KinesisBatchInfo"]["startSequenceNumber"] = "13".into()),
            change(|it| it["KinesisBatchInfo"]["startSequenceNumber"] = "x".into()),
            change(|it| it["KinesisBatchInfo"]["endSequenceNumber"] = "".into()),
            change(|it| it["KinesisBatchInfo"]["streamArn"] = "arn:aws:sqs:r:1:q".into()),
            change(|it| it["requestContext"]["functionArn"] = "f".into()),
            change(|it| it["requestContext"]["functionArn"] = "arn:aws:sqs:r:1:q".into()),
            change(|it| it["payload"] = json!({"Records": []})),
        ];
        for text in others {
            assert!(FailureDocument::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_function_without_a_qualifier_is_its_latest_version() {
        let arn = |qualifier: &str| {
            let text = format!("arn:aws:lambda:us-east-1:123456789012:function:f{qualifier}");
            Arn::parse(&text).unwrap()
        };
        assert!(same_function(&arn(""), &arn(":$LATEST")));
        assert!(!same_function(&arn(""), &arn(":7")));
        assert!(!same_function(&arn(":live"), &arn(":7")));
    }
}
