//! The limit of open files, which service managers set far below what a daemon may need: with none
//! left neither functions nor sources can be reached.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files of a daemon that are not connections to functions: connections of its sources and of its
/// API, and its store.
const OTHER_FILES: u64 = 512;

/// The largest soft limit that macOS accepts while its hard limit is unlimited.
const MAX_FINITE_LIMIT: u64 = 10_240;

/// How many files a number of concurrent invocations may need.
pub(crate) const fn needed(invocations: usize) -> u64 {
    OTHER_FILES + invocations as u64
}

/// The limit to which [`raise_limit`] can raise; `None`: files are not limited.
pub(crate) fn highest_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Raises the soft limit to the hard limit, and warns if that is too low for a number of concurrent
/// invocations.
pub(crate) fn raise_limit(invocations: usize) {
    let limit = getrlimit(Resource::Nofile);
    let candidates = [limit.maximum, Some(MAX_FINITE_LIMIT)];
    let raised = candidates.into_iter().any(|current| {
        let is_higher = limit
            .current
            .is_some_and(|old| current.is_none_or(|it| old < it));
        let maximum = limit.maximum;
        is_higher && setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok()
    });
    let current = getrlimit(Resource::Nofile).current;
    tracing::debug!(raised, current, "limit of open files");
    let needed = needed(invocations);
    if let Some(current) = current.filter(|current| *current < needed) {
        tracing::warn!(
            "the limit of open files is {current}, below the {needed} that {invocations} concurrent \
             invocations may need; raise it (ulimit -n, LimitNOFILE)"
        );
    }
}
