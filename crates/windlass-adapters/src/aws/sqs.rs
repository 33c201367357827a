//! SQS queues, standard and FIFO.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::receive_message::{ReceiveMessageError, ReceiveMessageOutput};
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, MessageSystemAttributeName, QueueAttributeName,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, Error, Output,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures::stream::{self, StreamExt};
use tokio::sync::OnceCell;
use windlass_core::arn::Arn;
use windlass_core::ids::ReceiptHandle;
use windlass_core::mapping::QueueSource;
use windlass_core::message::Message;
use windlass_core::outcome::Fault;
use windlass_core::queue::{EntryResult, QueueAttributes, VisibilityChange};
use windlass_engine::ports::{PortError, QueueReader, ResponseMemory, log_fault};
use windlass_engine::requests::{QueueOperation, QueueRequests};

use super::fault::{fault_of_code, port_error, unusable_response};
use super::raw::RawCall;
use super::server_clock::ServerClock;
use super::{AwsClients, Partition, Service};
use crate::wire::sqs::{EventTemplate, ReceiveMessageParser};

/// Limit of entries of one batch call.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessageBatch.html>
const MAX_BATCH_ENTRIES: usize = 10;

/// Limit of concurrent batch calls of one request.
const MAX_CONCURRENT_CALLS: usize = 8;

/// After this time, entries of visibility changes that have failed are repeated once: a message that
/// is to be visible soon would stay invisible for up to 12 hours. The SDK repeats whole calls only.
const ENTRY_RETRY: Duration = Duration::from_millis(200);

/// Codes of entries whose receipt handle cannot be used any more: it has expired, or its message is
/// deleted or visible again.
const USELESS_HANDLE: [&str; 6] = [
    "InvalidParameterValue",
    "InvalidParameterValueException",
    "MessageNotInflight",
    "MessageNotInflightException",
    "ReceiptHandleIsInvalid",
    "ReceiptHandleIsInvalidException",
];

/// Limit of the time of a receive, which waits up to 20 s for the first message.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(40);

/// Default of SQS.
const DEFAULT_VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a batch call failed.
enum Rejection {
    /// The server rejects the call for the handle of one of its entries, and does not say which.
    OfHandle,
    Other(PortError),
}

impl Rejection {
    fn new<E>(queue: &Arn, call: &str, error: SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        if error.code().is_some_and(is_useless_handle) {
            return Self::OfHandle;
        }
        Self::Other(failed(queue, call, error))
    }

    /// The result of a call with one entry.
    fn of_one_entry(self) -> Result<Vec<EntryResult>, PortError> {
        match self {
            Self::OfHandle => Ok(vec![EntryResult::Refused]),
            Self::Other(error) => Err(error),
        }
    }
}

impl From<PortError> for Rejection {
    fn from(error: PortError) -> Self {
        Self::Other(error)
    }
}

/// Reads one queue for one mapping.
#[derive(Debug)]
pub struct SqsReader {
    clients: AwsClients,
    queue: Arn,
    url: OnceCell<String>,
    template: EventTemplate,
    requests: Arc<QueueRequests>,
}

/// Counts the requests of a call, repeated attempts included.
#[derive(Debug)]
struct CountRequests {
    operation: QueueOperation,
    requests: Arc<QueueRequests>,
}

#[dyn_dispatch_hint]
impl Intercept for CountRequests {
    fn name(&self) -> &'static str {
        "CountRequests"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.requests.add(self.operation);
        Ok(())
    }
}

/// Names a call and the queue in errors.
pub(super) fn operation_on(queue: &Arn, call: &str) -> String {
    format!("{call} of queue {}", queue.resource())
}

pub(super) fn failed<E>(queue: &Arn, call: &str, error: SdkError<E>) -> PortError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    port_error(operation_on(queue, call), error)
}

/// The URL of a queue at AWS. Asking for it would need a permission that AWS's own event source
/// mappings do not need.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html>
pub(super) fn url_at_aws(queue: &Arn) -> String {
    let (region, account, name) = (queue.region(), queue.account_id(), queue.resource());
    let suffix = Partition::of(region).dns_suffix;
    format!("https://sqs.{region}.{suffix}/{account}/{name}")
}

