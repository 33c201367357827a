//! Results of I/O calls, as far as decisions depend on them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::window::WindowState;

/// Result of one invocation.
///
/// The retry rules depend on whether the function was *reached*: an attempt counts only if the
/// function was invoked.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function has processed the whole batch.
    Success,
    /// The function ran, and reports that items of the batch failed: this uses an attempt. Only of
    /// invocations that ask for it.
    ItemFailures {
        failures: ItemFailures,
        response: Box<Response>,
    },
    /// The function ran, or may have run, and failed: this uses an attempt.
    FunctionError {
        /// The kind of error in a word, for people: `Unhandled`, `timeout`, `HTTP 500`. Never part
        /// of the response body.
        error: String,
        /// The default without one (a timeout, a closed connection).
        response: Box<Response>,
    },
    /// The function was not reached: this uses no attempt.
    NotInvoked { cause: Fault },
    /// The function has returned the state of its tumbling window. Only of invocations that ask for
    /// it.
    Windowed(Box<WindowAnswer>),
}

/// The response to an invocation in a tumbling window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowAnswer {
    pub state: ReturnedState,
    /// The items that failed; `None` if none has.
    pub failures: Option<ItemFailures>,
    pub response: Response,
}

/// The state that a function has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReturnedState {
    Json(WindowState),
    /// It has more than [`MAX_STATE`](crate::window::MAX_STATE) bytes, and was not kept.
    TooLarge,
}

impl Outcome {
    /// The outcome of a function that has returned. `needs_state`: it was invoked in a tumbling
    /// window; then a response without a state means that it has failed.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-windows.html>
    pub fn returned(
        needs_state: bool,
        state: Option<ReturnedState>,
        failures: Option<ItemFailures>,
        response: impl FnOnce() -> Response,
    ) -> Self {
        match (needs_state, state, failures) {
            (true, Some(state), failures) => Self::Windowed(Box::new(WindowAnswer {
                state,
                failures,
                response: response(),
            })),
            (true, None, _) => Self::FunctionError {
                error: "no state".to_owned(),
                response: Box::new(response().failed()),
            },
            (false, _, None) => Self::Success,
            (false, _, Some(failures)) => Self::ItemFailures {
                failures,
                response: Box::new(response()),
            },
        }
    }

    /// The outcome of an invocation in a tumbling window: without a state the function has failed.
    #[must_use]
    pub fn in_window(self, state: Option<ReturnedState>) -> Self {
        match self {
            Self::Success => Self::returned(true, state, None, Response::default),
            Self::ItemFailures { failures, response } => {
                Self::returned(true, state, Some(failures), || *response)
            }
            Self::FunctionError { .. } | Self::NotInvoked { .. } | Self::Windowed(_) => self,
        }
    }

    /// What the function reports as failed.
    pub const fn item_failures(&self) -> Option<&ItemFailures> {
        match self {
            Self::ItemFailures { failures, .. } => Some(failures),
            Self::Windowed(answer) => match answer.state {
                ReturnedState::Json(_) => answer.failures.as_ref(),
                ReturnedState::TooLarge => None,
            },
            Self::Success | Self::FunctionError { .. } | Self::NotInvoked { .. } => None,
        }
    }

    /// The outcome without the state, and the state.
    pub(crate) fn take_state(self) -> (Self, Option<ReturnedState>) {
        let Self::Windowed(answer) = self else {
            return (self, None);
        };
        let WindowAnswer {
            state,
            failures,
            response,
        } = *answer;
        let outcome = match (&state, failures) {
            (ReturnedState::TooLarge, _) => Self::FunctionError {
                error: "state too large".to_owned(),
                response: Box::new(response.failed()),
            },
            (ReturnedState::Json(_), failures) => {
                Self::returned(false, None, failures, || response)
            }
        };
        (outcome, Some(state))
    }

