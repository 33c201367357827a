//! What a consumer has asked for: the slot of its next invocation.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Slot {
    #[default]
    None,
    Requested,
    Granted,
}
