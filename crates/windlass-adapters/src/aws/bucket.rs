//! Buckets of S3 with on-failure documents.

use std::time::Duration;

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use windlass_engine::ports::{DocumentBucket, PortError};

use super::S3;
use super::fault::{port_error, unusable_response};

/// Limit of one attempt to get an object: it may have the event of a batch, 6 MiB before it is
/// escaped.
const GET_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct S3Bucket {
    client: S3,
    name: String,
}

impl S3Bucket {
    pub fn new(client: &S3, name: &str) -> Self {
        Self {
            client: client.clone(),
            name: name.to_owned(),
        }
    }

    fn operation(&self, call: &str) -> String {
        format!("{call} of bucket {}", self.name)
    }

    fn failed<E>(&self, call: &str, error: SdkError<E, HttpResponse>) -> PortError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        port_error(self.operation(call), error)
    }
}

#[async_trait]
impl DocumentBucket for S3Bucket {
    async fn keys(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, PortError> {
        let call = self.client.list_objects_v2().bucket(&self.name);
        let call = call
            .prefix(prefix)
            .set_start_after(after.map(str::to_owned));
        let response = call.send().await;
        let response = response.map_err(|error| self.failed("ListObjectsV2", error))?;
        let keys = response.contents.unwrap_or_default().into_iter();
        let keys: Vec<String> = keys.filter_map(|object| object.key).collect();
        // A server that does not know `start-after` would return the same keys for ever.
        let is_new = |key: &String| after.is_none_or(|after| after < key.as_str());
        if !keys.iter().all(is_new) {
            let operation = self.operation("ListObjectsV2");
            return Err(unusable_response(
                operation,
                "the keys are not those that follow",
            ));
        }
        Ok(keys)
    }

    async fn get(&self, key: &str) -> Result<Bytes, PortError> {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(GET_TIMEOUT);
        let config = aws_sdk_s3::config::Builder::new().timeout_config(timeouts.build());
        let call = self.client.get_object().bucket(&self.name).key(key);
        let response = call.customize().config_override(config).send().await;
        let response = response.map_err(|error| self.failed("GetObject", error))?;
        let body = tokio::time::timeout(GET_TIMEOUT, response.body.collect()).await;
        let unusable = |cause: windlass_engine::ports::BoxError| {
            unusable_response(self.operation("GetObject"), cause)
        };
        let body = body.map_err(|timeout| unusable(timeout.into()))?;
        Ok(body.map_err(|error| unusable(error.into()))?.into_bytes())
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        let call = self.client.delete_object().bucket(&self.name).key(key);
        let response = call.send().await;
        response.map_err(|error| self.failed("DeleteObject", error))?;
        Ok(())
    }
}
