//! The configuration: one YAML file, read once into the settings of the crates that use them.
//!
//! Every error is reported, each with its line, before anything is opened or written.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::time::Duration;

use windlass_adapters::AdapterSettings;
use windlass_adapters::stores;
use windlass_admin::{ConfigMapping, ConfigMappingError, MappingProblem, MetricsSettings};
use windlass_core::arn::ArnScope;
use windlass_core::mapping::RetryBackoff;
use windlass_core::message::MAX_VISIBILITY_TIMEOUT;
use windlass_core::time::{Timestamp, display_duration};
use windlass_engine::clock::Clock;
use windlass_engine::settings::EngineSettings;

mod auth;
mod aws;
mod dead_letters;
mod error;
mod functions;
mod listen;
mod processes;
mod reader;
mod roles;
mod yaml;

pub(crate) use aws::{ca_bundle, default_region};
pub(crate) use error::ConfigError;
pub(crate) use listen::Listen;

use error::Errors;
use reader::{Field, Section};
use yaml::{Found, Node, VALUE_OF_A_VARIABLE, Value};

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
        mappings: mappings(&mut file, &adapters.home()),
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

fn mappings(file: &mut Section<'_>, home: &ArnScope) -> Vec<ConfigMapping> {
    let Some(field) = file.take("mappings") else {
        return Vec::new();
    };
    let Value::List(items) = &field.node.value else {
        field.expected_collection("a list");
        return Vec::new();
    };
    let now = Clock::start().wall();
    let (mut mappings, mut lines) = (Vec::new(), HashMap::new());
    for (index, item) in items.iter().enumerate() {
        let item = field.child(item, &format!("[{index}]"));
        let Some(mapping) = mapping(&item, home, now) else {
            continue;
        };
        let line = item.node.line;
        match lines.entry(mapping.pair()) {
            Entry::Vacant(entry) => drop(entry.insert(line)),
            Entry::Occupied(first) => item.error(format!(
                "the mapping on line {} has the same source and function",
                first.get()
            )),
        }
        mappings.push(mapping);
    }
    mappings
}

/// A mapping whose members are reported with their own lines.
fn mapping(item: &Field<'_>, home: &ArnScope, now: Timestamp) -> Option<ConfigMapping> {
    let Value::Map(members) = &item.node.value else {
        item.expected_collection("the members of CreateEventSourceMapping");
        return None;
    };
    let location = format!("{} (line {})", item.path, item.node.line);
    match ConfigMapping::parse(&location, &yaml::entries_to_json(members), home, now) {
        Ok(mapping) => Some(mapping),
        Err(violations) => {
            for error in violations {
                let found = item.node.find(&error.member);
                // A variable that is not set was reported already.
                if found.node.value != Value::Unset {
                    item.error_at(found.line, mapping_error(item.node, &error, &found));
                }
            }
            None
        }
    }
}

/// The member with its value, and what is wrong with it.
fn mapping_error(mapping: &Node, error: &ConfigMappingError, found: &Found<'_>) -> String {
    let member = &error.member;
    let shown = found.node.shown().filter(|_| found.is_member);
    let text = match (&error.problem, &shown) {
        (MappingProblem::Expected(what), Some(value)) => {
            return format!("{member} {value} is not {what}");
        }
        (MappingProblem::Expected(what), None) => {
            let found = if found.is_member {
                found.node.describe()
            } else {
                "nothing"
            };
            format!("expected {what}, found {found}")
        }
        (MappingProblem::Violation { message, detail }, _) => match detail {
            // It quotes the value.
            Some(detail) if !found.node.is_from_variable => format!("{message} {detail}"),
            _ => message.clone(),
        },
    };
    // AWS's texts may contain the source.
    let source = mapping.find("EventSourceArn").node;
    let text = match source.text().filter(|_| source.is_from_variable) {
        Some(arn) => text.replace(arn, VALUE_OF_A_VARIABLE),
        None => text,
    };
    match shown {
        Some(value) => format!("{member} {value}: {text}"),
        None => format!("{member}: {text}"),
    }
}

#[cfg(test)]
mod tests;
