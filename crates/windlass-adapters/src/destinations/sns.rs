//! Standard topics of SNS.

use async_trait::async_trait;
use aws_sdk_sns::types::MessageAttributeValue;
use windlass_core::failure::DestinationArn;
use windlass_engine::ports::{Destination, Failure, PortError};

use super::document::{DocumentTemplate, Payload, REPLAY_ATTRIBUTE};
use crate::aws::fault::port_error;
use crate::aws::{AwsClients, Sns};

#[derive(Debug)]
pub(super) struct SnsDestination {
    client: Sns,
    topic: DestinationArn,
    template: DocumentTemplate,
}

impl SnsDestination {
    pub(super) fn new(
        clients: &AwsClients,
        topic: &DestinationArn,
        template: DocumentTemplate,
    ) -> Self {
        Self {
            client: clients.sns.clone(),
            topic: topic.clone(),
            template,
        }
    }
}

#[async_trait]
impl Destination for SnsDestination {
    /// The message has no subject, and of a mapping no attributes, as AWS's has none.
    async fn deliver(&self, failure: &Failure) -> Result<(), PortError> {
        let document = self.template.render(failure, Payload::Metadata);
        let mut call = self.client.publish().topic_arn(self.topic.arn().as_str());
        if let Some(replay) = self.template.replay() {
            let value = MessageAttributeValue::builder().data_type("String");
            let value = value.string_value(replay.as_str()).build();
            let value = value.expect("the type is set");
            call = call.message_attributes(REPLAY_ATTRIBUTE, value);
        }
        let sent = call.message(document).send().await;
        sent.map_err(|error| port_error(format!("Publish to topic {}", self.topic.name()), error))?;
        Ok(())
    }
}
