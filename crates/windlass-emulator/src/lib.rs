//! Stands in for AWS's services on loopback: their wire protocols, just enough, fast, and with
//! faults by script.
//!
//! It serves the demo, the tests and the measurements. It shares no code with what it is used to
//! test, so that it shares no mistakes with it either.

mod answer;
mod bench;
mod clock;
mod faults;
mod function;
mod http;
mod kinesis;
mod ledger;
mod md5;
mod server;
mod sqs;

pub use answer::Answer;
pub use bench::{BEFORE_RECORDS, BenchLoad, BenchSeen, BenchSource, RECORD_LENGTH};
pub use faults::{Fault, Faults, Script};
pub use kinesis::{IteratorLife, Kinesis, Placed, Refusal};
pub use ledger::{Counts, Ledger, LedgerError, Summary};
pub use server::Emulator;
pub use sqs::{QueueCounts, SentMessage, Sqs, SqsRefusal};
