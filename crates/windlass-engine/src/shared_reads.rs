//! The reads of one stream that its mappings and replays share: a shard allows five reads a second
//! to all of them together. Mappings go first; a replay waits until there is room. One that has waited
//! for five seconds gets the next read, for which the mappings wait; of several replays the one that
//! has waited longest, and one in five seconds. Mappings that read all the time keep 24 of 25 reads.
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

/// How long a replay waits for mappings: in periods of five intervals.
const MAX_WAIT_PERIODS: u32 = 5;

/// The streams that are read, by their ARNs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedReads(Arc<Mutex<BTreeMap<Arn, Weak<StreamReads>>>>);

/// Of one stream.
#[derive(Debug, Default)]
struct StreamReads {
    /// While there are none, nothing is noted.
    n_replays: AtomicUsize,
    shards: Mutex<BTreeMap<ShardId, ShardReads>>,
}

/// Of one shard.
#[derive(Debug, Default)]
struct ShardReads {
    recent: VecDeque<Read>,
    /// The next read is left to a replay.
    left: Option<Left>,
    /// When one was last.
    left_at: Option<Timestamp>,
}

/// A read that mappings leave to a replay.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// When the replay reads; one that waits longer may take its place until then.
    at: Timestamp,
    /// Since when the replay waits.
    since: Timestamp,
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
                while 0 < stream.n_replays.load(Ordering::Relaxed)
                    && let Some(at) = stream.read(shard, clock.now(), interval)
                {
                    Timer::new(clock).sleep_until(Some(at)).await;
                }
            }
            Self::Replay(reads) => {
                let since = clock.now();
                while let Some(at) = reads.0.try_read(shard, since, clock.now(), interval) {
                    Timer::new(clock).sleep_until(Some(at)).await;
                }
            }
        }
    }
}

impl StreamReads {
    /// Reads for a mapping, or says when to try again.
    fn read(&self, shard: &ShardId, now: Timestamp, interval: Duration) -> Option<Timestamp> {
        self.with_shard(shard, now, interval, |reads| {
            // The replay may have gone, so that is no longer than its read would take.
            let until = reads.left.map(|left| left.at + interval);
            if until.is_none() {
                reads.add(now, false);
            }
            until
        })
    }

    /// Reads for a replay that waits since `since`, or says when to try again. Next to a mapping it
    /// leaves room for a read of that, until it has waited long enough.
    fn try_read(
        &self,
        shard: &ShardId,
        since: Timestamp,
        now: Timestamp,
        interval: Duration,
    ) -> Option<Timestamp> {
        self.with_shard(shard, now, interval, |reads| {
            let has_mapping = reads.recent.iter().any(|read| !read.is_of_replay);
            let room_at = reads.room_at(MAX_READS - u8::from(has_mapping), interval);
            if room_at.is_none() {
                reads.add(now, true);
                return None;
            }
            if !reads.may_be_left(since, now, interval) {
                return room_at;
            }
            let room_at = reads.room_at(MAX_READS, interval);
            let is_its_turn = |left: Left| left.since == since && left.at <= now;
            if room_at.is_none() && reads.left.is_some_and(is_its_turn) {
                reads.add(now, true);
                reads.left_at = Some(now);
                return None;
            }
            let at = room_at.unwrap_or(now).max(now + Duration::from_millis(1));
            reads.left = Some(Left { at, since });
            Some(at)
        })
    }

    fn with_shard<T>(
        &self,
        shard: &ShardId,
        now: Timestamp,
        interval: Duration,
        act: impl FnOnce(&mut ShardReads) -> T,
    ) -> T {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let reads = shards.entry(shard.detached()).or_default();
        let is_over = |read: &Read| read.at + window(interval) <= now;
        while reads.recent.front().is_some_and(is_over) {
            reads.recent.pop_front();
        }
        reads.left = reads.left.filter(|left| now < left.at + interval);
        act(reads)
    }
}

impl ShardReads {
    /// When there are fewer reads than `limit`; `None`: there are now.
    fn room_at(&self, limit: u8, interval: Duration) -> Option<Timestamp> {
        let excess = self.recent.len().checked_sub(usize::from(limit))?;
        Some(self.recent[excess].at + window(interval))
    }

