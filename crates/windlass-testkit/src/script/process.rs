//! Scripts about the processes of one function; `tests/scripts/README.md` is the legend.

use std::fmt::Write as _;

use goldenscript::{Command, Context, Runner};
use windlass_core::process::{
    End, InvocationId, ProcessCommand, ProcessId, ProcessInput, ProcessPool, ProcessPoolSettings,
};
use windlass_core::time::Timestamp;

use super::{Arguments, ScriptError, duration, duration_text};

/// Runs one script.
#[derive(Debug)]
pub struct ProcessRunner {
    pool: Option<ProcessPool>,
    now: Timestamp,
    /// The last invocation.
    n_invocations: u64,
    /// Output of the current block.
    output: String,
}

impl Default for ProcessRunner {
    fn default() -> Self {
        Self {
            pool: None,
            now: Timestamp::from_millis(1_000_000),
            n_invocations: 0,
            output: String::new(),
        }
    }
}

impl Runner for ProcessRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, ScriptError> {
        let mut arguments = Arguments::of(command);
        match command.name.as_str() {
            "pool" => self.start(&mut arguments)?,
            "advance" => {
                let until = self.now + duration(&arguments.word()?)?;
                self.advance(until)?;
            }
            name => {
                let input = self.input(name, &mut arguments)?;
                let now = self.now;
                self.pool()?.handle(input, now);
                self.show_commands()?;
            }
        }
        arguments.none_left()?;
        self.show_timer()?;
        Ok(std::mem::take(&mut self.output))
    }
}

impl ProcessRunner {
    fn start(&mut self, arguments: &mut Arguments) -> Result<(), ScriptError> {
        let settings = ProcessPoolSettings {
            minimum: arguments.number("minimum", 0)?,
            maximum: arguments.number("maximum", 1)?,
            init_timeout: arguments.duration("init_timeout", "10s")?,
            timeout: arguments.duration("timeout", "60s")?,
            idle_timeout: arguments.duration("idle_timeout", "300s")?,
            jitter_percent: arguments.jitter_percent(),
        };
        self.pool = Some(ProcessPool::new(settings, 1, self.now));
        self.n_invocations = 0;
        self.show_commands()
    }

    fn pool(&mut self) -> Result<&mut ProcessPool, ScriptError> {
        Ok(self.pool.as_mut().ok_or("the script starts with `pool`")?)
    }

    fn input(
        &mut self,
        name: &str,
        arguments: &mut Arguments,
    ) -> Result<ProcessInput, ScriptError> {
        let mut number = || -> Result<u64, ScriptError> { Ok(arguments.word()?.parse()?) };
        Ok(match name {
            "invoke" => {
                self.n_invocations += 1;
                ProcessInput::Invoke(InvocationId(self.n_invocations))
            }
            "expect" => ProcessInput::Expect,
            "cancel" => ProcessInput::Cancel(InvocationId(number()?)),
            "next" => ProcessInput::Next(ProcessId(number()?)),
            "not_taken" => ProcessInput::NotTaken(ProcessId(number()?)),
            "answered" => ProcessInput::Answered(ProcessId(number()?)),
            "init_failed" => ProcessInput::InitFailed(ProcessId(number()?)),
            "exited" => ProcessInput::Exited(ProcessId(number()?)),
            "drain" => ProcessInput::Drain,
            "kill" => ProcessInput::Kill,
            _ => return Err(format!("there is no input {name:?}").into()),
        })
    }

    fn advance(&mut self, until: Timestamp) -> Result<(), ScriptError> {
        let start = self.now;
        while let Some(at) = self.pool()?.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            writeln!(
                self.output,
                "after {}",
                duration_text(self.now.since(start))
            )?;
            let now = self.now;
            self.pool()?.handle_timeout(now);
            self.show_commands()?;
        }
        self.now = until;
        Ok(())
    }

    fn show_commands(&mut self) -> Result<(), ScriptError> {
        while let Some(command) = self.pool()?.poll_command() {
            match command {
                ProcessCommand::Start(process) => writeln!(self.output, "start {process}")?,
                ProcessCommand::Give {
                    process,
                    invocation,
                } => writeln!(self.output, "give {invocation} to process {process}")?,
                ProcessCommand::Terminate(process) => writeln!(self.output, "terminate {process}")?,
                ProcessCommand::Kill(process) => writeln!(self.output, "kill {process}")?,
                ProcessCommand::Complete { invocation, end } => {
                    let end = match end {
                        End::Answered => "answered",
                        End::TimedOut => "timed out",
                        End::Exited => "exited",
                        End::NotReached => "not reached",
                    };
                    writeln!(self.output, "complete {invocation}: {end}")?;
                }
            }
        }
        Ok(())
    }

    fn show_timer(&mut self) -> Result<(), ScriptError> {
        let now = self.now;
        if let Some(at) = self.pool()?.poll_timeout() {
            writeln!(self.output, "timer in {}", duration_text(at.since(now)))?;
        }
        Ok(())
    }
}
