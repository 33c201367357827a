//! The consumer of one slot of one mapping on a queue: [`QueueConsumer`].
//!
//! ```text
//!  queue ──▶ message filter ──▶ batch buffer ──▶ invocations ──▶ delete queue ──▶ deleted
//!    ▲             │                 │             │   ▲  │              ▲
//!    │             │                 │             │   └──┘ not reached  │
//!    │             └─── filtered out ┼─────────────┼─────────────────────┘
//!    └───── released ────────────────┴─────────────┘
//!                                  drain     function error
//! ```
//!
//! A message is in the *inbox* from its receipt until it is deleted or *released*, that is, made
//! visible again. Each part is a state machine in its own file. The consumer connects them and is
//! the only one to issue commands. How to call it: [crate
//! documentation](crate#how-to-call-a-consumer).
//!
//! # Invariants
//!
//! Asserted here, also in release builds, as far as the consumer itself can see them, and checked
//! from outside in every simulation.
//!
//! | | |
//! |---|---|
//! | Q1 | A message is deleted only after the function processed it, or because no filter matches it. Of a batch whose items are reported as failed, exactly the others are deleted, with strict order those that no failed one of their group precedes; none is if the report names anything else. |
//! | Q2 | A message that the function failed is released and never retried from memory: its receive count and the queue's redrive policy are the retry policy, and its delay is the queue's visibility timeout unless there is a backoff or the function requests another. A message whose function was *not reached* stays in the inbox and is retried, since the receive has already been counted. A batch that is larger than the function accepts is halved, and nothing has failed. |
//! | Q3 | No message is invoked after its visibility timeout, however long it waits for a slot. The timeout is extended while the message is in the inbox; without the heartbeat, a batch closes early enough for the function to finish. |
//! | Q4 | FIFO: at most one batch per message group is in flight, and after a failure no later message of the group overtakes the failed one. |
//! | Q5 | An invocation starts only with a slot. A slot is requested when a batch is full or its window is over, for one batch at a time, which is filled further until it is granted. |
//! | Q6 | Receives scale up while they return full and down while they return empty, between the minimum and the maximum of provisioned pollers, which poll ten times a second each at most. They request no more messages than the buffer has room for, and than fit the free slots and one batch that waits. |
//! | Q7 | After `Drain`, no receive and no invocation starts; what is not in flight, or waits for a slot, is released at once. |
//! | Q8 | While the function cannot be reached, one batch at a time is tried, and no more is received than that needs. The batches that are held take turns; if there is only one, and five attempts in a row have failed, one more message is received. |
//! | Q9 | It never gets stuck: I/O is in flight, a timer is set, or it has finished. |
//! | Q10 | It never spins: a timer names only a time at which something happens, and nothing that failed is repeated before its backoff. |
//! | Q11 | FIFO with a redrive policy: no message that the function did not receive is released because another one failed. |
//! | Q12 | Provisioned pollers run ten invocations each at most. After a function error, and when the function was not reached, half of the invocations that were in flight may be in flight, at least five, and one more after each success. |

mod batch_buffer;
mod concurrency;
mod consumer;
mod delete_queue;
mod failures;
mod inbox;
mod interface;
mod invocations;
mod message_filter;
mod pause;
mod receive_pacer;
mod releases;
mod requests;
mod settings;
mod view;
mod visibility;
mod whole_receives;

pub use consumer::QueueConsumer;
pub use interface::{
    Batch, EntryResult, QueueAttributes, QueueCommand, QueueInput, QueueTimer, Report, RequestId,
    VisibilityChange,
};
pub use settings::{QueueConsumerSettings, QueueLimits};
pub use view::{QueueView, Waiting};
