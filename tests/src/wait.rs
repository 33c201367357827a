//! Waiting for a condition by polling it, up to a deadline.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the condition holds. After `limit`, the error names it by `what`.
pub async fn until(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    until_some(what, limit, async || Ok(holds().then_some(()))).await
}

/// Waits until `poll` returns a value, and returns it.
pub async fn until_some<T>(
    what: &str,
    limit: Duration,
    mut poll: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = poll().await? {
            return Ok(value);
        }
        if deadline <= Instant::now() {
            bail!("still waiting after {limit:?}: {what}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
