//! How a supervisor is told that there is something to do.

use std::sync::Arc;

use tokio::sync::Notify;

/// Tells a supervisor that something in the store has changed.
#[derive(Clone, Debug, Default)]
pub struct Wakeup(Arc<Notify>);

impl Wakeup {
    pub fn wake(&self) {
        self.0.notify_one();
    }

    pub(super) async fn notified(&self) {
        self.0.notified().await;
    }
}
