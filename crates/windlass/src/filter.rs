//! `windlass filter test`: whether an event would pass, and what decided.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;
use windlass_filter::{Criteria, Explanation, Subject, View};

use crate::cli::{FilterTestArgs, SourceName};
use crate::config::ConfigError;
use crate::{EXIT_USAGE, eprint_error, output};

/// Exit code of an event that does not pass.
const DOES_NOT_PASS: u8 = 1;

/// An event as a function gets it.
#[derive(Deserialize)]
struct Event<'e> {
    #[serde(rename = "Records", borrow)]
    records: Option<Vec<&'e RawValue>>,
}

/// The part of a record that filters look into.
#[derive(Deserialize)]
struct Record<'e> {
    #[serde(borrow)]
    kinesis: Option<Kinesis<'e>>,
    #[serde(borrow)]
    body: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct Kinesis<'e> {
    #[serde(borrow)]
    data: Option<&'e RawValue>,
}

/// Judges an event by patterns and says why.
pub(crate) fn test(args: &FilterTestArgs) -> anyhow::Result<ExitCode> {
    let mut patterns = Vec::new();
    for pattern in &args.patterns {
        patterns.push(match pattern.strip_prefix('@') {
            Some(file) => (file.to_owned(), read(file)?),
            None => ("pattern".to_owned(), pattern.clone()),
        });
    }
    let view = match args.source {
        None => View::Whole,
        Some(SourceName::Kinesis) => View::Kinesis,
        Some(SourceName::Dynamodb) => View::DynamoDbStreams,
        Some(SourceName::Sqs) => View::Sqs,
    };
    let texts: Vec<&str> = patterns.iter().map(|(_, text)| text.as_str()).collect();
    let criteria = match Criteria::compile(view, &texts) {
        Ok(criteria) => criteria,
        Err(errors) => {
            for (number, error) in errors {
                let (name, text) = &patterns[number];
                let (line, column) = error.place(text);
                eprint_error(&format!("{name}:{line}:{column}: {error}"));
            }
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let event = if args.event.trim_start().starts_with('{') {
        args.event.clone()
    } else {
        read(&args.event)?
    };
    match judge(&criteria, view, &event) {
        Ok(answers) => {
            output::print(&text(&answers))?;
            let passes = answers.iter().any(|answer| answer.passes);
            Ok(ExitCode::from(if passes { 0 } else { DOES_NOT_PASS }))
        }
        Err(ConfigError { line, message }) => {
            eprint_error(&format!("event:{line}: {message}"));
            Ok(ExitCode::from(EXIT_USAGE))
        }
    }
}

/// The answer for the event, or for each record of one that has several.
fn judge(criteria: &Criteria, view: View, event: &str) -> Result<Vec<Explanation>, ConfigError> {
    let whole: &RawValue = from_json(event)?;
    if !whole.get().starts_with('{') {
        return Err(problem("an event is a JSON object"));
    }
    if view == View::Whole {
        let subject = Subject {
            event: whole.get().as_bytes(),
            data: b"",
        };
        return Ok(vec![criteria.explain(subject)]);
    }
    let Event { records } = from_json(event)?;
    let records = records.unwrap_or_else(|| vec![whole]);
    let answers = records.iter().map(|record| {
        let parts: Record<'_> = from_json(record.get())?;
        let data = match view {
            View::Kinesis => Some(parts.kinesis.and_then(|it| it.data).ok_or("kinesis.data")),
            View::Sqs => Some(parts.body.ok_or("body")),
            View::DynamoDbStreams | View::Whole => None,
        };
        let data = match data {
            None => "",
            Some(data) => data.ok().and_then(between_quotes).ok_or_else(|| {
                let name = data.err().unwrap_or("its data");
                problem(&format!("a record of this source has a text {name}"))
            })?,
        };
        Ok(criteria.explain(Subject {
            event: record.get().as_bytes(),
            data: data.as_bytes(),
        }))
    });
    answers.collect()
}

fn between_quotes(value: &RawValue) -> Option<&str> {
    value.get().strip_prefix('"')?.strip_suffix('"')
}

/// What people read.
fn text(answers: &[Explanation]) -> String {
    let mut lines = Vec::new();
    for (answer, number) in answers.iter().zip(1..) {
        let record = if answers.len() == 1 {
            String::new()
        } else {
            format!("record {number} ")
        };
        if answer.passes {
            let matching = answer.reasons.iter().position(Vec::is_empty);
            let by = match matching {
                Some(index) if 1 < answer.reasons.len() => format!(": pattern {}", index + 1),
                _ => String::new(),
            };
            lines.push(format!("{record}passes{by}"));
            continue;
        }
        lines.push(format!("{record}does not pass"));
        for (reasons, number) in answer.reasons.iter().zip(1..) {
            let of = if answer.reasons.len() == 1 {
                String::new()
            } else {
                format!("pattern {number}: ")
            };
            lines.extend(reasons.iter().map(|reason| format!("  {of}{reason}")));
        }
    }
    lines.join("\n")
}

fn from_json<'e, T: Deserialize<'e>>(text: &'e str) -> Result<T, ConfigError> {
    serde_json::from_str(text).map_err(|error| ConfigError {
        line: u32::try_from(error.line()).unwrap_or(u32::MAX),
        message: error.to_string(),
    })
}

fn problem(message: &str) -> ConfigError {
    ConfigError {
        line: 1,
        message: message.to_owned(),
    }
}

fn read(file: &str) -> anyhow::Result<String> {
    if file == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.context("reading standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(Path::new(file)).with_context(|| format!("reading {file}"))
}
