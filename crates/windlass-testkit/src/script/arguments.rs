//! What stands behind a command's name in a script: words, and keys with values.

use std::time::Duration;

use goldenscript::{Argument, Command};
use windlass_core::outcome::Fault;

use super::{Mistake, duration};

/// What stands behind a command's name.
pub(super) struct Arguments {
    words: Vec<String>,
    pairs: Vec<(String, String)>,
}

impl Arguments {
    pub(super) fn of(command: &Command) -> Self {
        let (mut words, mut pairs) = (Vec::new(), Vec::new());
        for argument in command.consume_args() {
            if let Argument::KeyValue(key, value) = argument {
                pairs.push((key.clone(), value.clone()));
            } else {
                words.push(argument.to_string());
            }
        }
        Self { words, pairs }
    }

    pub(super) fn word(&mut self) -> Result<String, Mistake> {
        if self.words.is_empty() {
            return Err("an argument is missing".into());
        }
        Ok(self.words.remove(0))
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    pub(super) fn key(&mut self, key: &str) -> Option<String> {
        let index = self.pairs.iter().position(|(name, _)| name == key)?;
        Some(self.pairs.remove(index).1)
    }

    pub(super) fn number(&mut self, key: &str, default: usize) -> Result<usize, Mistake> {
        let given = self.key(key).map(|text| text.parse());
        Ok(given.transpose()?.unwrap_or(default))
    }

    pub(super) fn duration(&mut self, key: &str, default: &str) -> Result<Duration, Mistake> {
        duration(self.key(key).as_deref().unwrap_or(default))
    }

    pub(super) fn fault(&mut self) -> Result<Fault, Mistake> {
        match self.word()?.as_str() {
            "throttled" => {
                let retry_after = self.key("retry_after");
                let retry_after = retry_after.as_deref().map(duration).transpose()?;
                Ok(Fault::Throttled { retry_after })
            }
            "transient" => Ok(Fault::Transient),
            "denied" => Ok(Fault::Denied),
            "gone" => Ok(Fault::Gone),
            "trimmed" => Ok(Fault::Trimmed),
            word => Err(format!("there is no fault {word:?}").into()),
        }
    }

    /// All words and all pairs that are left: names with sizes in bytes, or without.
    pub(super) fn sized(&mut self, default: usize) -> Result<Vec<(String, usize)>, Mistake> {
        let words = self.words.drain(..).map(|word| Ok((word, default)));
        let pairs = self.pairs.drain(..);
        let pairs = pairs.map(|(name, bytes)| Ok((name, bytes.parse()?)));
        words.chain(pairs).collect()
    }

    pub(super) fn none_left(&self) -> Result<(), Mistake> {
        if self.words.is_empty() && self.pairs.is_empty() {
            return Ok(());
        }
        Err(format!("not understood: {:?} {:?}", self.words, self.pairs).into())
    }
}
