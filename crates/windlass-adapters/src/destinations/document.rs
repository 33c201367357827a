//! The document that a destination receives, key for key as AWS writes it, in AWS's order.

use std::borrow::Cow;

use serde::Serialize;
use uuid::Uuid;
use windlass_core::arn::{Arn, StreamKind};
use windlass_core::failure::{FailureCondition, FailureRecord};
use windlass_core::function::FunctionName;
use windlass_core::mapping::{MappingId, StreamSource};
use windlass_core::record::Record;
use windlass_core::replay::ReplayName;
use windlass_core::time::Timestamp;
use windlass_engine::ports::Failure;

/// The attribute of a message, and the metadata of an object, with the name of the replay that gave
/// the records up.
pub(super) const REPLAY_ATTRIBUTE: &str = "windlass-replay";

const LATEST: &str = "$LATEST";

/// Status of an invocation without a response, such as a timeout: that of AWS Lambda's Invoke, which
/// succeeds however the function ends.
const STATUS_WITHOUT_RESPONSE: u16 = 200;

/// Of the names of [`DocumentTemplate::stable_uuid`]; must never change.
const NAMESPACE: Uuid = Uuid::from_u128(0x7f1c_6a52_0f0e_4c8b_9d63_2f5f_8f0a_c7d1);

/// What the documents of one mapping have in common.
#[derive(Clone, Debug)]
pub(crate) struct DocumentTemplate {
    mapping: MappingId,
    replay: Option<ReplayName>,
    kind: StreamKind,
    stream: Arn,
    function: Arn,
    /// The version of the function where a response does not name it.
    version: String,
}

/// What a document has in addition to what is known of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// Of queues and topics.
    Metadata,
    /// Of buckets: the event of the invocation, as an escaped JSON string.
    Event,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext<'a>>,
    version: &'static str,
    timestamp: String,
    #[serde(rename = "KinesisBatchInfo", skip_serializing_if = "Option::is_none")]
    kinesis: Option<BatchInfo<'a>>,
    #[serde(rename = "DDBStreamBatchInfo", skip_serializing_if = "Option::is_none")]
    dynamodb: Option<BatchInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: String,
    function_arn: &'a str,
    condition: &'static str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext<'a> {
    status_code: u16,
    executed_version: &'a str,
    /// Null if the response names failed items.
    function_error: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchInfo<'a> {
    shard_id: &'a str,
    start_sequence_number: &'a str,
    end_sequence_number: &'a str,
    approximate_arrival_of_first_record: String,
    approximate_arrival_of_last_record: String,
    batch_size: usize,
    stream_arn: &'a str,
}

impl DocumentTemplate {
    /// `replay`: the one whose records are given up; `None`: those of the mapping.
    pub(crate) fn new(
        mapping: &MappingId,
        replay: Option<&ReplayName>,
        source: &StreamSource,
        function: &Arn,
    ) -> Self {
        Self {
            mapping: mapping.clone(),
            replay: replay.cloned(),
            kind: source.kind,
            stream: source.arn.clone(),
            version: version_of(function),
            function: function.clone(),
        }
    }

    pub(super) fn render(&self, failure: &Failure, payload: Payload) -> String {
        let record = &failure.record;
        let info = self.batch_info(failure);
        let (kinesis, dynamodb) = match self.kind {
            StreamKind::Kinesis => (Some(info), None),
            StreamKind::DynamoDbStreams => (None, Some(info)),
        };
        let event = (payload == Payload::Event).then(|| failure.event(&self.stream));
        let document = Document {
            request_context: RequestContext {
                request_id: self.request_id(failure),
                function_arn: self.function.as_str(),
                condition: record.condition.as_str(),
                approximate_invoke_count: record.approximate_invoke_count(),
            },
            response_context: self.response_context(record),
            version: "1.0",
            timestamp: format_time(failure.given_up, "%Y-%m-%dT%H:%M:%S.%3fZ"),
            kinesis,
            dynamodb,
            payload: event.as_deref().map(String::from_utf8_lossy),
        };
        serde_json::to_string(&document).expect("texts and numbers are valid JSON")
    }

