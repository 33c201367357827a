//! What a mapping may not do: refused when it is created or changed, in AWS's words.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use windlass_core::arn::{Arn, SourceArn, SourceKind, StreamKind};
use windlass_engine::ports::{NeededCall, Permission, PortError, ResourceLookup, chain};

use crate::errors::ApiError;

/// For all calls of one mapping. What is not known by then refuses nothing.
const TIMEOUT: Duration = Duration::from_secs(5);

const NO_SUCH_QUEUE: &str = "Error occurred while ReceiveMessage. SQS Error Code: \
    AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does not exist.";

/// Tries the calls side by side, without an effect.
///
/// # Errors
/// One is denied: the first of them.
pub(crate) async fn check(
    lookup: &Arc<dyn ResourceLookup>,
    source: &SourceArn,
    calls: Vec<NeededCall>,
) -> Result<(), ApiError> {
    let deadline = Instant::now() + TIMEOUT;
    let mut running = JoinSet::new();
    for (index, call) in calls.into_iter().enumerate() {
        let lookup = Arc::clone(lookup);
        running.spawn(async move {
            let permission = lookup.permission(&call).await;
            (index, call, permission)
        });
    }
    let mut first: Option<(usize, NeededCall, PortError)> = None;
    while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, running.join_next()).await {
        // One that panicked says nothing.
        let Ok((index, call, permission)) = ended else {
            continue;
        };
        match permission {
            Permission::Denied(error) => {
                tracing::warn!("{}", chain(&error));
                if first.as_ref().is_none_or(|(other, ..)| index < *other) {
                    first = Some((index, call, error));
                }
            }
            Permission::Unknown(error) => tracing::debug!("{}", chain(&error)),
            Permission::NotDenied | Permission::Untried(_) => {}
        }
    }
    match first {
        Some((_, call, error)) => {
            let text = denied(source, call.action);
            Err(ApiError::invalid(with_role(text, &error)))
        }
        None => Ok(()),
    }
}

pub(crate) fn missing_source(arn: &Arn, kind: SourceKind) -> ApiError {
    ApiError::invalid(match kind {
        SourceKind::Stream(_) => format!("Stream not found: {arn}"),
        SourceKind::Queue => NO_SUCH_QUEUE.to_owned(),
    })
}

/// Looking up the source was denied.
pub(crate) fn denied_source(arn: &Arn, kind: SourceKind, error: &PortError) -> ApiError {
    // `GetQueueAttributes of queue jobs`
    let call = error.operation.split(' ').next().unwrap_or_default();
    let text = match kind {
        SourceKind::Stream(kind) => denied_stream(arn, kind, call),
        SourceKind::Queue => {
            let is_lookup = matches!(call, "GetQueueAttributes" | "GetQueueUrl");
            denied_call(if is_lookup { call } else { "ReceiveMessage" }, "SQS")
        }
    };
    ApiError::invalid(with_role(text, error))
}

/// AWS's text, with the role that may not be assumed if that is why: AWS's words name none.
fn with_role(mut text: String, error: &PortError) -> String {
    if let Some(role) = error.role_denied() {
        text.push_str(&format!(" The role cannot be assumed: {role}."));
    }
    text
}

fn denied(source: &SourceArn, action: &str) -> String {
    let (service, call) = action.split_once(':').unwrap_or_default();
    let service = match (service, source.kind()) {
        ("kinesis" | "dynamodb", SourceKind::Stream(kind)) => {
            return denied_stream(source.arn(), kind, call);
        }
        ("lambda", _) => "Lambda".to_owned(),
        (other, _) => other.to_ascii_uppercase(),
    };
    denied_call(call, &service)
}

fn denied_call(call: &str, service: &str) -> String {
    format!("The provided execution role does not have permissions to call {call} on {service}")
}

