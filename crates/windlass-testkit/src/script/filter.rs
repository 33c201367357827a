//! Scripts about filters.
//!
//! ```text
//! source kinesis|dynamodb|sqs    of which source the filters are; without it events are any JSON
//! > pattern PATTERN              the filter from here on
//! > or PATTERN                   one more
//! > check PATTERN                whether it is a pattern, or what is wrong where
//! > event JSON                   an event, or a record as the function would get it
//! > data TEXT                    a record of Kinesis with this data
//! > bytes HEX                    so, too
//! > body TEXT                    a message with this body
//! check_fields N                 `check` of a pattern with so many fields
//! check_combinations N…          `check` of a pattern with `$or` of so many branches, side by side
//! check_filters N                whether a mapping may have so many filters
//! ```
//!
//! What stands behind `>` is taken as it is, to the end of the line. Each event, record and check
//! has one line of answer. Without a source everything is also judged by the naive filter, which has
//! to say the same.

use std::fmt::Write as _;

use base64_simd::STANDARD;
use goldenscript::{Command, Context, Runner};
use windlass_filter::{Criteria, Explanation, PatternError, Scratch, Subject, View};

use super::{Arguments, ScriptError as Mistake};
use crate::naive_filter;

/// A record of Kinesis without its data.
const KINESIS_RECORD: &str = r#"{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"customer-7","sequenceNumber":"4950","data":"DATA","approximateArrivalTimestamp":1700000000.25},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000000:4950","eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::000000000000:role/role","awsRegion":"us-east-1","eventSourceARN":"arn:aws:kinesis:us-east-1:000000000000:stream/orders"}"#;

/// A message without its body.
const MESSAGE: &str = r#"{"messageId":"19dd0b57","receiptHandle":"MessageReceiptHandle","body":"BODY","attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1700000000250","SenderId":"123456789012","ApproximateFirstReceiveTimestamp":"1700000000260"},"messageAttributes":{"urgency":{"stringValue":"high","stringListValues":[],"binaryListValues":[],"dataType":"String"}},"md5OfBody":"7b27","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-1:000000000000:jobs","awsRegion":"us-east-1"}"#;

/// Runs one script.
#[derive(Debug)]
pub struct FilterRunner {
    view: View,
    patterns: Vec<String>,
}

impl Default for FilterRunner {
    fn default() -> Self {
        Self {
            view: View::Whole,
            patterns: Vec::new(),
        }
    }
}

impl Runner for FilterRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Mistake> {
        let (name, text) = match command.name.split_once(' ') {
            Some((name, text)) => (name, text),
            None => (command.name.as_str(), ""),
        };
        let mut arguments = Arguments::of(command);
        let answer = match name {
            "source" => self.set_source(&arguments.word()?)?,
            "pattern" => self.set_patterns(vec![text.to_owned()])?,
            "or" => {
                let mut patterns = std::mem::take(&mut self.patterns);
                patterns.push(text.to_owned());
                self.set_patterns(patterns)?
            }
            "check" => self.check(text)?,
            "event" => self.judge(text, data_in(text))?,
            "data" => self.judge_data(text.as_bytes())?,
            "bytes" => self.judge_data(&bytes(text)?)?,
            "body" => self.judge_body(text)?,
            "check_fields" => self.check(&with_fields(arguments.number_word()?))?,
            "check_combinations" => {
                let mut branches = vec![arguments.number_word()?];
                while let Ok(number) = arguments.number_word() {
                    branches.push(number);
                }
                self.check(&with_branches(&branches))?
            }
            "check_filters" => self.check_filters(arguments.number_word()?),
            _ => return Err(format!("there is no command {name:?}").into()),
        };
        arguments.none_left()?;
        Ok(answer)
    }
}

impl FilterRunner {
    fn set_source(&mut self, name: &str) -> Result<String, Mistake> {
        self.view = match name {
            "kinesis" => View::Kinesis,
            "dynamodb" => View::DynamoDbStreams,
            "sqs" => View::Sqs,
            _ => return Err(format!("there is no source {name:?}").into()),
        };
        Ok(String::new())
    }

