//! The world of dead letters that are redriven.
//!
//! Checked: `deleted` a letter is deleted after a success only; `twice` nobody is sent a letter that
//! somebody else has, or that was redriven; `order` the letters of a shard go one by one, by their
//! numbers; `unreached` a function that was not reached gets nothing more of the run; `throttled` is
//! waited for a minute at most, and not asked earlier; `ended` a run that was cancelled begins nothing;
//! `counts` each letter of a run is counted, as what became of it; `lost` a letter leaves the store after
//! a success, its retention or for lack of room only; `stuck` a world does not settle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use windlass_core::redrive::{
    ItemEnd, LetterPlace, RedriveRun, RunCommand, RunCounts, judge, lanes,
};
use windlass_core::time::Timestamp;

use super::{Behavior, function};
use crate::checkers::{BrokenInvariant, ensure};
use crate::rng::Rng;
use crate::world::{Totals, Trace};

/// While functions fail, letters come and go, and the daemon is killed.
const TROUBLE: Duration = Duration::from_secs(300);

const MAX_STEPS: u64 = 20_000;

const MAX_THROTTLED: Duration = Duration::from_secs(60);

pub(super) fn run(seed: u64, trace: &mut Trace) -> Result<Totals, BrokenInvariant> {
    let mut world = World::new(seed, std::mem::take(trace));
    let result = world.run();
    *trace = world.trace;
    result.map(|()| world.totals)
}

struct World {
    rng: Rng,
    now: Timestamp,
    due: BTreeMap<(Timestamp, u64), Input>,
    n_due: u64,
    letters: BTreeMap<LetterId, Letter>,
    runs: BTreeMap<u64, Run>,
    n_runs: u64,
    n_versions: u64,
    /// Versions of letters that were redriven and deleted.
    redriven: BTreeSet<u64>,
    n_functions: u64,
    trouble: u64,
    totals: Totals,
    trace: Trace,
}

/// Shard and number.
type LetterId = (u64, u64);

#[derive(Clone, Debug)]
struct Letter {
    function: u64,
    reports_item_failures: bool,
    /// Another one each time that its records are given up.
    version: u64,
    claimed_by: Option<u64>,
    /// Redrives that a function has failed, as stored and as they were.
    redrives: u64,
    failed: u64,
}

struct Run {
    machine: RedriveRun,
    letters: Vec<(LetterId, Letter)>,
    in_flight: BTreeMap<usize, Behavior>,
    /// Items that were begun and are not settled, and how they ended.
    active: BTreeMap<usize, Option<Behavior>>,
    /// When a throttled function may be asked again, and how long it was waited for.
    waits: BTreeMap<usize, (Timestamp, Duration)>,
    /// The last number that was sent of each shard.
    last: BTreeMap<u64, u64>,
    unreached: BTreeSet<u64>,
    is_ended: bool,
    counts: RunCounts,
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Start,
    Cancel,
    Kill,
    GiveUp,
    Expire,
    DropOldest,
    Answered(u64, usize),
    Waited(u64, usize),
    Settled(u64, usize, bool),
}

