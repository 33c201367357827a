//! Decides about redrives: what is sent once more from dead letters, on-failure documents and
//! dead-letter queues, in which order, and when it is deleted.
//!
//! `document` reads on-failure documents, `order` sorts them, `range` finds the records that one
//! names, `verdict` says what follows an invocation, `pace` keeps the rate, and `queue` turns
//! received messages into messages to send.

mod document;
mod order;
mod pace;
mod queue;
mod range;
mod verdict;

pub use document::{FailureDocument, NotADocument, same_function};
pub use order::{compare, compare_numbers, ranks};
pub use pace::Pace;
pub use queue::{
    AttributeValue, DUPLICATE_INTERVAL, Mode, OutgoingMessage, body, duplicate_wait, mode,
};
pub use range::{RangeError, RangeReader, RangeStep, Selection};
pub use verdict::{EventShape, MAX_THROTTLED, ThrottleWait, Verdict, failed_messages, judge};
