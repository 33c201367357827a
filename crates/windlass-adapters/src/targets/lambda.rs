//! Functions of AWS Lambda, invoked through the SDK.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::invoke::InvokeError;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use tokio::sync::Semaphore;
use windlass_core::arn::Arn;
use windlass_core::outcome::{Fault, Outcome};
use windlass_engine::ports::{Invocation, PortError, Target};

use super::answer::{not_invoked, word};
use crate::aws::fault;

/// A call may take so much longer than its function, until it is given up.
const MARGIN: Duration = Duration::from_secs(5);

/// Invokes one function, and waits for its answer.
#[derive(Debug)]
pub struct LambdaTarget {
    client: Client,
    /// The ARN with the qualifier, if there is one.
    function: Arn,
    timeout: Duration,
    slots: Option<Arc<Semaphore>>,
}
