//! Results of the requests and invocations of a consumer, and checks that only the world can make.

use windlass_core::ids::ReceiptHandle;
use windlass_core::message::Message;
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::queue::{
    Batch, EntryResult, QueueCommand, QueueInput, Report, VisibilityChange,
};
use windlass_core::time::Timestamp;

use super::function::{InvocationPlan, has_processed};
use super::sqs::{Sqs, index_of};
use super::{Event, World, indices, since_start};
use crate::checkers::{BrokenInvariant, ensure};
use crate::rng::Rng;
use crate::world::Trace;
use crate::world::plan::fault;

/// How the queue responds to a request.
pub(super) enum Reply {
    Answer(QueueInput),
    /// No messages yet: a long poll looks again then.
    WaitUntil(Timestamp),
}

impl World {
    pub(super) fn invoked(&mut self, batch: &Batch, plan: InvocationPlan) -> Outcome {
        let (faulty, now) = (self.is_faulty(), self.now);
        let messages: Vec<_> = indices(batch).collect();
        let before = self.function.processed.clone();
        let outcome = self
            .function
            .end(&messages, plan, faulty, now, &mut self.rng);
        for index in &messages {
            let is_done = self.is_done(&outcome, *index, &messages);
            self.excused[*index] |= !is_done && before[*index] < self.function.processed[*index];
            self.halved[*index] |= outcome.is_too_large();
        }
        outcome
    }

    /// Whether a message of a batch must not come again. With strict order one that follows a failed
    /// one of its group does, whatever the function says.
    pub(super) fn is_done(&self, outcome: &Outcome, index: usize, batch: &[usize]) -> bool {
        let group = |index: usize| self.plan.messages[index].group;
        let follows_failed = || {
            let mut earlier = batch.iter().take_while(|it| **it != index);
            earlier.any(|it| group(*it) == group(index) && !has_processed(outcome, *it, batch))
        };
        let is_strict = self.plan.settings.mapping.strict_order;
        has_processed(outcome, index, batch) && !(is_strict && follows_failed())
    }

    /// Notes from when on the messages that a function fails may be delivered again.
    pub(super) fn expect_delays(&mut self, outcome: &Outcome, batch: &Batch) {
        let is_halved = outcome.is_too_large() && 1 < batch.messages.len();
        if is_halved || matches!(outcome, Outcome::Success | Outcome::NotInvoked { .. }) {
            return;
        }
        let messages: Vec<_> = indices(batch).collect();
        for (index, message) in messages.iter().zip(&*batch.messages) {
            if self.is_done(outcome, *index, &messages) {
                continue;
            }
            let ids = batch.messages.iter().map(|it| it.message_id.as_str());
            let named = if let Outcome::ItemFailures { failures, .. } = outcome
                && failures.indexes(ids).is_some()
            {
                failures.retry_after(message.message_id.as_str()).delay()
            } else {
                None
            };
            let scheduled = self.plan.settings.retry_backoff;
            let delay = named.or_else(|| Some(scheduled?.delay(message.n_receives)));
            // What the retention cuts is known to the model alone.
            let may_be_cut = self.plan.settings.attributes.retention.is_some();
            self.retry_from[*index] = delay.filter(|_| !may_be_cut).map(|delay| self.now + delay);
        }
    }

    /// Checks that the function may be invoked: no repeat without a cause, no overtaking in a group.
    pub(super) fn check_invocation(&self, batch: &Batch) -> Result<(), BrokenInvariant> {
        let messages: Vec<_> = indices(batch).collect();
        for (offset, index) in messages.iter().enumerate() {
            let done = self.function.processed[*index];
            ensure(done == 0 || self.excused[*index], "repeat", || {
                format!("message {index} is invoked again without a cause")
            })?;
            let group = self.plan.messages[*index].group;
            let earlier = (0..*index).filter(|it| self.plan.messages[*it].group == group);
            let overtaken = earlier
                .filter(|_| self.plan.settings.mapping.fifo)
                .filter(|it| !self.function.succeeded[*it] && !self.sqs.is_redriven(*it))
                .filter(|it| !self.is_filtered_out(*it))
                .find(|it| !messages[..offset].contains(it));
            ensure(overtaken.is_none(), "Q4", || {
                format!("message {index} overtakes {overtaken:?} of group {group}")
            })?;
        }
        Ok(())
    }

    /// Whether messages of the queue may not go back because another one has failed.
    pub(super) fn receives_are_whole(&self) -> bool {
        let is_fifo = self.plan.settings.mapping.fifo;
        is_fifo && self.sqs.has_redrive_policy && !self.policy_changed
    }

    /// Checks that no message goes back unseen because a batch has failed: it would lose a receive to
    /// the messages of that batch.
    pub(super) fn check_releases(
        &mut self,
        commands: &[QueueCommand],
        failed: bool,
    ) -> Result<(), BrokenInvariant> {
        let of_failure = failed
            && !commands.iter().any(|command| {
                matches!(
                    command,
                    QueueCommand::Report(Report::Expired { .. } | Report::Released { .. })
                )
            });
        for command in commands {
            let QueueCommand::ChangeVisibility { changes, .. } = command else {
                continue;
            };
            for change in changes.iter().filter(|it| it.timeout.is_zero()) {
                let index = index_of(&change.receipt);
                if self.failing.contains(&index) {
                    continue;
                }
                let group = self.plan.messages[index].group;
                let mut of_group = (0..self.excused.len())
                    .filter(|other| self.plan.messages[*other].group == group);
                let excused = of_group.any(|other| self.excused[other] || self.halved[other]);
                let is_draining = self
                    .instance
                    .as_ref()
                    .is_some_and(|it| it.checker.is_draining());
                ensure(
                    !self.receives_are_whole() || !of_failure || is_draining || excused,
                    "Q11",
                    || format!("message {index} goes back unseen because a batch has failed"),
                )?;
                self.given_back[index] = true;
            }
        }
        Ok(())
    }

