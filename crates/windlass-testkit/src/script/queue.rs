//! Scripts about one slot of a queue; `tests/scripts/README.md` is the legend.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use goldenscript::{Command, Context, Runner};
use windlass_core::batch::BatchId;
use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::ids::{KeyHash, MessageId, ReceiptHandle};
use windlass_core::mapping::{Pollers, QueueSettings, RetryBackoff};
use windlass_core::message::Message;
use windlass_core::outcome::{Fault, ItemFailures, Outcome};
use windlass_core::queue::{
    EntryResult, QueueAttributes, QueueCommand, QueueConsumer, QueueConsumerSettings, QueueInput,
    QueueLimits, Report, RequestId, VisibilityChange, Waiting,
};
use windlass_core::time::Timestamp;

use super::arguments::reported;
use super::{Arguments, ScriptError, duration, duration_text, fault_text};
use crate::sample_filter;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

#[derive(Debug)]
pub struct QueueRunner {
    consumer: Option<QueueConsumer>,
    /// Slots of the mapping, those in use included.
    slots: usize,
    slot_requested: bool,
    now: Timestamp,
    attributes: QueueAttributes,
    receives: Vec<RequestId>,
    invocations: Vec<BatchId>,
    deletions: Vec<EntryRequest>,
    changes: Vec<EntryRequest>,
    /// How many times each message was received.
    n_received: BTreeMap<String, u32>,
    /// When each message was received first, and sent.
    sent: BTreeMap<String, Timestamp>,
    /// Output of the current block.
    output: String,
}

#[derive(Debug)]
struct EntryRequest {
    request: RequestId,
    receipts: Vec<ReceiptHandle>,
}

impl Default for QueueRunner {
    fn default() -> Self {
        Self {
            consumer: None,
            slots: 0,
            slot_requested: false,
            now: START,
            attributes: QueueAttributes {
                visibility_timeout: Duration::ZERO,
                has_redrive_policy: false,
                retention: None,
            },
            receives: Vec::new(),
            invocations: Vec::new(),
            deletions: Vec::new(),
            changes: Vec::new(),
            n_received: BTreeMap::new(),
            sent: BTreeMap::new(),
            output: String::new(),
        }
    }
}

impl Runner for QueueRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, ScriptError> {
        let mut arguments = Arguments::of(command);
        match command.name.as_str() {
            "consumer" => self.start(&mut arguments)?,
            "advance" => {
                let time = duration(&arguments.word()?)?;
                self.advance(time)?;
            }
            "view" => self.view()?,
            "slots" => {
                self.slots = arguments.number_word()?;
                self.show_commands()?;
            }
            _ => {
                let input = self.input(&command.name, &mut arguments)?;
                self.handle(input)?;
                self.show_commands()?;
            }
        }
        arguments.none_left()?;
        if command.name != "view" {
            self.show_timer()?;
        }
        Ok(std::mem::take(&mut self.output))
    }
}

impl QueueRunner {
    fn consumer(&mut self) -> Result<&mut QueueConsumer, ScriptError> {
        let missing = "a script starts with `consumer`";
        self.consumer.as_mut().ok_or_else(|| missing.into())
    }

    fn start(&mut self, arguments: &mut Arguments) -> Result<(), ScriptError> {
        let slots = arguments.number("concurrency", 10)?;
        self.attributes = QueueAttributes {
            visibility_timeout: arguments.duration("visibility", "30s")?,
            has_redrive_policy: arguments.flag("redrive"),
            retention: arguments.optional_duration("retention")?,
        };
        let settings = QueueConsumerSettings {
            mapping: QueueSettings {
                fifo: arguments.flag("fifo"),
                batch_size: arguments.number("batch_size", 10)?,
                maximum_batching_window: arguments.duration("window", "0s")?,
                strict_order: arguments.flag("strict_order"),
                pollers: pollers(arguments)?,
            },
            filter: (arguments.key("filter").as_deref() == Some("on"))
                .then(sample_filter::criteria),
            attributes: self.attributes,
            function_timeout: arguments.duration("function_timeout", "3s")?,
            retry_backoff: retry_backoff(arguments)?,
            limits: QueueLimits {
                visibility_heartbeat: !arguments.flag("no_heartbeat"),
                wait_time: arguments.duration("wait", "20s")?,
                buffer_messages: arguments.number("buffer", 30)?,
                payload_limit: arguments.number("payload_limit", PAYLOAD_LIMIT)?,
                concurrency: slots,
                hold_limit: arguments.duration("hold_limit", "900s")?,
                backoff_jitter_percent: arguments.jitter_percent(),
            },
        };
        let seed = arguments.number("seed", 0)? as u64;
        *self = Self {
            consumer: Some(QueueConsumer::new(settings, slots, seed, self.now)),
            now: self.now,
            attributes: self.attributes,
            slots,
            ..Self::default()
        };
        self.show_commands()
    }

