//! What a redrive is asked for, what it reports, and what all kinds of it use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use windlass_core::arn::Arn;
use windlass_core::ids::{SequenceNumber, ShardId};

use super::call::Invoker;
use super::trail::Trail;
use super::{Caller, Ended, Jobs};
use crate::ports::{AdapterFactory, Store};
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
    /// Not of a document: the time that the run waits before it continues.
    pub waits: Option<Duration>,
}

/// Of a redrive that did not come to its end.
const ENDED_EARLY: &str = "the redrive has ended early: the daemon stops; what is not named here was not \
                           redriven, and a later redrive sends it";

/// The reports of a redrive as they arrive: one for each document or message, and at the end one that
/// says so if it has ended early.
#[derive(Debug)]
pub struct RedriveReports {
    pub(super) reports: mpsc::Receiver<RedriveReport>,
    /// Set before the last report is received.
    pub(super) is_over: Arc<AtomicBool>,
}

impl RedriveReports {
    pub async fn recv(&mut self) -> Option<RedriveReport> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<RedriveReport>> {
        self.reports.poll_recv(context).map(|report| {
            report.or_else(|| {
                let is_over = self.is_over.swap(true, Ordering::Relaxed);
                (!is_over).then(|| RedriveReport {
                    reason: Some(ENDED_EARLY.to_owned()),
                    ..RedriveReport::default()
                })
            })
        })
    }
}

/// One redrive.
pub(super) struct Run<'a> {
    pub(super) redriver: &'a Redriver,
    pub(super) request: &'a RedriveRequest,
    pub(super) invoker: Invoker,
    pub(super) caller: &'a Caller<RedriveReport>,
    /// Functions that were not reached, for which the run has ended.
    pub(super) unreached: BTreeSet<Arn>,
    /// `None`: a dry run leaves no line.
    pub(super) trail: Option<Trail>,
}

impl Run<'_> {
    /// Reports why the run cannot continue.
    pub(super) async fn refuse(&mut self, reason: String) -> Result<(), Ended> {
        let report = RedriveReport {
            reason: Some(reason),
            ..RedriveReport::default()
        };
        self.report(report).await
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

    /// Names a document or message in the history that was redriven. Called before it is deleted, which
    /// no transaction of the store can be: nothing is deleted that the history does not name.
    pub(super) async fn record(&self, id: &str) {
        if let Some(trail) = &self.trail {
            trail.add_success(id).await;
        }
    }

    /// Reports what has become of a document or message.
    pub(super) async fn report(&mut self, report: RedriveReport) -> Result<(), Ended> {
        if let Some(trail) = &self.trail
            && !report.redriven
            && report.reason.is_some()
        {
            trail.add_failures(1);
        }
        self.caller.report(report).await
    }
}

impl RedriveRequest {
    /// What was asked, for the history.
    pub(super) fn to_json(&self) -> Value {
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
