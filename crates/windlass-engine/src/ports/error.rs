//! Errors of the ports.

use thiserror::Error;
use windlass_core::outcome::Fault;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A failed I/O call.
#[derive(Debug, Error)]
#[error("{operation} failed ({fault:?})")]
pub struct PortError {
    /// With the name of the object: `GetRecords of stream orders`.
    pub operation: String,
    /// What decisions depend on; the cause is for people.
    pub fault: Fault,
    #[source]
    pub source: BoxError,
}

/// The source of the error of a call whose role may not be assumed: the role, the cause and the remedy.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct RoleDenied(pub String);

impl PortError {
    /// Why the role of the call may not be assumed, if that is what failed.
    pub fn role_denied(&self) -> Option<&RoleDenied> {
        self.source.downcast_ref()
    }
}

/// An error with its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Logs an error after which the call is repeated; returns what decisions depend on.
pub fn log_fault(error: &PortError) -> Fault {
    match error.fault {
        Fault::Throttled { .. } => tracing::debug!("{}", chain(error)),
        Fault::Transient
        | Fault::TimedOut
        | Fault::Denied
        | Fault::Gone
        | Fault::Trimmed
        | Fault::UnknownPosition => {
            tracing::warn!("{}", chain(error));
        }
    }
    error.fault
}
