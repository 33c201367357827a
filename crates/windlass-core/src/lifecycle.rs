//! The lifecycle of a consumer.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Running,
    /// Finishes what is in flight and starts nothing new.
    Draining,
    /// Issues no more commands and ignores inputs.
    Finished,
}
