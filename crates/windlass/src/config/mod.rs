//! The configuration: one YAML file, read once into an immutable [`Config`].
//!
//! Every mistake is reported, each with its line, before anything is done.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use windlass_adapters::stores;
use windlass_adapters::targets::{FunctionSettings, validate_url};
use windlass_adapters::tls_roots::CaBundle;
use windlass_admin::{ConfigMapping, ConfigMappingError};
use windlass_core::arn::ArnScope;
use windlass_engine::clock::Clock;

mod functions;
mod section;
mod tree;

pub(crate) use tree::Problem;

use section::{Section, expected, problem, whole_number};
use tree::{Node, Value};

/// Said of a store of another kind.
const UNKNOWN_STORE: &str =
    "not a kind of store; write sqlite:DIRECTORY, for example sqlite:./windlass-data";

/// More threads than any machine has processors for.
const MOST_THREADS: usize = 1024;

/// The services whose endpoint can be given.
const SERVICES: [&str; 8] = [
    "kinesis",
    "dynamodb",
    "dynamodb_streams",
    "sqs",
    "sns",
    "s3",
    "lambda",
    "sts",
];

/// The daemon's configuration, complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// Where the API, status, metrics and health are served.
    pub(crate) listen: SocketAddr,
    /// Where mappings and checkpoints are kept.
    pub(crate) store: String,
    /// For names given without an ARN.
    pub(crate) region: String,
    /// Twelve digits, for names given without an ARN.
    pub(crate) account_id: String,
    /// Endpoints by service; the others come from the environment.
    pub(crate) endpoints: BTreeMap<String, String>,
    pub(crate) kinesis_poll_interval: Duration,
    pub(crate) dynamodb_streams_poll_interval: Duration,
    pub(crate) sqs_wait_time: Duration,
    pub(crate) sqs_visibility_heartbeat: bool,
    /// Threads that read and invoke; `None`: half as many as there are processors.
    pub(crate) threads: Option<usize>,
    /// How long a stop may take before what runs is abandoned.
    pub(crate) drain_timeout: Duration,
    pub(crate) functions: BTreeMap<String, FunctionSettings>,
    pub(crate) mappings: Vec<ConfigMapping>,
    /// Whether calls are signed with credentials that mean nothing. No key of the file: the demo
    /// needs none, since its sources check no signature.
    pub(crate) placeholder_credentials: bool,
    /// Whether `auth: none` was written.
    pub(crate) auth_none: bool,
    /// The certificates of `AWS_CA_BUNDLE`.
    pub(crate) ca_bundle: Option<CaBundle>,
}

/// What a configuration takes from its surroundings.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The variables of the environment.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The region of the AWS profile; asked for only if it is needed.
    pub(crate) region_of_profile: &'a dyn Fn() -> Option<String>,
}

impl Config {
    /// The defaults, for a daemon without a file.
    ///
    /// # Errors
    /// A variable of the standard environment is wrong.
    pub(crate) fn without_file(around: Surroundings<'_>) -> Result<Self, Vec<Problem>> {
        Self::parse("", around)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is wrong: everything that is wrong with it.
    pub(crate) fn load(path: &Path, around: Surroundings<'_>) -> Result<Self, Vec<Problem>> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![Problem {
                line: 0,
                message: format!("the file cannot be read: {error}"),
            }]
        })?;
        Self::parse(&text, around)
    }

    /// Partition, region and account of what is named without an ARN.
    pub(crate) fn place(&self) -> ArnScope {
        place(&self.region, &self.account_id)
    }

    /// Listens somewhere else than the file says.
    ///
    /// # Errors
    /// It is no address, or one that others can reach although nothing says that they may.
    pub(crate) fn listen_at(&mut self, address: &str) -> Result<(), Problem> {
        self.listen = address_for(address, self.auth_none).map_err(|message| Problem {
            line: 0,
            message: format!("--listen: {message}"),
        })?;
        Ok(())
    }

    /// Keeps mappings and checkpoints somewhere else than the file says.
    ///
    /// # Errors
    /// It is no kind of store.
    pub(crate) fn store_at(&mut self, url: &str) -> Result<(), Problem> {
        if !stores::is_known(url) {
            return Err(Problem {
                line: 0,
                message: format!("--store: {UNKNOWN_STORE}"),
            });
        }
        url.clone_into(&mut self.store);
        Ok(())
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(text: &str, around: Surroundings<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let Some(root) = tree::parse(text, around.variable, &mut problems) else {
            return Err(problems);
        };
        let config = read(&root, around, &mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            problems.sort_by_key(|problem| problem.line);
            Err(problems)
        }
    }
}

