//! Whether the calls that a mapping needs are permitted, found out without an effect.
//!
//! Lambda has a dry run for that. Of the other services a call is made that they must refuse, for a
//! shard that does not exist or without a message: if the permission is missing, AWS says so first.
//! Where it looks at the request first after all, the answer says nothing about the permission, and
//! nothing is concluded from it.
//!
//! Only AWS's own endpoints are called: other servers check no permissions, and may do what AWS refuses.

use std::error::Error;

use aws_sdk_dynamodbstreams::types as dynamodb;
use aws_sdk_kinesis::types as kinesis;
use aws_sdk_lambda::types::InvocationType;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sqs::types as sqs;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use windlass_core::arn::{Arn, StreamKind};
use windlass_core::failure::{DestinationArn, DestinationKind};
use windlass_core::mapping::{Mapping, QueueSource, Source, StreamSource};
use windlass_core::outcome::Fault;
use windlass_engine::ports::{NeededCall, Permission, PortError, QueueDefaults};

use super::calls::{Call, Resource, Use};
use super::fault::{fault_of_code, is_forbidden, port_error};
use super::sqs::{exists as queue_exists, url_at_aws};
use super::{AwsClients, ServerClock, Service};

/// A shard that no stream has: shards of Kinesis are numbered from 0, those of a table's stream have
/// the time of their creation in their names.
const NO_SHARD_OF_KINESIS: &str = "shardId-999999999999";
const NO_SHARD_OF_DYNAMODB: &str = "shardId-00000000000000000000-00000000";

/// An iterator that no service has given.
const NO_ITERATOR: &str = "windlass-permission-check";

/// A receipt handle that no message has.
const NO_RECEIPT: &str = "windlass-permission-check";

/// Below the prefix of the documents: policies may admit no other keys.
const KEY: &str = "aws/lambda/windlass-permission-check";

/// The MD5 of nothing, in base64: an object with any content is refused because of it.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
const MD5_OF_NOTHING: &str = "1B2M2Y8AsgTpgAmY7PhCfg==";

const OTHER_ENDPOINT: &str = "its endpoint is not AWS's";
const TAKES_MESSAGES: &str = "trying it could take messages";
const NOT_NEEDED: &str = "looking up the source or the function shows it";

/// The calls of a mapping's source and destination, apart from those by which a source is looked up.
pub(crate) fn needed_calls(mapping: &Mapping, queues: &QueueDefaults) -> Vec<NeededCall> {
    match &mapping.source {
        Source::Stream(stream) => {
            let destination = stream.settings.on_failure.iter().flat_map(of_destination);
            of_stream(stream).into_iter().chain(destination).collect()
        }
        Source::Queue(queue) => of_queue(queue, queues),
    }
}

/// To invoke a function of AWS Lambda. A mapping works if it may not be looked up.
pub(crate) fn to_invoke(function: &Arn) -> NeededCall {
    needed(Call::LambdaInvoke, function, false)
}

fn needed(call: Call, resource: &Arn, is_optional: bool) -> NeededCall {
    NeededCall {
        action: call.action(),
        resource: resource.clone(),
        is_optional,
    }
}

fn of_stream(stream: &StreamSource) -> Vec<NeededCall> {
    let (purpose, looked_up_by) = match (&stream.consumer, stream.kind) {
        (Some(_), _) => (Use::SubscribeToStream, Call::KinesisDescribeStreamConsumer),
        (None, StreamKind::Kinesis) => (Use::ReadStream, Call::KinesisDescribeStreamSummary),
        (None, StreamKind::DynamoDbStreams) => (Use::ReadTableStream, Call::DynamoDbDescribeStream),
    };
    let calls = purpose.calls().iter().filter(|it| **it != looked_up_by);
    let calls = calls.map(|call| {
        let consumer = stream.consumer.as_ref();
        let consumer = consumer.filter(|_| call.resource() == Resource::Consumer);
        // Only the age of the oldest record is read from it.
        let is_optional = *call == Call::KinesisDescribeStreamSummary;
        needed(*call, consumer.unwrap_or(&stream.arn), is_optional)
    });
    calls.collect()
}

/// Delays of failed messages cannot be set without changing their visibility. Where only the heartbeat
/// is refused, a batch is invoked at once, before its messages become visible again.
fn of_queue(queue: &QueueSource, queues: &QueueDefaults) -> Vec<NeededCall> {
    let backoff = queue.retry_backoff.resolve(queues.retry_backoff);
    let calls = Use::ReadQueue.calls().iter();
    let is_visibility = |call: &Call| *call == Call::SqsChangeMessageVisibilityBatch;
    let is_made = |call: &Call| {
        let changes = backoff.is_some() || queues.visibility_heartbeat;
        *call != Call::SqsGetQueueAttributes && (changes || !is_visibility(call))
    };
    let calls = calls.filter(|call| is_made(call));
    let calls =
        calls.map(|call| needed(*call, &queue.arn, is_visibility(call) && backoff.is_none()));
    calls.collect()
}

