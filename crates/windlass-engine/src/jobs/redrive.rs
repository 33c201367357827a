//! The redrive of on-failure documents and of dead-letter queues.

use std::collections::BTreeSet;

use tokio::sync::mpsc;
use windlass_core::redrive::FailureDocument;

use super::call::Invoker;
use super::documents::{Documents, Entry, Origin};
use super::run::{RedriveReport, RedriveRequest, RedriveSource, Redriver, Run};
use super::trail::Trail;
use super::{Ended, NotStarted, bucket, messages};
use crate::ports::HistoryLine;

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
            let trail =
                (!request.dry_run).then(|| Trail::new(&redriver.store, line, request.to_json()));
            let mut run = Run {
                redriver: &redriver,
                request: &request,
                invoker: Invoker::new(redriver.context.clone(), request.rate),
                caller: &caller,
                unreached: BTreeSet::new(),
                trail,
            };
            if redrive(&mut run).await == Err(Ended) {
                tracing::info!("redrive ended early: its caller has left, or the daemon stops");
            }
            if let Some(trail) = &run.trail {
                trail.end().await;
            }
        })
    }
}

/// Redrives what was asked for.
async fn redrive(run: &mut Run<'_>) -> Result<(), Ended> {
    match &run.request.source {
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
                        run.report(report, "").await?;
                    }
                }
            }
            Documents::new(run).await?.redrive(entries).await
        }
        RedriveSource::Queue(arn) => messages::redrive(run, arn).await,
        RedriveSource::Bucket { name, prefix } => bucket::redrive(run, name, prefix).await,
    }
}
