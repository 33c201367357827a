//! What comes of the requests and invocations of one consumer, and whether they may be made.

use windlass_core::ids::ReceiptHandle;
use windlass_core::message::Message;
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::queue::{Batch, EntryResult, QueueCommand, QueueInput};
use windlass_core::time::Timestamp;

use super::function::Fate;
use super::sqs::{Sqs, index_of};
use super::{Event, World, indices, since_start};
use crate::checkers::{BrokenInvariant, ensure};
use crate::rng::Rng;
use crate::world::Trace;
use crate::world::plan::fault;

/// What the queue does about a request.
pub(super) enum Reply {
    Answer(QueueInput),
    /// There are no messages; it looks again then.
    WaitUntil(Timestamp),
}

impl World {
    /// An invocation ends.
    pub(super) fn invoked(&mut self, batch: &Batch, fate: Fate) -> Outcome {
        let (faulty, now) = (self.is_faulty(), self.now);
        let messages: Vec<_> = indices(batch).collect();
        let before = self.function.processed.clone();
        let outcome = self
            .function
            .end(&messages, fate, faulty, now, &mut self.rng);
        if outcome != Outcome::Success {
            for index in messages {
                self.excused[index] |= before[index] < self.function.processed[index];
            }
        }
        outcome
    }

    /// An invocation begins: is it right that it does?
    pub(super) fn check_invocation(&self, batch: &Batch) -> Result<(), BrokenInvariant> {
        let messages: Vec<_> = indices(batch).collect();
        for (place, index) in messages.iter().enumerate() {
            let done = self.function.processed[*index];
            ensure(done == 0 || self.excused[*index], "repeat", || {
                format!("message {index} is given to the function again without a cause")
            })?;
            let group = self.plan.messages[*index].group;
            let earlier = (0..*index).filter(|it| self.plan.messages[*it].group == group);
            let overtaken = earlier
                .filter(|_| self.plan.settings.mapping.fifo)
                .filter(|it| !self.function.succeeded[*it] && !self.sqs.is_redriven(*it))
                .filter(|it| !self.is_filtered_out(*it))
                .find(|it| !messages[..place].contains(it));
            ensure(overtaken.is_none(), "Q4", || {
                format!("message {index} overtakes {overtaken:?} of group {group}")
            })?;
        }
        Ok(())
    }

    /// What the queue answers. `lives`: whoever has asked still hears it.
    pub(super) fn answer(
        &mut self,
        command: &QueueCommand,
        arrived: Timestamp,
        lives: bool,
        trace: &mut Trace,
    ) -> Result<Reply, BrokenInvariant> {
        match command {
            QueueCommand::Receive { .. } => self.receive(command, arrived, lives, trace),
            QueueCommand::Delete { request, receipts } => {
                for receipt in receipts {
                    let index = index_of(receipt);
                    let unwanted = self.is_filtered_out(index);
                    ensure(unwanted || self.function.succeeded[index], "Q1", || {
                        format!("message {index} is deleted without success")
                    })?;
                }
                let (request, chance) = (*request, self.plan.sqs.delete_fault);
                let result = self.entries(receipts, chance, |sqs, receipt, now, rng| {
                    sqs.delete(receipt, now, rng)
                });
                Ok(Reply::Answer(QueueInput::Deleted { request, result }))
            }
            QueueCommand::ChangeVisibility {
                request,
                receipts,
                timeout,
            } => {
                let (request, chance) = (*request, self.plan.sqs.change_fault);
                let result = self.entries(receipts, chance, |sqs, receipt, now, _| {
                    sqs.change_visibility(receipt, *timeout, now)
                });
                Ok(Reply::Answer(QueueInput::VisibilityChanged {
                    request,
                    result,
                }))
            }
            QueueCommand::Invoke(_) | QueueCommand::Report(_) | QueueCommand::Finish => {
                unreachable!("the queue never sees these")
            }
        }
    }

    fn receive(
        &mut self,
        command: &QueueCommand,
        arrived: Timestamp,
        lives: bool,
        trace: &mut Trace,
    ) -> Result<Reply, BrokenInvariant> {
        let QueueCommand::Receive {
            request,
            limit,
            wait,
            visibility,
        } = command
        else {
            unreachable!("only receives come here");
        };
        let (faulty, now) = (self.is_faulty(), self.now);
        let failed = faulty && self.rng.per_mille(self.plan.sqs.receive_fault);
        let lost = failed && self.rng.per_mille(self.plan.sqs.lost_answer);
        let request = *request;
        let mut messages = Vec::new();
        if lost || !failed {
            let limit = usize::from(*limit);
            let given = self
                .sqs
                .receive(limit, *visibility, faulty, now, &mut self.rng);
            let heard = lives && !lost;
            for it in given {
                self.totals.redeliveries += u64::from(it.again);
                self.excused[it.index] |= it.duplicate || !heard;
                let held = self.is_held(&it.message);
                trace.note(|| {
                    let (now, index) = (since_start(now), it.index);
                    format!("{now}     the queue gives {index}; held {held}, heard {heard}")
                });
                ensure(!held || self.excused[it.index], "Q3", || {
                    format!("message {} is held and given again", it.index)
                })?;
                messages.push(it.message);
            }
        }
        if failed {
            let result = Err(fault(&mut self.rng));
            return Ok(Reply::Answer(QueueInput::Received { request, result }));
        }
        let end = arrived + *wait;
        if messages.is_empty() && now < end {
            let change = self.sqs.next_change(now);
            return Ok(Reply::WaitUntil(change.map_or(end, |at| at.min(end))));
        }
        let result = Ok(messages);
        Ok(Reply::Answer(QueueInput::Received { request, result }))
    }

    fn is_held(&self, message: &Message) -> bool {
        let checker = self.life.as_ref().map(|life| &life.checker);
        checker.is_some_and(|checker| checker.holds(&message.message_id))
    }

    /// Carries out a deletion or visibility change, entry by entry.
    fn entries(
        &mut self,
        receipts: &[ReceiptHandle],
        chance: u64,
        mut one: impl FnMut(&mut Sqs, &ReceiptHandle, Timestamp, &mut Rng) -> EntryResult,
    ) -> Result<Vec<EntryResult>, Fault> {
        let (faulty, now, rng) = (self.is_faulty(), self.now, &mut self.rng);
        let fails = faulty && rng.per_mille(chance);
        let mut results = Vec::new();
        for receipt in receipts {
            let entry_fails = fails || faulty && rng.per_mille(self.plan.sqs.entry_fault);
            let mut result = EntryResult::Failed;
            if !entry_fails || rng.per_mille(self.plan.sqs.done_anyway) {
                let done = one(&mut self.sqs, receipt, now, rng);
                if !entry_fails {
                    result = done;
                }
            }
            self.excused[index_of(receipt)] |= result != EntryResult::Done;
            results.push(result);
        }
        if fails {
            return Err(fault(rng));
        }
        self.wake_receives();
        Ok(results)
    }

    /// Receives that wait look again: there may be messages.
    fn wake_receives(&mut self) {
        for coming in &mut self.coming {
            if let Event::Request {
                arrived: Some(_), ..
            } = coming.event
            {
                coming.at = self.now;
            }
        }
    }
}
