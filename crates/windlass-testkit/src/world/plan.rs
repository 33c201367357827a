//! What a seed draws for the world of a shard before it starts.
//!
//! Each quantity is drawn from several scales (nothing, a little, a lot): two faults that mask each
//! other when both are frequent show in a world where only one of them happens.

use std::ops::Range;
use std::time::Duration;

use windlass_core::arn::Arn;
use windlass_core::event::{self, ENVELOPE_LEN};
use windlass_core::failure::DestinationArn;
use windlass_core::ids::{InnerRecord, ShardId};
use windlass_core::mapping::{RetrySettings, StreamSettings};
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::position::{Checkpoint, Position};
use windlass_core::shard::{ShardConsumerSettings, ShardLimits};
use windlass_core::stretch::StretchStart;
use windlass_core::time::Timestamp;
use windlass_engine::dead_letters::Keep;

use super::Contents;
use super::clocks::{Creation, WallClock};
use super::shard_replay;
use crate::rng::Rng;
use crate::sample_filter;

/// When every world starts.
pub(super) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: ShardConsumerSettings,
    pub(super) from: Checkpoint,
    /// When the first consumer starts.
    pub(super) start: Timestamp,
    /// Of a mapping that starts at `LATEST`.
    pub(super) creation: Option<Creation>,
    pub(super) contents: Contents,
    /// Whether the replay of the stretch has iterators by time.
    pub(super) has_iterators_by_time: bool,
    /// From this time on everything works.
    pub(super) faults_end: Timestamp,
    pub(super) source: SourcePlan,
    pub(super) function: FunctionPlan,
    pub(super) store: StorePlan,
    pub(super) destination: DestinationPlan,
    pub(super) dead_letters: DeadLettersPlan,
    /// The clock of the source.
    pub(super) clock: WallClock,
    /// Chance of each step that the consumer learns of the time of that clock, per mille.
    pub(super) source_time: u64,
    /// How long a slot is waited for, in milliseconds.
    pub(super) slot_latency: (u64, u64),
    /// Chances of each step, per mille: a crash, a drain, a lost lease, trimmed records, a timer that
    /// is not due.
    pub(super) crash: u64,
    pub(super) drain: u64,
    pub(super) lease_loss: u64,
    pub(super) trim: u64,
    pub(super) idle_timer: u64,
    /// The same: the rate of the replay changes.
    pub(super) rate_change: u64,
}

/// How the source behaves. Latencies in milliseconds, chances per mille.
#[derive(Debug, Default)]
pub(super) struct SourcePlan {
    pub(super) latency: (u64, u64),
    pub(super) fault: u64,
    /// A page ends early, or is empty although there is more.
    pub(super) short_page: u64,
    pub(super) empty_page: u64,
    /// A page has more records than the limit.
    pub(super) long_page: u64,
    /// An iterator has expired.
    pub(super) expired: u64,
    /// Reading continues after trimmed records without an error.
    pub(super) trims_silently: bool,
    /// Sequence numbers of a stream that was created again are refused. Otherwise nothing follows
    /// them.
    pub(super) refuses_former_numbers: bool,
    /// A record of the page cannot be rendered; a later read may repair it.
    pub(super) unreadable: u64,
    /// Reads that begin at a time begin there, and not at the oldest record.
    pub(super) has_iterators_by_time: bool,
    /// Pages say how far their end is from the tip.
    pub(super) reports_tip: bool,
    /// Reads of more records time out. If it is 0, all do.
    pub(super) max_records: u32,
}

/// How the function behaves.
#[derive(Debug, Default)]
pub(super) struct FunctionPlan {
    pub(super) latency: (u64, u64),
    pub(super) error: u64,
    /// Lambda stops a loop.
    pub(super) recursive: u64,
    /// Larger batches are not accepted.
    pub(super) max_records: Option<usize>,
    pub(super) not_reached: u64,
    /// It names records that failed, or its response makes no sense.
    pub(super) item_failures: u64,
    /// What is poisoned fails alone, and is named.
    pub(super) names_poison: bool,
    /// Records that fail their batch, and how many times.
    pub(super) poison: Vec<(usize, u32)>,
    /// Periods in which every invocation has this outcome.
    pub(super) outages: Vec<(Timestamp, Timestamp, Outcome)>,
    /// Its response has no state although it was invoked in a window, or one that is too large.
    pub(super) no_state: u64,
    pub(super) large_state: u64,
    /// Bytes of the states that it returns, at most.
    pub(super) max_state: usize,
}

/// How the store behaves.
#[derive(Debug, Default)]
pub(super) struct StorePlan {
    pub(super) latency: (u64, u64),
    pub(super) fault: u64,
    /// A save that fails was carried out anyway.
    pub(super) done_anyway: u64,
}

