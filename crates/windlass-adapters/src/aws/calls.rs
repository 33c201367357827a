//! Every call of AWS that windlass makes, with the permission that it needs.
//!
//! The clients of the SDK are wrapped in types that have the calls of this table only: a call that is
//! not in it does not compile.

use super::Service;

/// What the permission for a call is granted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Stream,
    /// A consumer of a stream, with enhanced fan-out.
    Consumer,
    /// The stream of a table.
    TableStream,
    Queue,
    Topic,
    Bucket,
    /// The objects of a bucket.
    Object,
    Function,
    Role,
}

#[derive(Clone, Copy)]
struct Row {
    service: Service,
    operation: &'static str,
    action: &'static str,
    resource: Resource,
}

/// A row is the call, its operation in the SDK, its action in policies, and what that is granted on.
macro_rules! calls {
    ($($client:ident of $sdk:ident {
        $($call:ident: $method:ident -> $operation:ident, $builder:ident;
            $action:literal on $resource:ident;)*
    })*) => {
        /// A call of a service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Call {
            $($($call,)*)*
        }

        impl Call {
            pub const ALL: &[Self] = &[$($(Self::$call,)*)*];

            const fn row(self) -> Row {
                match self {
                    $($(Self::$call => Row {
                        service: Service::$client,
                        operation: stringify!($operation),
                        action: $action,
                        resource: Resource::$resource,
                    },)*)*
                }
            }
        }

        $(
            /// A client that makes the calls of the table.
            #[derive(Clone, Debug)]
            pub struct $client($sdk::Client);

            impl $client {
                #[expect(clippy::disallowed_methods, reason = "the only place that may")]
                pub(crate) fn new(config: $sdk::Config) -> Self {
                    Self($sdk::Client::from_conf(config))
                }

                $(pub(crate) fn $method(&self) -> $sdk::operation::$method::builders::$builder {
                    self.0.$method()
                })*

                #[cfg(test)]
                pub(super) fn region(&self) -> Option<&str> {
                    self.0.config().region().map(AsRef::as_ref)
                }
            }
        )*

        /// Names in the SDK of the operations of all calls.
        #[cfg(test)]
        const IN_THE_SDK: &[(Call, &str, &str)] =
            &[$($((Call::$call, stringify!($method), stringify!($builder)),)*)*];
    };
}

// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
calls! {
    Kinesis of aws_sdk_kinesis {
        KinesisDescribeStreamSummary:
            describe_stream_summary -> DescribeStreamSummary, DescribeStreamSummaryFluentBuilder;
            "kinesis:DescribeStreamSummary" on Stream;
        KinesisListShards:
            list_shards -> ListShards, ListShardsFluentBuilder;
            "kinesis:ListShards" on Stream;
        KinesisGetShardIterator:
            get_shard_iterator -> GetShardIterator, GetShardIteratorFluentBuilder;
            "kinesis:GetShardIterator" on Stream;
        KinesisGetRecords:
            get_records -> GetRecords, GetRecordsFluentBuilder;
            "kinesis:GetRecords" on Stream;
        KinesisDescribeStreamConsumer:
            describe_stream_consumer -> DescribeStreamConsumer, DescribeStreamConsumerFluentBuilder;
            "kinesis:DescribeStreamConsumer" on Consumer;
        KinesisSubscribeToShard:
            subscribe_to_shard -> SubscribeToShard, SubscribeToShardFluentBuilder;
            "kinesis:SubscribeToShard" on Consumer;
    }
    DynamoDbStreams of aws_sdk_dynamodbstreams {
        DynamoDbDescribeStream:
            describe_stream -> DescribeStream, DescribeStreamFluentBuilder;
            "dynamodb:DescribeStream" on TableStream;
        DynamoDbGetShardIterator:
            get_shard_iterator -> GetShardIterator, GetShardIteratorFluentBuilder;
            "dynamodb:GetShardIterator" on TableStream;
        DynamoDbGetRecords:
            get_records -> GetRecords, GetRecordsFluentBuilder;
            "dynamodb:GetRecords" on TableStream;
    }
    Sqs of aws_sdk_sqs {
        SqsGetQueueUrl:
            get_queue_url -> GetQueueUrl, GetQueueUrlFluentBuilder;
            "sqs:GetQueueUrl" on Queue;
        SqsGetQueueAttributes:
            get_queue_attributes -> GetQueueAttributes, GetQueueAttributesFluentBuilder;
            "sqs:GetQueueAttributes" on Queue;
        SqsReceiveMessage:
            receive_message -> ReceiveMessage, ReceiveMessageFluentBuilder;
            "sqs:ReceiveMessage" on Queue;
        SqsDeleteMessageBatch:
            delete_message_batch -> DeleteMessageBatch, DeleteMessageBatchFluentBuilder;
            "sqs:DeleteMessage" on Queue;
        SqsChangeMessageVisibilityBatch:
            change_message_visibility_batch
                -> ChangeMessageVisibilityBatch, ChangeMessageVisibilityBatchFluentBuilder;
            "sqs:ChangeMessageVisibility" on Queue;
        SqsSendMessage:
            send_message -> SendMessage, SendMessageFluentBuilder;
            "sqs:SendMessage" on Queue;
    }
    Sns of aws_sdk_sns {
        SnsPublish:
            publish -> Publish, PublishFluentBuilder;
            "sns:Publish" on Topic;
        SnsGetTopicAttributes:
            get_topic_attributes -> GetTopicAttributes, GetTopicAttributesFluentBuilder;
            "sns:GetTopicAttributes" on Topic;
    }
    S3 of aws_sdk_s3 {
        S3ListObjectsV2:
            list_objects_v2 -> ListObjectsV2, ListObjectsV2FluentBuilder;
            "s3:ListBucket" on Bucket;
        S3GetObject:
            get_object -> GetObject, GetObjectFluentBuilder;
            "s3:GetObject" on Object;
        S3PutObject:
            put_object -> PutObject, PutObjectFluentBuilder;
            "s3:PutObject" on Object;
        S3DeleteObject:
            delete_object -> DeleteObject, DeleteObjectFluentBuilder;
            "s3:DeleteObject" on Object;
    }
    Lambda of aws_sdk_lambda {
        LambdaGetFunctionConfiguration:
            get_function_configuration
                -> GetFunctionConfiguration, GetFunctionConfigurationFluentBuilder;
            "lambda:GetFunctionConfiguration" on Function;
        LambdaInvoke:
            invoke -> Invoke, InvokeFluentBuilder;
            "lambda:InvokeFunction" on Function;
    }
    Sts of aws_sdk_sts {
        StsAssumeRole:
            assume_role -> AssumeRole, AssumeRoleFluentBuilder;
            "sts:AssumeRole" on Role;
        StsGetCallerIdentity:
            get_caller_identity -> GetCallerIdentity, GetCallerIdentityFluentBuilder;
            "sts:GetCallerIdentity" on Role;
    }
}

impl Call {
    /// The call of a request of the SDK, which names its service and its operation.
    pub(super) fn find(service_id: &str, operation: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|call| call.service().sdk_id() == service_id && call.operation() == operation)
    }

    pub const fn service(self) -> Service {
        self.row().service
    }

    /// As errors and the documents of AWS name it: `DeleteMessageBatch`.
    pub const fn operation(self) -> &'static str {
        self.row().operation
    }

    /// The permission that it needs, as policies spell it: `sqs:DeleteMessage`.
    pub const fn action(self) -> &'static str {
        self.row().action
    }

    pub const fn resource(self) -> Resource {
        self.row().resource
    }
}

