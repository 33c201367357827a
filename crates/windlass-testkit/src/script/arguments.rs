//! The arguments of a script command: words, and keys with values.

use std::collections::BTreeMap;
use std::time::Duration;

use goldenscript::{Argument, Command};
use windlass_core::outcome::{Fault, ItemFailures, Outcome, Response, RetryAfter};

use super::{ScriptError, duration};

/// The arguments that are not consumed yet, in order.
pub(super) struct Arguments(Vec<(String, Option<String>)>);

impl Arguments {
    pub(super) fn of(command: &Command) -> Self {
        let arguments = command.consume_args().map(|argument| {
            if let Argument::KeyValue(key, value) = argument {
                return (key.clone(), Some(value.clone()));
            }
            if let Argument::Positional(word) = argument {
                return (word.clone(), None);
            }
            (argument.to_string(), None)
        });
        Self(arguments.collect())
    }

    pub(super) fn word(&mut self) -> Result<String, ScriptError> {
        let index = self.0.iter().position(|(_, value)| value.is_none());
        Ok(self.0.remove(index.ok_or("missing argument")?).0)
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0
            .retain(|(word, value)| value.is_some() || word != name);
        self.0.len() < before
    }

    pub(super) fn key(&mut self, key: &str) -> Option<String> {
        let mut left = self.0.iter();
        let index = left.position(|(name, value)| value.is_some() && name == key)?;
        self.0.remove(index).1
    }

    pub(super) fn number(&mut self, key: &str, default: usize) -> Result<usize, ScriptError> {
        let given = self.key(key).map(|text| text.parse());
        Ok(given.transpose()?.unwrap_or(default))
    }

    /// The next word, as a number.
    pub(super) fn number_word(&mut self) -> Result<usize, ScriptError> {
        Ok(self.word()?.parse()?)
    }

    pub(super) fn duration(&mut self, key: &str, default: &str) -> Result<Duration, ScriptError> {
        duration(self.key(key).as_deref().unwrap_or(default))
    }

    pub(super) fn optional_duration(&mut self, key: &str) -> Result<Option<Duration>, ScriptError> {
        self.key(key).as_deref().map(duration).transpose()
    }

    /// `jitter=on`; otherwise backoff has none.
    pub(super) fn jitter_percent(&mut self) -> u32 {
        if self.key("jitter").as_deref() == Some("on") {
            20
        } else {
            0
        }
    }

    pub(super) fn fault(&mut self) -> Result<Fault, ScriptError> {
        match self.word()?.as_str() {
            "throttled" => {
                let retry_after = self.key("retry_after");
                let retry_after = retry_after.as_deref().map(duration).transpose()?;
                Ok(Fault::Throttled { retry_after })
            }
            "transient" => Ok(Fault::Transient),
            "timed_out" => Ok(Fault::TimedOut),
            "denied" => Ok(Fault::Denied),
            "gone" => Ok(Fault::Gone),
            "trimmed" => Ok(Fault::Trimmed),
            "unknown_position" => Ok(Fault::UnknownPosition),
            word => Err(format!("unknown fault {word:?}").into()),
        }
    }

    /// All remaining arguments but `batch=N`, as the items that a function reports as failed: names,
    /// each with or without its `retryAfterSeconds`.
    pub(super) fn item_failures(&mut self) -> Outcome {
        let mut items = BTreeMap::new();
        self.0.retain(|(name, seconds)| {
            let is_batch = name == "batch" && seconds.is_some();
            if !is_batch {
                let seconds = seconds.as_deref();
                let number = seconds.map(|seconds| seconds.parse().unwrap_or(f64::NAN));
                let retry_after = number.map_or(RetryAfter::None, RetryAfter::from_number);
                items.insert(name.as_str().into(), retry_after);
            }
            is_batch
        });
        reported(ItemFailures::Items(items))
    }

    /// All remaining arguments: names, each with or without a size in bytes.
    pub(super) fn sized(&mut self, default: usize) -> Result<Vec<(String, usize)>, ScriptError> {
        let sized = self.0.drain(..).map(|(name, bytes)| {
            let bytes = bytes.map_or(Ok(default), |bytes| bytes.parse())?;
            Ok((name, bytes))
        });
        sized.collect()
    }

    pub(super) fn none_left(&self) -> Result<(), ScriptError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(format!("unknown arguments: {:?}", self.0).into())
    }
}

/// The outcome of a function that has returned these failures.
pub(super) fn reported(failures: ItemFailures) -> Outcome {
    let response = Response {
        status: 200,
        ..Response::default()
    };
    Outcome::ItemFailures {
        failures,
        response: Box::new(response),
    }
}
