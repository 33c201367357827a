//! Scripts about filters.
//!
//! ```text
//! source kinesis|dynamodb|sqs    format of the events; without it they are any JSON
//! > pattern PATTERN              replaces the filters
//! > or PATTERN                   adds a filter
//! > check PATTERN                whether a pattern is valid; if not, position and reason
//! > event JSON                   an event, or a record as a function receives it
//! > data TEXT                    a Kinesis record with this data
//! > bytes HEX                    a Kinesis record with this data
//! > body TEXT                    an SQS message with this body
//! check_fields N                 `check` of a pattern with N fields
//! check_combinations N…          `check` of a pattern with one `$or` of N branches for each N
//! check_filters N                whether a mapping may have N filters
//! ```
//!
//! Text after `>` is taken literally, to the end of the line. Each event, record and check prints one
//! line. Without a source the naive filter evaluates everything too, and must agree.

use std::fmt::Write as _;

use base64_simd::STANDARD;
use goldenscript::{Command, Context, Runner};
use windlass_filter::{Criteria, Event, EventFormat, Explanation, MatchBuffers, PatternError};

use super::{Arguments, ScriptError};
use crate::naive_filter;

/// A Kinesis record; `DATA` is replaced.
const KINESIS_RECORD: &str = r#"{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"customer-7","sequenceNumber":"4950","data":"DATA","approximateArrivalTimestamp":1700000000.25},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000000:4950","eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::000000000000:role/role","awsRegion":"us-east-1","eventSourceARN":"arn:aws:kinesis:us-east-1:000000000000:stream/orders"}"#;

/// An SQS message; `BODY` is replaced.
const MESSAGE: &str = r#"{"messageId":"19dd0b57","receiptHandle":"MessageReceiptHandle","body":"BODY","attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1700000000250","SenderId":"123456789012","ApproximateFirstReceiveTimestamp":"1700000000260"},"messageAttributes":{"urgency":{"stringValue":"high","stringListValues":[],"binaryListValues":[],"dataType":"String"}},"md5OfBody":"7b27","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-1:000000000000:jobs","awsRegion":"us-east-1"}"#;

/// Runs one script.
#[derive(Debug)]
pub struct FilterRunner {
    format: EventFormat,
    patterns: Vec<String>,
}

impl Default for FilterRunner {
    fn default() -> Self {
        Self {
            format: EventFormat::Json,
            patterns: Vec::new(),
        }
    }
}

impl Runner for FilterRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, ScriptError> {
        let (name, text) = match command.name.split_once(' ') {
            Some((name, text)) => (name, text),
            None => (command.name.as_str(), ""),
        };
        let mut arguments = Arguments::of(command);
        let output = match name {
            "source" => self.set_source(&arguments.word()?)?,
            "pattern" => self.set_patterns(vec![text.to_owned()])?,
            "or" => {
                let mut patterns = std::mem::take(&mut self.patterns);
                patterns.push(text.to_owned());
                self.set_patterns(patterns)?
            }
            "check" => self.check(text)?,
            "event" => self.evaluate(text, data_in(text))?,
            "data" => self.evaluate_data(text.as_bytes())?,
            "bytes" => self.evaluate_data(&bytes(text)?)?,
            "body" => self.evaluate_body(text)?,
            "check_fields" => self.check(&with_fields(arguments.number_word()?))?,
            "check_combinations" => {
                let mut branches = vec![arguments.number_word()?];
                while let Ok(number) = arguments.number_word() {
                    branches.push(number);
                }
                self.check(&with_branches(&branches))?
            }
            "check_filters" => self.check_filters(arguments.number_word()?),
            _ => return Err(format!("unknown command {name:?}").into()),
        };
        arguments.none_left()?;
        Ok(output)
    }
}

impl FilterRunner {
    fn set_source(&mut self, name: &str) -> Result<String, ScriptError> {
        self.format = match name {
            "kinesis" => EventFormat::Kinesis,
            "dynamodb" => EventFormat::DynamoDbStreams,
            "sqs" => EventFormat::Sqs,
            _ => return Err(format!("unknown source {name:?}").into()),
        };
        Ok(String::new())
    }

    fn set_patterns(&mut self, patterns: Vec<String>) -> Result<String, ScriptError> {
        self.patterns = patterns;
        self.criteria()?;
        Ok(String::new())
    }

    fn criteria(&self) -> Result<Criteria, ScriptError> {
        if self.patterns.is_empty() {
            return Err("`pattern` must come first".into());
        }
        let patterns: Vec<&str> = self.patterns.iter().map(String::as_str).collect();
        Criteria::compile(self.format, &patterns).map_err(|mut errors| {
            let (index, error) = errors.remove(0);
            invalid(patterns[index], &error).into()
        })
    }

