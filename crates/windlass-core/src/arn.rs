//! Amazon Resource Names, and those of event sources.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// An Amazon Resource Name: `arn:partition:service:region:account:resource`.
///
/// Cheap to clone. The resource may itself contain colons and slashes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn {
    text: Arc<str>,
}

/// The ARN of a source that windlass reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceArn {
    kind: SourceKind,
    arn: Arn,
}

/// Partition, region and account. Those of the daemon complete function names that are not full
/// ARNs, and start the ARNs of mappings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArnScope {
    /// `aws`, `aws-cn`, …
    pub partition: String,
    /// For example `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{text}' is not an ARN: expected arn:partition:service:region:account:resource")]
pub struct ArnError {
    text: String,
}

/// The kinds of event source that windlass reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    Stream(StreamKind),
    /// An SQS queue, standard or FIFO: `arn:aws:sqs:…:NAME`.
    Queue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// A Kinesis data stream: `arn:aws:kinesis:…:stream/NAME`, or a consumer of it with enhanced
    /// fan-out.
    Kinesis,
    /// The stream of a DynamoDB table: `arn:aws:dynamodb:…:table/NAME/stream/LABEL`.
    DynamoDbStreams,
}

impl Arn {
    /// Only region and account may be empty.
    ///
    /// # Errors
    /// The text does not have the six parts of an ARN, or another part is empty.
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().unwrap_or_default();
        let (prefix, partition, service) = (next(), next(), next());
        let (_region, _account, resource) = (next(), next(), next());
        if prefix != "arn" || partition.is_empty() || service.is_empty() || resource.is_empty() {
            return Err(ArnError {
                text: text.to_owned(),
            });
        }
        Ok(Self { text: text.into() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `aws`, `aws-cn`, …
    pub fn partition(&self) -> &str {
        self.part(1)
    }

    /// `kinesis`, `dynamodb`, `sqs`, `lambda`, …
    pub fn service(&self) -> &str {
        self.part(2)
    }

    /// Empty for global resources.
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// Empty where the resource has none.
    pub fn account_id(&self) -> &str {
        self.part(4)
    }

    /// Everything after the account id, colons included.
    pub fn resource(&self) -> &str {
        self.part(5)
    }

    /// Whether partition, service and region consist of ASCII letters, digits and hyphens: they
    /// become parts of host names and of signatures.
    pub fn is_plain(&self) -> bool {
        let plain = |part: &str| {
            part.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        [self.partition(), self.service(), self.region()]
            .into_iter()
            .all(plain)
    }

    fn source_kind(&self) -> Option<SourceKind> {
        let resource = self.resource();
        match self.service() {
            "kinesis" => {
                let name = resource.strip_prefix("stream/")?;
                let is_stream = !name.is_empty() && !name.contains('/');
                (is_stream || self.stream_of_consumer().is_some())
                    .then_some(SourceKind::Stream(StreamKind::Kinesis))
            }
            "dynamodb" => {
                let (table, label) = resource.strip_prefix("table/")?.split_once("/stream/")?;
                (!table.is_empty() && !label.is_empty())
                    .then_some(SourceKind::Stream(StreamKind::DynamoDbStreams))
            }
            "sqs" => {
                let name = !resource.contains(['/', ':']);
                name.then_some(SourceKind::Queue)
            }
            _ => None,
        }
    }

    /// The name of the stream, table or queue.
    pub fn source_name(&self) -> &str {
        let resource = self.resource();
        match self.service() {
            "kinesis" => resource.split('/').nth(1).unwrap_or(resource),
            "dynamodb" => resource.split('/').nth(1).unwrap_or(resource),
            _ => resource,
        }
    }

    /// The stream of a consumer with enhanced fan-out,
    /// `arn:aws:kinesis:…:stream/NAME/consumer/CONSUMER:CREATED`; `None` for any other ARN.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Consumer.html>
    pub fn stream_of_consumer(&self) -> Option<Self> {
        let (stream, consumer) = self.resource().split_once("/consumer/")?;
        let name = stream.strip_prefix("stream/")?;
        let (consumer, created) = consumer.split_once(':')?;
        let is_stream = self.service() == "kinesis" && !name.is_empty() && !name.contains('/');
        let is_consumer = !consumer.is_empty() && !consumer.contains('/');
        let is_dated = !created.is_empty() && created.bytes().all(|it| it.is_ascii_digit());
        let length = self.text.len() - self.resource().len() + stream.len();
        (is_stream && is_consumer && is_dated).then(|| Self {
            text: self.text[..length].into(),
        })
    }

    fn part(&self, index: usize) -> &str {
        self.text.splitn(6, ':').nth(index).unwrap_or_default()
    }
}

impl SourceArn {
    /// `None` if the ARN is not that of a source, or has no region or account.
    pub fn new(arn: Arn) -> Option<Self> {
        let kind = arn.source_kind()?;
        let is_addressable = !arn.region().is_empty() && !arn.account_id().is_empty();
        is_addressable.then_some(Self { kind, arn })
    }

    /// As [`SourceArn::new`]; also `None` if the text is not an ARN.
    pub fn parse(text: &str) -> Option<Self> {
        Arn::parse(text).ok().and_then(Self::new)
    }

    pub const fn kind(&self) -> SourceKind {
        self.kind
    }

    pub const fn arn(&self) -> &Arn {
        &self.arn
    }

    pub fn as_str(&self) -> &str {
        self.arn.as_str()
    }

    /// The names of FIFO queues, and of no others, end in `.fifo`.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/fifo-queues.html>
    pub fn is_fifo_queue(&self) -> bool {
        self.kind == SourceKind::Queue && self.arn.resource().ends_with(".fifo")
    }
}

impl fmt::Display for SourceArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.arn.fmt(f)
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn kind(text: &str) -> Option<SourceKind> {
        Arn::parse(text).unwrap().source_kind()
    }

    #[test]
    fn the_kind_of_source_comes_from_service_and_resource() {
        assert_eq!(
            kind("arn:aws:kinesis:r:1:stream/s"),
            Some(SourceKind::Stream(StreamKind::Kinesis))
        );
        assert_eq!(
            kind("arn:aws:kinesis:r:1:stream/s/consumer/c:1"),
            Some(SourceKind::Stream(StreamKind::Kinesis))
        );
        assert_eq!(kind("arn:aws:kinesis:r:1:stream/s/consumer/c"), None);
        let table = "arn:aws:dynamodb:r:1:table/t/stream/2024-06-10T19:26:16.525";
        assert_eq!(
            kind(table),
            Some(SourceKind::Stream(StreamKind::DynamoDbStreams))
        );
        assert_eq!(kind("arn:aws:dynamodb:r:1:table/t"), None);
        assert_eq!(kind("arn:aws:sqs:r:1:jobs.fifo"), Some(SourceKind::Queue));
        assert_eq!(kind("arn:aws:s3:::bucket"), None);
    }

    #[test]
    fn a_consumer_has_a_stream() {
        let stream = |text: &str| Arn::parse(text).unwrap().stream_of_consumer();
        let consumer = "arn:aws:kinesis:r:1:stream/s/consumer/c.d-1_2:1716583591";
        let expected = Arn::parse("arn:aws:kinesis:r:1:stream/s").unwrap();
        assert_eq!(stream(consumer), Some(expected));
        assert_eq!(Arn::parse(consumer).unwrap().source_name(), "s");
        for resource in [
            "stream/s",
            "stream/s/consumer/c",
            "stream/s/consumer/c:",
            "stream/s/consumer/c:now",
            "stream/s/consumer/:1",
            "stream//consumer/c:1",
            "stream/s/t/consumer/c:1",
            "stream/s/consumer/c/d:1",
            "stream/s/consumer/c:1/consumer/d:2",
            "table/s/consumer/c:1",
        ] {
            let text = format!("arn:aws:kinesis:r:1:{resource}");
            assert_eq!(stream(&text), None, "{text}");
        }
        assert_eq!(stream("arn:aws:sqs:r:1:stream/s/consumer/c:1"), None);
    }

    #[test]
    fn a_resource_keeps_its_colons() {
        let arn = Arn::parse("arn:aws:lambda:us-east-1:1:function:f:live").unwrap();
        assert_eq!(arn.resource(), "function:f:live");
        assert_eq!(arn.account_id(), "1");
    }

    #[test]
    fn a_text_without_six_parts_is_not_an_arn() {
        for text in [
            "",
            "arn",
            "arn:aws:sqs:r:1",
            "arn:aws:sqs:r:1:",
            "urn:aws:sqs:r:1:q",
        ] {
            assert!(Arn::parse(text).is_err(), "{text}");
        }
    }
}
