//! What the store does not know about mappings and an operator should.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::arn::{Arn, SourceArn};
use windlass_core::mapping::MappingId;

/// Shared by what writes mappings and what shows the status.
#[derive(Clone, Debug, Default)]
pub struct MappingProblems(Arc<Mutex<Problems>>);

#[derive(Debug, Default)]
struct Problems {
    config: BTreeMap<MappingId, ConfigProblem>,
    unchecked: BTreeMap<MappingId, UncheckedFunction>,
}

/// Why a mapping of the file is not as the file wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigProblem {
    pub(crate) source: SourceArn,
    pub(crate) function_arn: Arn,
    pub(crate) text: String,
}

/// The function of a mapping was not found when it was written, and not missed either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UncheckedFunction {
    pub(crate) reason: String,
    /// The events that the mapping had sent until then. Once it has sent more, the function exists.
    pub(crate) invoked: u64,
}

impl MappingProblems {
    pub(crate) fn config(&self, mapping: &MappingId) -> Option<ConfigProblem> {
        self.lock().config.get(mapping).cloned()
    }

    pub(crate) fn all_config(&self) -> BTreeMap<MappingId, ConfigProblem> {
        self.lock().config.clone()
    }

    pub(crate) fn set_config(&self, mapping: MappingId, problem: Option<ConfigProblem>) {
        match problem {
            Some(problem) => drop(self.lock().config.insert(mapping, problem)),
            None => drop(self.lock().config.remove(&mapping)),
        }
    }

    /// Returns whether this is news.
    pub(crate) fn set_unchecked(
        &self,
        mapping: MappingId,
        unchecked: Option<UncheckedFunction>,
    ) -> bool {
        let known = &mut self.lock().unchecked;
        match unchecked {
            Some(unchecked) => known.insert(mapping, unchecked.clone()) != Some(unchecked),
            None => known.remove(&mapping).is_some(),
        }
    }

    /// Why it is not known whether the function of a mapping exists; `None` if that is known, as it
    /// is once the function has been `invoked`.
    pub(crate) fn unchecked(&self, mapping: &MappingId, invoked: u64) -> Option<String> {
        let problems = self.lock();
        let unchecked = problems.unchecked.get(mapping)?;
        (invoked <= unchecked.invoked)
            .then(|| format!("the function could not be checked: {}", unchecked.reason))
    }

    fn lock(&self) -> MutexGuard<'_, Problems> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