/// How the on-failure destination behaves.
#[derive(Debug, Default)]
pub(super) struct DestinationPlan {
    pub(super) latency: (u64, u64),
    pub(super) fault: u64,
    /// A delivery that fails has arrived anyway.
    pub(super) done_anyway: u64,
}

/// How the dead letters behave.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadLettersPlan {
    pub(super) keep: Keep,
    pub(super) fault: u64,
    /// A letter whose writing fails is there anyway.
    pub(super) done_anyway: u64,
    /// Records that there is room for, and whether the oldest make room.
    pub(super) room: usize,
    pub(super) drops_oldest: bool,
    /// Chance per mille that an operator deletes letters when they are full.
    pub(super) cleared: u64,
}

impl DeadLettersPlan {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            keep: rng.pick(&[Keep::NoDestination, Keep::Always, Keep::Never]),
            fault: rng.pick(&[0, 0, 100, 600]),
            done_anyway: rng.pick(&[0, 300]),
            room: rng.pick(&[usize::MAX, usize::MAX, 20, 1, 0]),
            drops_oldest: rng.per_mille(300),
            cleared: rng.pick(&[0, 300]),
        }
    }

    /// Whether what a mapping gives up is kept.
    pub(super) fn keeps(&self, mapping: &StreamSettings) -> bool {
        match self.keep {
            Keep::NoDestination => mapping.on_failure.is_none(),
            Keep::Always => true,
            Keep::Never => false,
        }
    }
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let room = rng.pick(&[60, 200, 3000]);
        let payload_limit = ENVELOPE_LEN + room;
        let clock = WallClock::draw(rng);
        let contents = contents(rng, payload_limit, &clock);
        let readable_from = |index| contents.readable_from(index);
        let last = contents.len().checked_sub(1).map_or(START, readable_from);
        let length = last.since(START).max(Duration::from_secs(5));
        let mut settings = settings(rng, payload_limit, length, &contents);
        if rng.per_mille(400) {
            let window = tumbling_window(rng);
            set_window(&mut settings, window);
        }
        let faults_end = START + length * rng.pick(&[0, 1, 2]) + rng.millis(0, 200_000);
        let (mut from, mut start) = from(rng, &contents);
        let creation = rng.per_mille(250).then(|| {
            let creation = Creation::draw(rng, &clock, length);
            // With iterators by time, and without.
            let (position, skip_before) = if rng.per_mille(500) {
                (Position::AtTimestamp(creation.latest), None)
            } else {
                let second = creation.latest.floor_to_second();
                (Position::TrimHorizon, Some(second))
            };
            settings.mapping.skip_before = skip_before;
            (from, start) = (Checkpoint::at(position), creation.at);
            creation
        });
        let mut plan = Self {
            from,
            start,
            creation,
            faults_end,
            source: source(rng),
            function: function(rng, room, contents.len(), faults_end),
            store: StorePlan {
                latency: latency(rng),
                fault: rng.pick(&[0, 0, 50, 400]),
                done_anyway: rng.pick(&[0, 300]),
            },
            destination: DestinationPlan {
                latency: latency(rng),
                fault: rng.pick(&[0, 0, 100, 600]),
                done_anyway: rng.pick(&[0, 300]),
            },
            dead_letters: DeadLettersPlan::draw(rng),
            source_time: rng.pick(&[0, 20, 200]),
            clock,
            slot_latency: slot_latency(rng),
            crash: rng.pick(&[0, 0, 5, 30]),
            drain: rng.pick(&[0, 0, 5, 30]),
            lease_loss: rng.pick(&[0, 0, 0, 5]),
            trim: rng.pick(&[0, 0, 0, 20]),
            idle_timer: rng.pick(&[0, 50]),
            rate_change: rng.pick(&[0, 0, 20]),
            has_iterators_by_time: true,
            settings,
            contents,
        };
        if rng.per_mille(150) {
            plan.read_stretch(length, rng);
        } else if rng.per_mille(150) {
            plan.break_runs(rng);
        }
        plan.set_delivery();
        plan
    }

    /// The records of its stretch.
    pub(super) fn stretch_range(&self) -> Option<Range<usize>> {
        let stretch = &self.settings.stretch.as_ref()?.stretch;
        let range = shard_replay::range(stretch, &self.contents, self.has_iterators_by_time);
        Some(range)
    }

    /// Makes the mapping a replay.
    fn read_stretch(&mut self, length: Duration, rng: &mut Rng) {
        let settings = shard_replay::draw_stretch(rng, &self.contents, &self.clock, length);
        let Some(settings) = settings else {
            return;
        };
        self.settings.mapping.skip_before = None;
        self.creation = None;
        self.start = START;
        self.from = Checkpoint::at(settings.stretch.position());
        if let StretchStart::After(number) = &settings.stretch.from {
            let index = self.contents.first_of(number.as_str());
            self.start = self
                .contents
                .readable_from(index.expect("it is of a record"));
        }
        // A stream that is created again is read from its oldest record.
        self.has_iterators_by_time = rng.per_mille(500) && !self.contents.is_recreated();
        self.source.has_iterators_by_time = self.has_iterators_by_time;
        self.source.reports_tip = settings.reports_tip;
        self.settings.stretch = Some(settings);
    }

    /// Makes it likely that others of their lane are between records that are given up: records that
    /// fail are named, and later ones of their keys are in their batches.
    fn break_runs(&mut self, rng: &mut Rng) {
        let Some(last) = self.contents.len().checked_sub(1) else {
            return;
        };
        set_window(&mut self.settings, None);
        let mapping = &mut self.settings.mapping;
        mapping.parallelization_factor = 1;
        mapping.batch_size = mapping.batch_size.max(5);
        mapping.retries.maximum_attempts = Some(1);
        mapping.retries.bisect_batch = false;
        mapping.retries.strict_order = true;
        self.source.unreadable = 0;
        self.function.names_poison = true;
        self.function.poison = (0..3).map(|_| (rng.size(0, last), 9)).collect();
    }

    /// Changes the mapping as an update between two consumers does.
    pub(super) fn redraw_settings(&mut self, rng: &mut Rng) {
        let max = self.settings.limits.buffer_records * 2;
        if rng.per_mille(300) {
            let window = tumbling_window(rng);
            set_window(&mut self.settings, window);
        }
        let mapping = &mut self.settings.mapping;
        mapping.batch_size = rng.size(1, max);
        if mapping.tumbling_window.is_none() {
            mapping.parallelization_factor = rng.size(1, 10);
        }
        mapping.retries = retries(rng);
        mapping.retries.strict_order &= mapping.tumbling_window.is_none();
        mapping.on_failure = on_failure(rng);
        self.set_delivery();
    }

    fn set_delivery(&mut self) {
        let mapping = &self.settings.mapping;
        let delivers = mapping.on_failure.is_some() || self.dead_letters.keeps(mapping);
        self.settings.delivers_given_up = delivers;
    }
}

