//! Converts raw responses of the sources into records and messages as functions see them.
//!
//! Building the SDK's types and serializing them again costs 15 to 80 times as much as this: a
//! response is scanned once, while it arrives, and all of its records are rendered into one buffer.
//! Text is copied verbatim, escapes included; only values that the function sees in another form
//! are parsed.

pub(crate) mod aggregate;
pub(crate) mod dynamodb;
pub(crate) mod event_stream;
mod json_cursor;
pub(crate) mod kinesis;
mod member_table;
pub(crate) mod page_builder;
pub(crate) mod sqs;
pub(crate) mod streaming_parser;
mod text;
mod timestamp;

pub use json_cursor::WireError;