/// AWS's text, with the call that was denied where AWS's list does not have it.
fn denied_stream(arn: &Arn, kind: StreamKind, call: &str) -> String {
    let (service, actions) = match kind {
        StreamKind::Kinesis => (
            "kinesis",
            "GetRecords, GetShardIterator, DescribeStream, ListShards, and ListStreams",
        ),
        StreamKind::DynamoDbStreams => (
            "dynamodb",
            "GetRecords, GetShardIterator, DescribeStream, and ListStreams",
        ),
    };
    let mut text = format!(
        "Cannot access stream {arn}. Please ensure the role can perform the {actions} Actions on \
         your stream in IAM."
    );
    let is_call = call.starts_with(|it: char| it.is_ascii_uppercase());
    if is_call && !actions.split([',', ' ']).any(|it| it == call) {
        text.push_str(&format!(" The denied action is {service}:{call}."));
    }
    text
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use windlass_core::function::FunctionName;
    use windlass_core::ids::{SequenceNumber, ShardId};
    use windlass_core::mapping::Mapping;
    use windlass_core::outcome::Fault;
    use windlass_core::shard::lineage::Shard;
    use windlass_core::time::Timestamp;
    use windlass_engine::ports::{FunctionLookup, QueueDefaults, RoleDenied};

    use super::*;

    const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:jobs";
    const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s";

    #[test]
    fn a_denied_source_is_reported_with_the_call_that_was_denied() {
        let text_of = |arn: &str, operation: &str| {
            let source = SourceArn::parse(arn).unwrap();
            let error = PortError {
                operation: operation.to_owned(),
                fault: Fault::Denied,
                source: "AccessDenied".into(),
            };
            denied_source(source.arn(), source.kind(), &error).message
        };
        for (operation, call) in [
            ("GetQueueAttributes of queue jobs", "GetQueueAttributes"),
            ("GetQueueUrl of queue jobs", "GetQueueUrl"),
            ("checking", "ReceiveMessage"),
        ] {
            let text = text_of(QUEUE, operation);
            assert!(text.contains(&format!("to call {call} on SQS")), "{text}");
        }
        let text = text_of(STREAM, "DescribeStreamSummary of stream s");
        assert!(text.contains("kinesis:DescribeStreamSummary"), "{text}");
        let text = text_of(STREAM, "looking it up");
        assert!(text.ends_with("in IAM."), "{text}");
    }

    #[test]
    fn a_role_that_cannot_be_assumed_is_named() {
        let why = "AssumeRole of arn:aws:iam::000000000000:role/reader failed (Denied)";
        for arn in [QUEUE, STREAM] {
            let source = SourceArn::parse(arn).unwrap();
            let error = PortError {
                operation: "GetQueueUrl of queue jobs".to_owned(),
                fault: Fault::Denied,
                source: RoleDenied(why.to_owned()).into(),
            };
            let text = denied_source(source.arn(), source.kind(), &error).message;
            let end = format!(" The role cannot be assumed: {why}.");
            assert!(text.ends_with(&end), "{text}");
        }
    }

    /// Answers by the name of the resource.
    struct FakePermissions;

    #[async_trait]
    impl ResourceLookup for FakePermissions {
        fn needed_calls(&self, _: &Mapping, _: &QueueDefaults) -> Vec<NeededCall> {
            unreachable!("they are given")
        }

        async fn permission(&self, call: &NeededCall) -> Permission {
            let error = |fault| PortError {
                operation: format!("{} of {}", call.action, call.resource),
                fault,
                source: "no answer".into(),
            };
            match call.resource.resource() {
                "silent" => std::future::pending().await,
                "denied" => Permission::Denied(error(Fault::Denied)),
                "throttled" => Permission::Unknown(error(Fault::Throttled { retry_after: None })),
                "elsewhere" => Permission::Untried("its endpoint is not AWS's"),
                _ => Permission::NotDenied,
            }
        }

        async fn function(&self, _: &FunctionName) -> Result<FunctionLookup, PortError> {
            unreachable!("only permissions are asked for")
        }

        async fn source(&self, _: &SourceArn) -> Result<Option<Timestamp>, PortError> {
            unreachable!("only permissions are asked for")
        }

        async fn shards(&self, _: &SourceArn) -> Result<Vec<Shard>, PortError> {
            unreachable!("only permissions are asked for")
        }

        async fn is_of_shard(
            &self,
            _: &SourceArn,
            _: &ShardId,
            _: &SequenceNumber,
        ) -> Result<bool, PortError> {
            unreachable!("only permissions are asked for")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_denial_refuses_and_the_first_one_is_named() {
        const ACTIONS: [&str; 3] = ["sqs:DeleteMessage", "sqs:SendMessage", "sns:Publish"];
        let lookup: Arc<dyn ResourceLookup> = Arc::new(FakePermissions);
        let source = SourceArn::parse(QUEUE).unwrap();
        for (names, refused) in [
            (["a", "b", "c"], None),
            (["silent", "throttled", "elsewhere"], None),
            (["silent", "denied", "denied"], Some("SendMessage")),
            (["a", "throttled", "denied"], Some("Publish")),
        ] {
            let calls = ACTIONS
                .into_iter()
                .zip(names)
                .map(|(action, name)| NeededCall {
                    action,
                    resource: Arn::parse(&format!("arn:aws:sqs:us-east-1:000000000000:{name}"))
                        .unwrap(),
                    is_optional: false,
                });
            let started = Instant::now();
            let checked = check(&lookup, &source, calls.collect()).await;
            assert!(
                started.elapsed() <= TIMEOUT + Duration::from_millis(10),
                "{names:?}"
            );
            match (checked, refused) {
                (Ok(()), None) => {}
                (Err(error), Some(call)) => assert!(error.message.contains(call), "{error:?}"),
                (checked, _) => panic!("{names:?}: {checked:?}"),
            }
        }
    }

    #[test]
    fn a_denied_call_is_reported_in_the_words_of_aws() {
        for (source, action, says) in [
            (
                QUEUE,
                "sqs:DeleteMessage",
                "permissions to call DeleteMessage on SQS",
            ),
            (
                STREAM,
                "sqs:SendMessage",
                "permissions to call SendMessage on SQS",
            ),
            (STREAM, "sns:Publish", "permissions to call Publish on SNS"),
            (
                STREAM,
                "s3:PutObject",
                "permissions to call PutObject on S3",
            ),
            (
                QUEUE,
                "lambda:InvokeFunction",
                "permissions to call InvokeFunction on Lambda",
            ),
            (
                STREAM,
                "kinesis:GetRecords",
                "Actions on your stream in IAM.",
            ),
            (
                STREAM,
                "kinesis:SubscribeToShard",
                "The denied action is kinesis:SubscribeToShard.",
            ),
        ] {
            let text = denied(&SourceArn::parse(source).unwrap(), action);
            assert!(text.ends_with(says), "{text}");
        }
    }
}
