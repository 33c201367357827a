//! How drivers and the supervisor are asked to stop.

use tokio::sync::watch;

/// Whether to keep running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    No,
    /// Finish what is in flight, save, and end.
    Drain,
    /// End immediately and drop everything: the lease is lost, or the grace period is over.
    Now,
}

/// The next change; pending forever once the sender is gone.
pub(crate) async fn wait_for_stop(stop: &mut watch::Receiver<Stop>) -> Stop {
    match stop.changed().await {
        Ok(()) => *stop.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}

/// Waits for [`Stop::Now`].
pub(crate) async fn wait_for_stop_now(stop: &mut watch::Receiver<Stop>) {
    while wait_for_stop(stop).await != Stop::Now {}
}