fn of_destination(destination: &DestinationArn) -> impl Iterator<Item = NeededCall> {
    let purpose = match destination.kind() {
        DestinationKind::Queue => Use::SendToQueue,
        DestinationKind::Topic => Use::PublishToTopic,
        DestinationKind::Bucket => Use::PutIntoBucket,
    };
    let calls = purpose.calls().iter();
    calls.map(|call| needed(*call, destination.arn(), false))
}

/// Whether a call is permitted. `clients`: of the region of the resource.
pub(crate) async fn permission(clients: &AwsClients, needed: &NeededCall) -> Permission {
    let mut calls = Call::ALL.iter().copied();
    let Some(call) = calls.find(|call| call.action() == needed.action) else {
        return Permission::Untried(NOT_NEEDED);
    };
    if clients.is_custom(call.service()) {
        return Permission::Untried(OTHER_ENDPOINT);
    }
    let check = Check {
        clients,
        call,
        resource: &needed.resource,
    };
    match call {
        Call::KinesisDescribeStreamSummary => check.describe_stream_summary().await,
        Call::KinesisListShards => check.list_shards().await,
        Call::KinesisGetShardIterator => check.iterator_of_kinesis().await,
        Call::KinesisGetRecords => check.records_of_kinesis().await,
        Call::KinesisSubscribeToShard => check.subscribe_to_shard().await,
        Call::DynamoDbGetShardIterator => check.iterator_of_dynamodb().await,
        Call::DynamoDbGetRecords => check.records_of_dynamodb().await,
        Call::SqsReceiveMessage => Permission::Untried(TAKES_MESSAGES),
        Call::SqsDeleteMessageBatch => check.delete_message().await,
        Call::SqsChangeMessageVisibilityBatch => check.change_visibility().await,
        Call::SqsSendMessage => check.send_message().await,
        Call::SnsPublish => check.publish().await,
        Call::S3PutObject => check.put_object().await,
        Call::LambdaInvoke => check.invoke().await,
        Call::KinesisDescribeStreamConsumer
        | Call::DynamoDbDescribeStream
        | Call::SqsGetQueueUrl
        | Call::SqsGetQueueAttributes
        | Call::SnsGetTopicAttributes
        | Call::S3ListObjectsV2
        | Call::S3GetObject
        | Call::S3DeleteObject
        | Call::LambdaGetFunctionConfiguration
        | Call::StsAssumeRole
        | Call::StsGetCallerIdentity => Permission::Untried(NOT_NEEDED),
    }
}

/// Whether a destination exists, at another endpoint than AWS's; `None` at AWS, where that may need
/// permissions that deliveries do not.
pub(crate) async fn look_up_destination(
    clients: &AwsClients,
    destination: &DestinationArn,
) -> Option<Result<(), PortError>> {
    let (arn, name) = (destination.arn(), destination.name());
    Some(match destination.kind() {
        DestinationKind::Queue if clients.is_custom(Service::Sqs) => {
            queue_exists(clients, arn, &ServerClock::default()).await
        }
        DestinationKind::Topic if clients.is_custom(Service::Sns) => {
            let call = clients.sns.get_topic_attributes().topic_arn(arn.as_str());
            let found = call.send().await.map(drop);
            found.map_err(|error| port_error(format!("GetTopicAttributes of topic {name}"), error))
        }
        DestinationKind::Bucket if clients.is_custom(Service::S3) => {
            let call = clients.s3.list_objects_v2().bucket(name).max_keys(1);
            let found = call.send().await.map(drop);
            found.map_err(|error| port_error(format!("ListObjectsV2 of bucket {name}"), error))
        }
        DestinationKind::Queue | DestinationKind::Topic | DestinationKind::Bucket => return None,
    })
}

/// One call of one resource.
struct Check<'a> {
    clients: &'a AwsClients,
    call: Call,
    resource: &'a Arn,
}

