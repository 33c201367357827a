//! The processes of one function: [`ProcessPool`].
//!
//! ```text
//!            on demand,                asks for an event
//!            or minimum  ┌──────────┐                   ┌──────┐  idle_timeout, drain  ┌─────────────┐
//!           ────────────▶│ starting │──────────────────▶│ idle │──────────────────────▶│ terminating │
//!                        └──────────┘                   └──────┘                       └─────────────┘
//!          init_timeout,   │                             ▲    │ an event                    │
//!          init error      │              asks for       │    ▼                             │
//!                          │  ┌───────────┐  the next ┌──┴───────┐                          │ 2 s
//!                          │  │ returning │───────────┘   busy   │                          │
//!                          │  └───────────┘◀──answered───────────┘                          │
//!                          ▼        │                      │ timeout                        ▼
//!                        ┌──────────▼──────────────────────▼──────────────────────────────────┐
//!                        │ killed                                                             │
//!                        └────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A process can exit in every state, and counts toward `maximum` until it has exited. How to call
//! the pool: [crate documentation](crate#how-to-call-a-consumer). Here several inputs may answer one
//! command, since processes do as they like: inputs about a process that has exited have no effect.
//!
//! # Invariants
//!
//! | | |
//! |---|---|
//! | P1 | A process has at most one event, and an event is with at most one process. |
//! | P2 | Every invocation is completed exactly once, or cancelled while it waits. |
//! | P3 | There are never more than `maximum` processes, those that have not exited yet included. |
//! | P4 | Only a process that had the event in hand makes an invocation fail: one that never took it uses no attempt, nor does an exit while the pool drains. |
//! | P5 | After a process that failed to start, none is started before the backoff; a function that answers resets it. |
//! | P6 | After `Drain`, no process starts and no event is given. |
//! | P7 | It never gets stuck: whatever waits is waiting for a process that has a deadline, or for a timer. |
//! | P8 | A process starts only for the minimum, for an event that waits, or, where none is alive, for one that is expected. |

mod interface;
mod pool;
mod settings;

pub use interface::{End, InvocationId, ProcessCommand, ProcessId, ProcessInput};
pub use pool::ProcessPool;
pub use settings::ProcessPoolSettings;
