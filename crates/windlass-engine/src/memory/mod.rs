//! The memory that all mappings of a daemon share, and the backpressure at the daemon's limits.
//!
//! A read or a receive starts when memory is available. One that usually returns nothing, a long poll
//! or a read at the tip of a shard, reserves memory when its response begins to arrive, and so does one
//! of a source that sends records by itself; other reads reserve it before. What the consumer keeps of the response stays reserved until it is resolved.

mod backpressure;
mod budget;
mod messages;
mod one_record;
mod pages;
mod response;

pub(crate) use backpressure::WaitGuard;
pub use backpressure::{Backpressure, Limit};
pub use budget::{Account, Budget, Reservation};
pub(crate) use messages::{MessageMemory, ReceiveGrant, detach};
pub use one_record::OneRecord;
pub(crate) use pages::{MemoryWait, PageMemory, ReadGrant};
pub(crate) use response::ResponseGrant;
