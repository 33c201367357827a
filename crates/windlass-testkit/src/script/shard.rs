//! Scripts about one shard; `tests/scripts/README.md` is the legend.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use goldenscript::{Command, Context, Runner};
use windlass_core::batch::BatchId;
use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::failure::{DeliveryFault, DestinationArn, FailureRecord};
use windlass_core::ids::{InnerRecord, KeyHash};
use windlass_core::mapping::{RetrySettings, StreamSettings};
use windlass_core::marks::MarkedSection;
use windlass_core::outcome::{ItemFailures, Outcome, RECURSIVE_INVOCATION, ReturnedState, Swap};
use windlass_core::position::{Checkpoint, Cursor, Position};
use windlass_core::rate::{RateTurns, TurnId};
use windlass_core::record::Record;
use windlass_core::record_page::{RecordMeta, RecordPageBuilder};
use windlass_core::shard::{PageStart, ReadResult};
use windlass_core::shard::{
    Report, ShardCommand, ShardConsumer, ShardConsumerSettings, ShardInput, ShardLimits,
    UnreadableRecord, Waiting,
};
use windlass_core::stretch::{Stretch, StretchEnd, StretchSettings, StretchStart};
use windlass_core::time::Timestamp;
use windlass_core::window::{WindowBounds, WindowCall, WindowCheckpoint, WindowState};

use super::arguments::reported;
use super::rate::rate;
use super::{Arguments, ScriptError, duration, duration_text, fault_text};
use crate::sample_filter;

pub(super) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// What the event of a tumbling window has in addition.
const WINDOW_LEN: usize = 300;

const DESTINATION: &str = "arn:aws:sqs:us-east-1:000000000000:failed";

/// Runs one script.
#[derive(Debug)]
pub struct ShardRunner {
    consumer: Option<ShardConsumer>,
    now: Timestamp,
    /// In the order in which they began.
    in_flight: Vec<BatchId>,
    /// The read in flight.
    read: Option<Cursor>,
    is_saving: bool,
    /// The delivery in flight.
    delivery: Option<BatchId>,
    /// Whether the function has a slot for the shard.
    slots_free: bool,
    slot_requested: bool,
    /// Whether the consumer is one of a replay.
    is_stretch: bool,
    turns: RateTurns,
    /// The request of the consumer.
    turn: Option<TurnId>,
    n_iterators: usize,
    /// Output of the current block.
    output: String,
}

impl Default for ShardRunner {
    fn default() -> Self {
        Self {
            consumer: None,
            now: START,
            in_flight: Vec::new(),
            read: None,
            is_saving: false,
            delivery: None,
            slots_free: true,
            slot_requested: false,
            is_stretch: false,
            turns: RateTurns::new(None),
            turn: None,
            n_iterators: 0,
            output: String::new(),
        }
    }
}

