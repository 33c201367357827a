//! Buckets of S3: one object for each failure, with the event of the invocation.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::timeout::TimeoutConfig;
use tokio::sync::Semaphore;
use windlass_core::failure::DestinationArn;
use windlass_engine::ports::{Destination, Failure, PortError};

use super::document::{DocumentTemplate, Payload, REPLAY_ATTRIBUTE};
use crate::aws::fault::port_error;
use crate::aws::{AwsClients, S3};

/// Limit of one attempt: an object may have the events of a whole batch, 6 MiB before they are
/// escaped.
const PUT_TIMEOUT: Duration = Duration::from_secs(60);

/// Objects of one mapping that are in memory at a time, each with a copy of its batch: all shards
/// of a stream may give up batches at once.
const MAX_CONCURRENT_PUTS: usize = 4;

#[derive(Debug)]
pub(super) struct S3Destination {
    client: S3,
    bucket: DestinationArn,
    template: DocumentTemplate,
    puts: Semaphore,
}

impl S3Destination {
    pub(super) fn new(
        clients: &AwsClients,
        bucket: &DestinationArn,
        template: DocumentTemplate,
    ) -> Self {
        Self {
            client: clients.s3.clone(),
            bucket: bucket.clone(),
            template,
            puts: Semaphore::new(MAX_CONCURRENT_PUTS),
        }
    }
}

#[async_trait]
impl Destination for S3Destination {
    async fn deliver(&self, failure: &Failure) -> Result<(), PortError> {
        let permit = self.puts.acquire().await;
        let _permit = permit.expect("the semaphore is never closed");
        let document = self.template.render(failure, Payload::Event);
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(PUT_TIMEOUT);
        let config = aws_sdk_s3::config::Builder::new().timeout_config(timeouts.build());
        let call = self.client.put_object().bucket(self.bucket.name());
        let call = call.key(self.template.key(failure));
        let call = call.content_type("application/json");
        let replay = self.template.replay();
        let call = call.set_metadata(
            replay.map(|replay| HashMap::from([(REPLAY_ATTRIBUTE.to_owned(), replay.to_string())])),
        );
        let call = call.body(ByteStream::from(document.into_bytes()));
        let sent = call.customize().config_override(config).send().await;
        sent.map_err(|error| {
            let operation = format!("PutObject to bucket {}", self.bucket.name());
            port_error(operation, error)
        })?;
        Ok(())
    }
}
