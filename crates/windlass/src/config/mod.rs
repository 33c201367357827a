//! The configuration: one YAML file, read once into the settings of the crates that use them.
//!
//! Every error is reported, each with its line, before anything is opened or written.

use std::path::Path;
use std::time::Duration;

use windlass_adapters::AdapterSettings;
use windlass_adapters::stores;
use windlass_admin::{ConfigMapping, MetricsSettings};
use windlass_core::mapping::RetryBackoff;
use windlass_core::message::MAX_VISIBILITY_TIMEOUT;
use windlass_core::time::display_duration;
use windlass_engine::settings::EngineSettings;

mod auth;
mod aws;
mod dead_letters;
mod error;
mod functions;
mod listen;
mod mappings;
mod processes;
mod reader;
mod roles;
mod yaml;

pub(crate) use aws::{ca_bundle, default_region};
pub(crate) use error::ConfigError;
pub(crate) use listen::Listen;
pub(crate) use mappings::{ListedMapping, listed_mappings};
pub(crate) use yaml::budget as yaml_budget;

use error::Errors;
use reader::Section;

const DEFAULT_STORE: &str = "sqlite:./windlass-data";

const UNKNOWN_STORE: &str =
    "unknown kind of store; write sqlite:DIRECTORY, for example sqlite:./windlass-data";

/// More threads than any machine has processors for.
const MAX_THREADS: u64 = 1024;

const MAX_DRAIN_TIMEOUT: Duration = Duration::from_secs(3600);

const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

/// Receives wait 0 to 20 seconds.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const MAX_WAIT_TIME: Duration = Duration::from_secs(20);

/// The daemon's configuration, complete and valid.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    /// URL of the store of mappings and checkpoints.
    pub(crate) store: String,
    pub(crate) adapters: AdapterSettings,
    pub(crate) engine: EngineSettings,
    pub(crate) metrics: MetricsSettings,
    /// Threads that read and invoke; `None`: half as many as there are processors.
    pub(crate) threads: Option<usize>,
    pub(crate) mappings: Vec<ConfigMapping>,
}

/// What a configuration takes from its environment.
#[derive(Clone, Copy)]
pub(crate) struct Environment<'a> {
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The region of the AWS profile; called only where no other is given.
    pub(crate) region_of_profile: &'a dyn Fn() -> Option<String>,
    /// Paths of the file are relative to it; `None`: to the working directory.
    pub(crate) directory: Option<&'a Path>,
}

impl Config {
    /// The defaults, for a daemon without a file.
    ///
    /// # Errors
    /// A variable of the standard AWS environment is invalid.
    pub(crate) fn without_file(env: Environment<'_>) -> Result<Self, Vec<ConfigError>> {
        Self::parse("", env)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or everything that is wrong with it.
    pub(crate) fn load(path: &Path, env: Environment<'_>) -> Result<Self, Vec<ConfigError>> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot read the file: {error}");
            vec![ConfigError::without_line(message)]
        })?;
        let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
        let env = Environment {
            directory: directory.or(env.directory),
            ..env
        };
        Self::parse(&text, env)
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(text: &str, env: Environment<'_>) -> Result<Self, Vec<ConfigError>> {
        let errors = Errors::default();
        let config = yaml::parse(text, env.variable, &errors)
            .map(|root| read(Section::root(&root, &errors), env, &errors));
        let errors = errors.into_sorted();
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(errors),
        }
    }

    /// Overrides the address of the file.
    ///
    /// # Errors
    /// It is not an address, or is reachable from other machines and the file has no `auth`.
    pub(crate) fn override_listen(&mut self, address: &str) -> Result<(), ConfigError> {
        self.listen.address = self
            .listen
            .validate(address, &format!("{address:?}"))
            .map_err(|message| ConfigError::without_line(format!("--listen: {message}")))?;
        Ok(())
    }

    /// Overrides the store of the file.
    ///
    /// # Errors
    /// It is not a known kind of store.
    pub(crate) fn override_store(&mut self, url: &str) -> Result<(), ConfigError> {
        if !stores::is_known(url) {
            let message = format!("--store: {UNKNOWN_STORE}");
            return Err(ConfigError::without_line(message));
        }
        url.clone_into(&mut self.store);
        Ok(())
    }
}

