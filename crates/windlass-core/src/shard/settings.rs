//! What a shard consumer is configured with.

use std::sync::Arc;
use std::time::Duration;

use windlass_filter::Criteria;

use crate::batch::BatchLimits;
use crate::mapping::StreamSettings;
use crate::record::Record;
use crate::stretch::StretchSettings;

#[derive(Clone, Debug, PartialEq)]
pub struct ShardConsumerSettings {
    pub mapping: StreamSettings,
    /// Whether what is given up is delivered, to a destination or to the dead letters; otherwise it is
    /// dropped.
    pub delivers_given_up: bool,
    /// Records that no filter matches are resolved without an invocation; `None` matches all.
    pub filter: Option<Arc<Criteria>>,
    /// The records of the shard that are processed: those of a replay. Others are not counted, and the
    /// end of the stretch is that of the shard. `None`: all.
    pub stretch: Option<StretchSettings>,
    /// Bytes that the event has in addition because of tumbling windows, their empty state included:
    /// [`event::window_len`](crate::event::window_len). 0 without windows.
    pub window_len: usize,
    pub limits: ShardLimits,
}

impl ShardConsumerSettings {
    /// Whether a record is ever invoked: it can be rendered, and fits into an event.
    pub(super) fn can_be_invoked(&self, record: &Record) -> bool {
        let size = self.batch_limits().size_of(record);
        self.batch_limits().fits_alone(size)
    }

    /// Of a batch whose state is empty.
    pub(super) const fn batch_limits(&self) -> BatchLimits {
        BatchLimits {
            max_items: self.mapping.batch_size,
            max_bytes: self.limits.payload_limit.saturating_sub(self.window_len),
        }
    }
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
    /// By how much the delay of a backoff varies, up or down.
    pub backoff_jitter_percent: u32,
}
