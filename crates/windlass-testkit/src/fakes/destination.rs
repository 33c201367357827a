//! A destination that keeps what is delivered, and fails as long as the test wants.

use std::sync::Mutex;

use async_trait::async_trait;
use windlass_core::outcome::Fault;
use windlass_engine::ports::{Destination, Failure, PortError};

use super::{failed, lock};

/// Accepts everything unless [`FakeDestination::fail_with`] says otherwise.
#[derive(Debug, Default)]
pub struct FakeDestination {
    fault: Mutex<Option<Fault>>,
    tries: Mutex<Vec<Failure>>,
    delivered: Mutex<Vec<Failure>>,
}

impl FakeDestination {
    /// Fails later deliveries, or accepts them.
    pub fn fail_with(&self, fault: Option<Fault>) {
        *lock(&self.fault) = fault;
    }

    /// What was accepted, in order.
    pub fn delivered(&self) -> Vec<Failure> {
        lock(&self.delivered).clone()
    }

    /// Every delivery that was tried, in order.
    pub fn tries(&self) -> Vec<Failure> {
        lock(&self.tries).clone()
    }
}

#[async_trait]
impl Destination for FakeDestination {
    async fn deliver(&self, failure: &Failure) -> Result<(), PortError> {
        lock(&self.tries).push(failure.clone());
        if let Some(fault) = *lock(&self.fault) {
            return Err(failed("delivering to the destination", fault));
        }
        lock(&self.delivered).push(failure.clone());
        Ok(())
    }
}