impl World {
    fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            now: Timestamp::from_millis(1_000),
            due: BTreeMap::new(),
            n_due: 0,
            letters: BTreeMap::new(),
            runs: BTreeMap::new(),
            n_runs: 0,
            n_versions: 0,
            redriven: BTreeSet::new(),
            n_functions: rng.between(1, 3),
            trouble: rng.between(0, 700),
            totals: Totals {
                worlds: 1,
                ..Totals::default()
            },
            rng,
            trace,
        }
    }

    fn run(&mut self) -> Result<(), BrokenInvariant> {
        let n_shards = self.rng.between(1, 4);
        for _ in 0..self.rng.between(1, 60) {
            self.give_up(n_shards);
        }
        let inputs = [
            (Input::Start, 6),
            (Input::Cancel, 2),
            (Input::Kill, 2),
            (Input::GiveUp, 20),
            (Input::Expire, 2),
            (Input::DropOldest, 5),
        ];
        for (input, most) in inputs {
            for _ in 0..self.rng.between(0, most) {
                let after = self.rng.millis(0, 280_000);
                self.schedule(after, input);
            }
        }
        self.settle(n_shards)?;
        // Everything works: one run is enough.
        self.now = self.now.max(Timestamp::from_millis(1_000) + TROUBLE);
        self.trouble = 0;
        self.start()?;
        self.settle(n_shards)?;
        let left = &self.letters;
        ensure(left.is_empty(), "lost", || {
            format!("letters that nothing is wrong with stay: {left:?}")
        })
    }

    /// Runs until nothing is due.
    fn settle(&mut self, n_shards: u64) -> Result<(), BrokenInvariant> {
        while let Some(((at, _), input)) = self.due.pop_first() {
            self.totals.steps += 1;
            ensure(self.totals.steps < MAX_STEPS, "stuck", || {
                "the world does not settle".to_owned()
            })?;
            self.now = self.now.max(at);
            self.trace.record(|| format!("{at:?} {input:?}"));
            self.handle(input, n_shards)?;
        }
        let runs = &self.runs;
        ensure(runs.is_empty(), "stuck", || {
            format!("runs wait for nothing: {:?}", runs.keys())
        })?;
        let claimed = self.letters.values().find(|it| it.claimed_by.is_some());
        ensure(claimed.is_none(), "stuck", || {
            format!("{claimed:?} is claimed by nobody")
        })
    }

    fn handle(&mut self, input: Input, n_shards: u64) -> Result<(), BrokenInvariant> {
        match input {
            Input::Start if self.runs.len() < 2 => self.start()?,
            Input::Start => {}
            Input::Cancel => {
                if let Some((id, run)) = self.runs.last_entry().map(|it| (*it.key(), it.into_mut()))
                {
                    self.totals.cancellations += 1;
                    run.is_ended = true;
                    run.machine.end();
                    self.execute(id)?;
                }
            }
            Input::Kill => {
                self.totals.crashes += 1;
                self.runs.clear();
                for letter in self.letters.values_mut() {
                    letter.claimed_by = None;
                }
            }
            Input::GiveUp => self.give_up(n_shards),
            Input::Expire => self.letters.retain(|_, it| it.claimed_by.is_some()),
            Input::DropOldest => {
                let letters = self.letters.iter();
                let free = letters.filter(|(_, it)| it.claimed_by.is_none());
                let oldest = free.min_by_key(|(_, it)| it.version).map(|(id, _)| *id);
                oldest.and_then(|id| self.letters.remove(&id));
            }
            Input::Answered(id, item) => self.answer(id, item)?,
            Input::Waited(id, item) => {
                if let Some(run) = self.runs.get_mut(&id) {
                    run.machine.handle_waited(item);
                    self.execute(id)?;
                }
            }
            Input::Settled(id, item, is_done) => {
                if let Some(run) = self.runs.get_mut(&id) {
                    run.machine.handle_settled(item, is_done);
                    self.execute(id)?;
                }
            }
        }
        Ok(())
    }

    /// Records are given up, perhaps again.
    fn give_up(&mut self, n_shards: u64) {
        let id = (self.rng.between(1, n_shards), self.rng.between(1, 120));
        let letter = Letter {
            function: self.rng.between(1, self.n_functions),
            reports_item_failures: self.rng.per_mille(500),
            version: self.n_versions,
            claimed_by: None,
            redrives: 0,
            failed: 0,
        };
        self.n_versions += 1;
        self.letters.insert(id, letter);
        self.totals.records += 1;
    }

    fn start(&mut self) -> Result<(), BrokenInvariant> {
        let id = self.n_runs;
        self.n_runs += 1;
        let mut letters = Vec::new();
        for (letter_id, letter) in &mut self.letters {
            if letter.claimed_by.is_none() {
                letter.claimed_by = Some(id);
                letters.push((*letter_id, letter.clone()));
            }
        }
        let places = letters.iter().map(|((shard, number), _)| LetterPlace {
            stream: function(0),
            shard: shard.to_string().as_str().into(),
            first: number.to_string().as_str().into(),
            last: number.to_string().as_str().into(),
        });
        let places: Vec<_> = places.collect();
        let functions: Vec<_> = letters
            .iter()
            .map(|(_, it)| function(it.function))
            .collect();
        let run = Run {
            machine: RedriveRun::new(&functions, lanes(&places), &BTreeSet::new()),
            letters,
            in_flight: BTreeMap::new(),
            active: BTreeMap::new(),
            waits: BTreeMap::new(),
            last: BTreeMap::new(),
            unreached: BTreeSet::new(),
            is_ended: false,
            counts: RunCounts::default(),
        };
        self.runs.insert(id, run);
        self.execute(id)
    }

    fn execute(&mut self, id: u64) -> Result<(), BrokenInvariant> {
        while let Some(run) = self.runs.get_mut(&id)
            && let Some(command) = run.machine.poll_command()
        {
            self.trace.record(|| format!("  {id}: {command:?}"));
            match command {
                RunCommand::Send { item } => self.send(id, item)?,
                RunCommand::Wait { item, wait } => self.wait(id, item, wait)?,
                RunCommand::Settle { item, end } => self.settle_item(id, item, &end)?,
                RunCommand::Leave { items, .. } => {
                    for item in items {
                        self.leave(id, item)?;
                    }
                }
            }
        }
        let Some(run) = self.runs.get(&id).filter(|run| run.machine.is_finished()) else {
            return Ok(());
        };
        let (counts, model) = (run.machine.counts(), run.counts);
        ensure(counts == model, "counts", || {
            format!("run {id} reports {counts:?}, not {model:?}")
        })?;
        let n_letters = run.letters.len() as u64;
        ensure(
            counts.redriven + counts.failed == n_letters,
            "counts",
            || format!("run {id} counts {counts:?} of {n_letters} letters"),
        )?;
        self.runs.remove(&id);
        Ok(())
    }

    fn send(&mut self, id: u64, item: usize) -> Result<(), BrokenInvariant> {
        let Some(run) = self.runs.get_mut(&id) else {
            return Ok(());
        };
        let ((shard, number), letter) = run.letters[item].clone();
        ensure(!run.is_ended, "ended", || {
            format!("{item} is sent after the end")
        })?;
        ensure(
            !run.unreached.contains(&letter.function),
            "unreached",
            || format!("{item} is sent to function {}", letter.function),
        )?;
        ensure(!self.redriven.contains(&letter.version), "twice", || {
            format!("{item} is sent again")
        })?;
        if let Some((until, _)) = run.waits.get(&item) {
            let (until, now) = (*until, self.now);
            ensure(until <= now, "throttled", || {
                format!("{item} is sent at {now:?}, before {until:?}")
            })?;
        } else {
            let letters = &run.letters;
            let other = run.active.keys().find(|it| letters[**it].0.0 == shard);
            ensure(other.is_none(), "order", || {
                format!("{item} is sent while {other:?} is")
            })?;
            let last = run.last.insert(shard, number);
            ensure(last.is_none_or(|last| last < number), "order", || {
                format!("{number} is sent after {last:?}")
            })?;
            run.active.insert(item, None);
        }
        self.totals.invocations += 1;
        let behavior = Behavior::draw(&mut self.rng, self.trouble);
        run.in_flight.insert(item, behavior);
        let takes = self.rng.millis(1, 9_000);
        self.schedule(takes, Input::Answered(id, item));
        Ok(())
    }

    fn answer(&mut self, id: u64, item: usize) -> Result<(), BrokenInvariant> {
        let Some(run) = self.runs.get_mut(&id) else {
            return Ok(());
        };
        let Some(behavior) = run.in_flight.remove(&item) else {
            return Ok(());
        };
        let letter = &run.letters[item].1;
        run.active.insert(item, Some(behavior));
        if behavior == Behavior::IsNotReached {
            run.unreached.insert(letter.function);
        }
        let outcome = behavior.outcome("1", &mut self.rng);
        let verdict = judge(&outcome, letter.reports_item_failures);
        run.machine.handle_verdict(item, verdict);
        self.execute(id)
    }

    fn wait(&mut self, id: u64, item: usize, wait: Duration) -> Result<(), BrokenInvariant> {
        if let Some(run) = self.runs.get_mut(&id) {
            let behavior = run.active.get(&item).copied().flatten();
            ensure(behavior == Some(Behavior::IsThrottled), "throttled", || {
                format!("{item} waits after {behavior:?}")
            })?;
            let (until, waited) = run.waits.entry(item).or_insert((self.now, Duration::ZERO));
            *until = self.now + wait;
            *waited += wait;
            let waited = *waited;
            ensure(
                waited <= MAX_THROTTLED && !wait.is_zero(),
                "throttled",
                || format!("{item} waits for {wait:?}, {waited:?} in all"),
            )?;
        }
        self.schedule(wait, Input::Waited(id, item));
        Ok(())
    }

    fn settle_item(&mut self, id: u64, item: usize, end: &ItemEnd) -> Result<(), BrokenInvariant> {
        // The store may fail, and says so; then the claim is ended later.
        let is_done = !self.rng.per_mille(self.trouble / 10);
        let Some(run) = self.runs.get_mut(&id) else {
            return Ok(());
        };
        let behavior = run.active.remove(&item).flatten();
        let (letter_id, letter) = run.letters[item].clone();
        let has_succeeded = match behavior {
            Some(Behavior::Succeeds) => true,
            Some(Behavior::Garbles) => !letter.reports_item_failures,
            Some(_) | None => false,
        };
        let is_redriven = *end == ItemEnd::Redriven;
        ensure(is_redriven == has_succeeded, "deleted", || {
            format!("{item} ends as {end:?} after {behavior:?}")
        })?;
        if matches!(
            behavior,
            Some(Behavior::IsThrottled | Behavior::IsNotReached)
        ) {
            let is_kept = matches!(end, ItemEnd::NotReached(_) | ItemEnd::Unsent(_));
            ensure(is_kept, "counts", || format!("{item} ends as {end:?}"))?;
            if matches!(end, ItemEnd::NotReached(_)) {
                run.unreached.insert(letter.function);
            }
        }
        if is_redriven && is_done {
            run.counts.redriven += 1;
        } else {
            run.counts.failed += 1;
        }
        let stored = self.letters.get_mut(&letter_id);
        if let Some(stored) = stored.filter(|it| it.version == letter.version) {
            if is_redriven && is_done {
                self.redriven.insert(letter.version);
                self.letters.remove(&letter_id);
            } else {
                stored.claimed_by = None;
                stored.redrives += u64::from(matches!(end, ItemEnd::Failed(_)));
                let has_failed = !has_succeeded
                    && matches!(
                        behavior,
                        Some(Behavior::Fails | Behavior::NamesItems | Behavior::Garbles)
                    );
                stored.failed += u64::from(has_failed);
                let (redrives, failed) = (stored.redrives, stored.failed);
                ensure(redrives == failed, "counts", || {
                    format!("{item} has {redrives} redrives, not {failed}")
                })?;
            }
        }
        let takes = self.rng.millis(1, 50);
        self.schedule(takes, Input::Settled(id, item, is_done));
        Ok(())
    }

    fn leave(&mut self, id: u64, item: usize) -> Result<(), BrokenInvariant> {
        let Some(run) = self.runs.get_mut(&id) else {
            return Ok(());
        };
        let (letter_id, letter) = run.letters[item].clone();
        let may_leave = run.is_ended || run.unreached.contains(&letter.function);
        ensure(may_leave, "counts", || format!("{item} is not tried"))?;
        run.counts.failed += 1;
        let stored = self.letters.get_mut(&letter_id);
        if let Some(stored) = stored.filter(|it| it.version == letter.version) {
            stored.claimed_by = None;
        }
        Ok(())
    }

    fn schedule(&mut self, after: Duration, input: Input) {
        self.n_due += 1;
        self.due.insert((self.now + after, self.n_due), input);
    }
}
