//! The tasks of a supervisor: one for each running unit, and one for each listing of shards.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use windlass_core::lease::LeaseKey;
use windlass_core::mapping::MappingId;
use windlass_core::reconcile::Running;
use windlass_core::shard::Finish;
use windlass_core::shard::lineage::Shard;

use crate::ports::PortError;
use crate::stop::Stop;

#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<TaskEnd>,
    /// By task, to know what a task that panicked worked on.
    subjects: BTreeMap<Id, Subject>,
    running: BTreeMap<LeaseKey, RunningUnit>,
}

pub(super) enum TaskEnd {
    Unit(LeaseKey, Option<Finish>),
    Listing(MappingId, Result<Vec<Shard>, PortError>),
    Panic(Subject, JoinError),
}

/// What a task works on.
pub(super) enum Subject {
    Unit(LeaseKey),
    Listing(MappingId),
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
        self.running.insert(key, RunningUnit { versions, stop });
    }

    pub(super) fn spawn_listing(
        &mut self,
        mapping: MappingId,
        list: impl Future<Output = Result<Vec<Shard>, PortError>> + Send + 'static,
    ) {
        let of_task = mapping.clone();
        let task = self
            .set
            .spawn(async move { TaskEnd::Listing(of_task, list.await) });
        self.subjects.insert(task.id(), Subject::Listing(mapping));
    }

    /// Asks a running unit to drain.
    pub(super) fn drain(&self, key: &LeaseKey) {
        self.running[key].drain();
    }

    pub(super) fn drain_all(&self) {
        self.running.values().for_each(RunningUnit::drain);
    }

    pub(super) fn is_running(&self, key: &LeaseKey) -> bool {
        self.running.contains_key(key)
    }

    /// Whether no unit runs; listings do not count.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn running(&self) -> impl Iterator<Item = (&LeaseKey, Running)> {
        let running = self.running.iter();
        running.map(|(key, unit)| (key, unit.versions))
    }

    pub(super) fn running_of(&self, mapping: &MappingId) -> impl Iterator<Item = Running> {
        let of_mapping = move |(key, _): &(&LeaseKey, Running)| key.mapping == *mapping;
        self.running().filter(of_mapping).map(|(_, it)| it)
    }

    /// Waits for the next task to end; `None` if there are no tasks.
    pub(super) async fn next_end(&mut self) -> Option<TaskEnd> {
        let end = self.set.join_next_with_id().await?;
        Some(self.end(end))
    }

    /// A task that has ended already.
    pub(super) fn try_next_end(&mut self) -> Option<TaskEnd> {
        let end = self.set.try_join_next_with_id()?;
        Some(self.end(end))
    }

    fn end(&mut self, end: Result<(Id, TaskEnd), JoinError>) -> TaskEnd {
        let id = end.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let subject = self.subjects.remove(&id).expect("every task has a subject");
        if let Subject::Unit(key) = &subject {
            self.running.remove(key);
        }
        match end {
            Ok((_, end)) => end,
            Err(error) => TaskEnd::Panic(subject, error),
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