fn read(root: &Node, around: Surroundings<'_>, problems: &mut Vec<Problem>) -> Config {
    let mut top = Section::of(root, "", problems);
    let seconds = Duration::from_secs;
    let millis = Duration::from_millis;
    let region = region(&mut top, around, problems);
    let account_id = account_id(&mut top, problems);
    let (listen, auth_none) = listen(&mut top, problems);
    let mut kinesis = subsection(&mut top, "kinesis", problems);
    let mut dynamodb_streams = subsection(&mut top, "dynamodb_streams", problems);
    let mut sqs = subsection(&mut top, "sqs", problems);
    let bounds = (millis(10), seconds(60));
    let config = Config {
        listen,
        store: store(&mut top, problems),
        endpoints: endpoints(&mut top, problems),
        kinesis_poll_interval: take_duration(&mut kinesis, "poll_interval", bounds, problems)
            .unwrap_or(seconds(1)),
        dynamodb_streams_poll_interval: take_duration(
            &mut dynamodb_streams,
            "poll_interval",
            bounds,
            problems,
        )
        .unwrap_or(millis(250)),
        sqs_wait_time: take_duration(&mut sqs, "wait_time", (seconds(0), seconds(20)), problems)
            .unwrap_or(seconds(20)),
        sqs_visibility_heartbeat: sqs
            .as_mut()
            .and_then(|sqs| sqs.bool("visibility_heartbeat", problems))
            .unwrap_or(true),
        threads: threads(&mut top, problems),
        drain_timeout: top
            .duration("drain_timeout", (seconds(0), seconds(3600)), problems)
            .unwrap_or(seconds(25)),
        functions: functions::read(&mut top, problems),
        mappings: mappings(&mut top, &place(&region, &account_id), problems),
        region,
        account_id,
        placeholder_credentials: false,
        auth_none,
        ca_bundle: ca_bundle(around, problems),
    };
    for section in [kinesis, dynamodb_streams, sqs].into_iter().flatten() {
        section.finish(problems);
    }
    top.finish(problems);
    config
}

fn threads(top: &mut Section<'_>, problems: &mut Vec<Problem>) -> Option<usize> {
    let node = top.take("threads")?;
    if node.text() == Some("auto") {
        return None;
    }
    let number = whole_number(node).and_then(|number| usize::try_from(number).ok());
    let number = number.filter(|number| (1..=MOST_THREADS).contains(number));
    if number.is_none() {
        let what = format!("auto or a whole number from 1 to {MOST_THREADS}");
        problems.push(expected(node, "threads", &what));
    }
    number
}

fn store(top: &mut Section<'_>, problems: &mut Vec<Problem>) -> String {
    let default = "sqlite:./windlass-data".to_owned();
    let Some(node) = top.take("store") else {
        return default;
    };
    let Value::Text(url) = &node.value else {
        problems.push(expected(node, "store", "text"));
        return default;
    };
    if stores::is_known(url) {
        return url.clone();
    }
    // The value is not repeated: it may hold a password.
    problems.push(problem(node, "store", UNKNOWN_STORE));
    default
}

fn subsection<'a>(
    top: &mut Section<'a>,
    name: &'static str,
    problems: &mut Vec<Problem>,
) -> Option<Section<'a>> {
    top.take(name).map(|node| Section::of(node, name, problems))
}

fn take_duration(
    section: &mut Option<Section<'_>>,
    name: &'static str,
    bounds: (Duration, Duration),
    problems: &mut Vec<Problem>,
) -> Option<Duration> {
    section.as_mut()?.duration(name, bounds, problems)
}

/// Where AWS's own programs find the region, but for machines of EC2: a program that does not run
/// there would wait for an answer that never comes.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html>
fn region(top: &mut Section<'_>, around: Surroundings<'_>, problems: &mut Vec<Problem>) -> String {
    let named = |name| (around.variable)(name).filter(|region| !region.is_empty());
    written_region(top, problems)
        .or_else(|| named("AWS_REGION"))
        .or_else(|| named("AWS_DEFAULT_REGION"))
        .or_else(around.region_of_profile)
        .unwrap_or_else(|| "us-east-1".to_owned())
}

/// The certificates that the environment names, if it names any.
fn ca_bundle(around: Surroundings<'_>, problems: &mut Vec<Problem>) -> Option<CaBundle> {
    const VARIABLE: &str = "AWS_CA_BUNDLE";
    let path = (around.variable)(VARIABLE).filter(|path| !path.is_empty())?;
    match CaBundle::read(Path::new(&path)) {
        Ok(bundle) => Some(bundle),
        Err(message) => {
            let remedy = "set it to a file of PEM certificates, or unset the variable";
            problems.push(Problem {
                line: 0,
                message: format!("{VARIABLE}: {message}; {remedy}"),
            });
            None
        }
    }
}

