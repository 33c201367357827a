//! A consumer's request for the slot of its next invocation.

/// A consumer has one request at a time: its next one follows when an invocation has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SlotRequest {
    #[default]
    None,
    Waiting,
    /// The next invocation takes the slot.
    Granted,
}

impl SlotRequest {
    pub(crate) fn grant(&mut self) {
        assert_eq!(*self, Self::Waiting, "a slot is granted on request");
        *self = Self::Granted;
    }

    pub(crate) fn is_waiting(self) -> bool {
        self == Self::Waiting
    }

    /// Whether there is no request.
    pub(crate) fn is_none(self) -> bool {
        self == Self::None
    }
}