    /// The name of the object with the document; the same whenever the delivery is repeated.
    pub(super) fn key(&self, failure: &Failure) -> String {
        let mapping = &self.mapping;
        let shard = &failure.shard;
        let path = format_time(failure.given_up, "%Y/%m/%d/%Y-%m-%dT%H.%M.%S");
        let id = self.stable_uuid("object", failure);
        format!("aws/lambda/{mapping}/{shard}/{path}-{id}")
    }

    /// What a message or an object says in addition to the document: [`REPLAY_ATTRIBUTE`].
    pub(super) const fn replay(&self) -> Option<&ReplayName> {
        self.replay.as_ref()
    }

    fn batch_info<'a>(&'a self, failure: &'a Failure) -> BatchInfo<'a> {
        let records = &failure.record.records;
        let (first, last) = ends(records);
        // DynamoDB reports whole seconds.
        let format = match self.kind {
            StreamKind::Kinesis => "%Y-%m-%dT%H:%M:%S.%3fZ",
            StreamKind::DynamoDbStreams => "%Y-%m-%dT%H:%M:%SZ",
        };
        let arrival = |record: &Record| format_time(record.approximate_arrival(), format);
        BatchInfo {
            shard_id: failure.shard.as_str(),
            start_sequence_number: first.sequence_number(),
            end_sequence_number: last.sequence_number(),
            approximate_arrival_of_first_record: arrival(first),
            approximate_arrival_of_last_record: arrival(last),
            batch_size: records.len(),
            stream_arn: self.stream.as_str(),
        }
    }

    fn response_context<'a>(&'a self, record: &'a FailureRecord) -> Option<ResponseContext<'a>> {
        match record.condition {
            FailureCondition::RetryAttemptsExhausted => {}
            FailureCondition::RecordAgeExceeded
            | FailureCondition::RecordTooLarge
            | FailureCondition::Unreadable => return None,
        }
        let response = record.response.as_ref()?;
        Some(ResponseContext {
            status_code: match response.status {
                0 => STATUS_WITHOUT_RESPONSE,
                status => status,
            },
            executed_version: response
                .executed_version
                .as_deref()
                .unwrap_or(&self.version),
            function_error: response.function_error.then_some("Unhandled"),
        })
    }

    /// That of the last invocation if it is known. AWS's documents always have one, so that readers
    /// may rely on it.
    fn request_id(&self, failure: &Failure) -> String {
        let known = failure.record.request_id.as_deref();
        let own = || self.stable_uuid("request", failure).to_string();
        known.map_or_else(own, ToOwned::to_owned)
    }

    /// A UUID that differs from failure to failure, but not from one delivery of a failure to the
    /// next.
    fn stable_uuid(&self, use_of_it: &str, failure: &Failure) -> Uuid {
        let (first, last) = ends(&failure.record.records);
        let mut name = format!(
            "{use_of_it}/{}/{}/{}/{}/{}",
            self.mapping,
            failure.shard,
            first.sequence_number(),
            last.sequence_number(),
            failure.given_up.as_millis()
        );
        if let Some(replay) = &self.replay {
            name.push_str(&format!("/replay {replay}"));
        }
        // Two failures may be of records of one aggregate.
        for inner in [first, last].into_iter().filter_map(Record::inner) {
            name.push_str(&format!("/{}", inner.index));
        }
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }
}

/// The version that the ARN of a function names; an alias does not tell.
fn version_of(function: &Arn) -> String {
    let name = FunctionName::parse(function.as_str());
    let qualifier = name.and_then(|name| name.qualifier);
    let is_version = |it: &String| it.bytes().all(|byte| byte.is_ascii_digit());
    qualifier
        .filter(is_version)
        .unwrap_or_else(|| LATEST.to_owned())
}

fn ends(records: &[Record]) -> (&Record, &Record) {
    let ends = records.first().zip(records.last());
    ends.expect("what is given up has a record")
}

/// In UTC. Times are at most those of the year 9999.
fn format_time(time: Timestamp, format: &str) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    time.strftime(format).to_string()
}
