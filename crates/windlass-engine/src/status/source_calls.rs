//! The calls of a consumer to its source: which hang, and why others fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use windlass_core::outcome::Fault;

use crate::ports::{PortError, chain, log_fault};

/// Limits what a server can put into the status.
const MAX_CHARS: usize = 500;

/// A source that has not answered for longer is shown.
const MAX_RESPONSE_TIME: Duration = Duration::from_secs(10);

/// A kind of call to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceCall {
    /// Of the attributes of a queue.
    Describe,
    /// Or receive.
    Read,
    Delete,
    ChangeVisibility,
    /// Of records that are given up, to the on-failure destination.
    Deliver,
}

/// The calls of one consumer.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceCalls(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By number.
    in_flight: BTreeMap<u64, InFlight>,
    last_number: u64,
    /// The error of the last call of each kind, if it failed: `ReceiveMessage of queue jobs: …`.
    errors: BTreeMap<SourceCall, String>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    call: SourceCall,
    started: Instant,
    /// For how long the source was asked to wait.
    wait: Duration,
}

/// Counts as a call in flight until it is dropped.
struct Guard {
    calls: SourceCalls,
    number: u64,
}

impl SourceCalls {
    /// Runs a call in which the source waits for up to `wait`. Logs and keeps its error.
    pub(crate) async fn run<T>(
        &self,
        call: SourceCall,
        wait: Duration,
        response: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, Fault> {
        let guard = self.start(call, wait);
        let result = response.await;
        drop(guard);
        let error = match result {
            Ok(value) => {
                self.lock().errors.remove(&call);
                return Ok(value);
            }
            Err(error) => error,
        };
        let text = format!("{}: {}", error.operation, chain(&*error.source));
        let printable = |it: char| if it.is_control() { ' ' } else { it };
        let text = text.chars().take(MAX_CHARS).map(printable).collect();
        self.lock().errors.insert(call, text);
        Err(log_fault(&error))
    }

    pub(super) fn errors(&self) -> BTreeMap<SourceCall, String> {
        self.lock().errors.clone()
    }

    /// The first call that takes longer than it should, and for how long it has been in flight.
    pub(super) fn overdue(&self) -> Option<(SourceCall, Duration)> {
        let state = self.lock();
        let in_flight = state.in_flight.values();
        let mut overdue = in_flight.filter_map(|it| {
            let elapsed = it.started.elapsed();
            (it.wait + MAX_RESPONSE_TIME < elapsed).then_some((it.call, elapsed))
        });
        overdue.next()
    }

    fn start(&self, call: SourceCall, wait: Duration) -> Guard {
        let mut state = self.lock();
        state.last_number += 1;
        let number = state.last_number;
        let started = Instant::now();
        let in_flight = InFlight {
            call,
            started,
            wait,
        };
        state.in_flight.insert(number, in_flight);
        drop(state);
        let calls = self.clone();
        Guard { calls, number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let in_flight = &mut self.calls.lock().in_flight;
        in_flight.remove(&self.number);
        if in_flight.is_empty() {
            // An empty map keeps a node, and each of thousands of idle shards has a map.
            *in_flight = BTreeMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    fn error(text: &str) -> PortError {
        PortError {
            operation: "ReceiveMessage of queue q".to_owned(),
            fault: Fault::Denied,
            source: text.into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_is_overdue_after_the_time_it_may_wait() {
        let calls = SourceCalls::default();
        let hanging = calls.run(SourceCall::Read, WAIT, pending::<Result<(), _>>());
        let mut hanging = Box::pin(hanging);
        for (seconds, overdue) in [
            (30, None),
            (1, Some((SourceCall::Read, Duration::from_secs(31)))),
        ] {
            let pass = tokio::time::timeout(Duration::from_secs(seconds), &mut hanging);
            assert!(pass.await.is_err());
            assert_eq!(calls.overdue(), overdue);
        }
        drop(hanging);
        assert_eq!(calls.overdue(), None, "it was cancelled");
    }

    #[tokio::test]
    async fn the_error_of_a_call_is_kept_until_the_call_succeeds() {
        let calls = SourceCalls::default();
        let long = format!("no\n{}", "x".repeat(MAX_CHARS));
        let failed = calls.run(SourceCall::Read, WAIT, ready(Err::<(), _>(error(&long))));
        assert_eq!(failed.await, Err(Fault::Denied));
        let kept = calls.errors()[&SourceCall::Read].clone();
        assert!(
            kept.starts_with("ReceiveMessage of queue q: no x"),
            "{kept}"
        );
        assert_eq!(kept.chars().count(), MAX_CHARS);
        let other = calls.run(SourceCall::Delete, WAIT, ready(Ok(())));
        assert_eq!(other.await, Ok(()));
        assert_eq!(calls.errors().len(), 1);
        let same = calls.run(SourceCall::Read, WAIT, ready(Ok(())));
        assert_eq!(same.await, Ok(()));
        assert_eq!(calls.errors().len(), 0);
    }
}