impl Runner for ShardRunner {
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
            "rate" => {
                self.turns.set_rate(rate(&arguments.word()?)?);
                self.show_commands()?;
            }
            "slots" => {
                self.slots_free = arguments.number_word()? != 0;
                self.show_commands()?;
            }
            _ => {
                let input = self.input(&command.name, &mut arguments)?;
                let now = self.now;
                self.consumer()?.handle(input, now);
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

impl ShardRunner {
    fn consumer(&mut self) -> Result<&mut ShardConsumer, ScriptError> {
        let missing = "a script starts with `consumer`";
        self.consumer.as_mut().ok_or_else(|| missing.into())
    }

    fn start(&mut self, arguments: &mut Arguments) -> Result<(), ScriptError> {
        let stretch = stretch(arguments)?;
        let (settings, checkpoint) = configuration(arguments, stretch.as_ref())?;
        if let Some(text) = arguments.key("rate") {
            self.turns = RateTurns::new(rate(&text)?);
        }
        let seed = arguments.number("seed", 0)? as u64;
        self.consumer = Some(ShardConsumer::new(settings, checkpoint, seed, self.now));
        (self.in_flight, self.read, self.is_saving) = (Vec::new(), None, false);
        self.delivery = None;
        self.is_stretch = stretch.is_some();
        (self.slots_free, self.slot_requested) = (true, false);
        if let Some(turn) = self.turn.take() {
            self.turns.cancel(turn);
        }
        self.show_commands()
    }

    fn input(&mut self, name: &str, arguments: &mut Arguments) -> Result<ShardInput, ScriptError> {
        match name {
            "saved" | "save_fails" | "conflict" if !std::mem::take(&mut self.is_saving) => {
                return Err("no save is in flight".into());
            }
            _ => {}
        }
        Ok(match name {
            "page" => {
                let from = self.end_read()?;
                ShardInput::Read(Ok(page(&mut self.n_iterators, self.now, &from, arguments)?))
            }
            "read_fails" => {
                self.end_read()?;
                ShardInput::Read(Err(arguments.fault()?))
            }
            "succeed" => self.returned(None, arguments)?,
            "fail" => {
                let batch = arguments.key("batch");
                self.invoked(Outcome::function_error(200, "Unhandled"), batch.as_deref())?
            }
            "too_large" => {
                let batch = arguments.key("batch");
                self.invoked(Outcome::function_error(413, "HTTP 413"), batch.as_deref())?
            }
            "recursive" => {
                let outcome = Outcome::function_error(400, RECURSIVE_INVOCATION);
                self.invoked(outcome, None)?
            }
            "report_failed" => {
                // Items are all words that remain.
                let state = state(arguments);
                let batch = arguments.key("batch");
                let failures = arguments.item_failures();
                self.invoked(with_state(failures, state), batch.as_deref())?
            }
            "report_malformed" => self.returned(Some(ItemFailures::Malformed), arguments)?,
            "not_reached" => {
                let cause = arguments.fault()?;
                let batch = arguments.key("batch");
                self.invoked(Outcome::NotInvoked { cause }, batch.as_deref())?
            }
            "saved" => ShardInput::Saved(Ok(Swap::Done)),
            "conflict" => ShardInput::Saved(Ok(Swap::Conflict)),
            "save_fails" => ShardInput::Saved(Err(arguments.fault()?)),
            "delivered" => self.delivered(Ok(()))?,
            "delivery_fails" => {
                let fault = match (arguments.flag("no_room"), arguments.flag("dead_letters")) {
                    (true, _) => DeliveryFault::NoRoom,
                    (false, true) => DeliveryFault::DeadLetters(arguments.fault()?),
                    (false, false) => DeliveryFault::Destination(arguments.fault()?),
                };
                self.delivered(Err(fault))?
            }
            "source_time" => {
                let since_start = duration(&arguments.word()?)?;
                ShardInput::SourceTime(START + since_start)
            }
            "drain" => ShardInput::Drain,
            _ => return Err(format!("unknown command {name:?}").into()),
        })
    }

    /// The function has returned, with a state or without.
    fn returned(
        &mut self,
        failures: Option<ItemFailures>,
        arguments: &mut Arguments,
    ) -> Result<ShardInput, ScriptError> {
        let state = state(arguments);
        let batch = arguments.key("batch");
        let outcome = failures.map_or(Outcome::Success, reported);
        self.invoked(with_state(outcome, state), batch.as_deref())
    }

    /// Of the batch with the number `batch`, else of the one that began first.
    fn invoked(
        &mut self,
        outcome: Outcome,
        batch: Option<&str>,
    ) -> Result<ShardInput, ScriptError> {
        let first = self.in_flight.first().map_or(0, |batch| batch.0);
        let number = batch.map_or(Ok(first), str::parse)?;
        let index = self.in_flight.iter().position(|batch| batch.0 == number);
        let batch = self
            .in_flight
            .remove(index.ok_or("no invocation is in flight")?);
        Ok(ShardInput::Invoked { batch, outcome })
    }

    fn delivered(&mut self, result: Result<(), DeliveryFault>) -> Result<ShardInput, ScriptError> {
        let delivery = self.delivery.take().ok_or("no delivery is in flight")?;
        Ok(ShardInput::Delivered { delivery, result })
    }

    fn end_read(&mut self) -> Result<Cursor, ScriptError> {
        let read = self.read.take();
        read.ok_or_else(|| "no read is in flight".into())
    }

    fn advance(&mut self, time: Duration) -> Result<(), ScriptError> {
        let end = self.now + time;
        let begin = self.now;
        while let Some(at) = self.next_timer()?.map(|(at, _)| at).filter(|at| *at <= end) {
            self.now = at;
            writeln!(self.output, "after {}", duration_text(at.since(begin)))?;
            if self
                .consumer()?
                .poll_timeout()
                .is_some_and(|timeout| timeout <= at)
            {
                self.consumer()?.handle_timeout(at);
            }
            self.show_commands()?;
        }
        self.now = end;
        Ok(())
    }

    fn show_commands(&mut self) -> Result<(), ScriptError> {
        while let Some(command) = self.consumer()?.poll_command() {
            match &command {
                ShardCommand::Invoke(batch) => {
                    self.in_flight.push(batch.id);
                    if let Some(turn) = self.turn.take() {
                        self.turns.sent(turn, batch.records.len(), self.now);
                    }
                }
                ShardCommand::Read { from, .. } => self.read = Some(from.clone()),
                ShardCommand::Deliver { delivery, .. } => self.delivery = Some(*delivery),
                ShardCommand::Save(_) => self.is_saving = true,
                ShardCommand::RequestSlot => {
                    self.slot_requested = true;
                    self.turn = Some(self.turns.request());
                }
                ShardCommand::CancelSlot => {
                    self.slot_requested = false;
                    if let Some(turn) = self.turn.take() {
                        self.turns.cancel(turn);
                    }
                }
                ShardCommand::Report(_) | ShardCommand::Finish(_) => {}
            }
            let is_request = matches!(command, ShardCommand::RequestSlot);
            let is_granted = self.has_turn() && is_request && self.slots_free;
            if !is_granted {
                writeln!(self.output, "{}", command_text(&command))?;
            }
        }
        if self.has_turn() && self.slot_requested && self.slots_free {
            self.slot_requested = false;
            let (now, max_records) = (self.now, self.turns.max_records());
            let granted = ShardInput::SlotGranted { max_records };
            self.consumer()?.handle(granted, now);
            self.show_commands()?;
        }
        Ok(())
    }

    /// Whether the batch of the consumer may go by the rate.
    fn has_turn(&mut self) -> bool {
        self.turns.poll_turn(self.now);
        self.turn.is_some() && self.turns.current() == self.turn
    }

    fn next_timer(&mut self) -> Result<Option<(Timestamp, String)>, ScriptError> {
        let turn = self.turns.poll_timeout().map(|at| (at, "turn".to_owned()));
        let timer = self.consumer()?.next_timer();
        let timer = timer.map(|(at, timer)| (at, format!("{timer:?}").to_lowercase()));
        Ok(turn.into_iter().chain(timer).min())
    }

    fn show_timer(&mut self) -> Result<(), ScriptError> {
        let now = self.now;
        if let Some((at, timer)) = self.next_timer()? {
            let time = duration_text(at.since(now));
            writeln!(self.output, "timer {timer} in {time}")?;
        }
        Ok(())
    }

    fn view(&mut self) -> Result<(), ScriptError> {
        let view = self.consumer()?.view();
        let waiting = match view.waiting {
            None => "none".to_owned(),
            Some(Waiting::FunctionErrors { attempt, maximum }) => {
                let of = maximum.map_or_else(String::new, |maximum| format!(" of {maximum}"));
                format!("function error, next attempt {attempt}{of}")
            }
            Some(Waiting::Delivery(fault)) => delivery_fault_text(fault),
            Some(Waiting::NotInvoked(fault)) => {
                format!("function not reached, {}", fault_text(fault))
            }
            Some(Waiting::FinalInvocation { attempt, cause }) => {
                let cause = cause.map_or("function error".to_owned(), fault_text);
                format!("final invocation, {cause}, next attempt {attempt}")
            }
            Some(Waiting::Source(fault)) => format!("source, {}", fault_text(fault)),
            Some(Waiting::Unreadable(record)) => {
                format!("unreadable: {}", record.reason)
            }
            Some(Waiting::Store(fault)) => format!("store, {}", fault_text(fault)),
        };
        let behind = view.behind.map_or("unknown".to_owned(), duration_text);
        if self.is_stretch {
            let reached = view.reached.map(|at| duration_text(at.since(START)));
            let reached = reached.as_deref().unwrap_or("nothing");
            writeln!(self.output, "reached {reached}")?;
        }
        let text = [
            format!("checkpoint {}", position_text(&view.checkpoint)),
            format!("behind {behind}"),
            format!(
                "buffered {} records, {} bytes",
                view.buffered_records, view.buffered_bytes
            ),
            format!("in flight {} records", view.in_flight_records),
            format!("attempt {}", view.attempt),
            format!("waiting: {waiting}"),
        ];
        let lanes = (1 < view.n_lanes)
            .then(|| format!("waiting lanes {} of {}", view.waiting_lanes, view.n_lanes));
        let gap = view.gap.map(|gap| {
            let cause = fault_text(gap.cause);
            let length = gap.length().map_or("unknown".to_owned(), duration_text);
            format!("gap: {cause} {}, {length}", position_text(&gap.after))
        });
        for line in text.into_iter().chain(lanes) {
            writeln!(self.output, "{line}")?;
        }
        if let Some(gap) = gap {
            writeln!(self.output, "{gap}")?;
        }
        Ok(())
    }
}

/// `stretch=FROM..TO`: times, or sequence numbers that both belong to it; `after:NUMBER` and
/// `trim_horizon` are starts too. With `tip=unreported` the source does not report its tip.
/// The result of the read at `from`.
pub(super) fn page(
    n_iterators: &mut usize,
    now: Timestamp,
    from: &Cursor,
    arguments: &mut Arguments,
) -> Result<ReadResult, ScriptError> {
    let behind = arguments.duration("behind", "0s")?;
    let arrival = match arguments.key("arrived") {
        Some(after) => START + duration(&after)?,
        None => now,
    };
    let end_of_shard = arguments.flag("end_of_shard");
    let has_children = arguments.flag("has_children");
    let is_new = arguments.flag("new_iterator") || from.iterator.is_none();
    let is_undated = arguments.flag("undated");
    let reason = "expected base64";
    let is_unreadable = arguments.flag("unreadable");
    let unreadable = is_unreadable.then_some(UnreadableRecord { reason });
    let records = records(arguments, arrival, is_undated)?;
    *n_iterators += 1;
    let next = (!end_of_shard).then(|| Cursor {
        iterator: Some(Arc::from(format!("i{n_iterators}"))),
        ..Cursor::at(Position::TrimHorizon)
    });
    Ok(ReadResult {
        start: match is_new {
            false => PageStart::Continued,
            true if from.inclusive => PageStart::AtPosition,
            true => PageStart::AfterPosition,
        },
        records,
        next,
        behind,
        has_children,
        unreadable,
    })
}

/// What a machine of a shard is configured with, and where it continues.
pub(super) fn configuration(
    arguments: &mut Arguments,
    stretch: Option<&StretchSettings>,
) -> Result<(ShardConsumerSettings, Checkpoint), ScriptError> {
    let from = match arguments.key("from").as_deref() {
        None => match stretch {
            Some(it) => it.stretch.position(),
            None => Position::TrimHorizon,
        },
        Some("trim_horizon") => Position::TrimHorizon,
        Some("shard_end") => Position::ShardEnd,
        Some(text) if text.ends_with('s') => Position::AtTimestamp(START + duration(text)?),
        Some(number) => match inner(number)? {
            (number, None) => Position::After(number.into()),
            (number, Some(inner)) => Position::Within(number.into(), inner),
        },
    };
    let arrived = arguments.key("arrived");
    let arrived = arrived.as_deref().map(duration).transpose()?;
    let checkpoint = Checkpoint {
        position: from.clone(),
        arrival: arrived.map(|after| START + after),
        marks: marks(arguments)?,
        window: window_checkpoint(arguments)?,
        counts: None,
    };
    let tumbling_window = arguments.key("tumbling_window");
    let tumbling_window = tumbling_window.as_deref().map(duration).transpose()?;
    let skip_before = arguments.key("skip_before");
    let skip_before = skip_before.as_deref().map(duration).transpose()?;
    let has_destination = arguments.key("on_failure").as_deref() == Some("on");
    let has_letters = arguments.key("dead_letters").as_deref() == Some("on");
    let settings = ShardConsumerSettings {
        delivers_given_up: has_destination || has_letters,
        mapping: StreamSettings {
            starting_position: from,
            recreated_position: Position::TrimHorizon,
            skip_before: skip_before.map(|after| START + after),
            batch_size: arguments.number("batch_size", 100)?,
            maximum_batching_window: arguments.duration("window", "0s")?,
            parallelization_factor: arguments.number("factor", 1)?,
            tumbling_window,
            on_failure: DestinationArn::parse(DESTINATION).filter(|_| has_destination),
            retries: retries(arguments)?,
        },
        filter: (arguments.key("filter").as_deref() == Some("on")).then(sample_filter::criteria),
        stretch: stretch.cloned(),
        window_len: tumbling_window.map_or(0, |_| WINDOW_LEN),
        limits: ShardLimits {
            poll_interval: arguments.duration("poll_interval", "1s")?,
            catch_up_interval: arguments.duration("catch_up_interval", "200ms")?,
            read_limit: u32::try_from(arguments.number("read_limit", 1000)?)?,
            buffer_records: arguments.number("buffer_records", 1000)?,
            buffer_bytes: arguments.number("buffer_bytes", 10 * PAYLOAD_LIMIT)?,
            payload_limit: arguments.number("payload_limit", PAYLOAD_LIMIT)?,
            backoff_jitter_percent: arguments.jitter_percent(),
        },
    };
    Ok((settings, checkpoint))
}

fn stretch(arguments: &mut Arguments) -> Result<Option<StretchSettings>, ScriptError> {
    let Some(text) = arguments.key("stretch") else {
        return Ok(None);
    };
    let (from, to) = text.split_once("..").ok_or("a stretch has two bounds")?;
    let from = match from.strip_prefix("after:") {
        Some(number) => StretchStart::After(number.into()),
        None if from == "trim_horizon" => StretchStart::TrimHorizon,
        None if from.ends_with('s') => StretchStart::Time(START + duration(from)?),
        None => StretchStart::At(from.into()),
    };
    let to = if to.ends_with('s') {
        StretchEnd::Time(START + duration(to)?)
    } else {
        StretchEnd::Through(to.into())
    };
    Ok(Some(StretchSettings {
        stretch: Stretch { from, to },
        reports_tip: arguments.key("tip").as_deref() != Some("unreported"),
    }))
}

fn retries(arguments: &mut Arguments) -> Result<RetrySettings, ScriptError> {
    let attempts = arguments.key("maximum_retry_attempts");
    let age = arguments.key("maximum_record_age");
    Ok(RetrySettings {
        age_from: None,
        maximum_attempts: attempts.map(|text| text.parse()).transpose()?,
        maximum_record_age: age.as_deref().map(duration).transpose()?,
        bisect_batch: arguments.key("bisect").as_deref() == Some("on"),
        strict_order: arguments.flag("strict_order"),
    })
}

fn command_text(command: &ShardCommand) -> String {
    match command {
        ShardCommand::Read {
            from,
            limit,
            timeout,
        } => {
            let position = position_text(&from.after);
            let iterator = from.iterator.as_deref().unwrap_or("none");
            let timeout = match timeout.as_secs() {
                40 => String::new(),
                seconds => format!(" timeout={seconds}s"),
            };
            let inclusive = if from.inclusive { " inclusive" } else { "" };
            format!("read {position} iterator={iterator} limit={limit}{inclusive}{timeout}")
        }
        ShardCommand::RequestSlot => "request slot".to_owned(),
        ShardCommand::CancelSlot => "cancel slot".to_owned(),
        ShardCommand::Invoke(batch) => {
            let names = names(&batch.records);
            let call = batch.window.as_ref().map_or_else(String::new, call_text);
            format!(
                "invoke b{} attempt={} [{names}]{call}",
                batch.id.0, batch.attempt
            )
        }
        ShardCommand::Deliver { failure, .. } => format!("deliver {}", failure_text(failure)),
        ShardCommand::Save(checkpoint) => format!("save {}", checkpoint_text(checkpoint)),
        ShardCommand::Report(Report::FilteredOut { n_records }) => {
            format!("report {n_records} filtered out")
        }
        ShardCommand::Report(Report::BeforeStart { n_records }) => {
            format!("report {n_records} before the start")
        }
        ShardCommand::Report(Report::OutsideHashKeyRange { n_records }) => {
            format!("report {n_records} outside of the hash key range")
        }
        ShardCommand::Report(Report::RecordTooLarge {
            sequence_number,
            bytes,
        }) => format!("report {sequence_number} too large: {bytes} bytes"),
        ShardCommand::Report(Report::Dropped(failure)) => {
            format!("report dropped {}", failure_text(failure))
        }
        ShardCommand::Report(Report::Unreadable(record)) => {
            format!("report unreadable: {}", record.reason)
        }
        ShardCommand::Report(Report::UnreadableDropped {
            sequence_number,
            reason,
        }) => format!("report {sequence_number} dropped: {reason}"),
        ShardCommand::Report(Report::WindowStateDropped(bounds)) => {
            format!("report state of window {} dropped", window_text(*bounds))
        }
        ShardCommand::Report(Report::Gap(gap)) => {
            format!(
                "report {} {}",
                fault_text(gap.cause),
                position_text(&gap.after)
            )
        }
        ShardCommand::Finish(how) => format!("finish {how:?}"),
    }
}

fn delivery_fault_text(fault: DeliveryFault) -> String {
    match fault {
        DeliveryFault::Destination(fault) => format!("destination, {}", fault_text(fault)),
        DeliveryFault::DeadLetters(fault) => format!("dead letters, {}", fault_text(fault)),
        DeliveryFault::NoRoom => "dead letters, no room".to_owned(),
    }
}

/// `RetryAttemptsExhausted [1 2] approximateInvokeCount=3 statusCode=200 functionError=Unhandled`.
fn failure_text(failure: &FailureRecord) -> String {
    let condition = failure.condition.as_str();
    let names = names(&failure.records);
    let count = failure.approximate_invoke_count();
    let response = failure.response.as_ref().map_or_else(String::new, |it| {
        let error = if it.function_error {
            "Unhandled"
        } else {
            "null"
        };
        format!(" statusCode={} functionError={error}", it.status)
    });
    let window = failure.window.as_ref().map_or_else(String::new, call_text);
    format!("{condition} [{names}] approximateInvokeCount={count}{response}{window}")
}

/// `7` or, of an aggregate, `7.0`.
pub(super) fn names(records: &[Record]) -> String {
    let name = |record: &Record| {
        let number = record.sequence_number();
        let inner = record.inner();
        inner.map_or(number.to_owned(), |it| format!("{number}.{}", it.index))
    };
    records.iter().map(name).collect::<Vec<_>>().join(" ")
}

/// The reverse, with the index.
pub(super) fn inner(name: &str) -> Result<(&str, Option<u32>), ScriptError> {
    Ok(match name.split_once('.') {
        None => (name, None),
        Some((number, inner)) => (number, Some(inner.parse()?)),
    })
}

/// The window of the checkpoint with which a consumer continues: `checkpoint_window=0s..100s` with
/// `state=JSON`.
fn window_checkpoint(arguments: &mut Arguments) -> Result<Option<WindowCheckpoint>, ScriptError> {
    let Some(text) = arguments.key("checkpoint_window") else {
        return Ok(None);
    };
    let (start, end) = text
        .split_once("..")
        .ok_or("a window has a start and an end")?;
    Ok(Some(WindowCheckpoint {
        bounds: WindowBounds {
            start: START + duration(start)?,
            end: START + duration(end)?,
        },
        state: arguments.key("state").map(window_state),
    }))
}

fn window_state(json: String) -> WindowState {
    WindowState::new(json.into())
}

/// What the function returns: `state=JSON`, or `state_too_large`.
fn state(arguments: &mut Arguments) -> Option<ReturnedState> {
    let json = arguments.key("state").map(window_state);
    let too_large = arguments.flag("state_too_large");
    json.map(ReturnedState::Json)
        .or(too_large.then_some(ReturnedState::TooLarge))
}

fn with_state(outcome: Outcome, state: Option<ReturnedState>) -> Outcome {
    match state {
        Some(_) => outcome.in_window(state),
        None => outcome,
    }
}

pub(super) fn call_text(call: &WindowCall) -> String {
    let window = window_text(call.bounds);
    let state = state_text(&call.state);
    let is_final = if call.is_final { " final" } else { "" };
    let is_early = if call.is_terminated_early {
        " early"
    } else {
        ""
    };
    format!(" window={window} state={state}{is_final}{is_early}")
}

fn state_text(state: &WindowState) -> String {
    String::from_utf8_lossy(state.json()).into_owned()
}

/// Since the start of the script.
fn window_text(bounds: WindowBounds) -> String {
    let seconds = |time: Timestamp| time.millis_since(START) / 1000;
    format!("{}s..{}s", seconds(bounds.start), seconds(bounds.end))
}

pub(super) fn checkpoint_text(checkpoint: &Checkpoint) -> String {
    let position = position_text(&checkpoint.position);
    let marks = marks_text(&checkpoint.marks);
    let window = checkpoint.window.as_ref();
    let window = window.map_or_else(String::new, |window| {
        let state = window.state.as_ref().map(state_text);
        let state = state.map_or_else(String::new, |state| format!(" state={state}"));
        format!(" window={}{state}", window_text(window.bounds))
    });
    format!("{position}{marks}{window}")
}

pub(super) fn position_text(position: &Position) -> String {
    match position {
        Position::At(number) => format!("at {number}"),
        Position::After(number) => format!("after {number}"),
        Position::Within(number, inner) => format!("after {number}.{inner}"),
        Position::AtTimestamp(time) => format!("at_timestamp {}", duration_text(time.since(START))),
        Position::TrimHorizon | Position::ShardEnd => position.kind().to_owned(),
    }
}

/// `marks=urr/4,ru/6`: of the first three records after the checkpoint, whose last one is 4, the first
/// is unresolved and two are resolved; two more follow. `4.0` is one of an aggregate.
fn marks(arguments: &mut Arguments) -> Result<Vec<MarkedSection>, ScriptError> {
    let Some(text) = arguments.key("marks") else {
        return Ok(Vec::new());
    };
    let section = |text: &str| {
        let (marks, last) = text.split_once('/')?;
        let mut runs = Vec::new();
        if marks.starts_with('u') {
            runs.push(0);
        }
        let same = marks.as_bytes().chunk_by(|one, other| one == other);
        runs.extend(same.map(|run| run.len() as u64));
        let (last, sub_sequence_number) = inner(last).ok()?;
        Some(MarkedSection {
            runs,
            last: last.into(),
            sub_sequence_number,
        })
    };
    let sections = text.split(',').map(section);
    let sections: Option<Vec<_>> = sections.collect();
    sections.ok_or_else(|| format!("{text:?} is not a list of marks").into())
}

fn marks_text(sections: &[MarkedSection]) -> String {
    if sections.is_empty() {
        return String::new();
    }
    let section = |section: &MarkedSection| {
        let marks = section.resolved().map(|it| if it { 'r' } else { 'u' });
        let inner = section.sub_sequence_number;
        let inner = inner.map_or(String::new(), |inner| format!(".{inner}"));
        format!("{}/{}{inner}", marks.collect::<String>(), section.last)
    };
    let sections: Vec<_> = sections.iter().map(section).collect();
    format!(" marks={}", sections.join(","))
}

/// All remaining arguments: sequence numbers with or without sizes; `~` marks a record that the filter
/// does not match, `!` one that cannot be rendered. A record is `1`, a key of its own, or `2/1`: the record 1 of lane 2. `7.0` is one
/// of an aggregate, which ends with the last record of its number unless that is `7.0-`; the key of
/// `7.0@` belongs to another shard.
fn records(
    arguments: &mut Arguments,
    arrival: Timestamp,
    is_undated: bool,
) -> Result<Vec<Record>, ScriptError> {
    let mut builder = RecordPageBuilder::default();
    let sized = arguments.sized(10)?;
    for (index, (name, bytes)) in sized.iter().enumerate() {
        if is_undated {
            builder.undated(arrival);
        }
        let record = name.trim_start_matches(['~', '!']);
        if name.starts_with('!') {
            builder.unreadable("expected base64");
        }
        let (record, arrival) = match record.split_once('@') {
            Some((record, arrived)) => (record, START + duration(arrived)?),
            None => (record, arrival),
        };
        let (key, of_shard) = match record.split_once('/') {
            Some((lane, of_shard)) => (KeyHash(lane.parse()?), of_shard),
            None => (KeyHash::of(record.as_bytes()), record),
        };
        let (number, inner) = inner(of_shard.trim_end_matches(['-', '!']))?;
        let next = sized.get(index + 1).map_or("", |(next, _)| next);
        let next = next.rsplit(['/', '~', '!']).next().unwrap_or(next);
        let is_last = !next.starts_with(&format!("{number}.")) && !of_shard.ends_with('-');
        let meta = RecordMeta {
            sequence_number: number,
            inner: inner.map(|index| InnerRecord {
                index,
                is_last,
                is_outside_hash_key_range: of_shard.ends_with('!'),
            }),
            key,
            approximate_arrival: arrival,
        };
        builder.push(
            &meta,
            &sample_filter::event(*bytes, !name.starts_with('~')),
            0..0,
        );
    }
    Ok(Record::of_page(builder.finish()))
}
