//! The body of SubscribeToShard: events that the server sends for five minutes at most.
//!
//! Nothing is read ahead: what the reader does not ask for stays with the server. An event is used
//! once it is complete and its checksum is right.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use thiserror::Error;
use windlass_core::outcome::Fault;
use windlass_engine::ports::{BoxError, PortError, ReadLimits};

use super::fault::error_of_stream;
use crate::wire::WireError;
use crate::wire::event_stream::{EventStreamDecoder, MessageHead, MessageKind, Part};
use crate::wire::streaming_parser::{ResponseParser, StreamingParser};

/// Kinesis sends an event every five seconds, even without records. A subscription that is silent for
/// longer than this has lost its connection.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShardEvent.html>
const MAX_SILENCE: Duration = Duration::from_secs(20);

const EVENT: &str = "SubscribeToShardEvent";

/// Limit of the description of an exception.
const MAX_EXCEPTION_BYTES: usize = 64 * 1024;

/// One response of SubscribeToShard.
#[derive(Debug)]
pub(super) struct Subscription {
    body: SdkBody,
    decoder: EventStreamDecoder,
    /// What has arrived and is not decoded.
    piece: Bytes,
}

/// Why there is no further event.
#[derive(Debug, Error)]
pub(super) enum SubscriptionError {
    #[error("the subscription ended without an event")]
    Ended,
    #[error("the connection of the subscription was lost: {0}")]
    Lost(BoxError),
    #[error("the subscription was silent for {} s", MAX_SILENCE.as_secs())]
    Silent,
    #[error("timeout: an event began, but was not complete within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error(transparent)]
    Malformed(#[from] WireError),
    #[error("{code}: {message}")]
    Exception { code: String, message: String },
}

impl SubscriptionError {
    /// Whether it is over, as every subscription is after a while.
    pub(super) const fn is_over(&self) -> bool {
        match self {
            Self::Ended | Self::Lost(_) | Self::Silent => true,
            Self::TimedOut(_) | Self::Malformed(_) | Self::Exception { .. } => false,
        }
    }

    pub(super) fn into_port_error(self, operation: String) -> PortError {
        let fault = match &self {
            Self::Exception { code, message } => {
                return error_of_stream(operation, code, message);
            }
            Self::TimedOut(_) => Fault::TimedOut,
            Self::Ended | Self::Lost(_) | Self::Silent | Self::Malformed(_) => Fault::Transient,
        };
        PortError {
            operation,
            fault,
            source: self.into(),
        }
    }
}

impl Subscription {
    pub(super) fn new(response: HttpResponse) -> Self {
        Self {
            body: response.into_body(),
            decoder: EventStreamDecoder::default(),
            piece: Bytes::new(),
        }
    }

    /// Waits for the next event, then for memory, and parses it within the timeout. `event_bytes`
    /// computes the expected size of its rendered records from its length. `new_parser` receives the
    /// length, and how many bytes of records there is memory for.
    pub(super) async fn next_event<P: ResponseParser>(
        &mut self,
        limits: &ReadLimits<'_>,
        event_bytes: impl Fn(usize) -> usize,
        new_parser: impl FnOnce(usize, usize) -> P,
    ) -> Result<P::Response, SubscriptionError> {
        let length = self.next_event_length().await?;
        let max_bytes = limits.memory.reserve(Some(event_bytes(length))).await;
        let mut parser = StreamingParser::new(new_parser(length, max_bytes));
        let parse = async {
            while let Part::Payload(piece) = self.part().await? {
                parser.push(&piece)?;
            }
            Ok(parser.finish()?)
        };
        let parsed = tokio::time::timeout(limits.timeout, parse).await;
        parsed.unwrap_or(Err(SubscriptionError::TimedOut(limits.timeout)))
    }

    /// Reads up to the payload of the next event, and returns its length.
    async fn next_event_length(&mut self) -> Result<usize, SubscriptionError> {
        loop {
            let part = tokio::time::timeout(MAX_SILENCE, self.part()).await;
            match part.map_err(|_| SubscriptionError::Silent)?? {
                Part::Head(head) => match head.kind {
                    MessageKind::Event if head.name == EVENT => return Ok(head.payload_len),
                    // The first one is empty: `initial-response`.
                    MessageKind::Event => {}
                    MessageKind::Exception | MessageKind::Error => {
                        return Err(self.exception(head).await?);
                    }
                },
                Part::Payload(_) | Part::End => {}
            }
        }
    }

    async fn exception(
        &mut self,
        head: MessageHead,
    ) -> Result<SubscriptionError, SubscriptionError> {
        let mut payload = Vec::new();
        let collect = async {
            while let Part::Payload(piece) = self.part().await? {
                let room = MAX_EXCEPTION_BYTES - payload.len();
                payload.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            Ok::<_, SubscriptionError>(())
        };
        let collected = tokio::time::timeout(MAX_SILENCE, collect).await;
        collected.map_err(|_| SubscriptionError::Silent)??;
        let description: serde_json::Value = serde_json::from_slice(&payload).unwrap_or_default();
        let text = ["message", "Message"].into_iter();
        let text = text
            .filter_map(|name| description.get(name)?.as_str())
            .next();
        Ok(SubscriptionError::Exception {
            code: head.name,
            message: head
                .error_message
                .unwrap_or_else(|| text.unwrap_or_default().to_owned()),
        })
    }

    async fn part(&mut self) -> Result<Part, SubscriptionError> {
        loop {
            if let Some(part) = self.decoder.next(&mut self.piece)? {
                return Ok(part);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(SubscriptionError::Lost(error)),
                None if self.decoder.is_between_messages() => return Err(SubscriptionError::Ended),
                None => {
                    let cause = "it ended within an event";
                    return Err(SubscriptionError::Lost(cause.into()));
                }
            }
        }
    }
}
