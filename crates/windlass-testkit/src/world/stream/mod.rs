//! The world of one stream: its shards split, merge, roll, expire and are created again, and their
//! listings lie.
//!
//! The stream keeps what is true; the mapping knows only the listings and the answers to its reads.
//! Checked at every step, by a name that tells what is broken:
//!
//! - `order`: a shard begins only when every record of its parents was delivered or has left the
//!   stream, and no record overtakes an earlier one of its key;
//! - `checkpoint`: a position short of the end is dropped only when the stream was created again, or
//!   with the proof that its shard is gone: three listings without it, at least 10 s apart, and a
//!   refused read; the row of a finished shard goes by the same proof alone;
//! - `start`: a row has the starting sequence number of its shard, if it is listed, and a shard of a
//!   stream that was created again is read from the mapping's position for that;
//! - `repeated`: a listing is repeated soon when it lacks a parent that is not resolved or, without a
//!   row, is not refused as unknown, and only then;
//! - `parked`: no consumer of a parked shard runs;
//! - `phantom`: a row is of a shard that has existed;
//! - `outside` and `complete`: a replay delivers the records of its stretch, and is complete only with
//!   all of them;
//! - `lost` and `stuck`: once the listings are true, everything is delivered within ten minutes, and
//!   there is one row for each shard.

mod daemon;
mod listing;
mod plan;
mod rows;
mod source;

use std::collections::BTreeSet;
use std::time::Duration;

use windlass_core::position::Position;
use windlass_core::stretch::{Stretch, StretchEnd, StretchStart};
use windlass_core::stretch_rows::StretchShards;
use windlass_core::time::Timestamp;

use self::daemon::Daemon;
use self::listing::Listings;
use self::plan::{Plan, Replay, START};
use self::rows::Rows;
use self::source::{Listed, Source, StretchOfShards};
use super::{Totals, Trace};
use crate::checkers::{BrokenInvariant, ensure};
use crate::rng::Rng;

const LISTING_INTERVAL: Duration = Duration::from_secs(30);

/// In which everything settles once the listings are true.
const SETTLING_TIME: Duration = Duration::from_secs(600);

/// Runs the world of one seed to its end.
///
/// # Errors
/// An invariant was broken, or the world did not settle.
pub fn run(seed: u64, trace: &mut Trace) -> Result<Totals, BrokenInvariant> {
    let mut world = World::new(seed, std::mem::take(trace));
    let result = world.run();
    *trace = world.trace;
    result.map(|()| world.totals)
}

struct World {
    rng: Rng,
    plan: Plan,
    source: Source,
    listings: Listings,
    rows: Rows,
    daemon: Daemon,
    listing_due: Timestamp,
    is_faulty: bool,
    totals: Totals,
    trace: Trace,
}

impl World {
    fn new(seed: u64, mut trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        trace.record(|| format!("seed {seed}: {plan:?}"));
        let since = if let Position::AtTimestamp(time) = plan.settings.starting_position {
            time
        } else {
            START
        };
        let mut source = Source::new(plan.source.clone(), since, &mut rng);
        let mut rows = Rows::new(plan.settings.clone());
        if let Some(replay) = plan.replay {
            rows.replay = Some(start_replay(&mut source, replay, &mut rng));
        }
        Self {
            source,
            listings: Listings::new(plan.lies.clone()),
            rows,
            daemon: Daemon::default(),
            listing_due: START,
            is_faulty: true,
            totals: Totals::default(),
            rng,
            plan,
            trace,
        }
    }

    fn run(&mut self) -> Result<(), BrokenInvariant> {
        for _ in 0..self.plan.n_steps {
            self.step()?;
        }
        self.is_faulty = false;
        self.rows.parks.unpark(None);
        self.settle()?;
        self.totals.worlds = 1;
        self.totals.records = self.source.n_records();
        Ok(())
    }

    fn step(&mut self) -> Result<(), BrokenInvariant> {
        self.totals.steps += 1;
        self.source.now = self.source.now + self.rng.millis(0, self.plan.step);
        self.change();
        if self.rng.per_mille(self.plan.restart) {
            self.trace.record(|| "the daemon restarts".to_owned());
            self.totals.crashes += 1;
            self.daemon = Daemon::default();
            self.listing_due = self.source.now;
        }
        if self.rng.per_mille(self.plan.restart) {
            self.crash_any();
        }
        if self.listing_due <= self.source.now {
            self.list()?;
        } else if self.rng.per_mille(self.plan.sync) {
            self.sync()?;
        }
        for _ in 0..self.rng.size(0, 3) {
            self.read_any()?;
        }
        Ok(())
    }

