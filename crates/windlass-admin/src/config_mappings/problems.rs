//! Why mappings of the file are not as the file wants them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::arn::{Arn, SourceArn};
use windlass_core::mapping::MappingId;

/// Shared by what applies the file and what shows the status.
#[derive(Clone, Debug, Default)]
pub struct ConfigProblems(Arc<Mutex<BTreeMap<MappingId, ConfigProblem>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigProblem {
    pub(crate) source: SourceArn,
    pub(crate) function_arn: Arn,
    pub(crate) text: String,
}

impl ConfigProblems {
    pub(crate) fn get(&self, mapping: &MappingId) -> Option<ConfigProblem> {
        self.lock().get(mapping).cloned()
    }

    pub(crate) fn all(&self) -> BTreeMap<MappingId, ConfigProblem> {
        self.lock().clone()
    }

    pub(crate) fn set(&self, mapping: MappingId, problem: Option<ConfigProblem>) {
        match problem {
            Some(problem) => drop(self.lock().insert(mapping, problem)),
            None => drop(self.lock().remove(&mapping)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MappingId, ConfigProblem>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