/// The URL of a queue, for calls about it.
pub(crate) async fn queue_url(clients: &AwsClients, queue: &Arn) -> Result<String, PortError> {
    if clients.is_custom(Service::Sqs) {
        url_from_server(clients, queue, &ServerClock::default()).await
    } else {
        Ok(url_at_aws(queue))
    }
}

async fn url_from_server(
    clients: &AwsClients,
    queue: &Arn,
    clock: &ServerClock,
) -> Result<String, PortError> {
    let call = clients.sqs.get_queue_url().queue_name(queue.resource());
    let owner = queue.account_id();
    let call = call.set_queue_owner_aws_account_id((!owner.is_empty()).then(|| owner.to_owned()));
    let response = call.customize().interceptor(clock.clone()).send().await;
    let response = response.map_err(|error| failed(queue, "GetQueueUrl", error))?;
    let url = response.queue_url;
    url.ok_or_else(|| {
        let operation = operation_on(queue, "GetQueueUrl");
        unusable_response(operation, "the response has no URL")
    })
}

/// Checks that a queue exists and is accessible.
pub(crate) async fn exists(
    clients: &AwsClients,
    queue: &Arn,
    clock: &ServerClock,
) -> Result<(), PortError> {
    if clients.is_custom(Service::Sqs) {
        return url_from_server(clients, queue, clock).await.map(drop);
    }
    let call = clients.sqs.get_queue_attributes();
    let call = call.queue_url(url_at_aws(queue));
    let call = call.attribute_names(QueueAttributeName::VisibilityTimeout);
    let response = call.customize().interceptor(clock.clone()).send().await;
    response.map_err(|error| failed(queue, "GetQueueAttributes", error))?;
    Ok(())
}

impl SqsReader {
    pub fn new(clients: &AwsClients, source: &QueueSource, requests: Arc<QueueRequests>) -> Self {
        let QueueSource { arn, settings, .. } = source;
        let window = !settings.maximum_batching_window.is_zero();
        let template = EventTemplate::new(arn.as_str(), arn.region(), window, settings.fifo);
        Self {
            clients: clients.clone(),
            queue: arn.clone(),
            url: OnceCell::new(),
            template,
            requests,
        }
    }

    fn count(&self, operation: QueueOperation) -> CountRequests {
        CountRequests {
            operation,
            requests: Arc::clone(&self.requests),
        }
    }

    async fn url(&self) -> Result<&str, PortError> {
        let url = self
            .url
            .get_or_try_init(|| queue_url(&self.clients, &self.queue))
            .await?;
        Ok(url)
    }

    async fn delete_chunk(
        &self,
        receipts: &[ReceiptHandle],
    ) -> Result<Vec<EntryResult>, Rejection> {
        let entries = receipts.iter().enumerate().map(|(index, receipt)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(receipt.as_str())
                .build()
                .expect("id and handle are set")
        });
        let call = self
            .clients
            .sqs
            .delete_message_batch()
            .queue_url(self.url().await?);
        let call = call.set_entries(Some(entries.collect())).customize();
        let call = call.interceptor(self.count(QueueOperation::DeleteMessageBatch));
        let response = call.send().await;
        let response =
            response.map_err(|error| Rejection::new(&self.queue, "DeleteMessageBatch", error))?;
        let done = response.successful.iter().map(|entry| entry.id.as_str());
        Ok(results(receipts.len(), done, &response.failed))
    }

    async fn change_all(
        &self,
        changes: &[VisibilityChange],
    ) -> Result<Vec<EntryResult>, PortError> {
        let call = |chunk: Vec<_>| async move { self.change_chunk(&chunk).await };
        call_in_chunks(changes, call).await
    }

    async fn change_chunk(
        &self,
        changes: &[VisibilityChange],
    ) -> Result<Vec<EntryResult>, Rejection> {
        let entries = changes.iter().enumerate().map(|(index, change)| {
            let seconds = i32::try_from(change.timeout.as_secs());
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(change.receipt.as_str())
                .visibility_timeout(seconds.unwrap_or(i32::MAX))
                .build()
                .expect("id and handle are set")
        });
        let call = self.clients.sqs.change_message_visibility_batch();
        let call = call.queue_url(self.url().await?);
        let call = call.set_entries(Some(entries.collect())).customize();
        let call = call.interceptor(self.count(QueueOperation::ChangeMessageVisibilityBatch));
        let response = call.send().await;
        let call = "ChangeMessageVisibilityBatch";
        let response = response.map_err(|error| Rejection::new(&self.queue, call, error))?;
        let done = response.successful.iter().map(|entry| entry.id.as_str());
        Ok(results(changes.len(), done, &response.failed))
    }
}

