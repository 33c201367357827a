//! What follows an invocation of a redrive.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::outcome::{Fault, ItemFailures, Outcome, ReturnedState};

/// How long a throttled function is waited for.
pub(super) const MAX_THROTTLED: Duration = Duration::from_secs(60);

/// The first wait for a throttled function that names none.
const FIRST_THROTTLED: Duration = Duration::from_secs(1);

/// What an invocation of a redrive has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The function has processed all of it: what it was made of may be deleted.
    Success,
    /// It stays; the others are tried all the same.
    Failed(String),
    /// The function is invoked again after a wait.
    Throttled { retry_after: Option<Duration> },
    /// It stays, and the run ends for this function.
    NotReached(String),
}

/// What follows a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The function is invoked with the same after a wait.
    Repeat(Duration),
    End(ItemEnd),
}

/// What has become of something that a redrive was to send. It stays unless it was redriven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemEnd {
    Redriven,
    /// The function has failed it.
    Failed(String),
    /// The function was not reached, with this item or an earlier one.
    NotReached(String),
    /// It could not be sent, or was not to be; why.
    Unsent(Option<String>),
}

/// `reports_item_failures`: whether the mapping asks for the items that failed, or another mapping of the
/// function; then an answer that cannot be read for them is a failure as well.
pub fn judge(outcome: &Outcome, reports_item_failures: bool) -> Verdict {
    let of_failures = |failures: &ItemFailures| match failures {
        ItemFailures::Items(items) => {
            Verdict::Failed(format!("the function reports {} failed items", items.len()))
        }
        ItemFailures::Malformed if reports_item_failures => {
            let text = "the function's answer is not valid for ReportBatchItemFailures";
            Verdict::Failed(text.to_owned())
        }
        ItemFailures::Malformed => Verdict::Success,
    };
    match outcome {
        Outcome::Success => Verdict::Success,
        Outcome::ItemFailures { failures, .. } => of_failures(failures),
        Outcome::Windowed(answer) => match (&answer.state, &answer.failures) {
            (ReturnedState::TooLarge, _) => {
                Verdict::Failed("the state that the function returned is too large".to_owned())
            }
            (ReturnedState::Json(_), None) => Verdict::Success,
            (ReturnedState::Json(_), Some(failures)) => of_failures(failures),
        },
        Outcome::FunctionError { error, .. } => {
            Verdict::Failed(format!("the function failed: {error}"))
        }
        Outcome::NotInvoked {
            cause: Fault::Throttled { retry_after },
        } => Verdict::Throttled {
            retry_after: *retry_after,
        },
        Outcome::NotInvoked { cause } => Verdict::NotReached(
            match cause {
                Fault::Denied => "the function was not reached: permission or configuration",
                Fault::Gone => "the function was not reached: it does not exist",
                Fault::Transient
                | Fault::TimedOut
                | Fault::Throttled { .. }
                | Fault::Trimmed
                | Fault::UnknownPosition => "the function was not reached",
            }
            .to_owned(),
        ),
    }
}

/// Which messages of a batch failed, by their indexes, when it was not a success: those that the answer
/// of the function names, or all. `ids` are those of the batch.
pub fn failed_messages(outcome: &Outcome, ids: &[&str]) -> Vec<usize> {
    let all = || (0..ids.len()).collect();
    match outcome {
        Outcome::Success => Vec::new(),
        Outcome::ItemFailures { failures, .. } => match failures {
            ItemFailures::Malformed => all(),
            ItemFailures::Items(_) => failures.indexes(ids.iter().copied()).unwrap_or_else(all),
        },
        Outcome::FunctionError { .. } | Outcome::NotInvoked { .. } | Outcome::Windowed(_) => all(),
    }
}

/// The waits for a throttled function, of one invocation.
#[derive(Clone, Debug)]
pub struct ThrottleWait {
    left: Duration,
    next: Duration,
}

impl Default for ThrottleWait {
    fn default() -> Self {
        Self {
            left: MAX_THROTTLED,
            next: FIRST_THROTTLED,
        }
    }
}

impl ThrottleWait {
    pub fn decide(&mut self, verdict: Verdict) -> Decision {
        Decision::End(match verdict {
            Verdict::Success => ItemEnd::Redriven,
            Verdict::Failed(reason) => ItemEnd::Failed(reason),
            Verdict::NotReached(reason) => ItemEnd::NotReached(reason),
            Verdict::Throttled { retry_after } => match self.next(retry_after) {
                Some(wait) => return Decision::Repeat(wait),
                None => ItemEnd::NotReached(format!(
                    "the function is throttled, and was waited for up to {} s",
                    MAX_THROTTLED.as_secs()
                )),
            },
        })
    }

