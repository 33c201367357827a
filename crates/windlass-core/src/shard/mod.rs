//! The consumer of one shard of one mapping: [`ShardConsumer`].
//!
//! ```text
//!  source ──▶ read state ──▶ page filter ──▶ lanes ──▶ progress ──▶ checkpoint writer ──▶ store
//!                                 │                        ▲
//!                                 └──────────skip──────────┘
//! ```
//!
//! A record only moves to the right. It is *resolved* once it is processed, filtered out, skipped,
//! dropped, or delivered to a destination. The checkpoint is the low watermark, the end of the
//! unbroken run of resolved records, with marks for those that are resolved after it.
//! Each part is a state machine in its own file. The consumer connects them and is the only one to
//! issue commands. How to call it: [crate documentation](crate#how-to-call-a-consumer).
//!
//! # Invariants
//!
//! Asserted here, also in release builds, as far as the consumer itself can see them, and checked
//! from outside in every simulation.
//!
//! | | |
//! |---|---|
//! | I1 | A checkpoint never passes an unresolved record, and never marks one as resolved. |
//! | I2 | Checkpoints only move forward while one daemon holds the lease. |
//! | I3 | At most one invocation or delivery is in flight per lane. |
//! | I4 | A record is not invoked before every earlier record of its lane is resolved or in the same batch. |
//! | I5 | A batch has at least one record, except the final one of a tumbling window, and at most `BatchSize`; its event does not exceed the payload limit. |
//! | I6 | Records in memory never exceed the buffer's record limit, and exceed its byte limit by at most one page. A full buffer stops reading. |
//! | I7 | After `Drain`, no read, no invocation and no delivery starts, and no slot is waited for. An invocation starts only with a slot. |
//! | I8 | After the lease is lost, nothing is read, invoked or saved. |
//! | I9 | It never gets stuck: I/O is in flight, a timer is set, or it has finished. If the faults stop, every record is eventually resolved and the end of the shard is saved. |
//! | I10 | It never spins: a timer names only a time at which something happens, and nothing that failed is repeated before its backoff. |

mod checkpoint_writer;
mod consumer;
mod delivery;
mod interface;
mod lane;
mod lanes;
pub mod lineage;
mod page_filter;
mod piece;
mod read_pace;
mod read_state;
mod settings;
pub mod stream_check;
mod stretch_bounds;
mod view;
mod windows;

pub use consumer::ShardConsumer;
pub use interface::{
    Batch, Finish, Gap, PageStart, ReadResult, Report, ShardCommand, ShardInput, ShardTimer,
    UnreadableRecord,
};
pub use settings::{ShardConsumerSettings, ShardLimits};
pub use stretch_bounds::StretchTotals;
pub use view::{Lag, ShardView, Waiting};
