//! The receives, deletions and visibility changes in flight.

use std::collections::BTreeMap;
use std::time::Duration;

use super::inbox::Entry;
use super::interface::RequestId;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Requests {
    in_flight: BTreeMap<RequestId, Request>,
    last_id: u64,
}

#[derive(Debug)]
pub(super) enum Request {
    Receive {
        limit: u8,
        sent: Timestamp,
        visibility: Duration,
    },
    Delete {
        entries: Vec<Entry>,
        sent: Timestamp,
    },
    Extend {
        entries: Vec<Entry>,
        /// When they become visible after success.
        visible_at: Timestamp,
    },
    /// Its messages have left the inbox; if it fails, they become visible by themselves.
    Release { n_messages: usize },
}

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(super) fn start(&mut self, request: Request) -> RequestId {
        self.last_id += 1;
        let id = RequestId(self.last_id);
        self.in_flight.insert(id, request);
        id
    }

    pub(super) fn end(&mut self, id: RequestId) -> Request {
        let request = self.in_flight.remove(&id);
        request.unwrap_or_else(|| panic!("no request is in flight: {id:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "no request is in flight")]
    fn a_request_is_answered_once() {
        let mut requests = Requests::default();
        let id = requests.start(Request::Release { n_messages: 1 });
        requests.end(id);
        requests.end(id);
    }
}
