//! One listing of a stream, with the reads that tell whether shards that it lacks still exist.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use windlass_core::lease::Lease;
use windlass_core::lease_rows::doubtful_shards;
use windlass_core::mapping::MappingId;
use windlass_core::parks::Parks;
use windlass_core::position::{Cursor, Position};
use windlass_core::shard::lineage::ListingHistory;
use windlass_core::stretch_rows::StretchShards;
use windlass_core::time::Timestamp;

use crate::clock::Clock;
use crate::memory::OneRecord;
use crate::ports::{MIN_RETENTION, PortError, ReadLimits, StreamReader, chain};
use crate::status::StatusBoard;

/// A table whose stream is switched on again has a stream with another ARN.
const SWITCHED_OFF: &str = "the stream was switched off: its records are delivered to the end, and \
                            no more come; the stream that its table has when it is switched on again \
                            has another ARN, and needs a mapping of its own";

/// Reads at a time.
const MAX_READS: usize = 8;

/// Of each read, for one record at most.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct StreamListing {
    pub(super) reader: Arc<dyn StreamReader>,
    /// The listings before this one.
    pub(super) history: ListingHistory,
    /// Those of the mapping when the listing starts.
    pub(super) rows: Vec<Lease>,
    pub(super) parks: Parks,
    /// Of a replay.
    pub(super) stretch: Option<StretchShards>,
    /// When the mapping starts, if not at the oldest record.
    pub(super) start: Option<Timestamp>,
    pub(super) mapping: MappingId,
    pub(super) board: Arc<StatusBoard>,
    pub(super) clock: Clock,
}

impl StreamListing {
    /// Returns the listings until this one.
    pub(super) async fn run(self) -> Result<ListingHistory, PortError> {
        let shards = self.reader.list_shards().await?;
        self.show_switched_off();
        if self.rows.is_empty() {
            self.look_for_expired_start().await;
        }
        let mut history = self.history;
        history.record(shards, self.clock.now());
        let doubtful = match &self.stretch {
            Some(stretch) => stretch.doubtful(&history, &self.rows),
            None => doubtful_shards(&history, &self.rows, &self.parks),
        };
        let reads = doubtful.into_iter();
        let reads = reads.map(async |shard| {
            let oldest = Cursor::at(Position::TrimHorizon);
            let limits = ReadLimits {
                max_records: 1,
                memory: &OneRecord,
                timeout: READ_TIMEOUT,
            };
            let mut reader = Arc::clone(&self.reader).open(&shard);
            let result = reader.read(&oldest, limits).await;
            (shard, result)
        });
        let mut reads = stream::iter(reads).buffer_unordered(MAX_READS);
        while let Some((shard, result)) = reads.next().await {
            if let Err(error) = result {
                tracing::debug!(%shard, error = chain(&error), "a shard that is not listed");
                history.handle_refusal(shard, error.fault);
            }
        }
        drop(reads);
        Ok(history)
    }

    fn show_switched_off(&self) {
        if self.reader.is_switched_off()
            && self.board.notice(&self.mapping, SWITCHED_OFF.to_owned())
        {
            tracing::warn!(uuid = %self.mapping, "{SWITCHED_OFF}");
        }
    }

    /// Reports a possible gap if the retention period of the records at which the mapping starts is
    /// over.
    async fn look_for_expired_start(&self) {
        let Some(start) = self.start else {
            return;
        };
        let difference = self.reader.clock_difference().unwrap_or_default();
        if self.clock.wall().shifted(difference).since(start) < MIN_RETENTION {
            return;
        }
        let removed_until = match self.reader.removed_until().await {
            Ok(removed_until) => removed_until,
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(uuid = %self.mapping, error, "cannot tell which records remain");
                return;
            }
        };
        if let Some(until) = removed_until.filter(|until| start < *until) {
            let notice = format!(
                "records may be lost at the position at_timestamp {}: it is {} s before the retention \
                 period of the stream; reading begins at the oldest record",
                start.as_millis(),
                until.since(start).as_secs()
            );
            tracing::warn!(uuid = %self.mapping, "{notice}");
            let board = &self.board;
            board.counts_of(&self.mapping).trimmed_gaps.add(1);
            board.add_gap(&self.mapping, notice.clone());
            board.notice(&self.mapping, notice);
        }
    }
}