/// What resources of AWS are used for. A mapping has several uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// A mapping, a replay or a seek reads a stream of Kinesis with shared throughput.
    ReadStream,
    /// A mapping reads a stream of Kinesis with enhanced fan-out. A replay of it is a `ReadStream`.
    SubscribeToStream,
    ReadTableStream,
    ReadQueue,
    SendToQueue,
    PublishToTopic,
    PutIntoBucket,
    InvokeFunction,
    /// A redrive reads messages or failure documents from a queue.
    RedriveFromQueue,
    /// A redrive sends messages to the queue that they come from.
    RedriveToQueue,
    /// A redrive reads failure documents from a bucket.
    RedriveFromBucket,
    AssumeRole,
}

impl Use {
    pub const ALL: [Self; 12] = [
        Self::ReadStream,
        Self::SubscribeToStream,
        Self::ReadTableStream,
        Self::ReadQueue,
        Self::SendToQueue,
        Self::PublishToTopic,
        Self::PutIntoBucket,
        Self::InvokeFunction,
        Self::RedriveFromQueue,
        Self::RedriveToQueue,
        Self::RedriveFromBucket,
        Self::AssumeRole,
    ];

    /// The calls that it makes at AWS. Other servers are asked for the URL of a queue, too.
    pub const fn calls(self) -> &'static [Call] {
        match self {
            Self::ReadStream => &[
                Call::KinesisDescribeStreamSummary,
                Call::KinesisListShards,
                Call::KinesisGetShardIterator,
                Call::KinesisGetRecords,
            ],
            Self::SubscribeToStream => &[
                Call::KinesisDescribeStreamSummary,
                Call::KinesisListShards,
                Call::KinesisDescribeStreamConsumer,
                Call::KinesisSubscribeToShard,
            ],
            Self::ReadTableStream => &[
                Call::DynamoDbDescribeStream,
                Call::DynamoDbGetShardIterator,
                Call::DynamoDbGetRecords,
            ],
            Self::ReadQueue | Self::RedriveFromQueue => &[
                Call::SqsGetQueueAttributes,
                Call::SqsReceiveMessage,
                Call::SqsDeleteMessageBatch,
                Call::SqsChangeMessageVisibilityBatch,
            ],
            Self::SendToQueue => &[Call::SqsSendMessage],
            Self::PublishToTopic => &[Call::SnsPublish],
            Self::PutIntoBucket => &[Call::S3PutObject],
            Self::InvokeFunction => &[Call::LambdaInvoke, Call::LambdaGetFunctionConfiguration],
            Self::RedriveToQueue => &[Call::SqsGetQueueAttributes, Call::SqsSendMessage],
            Self::RedriveFromBucket => &[
                Call::S3ListObjectsV2,
                Call::S3GetObject,
                Call::S3DeleteObject,
            ],
            Self::AssumeRole => &[Call::StsAssumeRole],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `DescribeStream` of `describe_stream`.
    fn camel_case(method: &str) -> String {
        let words = method
            .split('_')
            .filter_map(|word| word.split_at_checked(1));
        let words = words.map(|(first, rest)| first.to_ascii_uppercase() + rest);
        words.collect()
    }

    #[test]
    fn each_row_names_the_operation_of_its_method() {
        for (call, method, builder) in IN_THE_SDK {
            let operation = call.operation();
            assert_eq!(camel_case(method), operation, "{call:?}");
            assert_eq!(*builder, format!("{operation}FluentBuilder"), "{call:?}");
            let found = Call::find(call.service().sdk_id(), operation);
            assert_eq!(found, Some(*call));
        }
        assert_eq!(Call::find("SQS", "CreateQueue"), None);
    }

    #[test]
    fn every_call_has_a_use() {
        let used: BTreeSet<Call> = Use::ALL.iter().flat_map(|it| it.calls()).copied().collect();
        let mut expected: BTreeSet<Call> = Call::ALL.iter().copied().collect();
        // At AWS the URL is made from the ARN.
        expected.remove(&Call::SqsGetQueueUrl);
        // Only of other servers: at AWS the permission to publish is checked.
        expected.remove(&Call::SnsGetTopicAttributes);
        // It needs no permission.
        expected.remove(&Call::StsGetCallerIdentity);
        assert_eq!(used, expected);
    }
}
