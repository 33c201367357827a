//! Standard queues of SQS.

use async_trait::async_trait;
use aws_sdk_sqs::types::MessageAttributeValue;
use tokio::sync::OnceCell;
use windlass_core::failure::DestinationArn;
use windlass_engine::ports::{Destination, Failure, PortError};

use super::document::{DocumentTemplate, Payload, REPLAY_ATTRIBUTE};
use crate::aws::AwsClients;
use crate::aws::fault::port_error;
use crate::aws::sqs::queue_url;

#[derive(Debug)]
pub(super) struct SqsDestination {
    clients: AwsClients,
    queue: DestinationArn,
    url: OnceCell<String>,
    template: DocumentTemplate,
}

impl SqsDestination {
    pub(super) fn new(
        clients: &AwsClients,
        queue: &DestinationArn,
        template: DocumentTemplate,
    ) -> Self {
        Self {
            clients: clients.clone(),
            queue: queue.clone(),
            url: OnceCell::new(),
            template,
        }
    }
}

#[async_trait]
impl Destination for SqsDestination {
    async fn deliver(&self, failure: &Failure) -> Result<(), PortError> {
        let url = queue_url(&self.clients, self.queue.arn());
        let url = self.url.get_or_try_init(|| url).await?;
        let document = self.template.render(failure, Payload::Metadata);
        let mut call = self.clients.sqs.send_message().queue_url(url);
        if let Some(replay) = self.template.replay() {
            let value = MessageAttributeValue::builder().data_type("String");
            let value = value.string_value(replay.as_str()).build();
            let value = value.expect("the type is set");
            call = call.message_attributes(REPLAY_ATTRIBUTE, value);
        }
        let sent = call.message_body(document).send().await;
        sent.map_err(|error| {
            let operation = format!("SendMessage to queue {}", self.queue.name());
            port_error(operation, error)
        })?;
        Ok(())
    }
}