    fn input(&mut self, name: &str, arguments: &mut Arguments) -> Result<QueueInput, ScriptError> {
        Ok(match name {
            "received" => QueueInput::Received {
                request: self.receive(arguments)?,
                result: Ok(self.messages(arguments)?),
            },
            "receive_fails" => QueueInput::Received {
                request: self.receive(arguments)?,
                result: Err(arguments.fault()?),
            },
            "succeed" => self.invoked(arguments, Outcome::Success)?,
            "fail" => self.invoked(arguments, Outcome::function_error(200, "Unhandled"))?,
            "too_large" => self.invoked(arguments, Outcome::function_error(413, "HTTP 413"))?,
            "report_failed" => {
                let outcome = arguments.item_failures();
                self.invoked(arguments, outcome)?
            }
            "report_malformed" => self.invoked(arguments, reported(ItemFailures::Malformed))?,
            "not_reached" => {
                let cause = arguments.fault()?;
                self.invoked(arguments, Outcome::NotInvoked { cause })?
            }
            "deleted" | "delete_fails" => {
                let (request, result) = end_request(&mut self.deletions, name, arguments)?;
                QueueInput::Deleted { request, result }
            }
            "changed" | "change_fails" => {
                let (request, result) = end_request(&mut self.changes, name, arguments)?;
                QueueInput::VisibilityChanged { request, result }
            }
            "queue_timeout" => {
                self.attributes.visibility_timeout = duration(&arguments.word()?)?;
                QueueInput::Attributes(self.attributes)
            }
            "drain" => QueueInput::Drain,
            _ => return Err(format!("unknown command {name:?}").into()),
        })
    }

    fn receive(&mut self, arguments: &mut Arguments) -> Result<RequestId, ScriptError> {
        let number = arguments.key("request");
        take(&mut self.receives, number, |it| it.0, "receive")
    }

    fn invoked(
        &mut self,
        arguments: &mut Arguments,
        outcome: Outcome,
    ) -> Result<QueueInput, ScriptError> {
        let number = arguments.key("batch");
        let batch = take(&mut self.invocations, number, |it| it.0, "invocation")?;
        Ok(QueueInput::Invoked { batch, outcome })
    }

    fn messages(&mut self, arguments: &mut Arguments) -> Result<Vec<Message>, ScriptError> {
        let mut messages = Vec::new();
        for (written, bytes) in arguments.sized(10)? {
            let name = written.trim_start_matches(['~', '!']).to_owned();
            let unreadable = written.starts_with('!').then_some("invalid text");
            let n_received = self.n_received.entry(name.clone()).or_default();
            *n_received += 1;
            let receipt = match *n_received {
                1 => name.clone(),
                n => format!("{name}.{n}"),
            };
            let group = name.split_once('/').map(|(group, _)| group);
            messages.push(Message {
                message_id: MessageId::from(name.as_str()),
                receipt_handle: ReceiptHandle::from(receipt.as_str()),
                group: group.map(|group| KeyHash::of(group.as_bytes())),
                sent: *self.sent.entry(name.clone()).or_insert(self.now),
                n_receives: *n_received,
                event: sample_filter::event(bytes, name == written),
                body: 0..0,
                unreadable,
            });
        }
        Ok(messages)
    }

