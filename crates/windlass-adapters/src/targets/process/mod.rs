//! Functions that are programs on this machine: started, given events through Lambda's Runtime API,
//! stopped and replaced.
//!
//! ```text
//!  ProcessTarget ──▶ pool (decides with windlass-core) ──▶ process ──▶ supervisor ──▶ the program
//!                     ▲                                     │                            │
//!                     └──────────────── runtime_api ◀───────┴────────────────────────────┘
//! ```

mod child;
mod context;
mod event_reports;
mod exit;
mod logs;
mod memory_groups;
mod messages;
mod peer;
mod pool;
mod process_tree;
mod protocol;
mod runtime_api;
mod settings;
mod supervisor;
mod target;

pub use memory_groups::MemoryGroups;
pub use settings::ProcessFunction;
pub use supervisor::{LAUNCHER_COMMAND, SUPERVISOR_COMMAND, launch, supervise};
pub use target::{ProcessTarget, ProcessTargetParts};