    /// The next wait; `None` when the function has been waited for long enough, or asks for more.
    fn next(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let wait = match retry_after {
            Some(wait) if self.left < wait => return None,
            // A server that asks for no pause at all is not asked in a loop.
            Some(wait) => wait.max(FIRST_THROTTLED),
            None => self.next,
        };
        let wait = wait.min(self.left);
        self.left -= wait;
        self.next *= 2;
        (!wait.is_zero()).then_some(wait)
    }
}

/// What a payload says of the invocation that it was the event of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventShape {
    pub n_records: usize,
    /// Whether it is of a tumbling window, so that the function must return a state.
    pub is_window: bool,
}

impl EventShape {
    /// Of anything else than an event: of one record.
    pub fn of(payload: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Event {
            #[serde(rename = "Records")]
            records: Vec<IgnoredAny>,
            window: Option<IgnoredAny>,
            #[serde(rename = "isFinalInvokeForWindow")]
            is_final: Option<bool>,
        }
        match serde_json::from_slice::<Event>(payload) {
            Ok(event) => Self {
                n_records: event.records.len(),
                is_window: event.window.is_some() && event.is_final.is_some(),
            },
            Err(_) => Self {
                n_records: 1,
                is_window: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Response, WindowAnswer};
    use crate::window::WindowState;

    fn items(failures: ItemFailures) -> Outcome {
        let response = Box::new(Response::default());
        Outcome::ItemFailures { failures, response }
    }

    #[test]
    fn an_answer_that_names_failures_has_failed_whether_it_was_asked_for_or_not() {
        let named = items(ItemFailures::of_ids(["7"]));
        let other = items(ItemFailures::Malformed);
        for asks in [true, false] {
            assert!(matches!(judge(&named, asks), Verdict::Failed(_)));
            assert_eq!(judge(&Outcome::Success, asks), Verdict::Success);
        }
        assert!(matches!(judge(&other, true), Verdict::Failed(_)));
        assert_eq!(judge(&other, false), Verdict::Success);
        let windowed = |failures| {
            Outcome::Windowed(Box::new(WindowAnswer {
                state: ReturnedState::Json(WindowState::empty()),
                failures,
                response: Response::default(),
            }))
        };
        assert_eq!(judge(&windowed(None), false), Verdict::Success);
        let named = windowed(Some(ItemFailures::of_ids(["7"])));
        assert!(matches!(judge(&named, false), Verdict::Failed(_)));
        assert!(matches!(
            judge(&Outcome::function_error(200, "Unhandled"), false),
            Verdict::Failed(_)
        ));
        let cause = Fault::Transient;
        assert!(matches!(
            judge(&Outcome::NotInvoked { cause }, false),
            Verdict::NotReached(_)
        ));
    }

    #[test]
    fn messages_fail_by_name_or_all_together() {
        let ids = ["a", "b", "c"];
        for (outcome, failed) in [
            (Outcome::Success, vec![]),
            (items(ItemFailures::Malformed), vec![0, 1, 2]),
            (items(ItemFailures::of_ids(["b"])), vec![1]),
            (items(ItemFailures::of_ids(["d"])), vec![0, 1, 2]),
            (Outcome::function_error(500, "HTTP 500"), vec![0, 1, 2]),
        ] {
            assert_eq!(failed_messages(&outcome, &ids), failed, "{outcome:?}");
        }
    }

    #[test]
    fn a_throttled_function_is_waited_for_a_minute_at_most() {
        let seconds = Duration::from_secs;
        let mut wait = ThrottleWait::default();
        let waits: Vec<_> = std::iter::from_fn(|| wait.next(None)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 29].map(seconds));
        let mut wait = ThrottleWait::default();
        assert_eq!(wait.next(Some(seconds(59))), Some(seconds(59)));
        assert_eq!(wait.next(Some(seconds(2))), None);
        assert_eq!(wait.next(Some(Duration::ZERO)), Some(seconds(1)));
        assert_eq!(wait.next(Some(Duration::ZERO)), None);
    }

    #[test]
    fn the_event_of_a_window_is_recognized() {
        let shape = |text: &str| EventShape::of(text.as_bytes());
        let plain = shape("{\"Records\":[{},{}]}");
        assert_eq!((plain.n_records, plain.is_window), (2, false));
        let window = shape(
            "{\"Records\":[],\"window\":{\"start\":\"\",\"end\":\"\"},\"state\":{},\
             \"isFinalInvokeForWindow\":true,\"isWindowTerminatedEarly\":false}",
        );
        assert_eq!((window.n_records, window.is_window), (0, true));
        let other = shape("7");
        assert_eq!((other.n_records, other.is_window), (1, false));
    }
}
