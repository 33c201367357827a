//! Stand-ins for everything behind the ports, in memory and on tokio's clock: under paused time a
//! whole daemon runs in milliseconds.
//!
//! A fake does what its port says and what a test tells it to: records appear when they are put,
//! a function hangs when it is told to. Unlike the simulated [worlds](crate::world) they draw
//! nothing at random: a test says what happens.

mod fake_adapters;
mod function;
mod log;
mod queue;
mod store;
mod stream;

pub use fake_adapters::FakeAdapters;
pub use function::{Answer, Call, FakeFunction};
pub use log::ErrorsFail;
pub use queue::FakeQueue;
pub use store::FakeStore;
pub use stream::FakeStream;

use std::sync::{Mutex, MutexGuard, PoisonError};

use windlass_core::outcome::Fault;
use windlass_engine::ports::PortError;

/// A test that has failed elsewhere must not hide behind a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(operation: &str, fault: Fault) -> PortError {
    PortError {
        operation: operation.to_owned(),
        fault,
        source: "the test says so".into(),
    }
}
