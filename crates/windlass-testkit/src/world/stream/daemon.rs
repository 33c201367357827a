//! A daemon that reads the stream by the rows of its mapping.
//!
//! The core decides what the rows are, what runs and which shards are gone. The consumers are simple
//! ones: they deliver in order, save now and then, and stop anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::lease::{Lease, LeaseKey};
use windlass_core::lease_rows::{
    LeaseRowPlan, RemovalReason, doubtful_shards, lost_parked_shards, plan_lease_rows,
};
use windlass_core::mapping::{DesiredState, Revision};
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::reconcile::{Action, Running, reconcile};
use windlass_core::seek::{SeekMark, SeekStart, seek_all, seek_one, unlisted_rows};
use windlass_core::shard::PageStart;
use windlass_core::shard::lineage::{ListingHistory, Shard, close_parents, is_gone};
use windlass_core::shard::stream_check::{PageHead, StreamCheck};
use windlass_core::time::Timestamp;

use super::listing::Absences;
use super::rows::{self, Rows};
use super::source::{Listed, Page, Source};
use super::{BrokenInvariant, Trace, World, ensure};
use crate::rng::Rng;

const REVISION: Revision = Revision(1);

/// What a daemon forgets when it restarts.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    /// `None` before the first listing.
    history: Option<ListingHistory>,
    /// The last listing.
    pub(super) listed: Vec<Listed>,
    /// When the last listing began.
    listed_at: Timestamp,
    /// When the last listing began that has shown the shard of a row.
    shown: BTreeMap<ShardId, Timestamp>,
    pub(super) absences: Absences,
    /// Shards that the last listing lacks and whose reads were refused as unknown.
    refused: BTreeSet<ShardId>,
    /// Shards of a replay whose consumers have found the end of the stretch, and have saved it.
    with_end: BTreeSet<ShardId>,
    consumers: BTreeMap<LeaseKey, Consumer>,
}

#[derive(Debug)]
struct Consumer {
    epoch: u64,
    /// After the last record that it delivered.
    position: Position,
    iterator: Option<Arc<str>>,
    /// It has ended with the stretch of a replay, and before the shard.
    has_found_end: bool,
    check: StreamCheck,
    /// When the iterator or the position was first refused since it was last accepted.
    refused_at: Option<Timestamp>,
    /// Whether nothing of the stream was refused before the shard was opened: it cannot be known to be
    /// of another stream than the last listing.
    is_unsuspecting: bool,
}

impl Daemon {
    /// Whether a shard is read to its end, and not yet saved as such.
    pub(super) fn has_unsaved_end(&self) -> bool {
        let mut consumers = self.consumers.values();
        consumers.any(|consumer| consumer.position == Position::ShardEnd)
    }

    /// A listing has succeeded.
    pub(super) fn record(&mut self, listed: Vec<Listed>, rows: &Rows, source: &Source) {
        if !listed.is_empty() {
            self.listed_at = source.now;
            let known = source.shards().map(|(id, _)| id);
            let known = known.chain(rows.shards().map(|(id, _)| id));
            self.absences.record(&listed, known, source.now);
            self.listed.clone_from(&listed);
            self.refused.clear();
        }
        let history = self.history.get_or_insert_default();
        history.record(shards(listed), source.now);
    }

    /// The shards that the last listing lacks, but that may exist: only a read can tell.
    pub(super) fn doubtful(&self, rows: &Rows) -> BTreeSet<ShardId> {
        let Some(history) = &self.history else {
            return BTreeSet::new();
        };
        match &rows.replay {
            Some(replay) => replay.doubtful(history, &rows.leases()),
            None => doubtful_shards(history, &rows.leases(), &rows.parks),
        }
    }

    fn handle_refusal(&mut self, shard: &ShardId, fault: Fault) {
        if let Some(history) = &mut self.history {
            history.handle_refusal(shard.clone(), fault);
        }
        if fault == Fault::Gone {
            self.refused.insert(shard.clone());
        }
    }

