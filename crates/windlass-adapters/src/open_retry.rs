//! The delays of what is tried again without the machines' knowledge, by the crate `backoff`.
//!
//! It is the only place that uses that crate. Decisions about records have a schedule of their own,
//! in the core, that is seeded and can be replayed.

use std::time::Duration;

use backoff::ExponentialBackoff;

/// What is held by somebody else for a moment is free within this.
const PATIENCE: Duration = Duration::from_secs(3);

/// Does something that another process may hinder for a moment, a few times if need be. Blocks.
pub(crate) fn blocking<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    hindered: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let schedule = ExponentialBackoff {
        initial_interval: Duration::from_millis(50),
        max_interval: Duration::from_secs(1),
        max_elapsed_time: Some(PATIENCE),
        ..ExponentialBackoff::default()
    };
    let classify = |error| {
        if hindered(&error) {
            backoff::Error::transient(error)
        } else {
            backoff::Error::permanent(error)
        }
    };
    let tried = backoff::retry(schedule, || attempt().map_err(classify));
    tried.map_err(|error| match error {
        backoff::Error::Permanent(error) | backoff::Error::Transient { err: error, .. } => error,
    })
}