    /// Whether mappings leave the next read to a replay that waits since `since`.
    fn may_be_left(&self, since: Timestamp, now: Timestamp, interval: Duration) -> bool {
        let is_over = |since: Timestamp| since + window(interval) * MAX_WAIT_PERIODS <= now;
        let is_longest = self.left.is_none_or(|left| since <= left.since);
        is_over(since) && self.left_at.is_none_or(is_over) && is_longest
    }

    fn add(&mut self, at: Timestamp, is_of_replay: bool) {
        self.recent.push_back(Read { at, is_of_replay });
    }
}

fn window(interval: Duration) -> Duration {
    interval * u32::from(MAX_READS)
}

impl Drop for ReplayReads {
    fn drop(&mut self) {
        if self.0.n_replays.fetch_sub(1, Ordering::Relaxed) == 1 {
            let mut shards = self.0.shards.lock().unwrap_or_else(PoisonError::into_inner);
            shards.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    /// Reads of each in this number of seconds, if the mapping reads after this number of milliseconds.
    async fn reads(mapping_interval: Option<u64>, seconds: u64) -> (usize, usize) {
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
        let end = Duration::from_millis(seconds * 1_000 - 1);
        drop(tokio::time::timeout(end, both).await);
        (of_mapping, of_replay)
    }

    #[tokio::test(start_paused = true)]
    async fn a_replay_reads_as_often_as_the_mappings_leave_room() {
        assert_eq!(reads(None, 3).await, (0, 15));
        let (of_mapping, of_replay) = reads(Some(1_000), 3).await;
        assert_eq!(of_mapping, 3);
        assert!((9..=12).contains(&of_replay), "{of_replay}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replay_next_to_a_mapping_at_full_speed_gets_a_read_every_five_seconds() {
        let (of_mapping, of_replay) = reads(Some(200), 60).await;
        assert!((13..=16).contains(&of_replay), "{of_replay}");
        let all = of_mapping + of_replay;
        assert!(
            (297..=303).contains(&all),
            "{all}: the replay begins with up to four"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn several_replays_take_turns_and_no_more_of_the_reads_of_a_mapping() {
        let clock = Clock::start();
        let shared = SharedReads::default();
        let stream = Arn::parse("arn:aws:kinesis:us-east-1:000000000000:stream/s").unwrap();
        let (mapping, shard) = (shared.of_mapping(&stream), ShardId::from("0"));
        let all = Mutex::new([0; 4]);
        let reads = async |index: usize, share: ReadShare, pause: Duration| loop {
            share.turn(&shard, INTERVAL, clock).await;
            all.lock().unwrap()[index] += 1;
            tokio::time::sleep(pause).await;
        };
        let pause = Duration::from_millis(1);
        let together = async {
            tokio::join!(
                reads(0, mapping, INTERVAL),
                reads(1, shared.of_replay(&stream), pause),
                reads(2, shared.of_replay(&stream), pause),
                reads(3, shared.of_replay(&stream), pause),
            )
        };
        let minute = Duration::from_secs(60);
        drop(tokio::time::timeout(minute, together).await);
        let [of_mapping, of_replays @ ..] = all.into_inner().unwrap();
        assert!(285 <= of_mapping, "{of_mapping} {of_replays:?}");
        assert!(of_replays.iter().all(|n| *n >= 3), "{of_replays:?}");
    }

    #[test]
    fn a_replay_that_goes_leaves_its_read_to_the_mappings() {
        let (stream, shard) = (StreamReads::default(), ShardId::from("0"));
        let at = Timestamp::from_millis;
        for millis in [4_200, 4_400, 4_600, 4_800, 5_000] {
            assert_eq!(stream.read(&shard, at(millis), INTERVAL), None);
        }
        let waits = stream.try_read(&shard, at(1), at(5_000), INTERVAL);
        assert_eq!(
            waits,
            Some(at(5_400)),
            "a read of the mapping has room next to it"
        );
        let waits = stream.try_read(&shard, at(0), at(5_000), INTERVAL);
        assert_eq!(waits, Some(at(5_200)), "the next read is its own");
        let waits = stream.read(&shard, at(5_100), INTERVAL);
        assert_eq!(waits, Some(at(5_400)));
        assert_eq!(stream.read(&shard, at(5_400), INTERVAL), None);
    }
}