    pub const fn kind(&self) -> OutcomeKind {
        match self {
            Self::Success => OutcomeKind::Success,
            Self::ItemFailures { failures, .. } => failures.kind(),
            Self::Windowed(answer) => match (&answer.state, &answer.failures) {
                (ReturnedState::TooLarge, _) => OutcomeKind::FunctionError,
                (ReturnedState::Json(_), None) => OutcomeKind::Success,
                (ReturnedState::Json(_), Some(failures)) => failures.kind(),
            },
            Self::FunctionError { .. } => OutcomeKind::FunctionError,
            Self::NotInvoked { cause } => OutcomeKind::NotInvoked(*cause),
        }
    }

    /// Whether the request was larger than what accepts it for the function: a smaller batch may be
    /// accepted.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#status.413>
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::FunctionError { response, .. } if response.status == 413)
    }

    /// What went wrong, in a few words and without any part of the response; `None` if nothing has.
    pub fn describe_error(&self) -> Option<String> {
        let fault = match self {
            Self::Success => return None,
            Self::ItemFailures { .. } => {
                return Some("the function reports that items have failed".to_owned());
            }
            Self::FunctionError { error, .. } => return Some(format!("function error: {error}")),
            Self::Windowed(answer) => {
                let failures = answer.failures.as_ref();
                return failures.map(|_| "the function reports that items have failed".to_owned());
            }
            Self::NotInvoked { cause } => *cause,
        };
        let text = match fault {
            Fault::Throttled { .. } => "the function was throttled",
            Fault::Denied => "access to the function was denied",
            Fault::Gone => "the function does not exist",
            Fault::Transient | Fault::TimedOut | Fault::Trimmed | Fault::UnknownPosition => {
                "the function was not reached"
            }
        };
        Some(text.to_owned())
    }

    /// A function error whose response has nothing but this status, 0 without a response.
    pub fn function_error(status: u16, error: &str) -> Self {
        Self::FunctionError {
            error: error.to_owned(),
            response: Box::new(match status {
                0 => Response::default(),
                status => Response {
                    status,
                    ..Response::default()
                }
                .failed(),
            }),
        }
    }
}

impl Response {
    /// The response to an invocation whose function failed.
    #[must_use]
    pub fn failed(self) -> Self {
        Self {
            function_error: Some("Unhandled".into()),
            ..self
        }
    }
}

/// An [`Outcome`] without what the function said, for the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    Success,
    ItemFailures,
    MalformedResponse,
    FunctionError,
    NotInvoked(Fault),
}

/// What is known of the response to an invocation that failed, wholly or in part. Texts are plain
/// words that can be logged, whatever the function sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Of HTTP; 0 without a response.
    pub status: u16,
    /// AWS's, or the one that a process got with the event.
    pub request_id: Option<Box<str>>,
    /// The version that an alias has led to: `$LATEST`, `7`.
    pub executed_version: Option<Box<str>>,
    /// In AWS's words: `Unhandled`. `None` if the function has returned.
    pub function_error: Option<Box<str>>,
}

/// The items of a batch that a function reports as failed.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemFailures {
    /// Their identifiers, at least one: sequence numbers of records, or ids of messages. Not
    /// necessarily of the batch.
    Items(BTreeMap<Box<str>, RetryAfter>),
    /// The response is not what a function may return: the whole batch failed.
    Malformed,
}

/// The `retryAfterSeconds` of a failed item: when its message becomes visible again. AWS has no such
/// member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAfter {
    /// The item has none, or null.
    #[default]
    None,
    /// 0 to [`RetryAfter::MAX_SECONDS`].
    Seconds(u16),
    /// It is anything else, and means nothing.
    Invalid,
}

impl RetryAfter {
    /// 12 hours, the longest visibility timeout of SQS.
    pub const MAX_SECONDS: u16 = 43_200;