/// The region of the file: it becomes a part of names of servers and of ARNs.
fn written_region(top: &mut Section<'_>, problems: &mut Vec<Problem>) -> Option<String> {
    let node = top.take("region")?;
    let plain = |region: &&str| {
        let mut bytes = region.bytes();
        !region.is_empty() && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    let region = node.text().filter(plain);
    if region.is_none() {
        problems.push(expected(node, "region", "a region such as us-east-1"));
    }
    region.map(str::to_owned)
}

fn account_id(top: &mut Section<'_>, problems: &mut Vec<Problem>) -> String {
    let unset = "000000000000".to_owned();
    let Some(node) = top.take("account_id") else {
        return unset;
    };
    let twelve_digits =
        |text: &&str| text.len() == 12 && text.bytes().all(|it| it.is_ascii_digit());
    let Some(text) = node.text().filter(twelve_digits) else {
        problems.push(expected(node, "account_id", "twelve digits, in quotes"));
        return unset;
    };
    text.to_owned()
}

/// The address, and whether everybody may call.
fn listen(top: &mut Section<'_>, problems: &mut Vec<Problem>) -> (SocketAddr, bool) {
    let default = SocketAddr::from(([127, 0, 0, 1], 9870));
    let auth_none = match top.take("auth") {
        None => false,
        Some(node) if node.value == Value::Text("none".to_owned()) => true,
        Some(node) => {
            let only = "only 'none' is understood yet: access keys and tokens are not supported";
            problems.push(problem(node, "auth", only));
            true
        }
    };
    let Some(node) = top.take("listen") else {
        return (default, auth_none);
    };
    let Value::Text(text) = &node.value else {
        problems.push(expected(
            node,
            "listen",
            "an address such as 127.0.0.1:9870",
        ));
        return (default, auth_none);
    };
    match address_for(text, auth_none) {
        Ok(address) => (address, auth_none),
        Err(message) => {
            problems.push(problem(node, "listen", message));
            (default, auth_none)
        }
    }
}

/// An address to listen on: a loopback one, unless everybody may call.
fn address_for(text: &str, auth_none: bool) -> Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.replace("localhost:", "127.0.0.1:").parse().ok();
    let Some(address) = address else {
        return Err(format!(
            "'{text}' is not an address and a port, such as 127.0.0.1:9870"
        ));
    };
    if !address.ip().is_loopback() && !auth_none {
        return Err(format!(
            "{address} can be reached from other machines, and callers are not checked; listen on \
             127.0.0.1, or write 'auth: none' to let everybody in"
        ));
    }
    Ok(address)
}

fn endpoints(top: &mut Section<'_>, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut result = BTreeMap::new();
    let Some(mut aws) = subsection(top, "aws", problems) else {
        return result;
    };
    if let Some(node) = aws.take("endpoints") {
        let mut endpoints = Section::of(node, "aws.endpoints", problems);
        for service in SERVICES {
            let Some(node) = endpoints.take(service) else {
                continue;
            };
            let path = endpoints.path_of(service);
            let Some(url) = node.text().filter(|url| validate_url(url).is_ok()) else {
                problems.push(expected(node, &path, "a URL such as http://127.0.0.1:4566"));
                continue;
            };
            result.insert(service.to_owned(), url.trim_end_matches('/').to_owned());
        }
        endpoints.finish(problems);
    }
    aws.finish(problems);
    result
}

/// Partition, region and account of what is named without an ARN.
fn place(region: &str, account_id: &str) -> ArnScope {
    ArnScope {
        partition: "aws".to_owned(),
        region: region.to_owned(),
        account_id: account_id.to_owned(),
    }
}

/// The mappings of the file, with everything that is wrong with any of them.
fn mappings(
    top: &mut Section<'_>,
    home: &ArnScope,
    problems: &mut Vec<Problem>,
) -> Vec<ConfigMapping> {
    let Some(node) = top.take("mappings") else {
        return Vec::new();
    };
    let Value::List(items) = &node.value else {
        problems.push(expected(node, "mappings", "a list"));
        return Vec::new();
    };
    let now = Clock::start().now();
    let mut mappings: Vec<(u32, ConfigMapping)> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("mappings[{index}]");
        let Value::Map(members) = &item.value else {
            let members = "the members of CreateEventSourceMapping";
            problems.push(expected(item, &path, members));
            continue;
        };
        let place = format!("{path} (line {})", item.line);
        match ConfigMapping::parse(&place, &tree::entries_to_json(members), home, now) {
            Err(mistakes) => {
                problems.extend(mistakes.iter().filter_map(|it| in_file(item, &path, it)))
            }
            Ok(declared) => {
                let twin = mappings
                    .iter()
                    .find(|(_, it)| it.is_duplicate_of(&declared));
                if let Some((line, _)) = twin {
                    let text =
                        format!("the mapping at line {line} has the same source and function");
                    problems.push(problem(item, &path, text));
                }
                mappings.push((item.line, declared));
            }
        }
    }
    mappings.into_iter().map(|(_, declared)| declared).collect()
}

/// A mistake in a mapping, with the line of its member. What is said of a member whose variable has
/// no value is no mistake of its own.
fn in_file(mapping: &Node, path: &str, mistake: &ConfigMappingError) -> Option<Problem> {
    let (line, value) = mapping.find(&mistake.member);
    let message = format!("{path}: {}", mistake.message);
    (*value != Value::Unset).then_some(Problem { line, message })
}

#[cfg(test)]
mod tests;
