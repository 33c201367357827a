//! Decides about redrives: what is sent once more from dead letters, on-failure documents and
//! dead-letter queues, in which order, and when it is deleted.
//!
//! `document` reads on-failure documents, `order` sorts them, `range` finds the records that one
//! names, `run` says which item is sent next, `messages` what is done with each message of a queue and
//! `verdict` what follows an invocation, `pace` keeps the rate, and `queue` turns received messages into
//! messages to send.

mod document;
mod messages;
mod order;
mod pace;
mod queue;
mod range;
mod run;
mod verdict;

pub use document::{FailureDocument, NotADocument, same_function};
pub use messages::{MessageCommand, MessageRecipient, MessageRun};
pub use order::{LetterPlace, compare, lanes, ranks};
pub use pace::Pace;
pub use queue::{AttributeValue, DUPLICATE_INTERVAL, OutgoingMessage};
pub use range::{RangeError, RangeReader, RangeStep, Selection};
pub use run::{RedriveRun, RunCommand, RunCounts};
pub use verdict::{Decision, EventShape, ItemEnd, ThrottleWait, Verdict, failed_messages, judge};