#[async_trait]
impl QueueReader for SqsReader {
    async fn attributes(&self) -> Result<QueueAttributes, PortError> {
        let call = self
            .clients
            .sqs
            .get_queue_attributes()
            .queue_url(self.url().await?);
        // A server may refuse the name of an attribute that it does not know.
        let call = call.attribute_names(QueueAttributeName::All).customize();
        let call = call.interceptor(self.count(QueueOperation::GetQueueAttributes));
        let response = call.send().await;
        let response =
            response.map_err(|error| failed(&self.queue, "GetQueueAttributes", error))?;
        let attributes = response.attributes.unwrap_or_default();
        let seconds = attributes.get(&QueueAttributeName::VisibilityTimeout);
        let seconds = seconds.and_then(|seconds| seconds.parse().ok());
        let visibility_timeout = seconds.map_or(DEFAULT_VISIBILITY_TIMEOUT, Duration::from_secs);
        let policy = attributes.get(&QueueAttributeName::RedrivePolicy);
        let has_redrive_policy = policy.is_some_and(|policy| !policy.trim().is_empty());
        let retention = attributes.get(&QueueAttributeName::MessageRetentionPeriod);
        let retention = retention.and_then(|seconds| seconds.parse().ok());
        Ok(QueueAttributes {
            visibility_timeout,
            has_redrive_policy,
            retention: retention.map(Duration::from_secs),
        })
    }

    async fn receive(
        &self,
        limit: u8,
        wait: Duration,
        visibility: Duration,
        memory: &dyn ResponseMemory,
    ) -> Result<Vec<Message>, PortError> {
        let raw = RawCall::new(
            RECEIVE_TIMEOUT,
            || Output::erase(ReceiveMessageOutput::builder().build()),
            |metadata| Error::erase(ReceiveMessageError::generic(metadata)),
        );
        let seconds = |time: Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
        let call = self
            .clients
            .sqs
            .receive_message()
            .queue_url(self.url().await?);
        let call = call
            .max_number_of_messages(i32::from(limit))
            .wait_time_seconds(seconds(wait));
        let call = call
            .visibility_timeout(seconds(visibility))
            .message_attribute_names("All");
        let call = call.message_system_attribute_names(MessageSystemAttributeName::All);
        #[expect(deprecated, reason = "servers of before 2024 know only the older name")]
        let call = call.attribute_names(QueueAttributeName::All);
        let call = call.customize().interceptor(raw.interceptor());
        let call = call.interceptor(self.count(QueueOperation::ReceiveMessage));
        let sent = call.send().await;
        sent.map_err(|error| failed(&self.queue, "ReceiveMessage", error))?;
        let parser = |length, _| ReceiveMessageParser::new(&self.template, length);
        let response = raw.response(memory, ReceiveMessageParser::event_bytes, parser);
        response
            .await
            .map_err(|cause| unusable_response(operation_on(&self.queue, "ReceiveMessage"), cause))
    }

    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<EntryResult>, PortError> {
        let call = |chunk: Vec<_>| async move { self.delete_chunk(&chunk).await };
        call_in_chunks(receipts, call).await
    }

    async fn change_visibility(
        &self,
        changes: &[VisibilityChange],
    ) -> Result<Vec<EntryResult>, PortError> {
        let mut results = self.change_all(changes).await?;
        let may_succeed = |index: &usize| {
            let fault = results[*index].fault();
            fault.is_some_and(|fault| !matches!(fault, Fault::Denied | Fault::Gone))
        };
        let failed: Vec<_> = (0..changes.len()).filter(may_succeed).collect();
        if !failed.is_empty() {
            tokio::time::sleep(ENTRY_RETRY).await;
            let again: Vec<_> = failed.iter().map(|index| changes[*index].clone()).collect();
            let repeated = self
                .change_all(&again)
                .await
                .unwrap_or_else(|error| vec![EntryResult::Failed(log_fault(&error)); again.len()]);
            for (index, result) in failed.into_iter().zip(repeated) {
                results[index] = result;
            }
        }
        Ok(results)
    }
}

