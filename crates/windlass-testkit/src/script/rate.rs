//! Scripts about the rate of a replay: which unit sends its batch when.
//!
//! ```text
//! rate N|none     starts with a rate in records a second, or changes it
//! request NAME    a unit has a batch
//! sent NAME N     it has sent its batch of N records
//! cancel NAME     it does not need its turn any more
//! advance DURATION
//! ```
//!
//! After each block the output shows who got the turn, and when the next one is.

use std::fmt::Write as _;
use std::time::Duration;

use goldenscript::{Command, Context, Runner};
use windlass_core::rate::{Rate, RateTurns, TurnId};
use windlass_core::time::Timestamp;

use super::{Arguments, ScriptError, duration, duration_text};

/// Runs one script.
#[derive(Debug, Default)]
pub struct RateRunner {
    turns: Option<RateTurns>,
    requests: Vec<(String, TurnId)>,
    now: Timestamp,
}

impl Runner for RateRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, ScriptError> {
        let mut arguments = Arguments::of(command);
        let mut output = String::new();
        match command.name.as_str() {
            "rate" => {
                let rate = rate(&arguments.word()?)?;
                match &mut self.turns {
                    Some(turns) => turns.set_rate(rate),
                    None => self.turns = Some(RateTurns::new(rate)),
                }
            }
            "request" => {
                let name = arguments.word()?;
                let id = self.turns()?.request();
                self.requests.push((name, id));
            }
            "sent" => {
                let (id, now) = (self.end(&arguments.word()?)?, self.now);
                let n_records = arguments.number_word()?;
                self.turns()?.sent(id, n_records, now);
            }
            "cancel" => {
                let id = self.end(&arguments.word()?)?;
                self.turns()?.cancel(id);
            }
            "advance" => self.advance(duration(&arguments.word()?)?, &mut output)?,
            name => return Err(format!("there is no command {name:?}").into()),
        }
        arguments.none_left()?;
        self.show(&mut output)?;
        if let Some(at) = self.turns()?.poll_timeout() {
            let time = duration_text(at.since(self.now));
            writeln!(output, "next turn in {time}")?;
        }
        Ok(output)
    }
}

impl RateRunner {
    fn turns(&mut self) -> Result<&mut RateTurns, ScriptError> {
        let missing = "a script starts with `rate`";
        self.turns.as_mut().ok_or_else(|| missing.into())
    }

    fn end(&mut self, name: &str) -> Result<TurnId, ScriptError> {
        let index = self.requests.iter().position(|it| it.0 == name);
        let index = index.ok_or_else(|| format!("{name} has no request"))?;
        Ok(self.requests.remove(index).1)
    }

    fn advance(&mut self, time: Duration, output: &mut String) -> Result<(), ScriptError> {
        let (begin, end) = (self.now, self.now + time);
        while let Some(at) = self.turns()?.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            writeln!(output, "after {}", duration_text(self.now.since(begin)))?;
            self.show(output)?;
        }
        self.now = end;
        Ok(())
    }

    fn show(&mut self, output: &mut String) -> Result<(), ScriptError> {
        let now = self.now;
        if let Some(id) = self.turns()?.poll_turn(now) {
            let name = self.requests.iter().find(|it| it.1 == id);
            let name = name.map(|it| it.0.as_str()).ok_or("no such request")?;
            writeln!(output, "the turn of {name}")?;
        }
        Ok(())
    }
}

/// Records a second, or `none`.
pub(super) fn rate(text: &str) -> Result<Option<Rate>, ScriptError> {
    Ok(match text {
        "none" => None,
        number => Some(Rate(number.parse()?)),
    })
}
