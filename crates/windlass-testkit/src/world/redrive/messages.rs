//! The world of the messages of a queue that are redriven: as documents, to a function or to another
//! queue.
//!
//! Checked: `deleted` a message is deleted only after the function has processed it, or after it was
//! sent; `group` nothing of a FIFO group is sent before an earlier message of it; `swallowed` nothing is
//! sent to a FIFO queue that would swallow it; `kind` a function gets messages or documents, never both;
//! `once` a message is looked at once in a run; `unreached` a function that was not reached gets nothing
//! more; `stuck` a run or the world does not end, or messages stay that nothing is wrong with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use windlass_core::ids::{KeyHash, MessageId, ReceiptHandle};
use windlass_core::message::Message;
use windlass_core::redrive::{MessageCommand, MessageRecipient, MessageRun};
use windlass_core::time::Timestamp;

use super::Behavior;
use crate::checkers::{BrokenInvariant, ensure};
use crate::rng::Rng;
use crate::world::{Totals, Trace};

const START: Timestamp = Timestamp::from_millis(1_000_000);

/// Of what a run has received, unless it extends it.
const VISIBILITY: Duration = Duration::from_secs(120);

const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

const MAX_STEPS: u64 = 20_000;

pub(super) fn run(seed: u64, trace: &mut Trace) -> Result<Totals, BrokenInvariant> {
    let mut world = World::new(seed, std::mem::take(trace));
    let result = world.run();
    *trace = world.trace;
    result.map(|()| world.totals)
}

struct World {
    rng: Rng,
    now: Timestamp,
    /// How far the daemon's idea of the queue's clock is from it, in milliseconds.
    clock_error: i64,
    recipient: MessageRecipient,
    reports_item_failures: bool,
    is_fifo: bool,
    queue: BTreeMap<u64, Queued>,
    runs: Vec<Run>,
    trouble: u64,
    totals: Totals,
    trace: Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Message,
    Document,
    Unreadable,
}

#[derive(Clone, Debug)]
struct Queued {
    kind: Kind,
    group: Option<u64>,
    sent: Timestamp,
    visible_at: Timestamp,
    /// The run that has received it last.
    receiver: Option<u64>,
    n_receives: u32,
    /// It was processed, or sent to the other queue.
    is_done: bool,
}

struct Run {
    id: u64,
    machine: MessageRun,
    /// Received and not given back or deleted.
    held: BTreeSet<u64>,
    seen: BTreeSet<u64>,
    /// What the function was invoked with last.
    invoked: Vec<u64>,
    documents: Vec<u64>,
    is_unreached: bool,
}

