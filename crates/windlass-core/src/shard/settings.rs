//! What a shard consumer is configured with.

use std::sync::Arc;
use std::time::Duration;

use windlass_filter::Criteria;

use crate::mapping::StreamSettings;

#[derive(Clone, Debug, PartialEq)]
pub struct ShardConsumerSettings {
    pub mapping: StreamSettings,
    /// Records that no filter matches are resolved without an invocation; `None` matches all.
    pub filter: Option<Arc<Criteria>>,
    pub limits: ShardLimits,
}

/// The daemon's limits for one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardLimits {
    /// From the start of one read to the start of the next at the tip of the shard.
    pub poll_interval: Duration,
    /// The same until the tip is reached.
    pub catch_up_interval: Duration,
    /// Records of one read.
    pub read_limit: u32,
    /// Records in memory; a full buffer stops reading.
    pub buffer_records: usize,
    /// Bytes of their events; a full buffer stops reading.
    pub buffer_bytes: usize,
    /// Bytes of one event, envelope included.
    pub payload_limit: usize,
}
