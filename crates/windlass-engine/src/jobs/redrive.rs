//! The redrive of on-failure documents and of dead-letter queues.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use windlass_core::redrive::FailureDocument;

use super::call::Invoker;
use super::documents::{Documents, Entry, Origin};
use super::run::{RedriveReport, RedriveReports, RedriveRequest, RedriveSource, Redriver, Run};
use super::trail::Trail;
use super::{Ended, NotStarted, bucket, messages};
use crate::ports::HistoryLine;

impl Redriver {
    /// Starts a redrive, which ends when its reports are dropped. `line` becomes its line in the history.
    ///
    /// # Errors
    /// See [`NotStarted`].
    pub fn start(
        &self,
        request: RedriveRequest,
        line: HistoryLine,
    ) -> Result<RedriveReports, NotStarted> {
        let redriver = self.clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let is_ending = Arc::clone(&is_over);
        let reports = self.jobs.start(|caller| async move {
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
            let ended = redrive(&mut run).await;
            match ended {
                Ok(()) => is_ending.store(true, Ordering::Relaxed),
                Err(Ended) => {
                    tracing::info!("redrive ended early: its caller has left, or the daemon stops");
                }
            }
            if let Some(trail) = &run.trail {
                trail.end().await;
            }
        })?;
        Ok(RedriveReports { reports, is_over })
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
                        run.report(report).await?;
                    }
                }
            }
            Documents::new(run).await?.redrive(entries).await
        }
        RedriveSource::Queue(arn) => messages::redrive(run, arn).await,
        RedriveSource::Bucket { name, prefix } => bucket::redrive(run, name, prefix).await,
    }
}
