//! On-failure destinations: where a mapping reports the records that it gives up.
//!
//! Each kind is a file that sends what [`DocumentTemplate`] renders.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>

mod document;
mod s3;
mod sns;
mod sqs;

pub(crate) use document::DocumentTemplate;

use std::sync::Arc;

use windlass_core::failure::{DestinationArn, DestinationKind};
use windlass_engine::ports::Destination;

use crate::aws::AwsClients;

/// `clients`: of the region of the destination.
pub(crate) fn new_destination(
    clients: &AwsClients,
    destination: &DestinationArn,
    template: DocumentTemplate,
) -> Arc<dyn Destination> {
    match destination.kind() {
        DestinationKind::Queue => {
            Arc::new(sqs::SqsDestination::new(clients, destination, template))
        }
        DestinationKind::Topic => {
            Arc::new(sns::SnsDestination::new(clients, destination, template))
        }
        DestinationKind::Bucket => Arc::new(s3::S3Destination::new(clients, destination, template)),
    }
}

#[cfg(test)]
mod tests;
