//! The tasks of a supervisor: one for each running unit, and one for each listing of shards.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use windlass_core::lease::{LeaseKey, Unit};
use windlass_core::mapping::MappingId;
use windlass_core::reconcile::Running;
use windlass_core::shard::Finish;
use windlass_core::shard::lineage::ListingHistory;

use crate::ports::PortError;
use crate::stop::Stop;

#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<TaskEnd>,
    /// By task, to know what a task that panicked worked on.
    subjects: BTreeMap<Id, Subject>,
    running: BTreeMap<MappingId, BTreeMap<Unit, RunningUnit>>,
}

pub(super) enum TaskEnd {
    Unit(LeaseKey, Option<Finish>),
    Listing(MappingId, Result<ListingHistory, PortError>),
    Panic(Subject, JoinError),
}

/// What a task works on.
pub(super) enum Subject {
    Unit(LeaseKey),
    Listing(MappingId),
}

impl TaskEnd {
    pub(super) const fn mapping(&self) -> &MappingId {
        match self {
            Self::Unit(key, _) | Self::Panic(Subject::Unit(key), _) => &key.mapping,
            Self::Listing(mapping, _) | Self::Panic(Subject::Listing(mapping), _) => mapping,
        }
    }
}

struct RunningUnit {
    versions: Running,
    stop: watch::Sender<Stop>,
}

impl Tasks {
    /// Spawns a unit; `run` gets the receiver through which it is stopped.
    pub(super) fn spawn_unit<F>(
        &mut self,
        key: LeaseKey,
        versions: Running,
        run: impl FnOnce(watch::Receiver<Stop>) -> F,
    ) where
        F: Future<Output = Option<Finish>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(Stop::No);
        let (run, of_task) = (run(stopped), key.clone());
        let task = self
            .set
            .spawn(async move { TaskEnd::Unit(of_task, run.await) });
        self.subjects.insert(task.id(), Subject::Unit(key.clone()));
        let of_mapping = self.running.entry(key.mapping).or_default();
        of_mapping.insert(key.unit, RunningUnit { versions, stop });
    }

    pub(super) fn spawn_listing(
        &mut self,
        mapping: MappingId,
        list: impl Future<Output = Result<ListingHistory, PortError>> + Send + 'static,
    ) {
        let of_task = mapping.clone();
        let task = self
            .set
            .spawn(async move { TaskEnd::Listing(of_task, list.await) });
        self.subjects.insert(task.id(), Subject::Listing(mapping));
    }

    /// Asks a running unit to drain.
    pub(super) fn drain(&self, key: &LeaseKey) {
        self.running[&key.mapping][&key.unit].drain();
    }

    /// Breaks a running unit off: nothing of it is saved any more.
    pub(super) fn cancel(&self, key: &LeaseKey) {
        let unit = &self.running[&key.mapping][&key.unit];
        unit.stop.send_replace(Stop::Now);
    }

    pub(super) fn drain_all(&self) {
        let units = self.running.values().flat_map(BTreeMap::values);
        units.for_each(RunningUnit::drain);
    }

    /// Whether no unit runs; listings do not count.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn running_of(&self, mapping: &MappingId) -> BTreeMap<LeaseKey, Running> {
        let units = self.running.get(mapping).into_iter().flatten();
        let running = units.map(|(unit, running)| {
            let key = LeaseKey {
                mapping: mapping.clone(),
                unit: unit.clone(),
            };
            (key, running.versions)
        });
        running.collect()
    }

    /// Waits for the next task to end; `None` if there are no tasks.
    pub(super) async fn next_end(&mut self) -> Option<TaskEnd> {
        let end = self.set.join_next_with_id().await?;
        Some(self.end(end))
    }

    fn end(&mut self, end: Result<(Id, TaskEnd), JoinError>) -> TaskEnd {
        let id = end.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let subject = self.subjects.remove(&id).expect("every task has a subject");
        if let Subject::Unit(key) = &subject {
            self.remove_running(key);
        }
        match end {
            Ok((_, end)) => end,
            Err(error) => TaskEnd::Panic(subject, error),
        }
    }

    fn remove_running(&mut self, key: &LeaseKey) {
        if let Some(units) = self.running.get_mut(&key.mapping) {
            units.remove(&key.unit);
            if units.is_empty() {
                self.running.remove(&key.mapping);
            }
        }
    }
}

impl RunningUnit {
    fn drain(&self) {
        self.stop.send_if_modified(|stop| {
            let is_new = *stop == Stop::No;
            if is_new {
                *stop = Stop::Drain;
            }
            is_new
        });
    }
}
