//! What a queue consumer is configured with.

use std::sync::Arc;
use std::time::Duration;

use windlass_filter::Criteria;

use super::interface::QueueAttributes;
use crate::mapping::{QueueSettings, RetryBackoff};

#[derive(Clone, Debug, PartialEq)]
pub struct QueueConsumerSettings {
    pub mapping: QueueSettings,
    /// Messages that no filter matches are deleted without an invocation; `None` matches all.
    pub filter: Option<Arc<Criteria>>,
    pub attributes: QueueAttributes,
    pub function_timeout: Duration,
    /// Delays of messages that the function failed; `None`: the queue's own visibility timeout.
    pub retry_backoff: Option<RetryBackoff>,
    pub limits: QueueLimits,
}

/// The daemon's limits for one slot of a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueLimits {
    /// Whether the visibility timeout of messages in the inbox is extended.
    pub visibility_heartbeat: bool,
    /// Long polling of one receive: 0 to 20 seconds.
    pub wait_time: Duration,
    /// Messages in the inbox; a full inbox stops receiving.
    pub buffer_messages: usize,
    /// Bytes of one event, envelope included.
    pub payload_limit: usize,
    /// Concurrent invocations that the slots of the mapping allow.
    pub concurrency: usize,
    /// How long messages stay in the inbox while the function cannot be reached.
    pub hold_limit: Duration,
    /// By how much the delay of a backoff varies, up or down.
    pub backoff_jitter_percent: u32,
}
