//! `windlass redrive`: sends what failed once more.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use windlass_core::arn::{SourceArn, SourceKind};
use windlass_core::redrive::{FailureDocument, compare};

use crate::UsageError;
use crate::cli::{ClientArgs, OutputFormat};
use crate::client::Client;
use crate::credentials::Credentials;
use crate::output;

const PATH: &str = "/windlass/v1/redrive";

/// Of one request: a document with its event may have several megabytes.
const MAX_PIECE_BYTES: usize = 8 * 1024 * 1024;
const MAX_PIECE_DOCUMENTS: usize = 1_000;

/// What to send once more, and how.
#[derive(Debug, Args)]
pub(crate) struct RedriveArgs {
    /// A queue (its ARN), s3://BUCKET/PREFIX, or a file with on-failure documents: one, or one a
    /// line.
    #[arg(long, value_name = "SOURCE")]
    from: String,
    /// Invoke this function, and not that of each document. Messages of a queue that are not
    /// documents go to it as events of SQS.
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Send the messages of the queue to this one (its ARN), with their attributes, groups and ids.
    #[arg(long, value_name = "QUEUE_ARN", conflicts_with = "function", value_parser = queue_arn)]
    to: Option<String>,
    /// Send this many records a second at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Look for the records, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Delete each document when its records have succeeded.
    #[arg(long, conflicts_with = "dry_run")]
    delete: bool,
    /// Where filters and lanes do not tell which records were meant, send all between the first and
    /// the last.
    #[arg(long)]
    whole_range: bool,
    /// Send with new deduplication ids, and at once: a FIFO queue swallows a message that it had in
    /// the last five minutes.
    #[arg(long, requires = "to")]
    new_ids: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// What the lines of the answers say.
#[derive(Debug, Default)]
struct Summary {
    lines: Vec<Value>,
    redriven: usize,
    /// Reported, with a reason.
    kept: usize,
}

/// # Errors
/// The file cannot be read, or the daemon refuses.
pub(crate) async fn run(args: RedriveArgs, credentials: Credentials) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.client.endpoint, credentials);
    let mut summary = Summary::default();
    // What was redriven is shown also if the daemon is lost then.
    let ended = redrive(&client, &args, &mut summary).await;
    if ended.is_ok() || !summary.is_empty() {
        summary.print(args.client.output)?;
    }
    ended?;
    Ok(match summary.kept {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

async fn redrive(client: &Client, args: &RedriveArgs, summary: &mut Summary) -> anyhow::Result<()> {
    let format = args.client.output;
    if is_remote(&args.from)? {
        let body = args.body("from", args.from.clone().into());
        let lines = client.call_job(PATH, &body, |line| summary.add(line, format));
        lines.await?;
    } else {
        args.check_file()?;
        let pieces = pieces(read(&args.from, summary, format)?);
        let mut n_left: usize = pieces.iter().map(Vec::len).sum();
        for piece in pieces {
            let n_documents = piece.len();
            let body = args.body("documents", piece.into());
            let lines = client.call_job(PATH, &body, |line| summary.add(line, format));
            lines
                .await
                .with_context(|| format!("the last {n_left} documents were not all tried"))?;
            n_left -= n_documents;
        }
    }
    Ok(())
}

impl RedriveArgs {
    fn body(&self, source: &str, value: Value) -> Value {
        let mut body = json!({
            "function_name": self.function,
            "to": self.to,
            "rate": self.rate,
            "dry_run": self.dry_run,
            "delete": self.delete,
            "whole_range": self.whole_range,
            "new_ids": self.new_ids,
        });
        body[source] = value;
        body
    }

    /// Refuses what means nothing for a file.
    fn check_file(&self) -> Result<(), UsageError> {
        let refused = [("--to", self.to.is_some()), ("--delete", self.delete)];
        match refused.iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((option, _)) => Err(UsageError(format!(
                "{option} is for queues and buckets; {} is a file",
                self.from
            ))),
        }
    }
}

/// Whether the daemon finds the documents itself: in a queue or a bucket.
fn is_remote(from: &str) -> Result<bool, UsageError> {
    if let Some(path) = from.strip_prefix("s3://") {
        if path.is_empty() || path.starts_with('/') {
            return Err(UsageError(format!(
                "expected s3://BUCKET/PREFIX, not {from}"
            )));
        }
        return Ok(true);
    }
    if from.starts_with("arn:") {
        queue_arn(from).map_err(UsageError)?;
        return Ok(true);
    }
    Ok(false)
}

fn queue_arn(text: &str) -> Result<String, String> {
    let arn = SourceArn::parse(text).filter(|arn| arn.kind() == SourceKind::Queue);
    match arn {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("expected the ARN of a queue, not {text}")),
    }
}

