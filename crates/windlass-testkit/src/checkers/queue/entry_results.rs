//! Results of the entries of a deletion or visibility change.

use windlass_core::outcome::Fault;
use windlass_core::queue::EntryResult;

pub(super) fn entry_result(results: &Result<Vec<EntryResult>, Fault>, index: usize) -> EntryResult {
    match results {
        Ok(results) => results.get(index).copied(),
        Err(fault) => Some(EntryResult::Failed(*fault)),
    }
    .unwrap_or(EntryResult::Failed(Fault::Transient))
}

pub(super) fn fault_of(result: EntryResult) -> Option<Fault> {
    match result {
        EntryResult::Failed(fault) => Some(fault),
        EntryResult::Done | EntryResult::Refused => None,
    }
}

pub(super) fn first_fault(
    results: &Result<Vec<EntryResult>, Fault>,
    n_entries: usize,
) -> Option<Fault> {
    (0..n_entries).find_map(|index| fault_of(entry_result(results, index)))
}