    fn advance(&mut self, time: Duration) -> Result<(), ScriptError> {
        let begin = self.now;
        let end = begin + time;
        while let Some(at) = self.consumer()?.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            writeln!(self.output, "after {}", duration_text(at.since(begin)))?;
            let free_slots = self.free_slots();
            self.consumer()?.set_free_slots(free_slots);
            self.consumer()?.handle_timeout(at);
            self.show_commands()?;
        }
        self.now = end;
        Ok(())
    }

    fn show_commands(&mut self) -> Result<(), ScriptError> {
        while let Some(command) = self.consumer()?.poll_command() {
            let is_request = matches!(command, QueueCommand::RequestSlot);
            if !(is_request && 0 < self.free_slots()) {
                writeln!(self.output, "{}", command_text(&command))?;
            }
            match command {
                QueueCommand::RequestSlot => self.slot_requested = true,
                QueueCommand::CancelSlot => self.slot_requested = false,
                QueueCommand::Receive { request, .. } => self.receives.push(request),
                QueueCommand::Invoke(batch) => self.invocations.push(batch.id),
                QueueCommand::Delete { request, receipts } => {
                    self.deletions.push(EntryRequest { request, receipts });
                }
                QueueCommand::ChangeVisibility { request, changes } => {
                    let receipts = changes.into_iter().map(|it| it.receipt).collect();
                    self.changes.push(EntryRequest { request, receipts });
                }
                QueueCommand::Report(_) | QueueCommand::Finish => {}
            }
        }
        if self.slot_requested && self.invocations.len() < self.slots {
            self.handle(QueueInput::SlotGranted)?;
            self.slot_requested = false;
            self.show_commands()?;
        }
        Ok(())
    }

    fn handle(&mut self, input: QueueInput) -> Result<(), ScriptError> {
        let (free_slots, now) = (self.free_slots(), self.now);
        let consumer = self.consumer()?;
        consumer.set_free_slots(free_slots);
        consumer.set_source_time(now);
        consumer.handle(input, now);
        Ok(())
    }

    fn free_slots(&self) -> usize {
        let in_use = self.invocations.len() + usize::from(self.slot_requested);
        self.slots.saturating_sub(in_use)
    }

    fn show_timer(&mut self) -> Result<(), ScriptError> {
        let now = self.now;
        if let Some((at, timer)) = self.consumer()?.next_timer() {
            let timer = format!("{timer:?}").to_lowercase();
            let time = duration_text(at.since(now));
            writeln!(self.output, "timer {timer} in {time}")?;
        }
        Ok(())
    }

    fn view(&mut self) -> Result<(), ScriptError> {
        let view = self.consumer()?.view();
        let waiting = match view.waiting {
            None => "none".to_owned(),
            Some(Waiting::NotInvoked(fault)) => {
                format!("function not reached, {}", fault_text(fault))
            }
            Some(Waiting::Source(fault)) => format!("queue, {}", fault_text(fault)),
            Some(Waiting::Deleting(fault)) => format!("deletions, {}", fault_text(fault)),
            Some(Waiting::Extending(fault)) => {
                format!("visibility changes, {}", fault_text(fault))
            }
        };
        let limit = match view.reduced_concurrency {
            None => String::new(),
            Some(limit) => format!(" of at most {limit}"),
        };
        let text = [
            format!("received {} messages", view.received),
            format!(
                "buffered {} messages, {} bytes",
                view.buffered_messages, view.buffered_bytes
            ),
            format!(
                "in flight {} messages, {} invocations{limit}",
                view.in_flight_messages, view.concurrency
            ),
            format!("pollers: {}", view.pollers),
            format!("waiting: {waiting}"),
        ];
        writeln!(self.output, "{}", text.join("\n"))?;
        Ok(())
    }
}

/// `pollers=2..10`: the minimum and the maximum.
fn pollers(arguments: &mut Arguments) -> Result<Option<Pollers>, ScriptError> {
    let Some(text) = arguments.key("pollers") else {
        return Ok(None);
    };
    let (minimum, maximum) = text.split_once("..").ok_or("expected pollers=MIN..MAX")?;
    Ok(Some(Pollers {
        minimum: minimum.parse()?,
        maximum: maximum.parse()?,
    }))
}

/// Removes the one with this number, or the oldest.
fn take<T>(
    in_flight: &mut Vec<T>,
    number: Option<String>,
    number_of: fn(&T) -> u64,
    what: &str,
) -> Result<T, ScriptError> {
    let index = match number {
        None => (!in_flight.is_empty()).then_some(0),
        Some(number) => {
            let number: u64 = number.parse()?;
            in_flight.iter().position(|it| number_of(it) == number)
        }
    };
    let index = index.ok_or_else(|| format!("no such {what} is in flight"))?;
    Ok(in_flight.remove(index))
}

