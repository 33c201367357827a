//! What a seed draws for the world of slots before it starts.

use windlass_core::slots::FunctionKey;

use crate::rng::Rng;

#[derive(Debug)]
pub(super) struct Plan {
    /// Of the daemon.
    pub(super) limit: usize,
    /// The limit of each function.
    pub(super) functions: Vec<Option<usize>>,
    pub(super) mappings: Vec<PlannedMapping>,
    pub(super) n_steps: u64,
    /// Chance of each request, per mille, that it ends before its grant is taken.
    pub(super) ends_untaken: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PlannedMapping {
    pub(super) function: FunctionKey,
    pub(super) limit: Option<usize>,
    /// The most requests at once.
    pub(super) burst: u64,
    /// It never releases a slot.
    pub(super) hangs: bool,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let n_functions = rng.pick(&[1, 2, 4, 8]);
        let n_mappings = rng.pick(&[1, 2, 5, 12]);
        let mut plan = Self {
            limit: rng.pick(&[1, 2, 3, 7, 20, 50, 150]),
            functions: (0..n_functions).map(|_| limit(rng)).collect(),
            mappings: Vec::new(),
            n_steps: rng.pick(&[20, 50, 100]),
            ends_untaken: rng.pick(&[0, 0, 50]),
        };
        let hanging = rng.pick(&[0, 0, 200]);
        for _ in 0..n_mappings {
            let mapping = PlannedMapping {
                function: plan.any_function(rng),
                limit: limit(rng),
                burst: rng.pick(&[1, 1, 5, 15]),
                hangs: rng.per_mille(hanging),
            };
            plan.mappings.push(mapping);
        }
        plan
    }

    pub(super) fn any_function(&self, rng: &mut Rng) -> FunctionKey {
        FunctionKey(rng.size(0, self.functions.len() - 1) as u64)
    }
}

/// Draws the limit of a function or mapping.
pub(super) fn limit(rng: &mut Rng) -> Option<usize> {
    rng.pick(&[None, None, None, Some(1), Some(2), Some(5), Some(20)])
}
