//! Waiting for something that others bring about: asked for again and again, up to a deadline.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until something holds.
///
/// # Errors
/// It does not within `limit`; the error says what.
pub async fn until(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    until_some(what, limit, async || Ok(holds().then_some(()))).await
}

/// Waits until there is an answer, and gives it.
///
/// # Errors
/// There is none within `limit`, or asking failed.
pub async fn until_some<T>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if deadline <= Instant::now() {
            bail!("after {limit:?} still not: {what}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