    /// The response to a request; `alive` if the consumer that sent it still runs.
    pub(super) fn answer(
        &mut self,
        command: &QueueCommand,
        arrived: Timestamp,
        alive: bool,
        trace: &mut Trace,
    ) -> Result<Reply, BrokenInvariant> {
        match command {
            QueueCommand::Receive { .. } => self.receive(command, arrived, alive, trace),
            QueueCommand::Delete { request, receipts } => {
                for receipt in receipts {
                    let index = index_of(receipt);
                    let filtered_out = self.is_filtered_out(index);
                    ensure(filtered_out || self.function.succeeded[index], "Q1", || {
                        format!("message {index} is deleted without success")
                    })?;
                }
                let (request, chance) = (*request, self.plan.sqs.delete_fault);
                let result = self.entries(receipts, chance, |sqs, index, now, rng| {
                    sqs.delete(&receipts[index], now, rng)
                });
                Ok(Reply::Answer(QueueInput::Deleted { request, result }))
            }
            QueueCommand::ChangeVisibility { request, changes } => {
                let (request, chance) = (*request, self.plan.sqs.change_fault);
                let receipts: Vec<_> = changes.iter().map(|it| it.receipt.clone()).collect();
                let result = self.entries(&receipts, chance, |sqs, index, now, _| {
                    let VisibilityChange { receipt, timeout } = &changes[index];
                    sqs.change_visibility(receipt, *timeout, now)
                });
                Ok(Reply::Answer(QueueInput::VisibilityChanged {
                    request,
                    result,
                }))
            }
            QueueCommand::RequestSlot
            | QueueCommand::CancelSlot
            | QueueCommand::Invoke(_)
            | QueueCommand::Report(_)
            | QueueCommand::Finish => unreachable!("not a request to the queue"),
        }
    }

    fn receive(
        &mut self,
        command: &QueueCommand,
        arrived: Timestamp,
        alive: bool,
        trace: &mut Trace,
    ) -> Result<Reply, BrokenInvariant> {
        let QueueCommand::Receive {
            request,
            limit,
            wait,
            visibility,
        } = command
        else {
            unreachable!("not a receive");
        };
        let (faulty, now) = (self.is_faulty(), self.now);
        let failed = faulty && self.rng.per_mille(self.plan.sqs.receive_fault);
        let lost = failed && self.rng.per_mille(self.plan.sqs.lost_answer);
        let request = *request;
        let mut messages = Vec::new();
        if lost || !failed {
            let limit = usize::from(*limit);
            let delivered = self
                .sqs
                .receive(limit, *visibility, faulty, now, &mut self.rng);
            let heard = alive && !lost;
            for it in delivered {
                self.totals.redeliveries += u64::from(it.again);
                self.excused[it.index] |= it.duplicate || !heard;
                let held = self.is_held(&it.message);
                trace.record(|| {
                    let (now, index) = (since_start(now), it.index);
                    format!("{now}     the queue delivers {index}; held {held}, heard {heard}")
                });
                ensure(!held || self.excused[it.index], "Q3", || {
                    format!("message {} is held and delivered again", it.index)
                })?;
                let retry_from = self.retry_from[it.index].take();
                let is_early = retry_from.is_some_and(|at| now < at);
                ensure(!is_early || self.excused[it.index], "Q2", || {
                    format!(
                        "message {} is delivered before its delay has passed",
                        it.index
                    )
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
        let checker = self.instance.as_ref().map(|it| &it.checker);
        checker.is_some_and(|checker| checker.holds(&message.message_id))
    }

    /// Carries out a deletion or visibility change entry by entry.
    fn entries(
        &mut self,
        receipts: &[ReceiptHandle],
        chance: u64,
        mut one: impl FnMut(&mut Sqs, usize, Timestamp, &mut Rng) -> EntryResult,
    ) -> Result<Vec<EntryResult>, Fault> {
        let (faulty, now, rng) = (self.is_faulty(), self.now, &mut self.rng);
        let fails = faulty && rng.per_mille(chance);
        let mut results = Vec::new();
        for (at, receipt) in receipts.iter().enumerate() {
            let entry_fails = fails || faulty && rng.per_mille(self.plan.sqs.entry_fault);
            let mut result = EntryResult::Failed(fault(rng));
            if !entry_fails || rng.per_mille(self.plan.sqs.done_anyway) {
                let done = one(&mut self.sqs, at, now, rng);
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

    /// Long polls look again, since messages may be visible.
    fn wake_receives(&mut self) {
        for pending in &mut self.events {
            if let Event::Request {
                arrived: Some(_), ..
            } = pending.event
            {
                pending.at = self.now;
            }
        }
    }
}
