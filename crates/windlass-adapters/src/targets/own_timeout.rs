//! The timeout that a Lambda function has on AWS.

use std::time::Duration;

use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use tokio::sync::Mutex;
use tokio::time::Instant;
use windlass_core::arn::Arn;
use windlass_core::outcome::Fault;
use windlass_engine::ports::{BoxError, chain};

use super::FunctionSettings;
use crate::aws::{Lambda, fault};

/// After this time it is read again: it may have been changed.
const TTL: Duration = Duration::from_secs(60 * 60);

/// After this time it is read again if it could not be read.
const RETRY: Duration = Duration::from_secs(60);

/// Invocations wait for it, so it is soon given up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The `Timeout` of a function's configuration; the longest possible one if it cannot be read.
#[derive(Debug, Default)]
pub(super) struct OwnTimeout(Mutex<Option<Known>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    timeout: Duration,
    read_again: Instant,
}

impl OwnTimeout {
    pub(super) async fn get(&self, client: &Lambda, function: &Arn) -> Duration {
        let mut known = self.0.lock().await;
        if let Some(known) = known.filter(|known| Instant::now() < known.read_again) {
            return known.timeout;
        }
        let (timeout, ttl) = match read(client, function).await {
            Ok(timeout) => (timeout, TTL),
            Err((fault, error)) => {
                let reason = chain(&*error);
                tracing::info!(%function, reason, "cannot read the Timeout of the function");
                let previous = known.map(|known| known.timeout);
                let timeout = previous.unwrap_or(FunctionSettings::MAX_TIMEOUT);
                let is_final = matches!(fault, Fault::Denied | Fault::Gone);
                (timeout, if is_final { TTL } else { RETRY })
            }
        };
        *known = Some(Known {
            timeout,
            read_again: Instant::now() + ttl,
        });
        timeout
    }

    /// An invocation has taken longer, so the timeout may have been changed.
    pub(super) async fn read_again(&self) {
        if let Some(known) = &mut *self.0.lock().await {
            known.read_again = Instant::now();
        }
    }
}

async fn read(client: &Lambda, function: &Arn) -> Result<Duration, (Fault, BoxError)> {
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(LOOKUP_TIMEOUT)
        .operation_attempt_timeout(LOOKUP_TIMEOUT)
        .build();
    let config = aws_sdk_lambda::config::Builder::new()
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    let call = client
        .get_function_configuration()
        .function_name(function.as_str())
        .customize()
        .config_override(config)
        .send();
    match call.await {
        Ok(configuration) => {
            let seconds = configuration.timeout.and_then(|it| u64::try_from(it).ok());
            match seconds.filter(|seconds| 0 < *seconds) {
                Some(seconds) => {
                    let timeout = Duration::from_secs(seconds);
                    Ok(timeout.min(FunctionSettings::MAX_LAMBDA_TIMEOUT))
                }
                None => Err((Fault::Denied, "the configuration has no Timeout".into())),
            }
        }
        Err(error) => Err((fault::fault_of(&error), error.into())),
    }
}