/// The documents of a file in the order in which they are sent; everything else is reported.
fn read(file: &str, summary: &mut Summary, format: OutputFormat) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| UsageError(format!("cannot read {file}: {error}")))?;
    let mut documents = Vec::new();
    let mut add = |text: &str, number: usize| {
        let parsed = FailureDocument::parse(text.as_bytes());
        match (parsed, serde_json::from_str::<Value>(text)) {
            (Ok(document), Ok(value)) => {
                documents.push((document, value));
                Ok(())
            }
            (Err(error), _) => summary.add(report(&format!("line {number}: {error}")), format),
            (_, Err(error)) => summary.add(report(&format!("line {number}: {error}")), format),
        }
    };
    if serde_json::from_str::<Value>(&text).is_ok() {
        add(&text, 1)?;
    } else {
        let lines = text.lines().zip(1..);
        for (line, number) in lines.filter(|(line, _)| !line.trim().is_empty()) {
            add(line, number)?;
        }
    }
    // The daemon knows which shards are the parents of others, but sees one piece at a time. New
    // shards have greater names.
    documents.sort_by(|(one, _), (other, _)| compare(one, other, &BTreeMap::new()));
    Ok(documents.into_iter().map(|(_, value)| value).collect())
}

fn report(reason: &str) -> Value {
    json!({
        "shard_id": null, "sequence_numbers": null, "records": 0, "redriven": false,
        "reason": reason,
    })
}

/// Cuts documents into requests.
fn pieces(documents: Vec<Value>) -> Vec<Vec<Value>> {
    let mut pieces: Vec<Vec<Value>> = Vec::new();
    let mut bytes = 0;
    for document in documents {
        let len = document.to_string().len();
        match pieces.last_mut() {
            Some(piece) if piece.len() < MAX_PIECE_DOCUMENTS && bytes + len <= MAX_PIECE_BYTES => {
                bytes += len;
                piece.push(document);
            }
            Some(_) | None => {
                bytes = len;
                pieces.push(vec![document]);
            }
        }
    }
    pieces
}

impl Summary {
    const fn is_empty(&self) -> bool {
        self.redriven == 0 && self.kept == 0
    }

    /// A line of an answer: for people it is printed as it arrives.
    fn add(&mut self, line: Value, format: OutputFormat) -> anyhow::Result<()> {
        if let Some(seconds) = line["waits_seconds"].as_f64() {
            crate::eprint_error(&format!(
                "waiting {seconds:.0} s, until the queue has forgotten the id of the next message; \
                 --new-ids sends at once"
            ));
            return Ok(());
        }
        if line["redriven"] == true {
            self.redriven += 1;
        }
        if !line["reason"].is_null() {
            self.kept += 1;
        }
        if format == OutputFormat::Table {
            return output::print(&text(&line));
        }
        self.lines.push(line);
        Ok(())
    }

    fn print(&self, format: OutputFormat) -> anyhow::Result<()> {
        if format == OutputFormat::Table {
            let Self { redriven, kept, .. } = self;
            return output::print(&format!("{redriven} redriven, {kept} kept"));
        }
        output::print(&output::serialize(format, &self.lines)?)
    }
}

/// A line for people.
fn text(line: &Value) -> String {
    let numbers = line["sequence_numbers"].as_array().map(|numbers| {
        let numbers = numbers.iter().map(|it| it.as_str().unwrap_or_default());
        numbers.collect::<Vec<_>>().join(" to ")
    });
    let place = line["shard_id"].as_str().zip(numbers);
    let place = place.map(|(shard, numbers)| format!("{shard} {numbers}: "));
    let records = line["records"].as_u64().unwrap_or_default();
    let what = match (line["redriven"] == true, line["reason"].as_str()) {
        (true, None) => format!("{records} records redriven"),
        (true, Some(reason)) => format!("{records} records redriven, but {reason}"),
        (false, None) => format!("{records} records would be redriven"),
        (false, Some(reason)) => format!("kept: {reason}"),
    };
    format!("{}{what}", place.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_queue_a_bucket_or_a_file() {
        let queue = "arn:aws:sqs:us-east-1:000000000000:failed";
        for (from, expected) in [
            (queue, Some(true)),
            ("s3://failed", Some(true)),
            ("s3://failed/aws/lambda", Some(true)),
            ("failed.json", Some(false)),
            ("./arn:aws", Some(false)),
            ("s3://", None),
            ("s3:///prefix", None),
            ("arn:aws:s3:::failed", None),
            ("arn:aws:kinesis:us-east-1:000000000000:stream/s", None),
        ] {
            assert_eq!(is_remote(from).ok(), expected, "{from}");
        }
    }

    #[test]
    fn documents_are_cut_by_their_number_and_their_bytes() {
        let lens = |documents: Vec<Value>| {
            let pieces = pieces(documents);
            pieces.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lens(vec![json!({}); 2_001]), [1_000, 1_000, 1]);
        let large = json!("x".repeat(3 * 1024 * 1024));
        assert_eq!(lens(vec![large; 5]), [2, 2, 1]);
        assert!(lens(Vec::new()).is_empty());
    }

    #[test]
    fn a_line_says_what_has_become_of_a_document() {
        let line = |redriven, reason: Option<&str>| {
            text(&json!({
                "shard_id": "shardId-0", "sequence_numbers": ["1", "2"], "records": 2,
                "redriven": redriven, "reason": reason,
            }))
        };
        assert_eq!(line(true, None), "shardId-0 1 to 2: 2 records redriven");
        assert_eq!(
            line(false, Some("the stream is gone")),
            "shardId-0 1 to 2: kept: the stream is gone"
        );
        assert_eq!(text(&report("line 7: x")), "kept: line 7: x");
    }
}