impl World {
    fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let is_fifo = rng.per_mille(500);
        let recipient = rng.pick(&[
            MessageRecipient::OfDocuments,
            MessageRecipient::Function,
            MessageRecipient::Function,
            MessageRecipient::Queue {
                is_fifo,
                swallows: is_fifo,
            },
            MessageRecipient::Queue {
                is_fifo,
                swallows: is_fifo,
            },
        ]);
        let mut world = Self {
            now: START,
            clock_error: rng.pick(&[-1_000, -300, 0, 700, 1_000]),
            recipient,
            reports_item_failures: rng.per_mille(500),
            is_fifo,
            queue: BTreeMap::new(),
            runs: Vec::new(),
            trouble: rng.between(0, 600),
            totals: Totals {
                worlds: 1,
                ..Totals::default()
            },
            rng,
            trace,
        };
        world.fill();
        world
    }

    fn fill(&mut self) {
        let n_groups = self.rng.between(1, 5);
        let others = self.rng.pick(&[0, 0, 100, 500]);
        for number in 0..self.rng.between(1, 60) {
            let documents = match self.recipient {
                MessageRecipient::OfDocuments => 1_000 - others,
                MessageRecipient::Function => others,
                MessageRecipient::Queue { .. } => 0,
            };
            let kind = if self.rng.per_mille(30) {
                Kind::Unreadable
            } else if self.rng.per_mille(documents) {
                Kind::Document
            } else {
                Kind::Message
            };
            let ago = i64::try_from(self.rng.between(0, 400_000)).unwrap_or(0);
            let queued = Queued {
                kind,
                group: self.is_fifo.then(|| self.rng.between(1, n_groups)),
                sent: START.shifted(-ago),
                visible_at: START,
                receiver: None,
                n_receives: 0,
                is_done: false,
            };
            self.totals.records += 1;
            self.queue.insert(number, queued);
        }
    }

    fn run(&mut self) -> Result<(), BrokenInvariant> {
        let mut n_left = self.rng.between(1, 6);
        while n_left != 0 || !self.runs.is_empty() {
            self.totals.steps += 1;
            ensure(self.totals.steps < MAX_STEPS, "stuck", || {
                "the runs do not end".to_owned()
            })?;
            if self.runs.is_empty() || n_left != 0 && self.runs.len() < 2 && self.rng.per_mille(50)
            {
                n_left -= 1;
                self.start(n_left);
            }
            if self.rng.per_mille(5) {
                // The daemon is killed: what is held comes back by its visibility timeout.
                self.totals.crashes += 1;
                self.runs.clear();
                continue;
            }
            let index = self.rng.size(0, self.runs.len() - 1);
            self.step(index)?;
            self.keep_invisible();
        }
        self.check_end()
    }

    /// Everything works: what a run may send is sent.
    fn check_end(&mut self) -> Result<(), BrokenInvariant> {
        let has = |kind| self.queue.values().any(|it| it.kind == kind);
        // What cannot be read stays, with its group; a run has messages or documents.
        let may_stay = has(Kind::Unreadable)
            || match self.recipient {
                MessageRecipient::OfDocuments => has(Kind::Message),
                MessageRecipient::Function => has(Kind::Document),
                MessageRecipient::Queue { .. } => false,
            };
        self.trouble = 0;
        self.now = self.now + VISIBILITY + VISIBILITY;
        self.start(0);
        while !self.runs.is_empty() {
            self.totals.steps += 1;
            ensure(self.totals.steps < MAX_STEPS, "stuck", || {
                "the last run does not end".to_owned()
            })?;
            self.step(0)?;
            self.keep_invisible();
        }
        let left = self.queue.len();
        ensure(left == 0 || may_stay, "stuck", || {
            format!("{left} messages stay: {:?}", self.queue)
        })
    }

    fn start(&mut self, id: u64) {
        self.runs.push(Run {
            id,
            machine: MessageRun::new(self.recipient, false, self.reports_item_failures),
            held: BTreeSet::new(),
            seen: BTreeSet::new(),
            invoked: Vec::new(),
            documents: Vec::new(),
            is_unreached: false,
        });
    }

    /// Executes one command of a run.
    fn step(&mut self, index: usize) -> Result<(), BrokenInvariant> {
        let now = self.now.shifted(self.clock_error);
        let command = self.runs[index].machine.poll_command(now);
        self.trace.record(|| {
            let run = self.runs[index].id;
            format!("{:?} {run}: {command:?}", self.now.since(START))
        });
        self.now = self.now + self.rng.millis(0, 200);
        match command {
            None => {
                let run = self.runs.remove(index);
                for id in run.held {
                    self.show(id);
                }
                return Ok(());
            }
            Some(MessageCommand::Receive) => self.receive(index),
            Some(MessageCommand::Invoke(messages)) => {
                let ids: Vec<_> = messages.iter().map(number).collect();
                self.check_send(index, &ids)?;
                for id in &ids {
                    let kind = self.queue.get(id).map(|it| it.kind);
                    ensure(kind == Some(Kind::Message), "kind", || {
                        format!("the function gets {id}, a {kind:?}")
                    })?;
                }
                self.runs[index].invoked = ids;
                self.invoke(index)?;
            }
            Some(MessageCommand::Repeat(wait)) => {
                self.now = self.now + wait;
                self.keep_invisible();
                self.invoke(index)?;
            }
            Some(MessageCommand::Wait(wait)) => {
                self.now = self.now + wait.min(VISIBILITY / 2);
            }
            Some(MessageCommand::Send(message)) => {
                let id = message.body.parse::<u64>().unwrap_or_default();
                self.send(index, id)?;
            }
            Some(MessageCommand::Take(id, _)) => {
                let id = parse(&id);
                self.look_at(index, id)?;
                let kind = self.queue.get(&id).map(|it| it.kind);
                ensure(kind == Some(Kind::Document), "kind", || {
                    format!("{id} is taken as a document")
                })?;
                self.runs[index].documents.push(id);
            }
            Some(MessageCommand::Redrive) => self.redrive(index),
            Some(MessageCommand::Delete(id)) => self.delete(index, parse(&id))?,
            Some(MessageCommand::Keep(id, _)) => {
                let id = parse(&id);
                self.runs[index].held.remove(&id);
                self.show(id);
            }
            Some(MessageCommand::Show(id)) => {
                return Err(BrokenInvariant::new(
                    "kind",
                    format!("{id} is only reported, as in a dry run"),
                ));
            }
            Some(MessageCommand::Stop(reason)) => {
                return Err(BrokenInvariant::new("stuck", reason));
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) {
        let run = self.runs[index].id;
        let now = self.now;
        let mut blocked = BTreeSet::new();
        for queued in self.queue.values() {
            if let Some(group) = queued.group.filter(|_| now < queued.visible_at) {
                blocked.insert(group);
            }
        }
        let visible = self.queue.iter().filter(|(_, queued)| {
            queued.visible_at <= now && queued.group.is_none_or(|it| !blocked.contains(&it))
        });
        let mut visible: Vec<_> = visible.map(|(id, _)| *id).collect();
        let mut received = Vec::new();
        while received.len() < 10 && !visible.is_empty() {
            let next = if self.is_fifo {
                0
            } else {
                self.rng.size(0, visible.len() - 1)
            };
            received.push(visible.remove(next));
            // Not all are returned, but some if there are some.
            if self.rng.per_mille(100) {
                break;
            }
        }
        let (error, held) = (self.rng.per_mille(self.trouble / 10), received.clone());
        if error {
            // The answer was lost: they come back.
            for id in held {
                self.hide(id, run);
            }
            return;
        }
        let mut messages = Vec::new();
        for id in received {
            self.hide(id, run);
            let queued = &self.queue[&id];
            messages.push(message(id, queued));
            self.runs[index].held.insert(id);
        }
        let run = &mut self.runs[index];
        run.machine.handle_received(messages);
    }

    fn invoke(&mut self, index: usize) -> Result<(), BrokenInvariant> {
        let behavior = Behavior::draw(&mut self.rng, self.trouble);
        self.totals.invocations += 1;
        let run = &mut self.runs[index];
        ensure(!run.is_unreached, "unreached", || {
            format!("{:?} are sent", run.invoked)
        })?;
        let first = run.invoked.first().copied().unwrap_or_default();
        let outcome = behavior.outcome(&first.to_string(), &mut self.rng);
        run.is_unreached = behavior == Behavior::IsNotReached;
        let ids = run.invoked.clone();
        for id in ids {
            let is_done = match behavior {
                Behavior::Succeeds => true,
                Behavior::Garbles => !self.reports_item_failures,
                Behavior::NamesItems => id != first,
                Behavior::Fails | Behavior::IsThrottled | Behavior::IsNotReached => false,
            };
            if let Some(queued) = self.queue.get_mut(&id).filter(|_| is_done) {
                queued.is_done = true;
            }
        }
        self.runs[index].machine.handle_outcome(&outcome);
        Ok(())
    }

    fn send(&mut self, index: usize, id: u64) -> Result<(), BrokenInvariant> {
        self.check_send(index, &[id])?;
        if self.rng.per_mille(self.trouble / 4) {
            self.runs[index]
                .machine
                .handle_sent(Err("refused".to_owned()));
            return Ok(());
        }
        let now = self.now;
        let swallows = matches!(
            self.recipient,
            MessageRecipient::Queue { swallows: true, .. }
        );
        if let Some(queued) = self.queue.get_mut(&id) {
            let sent = queued.sent;
            ensure(
                !swallows || sent + FORGOTTEN_AFTER <= now,
                "swallowed",
                || format!("{id} of {sent:?} is sent at {now:?}"),
            )?;
            queued.is_done = true;
        }
        self.totals.deliveries += 1;
        self.runs[index].machine.handle_sent(Ok(()));
        Ok(())
    }

    /// Before messages are sent together, in this order.
    fn check_send(&mut self, index: usize, ids: &[u64]) -> Result<(), BrokenInvariant> {
        for (position, id) in ids.iter().enumerate() {
            self.look_at(index, *id)?;
            let Some(queued) = self.queue.get(id) else {
                continue;
            };
            let run = self.runs[index].id;
            ensure(queued.receiver == Some(run), "once", || {
                format!("{id} is sent by {run}, which does not have it")
            })?;
            let Some(group) = queued.group else { continue };
            let earlier = self.queue.range(..id).find(|(other, it)| {
                it.group == Some(group) && !it.is_done && !ids[..position].contains(other)
            });
            ensure(earlier.is_none(), "group", || {
                format!("{id} is sent before {earlier:?}")
            })?;
        }
        Ok(())
    }

    fn look_at(&mut self, index: usize, id: u64) -> Result<(), BrokenInvariant> {
        ensure(self.runs[index].seen.insert(id), "once", || {
            format!("{id} is looked at again")
        })
    }

    /// Sends the events of documents, and settles each.
    fn redrive(&mut self, index: usize) {
        for id in std::mem::take(&mut self.runs[index].documents) {
            let is_done = Behavior::draw(&mut self.rng, self.trouble) == Behavior::Succeeds;
            self.runs[index].held.remove(&id);
            if is_done {
                self.queue.remove(&id);
            } else {
                self.show(id);
            }
        }
    }

    fn delete(&mut self, index: usize, id: u64) -> Result<(), BrokenInvariant> {
        let is_done = self.queue.get(&id).is_none_or(|it| it.is_done);
        ensure(is_done, "deleted", || format!("{id} is deleted"))?;
        self.runs[index].held.remove(&id);
        if !self.rng.per_mille(self.trouble / 10) {
            self.queue.remove(&id);
        }
        Ok(())
    }

    fn keep_invisible(&mut self) {
        let until = self.now + VISIBILITY;
        for run in &self.runs {
            for id in &run.held {
                if let Some(queued) = self.queue.get_mut(id) {
                    queued.visible_at = until;
                }
            }
        }
    }

    fn hide(&mut self, id: u64, run: u64) {
        let until = self.now + VISIBILITY;
        if let Some(queued) = self.queue.get_mut(&id) {
            queued.visible_at = until;
            queued.receiver = Some(run);
            queued.n_receives += 1;
        }
    }

    /// Makes a message visible at once.
    fn show(&mut self, id: u64) {
        if let Some(queued) = self.queue.get_mut(&id) {
            queued.visible_at = self.now;
        }
    }
}

fn number(message: &Message) -> u64 {
    parse(&message.message_id)
}

fn parse(id: &MessageId) -> u64 {
    id.as_str().parse().unwrap_or_default()
}

/// A message as the queue returns it.
fn message(id: u64, queued: &Queued) -> Message {
    let body = match queued.kind {
        Kind::Message => id.to_string(),
        Kind::Document => document(id).replace('"', "\\\""),
        Kind::Unreadable => String::new(),
    };
    let group = queued.group.map(|group| group.to_string());
    let group_member = group
        .as_deref()
        .map(|group| format!("\"MessageGroupId\":\"{group}\""));
    let start = format!("{{\"messageId\":\"{id}\",\"body\":\"");
    let event = format!(
        "{start}{body}\",\"attributes\":{{{}}},\"messageAttributes\":{{}}}}",
        group_member.unwrap_or_default()
    );
    let range = start.len()..start.len() + body.len();
    let is_unreadable = queued.kind == Kind::Unreadable;
    Message {
        message_id: id.to_string().as_str().into(),
        receipt_handle: ReceiptHandle::from("r"),
        group: group.as_deref().map(|group| KeyHash::of(group.as_bytes())),
        sent: queued.sent,
        n_receives: queued.n_receives,
        event: event.into(),
        body: range,
        unreadable: is_unreadable.then_some("it cannot be rendered"),
    }
}

/// An on-failure document.
fn document(number: u64) -> String {
    format!(
        "{{\"requestContext\":{{\"requestId\":\"{number}\",\"functionArn\":\
         \"arn:aws:lambda:us-east-1:123456789012:function:f\"}},\"KinesisBatchInfo\":{{\
         \"shardId\":\"0\",\"startSequenceNumber\":\"{number}\",\"endSequenceNumber\":\"{number}\",\
         \"batchSize\":1,\"streamArn\":\"arn:aws:kinesis:us-east-1:123456789012:stream/s\"}}}}"
    )
}
