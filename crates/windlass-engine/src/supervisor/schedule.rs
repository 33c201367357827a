//! When each mapping must be looked at again, although nothing has changed.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::mapping::MappingId;
use windlass_core::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Schedule {
    by_time: BTreeSet<(Timestamp, MappingId)>,
    times: BTreeMap<MappingId, Timestamp>,
}

impl Schedule {
    /// Replaces the time of a mapping; `None` if it need not be looked at.
    pub(super) fn set(&mut self, mapping: &MappingId, at: Option<Timestamp>) {
        if let Some(former) = self.times.remove(mapping) {
            self.by_time.remove(&(former, mapping.clone()));
        }
        if let Some(at) = at {
            self.times.insert(mapping.clone(), at);
            self.by_time.insert((at, mapping.clone()));
        }
    }

    /// The time of the first mapping.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Removes the mappings whose time has come.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<MappingId> {
        let mut due = Vec::new();
        while self.first().is_some_and(|at| at <= now) {
            let Some((_, mapping)) = self.by_time.pop_first() else {
                break;
            };
            self.times.remove(&mapping);
            due.push(mapping);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_due_once_at_its_last_time() {
        let (one, two) = (MappingId::new("1"), MappingId::new("2"));
        let at = Timestamp::from_millis;
        let mut schedule = Schedule::default();
        schedule.set(&one, Some(at(5)));
        schedule.set(&two, Some(at(7)));
        schedule.set(&one, Some(at(8)));
        assert_eq!(schedule.first(), Some(at(7)));
        assert!(schedule.take_due(at(6)).is_empty());
        assert_eq!(schedule.take_due(at(8)), [two.clone(), one.clone()]);
        assert_eq!(schedule.first(), None);
        schedule.set(&two, Some(at(9)));
        schedule.set(&two, None);
        assert!(schedule.take_due(at(9)).is_empty());
    }
}