fn read(mut file: Section<'_>, env: Environment<'_>, errors: &Errors) -> Config {
    let adapters = AdapterSettings {
        aws: aws::read(&mut file, env, errors),
        account_id: aws::account_id(&mut file),
        functions: functions::read(&mut file, env),
    };
    Config {
        listen: Listen::read(&mut file, env),
        store: store(&mut file),
        engine: engine(&mut file),
        metrics: MetricsSettings {
            per_shard: file.section("metrics").bool("per_shard").unwrap_or(false),
        },
        threads: threads(&mut file),
        mappings: mappings::read(&mut file, &adapters.home()),
        adapters,
    }
}

fn engine(file: &mut Section<'_>) -> EngineSettings {
    let mut settings = EngineSettings::default();
    if let Some(timeout) = file.duration("drain_timeout", (Duration::ZERO, MAX_DRAIN_TIMEOUT)) {
        settings.drain_timeout = timeout;
    }
    let mut kinesis = file.section("kinesis");
    if let Some(interval) = kinesis.duration("poll_interval", POLL_INTERVALS) {
        settings.kinesis_poll_interval = interval;
    }
    let mut dynamodb_streams = file.section("dynamodb_streams");
    if let Some(interval) = dynamodb_streams.duration("poll_interval", POLL_INTERVALS) {
        settings.dynamodb_streams_poll_interval = interval;
    }
    let mut sqs = file.section("sqs");
    if let Some(wait_time) = sqs.duration("wait_time", (Duration::ZERO, MAX_WAIT_TIME)) {
        settings.sqs_wait_time = wait_time;
    }
    if let Some(heartbeat) = sqs.bool("visibility_heartbeat") {
        settings.sqs_visibility_heartbeat = heartbeat;
    }
    settings.sqs_retry_backoff = retry_backoff(&mut sqs);
    settings.dead_letters = dead_letters::read(file);
    settings
}

/// `None` without the key. Missing keys of its section have their defaults.
fn retry_backoff(sqs: &mut Section<'_>) -> Option<RetryBackoff> {
    let field = sqs.take("retry_backoff")?;
    let mut section = field.section();
    let mut backoff = RetryBackoff::default();
    let bounds = (Duration::ZERO, MAX_VISIBILITY_TIMEOUT);
    if let Some(first) = section.duration("first", bounds) {
        backoff.first = first;
    }
    if let Some(factor) = section.take("factor") {
        match factor.number().filter(|it| 1.0 <= *it) {
            Some(number) => backoff.factor = number,
            None => factor.expected("a number of at least 1"),
        }
    }
    if let Some(maximum) = section.duration("maximum", bounds) {
        backoff.maximum = maximum;
    }
    if backoff.maximum < backoff.first {
        let [first, maximum] = [backoff.first, backoff.maximum].map(display_duration);
        section.error(format!(
            "maximum ({maximum}) must not be below first ({first}); raise maximum, or lower first"
        ));
    }
    Some(backoff)
}

fn threads(file: &mut Section<'_>) -> Option<usize> {
    let field = file.take("threads")?;
    if field.node.text() == Some("auto") {
        return None;
    }
    let number = field.whole_number(1, MAX_THREADS);
    if number.is_none() {
        field.expected(&format!("auto or a whole number from 1 to {MAX_THREADS}"));
    }
    number.and_then(|number| usize::try_from(number).ok())
}

fn store(file: &mut Section<'_>) -> String {
    if let Some(field) = file.take("store") {
        match field.node.text() {
            Some(url) if stores::is_known(url) => return url.to_owned(),
            // What follows the kind is not shown: it may contain a password.
            Some(url) => match url.split_once(':') {
                Some((kind, _)) if !field.node.is_from_variable => {
                    field.error(format!("{kind:?} is an {UNKNOWN_STORE}"));
                }
                _ => field.error(UNKNOWN_STORE),
            },
            None => field.expected("text"),
        }
    }
    DEFAULT_STORE.to_owned()
}

#[cfg(test)]
mod tests;
