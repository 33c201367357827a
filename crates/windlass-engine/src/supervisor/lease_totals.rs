//! The counts of all leases, kept up to date mapping by mapping.

use std::collections::BTreeMap;

use windlass_core::mapping::MappingId;

use crate::status::LeaseCounts;

#[derive(Debug, Default)]
pub(super) struct LeaseTotals {
    sum: LeaseCounts,
    by_mapping: BTreeMap<MappingId, LeaseCounts>,
}

impl LeaseTotals {
    pub(super) fn set(&mut self, mapping: &MappingId, counts: LeaseCounts) {
        let former = if counts == LeaseCounts::default() {
            self.by_mapping.remove(mapping)
        } else {
            self.by_mapping.insert(mapping.clone(), counts)
        };
        self.sum.replace(&former.unwrap_or_default(), &counts);
    }

    pub(super) const fn sum(&self) -> LeaseCounts {
        self.sum
    }
}