fn source(rng: &mut Rng) -> SourcePlan {
    SourcePlan {
        latency: latency(rng),
        fault: rng.pick(&[0, 0, 30, 300]),
        short_page: rng.pick(&[0, 100, 500]),
        empty_page: rng.pick(&[0, 0, 100, 500]),
        long_page: rng.pick(&[0, 0, 0, 100]),
        expired: rng.pick(&[0, 50, 500]),
        trims_silently: rng.per_mille(500),
        refuses_former_numbers: rng.per_mille(300),
        unreadable: rng.pick(&[0, 0, 0, 50, 300]),
        has_iterators_by_time: true,
        reports_tip: true,
        max_records: rng.pick(&[u32::MAX, u32::MAX, u32::MAX, 7, 1, 0]),
    }
}

fn function(rng: &mut Rng, room: usize, n_records: usize, faults_end: Timestamp) -> FunctionPlan {
    FunctionPlan {
        latency: latency(rng),
        error: rng.pick(&[0, 0, 50, 400]),
        recursive: rng.pick(&[0, 0, 0, 50]),
        max_records: rng.pick(&[None, None, None, Some(0), Some(1), Some(3)]),
        not_reached: rng.pick(&[0, 0, 50, 400]),
        item_failures: rng.pick(&[0, 0, 50, 400]),
        names_poison: rng.per_mille(300),
        poison: poison(rng, n_records),
        outages: outages(rng, faults_end),
        no_state: rng.pick(&[0, 0, 50, 300]),
        large_state: rng.pick(&[0, 0, 50, 300]),
        max_state: rng.pick(&[2, room / 2, room]),
    }
}

fn tumbling_window(rng: &mut Rng) -> Option<Duration> {
    let seconds = rng.pick(&[0, 0, 1, 5, 30, 120]);
    (0 < seconds).then(|| Duration::from_secs(seconds))
}

