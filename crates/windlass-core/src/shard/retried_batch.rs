//! [`RetriedBatch`]: what an operator may skip of a shard that is stuck.

use crate::ids::SequenceNumber;
use crate::window::WindowBounds;

/// A batch that has failed and is tried again. Everything before it in its lane is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetriedBatch {
    Records {
        lane: usize,
        /// The number of its first record: one that is lower is of another stream.
        first: SequenceNumber,
        /// The number of its last record.
        last: SequenceNumber,
        /// The index of that in its aggregate.
        inner: Option<u32>,
    },
    /// The final invocation of a tumbling window: what is skipped is its state.
    FinalInvocation {
        window: WindowBounds,
        /// Whether the window continues afterwards.
        is_early: bool,
    },
}
