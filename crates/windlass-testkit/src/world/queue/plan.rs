//! What a seed draws for the world of a queue before it starts.

use std::time::Duration;

use windlass_core::event::ENVELOPE_LEN;
use windlass_core::mapping::{Pollers, QueueSettings, RetryBackoff};
use windlass_core::outcome::Outcome;
use windlass_core::queue::{QueueAttributes, QueueConsumerSettings, QueueLimits};
use windlass_core::time::Timestamp;

use crate::rng::Rng;
use crate::sample_filter;
use crate::world::plan::{START, outages, poison, slot_latency};

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: QueueConsumerSettings,
    /// In the order of sending.
    pub(super) messages: Vec<Planned>,
    /// From this time on everything works.
    pub(super) faults_end: Timestamp,
    pub(super) sqs: SqsPlan,
    pub(super) function: FunctionPlan,
    /// Slots of the mapping.
    pub(super) concurrency: usize,
    /// How long a slot is waited for that is free, in milliseconds.
    pub(super) slot_latency: (u64, u64),
    /// By how many milliseconds the clock of the queue is ahead; `None` if the consumer never learns
    /// its time.
    pub(super) clock_ahead: Option<i64>,
    /// Chance of each step, per mille, that other mappings use all slots.
    pub(super) slots_taken: u64,
    /// Chances of each step, per mille: a crash, a drain, a timer that is not due, a change of the
    /// queue's attributes.
    pub(super) crash: u64,
    pub(super) drain: u64,
    pub(super) idle_timer: u64,
    pub(super) new_attributes: u64,
}

/// One message of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    /// The message group; ignored on a standard queue.
    pub(super) group: u64,
    pub(super) len: usize,
    /// The filter of the world matches it.
    pub(super) matches: bool,
    /// Its text cannot be rendered.
    pub(super) unreadable: bool,
    pub(super) sent: Timestamp,
}

/// How the queue behaves. Latencies in milliseconds, chances per mille.
#[derive(Clone, Debug, Default)]
pub(super) struct SqsPlan {
    /// Of each direction.
    pub(super) latency: (u64, u64),
    pub(super) receive_fault: u64,
    /// A receive that fails was carried out anyway.
    pub(super) lost_answer: u64,
    /// A response is empty or short although there are more messages.
    pub(super) empty: u64,
    pub(super) short: u64,
    /// A response has more messages than were requested.
    pub(super) excess: u64,
    /// Standard queues: messages out of order, and messages that are invisible.
    pub(super) reordered: u64,
    pub(super) duplicate: u64,
    pub(super) delete_fault: u64,
    pub(super) change_fault: u64,
    /// One entry of a request fails.
    pub(super) entry_fault: u64,
    /// What fails was carried out anyway.
    pub(super) done_anyway: u64,
    /// `maxReceiveCount` of the redrive policy. Without a policy, messages that can never be delivered
    /// are moved as well, so that the world ends.
    pub(super) max_receives: u32,
}

/// How the function behaves.
#[derive(Debug, Default)]
pub(super) struct FunctionPlan {
    pub(super) latency: (u64, u64),
    /// It takes nearly its whole timeout, or longer.
    pub(super) slow: u64,
    pub(super) never: u64,
    pub(super) error: u64,
    /// It reports items as failed: of the batch, others, or in a malformed response.
    pub(super) item_failures: u64,
    pub(super) not_reached: u64,
    /// It has processed the batch although it reports a failure.
    pub(super) done_anyway: u64,
    /// Messages of the largest batch that it accepts.
    pub(super) max_messages: Option<usize>,
    /// Messages that fail their batch, and how many times.
    pub(super) poison: Vec<(usize, u32)>,
    /// They end the function behind a gateway, which answers that it is not reached.
    pub(super) has_gateway: bool,
    /// Periods in which every invocation has this outcome.
    pub(super) outages: Vec<(Timestamp, Timestamp, Outcome)>,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let payload_limit = ENVELOPE_LEN + rng.pick(&[60, 200, 3000]);
        let messages = messages(rng, payload_limit);
        let last = messages.last().map_or(START, |message| message.sent);
        let length = last.since(START).max(Duration::from_secs(5));
        let faults_end = START + length * rng.pick(&[0, 1, 2]) + rng.millis(0, 200_000);
        let concurrency = rng.pick(&[1, 2, 5, 20, 20]);
        Self {
            settings: settings(rng, payload_limit, concurrency),
            faults_end,
            sqs: sqs(rng),
            function: FunctionPlan {
                latency: rng.pick(&[(0, 0), (1, 10), (5, 200), (100, 20_000)]),
                slow: rng.pick(&[0, 0, 100]),
                never: rng.pick(&[0, 0, 50]),
                error: rng.pick(&[0, 0, 50, 400]),
                item_failures: rng.pick(&[0, 0, 300]),
                not_reached: rng.pick(&[0, 0, 50, 400]),
                done_anyway: rng.pick(&[0, 0, 300]),
                poison: poison(rng, messages.len()),
                has_gateway: rng.per_mille(300),
                outages: outages(rng, faults_end),
                max_messages: rng.pick(&[None, None, Some(1), Some(3)]),
            },
            concurrency,
            slot_latency: slot_latency(rng),
            slots_taken: rng.pick(&[0, 0, 300]),
            clock_ahead: rng.pick(&[None, Some(0), Some(-600_000), Some(90_000)]),
            crash: rng.pick(&[0, 0, 5, 30]),
            drain: rng.pick(&[0, 0, 5, 30]),
            idle_timer: rng.pick(&[0, 50]),
            new_attributes: rng.pick(&[0, 0, 0, 20]),
            messages,
        }
    }

    /// Changes the queue's attributes.
    pub(super) fn redraw_attributes(&mut self, rng: &mut Rng) -> QueueAttributes {
        self.settings.attributes = QueueAttributes {
            visibility_timeout: Duration::from_secs(rng.pick(&[0, 2, 30, 120])),
            has_redrive_policy: rng.per_mille(500),
            retention: retention(rng),
        };
        self.settings.attributes
    }

    /// Changes the batch size, as an update of the mapping between two consumers does.
    pub(super) fn redraw_batch_size(&mut self, rng: &mut Rng) {
        self.settings.mapping.batch_size = rng.size(1, self.settings.limits.buffer_messages * 2);
    }
}