    fn check(&self, pattern: &str) -> Result<String, ScriptError> {
        let result = Criteria::compile(self.format, &[pattern]);
        if self.format == EventFormat::Json {
            let naive = naive_filter::compile(pattern);
            if naive.is_ok() != result.is_ok() {
                return Err(format!("the naive filter disagrees: {naive:?}").into());
            }
        }
        Ok(match result {
            Ok(_) => "valid\n".to_owned(),
            Err(mut errors) => invalid(pattern, &errors.remove(0).1) + "\n",
        })
    }

    fn check_filters(&self, n_filters: usize) -> String {
        let patterns = vec![r#"{"a":["x"]}"#; n_filters];
        match Criteria::compile(self.format, &patterns) {
            Ok(_) => "valid\n".to_owned(),
            Err(errors) => format!("invalid: {}\n", errors[0].1),
        }
    }

    fn evaluate_data(&self, data: &[u8]) -> Result<String, ScriptError> {
        let encoded = STANDARD.encode_to_string(data);
        self.evaluate(&KINESIS_RECORD.replace("DATA", &encoded), &encoded)
    }

    fn evaluate_body(&self, body: &str) -> Result<String, ScriptError> {
        let quoted = serde_json::Value::from(body).to_string();
        let escaped = &quoted[1..quoted.len() - 1];
        self.evaluate(&MESSAGE.replace("BODY", escaped), escaped)
    }

    fn evaluate(&self, json: &str, data: &str) -> Result<String, ScriptError> {
        let criteria = self.criteria()?;
        let event = Event {
            json: json.as_bytes(),
            data: data.as_bytes(),
        };
        let explanation = criteria.explain(event);
        let matches = criteria.matches(event, &mut MatchBuffers::default());
        if matches != explanation.matches {
            return Err(format!("matches: {matches}, but explained as {explanation:?}").into());
        }
        if self.format == EventFormat::Json {
            let naive = self.patterns.iter().any(|pattern| {
                naive_filter::compile(pattern).is_ok_and(|pattern| pattern.matches(json))
            });
            if matches != naive {
                return Err(format!("matches: {matches}, but the naive filter disagrees").into());
            }
        }
        Ok(text(&explanation)?)
    }
}

fn text(explanation: &Explanation) -> Result<String, std::fmt::Error> {
    let Explanation {
        matches,
        mismatches,
    } = explanation;
    let mut text = String::new();
    if *matches {
        write!(text, "passes")?;
        let matching = mismatches.iter().position(Vec::is_empty);
        if let Some(index) = matching.filter(|_| 1 < mismatches.len()) {
            write!(text, " by pattern {}", index + 1)?;
        }
    } else {
        write!(text, "does not pass")?;
        for (number, fields) in (1..).zip(mismatches) {
            for field in fields {
                let pattern = (1 < mismatches.len()).then(|| format!("pattern {number}: "));
                write!(text, "; {}{field}", pattern.unwrap_or_default())?;
            }
        }
    }
    writeln!(text)?;
    Ok(text)
}

fn invalid(pattern: &str, error: &PatternError) -> String {
    let (line, column) = error.line_and_column(pattern);
    format!("invalid at {line}:{column}: {error}")
}

/// The data of a record, as written between its quotes.
fn data_in(record: &str) -> &str {
    let data = [r#""data":""#, r#""body":""#].iter().find_map(|start| {
        let (_, rest) = record.split_once(start)?;
        Some(rest.split_once('"')?.0)
    });
    data.unwrap_or_default()
}

fn bytes(hex: &str) -> Result<Vec<u8>, ScriptError> {
    let digits = hex.as_bytes().chunks(2);
    let bytes = digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    bytes.collect()
}

fn with_fields(n_fields: usize) -> String {
    let fields: Vec<_> = (1..=n_fields).map(|n| format!(r#""f{n}":["x"]"#)).collect();
    format!("{{{}}}", fields.join(","))
}

fn with_branches(n_branches: &[usize]) -> String {
    let ors = (1..).zip(n_branches).map(|(number, n_branches)| {
        let branches = (1..=*n_branches).map(|n| format!(r#"{{"f{number}":["{n}"]}}"#));
        let branches: Vec<_> = branches.collect();
        format!(r#""g{number}":{{"$or":[{}]}}"#, branches.join(","))
    });
    let ors: Vec<_> = ors.collect();
    format!("{{{}}}", ors.join(","))
}
