//! Scripts about skips; `tests/scripts/README.md` is the legend.

use std::fmt::Write as _;

use goldenscript::{Command, Context, Runner};
use windlass_core::position::Cursor;
use windlass_core::shard::{
    RetriedBatch, ShardSkip, SkipEnd, SkipExtent, SkipStep, SkipWrite, SkippedBatch,
};
use windlass_core::time::Timestamp;

use super::shard::{
    START, call_text, checkpoint_text, configuration, inner, names, page, position_text,
};
use super::{Arguments, ScriptError, duration, duration_text, fault_text};

/// Runs one script.
#[derive(Debug)]
pub struct SkipRunner {
    skip: Option<ShardSkip>,
    now: Timestamp,
    /// The read in flight.
    read: Option<Cursor>,
    n_iterators: usize,
    /// Output of the current block.
    output: String,
}

impl Default for SkipRunner {
    fn default() -> Self {
        Self {
            skip: None,
            now: START,
            read: None,
            n_iterators: 0,
            output: String::new(),
        }
    }
}

impl Runner for SkipRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, ScriptError> {
        let mut arguments = Arguments::of(command);
        match command.name.as_str() {
            "skip" => self.start(&mut arguments)?,
            "advance" => self.now = self.now + duration(&arguments.word()?)?,
            "page" => {
                let from = self.end_read()?;
                let page = page(&mut self.n_iterators, self.now, &from, &mut arguments)?;
                let now = self.now;
                self.skip()?.handle_read(Ok(page), now);
            }
            "read_fails" => {
                self.end_read()?;
                let (fault, now) = (arguments.fault()?, self.now);
                self.skip()?.handle_read(Err(fault), now);
            }
            other => return Err(format!("unknown command {other}").into()),
        }
        arguments.none_left()?;
        if self.read.is_none() {
            self.show_steps()?;
        }
        Ok(std::mem::take(&mut self.output))
    }
}

impl SkipRunner {
    fn skip(&mut self) -> Result<&mut ShardSkip, ScriptError> {
        let missing = "a script starts with `skip`";
        self.skip.as_mut().ok_or_else(|| missing.into())
    }

    fn end_read(&mut self) -> Result<Cursor, ScriptError> {
        let read = self.read.take();
        read.ok_or_else(|| "no read is in flight".into())
    }

    fn start(&mut self, arguments: &mut Arguments) -> Result<(), ScriptError> {
        let reports_tip = arguments.key("tip").as_deref() != Some("unreported");
        let extent = (
            arguments.key("records"),
            arguments.key("through"),
            arguments.key("batches"),
            arguments.key("final"),
        );
        let (settings, from) = configuration(arguments, None)?;
        let extent = match extent {
            (Some(n_records), None, None, None) => SkipExtent::Records(n_records.parse()?),
            (None, Some(number), None, None) => SkipExtent::Through(number.as_str().into()),
            (None, None, Some(batches), None) => SkipExtent::Batches(retried(&batches)?),
            (None, None, None, Some(end)) => {
                let window = from.window.as_ref().ok_or("there is no window")?;
                SkipExtent::Batches(vec![RetriedBatch::FinalInvocation {
                    window: window.bounds,
                    is_early: end == "early",
                }])
            }
            _ => return Err("one of records, through, batches and final is needed".into()),
        };
        let skip = ShardSkip::new(settings, from, extent, reports_tip, 0, self.now);
        self.skip = Some(skip);
        Ok(())
    }

    /// Until a read is in flight, or time has to pass.
    fn show_steps(&mut self) -> Result<(), ScriptError> {
        loop {
            let now = self.now;
            match self.skip()?.step(now) {
                SkipStep::Read { from, limit, .. } => {
                    let position = position_text(&from.after);
                    let inclusive = if from.inclusive { " inclusive" } else { "" };
                    writeln!(self.output, "read {position}{inclusive} limit={limit}")?;
                    self.read = Some(from);
                    return Ok(());
                }
                SkipStep::Wait(until) => {
                    let time = duration_text(until.since(now));
                    writeln!(self.output, "timer read in {time}")?;
                    return Ok(());
                }
                SkipStep::Write(write) => writeln!(self.output, "{}", write_text(&write))?,
                SkipStep::Done(end) => {
                    writeln!(self.output, "done: {}", end_text(end))?;
                    return Ok(());
                }
            }
        }
    }
}

/// `LANE:FIRST-LAST`, separated by commas.
fn retried(text: &str) -> Result<Vec<RetriedBatch>, ScriptError> {
    let batch = |text: &str| {
        let form = "a batch is LANE:FIRST-LAST";
        let (lane, ends) = text.split_once(':').ok_or(form)?;
        let (first, last) = ends.split_once('-').ok_or(form)?;
        let (last, inner) = inner(last)?;
        Ok(RetriedBatch::Records {
            lane: lane.parse()?,
            first: first.into(),
            last: last.into(),
            inner,
        })
    };
    text.split(',').map(batch).collect()
}

fn write_text(write: &SkipWrite) -> String {
    let SkipWrite {
        batch,
        checkpoint,
        n_skipped,
    } = write;
    let saved = checkpoint_text(checkpoint);
    let letter = match batch {
        None => "no letter".to_owned(),
        Some(SkippedBatch { records, window }) => {
            let window = window.as_ref().map_or_else(String::new, call_text);
            format!("letter [{}]{window}", names(records))
        }
    };
    format!("write {letter}, save {saved}: {n_skipped} skipped")
}

fn end_text(end: SkipEnd) -> String {
    match end {
        SkipEnd::Complete => "everything is skipped".to_owned(),
        SkipEnd::NoMoreRecords => "there are no more records".to_owned(),
        SkipEnd::Unreadable(record) => format!("unreadable: {}", record.reason),
        SkipEnd::OtherStream => "another stream".to_owned(),
        SkipEnd::Failed(fault) => fault_text(fault),
    }
}