/// Makes batch calls for all entries. One that is rejected for a handle is repeated for each of its
/// entries.
async fn call_in_chunks<T, F>(
    entries: &[T],
    call: impl Fn(Vec<T>) -> F,
) -> Result<Vec<EntryResult>, PortError>
where
    T: Clone,
    F: Future<Output = Result<Vec<EntryResult>, Rejection>>,
{
    let call = &call;
    let calls = chunks_of(entries, MAX_BATCH_ENTRIES).map(|chunk| async move {
        let n_entries = chunk.len();
        match call(chunk.clone()).await {
            Err(Rejection::OfHandle) if 1 < n_entries => {
                let calls = chunks_of(&chunk, 1)
                    .map(|one| async move { call(one).await.or_else(Rejection::of_one_entry) });
                collect(calls, n_entries).await
            }
            result => result.or_else(Rejection::of_one_entry),
        }
    });
    collect(calls, entries.len()).await
}

/// Owned, since the futures of calls must not borrow what they are made from.
fn chunks_of<T: Clone>(entries: &[T], len: usize) -> impl Iterator<Item = Vec<T>> + use<T> {
    let chunks: Vec<_> = entries.chunks(len).map(<[_]>::to_vec).collect();
    chunks.into_iter()
}

/// Results of all entries. After a call that failed, none follows: its entries, and those after it,
/// have failed, and the others keep their results.
async fn collect(
    calls: impl Iterator<Item = impl Future<Output = Result<Vec<EntryResult>, PortError>>>,
    n_entries: usize,
) -> Result<Vec<EntryResult>, PortError> {
    let mut calls = pin!(stream::iter(calls).buffered(MAX_CONCURRENT_CALLS));
    let mut results = Vec::with_capacity(n_entries);
    while let Some(result) = calls.next().await {
        match result {
            Ok(more) => results.extend(more),
            Err(error) if results.is_empty() => return Err(error),
            Err(error) => {
                let failed = EntryResult::Failed(log_fault(&error));
                results.resize(n_entries, failed);
                break;
            }
        }
    }
    Ok(results)
}

/// One result per entry; an entry that is missing in the response has failed.
fn results<'a>(
    n_entries: usize,
    done: impl Iterator<Item = &'a str>,
    failed: &[BatchResultErrorEntry],
) -> Vec<EntryResult> {
    let mut results = vec![EntryResult::Failed(Fault::Transient); n_entries];
    let mut set = |id: &str, result: EntryResult| {
        if let Some(slot) = id
            .parse()
            .ok()
            .and_then(|index: usize| results.get_mut(index))
        {
            *slot = result;
        }
    };
    done.for_each(|id| set(id, EntryResult::Done));
    for entry in failed {
        set(&entry.id, entry_result(&entry.code));
    }
    results
}

/// The result of an entry that failed with this code. `SenderFault` does not tell: it is also set
/// on entries that were throttled or denied.
fn entry_result(code: &str) -> EntryResult {
    if is_useless_handle(code) {
        EntryResult::Refused
    } else {
        EntryResult::Failed(fault_of_code(code, 0))
    }
}

fn is_useless_handle(code: &str) -> bool {
    let name = code.rsplit(['#', '.']).next().unwrap_or(code);
    USELESS_HANDLE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_classified_by_their_code() {
        let throttled = Fault::Throttled { retry_after: None };
        for (code, result) in [
            ("ReceiptHandleIsInvalid", EntryResult::Refused),
            ("InvalidParameterValue", EntryResult::Refused),
            ("InvalidParameterValueException", EntryResult::Refused),
            (
                "AWS.SimpleQueueService.MessageNotInflight",
                EntryResult::Refused,
            ),
            ("com.amazonaws.sqs#MessageNotInflight", EntryResult::Refused),
            ("RequestThrottled", EntryResult::Failed(throttled)),
            ("ThrottlingException", EntryResult::Failed(throttled)),
            ("AccessDenied", EntryResult::Failed(Fault::Denied)),
            ("InternalError", EntryResult::Failed(Fault::Transient)),
            ("ServiceUnavailable", EntryResult::Failed(Fault::Transient)),
            ("", EntryResult::Failed(Fault::Transient)),
        ] {
            assert_eq!(entry_result(code), result, "{code}");
        }
    }
}
