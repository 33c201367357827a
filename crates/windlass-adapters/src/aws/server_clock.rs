//! The clock of a server, from the `Date` of its answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_smithy_types::date_time::Format;
use windlass_core::time::Timestamp;

/// Calls that take longer say too little about when within them the server read its clock.
const MAX_CALL: Duration = Duration::from_secs(1);

/// Watches the answers to one call, or to all calls of a client. Clones share what they see.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerClock(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    answered: Option<Timestamp>,
    measured: Option<Measured>,
}

/// The difference at the time of an answer.
#[derive(Clone, Copy, Debug)]
struct Measured {
    difference: i64,
    /// When the answer was received, by the machine's wall time and by its monotonic time.
    received: Timestamp,
    at: Instant,
}

/// When an attempt was sent.
#[derive(Debug)]
struct Sent(Instant);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl ServerClock {
    /// The time of the last answer that had one, in whole seconds.
    pub(crate) fn answered(&self) -> Option<Timestamp> {
        self.seen().answered
    }

    /// How many milliseconds the server's clock is ahead of the machine's, to within a second. A step
    /// of the machine's clock changes it at once.
    pub(crate) fn difference(&self) -> Option<i64> {
        self.difference_at(wall(), Instant::now())
    }

    fn difference_at(&self, wall: Timestamp, at: Instant) -> Option<i64> {
        let measured = self.seen().measured?;
        let expected = measured.received + at.saturating_duration_since(measured.at);
        Some(measured.difference + expected.millis_since(wall))
    }

    /// The time by the server's clock, as far as it is known; otherwise by the machine's. Monotonic
    /// time, which stands still while a machine is suspended, does not matter here: a signature must
    /// have the right time afterwards.
    pub(crate) fn now(&self) -> Timestamp {
        let measured = self.seen().measured;
        wall().shifted(measured.map_or(0, |it| it.difference))
    }

    /// The same, as the SDK has it.
    pub(super) fn system_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now().since(Timestamp::EPOCH)
    }

    /// A response without a readable `Date` says nothing.
    pub(super) fn handle_response(&self, response: &HttpResponse, took: Duration) {
        let date = response.headers().get("date");
        let date = date.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        if let Some(seconds) = date.and_then(|date| u64::try_from(date.secs()).ok()) {
            let answered = Timestamp::EPOCH + Duration::from_secs(seconds);
            self.handle_answer(answered, wall(), Instant::now(), took);
        }
    }

    fn handle_answer(&self, answered: Timestamp, received: Timestamp, at: Instant, took: Duration) {
        let mut seen = self.seen();
        seen.answered = Some(answered);
        if took <= MAX_CALL {
            seen.measured = Some(Measured {
                difference: difference(answered, received, took),
                received,
                at,
            });
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[dyn_dispatch_hint]
impl Intercept for ServerClock {
    fn name(&self) -> &'static str {
        "ServerClock"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Sent(Instant::now()));
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Sent(sent)) = config.load::<Sent>() {
            self.handle_response(context.response(), sent.elapsed());
        }
        Ok(())
    }
}

fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::EPOCH + since_epoch.unwrap_or_default()
}

/// The server read its clock within the call and rounded it down to a second: the middle of both is
/// at most a second from the truth.
fn difference(answered: Timestamp, received: Timestamp, took: Duration) -> i64 {
    let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    answered
        .shifted(500)
        .millis_since(received.shifted(-(took / 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_exact_to_a_second() {
        let truth = 1_700_000_000_000;
        for offset in [-3_600_000, -8_000, 0, 300, 8_000] {
            for (fraction, took) in [(0, 0), (0, 900), (999, 0), (999, 900)] {
                let read = Timestamp::from_millis(truth + fraction).shifted(offset);
                let took = Duration::from_millis(took);
                for received in [truth + fraction, truth + fraction + 900] {
                    let received = Timestamp::from_millis(received);
                    let (clock, at) = (ServerClock::default(), Instant::now());
                    clock.handle_answer(read.floor_to_second(), received, at, took);
                    let error = clock.difference_at(received, at).unwrap() - offset;
                    let late = received.as_millis() - truth - fraction;
                    if late <= u64::try_from(took.as_millis()).unwrap() {
                        assert!(
                            error.abs() <= 1_000,
                            "{offset} {fraction} {took:?}: {error}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_slow_call_says_nothing_of_the_difference() {
        let (clock, now) = (ServerClock::default(), Timestamp::from_millis(7_000));
        clock.handle_answer(now, now, Instant::now(), Duration::from_secs(5));
        assert_eq!((clock.answered(), clock.difference()), (Some(now), None));
    }

    #[test]
    fn a_step_of_the_machines_clock_changes_the_difference_at_once() {
        let (clock, at) = (ServerClock::default(), Instant::now());
        let received = Timestamp::from_millis(1_700_000_000_500);
        clock.handle_answer(received.floor_to_second(), received, at, Duration::ZERO);
        let minute = Duration::from_secs(60);
        for step in [-3_600_000, 0, 3_600_000] {
            let wall = (received + minute).shifted(step);
            assert_eq!(clock.difference_at(wall, at + minute), Some(-step));
        }
    }
}