    fn change(&mut self) {
        let (changes, rng) = (&self.plan.changes, &mut self.rng);
        if rng.per_mille(changes.put) {
            self.source.put(rng);
        }
        if rng.per_mille(changes.split) {
            self.source.split(rng);
        }
        if rng.per_mille(changes.merge) {
            self.source.merge(rng);
        }
        if rng.per_mille(changes.roll) {
            self.source.roll(rng);
        }
        if rng.per_mille(changes.trim) {
            self.totals.trims += u64::from(self.source.trim(rng));
        }
        if rng.per_mille(changes.expire) {
            self.totals.expired += u64::from(self.source.expire(rng));
        }
        if rng.per_mille(changes.park) {
            self.rows.operate(self.source.now, rng);
            let parks = &self.rows.parks;
            self.trace.record(|| format!("the operator: {parks:?}"));
        }
        if rng.per_mille(changes.recreate) {
            self.recreate();
        }
        if self.rng.per_mille(self.plan.changes.seek) {
            self.seek();
        }
    }

    /// Without the starts of its rows no mapping can know that a stream was created again.
    fn recreate(&mut self) {
        let mut listed = self.daemon.listed.iter();
        let is_listed = listed.all(|it| it.shard.starting_sequence_number.is_some());
        if !(is_listed && self.rows.have_starts() && self.source.can_recreate()) {
            return;
        }
        let is_ended = self.rows.have_ends() || self.daemon.has_unsaved_end();
        let same_numbers = !is_ended && !self.source.plan.is_lenient;
        self.source.recreate(same_numbers, &mut self.rng);
        self.listings.recreated();
        self.totals.recreated += 1;
    }

    fn draw_listing(&mut self) -> Option<Vec<Listed>> {
        let (source, absences) = (&self.source, &self.daemon.absences);
        self.listings
            .draw(source, absences, &self.rows, self.is_faulty, &mut self.rng)
    }

    fn list(&mut self) -> Result<(), BrokenInvariant> {
        let now = self.source.now;
        self.listing_due = now + self.rng.millis(1_000, 30_000);
        let Some(listed) = self.draw_listing() else {
            return Ok(());
        };
        self.trace.record(|| {
            let since_start = now.since(START).as_millis();
            format!("{since_start:>7} listing {listed:?}")
        });
        self.daemon.record(listed, &self.rows, &self.source);
        self.look_for_doubtful();
        if !self.sync()? {
            self.listing_due = now + LISTING_INTERVAL;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<bool, BrokenInvariant> {
        let (rows, source) = (&mut self.rows, &self.source);
        self.daemon.sync(rows, source, &mut self.trace)
    }

    /// The listings are true, nothing fails, and nothing changes any more.
    fn settle(&mut self) -> Result<(), BrokenInvariant> {
        let stretch = self.source.stretch.as_ref();
        let to = stretch.map_or(self.source.now, |stretch| stretch.to);
        self.source.now = self.source.now.max(to);
        let end = self.source.now + SETTLING_TIME;
        while self.source.now < end {
            self.source.now = self.source.now + Duration::from_secs(10);
            self.totals.steps += 1;
            if self.listing_due <= self.source.now {
                self.list()?;
            } else {
                self.sync()?;
            }
            for _ in 0..4 {
                self.read_all()?;
            }
            let delivered = self.source.check_deliveries();
            let are_settled = match &self.rows.replay {
                Some(_) => self.daemon.is_complete(&self.rows),
                None => self.rows.are_settled(&self.source).is_ok(),
            };
            if delivered.is_ok() && are_settled {
                return Ok(());
            }
        }
        self.source.check_deliveries()?;
        ensure(self.rows.replay.is_none(), "stuck", || {
            "the replay does not end".to_owned()
        })?;
        let settled = self.rows.are_settled(&self.source);
        settled.map_err(|detail| BrokenInvariant::new("stuck", detail))
    }
}

/// Begins a replay of a stream that has some families of shards.
fn start_replay(source: &mut Source, replay: Replay, rng: &mut Rng) -> StretchShards {
    for _ in 0..rng.size(0, 4) {
        source.put(rng);
        source.split(rng);
        source.merge(rng);
    }
    let Replay { from, to, chosen } = replay;
    let ids = source.shards().map(|(id, _)| id.clone());
    let ids: BTreeSet<_> = ids.filter(|_| rng.per_mille(chosen)).collect();
    let selected = (!ids.is_empty()).then_some(ids);
    source.set_stretch(StretchOfShards {
        from,
        to,
        chosen: selected.clone(),
    });
    StretchShards {
        stretch: Stretch {
            from: StretchStart::Time(from),
            to: StretchEnd::Time(to),
        },
        selected,
    }
}
