//! The reads of one stream that its mappings and replays share: a shard allows five reads a second
//! to all of them together. Mappings go first; a replay waits until there is room.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use windlass_core::arn::Arn;
use windlass_core::ids::ShardId;
use windlass_core::time::Timestamp;

use crate::clock::{Clock, Timer};

/// Reads of a shard in as many intervals of catching up: a second by default.
const MAX_READS: u8 = 5;

/// The streams that are read, by their ARNs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedReads(Arc<Mutex<BTreeMap<Arn, Weak<StreamReads>>>>);

/// Of one stream.
#[derive(Debug, Default)]
struct StreamReads {
    /// While there are none, nothing is noted.
    n_replays: AtomicUsize,
    recent: Mutex<BTreeMap<ShardId, VecDeque<Read>>>,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    at: Timestamp,
    is_of_replay: bool,
}

/// The reads of one mapping or replay. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum ReadShare {
    Mapping(MappingReads),
    Replay(Arc<ReplayReads>),
}

#[derive(Clone, Debug)]
pub(crate) struct MappingReads(Arc<StreamReads>);

#[derive(Debug)]
pub(crate) struct ReplayReads(Arc<StreamReads>);

impl SharedReads {
    pub(crate) fn of_mapping(&self, stream: &Arn) -> ReadShare {
        ReadShare::Mapping(MappingReads(self.stream(stream)))
    }

    pub(crate) fn of_replay(&self, stream: &Arn) -> ReadShare {
        let stream = self.stream(stream);
        stream.n_replays.fetch_add(1, Ordering::Relaxed);
        ReadShare::Replay(Arc::new(ReplayReads(stream)))
    }

    fn stream(&self, arn: &Arn) -> Arc<StreamReads> {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = streams.get(arn).and_then(Weak::upgrade) {
            return known;
        }
        streams.retain(|_, stream| stream.strong_count() != 0);
        let stream = Arc::default();
        streams.insert(arn.clone(), Arc::downgrade(&stream));
        stream
    }
}

impl ReadShare {
    /// Returns when a shard may be read, which counts as read then. `interval`: between the reads of a
    /// shard that is alone.
    pub(crate) async fn turn(&self, shard: &ShardId, interval: Duration, clock: Clock) {
        match self {
            Self::Mapping(MappingReads(stream)) => {
                if 0 < stream.n_replays.load(Ordering::Relaxed) {
                    stream.note(shard, clock.now(), interval);
                }
            }
            Self::Replay(reads) => {
                while let Some(at) = reads.0.try_read(shard, clock.now(), interval) {
                    Timer::new(clock).sleep_until(Some(at)).await;
                }
            }
        }
    }
}

impl StreamReads {
    fn note(&self, shard: &ShardId, now: Timestamp, interval: Duration) {
        self.with_recent(shard, now, interval, |recent| {
            recent.push_back(Read {
                at: now,
                is_of_replay: false,
            });
        });
    }

    /// Reads for a replay, or says when to try again. Next to a mapping it leaves
    /// room for a read of that.
    fn try_read(&self, shard: &ShardId, now: Timestamp, interval: Duration) -> Option<Timestamp> {
        self.with_recent(shard, now, interval, |recent| {
            let has_mapping = recent.iter().any(|read| !read.is_of_replay);
            let limit = usize::from(MAX_READS - u8::from(has_mapping));
            if let Some(excess) = recent.len().checked_sub(limit) {
                let first = recent[excess];
                return Some(first.at + window(interval));
            }
            recent.push_back(Read {
                at: now,
                is_of_replay: true,
            });
            None
        })
    }

    fn with_recent<T>(
        &self,
        shard: &ShardId,
        now: Timestamp,
        interval: Duration,
        act: impl FnOnce(&mut VecDeque<Read>) -> T,
    ) -> T {
        let mut shards = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = shards.entry(shard.detached()).or_default();
        while recent
            .front()
            .is_some_and(|read| read.at + window(interval) <= now)
        {
            recent.pop_front();
        }
        act(recent)
    }
}

fn window(interval: Duration) -> Duration {
    interval * u32::from(MAX_READS)
}

impl Drop for ReplayReads {
    fn drop(&mut self) {
        if self.0.n_replays.fetch_sub(1, Ordering::Relaxed) == 1 {
            let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    /// Reads of each in three seconds, if the mapping reads after this number of milliseconds.
    async fn reads(mapping_interval: Option<u64>) -> (usize, usize) {
        let clock = Clock::start();
        let shared = SharedReads::default();
        let stream = Arn::parse("arn:aws:kinesis:us-east-1:000000000000:stream/s").unwrap();
        let (mapping, replay) = (shared.of_mapping(&stream), shared.of_replay(&stream));
        let shard = ShardId::from("0");
        let (mut of_mapping, mut of_replay) = (0, 0);
        let both = async {
            let mapping = async {
                let Some(millis) = mapping_interval else {
                    return std::future::pending().await;
                };
                loop {
                    mapping.turn(&shard, INTERVAL, clock).await;
                    of_mapping += 1;
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }
            };
            let replay = async {
                loop {
                    replay.turn(&shard, INTERVAL, clock).await;
                    of_replay += 1;
                }
            };
            tokio::join!(mapping, replay)
        };
        let three_seconds = Duration::from_millis(2_999);
        drop(tokio::time::timeout(three_seconds, both).await);
        (of_mapping, of_replay)
    }

    #[tokio::test(start_paused = true)]
    async fn a_replay_reads_as_often_as_the_mappings_leave_room() {
        assert_eq!(reads(None).await, (0, 15));
        let (of_mapping, of_replay) = reads(Some(1_000)).await;
        assert_eq!(of_mapping, 3);
        assert!((9..=12).contains(&of_replay), "{of_replay}");
        let (of_mapping, of_replay) = reads(Some(200)).await;
        assert_eq!(of_mapping, 15);
        assert!(
            of_replay <= 4,
            "{of_replay}: before the mapping had read as often"
        );
    }
}