    fn set_patterns(&mut self, patterns: Vec<String>) -> Result<String, Mistake> {
        self.patterns = patterns;
        self.criteria()?;
        Ok(String::new())
    }

    fn criteria(&self) -> Result<Criteria, Mistake> {
        if self.patterns.is_empty() {
            return Err("a pattern comes before what it judges".into());
        }
        let patterns: Vec<&str> = self.patterns.iter().map(String::as_str).collect();
        Criteria::compile(self.view, &patterns).map_err(|mut errors| {
            let (number, error) = errors.remove(0);
            invalid(patterns[number], &error).into()
        })
    }

    fn check(&self, pattern: &str) -> Result<String, Mistake> {
        let result = Criteria::compile(self.view, &[pattern]);
        if self.view == View::Whole {
            let naive = naive_filter::compile(pattern);
            if naive.is_ok() != result.is_ok() {
                return Err(format!("the naive filter says {naive:?}").into());
            }
        }
        Ok(match result {
            Ok(_) => "valid\n".to_owned(),
            Err(mut errors) => invalid(pattern, &errors.remove(0).1) + "\n",
        })
    }

    fn check_filters(&self, n_filters: usize) -> String {
        let patterns = vec![r#"{"a":["x"]}"#; n_filters];
        match Criteria::compile(self.view, &patterns) {
            Ok(_) => "valid\n".to_owned(),
            Err(errors) => format!("invalid: {}\n", errors[0].1),
        }
    }

    fn judge_data(&self, data: &[u8]) -> Result<String, Mistake> {
        let encoded = STANDARD.encode_to_string(data);
        self.judge(&KINESIS_RECORD.replace("DATA", &encoded), &encoded)
    }

    fn judge_body(&self, body: &str) -> Result<String, Mistake> {
        let quoted = serde_json::Value::from(body).to_string();
        let escaped = &quoted[1..quoted.len() - 1];
        self.judge(&MESSAGE.replace("BODY", escaped), escaped)
    }

    fn judge(&self, event: &str, data: &str) -> Result<String, Mistake> {
        let criteria = self.criteria()?;
        let subject = Subject {
            event: event.as_bytes(),
            data: data.as_bytes(),
        };
        let explanation = criteria.explain(subject);
        let passes = criteria.passes(subject, &mut Scratch::default());
        if passes != explanation.passes {
            return Err(format!("passes: {passes}, but explained: {explanation:?}").into());
        }
        if self.view == View::Whole {
            let naive = self.patterns.iter().any(|pattern| {
                naive_filter::compile(pattern).is_ok_and(|pattern| pattern.matches(event))
            });
            if passes != naive {
                return Err(format!("passes: {passes}, but not for the naive filter").into());
            }
        }
        Ok(text(&explanation)?)
    }
}

/// One line.
fn text(explanation: &Explanation) -> Result<String, std::fmt::Error> {
    let Explanation { passes, reasons } = explanation;
    let mut text = String::new();
    if *passes {
        write!(text, "passes")?;
        let by = reasons.iter().position(Vec::is_empty);
        if let Some(index) = by.filter(|_| 1 < reasons.len()) {
            write!(text, " by pattern {}", index + 1)?;
        }
    } else {
        write!(text, "does not pass")?;
        for (number, reasons) in (1..).zip(reasons) {
            for reason in reasons {
                let of = (1 < explanation.reasons.len()).then(|| format!("pattern {number}: "));
                write!(text, "; {}{reason}", of.unwrap_or_default())?;
            }
        }
    }
    writeln!(text)?;
    Ok(text)
}

fn invalid(pattern: &str, error: &PatternError) -> String {
    let (line, column) = error.place(pattern);
    format!("invalid at {line}:{column}: {error}")
}

/// What stands between the quotes of the data of a record that is given whole.
fn data_in(record: &str) -> &str {
    let data = [r#""data":""#, r#""body":""#].iter().find_map(|start| {
        let (_, rest) = record.split_once(start)?;
        Some(rest.split_once('"')?.0)
    });
    data.unwrap_or_default()
}

fn bytes(hex: &str) -> Result<Vec<u8>, Mistake> {
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