    /// A number of the response.
    pub fn from_number(seconds: f64) -> Self {
        let is_valid =
            seconds.fract() == 0.0 && (0.0..=f64::from(Self::MAX_SECONDS)).contains(&seconds);
        if !is_valid {
            return Self::Invalid;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number of up to 43,200"
        )]
        Self::Seconds(seconds as u16)
    }

    pub fn delay(self) -> Option<Duration> {
        match self {
            Self::Seconds(seconds) => Some(Duration::from_secs(u64::from(seconds))),
            Self::None | Self::Invalid => None,
        }
    }
}

impl ItemFailures {
    /// Items with identifiers alone.
    pub fn of_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        let ids = ids.into_iter();
        Self::Items(ids.map(|id| (id.into(), RetryAfter::None)).collect())
    }

    /// What the response says of this item.
    pub fn retry_after(&self, id: &str) -> RetryAfter {
        match self {
            Self::Items(items) => items.get(id).copied().unwrap_or_default(),
            Self::Malformed => RetryAfter::None,
        }
    }

    const fn kind(&self) -> OutcomeKind {
        match self {
            Self::Items(_) => OutcomeKind::ItemFailures,
            Self::Malformed => OutcomeKind::MalformedResponse,
        }
    }

    /// The indexes of the failed items, in order, in a batch whose items have these identifiers; of
    /// items with the same identifier the first. `None` if the whole batch failed: the response is
    /// malformed, or names an item that is not in the batch.
    pub fn indexes<'a>(&self, batch: impl IntoIterator<Item = &'a str>) -> Option<Vec<usize>> {
        let Self::Items(failed) = self else {
            return None;
        };
        let mut found = BTreeSet::new();
        let mut indexes = Vec::with_capacity(failed.len());
        for (index, id) in batch.into_iter().enumerate() {
            if failed.contains_key(id) && found.insert(id) {
                indexes.push(index);
            }
        }
        (found.len() == failed.len()).then_some(indexes)
    }
}

/// What went wrong with an I/O call, as far as decisions depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The service requests fewer calls.
    Throttled {
        /// The requested pause, if the response has one, as received: the core limits it.
        retry_after: Option<Duration>,
    },
    /// A retry may succeed: no connection, an internal error, a malformed response, a call without
    /// records that takes too long.
    Transient,
    /// The records that were requested did not arrive in time; fewer may.
    TimedOut,
    /// Fails until an operator changes a permission, a credential or the configuration.
    Denied,
    /// The stream, queue, shard or function does not exist.
    Gone,
    /// The position to read from is older than the oldest record of the source.
    Trimmed,
    /// The source has no record with the sequence number to read from: the stream was created again,
    /// or its server has lost its data.
    UnknownPosition,
}

/// Result of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    Done,
    /// The row was changed by someone else; nothing was written.
    Conflict,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_is_not_in_the_batch_fails_the_whole_batch() {
        let items = |ids: &[&str]| ItemFailures::of_ids(ids.iter().copied());
        let batch = ["a", "b", "b", "c"];
        for (failures, expected) in [
            (items(&["c", "b"]), Some(vec![1, 3])),
            (items(&["a", "b", "c"]), Some(vec![0, 1, 3])),
            (items(&["d"]), None),
            (items(&["a", "d"]), None),
            (ItemFailures::Malformed, None),
        ] {
            assert_eq!(failures.indexes(batch), expected, "{failures:?}");
        }
    }

    #[test]
    fn a_delay_is_a_whole_number_of_seconds_up_to_twelve_hours() {
        for (number, expected) in [
            (0.0, RetryAfter::Seconds(0)),
            (-0.0, RetryAfter::Seconds(0)),
            (60.0, RetryAfter::Seconds(60)),
            (43_200.0, RetryAfter::Seconds(43_200)),
            (43_201.0, RetryAfter::Invalid),
            (-1.0, RetryAfter::Invalid),
            (0.5, RetryAfter::Invalid),
            (f64::INFINITY, RetryAfter::Invalid),
            (f64::NAN, RetryAfter::Invalid),
        ] {
            assert_eq!(RetryAfter::from_number(number), expected, "{number}");
        }
    }
}