fn messages(rng: &mut Rng, payload_limit: usize) -> Vec<Planned> {
    let n_messages = rng.pick(&[0, 1, 5, 20, 20, 60]);
    let n_groups = rng.pick(&[1, 3, 10]);
    let room = payload_limit - ENVELOPE_LEN;
    let max_len = rng.pick(&[room / 20 + 2, room / 2, room]);
    let too_large = rng.pick(&[0, 0, 100]);
    let unreadable = rng.pick(&[0, 0, 0, 50]);
    let match_chance = rng.pick(&[20, 500, 950]);
    let spacing = rng.pick(&[0, 20, 400, 3_000]);
    let gaps = rng.pick(&[0, 50]);
    let mut sent = START;
    let mut draw = |_| {
        sent = sent + rng.millis(0, spacing);
        if rng.per_mille(gaps) {
            sent = sent + rng.millis(10_000, 100_000);
        }
        let len = if rng.per_mille(too_large) {
            rng.size(room + 1, room + 9)
        } else {
            rng.size(2, max_len)
        };
        let group = rng.between(1, n_groups);
        Planned {
            group,
            len,
            matches: rng.per_mille(match_chance),
            unreadable: rng.per_mille(unreadable),
            sent,
        }
    };
    (0..n_messages).map(&mut draw).collect()
}

fn settings(rng: &mut Rng, payload_limit: usize, concurrency: usize) -> QueueConsumerSettings {
    let seconds = |rng: &mut Rng, values: &[u64]| Duration::from_secs(rng.pick(values));
    let fifo = rng.per_mille(500);
    QueueConsumerSettings {
        filter: rng.per_mille(300).then(sample_filter::criteria),
        mapping: QueueSettings {
            fifo,
            batch_size: rng.pick(&[1, 2, 5, 10, 20, 100]),
            maximum_batching_window: rng.pick(&[
                Duration::ZERO,
                Duration::ZERO,
                Duration::from_millis(300),
                Duration::from_secs(5),
                Duration::from_secs(60),
            ]),
            strict_order: fifo && rng.per_mille(400),
            pollers: rng.per_mille(300).then(|| pollers(rng)),
        },
        attributes: QueueAttributes {
            visibility_timeout: seconds(rng, &[0, 2, 10, 30, 30, 120]),
            has_redrive_policy: rng.per_mille(500),
            retention: retention(rng),
        },
        function_timeout: seconds(rng, &[1, 3, 30, 200]),
        retry_backoff: rng.per_mille(400).then(|| retry_backoff(rng)),
        limits: QueueLimits {
            visibility_heartbeat: rng.per_mille(700),
            wait_time: seconds(rng, &[0, 1, 20, 20]),
            buffer_messages: rng.pick(&[1, 5, 20, 60]),
            payload_limit,
            concurrency,
            hold_limit: seconds(rng, &[5, 60, 900]),
            backoff_jitter_percent: 20,
        },
    }
}

fn retry_backoff(rng: &mut Rng) -> RetryBackoff {
    let first = rng.pick(&[0, 700, 2_000, 5_000, 30_000]);
    RetryBackoff {
        first: Duration::from_millis(first),
        factor: rng.pick(&[1.0, 1.5, 2.0, 10.0]),
        maximum: Duration::from_millis(first.max(rng.pick(&[0, 10_500, 120_000]))),
    }
}

fn retention(rng: &mut Rng) -> Option<Duration> {
    rng.pick(&[None, Some(60), Some(120), Some(345_600)])
        .map(Duration::from_secs)
}

fn pollers(rng: &mut Rng) -> Pollers {
    let minimum = rng.pick(&[2, 2, 3, 10]);
    Pollers {
        minimum,
        maximum: minimum + rng.pick(&[0, 1, 2, 200]),
    }
}

fn sqs(rng: &mut Rng) -> SqsPlan {
    SqsPlan {
        latency: rng.pick(&[(0, 0), (1, 10), (5, 200), (100, 8_000)]),
        receive_fault: rng.pick(&[0, 0, 50, 400]),
        lost_answer: rng.pick(&[0, 300]),
        empty: rng.pick(&[0, 0, 100, 500]),
        short: rng.pick(&[0, 100, 500]),
        excess: rng.pick(&[0, 0, 100, 500]),
        reordered: rng.pick(&[0, 500]),
        duplicate: rng.pick(&[0, 0, 20, 200]),
        delete_fault: rng.pick(&[0, 0, 50, 400]),
        change_fault: rng.pick(&[0, 0, 50, 400]),
        entry_fault: rng.pick(&[0, 0, 50, 400]),
        done_anyway: rng.pick(&[0, 300]),
        max_receives: rng.pick(&[1, 3, 5]),
    }
}
