//! Compares what should run with what runs.
//!
//! There is no live reconfiguration: a consumer whose lease or mapping has changed is drained, and
//! started again from its checkpoint.

use std::collections::BTreeMap;

use crate::lease::{Lease, LeaseKey};
use crate::mapping::{DesiredState, MappingId, Revision};
use crate::position::Position;

/// The versions that a running consumer was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Of the mapping.
    pub revision: Revision,
    /// Of the lease.
    pub epoch: u64,
}

/// A change to what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take the lease and start a consumer.
    Start(LeaseKey),
    /// Drain a consumer.
    Stop(LeaseKey),
}

/// Returns the consumers to stop and to start, each ordered by lease. A consumer that must be
/// replaced is only stopped; a later call starts it again, once it has ended. `is_parked` tells which
/// leases are not to be processed for now, apart from those that a seek has set aside.
pub fn reconcile(
    mappings: &BTreeMap<MappingId, (Revision, DesiredState)>,
    leases: &[Lease],
    running: &BTreeMap<LeaseKey, Running>,
    is_parked: impl Fn(&LeaseKey) -> bool,
) -> Vec<Action> {
    let wanted: BTreeMap<&LeaseKey, Running> = leases
        .iter()
        .filter(|lease| lease.checkpoint.position != Position::ShardEnd)
        .filter(|lease| !lease.waits && !is_parked(&lease.key))
        .filter_map(|lease| {
            let (revision, desired) = *mappings.get(&lease.key.mapping)?;
            let running = Running {
                revision,
                epoch: lease.epoch,
            };
            (desired == DesiredState::Enabled).then_some((&lease.key, running))
        })
        .collect();
    let stop = running
        .iter()
        .filter(|(key, it)| wanted.get(key) != Some(it));
    let start = wanted.keys().filter(|key| !running.contains_key(key));
    stop.map(|(key, _)| Action::Stop(key.clone()))
        .chain(start.map(|key| Action::Start((*key).clone())))
        .collect()
}
