//! Which batch of a lane is being retried.

use super::{Lane, State};
use crate::shard::piece::Run;
use crate::shard::retried_batch::RetriedBatch;

impl Lane {
    /// The batch at the head if it has failed and is tried again; `index`: of the lane.
    pub(in crate::shard) fn retried(&self, index: usize) -> Option<RetriedBatch> {
        let (first, last) = match &self.state {
            State::InFlight(piece) | State::Waiting(piece) if piece.is_retried() => {
                (piece.records.first()?, piece.records.last()?)
            }
            State::Finishing(call) if call.is_retried() => {
                return Some(RetriedBatch::FinalInvocation {
                    window: self.windows.as_ref()?.checkpoint()?.bounds,
                    is_early: call.is_early(),
                });
            }
            State::Delivering { delivery, .. } if delivery.is_retried() => {
                // A record that is not too old may be before one that is.
                let piece = self.pieces.front().map(|piece| piece.tickets[0]);
                let queued = self.queue.front().map(|queued| queued.ticket);
                let next = piece.into_iter().chain(queued).min();
                let is_first = |run: &&Run| next.is_none_or(|next| run.tickets[0] < next);
                let mut runs = delivery.runs().take_while(is_first);
                let first = runs.next()?;
                let last = runs.last().unwrap_or(first);
                let last = last.failure.records.last()?;
                (first.failure.records.first()?, last)
            }
            State::InFlight(_)
            | State::Waiting(_)
            | State::Finishing(_)
            | State::Delivering { .. }
            | State::Idle { .. }
            | State::Filling { .. } => return None,
        };
        Some(RetriedBatch::Records {
            lane: index,
            first: first.sequence_number().into(),
            last: last.sequence_number().into(),
            inner: last.inner().map(|inner| inner.index),
        })
    }
}
