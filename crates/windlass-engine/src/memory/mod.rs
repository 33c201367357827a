//! The memory and the invocation slots that all mappings of a daemon share.
//!
//! A read or a receive reserves memory before it starts, since data that has arrived cannot be
//! refused. What the consumer keeps of it stays reserved until it is resolved.

mod backpressure;
mod budget;
mod messages;
mod pages;

pub use backpressure::{Backpressure, Limit};
pub use budget::{Account, Budget, Reservation};
pub(crate) use messages::{MessageMemory, ReceiveGrant, detach};
pub(crate) use pages::{PageMemory, ReadGrant};
