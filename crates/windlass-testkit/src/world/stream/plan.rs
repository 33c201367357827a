//! What a seed draws for the world of a stream before it starts.

use std::time::Duration;

use windlass_core::mapping::{RetrySettings, StreamSettings};
use windlass_core::position::Position;
use windlass_core::time::Timestamp;

use crate::rng::Rng;

/// When every world starts.
pub(super) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: StreamSettings,
    /// The rows are those of a replay of this stretch, of all shards or of those that exist at the
    /// start. Then the stream stays the same and its listings lack nothing.
    pub(super) replay: Option<Replay>,
    /// Steps until everything works, and nothing changes any more.
    pub(super) n_steps: u64,
    /// The longest time between two steps, in milliseconds.
    pub(super) step: u64,
    pub(super) changes: Changes,
    pub(super) source: SourcePlan,
    pub(super) lies: Lies,
    /// Chances of each step, per mille: the daemon crashes and starts again, it looks at its rows.
    pub(super) restart: u64,
    pub(super) sync: u64,
    /// Chance per mille that a consumer saves its checkpoint after a page.
    pub(super) save: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// Chance per mille that a shard is chosen; 0 for all.
    pub(super) chosen: u64,
}

/// How the stream changes. Chances of each step, per mille.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) put: u64,
    pub(super) split: u64,
    pub(super) merge: u64,
    /// A shard closes and has one child, as shards of DynamoDB do every few hours.
    pub(super) roll: u64,
    pub(super) trim: u64,
    pub(super) expire: u64,
    /// The stream is deleted and created again under its name.
    pub(super) recreate: u64,
    /// An operator parks a shard or the mapping, or ends a park.
    pub(super) park: u64,
    /// An operator moves all shards, or one, to the oldest record.
    pub(super) seek: u64,
}

/// How the source answers reads.
#[derive(Clone, Debug)]
pub(super) struct SourcePlan {
    /// Chance per mille of a fault.
    pub(super) fault: u64,
    /// Whether shards that exist are refused as unknown as well.
    pub(super) refuses_existing: bool,
    /// A position of another stream is accepted: reading continues at the next higher number.
    pub(super) is_lenient: bool,
    /// The oldest record that the source has is listed as the start of its shard.
    pub(super) moves_starts: bool,
}

/// How listings differ from the truth. Chances of each listing or shard, per mille.
#[derive(Clone, Debug)]
pub(super) struct Lies {
    pub(super) fails: u64,
    pub(super) is_empty: u64,
    /// A page is missing.
    pub(super) is_truncated: u64,
    /// It is of an earlier time; a stream that was deleted is listed only for a while.
    pub(super) is_stale: u64,
    pub(super) lacks_shard: u64,
    pub(super) shows_open: u64,
    pub(super) lacks_start: u64,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let moves_starts = rng.per_mille(100);
        let mut plan = Self {
            settings: settings(rng),
            replay: None,
            n_steps: rng.pick(&[30, 60, 120]),
            step: rng.pick(&[2_000, 8_000, 30_000]),
            changes: Changes {
                put: 150,
                split: rng.pick(&[0, 30, 100]),
                merge: rng.pick(&[0, 30, 100]),
                roll: rng.pick(&[0, 30, 100]),
                trim: rng.pick(&[0, 0, 40]),
                expire: rng.pick(&[0, 40, 100]),
                recreate: rng.pick(&[0, 0, 15, 40]),
                park: 0,
                seek: 0,
            },
            source: SourcePlan {
                fault: rng.pick(&[0, 50, 300]),
                refuses_existing: rng.per_mille(500),
                is_lenient: rng.per_mille(300),
                moves_starts,
            },
            lies: Lies {
                fails: rng.pick(&[0, 0, 300]),
                is_empty: rng.pick(&[0, 0, 200]),
                is_truncated: rng.pick(&[0, 0, 300]),
                // One that is earlier than the start of the last one is not told from another stream.
                is_stale: if moves_starts {
                    0
                } else {
                    rng.pick(&[0, 0, 300])
                },
                lacks_shard: rng.pick(&[0, 0, 200, 600]),
                shows_open: rng.pick(&[0, 300, 1000]),
                lacks_start: rng.pick(&[0, 0, 0, 200, 1000]),
            },
            restart: rng.pick(&[0, 0, 20, 60]),
            sync: rng.pick(&[100, 400]),
            save: rng.pick(&[200, 800]),
        };
        match rng.between(0, 9) {
            0 => plan.read_stretch(rng),
            1..=2 => plan.operate(rng),
            _ => {}
        }
        plan
    }

    fn operate(&mut self, rng: &mut Rng) {
        self.changes.park = rng.pick(&[0, 30, 100]);
        // Without the number of its checkpoint a row does not show that its stream was created again.
        if self.changes.recreate == 0 && !self.source.moves_starts {
            self.changes.seek = rng.pick(&[0, 30, 100]);
        }
    }

    fn read_stretch(&mut self, rng: &mut Rng) {
        let length = self.n_steps * self.step / 2;
        let latest = rng.pick(&[0, length]);
        let from = START + rng.millis(0, latest);
        self.replay = Some(Replay {
            from,
            to: from + rng.millis(0, length),
            chosen: rng.pick(&[0, 0, 400]),
        });
        let begin = Position::AtTimestamp(from);
        self.settings.starting_position = begin.clone();
        self.settings.recreated_position = begin;
        self.changes.recreate = 0;
        self.lies = Lies {
            is_truncated: 0,
            is_stale: 0,
            lacks_shard: 0,
            ..self.lies.clone()
        };
    }
}

fn settings(rng: &mut Rng) -> StreamSettings {
    let at = Position::AtTimestamp(START + rng.millis(0, 100_000));
    let created = Position::AtTimestamp(START);
    let (starting_position, recreated_position) = match rng.between(0, 3) {
        0 => (at.clone(), at),
        // A mapping that starts at `LATEST`.
        1 => (created, Position::TrimHorizon),
        _ => (Position::TrimHorizon, Position::TrimHorizon),
    };
    StreamSettings {
        starting_position,
        recreated_position,
        skip_before: None,
        batch_size: 100,
        maximum_batching_window: Duration::ZERO,
        parallelization_factor: 1,
        tumbling_window: None,
        on_failure: None,
        retries: RetrySettings::default(),
    }
}
