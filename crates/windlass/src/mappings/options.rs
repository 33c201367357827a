//! The options of `mappings create` and `mappings update`: one line for each parameter, spelled as
//! the AWS CLI does.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use serde_json::{Map, Value};
use windlass_core::parameters::{self, Type};

use crate::UsageError;

/// Name, value and help. The name is the parameter's, `BatchSize`, or `no-` and that of a flag.
#[rustfmt::skip] // one option, one line
const OPTIONS: [(&str, &str, &str); 22] = [
    ("function-name", "NAME", "The function: a name or an ARN"),
    ("event-source-arn", "ARN", "The stream or queue"),
    ("enabled", "", "Run the mapping"),
    ("no-enabled", "", "Do not run the mapping"),
    ("batch-size", "COUNT", "Maximum number of records in a batch"),
    ("maximum-batching-window-in-seconds", "SECONDS", "How long to gather a batch"),
    ("starting-position", "POSITION", "TRIM_HORIZON, LATEST or AT_TIMESTAMP"),
    ("starting-position-timestamp", "TIME", "For AT_TIMESTAMP: 2026-11-23T12:00:00Z, or seconds since the epoch"),
    ("parallelization-factor", "COUNT", "Concurrent batches of one shard"),
    ("maximum-retry-attempts", "COUNT", "Retries after the first attempt; -1: no limit"),
    ("maximum-record-age-in-seconds", "SECONDS", "Age at which a record is dropped; -1: never"),
    ("bisect-batch-on-function-error", "", "Split a failed batch"),
    ("no-bisect-batch-on-function-error", "", "Do not split a failed batch"),
    ("tumbling-window-in-seconds", "SECONDS", "Length of a tumbling window; 0: none"),
    ("function-response-types", "TYPE", "ReportBatchItemFailures"),
    ("destination-config", "JSON", r#"As JSON: {"OnFailure":{"Destination":"ARN"}}"#),
    ("filter-criteria", "JSON", r#"As JSON: {"Filters":[{"Pattern":"…"}]}"#),
    ("scaling-config", "JSON", r#"As JSON: {"MaximumConcurrency":10}"#),
    ("provisioned-poller-config", "JSON", r#"As JSON: {"MinimumPollers":2,"MaximumPollers":200}"#),
    ("metrics-config", "JSON", r#"As JSON: {"Metrics":["EventCount"]}"#),
    ("tags", "TAGS", r#"KEY=VALUE,KEY=VALUE, or as JSON: {"KEY":"VALUE"}"#),
    ("windlass", "JSON", r#"As JSON: {"RetryBackoff":{"First":"5s"},"StrictOrder":true}"#),
];

/// The members of a mapping that the options and a file give.
#[derive(Debug)]
pub(crate) struct MappingArgs {
    file: Option<PathBuf>,
    members: Map<String, Value>,
    /// Values that are JSON, not parsed.
    json: Vec<(String, String)>,
}

impl MappingArgs {
    /// All members; an option takes precedence over the file.
    ///
    /// # Errors
    /// The file or a value is not what it should be.
    pub(super) fn members(&self) -> Result<Value, UsageError> {
        let mut members = match &self.file {
            None => Map::new(),
            Some(file) => {
                let Value::Object(members) = super::read_file(file)? else {
                    let message = "expected the members of one mapping";
                    return Err(UsageError(format!("{}: {message}", file.display())));
                };
                members
            }
        };
        members.extend(self.members.clone());
        for (name, json) in &self.json {
            let value = serde_json::from_str(json);
            let value: Value =
                value.map_err(|error| UsageError(format!("{name} is not JSON: {error}")))?;
            members.insert(name.clone(), value);
        }
        Ok(Value::Object(members))
    }
}

impl Args for MappingArgs {
    fn augment_args(mut command: Command) -> Command {
        let file = Arg::new("file").short('f').long("file").value_name("FILE");
        command = command.arg(file.value_parser(value_parser!(PathBuf)).help(
            "A file with AWS's members, YAML or JSON, `-` for standard input; options override it",
        ));
        for (name, value_name, help) in OPTIONS {
            let option = Arg::new(name).long(name).help(help);
            command = command.arg(match value_type(&parameter(name)) {
                Some(Type::Boolean) => {
                    let flag = option.action(ArgAction::SetTrue);
                    match name.strip_prefix("no-") {
                        Some(opposite) => flag.overrides_with(opposite),
                        None => flag,
                    }
                }
                Some(Type::Integer { min, .. }) => option
                    .value_name(value_name)
                    .value_parser(value_parser!(i64))
                    .allow_negative_numbers(min < 0),
                Some(Type::Number) => option.value_name(value_name).value_parser(seconds),
                Some(Type::List { .. }) => option
                    .value_name(value_name)
                    .num_args(0..)
                    .action(ArgAction::Append),
                Some(
                    Type::Text { .. }
                    | Type::FunctionName
                    | Type::SourceArn
                    | Type::DestinationArn
                    | Type::Duration { .. }
                    | Type::Enum(_)
                    | Type::Decimal { .. }
                    | Type::TagMap
                    | Type::Structure { .. }
                    | Type::Nullable(_),
                )
                | None => option.value_name(value_name),
            });
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for MappingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self {
            file: matches.get_one("file").cloned(),
            members: Map::new(),
            json: Vec::new(),
        };
        for (name, ..) in OPTIONS {
            let parameter = parameter(name);
            let text = || matches.get_one::<String>(name).cloned();
            let value = match value_type(&parameter) {
                Some(Type::Boolean) => {
                    let is_given = matches.get_flag(name);
                    is_given.then_some(Value::Bool(!name.starts_with("no-")))
                }
                Some(Type::Integer { .. }) => {
                    matches.get_one::<i64>(name).copied().map(Value::from)
                }
                Some(Type::Number) => matches.get_one::<f64>(name).copied().map(Value::from),
                Some(Type::List { .. }) => matches.contains_id(name).then(|| {
                    let values = matches.get_many::<String>(name).unwrap_or_default();
                    values.cloned().map(Value::from).collect()
                }),
                Some(
                    Type::Text { .. }
                    | Type::FunctionName
                    | Type::SourceArn
                    | Type::DestinationArn
                    | Type::Duration { .. }
                    | Type::Enum(_),
                ) => text().map(Value::from),
                Some(Type::TagMap) => match text() {
                    Some(text) if text.trim_start().starts_with('{') => {
                        args.json.push((parameter.clone(), text));
                        None
                    }
                    Some(text) => Some(tags(&text)?),
                    None => None,
                },
                Some(Type::Decimal { .. } | Type::Structure { .. } | Type::Nullable(_)) | None => {
                    args.json
                        .extend(text().map(|json| (parameter.clone(), json)));
                    None
                }
            };
            args.members.extend(value.map(|value| (parameter, value)));
        }
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Seconds since the epoch, or a time with its zone: the AWS CLI takes both.
fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    let time = || text.parse::<jiff::Timestamp>().ok();
    let number = number.or_else(|| Some(time()?.as_duration().as_secs_f64()));
    number.ok_or_else(|| {
        "expected a time with its zone, such as 2026-11-23T12:00:00Z, or seconds since the epoch"
            .to_owned()
    })
}

/// `KEY=VALUE,KEY=VALUE`, the short form of the AWS CLI.
fn tags(text: &str) -> Result<Value, clap::Error> {
    let pairs = text.split(',').map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_owned(), Value::from(value)))
    });
    let pairs = pairs.collect::<Option<Map<_, _>>>();
    pairs.map(Value::Object).ok_or_else(|| {
        let message = "--tags: expected KEY=VALUE,KEY=VALUE or JSON\n";
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, message)
    })
}

/// `None` for a parameter that windlass does not have: the daemon refuses it by its name.
fn value_type(name: &str) -> Option<Type> {
    parameters::find(name).map(|parameter| parameter.value_type)
}

/// The parameter that an option sets: `BatchSize` for `batch-size`, `Enabled` for `no-enabled`.
fn parameter(option: &str) -> String {
    let words = option.strip_prefix("no-").unwrap_or(option).split('-');
    let capitalized = words.flat_map(|word| {
        let (first, rest) = word.split_at(1);
        [first.to_ascii_uppercase(), rest.to_owned()]
    });
    capitalized.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn members(options: &[&str]) -> Value {
        let command = MappingArgs::augment_args(Command::new("create").no_binary_name(true));
        let matches = command.try_get_matches_from(options).unwrap();
        MappingArgs::from_arg_matches(&matches)
            .unwrap()
            .members()
            .unwrap()
    }

    #[test]
    fn options_become_members_of_their_types() {
        let options = [
            "--function-name=7",
            "--batch-size=5",
            "--maximum-retry-attempts",
            "-1",
            "--starting-position-timestamp=1.5",
            "--no-enabled",
            "--bisect-batch-on-function-error",
            "--function-response-types",
            "--scaling-config",
            r#"{"MaximumConcurrency": 2}"#,
            "--tags=team=images,e=a=b",
        ];
        let expected = json!({
            "FunctionName": "7",
            "BatchSize": 5,
            "MaximumRetryAttempts": -1,
            "StartingPositionTimestamp": 1.5,
            "Enabled": false,
            "BisectBatchOnFunctionError": true,
            "FunctionResponseTypes": [],
            "ScalingConfig": {"MaximumConcurrency": 2},
            "Tags": {"team": "images", "e": "a=b"},
        });
        assert_eq!(members(&options), expected);
        assert_eq!(members(&[]), json!({}));
        for time in ["2026-11-23T12:00:00.250Z", "2026-11-23T13:00:00.250+01:00"] {
            let option = format!("--starting-position-timestamp={time}");
            let expected = json!({"StartingPositionTimestamp": 1_795_435_200.25});
            assert_eq!(members(&[&option]), expected);
        }
        for other in ["2026-11-23", "2026-11-23T12:00:00", "now", "nan", "inf", ""] {
            seconds(other).unwrap_err();
        }
        let tags = json!({"Tags": {"a": "1,2"}});
        assert_eq!(members(&["--tags", r#"{"a": "1,2"}"#]), tags);
        let (on, off) = (json!({"Enabled": true}), json!({"Enabled": false}));
        assert_eq!(members(&["--no-enabled", "--enabled"]), on);
        assert_eq!(members(&["--enabled", "--no-enabled"]), off);
    }
}