    /// Compares the rows with the last listing, and what runs with the rows; returns whether the
    /// listing is to be repeated soon.
    pub(super) fn sync(
        &mut self,
        rows: &mut Rows,
        source: &Source,
        trace: &mut Trace,
    ) -> Result<bool, BrokenInvariant> {
        self.settle_parks(rows, trace)?;
        let leases = rows.leases();
        let history = self.history.as_ref();
        let plan = match (&rows.replay, history) {
            (Some(replay), Some(history)) => replay.plan(&rows.mapping, history, &leases),
            (Some(_), None) => LeaseRowPlan::default(),
            (None, history) => {
                let start = rows.start.as_ref();
                plan_lease_rows(&rows.mapping, &rows.source, start, history, &leases)
            }
        };
        let is_inconsistent = plan.is_inconsistent;
        if !plan.is_empty() {
            trace.record(|| describe(&plan));
        }
        rows.check_consistency(&plan, &self.listed, &self.refused)?;
        for (row, reason) in &plan.remove {
            let shard = rows::shard(&row.key);
            let is_proven = self.absences.are_proof(shard) && self.refused.contains(shard);
            ensure(
                *reason != RemovalReason::Resolved || is_proven,
                "checkpoint",
                || format!("the row of {shard} is removed without proof"),
            )?;
        }
        for (row, _) in &plan.remove {
            self.shown.remove(rows::shard(&row.key));
        }
        let shown = plan.shown.iter().cloned();
        self.shown
            .extend(shown.map(|shard| (shard, self.listed_at)));
        rows.apply(plan, &self.listed, source)?;
        rows.check_starts(&self.listed)?;
        ensure(
            !self.is_complete(rows) || source.check_deliveries().is_ok(),
            "complete",
            || "the replay is complete without all of its records".to_owned(),
        )?;
        self.reconcile(rows);
        let mut consumers = self.consumers.keys();
        let parked = consumers.find(|key| rows.parks.covers(&key.unit));
        ensure(parked.is_none(), "parked", || {
            format!("{parked:?} runs and is parked")
        })?;
        Ok(is_inconsistent)
    }

    /// Ends the parked shards that have left the stream, and hands parks of shards that have ended to
    /// their children.
    fn settle_parks(&mut self, rows: &mut Rows, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let Some(history) = &self.history else {
            return Ok(());
        };
        let leases = rows.leases();
        let handed_over = rows.parks.handed_over(history, &leases);
        for row in lost_parked_shards(history, &leases, &rows.parks) {
            let shard = rows::shard(&row.key);
            trace.record(|| format!("    → end {shard}, which is parked"));
            let is_proven = self.absences.are_proof(shard) && self.refused.contains(shard);
            ensure(is_proven, "checkpoint", || {
                format!("{shard} is parked, and given up without proof")
            })?;
            if !self.consumers.contains_key(&row.key) {
                rows.end(&row.key);
            }
        }
        if let Some(parks) = handed_over {
            trace.record(|| format!("    → {parks:?}"));
            rows.parks = parks;
        }
        Ok(())
    }

    /// Whether the rows are those of a replay that is complete.
    pub(super) fn is_complete(&self, rows: &Rows) -> bool {
        let replay = rows.replay.as_ref().zip(self.history.as_ref());
        replay.is_some_and(|(replay, history)| {
            replay.is_complete(history, self.listed_at, &rows.leases(), &self.with_end)
        })
    }

    fn reconcile(&mut self, rows: &mut Rows) {
        let parks = rows.parks.clone();
        let is_parked = |key: &LeaseKey| parks.covers(&key.unit);
        let mapping = (rows.mapping.clone(), (REVISION, DesiredState::Enabled));
        let running = self.consumers.iter().map(|(key, consumer)| {
            let (revision, epoch) = (REVISION, consumer.epoch);
            (key.clone(), Running { revision, epoch })
        });
        let running = running.collect();
        for action in reconcile(
            &BTreeMap::from([mapping]),
            &rows.leases(),
            &running,
            is_parked,
        ) {
            match action {
                Action::Start(key) => {
                    if let Some((epoch, position)) = rows.take(&key) {
                        let consumer = Consumer {
                            epoch,
                            position,
                            iterator: None,
                            has_found_end: false,
                            check: StreamCheck::default(),
                            refused_at: None,
                            is_unsuspecting: false,
                        };
                        self.consumers.insert(key, consumer);
                    }
                }
                Action::Stop(key) => {
                    self.consumers.remove(&key);
                }
            }
        }
    }

    fn pick(&self, rng: &mut Rng) -> Option<LeaseKey> {
        let last = self.consumers.len().checked_sub(1)?;
        self.consumers.keys().nth(rng.size(0, last)).cloned()
    }
}

impl World {
    /// Every consumer reads a page.
    pub(super) fn read_all(&mut self) -> Result<(), BrokenInvariant> {
        let keys: Vec<_> = self.daemon.consumers.keys().cloned().collect();
        keys.iter().try_for_each(|key| self.read(key))
    }

    /// One consumer reads a page.
    pub(super) fn read_any(&mut self) -> Result<(), BrokenInvariant> {
        let picked = self.daemon.pick(&mut self.rng);
        picked.map_or(Ok(()), |key| self.read(&key))
    }