/// Events have as much room for records as before.
fn set_window(settings: &mut ShardConsumerSettings, window: Option<Duration>) {
    let records = settings.limits.payload_limit - settings.window_len;
    settings.window_len = window.map_or(0, |_| event::window_len(&shard(), &stream()));
    settings.limits.payload_limit = records + settings.window_len;
    settings.mapping.tumbling_window = window;
    settings.mapping.retries.strict_order &= window.is_none();
    if window.is_some() {
        settings.mapping.parallelization_factor = 1;
        // A window without a later record takes minutes to end.
        let limits = &mut settings.limits;
        limits.poll_interval = limits.poll_interval.max(Duration::from_secs(2));
    }
}

/// The name of the shard.
pub(crate) fn shard() -> ShardId {
    ShardId::from("shardId-000000000000")
}

/// The ARN of its stream.
pub(crate) fn stream() -> Arn {
    Arn::parse("arn:aws:kinesis:us-east-1:000000000000:stream/orders").expect("it has six parts")
}

fn retries(rng: &mut Rng) -> RetrySettings {
    let seconds = rng.pick(&[0, 0, 0, 5, 60, 1_000]);
    RetrySettings {
        age_from: None,
        maximum_attempts: rng.pick(&[None, None, Some(0), Some(1), Some(3)]),
        maximum_record_age: (0 < seconds).then(|| Duration::from_secs(seconds)),
        bisect_batch: rng.per_mille(400),
        strict_order: rng.per_mille(300),
    }
}

fn on_failure(rng: &mut Rng) -> Option<DestinationArn> {
    let arn = "arn:aws:sqs:us-east-1:000000000000:failed";
    rng.per_mille(600).then(|| DestinationArn::parse(arn))?
}

/// Draws how long the slot of an invocation is waited for.
pub(super) fn slot_latency(rng: &mut Rng) -> (u64, u64) {
    rng.pick(&[(0, 0), (0, 0), (0, 100), (0, 20_000)])
}

/// Draws the fault of a failed call.
pub(super) fn fault(rng: &mut Rng) -> Fault {
    match rng.between(0, 6) {
        0 => Fault::Throttled { retry_after: None },
        1 => Fault::Throttled {
            retry_after: Some(rng.millis(0, 90_000)),
        },
        2 => Fault::Denied,
        3 => Fault::Gone,
        4 => Fault::TimedOut,
        _ => Fault::Transient,
    }
}

pub(super) fn function_error() -> Outcome {
    Outcome::function_error(200, "Unhandled")
}

/// Records are stamped by the clock of the source, in full seconds or not.
fn contents(rng: &mut Rng, payload_limit: usize, clock: &WallClock) -> Contents {
    let n_records = rng.pick(&[0, 1, 5, 20, 20, 60]) as usize;
    let n_keys = rng.pick(&[1, 3, 100]);
    let room = payload_limit - ENVELOPE_LEN;
    let max_len = rng.pick(&[room / 20 + 2, room / 2, room]);
    let too_large = rng.pick(&[0, 0, 100]);
    let match_chance = rng.pick(&[20, 500, 950]);
    let spacing = rng.pick(&[0, 20, 400, 3_000]);
    let gaps = rng.pick(&[0, 50]);
    let skew = rng.pick(&[0, 0, 5_000]);
    let full_seconds = rng.per_mille(300);
    let recreated = (1 < n_records && rng.per_mille(250)).then(|| rng.size(1, n_records - 1));
    let undated = rng.pick(&[0, 0, 0, 100, 1_000]);
    let aggregated = rng.pick(&[0, 0, 0, 300, 1_000]);
    let mut contents = Contents::default();
    let mut readable = START;
    let (mut latest, mut earliest) = (Timestamp::EPOCH, Timestamp::EPOCH);
    while contents.len() < n_records {
        readable = readable + rng.millis(0, spacing);
        if recreated == Some(contents.len()) {
            readable = readable + rng.millis(1_000, 100_000);
            contents.recreate(readable);
            readable = readable + rng.millis(0, 20_000);
            earliest = latest + Duration::from_secs(1);
        }
        if rng.per_mille(gaps) {
            readable = readable + rng.millis(10_000, 100_000);
        }
        let mut arrival = clock.at(readable) + rng.millis(0, skew);
        if full_seconds {
            arrival = arrival.floor_to_second();
        }
        let arrival = arrival.max(earliest);
        latest = latest.max(arrival);
        let is_undated = rng.per_mille(undated);
        let next_stream = recreated.filter(|at| contents.len() < *at);
        let n_left = next_stream.unwrap_or(n_records) - contents.len();
        for inner in inner_records(rng, aggregated, n_left) {
            let len = if rng.per_mille(too_large) {
                rng.size(room + 1, room + 9)
            } else {
                rng.size(2, max_len)
            };
            let event = (len, rng.per_mille(match_chance));
            contents.push(rng.between(1, n_keys), inner, event, arrival, readable);
            if is_undated {
                contents.hide_last_arrival();
            }
        }
    }
    if rng.per_mille(800) {
        contents.closes = Some(readable + rng.millis(0, 20_000));
    }
    contents
}

