//! The redrive of on-failure documents and of dead-letter queues.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use windlass_core::arn::Arn;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::redrive::FailureDocument;

use super::call::Invoker;
use super::documents::{Documents, Entry, Origin};
use super::trail::Trail;
use super::{Caller, Ended, Jobs, NotStarted, bucket, messages};
use crate::ports::{AdapterFactory, HistoryLine, Store};
use crate::run_unit::EngineContext;

/// Starts redrives. Cheap to clone.
#[derive(Clone)]
pub struct Redriver {
    pub(crate) context: EngineContext,
    pub(crate) adapters: Arc<dyn AdapterFactory>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) jobs: Jobs,
}

/// What to redrive, and how.
#[derive(Clone, Debug)]
pub struct RedriveRequest {
    pub source: RedriveSource,
    /// `None`: that of each document.
    pub function: Option<Arn>,
    /// Records a second; `None`: any number.
    pub rate: Option<u32>,
    /// Reads, and changes nothing.
    pub dry_run: bool,
    /// See [`windlass_core::redrive::RangeReader`].
    pub whole_range: bool,
    /// Whether documents are deleted when their records have succeeded.
    pub delete: bool,
    /// Sends messages of a queue to this one, with new deduplication ids or their own.
    pub to: Option<Arn>,
    pub new_ids: bool,
}

#[derive(Clone, Debug)]
pub enum RedriveSource {
    /// Texts that may be documents.
    Given(Vec<Bytes>),
    Queue(Arn),
    /// The objects whose keys have the prefix.
    Bucket {
        name: String,
        prefix: String,
    },
}

/// What has become of one document or message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedriveReport {
    pub shard: Option<ShardId>,
    /// The first and the last.
    pub sequence_numbers: Option<[SequenceNumber; 2]>,
    pub records: usize,
    pub redriven: bool,
    /// What is wrong with it.
    pub reason: Option<String>,
    /// Not of a document: the run waits for so long before it goes on.
    pub waits: Option<Duration>,
}

impl Redriver {
    /// Starts a redrive. Reports arrive in order, one for each document; the redrive ends when they
    /// are dropped. `line` becomes its line in the history.
    ///
    /// # Errors
    /// See [`NotStarted`].
    pub fn start(
        &self,
        request: RedriveRequest,
        line: HistoryLine,
    ) -> Result<mpsc::Receiver<RedriveReport>, NotStarted> {
        let redriver = self.clone();
        self.jobs.start(|caller| async move {
            let line = Some(line).filter(|_| !request.dry_run);
            let trail = Trail::new(&redriver.store, line, request.to_json());
            let mut run = Run {
                redriver: &redriver,
                request: &request,
                invoker: Invoker::new(redriver.context.clone(), request.rate),
                caller: &caller,
                trail,
            };
            if run.run().await == Err(Ended) {
                tracing::info!("redrive ended early: its caller has left, or the daemon stops");
            }
            run.trail.end().await;
        })
    }
}

/// One redrive.
pub(super) struct Run<'a> {
    pub(super) redriver: &'a Redriver,
    pub(super) request: &'a RedriveRequest,
    pub(super) invoker: Invoker,
    pub(super) caller: &'a Caller<RedriveReport>,
    trail: Trail,
}

impl Run<'_> {
    async fn run(&mut self) -> Result<(), Ended> {
        match &self.request.source {
            RedriveSource::Given(texts) => {
                let mut entries = Vec::with_capacity(texts.len());
                for (text, number) in texts.iter().zip(1..) {
                    match FailureDocument::parse(text) {
                        Ok(document) => entries.push(Entry {
                            document,
                            origin: Origin::Given,
                        }),
                        Err(error) => {
                            let reason = Some(format!("document {number}: {error}"));
                            let report = RedriveReport {
                                reason,
                                ..RedriveReport::default()
                            };
                            self.report(report, "").await?;
                        }
                    }
                }
                Documents::new(self).await?.redrive(entries).await
            }
            RedriveSource::Queue(arn) => messages::redrive(self, arn).await,
            RedriveSource::Bucket { name, prefix } => bucket::redrive(self, name, prefix).await,
        }
    }

    /// Reports why the run cannot go on.
    pub(super) async fn refuse(&mut self, reason: String) -> Result<(), Ended> {
        let report = RedriveReport {
            reason: Some(reason),
            ..RedriveReport::default()
        };
        self.report(report, "").await
    }

    /// Waits, and says for how long.
    pub(super) async fn wait(&mut self, wait: Duration) -> Result<(), Ended> {
        if wait.is_zero() {
            return Ok(());
        }
        let report = RedriveReport {
            waits: Some(wait),
            ..RedriveReport::default()
        };
        self.caller.report(report).await?;
        self.caller.unless_ended(tokio::time::sleep(wait)).await
    }

    /// Reports what has become of a document or message; `id` names it in the history.
    pub(super) async fn report(&mut self, report: RedriveReport, id: &str) -> Result<(), Ended> {
        if report.redriven {
            self.trail.add_success(id).await;
        } else if report.reason.is_some() {
            self.trail.add_failure();
        }
        self.caller.report(report).await
    }
}

impl RedriveRequest {
    /// What was asked, for the history.
    fn to_json(&self) -> Value {
        let from = match &self.source {
            RedriveSource::Given(_) => Value::Null,
            RedriveSource::Queue(arn) => arn.as_str().into(),
            RedriveSource::Bucket { name, prefix } => format!("s3://{name}/{prefix}").into(),
        };
        let function = self.function.as_ref().map(Arn::as_str);
        let to = self.to.as_ref().map(Arn::as_str);
        json!({"from": from, "function_arn": function, "to": to})
    }
}