    /// After a listing: reads the shards that it lacks and that may exist.
    pub(super) fn look_for_doubtful(&mut self) {
        for shard in self.daemon.doubtful(&self.rows) {
            let result = self.page(&shard, &Cursor::at(Position::TrimHorizon));
            self.trace
                .record(|| format!("{shard} is not listed: {result:?}"));
            if let Err(fault) = result {
                self.daemon.handle_refusal(&shard, fault);
            }
        }
    }

    /// An operator moves all shards, or one, to the oldest record. What a listing lacks must be proven
    /// to be gone; otherwise the seek is refused.
    pub(super) fn seek(&mut self) {
        let Some(history) = self.daemon.history.clone() else {
            return;
        };
        let (rows, listed) = (self.rows.leases(), history.shards());
        let unlisted = unlisted_rows(&rows, listed);
        for shard in &unlisted {
            let oldest = self.page(shard, &Cursor::at(Position::TrimHorizon));
            if !history.is_absent(shard) || oldest.err() != Some(Fault::Gone) {
                return;
            }
        }
        let to = SeekStart {
            position: Position::TrimHorizon,
            mark: SeekMark {
                at: self.source.now,
                skip_before: None,
            },
        };
        // The shards whose records must all be delivered again.
        let mut moved: Vec<ShardId> = Vec::new();
        let plan = if rows.is_empty() || self.rng.per_mille(500) {
            let shards = rows.iter().map(|row| rows::shard(&row.key));
            moved.extend(shards.filter(|shard| !unlisted.contains(shard)).cloned());
            Some(seek_all(&rows, listed, &unlisted, &to))
        } else {
            let row = &rows[self.rng.size(0, rows.len() - 1)];
            let shard = rows::shard(&row.key);
            let is_there = !unlisted.contains(shard);
            moved.push(shard.clone());
            is_there
                .then(|| seek_one(&self.rows.mapping, shard, &rows, listed, &to))
                .flatten()
        };
        let Some(plan) = plan else { return };
        self.trace.record(|| format!("the operator: {plan:?}"));
        for row in plan.update.iter().chain(&plan.set_aside) {
            self.daemon.consumers.remove(&row.key);
        }
        for shard in &moved {
            self.source.deliver_again(shard);
        }
        self.rows.seek(plan);
    }

    /// One consumer ends unasked; it starts again from its checkpoint.
    pub(super) fn crash_any(&mut self) {
        if let Some(key) = self.daemon.pick(&mut self.rng) {
            self.daemon.consumers.remove(&key);
        }
    }

    fn read(&mut self, key: &LeaseKey) -> Result<(), BrokenInvariant> {
        let Some(mut consumer) = self.daemon.consumers.remove(key) else {
            return Ok(());
        };
        if consumer.position != Position::ShardEnd {
            self.read_page(rows::shard(key), &mut consumer)?;
        }
        let is_at_end = consumer.position == Position::ShardEnd;
        if !self.is_faulty || self.rng.per_mille(self.plan.save) {
            self.rows.save(key, consumer.epoch, &consumer.position);
            if is_at_end {
                if consumer.has_found_end {
                    self.daemon.with_end.insert(rows::shard(key).clone());
                }
                return Ok(());
            }
        }
        self.daemon.consumers.insert(key.clone(), consumer);
        Ok(())
    }

    fn read_page(
        &mut self,
        shard: &ShardId,
        consumer: &mut Consumer,
    ) -> Result<(), BrokenInvariant> {
        let number = consumer.position.sequence_number();
        let from = Cursor {
            inclusive: number.is_some() && consumer.iterator.is_none(),
            iterator: consumer.iterator.take(),
            ..Cursor::at(consumer.position.clone())
        };
        let result = self.page(shard, &from);
        self.trace
            .record(|| format!("{shard} reads {from:?}: {result:?}"));
        if result.is_ok() {
            let history = self.daemon.history.as_mut();
            if let Some(history) = history.filter(|it| it.is_absent(shard)) {
                history.handle_read(shard.clone());
            }
        }
        if !self.is_accepted(shard, consumer, &from, &result) {
            self.trace.record(|| "    → held".to_owned());
            return Ok(());
        }
        match result {
            Ok(page) => {
                if page.start != PageStart::Continued {
                    let created = self.source.created;
                    let refused_at = consumer.refused_at;
                    consumer.is_unsuspecting = refused_at.is_none_or(|at| at < created);
                }
                if !page.records.is_empty() {
                    consumer.refused_at = None;
                    if consumer.is_unsuspecting && self.rows.is_former(shard, &self.source) {
                        self.source.read_by_former(shard);
                    }
                }
                consumer.iterator = Some(self.source.iterator());
                for index in page.records {
                    let arrival = self.source.arrival_of(index);
                    let stretch = self.source.stretch.as_ref();
                    if stretch.is_some_and(|it| it.to <= arrival) {
                        consumer.position = Position::ShardEnd;
                        consumer.has_found_end = true;
                        return Ok(());
                    }
                    if stretch.is_none_or(|it| it.from <= arrival) {
                        self.source.deliver(index)?;
                    }
                    consumer.position = Position::After(self.source.number_of(index));
                }
                let stretch = self.source.stretch.as_ref();
                let is_over = stretch.is_some_and(|it| it.to <= self.source.now);
                if page.is_last && self.is_confirmed_end(shard) {
                    consumer.position = Position::ShardEnd;
                } else if page.is_at_tip && is_over {
                    consumer.position = Position::ShardEnd;
                    consumer.has_found_end = !page.is_last;
                }
            }
            Err(Fault::Throttled { .. }) => consumer.iterator = from.iterator,
            Err(Fault::Trimmed | Fault::UnknownPosition) => {
                consumer.position = Position::TrimHorizon;
            }
            Err(fault) => {
                let history = self.daemon.history.as_ref();
                let is_absent = history.is_some_and(|history| history.is_absent(shard));
                if is_gone(is_absent, fault) {
                    self.check_proof(shard, fault)?;
                    consumer.position = Position::ShardEnd;
                }
            }
        }
        Ok(())
    }