/// The records of an aggregate, or one plain record.
fn inner_records(rng: &mut Rng, aggregated: u64, n_left: usize) -> Vec<Option<InnerRecord>> {
    if !rng.per_mille(aggregated) {
        return vec![None];
    }
    let last = u32::try_from(rng.size(1, n_left.min(8)) - 1).expect("it is small");
    let mut inner = |index| InnerRecord {
        index,
        is_last: index == last,
        is_outside_hash_key_range: rng.per_mille(300),
    };
    (0..=last).map(|index| Some(inner(index))).collect()
}

fn settings(
    rng: &mut Rng,
    payload_limit: usize,
    length: Duration,
    contents: &Contents,
) -> ShardConsumerSettings {
    // Otherwise most steps of a long world would be polls.
    let poll_interval = Duration::from_millis(rng.pick(&[20, 250, 1000])).max(length / 100);
    let buffer_records = rng.size(1, 40);
    let skip = rng.per_mille(200) && !contents.is_empty();
    ShardConsumerSettings {
        filter: rng.per_mille(300).then(sample_filter::criteria),
        delivers_given_up: false,
        stretch: None,
        mapping: StreamSettings {
            starting_position: Position::TrimHorizon,
            recreated_position: Position::TrimHorizon,
            skip_before: skip.then(|| {
                let index = rng.size(0, contents.len() - 1);
                contents.records()[index].approximate_arrival()
            }),
            batch_size: rng.pick(&[1, 2, 5, 20, 100]),
            maximum_batching_window: rng.pick(&[
                Duration::ZERO,
                Duration::ZERO,
                Duration::from_millis(300),
                Duration::from_secs(5),
                Duration::from_secs(60),
            ]),
            parallelization_factor: rng.pick(&[1, 1, 2, 3, 10]),
            tumbling_window: None,
            on_failure: on_failure(rng),
            retries: retries(rng),
        },
        window_len: 0,
        limits: ShardLimits {
            poll_interval,
            catch_up_interval: poll_interval / rng.pick(&[1, 4, 5]),
            read_limit: rng.pick(&[1, 5, 10, 1000]),
            buffer_records,
            buffer_bytes: rng.pick(&[50, 1_000, 100_000]),
            payload_limit,
            backoff_jitter_percent: 20,
        },
    }
}

/// The stored checkpoint, and when a consumer starts from it.
fn from(rng: &mut Rng, contents: &Contents) -> (Checkpoint, Timestamp) {
    if contents.is_empty() {
        return (Checkpoint::at(Position::TrimHorizon), START);
    }
    let index = rng.size(0, contents.len() - 1);
    let record = &contents.records()[index];
    match rng.between(0, 9) {
        0 | 1 => {
            let time = Position::AtTimestamp(record.approximate_arrival());
            (Checkpoint::at(time), START)
        }
        2 => {
            let position = contents.position_after(index);
            let after = Checkpoint {
                arrival: Some(record.approximate_arrival()),
                ..Checkpoint::at(position)
            };
            (after, contents.readable_from(index))
        }
        _ => (Checkpoint::at(Position::TrimHorizon), START),
    }
}

pub(super) fn latency(rng: &mut Rng) -> (u64, u64) {
    rng.pick(&[(0, 0), (1, 10), (5, 200), (100, 20_000)])
}

pub(super) fn poison(rng: &mut Rng, n_records: usize) -> Vec<(usize, u32)> {
    if n_records == 0 {
        return Vec::new();
    }
    let n_poisoned = rng.pick(&[0, 0, 1, 3]);
    let draw = |_| (rng.size(0, n_records - 1), rng.pick(&[1, 2, 9]));
    (0..n_poisoned).map(draw).collect()
}

pub(super) fn outages(
    rng: &mut Rng,
    faults_end: Timestamp,
) -> Vec<(Timestamp, Timestamp, Outcome)> {
    let length = u64::try_from(faults_end.since(START).as_millis()).expect("a world lasts minutes");
    let n_outages = rng.pick(&[0, 0, 1, 2]);
    let draw = |_| {
        let begin = START + rng.millis(0, length);
        let end = begin + rng.millis(0, length / 2);
        let outcome = if rng.per_mille(500) {
            function_error()
        } else {
            Outcome::NotInvoked { cause: fault(rng) }
        };
        (begin, end.min(faults_end), outcome)
    };
    (0..n_outages).map(draw).collect()
}
