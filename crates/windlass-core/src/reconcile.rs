//! Compares what should run with what runs. There is no live reconfiguration: a consumer whose
//! lease, epoch or mapping has changed is drained and started again from its checkpoint.

use std::collections::BTreeMap;

use crate::lease::{Lease, LeaseKey};
use crate::mapping::{DesiredState, MappingId, Revision};
use crate::position::Position;

/// Which version of a unit a running consumer works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// The mapping's revision when it was started.
    pub revision: Revision,
    /// The lease's epoch when it was started.
    pub epoch: u64,
}

/// What to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take the lease and start a consumer.
    Start(LeaseKey),
    /// Drain a consumer.
    Stop(LeaseKey),
}

/// What to start and what to stop, ordered by lease. One that must be replaced is only stopped: it
/// is started by the next comparison, when it has ended.
pub fn reconcile(
    mappings: &BTreeMap<MappingId, (Revision, DesiredState)>,
    leases: &[Lease],
    running: &BTreeMap<LeaseKey, Running>,
) -> Vec<Action> {
    let wanted: BTreeMap<&LeaseKey, Running> = leases
        .iter()
        .filter(|lease| lease.checkpoint != Position::ShardEnd)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Unit;

    fn key(slot: u16) -> LeaseKey {
        LeaseKey {
            mapping: MappingId::new("m"),
            unit: Unit::QueueSlot(slot),
        }
    }

    fn lease(slot: u16, epoch: u64, checkpoint: Position) -> Lease {
        Lease {
            key: key(slot),
            owner: None,
            epoch,
            checkpoint,
        }
    }

    #[track_caller]
    fn check(
        desired: DesiredState,
        lease: Lease,
        running: Option<(u64, u64)>,
        expected: &[Action],
    ) {
        let mappings = BTreeMap::from([(MappingId::new("m"), (Revision(2), desired))]);
        let running = running
            .map(|(revision, epoch)| {
                (
                    key(0),
                    Running {
                        revision: Revision(revision),
                        epoch,
                    },
                )
            })
            .into_iter()
            .collect();
        assert_eq!(reconcile(&mappings, &[lease], &running), expected);
    }

    #[test]
    fn runs_what_is_enabled_and_unfinished() {
        let (start, stop) = ([Action::Start(key(0))], [Action::Stop(key(0))]);
        let here = || lease(0, 1, Position::TrimHorizon);
        check(DesiredState::Enabled, here(), None, &start);
        check(DesiredState::Enabled, here(), Some((2, 1)), &[]);
        check(
            DesiredState::Enabled,
            lease(0, 1, Position::ShardEnd),
            None,
            &[],
        );
        check(DesiredState::Disabled, here(), None, &[]);
        check(DesiredState::Disabled, here(), Some((2, 1)), &stop);
        check(DesiredState::Deleted, here(), Some((2, 1)), &stop);
    }

    #[test]
    fn a_changed_mapping_or_lease_is_a_restart() {
        let stop = [Action::Stop(key(0))];
        check(
            DesiredState::Enabled,
            lease(0, 1, Position::TrimHorizon),
            Some((1, 1)),
            &stop,
        );
        check(
            DesiredState::Enabled,
            lease(0, 2, Position::TrimHorizon),
            Some((2, 1)),
            &stop,
        );
        let other = [Action::Stop(key(0)), Action::Start(key(1))];
        check(
            DesiredState::Enabled,
            lease(1, 1, Position::TrimHorizon),
            Some((2, 1)),
            &other,
        );
    }
}
