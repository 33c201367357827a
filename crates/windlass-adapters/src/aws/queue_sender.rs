//! Sends messages to a queue of SQS as they were when they were sent first.

use async_trait::async_trait;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    QueueAttributeName,
};
use aws_smithy_types::Blob;
use serde::Deserialize;
use tokio::sync::OnceCell;
use uuid::Uuid;
use windlass_core::arn::Arn;
use windlass_core::redrive::{AttributeValue, OutgoingMessage};
use windlass_engine::ports::{PortError, QueueSender};

use super::AwsClients;
use super::fault::unusable_response;
use super::sqs::{failed, operation_on, queue_url};

#[derive(Debug)]
pub struct SqsSender {
    clients: AwsClients,
    queue: Arn,
    url: OnceCell<String>,
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue.html>
#[derive(Deserialize)]
struct RedrivePolicy {
    #[serde(rename = "deadLetterTargetArn")]
    dead_letter_queue: String,
}

impl SqsSender {
    pub fn new(clients: &AwsClients, queue: &Arn) -> Self {
        Self {
            clients: clients.clone(),
            queue: queue.clone(),
            url: OnceCell::new(),
        }
    }

    async fn url(&self) -> Result<&str, PortError> {
        let url = self
            .url
            .get_or_try_init(|| queue_url(&self.clients, &self.queue));
        Ok(url.await?)
    }

    fn is_fifo(&self) -> bool {
        self.queue.resource().ends_with(".fifo")
    }
}

#[async_trait]
impl QueueSender for SqsSender {
    async fn dead_letter_queue(&self) -> Result<Option<Arn>, PortError> {
        const CALL: &str = "GetQueueAttributes";
        let call = self.clients.sqs.get_queue_attributes();
        let call = call.queue_url(self.url().await?);
        let call = call.attribute_names(QueueAttributeName::All);
        let response = call.send().await;
        let response = response.map_err(|error| failed(&self.queue, CALL, error))?;
        let attributes = response.attributes.unwrap_or_default();
        let policy = attributes.get(&QueueAttributeName::RedrivePolicy);
        let Some(policy) = policy.filter(|policy| !policy.trim().is_empty()) else {
            return Ok(None);
        };
        let unusable = |cause: windlass_engine::ports::BoxError| {
            unusable_response(operation_on(&self.queue, CALL), cause)
        };
        let policy: RedrivePolicy =
            serde_json::from_str(policy).map_err(|error| unusable(error.into()))?;
        let arn = Arn::parse(&policy.dead_letter_queue);
        Ok(Some(arn.map_err(|error| unusable(error.into()))?))
    }

    async fn send(&self, message: &OutgoingMessage, new_id: bool) -> Result<(), PortError> {
        let call = self.clients.sqs.send_message();
        let mut call = call
            .queue_url(self.url().await?)
            .message_body(&message.body);
        for (name, value) in &message.attributes {
            let value = attribute(value).map_err(|cause| {
                unusable_response(operation_on(&self.queue, "SendMessage"), cause)
            })?;
            call = call.message_attributes(name, value);
        }
        if let Some(header) = &message.trace_header {
            let value = MessageSystemAttributeValue::builder()
                .data_type("String")
                .string_value(header);
            let value = value.build().expect("the type is set");
            let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
            call = call.message_system_attributes(name, value);
        }
        call = call.set_message_group_id(message.group.clone());
        if self.is_fifo() {
            let new = || Some(Uuid::new_v4().to_string());
            let id = if new_id {
                new()
            } else {
                message.deduplication_id.clone()
            };
            call = call.set_message_deduplication_id(id);
        }
        let response = call.send().await;
        response.map_err(|error| failed(&self.queue, "SendMessage", error))?;
        Ok(())
    }

    fn clock_difference(&self) -> Option<i64> {
        self.clients.sqs_clock.difference()
    }
}

fn attribute(value: &AttributeValue) -> Result<MessageAttributeValue, &'static str> {
    let binary = value.binary_value.as_deref().map(|text| {
        let bytes = base64_simd::STANDARD.decode_to_vec(text);
        bytes
            .map(Blob::new)
            .map_err(|_| "an attribute is not base64")
    });
    let built = MessageAttributeValue::builder()
        .data_type(&value.data_type)
        .set_string_value(value.string_value.clone())
        .set_binary_value(binary.transpose()?)
        .build();
    built.map_err(|_| "an attribute has no type")
}
