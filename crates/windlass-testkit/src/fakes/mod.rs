//! Fakes of the ports, in memory and on tokio's clock: under paused time a whole daemon runs in
//! milliseconds.
//!
//! Unlike the simulated [worlds](crate::world), nothing here is random: the test controls what
//! happens, such as a function that hangs or a store that fails.

mod bucket;
mod dead_letters;
mod destination;
mod fake_adapters;
mod function;
mod log;
mod queue;
mod store;
mod stream;

pub use bucket::FakeBucket;
pub use destination::FakeDestination;
pub use fake_adapters::FakeAdapters;
pub use function::{Answer, Call, FakeFunction};
pub use log::ErrorsFail;
pub use queue::FakeQueue;
pub use store::FakeStore;
pub use stream::FakeStream;

use std::sync::{Mutex, MutexGuard, PoisonError};

use windlass_core::outcome::Fault;
use windlass_engine::ports::PortError;

/// Ignores poisoning, so that the panic that caused it is the one that is reported.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(operation: &str, fault: Fault) -> PortError {
    PortError {
        operation: operation.to_owned(),
        fault,
        source: "injected by the test".into(),
    }
}