/// Ends a deletion or visibility change; entries that are not named succeed.
fn end_request(
    in_flight: &mut Vec<EntryRequest>,
    name: &str,
    arguments: &mut Arguments,
) -> Result<(RequestId, Result<Vec<EntryResult>, Fault>), ScriptError> {
    let number = arguments.key("request");
    let ended = take(in_flight, number, |it| it.request.0, "request")?;
    if name.ends_with("fails") {
        return Ok((ended.request, Err(arguments.fault()?)));
    }
    let mut results = vec![EntryResult::Done; ended.receipts.len()];
    for (key, result) in [
        ("failed", EntryResult::Failed(Fault::Transient)),
        ("denied", EntryResult::Failed(Fault::Denied)),
        ("refused", EntryResult::Refused),
    ] {
        while let Some(handle) = arguments.key(key) {
            let mut receipts = ended.receipts.iter();
            let index = receipts.position(|receipt| receipt.as_str() == handle);
            results[index.ok_or_else(|| format!("{handle} is not in the request"))?] = result;
        }
    }
    Ok((ended.request, Ok(results)))
}

fn command_text(command: &QueueCommand) -> String {
    match command {
        QueueCommand::Receive {
            request,
            limit,
            wait,
            visibility,
        } => format!(
            "receive r{} limit={limit} wait={} visibility={}",
            request.0,
            duration_text(*wait),
            duration_text(*visibility)
        ),
        QueueCommand::RequestSlot => "request slot".to_owned(),
        QueueCommand::CancelSlot => "cancel slot".to_owned(),
        QueueCommand::Invoke(batch) => {
            let ids = batch.messages.iter().map(|it| it.message_id.as_str());
            let ids = ids.collect::<Vec<_>>().join(" ");
            format!("invoke b{} attempt={} [{ids}]", batch.id.0, batch.attempt)
        }
        QueueCommand::Delete { request, receipts } => {
            format!("delete r{} [{}]", request.0, handles(receipts))
        }
        QueueCommand::ChangeVisibility { request, changes } => {
            format!("visibility r{} {}", request.0, changes_text(changes))
        }
        QueueCommand::Report(report) => report_text(report),
        QueueCommand::Finish => "finish".to_owned(),
    }
}

fn report_text(report: &Report) -> String {
    match report {
        Report::FilteredOut { n_messages } => format!("report {n_messages} filtered out"),
        Report::Excess { n_messages } => format!("report {n_messages} excess"),
        Report::Unreadable { message_id, reason } => {
            format!("report {message_id} unreadable: {reason}")
        }
        Report::MessageTooLarge { message_id, bytes } => {
            format!("report {message_id} too large: {bytes} bytes")
        }
        Report::Deleted { n_messages } => format!("report {n_messages} deleted"),
        Report::NotDeleted { n_messages } => format!("report {n_messages} not deleted"),
        Report::UnknownItems { n_messages } => format!("report {n_messages} with unknown items"),
        Report::Expired { n_messages } => format!("report {n_messages} expired"),
        Report::Released { n_messages } => format!("report {n_messages} returned"),
    }
}

/// One timeout for all messages, or that of each.
fn changes_text(changes: &[VisibilityChange]) -> String {
    let first = changes.first().map(|it| it.timeout);
    if changes.iter().all(|it| Some(it.timeout) == first) {
        let receipts: Vec<_> = changes.iter().map(|it| it.receipt.clone()).collect();
        let timeout = duration_text(first.unwrap_or_default());
        return format!("{timeout} [{}]", handles(&receipts));
    }
    let changes = changes
        .iter()
        .map(|it| format!("{}={}", it.receipt.as_str(), duration_text(it.timeout)));
    format!("[{}]", changes.collect::<Vec<_>>().join(" "))
}

/// `backoff=FIRST,FACTOR,LIMIT`.
fn retry_backoff(arguments: &mut Arguments) -> Result<Option<RetryBackoff>, ScriptError> {
    let Some(text) = arguments.key("backoff") else {
        return Ok(None);
    };
    let parts: Vec<_> = text.split(',').collect();
    let [first, factor, maximum] = parts[..] else {
        return Err(format!("{text:?} is not FIRST,FACTOR,LIMIT").into());
    };
    Ok(Some(RetryBackoff {
        first: duration(first)?,
        factor: factor.parse()?,
        maximum: duration(maximum)?,
    }))
}

fn handles(receipts: &[ReceiptHandle]) -> String {
    let handles: Vec<_> = receipts.iter().map(ReceiptHandle::as_str).collect();
    handles.join(" ")
}
