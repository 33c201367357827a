//! Matches JSON events against event patterns in the language of EventBridge, as AWS Lambda's event
//! filtering does.
//!
//! [`Criteria::compile`] turns the patterns into conditions on values and a tree of the field names
//! they need. [`Criteria::matches`] scans an event once for all patterns and builds no document:
//! fields that no pattern mentions are skipped, and the scan ends as soon as the result is known.
//! [`Criteria::explain`] reports, for people, why an event does not match.
//!
//! ```
//! use windlass_filter::{Criteria, Event, EventFormat, MatchBuffers};
//!
//! let pattern = r#"{"status": ["paid"], "amount": [{"numeric": [">", 100]}]}"#;
//! let criteria = Criteria::compile(EventFormat::Json, &[pattern]).expect("the pattern is valid");
//!
//! let mut buffers = MatchBuffers::default(); // reused from event to event
//! let mut matches = |json: &str| {
//!     let event = Event { json: json.as_bytes(), data: b"" };
//!     criteria.matches(event, &mut buffers)
//! };
//! assert!(matches(r#"{"status": "paid", "amount": 250}"#));
//! assert!(!matches(r#"{"status": "paid", "amount": 90}"#));
//! ```
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html>
//! <https://github.com/aws/event-ruler>

mod criteria;
mod event_format;

mod pattern;

mod compiled;

mod evaluate;

mod json;

pub use criteria::Criteria;
pub use evaluate::explanation::Explanation;
pub use evaluate::matching::{Event, MatchBuffers};
pub use event_format::EventFormat;
pub use pattern::compile::MAX_FILTERS;
pub use pattern::error::PatternError;
pub use pattern::rules::{MAX_COMBINATIONS, MAX_FIELDS};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
