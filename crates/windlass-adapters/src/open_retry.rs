//! Retries for opening files that another process uses for a moment. The delays come from the crate
//! `backoff`.

use std::time::Duration;

use backoff::ExponentialBackoff;

/// Time after which a file that is still in use is reported.
const RETRY_TIMEOUT: Duration = Duration::from_secs(3);

/// Repeats `attempt` while its error `is_busy`, for up to three seconds. Blocks the thread.
pub(crate) fn retry_while_busy<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_busy: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let delays = ExponentialBackoff {
        initial_interval: Duration::from_millis(50),
        max_interval: Duration::from_secs(1),
        max_elapsed_time: Some(RETRY_TIMEOUT),
        ..ExponentialBackoff::default()
    };
    let classify = |error| {
        if is_busy(&error) {
            backoff::Error::transient(error)
        } else {
            backoff::Error::permanent(error)
        }
    };
    let result = backoff::retry(delays, || attempt().map_err(classify));
    result.map_err(|error| match error {
        backoff::Error::Permanent(error) | backoff::Error::Transient { err: error, .. } => error,
    })
}
