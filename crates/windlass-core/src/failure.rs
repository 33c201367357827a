//! Records that are given up, and where a mapping sends the news of it.

use std::fmt;
use std::sync::Arc;

use crate::arn::Arn;
use crate::outcome::Fault;
use crate::record::Record;
use crate::window::WindowCall;

/// Records of one batch that are given up together: what the destination of a mapping learns, and what
/// a dead letter keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRecord {
    pub condition: FailureCondition,
    /// At least one, in the order of the shard: the batch without what was resolved before.
    pub records: Arc<[Record]>,
    /// Invocations that failed with these records.
    pub attempts: u32,
    /// The request of the last invocation, if there was one and its response names it.
    pub request_id: Option<Arc<str>>,
    /// The last response of the function. Only of [`FailureCondition::RetryAttemptsExhausted`].
    pub response: Option<FailedResponse>,
    /// Of the last invocation that has failed, or why there was none; never a part of a response.
    pub last_error: Option<Arc<str>>,
    /// What the event has of its tumbling window, in an invocation with these records.
    pub window: Option<WindowCall>,
}

/// Why what was given up was not accepted. It is delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryFault {
    /// The on-failure destination did not accept it.
    Destination(Fault),
    /// It could not be written to the dead letters.
    DeadLetters(Fault),
    /// The dead letters have no room for it.
    NoRoom,
}

/// Why records are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCondition {
    /// The function has failed with them `MaximumRetryAttempts + 1` times.
    RetryAttemptsExhausted,
    /// They are older than `MaximumRecordAgeInSeconds`.
    RecordAgeExceeded,
    /// A record that alone exceeds the payload limit, or is larger than the function accepts. AWS has no
    /// name for it.
    RecordTooLarge,
    /// A record that cannot be rendered. AWS has no name for it.
    Unreadable,
}

/// The response with which the function has failed, as far as the destination learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedResponse {
    /// HTTP status; 0 without a response (a timeout, a closed connection).
    pub status: u16,
    /// Version of the function; `None` if the response does not name it.
    pub executed_version: Option<Arc<str>>,
    /// Whether the function has failed as a whole. Otherwise its response names failed items.
    pub function_error: bool,
}

/// The ARN of a destination that windlass delivers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationArn {
    kind: DestinationKind,
    arn: Arn,
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationKind {
    /// A standard SQS queue: `arn:aws:sqs:…:NAME`.
    Queue,
    /// A standard SNS topic: `arn:aws:sns:…:NAME`.
    Topic,
    /// An S3 bucket: `arn:aws:s3:::NAME`.
    Bucket,
}

impl FailureRecord {
    /// As a document says it: at least 1, also if the function was never reached.
    pub fn approximate_invoke_count(&self) -> u32 {
        self.attempts.max(1)
    }
}

impl DeliveryFault {
    /// What the delay depends on.
    pub const fn fault(self) -> Fault {
        match self {
            Self::Destination(fault) | Self::DeadLetters(fault) => fault,
            Self::NoRoom => Fault::Transient,
        }
    }
}

impl FailureCondition {
    /// As the document for the destination spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetryAttemptsExhausted => "RetryAttemptsExhausted",
            Self::RecordAgeExceeded => "RecordAgeExceeded",
            Self::RecordTooLarge => "RecordTooLarge",
            Self::Unreadable => "Unreadable",
        }
    }
}

impl DestinationArn {
    /// `None` if the ARN is not that of a possible destination. FIFO queues and topics are not: AWS
    /// fails to deliver to them.
    pub fn new(arn: Arn) -> Option<Self> {
        let resource = arn.resource();
        let is_name = !resource.contains(['/', ':']);
        let is_regional = !arn.region().is_empty() && !arn.account_id().is_empty();
        let kind = match arn.service() {
            "sqs" if is_regional => DestinationKind::Queue,
            "sns" if is_regional => DestinationKind::Topic,
            "s3" => DestinationKind::Bucket,
            _ => return None,
        };
        let is_fifo = kind != DestinationKind::Bucket && resource.ends_with(".fifo");
        (is_name && !is_fifo).then_some(Self { kind, arn })
    }

    /// As [`DestinationArn::new`]; also `None` if the text is not an ARN.
    pub fn parse(text: &str) -> Option<Self> {
        Arn::parse(text).ok().and_then(Self::new)
    }

    pub const fn kind(&self) -> DestinationKind {
        self.kind
    }

    pub const fn arn(&self) -> &Arn {
        &self.arn
    }

    /// The name of the queue, topic or bucket.
    pub fn name(&self) -> &str {
        self.arn.resource()
    }
}

impl fmt::Display for DestinationArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.arn.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_destination_comes_from_its_service() {
        let kind = |text| DestinationArn::parse(text).map(|it| it.kind());
        let queue = "arn:aws:sqs:us-east-1:000000000000:failed";
        assert_eq!(kind(queue), Some(DestinationKind::Queue));
        let topic = "arn:aws:sns:us-east-1:000000000000:failed";
        assert_eq!(kind(topic), Some(DestinationKind::Topic));
        let bucket = "arn:aws:s3:::failed";
        assert_eq!(kind(bucket), Some(DestinationKind::Bucket));
        for text in [
            "",
            "failed",
            "arn:aws:sqs:::failed",
            "arn:aws:sqs:us-east-1:000000000000:failed.fifo",
            "arn:aws:sns:us-east-1:000000000000:failed.fifo",
            "arn:aws:sns:us-east-1:000000000000:failed:0f3e6d3c",
            "arn:aws:s3:::failed/prefix",
            "arn:aws:lambda:us-east-1:000000000000:function:f",
            "kafka://failed",
        ] {
            assert_eq!(DestinationArn::parse(text), None, "{text}");
        }
    }
}
