//! Which calls the mappings of the exchanges need, and which of them are denied.

use windlass_core::arn::{Arn, StreamKind};
use windlass_core::failure::DestinationKind;
use windlass_core::mapping::{Mapping, Source};
use windlass_core::outcome::Fault;
use windlass_engine::ports::{NeededCall, Permission};

use crate::error;

/// One of each resource.
pub(crate) fn needed_calls(mapping: &Mapping) -> Vec<NeededCall> {
    let mut calls = vec![call("lambda:InvokeFunction", &mapping.function)];
    match &mapping.source {
        Source::Stream(stream) => {
            calls.push(match stream.kind {
                StreamKind::Kinesis => call("kinesis:ListShards", &stream.arn),
                StreamKind::DynamoDbStreams => call("dynamodb:GetRecords", &stream.arn),
            });
            let consumer = stream.consumer.iter();
            calls.extend(consumer.map(|it| call("kinesis:SubscribeToShard", it)));
            let destination = stream.settings.on_failure.iter();
            calls.extend(destination.map(|it| {
                let action = match it.kind() {
                    DestinationKind::Queue => "sqs:SendMessage",
                    DestinationKind::Topic => "sns:Publish",
                    DestinationKind::Bucket => "s3:PutObject",
                };
                call(action, it.arn())
            }));
        }
        Source::Queue(queue) => calls.push(call("sqs:DeleteMessage", &queue.arn)),
    }
    calls
}

fn call(action: &'static str, resource: &Arn) -> NeededCall {
    NeededCall {
        action,
        resource: resource.clone(),
        is_optional: false,
    }
}

pub(crate) fn permission(call: &NeededCall) -> Permission {
    let resource = call.resource.as_str();
    if resource.contains("forbidden") {
        Permission::Denied(error(call.action, Fault::Denied))
    } else if resource.contains("throttled") {
        Permission::Unknown(error(call.action, Fault::Throttled { retry_after: None }))
    } else {
        Permission::NotDenied
    }
}
