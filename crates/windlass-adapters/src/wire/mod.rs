//! From the raw answers of the sources to records as the function sees them.
//!
//! Building the SDK's types and writing them out again costs 15 to 80 times the walk that is done
//! here: an answer is walked once, while it arrives, and each record is rendered into one buffer for
//! the whole page. Text is copied as it stands, escapes included; only what the function sees in
//! another form is looked into.

pub(crate) mod arriving;
mod cursor;
pub(crate) mod dynamodb;
pub(crate) mod kinesis;
mod names;
mod number;
mod page;
pub(crate) mod sqs;
mod text;

pub use cursor::WireError;