impl Check<'_> {
    async fn describe_stream_summary(&self) -> Permission {
        let call = self.clients.kinesis.describe_stream_summary();
        self.judge(call.stream_arn(self.resource.as_str()).send().await)
    }

    async fn list_shards(&self) -> Permission {
        let call = self.clients.kinesis.list_shards();
        let call = call.stream_arn(self.resource.as_str()).max_results(1);
        self.judge(call.send().await)
    }

    async fn iterator_of_kinesis(&self) -> Permission {
        let call = self.clients.kinesis.get_shard_iterator();
        let call = call.stream_arn(self.resource.as_str());
        let call = call.shard_id(NO_SHARD_OF_KINESIS);
        let call = call.shard_iterator_type(kinesis::ShardIteratorType::Latest);
        self.judge(call.send().await)
    }

    async fn records_of_kinesis(&self) -> Permission {
        let call = self.clients.kinesis.get_records();
        let call = call.stream_arn(self.resource.as_str());
        self.judge(call.shard_iterator(NO_ITERATOR).limit(1).send().await)
    }

    async fn subscribe_to_shard(&self) -> Permission {
        let start = kinesis::StartingPosition::builder();
        let start = start.r#type(kinesis::ShardIteratorType::Latest).build();
        let start = start.expect("the type is set");
        let call = self.clients.kinesis.subscribe_to_shard();
        let call = call.consumer_arn(self.resource.as_str());
        let call = call.shard_id(NO_SHARD_OF_KINESIS).starting_position(start);
        self.judge(call.send().await)
    }

    async fn iterator_of_dynamodb(&self) -> Permission {
        let call = self.clients.dynamodb_streams.get_shard_iterator();
        let call = call.stream_arn(self.resource.as_str());
        let call = call.shard_id(NO_SHARD_OF_DYNAMODB);
        let call = call.shard_iterator_type(dynamodb::ShardIteratorType::Latest);
        self.judge(call.send().await)
    }

    /// Iterators begin with the ARN of their stream, which the call does not name otherwise.
    ///
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetShardIterator.html>
    async fn records_of_dynamodb(&self) -> Permission {
        let iterator = format!("{}|1|{NO_ITERATOR}", self.resource);
        let call = self.clients.dynamodb_streams.get_records();
        self.judge(call.shard_iterator(iterator).limit(1).send().await)
    }

    async fn delete_message(&self) -> Permission {
        let entry = sqs::DeleteMessageBatchRequestEntry::builder().id("0");
        let entry = entry.receipt_handle(NO_RECEIPT).build();
        let entry = entry.expect("id and handle are set");
        let call = self.clients.sqs.delete_message_batch();
        self.judge(
            call.queue_url(url_at_aws(self.resource))
                .entries(entry)
                .send()
                .await,
        )
    }

    async fn change_visibility(&self) -> Permission {
        let entry = sqs::ChangeMessageVisibilityBatchRequestEntry::builder().id("0");
        let entry = entry
            .receipt_handle(NO_RECEIPT)
            .visibility_timeout(0)
            .build();
        let entry = entry.expect("id and handle are set");
        let call = self.clients.sqs.change_message_visibility_batch();
        self.judge(
            call.queue_url(url_at_aws(self.resource))
                .entries(entry)
                .send()
                .await,
        )
    }

    async fn send_message(&self) -> Permission {
        let call = self.clients.sqs.send_message();
        let call = call.queue_url(url_at_aws(self.resource)).message_body("");
        self.judge(call.send().await)
    }

    async fn publish(&self) -> Permission {
        let call = self.clients.sns.publish();
        self.judge(
            call.topic_arn(self.resource.as_str())
                .message("")
                .send()
                .await,
        )
    }

    async fn put_object(&self) -> Permission {
        let call = self.clients.s3.put_object();
        let call = call.bucket(self.resource.resource()).key(KEY);
        let body = ByteStream::from_static(b"{}");
        self.judge(call.content_md5(MD5_OF_NOTHING).body(body).send().await)
    }

    async fn invoke(&self) -> Permission {
        let call = self.clients.lambda.invoke();
        let call = call.function_name(self.resource.as_str());
        self.judge(call.invocation_type(InvocationType::DryRun).send().await)
    }

    fn judge<T, E>(&self, result: Result<T, SdkError<E, HttpResponse>>) -> Permission
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let Err(error) = result else {
            return Permission::NotDenied;
        };
        let mut is_denied = false;
        if let SdkError::ServiceError(service) = &error {
            let (error, status) = (service.err(), service.raw().status().as_u16());
            let code = error.code().unwrap_or_default();
            if self.is_expected(code, status) {
                return Permission::NotDenied;
            }
            let message = error.message().unwrap_or_default();
            is_denied = is_forbidden(code) && is_about(message, self.resource);
        }
        let operation = format!("{} of {}", self.call.operation(), self.resource);
        let error = port_error(operation, error);
        match is_denied {
            true => Permission::Denied(error),
            false => Permission::Unknown(error),
        }
    }

    /// Whether AWS refuses the call for what is wrong with it on purpose.
    fn is_expected(&self, code: &str, status: u16) -> bool {
        let is_refused = status == 400 && fault_of_code(code, status) == Fault::Transient;
        // The stream has been looked up, so it is the shard that is not found.
        let has_shard = matches!(
            self.call,
            Call::KinesisGetShardIterator
                | Call::KinesisSubscribeToShard
                | Call::DynamoDbGetShardIterator
        );
        is_refused || has_shard && fault_of_code(code, status) == Fault::Gone
    }
}

/// Whether a denial is about this resource. `… is not authorized to perform: kinesis:GetRecords on
/// resource: ARN because …` names another one, or `*`, where AWS could not tell which is meant: the
/// permission may be granted on the resource all the same.
fn is_about(message: &str, resource: &Arn) -> bool {
    let Some((_, rest)) = message.split_once(" on resource: ") else {
        return true;
    };
    let named = rest.split_ascii_whitespace().next().unwrap_or_default();
    let named = named.trim_matches(|it| matches!(it, '"' | '\'' | '.' | ','));
    let resource = resource.as_str();
    // An object of the bucket; the function without its qualifier.
    !named.is_empty() && (named.starts_with(resource) || resource.starts_with(named))
}