    fn is_accepted(
        &self,
        shard: &ShardId,
        consumer: &mut Consumer,
        from: &Cursor,
        result: &Result<Page, Fault>,
    ) -> bool {
        let now = self.source.now;
        let first = result.as_ref().ok().and_then(|page| page.records.first());
        let first = first.map(|index| self.source.number_of(*index));
        let is_own = matches!(&from.after, Position::After(own) if first.as_ref() == Some(own));
        let is_refused = match result {
            Ok(page) => match page.start {
                PageStart::Continued => false,
                PageStart::AtPosition => !is_own,
                PageStart::AfterPosition => from.iterator.is_some(),
            },
            Err(fault) => !matches!(fault, Fault::Throttled { .. }),
        };
        if is_refused {
            consumer.refused_at.get_or_insert(now);
        }
        let head = match result {
            Ok(page) => Ok(PageHead {
                start: page.start,
                first: first.as_ref().map(SequenceNumber::as_str),
            }),
            Err(fault) => Err(*fault),
        };
        let shown_at = self.daemon.shown.get(shard).copied();
        consumer.check.accepts(from, head, shown_at, now)
    }

    fn page(&mut self, shard: &ShardId, from: &Cursor) -> Result<Page, Fault> {
        if self.is_faulty && self.rng.per_mille(self.source.plan.fault) {
            let throttled = Fault::Throttled { retry_after: None };
            let unknown = [Fault::UnknownPosition, Fault::Trimmed];
            let fault = match self.rng.between(0, 5) {
                0 | 1 if from.after != Position::TrimHorizon => self.rng.pick(&unknown),
                2 if self.source.plan.refuses_existing => Fault::Gone,
                3 => throttled,
                4 => Fault::Denied,
                _ => Fault::Transient,
            };
            return Err(fault);
        }
        self.source.read(shard, from, &mut self.rng)
    }

    /// A source that returns no next iterator signals the end, which a listing must confirm.
    fn is_confirmed_end(&mut self, shard: &ShardId) -> bool {
        let Some(listed) = self.draw_listing() else {
            return false;
        };
        let mut listed = shards(listed);
        close_parents(&mut listed);
        listed.iter().any(|it| it.id == *shard && it.is_closed)
    }

    fn check_proof(&self, shard: &ShardId, fault: Fault) -> Result<(), BrokenInvariant> {
        let exists = self.source.get(shard).is_some() && !self.rows.is_former(shard, &self.source);
        ensure(!exists, "checkpoint", || {
            format!("{shard} is given up and exists")
        })?;
        let is_proven = fault == Fault::Gone && self.daemon.absences.are_proof(shard);
        ensure(is_proven, "checkpoint", || {
            format!("{shard} is given up without proof, after {fault:?}")
        })
    }
}

fn describe(plan: &LeaseRowPlan) -> String {
    let name = |row: &Lease| row.key.unit.name();
    let remove = plan.remove.iter();
    let remove: Vec<_> = remove.map(|(row, why)| (name(row), why)).collect();
    let insert: Vec<_> = plan.insert.iter().map(name).collect();
    let set_start: Vec<_> = plan.set_start.iter().map(name).collect();
    let resume: Vec<_> = plan.resume.iter().map(name).collect();
    format!(
        "    → remove {remove:?}, insert {insert:?}, set starts of {set_start:?}, resume {resume:?}"
    )
}

fn shards(listed: Vec<Listed>) -> Vec<Shard> {
    let shards = listed.into_iter().map(|it| it.shard);
    shards.collect()
}
