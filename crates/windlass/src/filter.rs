//! `windlass filter test`: whether an event passes filters, and why not.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::value::RawValue;
use windlass_filter::{Criteria, Event, EventFormat, Explanation};

use crate::cli::{FilterTestArgs, SourceName};
use crate::config::ConfigError;
use crate::input::read_text;
use crate::{EXIT_USAGE, eprint_error, output};

/// Exit code if no record passes.
const DOES_NOT_PASS: u8 = 1;

/// The event of an invocation.
#[derive(Deserialize)]
struct Invocation<'e> {
    #[serde(rename = "Records", borrow)]
    records: Option<Vec<&'e RawValue>>,
}

/// The data of a record.
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

/// Evaluates an event with the given patterns and prints the result.
pub(crate) fn test(args: &FilterTestArgs) -> anyhow::Result<ExitCode> {
    let mut patterns = Vec::new();
    for pattern in &args.patterns {
        patterns.push(match pattern.strip_prefix('@') {
            Some(file) => (file.to_owned(), read_text(file.as_ref())?),
            None => ("pattern".to_owned(), pattern.clone()),
        });
    }
    let format = match args.source {
        None => EventFormat::Json,
        Some(SourceName::Kinesis) => EventFormat::Kinesis,
        Some(SourceName::Dynamodb) => EventFormat::DynamoDbStreams,
        Some(SourceName::Sqs) => EventFormat::Sqs,
    };
    let texts: Vec<&str> = patterns.iter().map(|(_, text)| text.as_str()).collect();
    let criteria = match Criteria::compile(format, &texts) {
        Ok(criteria) => criteria,
        Err(errors) => {
            for (index, error) in errors {
                let (name, text) = &patterns[index];
                let (line, column) = error.line_and_column(text);
                eprint_error(&format!("{name}:{line}:{column}: {error}"));
            }
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let event = if args.event.trim_start().starts_with('{') {
        args.event.clone()
    } else {
        read_text(args.event.as_ref())?
    };
    match evaluate(&criteria, format, &event) {
        Ok(explanations) => {
            output::print(&text(&explanations))?;
            let passes = explanations.iter().any(|it| it.matches);
            Ok(ExitCode::from(if passes { 0 } else { DOES_NOT_PASS }))
        }
        Err(ConfigError { line, message }) => {
            eprint_error(&format!("event:{line}: {message}"));
            Ok(ExitCode::from(EXIT_USAGE))
        }
    }
}

/// The result for the event, or for each of its records.
fn evaluate(
    criteria: &Criteria,
    format: EventFormat,
    event: &str,
) -> Result<Vec<Explanation>, ConfigError> {
    let whole: &RawValue = from_json(event)?;
    if !whole.get().starts_with('{') {
        return Err(problem("the event must be a JSON object"));
    }
    if format == EventFormat::Json {
        let event = Event {
            json: whole.get().as_bytes(),
            data: b"",
        };
        return Ok(vec![criteria.explain(event)]);
    }
    let Invocation { records } = from_json(event)?;
    let records = records.unwrap_or_else(|| vec![whole]);
    if records.is_empty() {
        return Err(problem("Records is empty; write at least one record"));
    }
    let explanations = records.iter().map(|record| {
        let parts: Record<'_> = from_json(record.get())?;
        let data = match format {
            EventFormat::Kinesis => {
                Some(parts.kinesis.and_then(|it| it.data).ok_or("kinesis.data"))
            }
            EventFormat::Sqs => Some(parts.body.ok_or("body")),
            EventFormat::DynamoDbStreams | EventFormat::Json => None,
        };
        let data = match data {
            None => "",
            Some(data) => data.ok().and_then(between_quotes).ok_or_else(|| {
                let name = data.err().unwrap_or("data");
                problem(&format!(
                    "a record of this source must have a string {name}"
                ))
            })?,
        };
        Ok(criteria.explain(Event {
            json: record.get().as_bytes(),
            data: data.as_bytes(),
        }))
    });
    explanations.collect()
}

fn between_quotes(value: &RawValue) -> Option<&str> {
    value.get().strip_prefix('"')?.strip_suffix('"')
}

fn text(explanations: &[Explanation]) -> String {
    let mut lines = Vec::new();
    for (explanation, number) in explanations.iter().zip(1..) {
        let record = if explanations.len() == 1 {
            String::new()
        } else {
            format!("record {number} ")
        };
        let mismatches = &explanation.mismatches;
        if explanation.matches {
            let matching = mismatches.iter().position(Vec::is_empty);
            let by = match matching {
                Some(index) if 1 < mismatches.len() => format!(": pattern {}", index + 1),
                _ => String::new(),
            };
            lines.push(format!("{record}passes{by}"));
            continue;
        }
        lines.push(format!("{record}does not pass"));
        for (fields, number) in mismatches.iter().zip(1..) {
            let pattern = if mismatches.len() == 1 {
                String::new()
            } else {
                format!("pattern {number}: ")
            };
            lines.extend(fields.iter().map(|it| format!("  {pattern}{it}")));
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
