//! Jobs: work that a caller of the API waits for, on the runtime of the engine and under the limits of
//! mappings.
//!
//! A job ends with its caller or with the daemon: what it has begun it finishes, and nothing else is
//! begun. A daemon that drains starts none, and waits for those that run.

mod bucket;
mod call;
mod documents;
mod dry_run;
mod held;
mod letters;
mod messages;
mod records;
mod redrive;
mod run;
mod trail;

pub(crate) use call::ACCOUNT;
pub use dry_run::{DryRuns, ShardTotals};
pub use letters::{Letters, LettersRequest, LettersResult};
pub use run::{RedriveReport, RedriveReports, RedriveRequest, RedriveSource, Redriver};

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use windlass_core::arn::Arn;
use windlass_core::mapping::MappingRow;
use windlass_core::redrive::same_function;
use windlass_core::validate;

/// Jobs at a time.
const MAX_JOBS: usize = 64;

/// Lines of an answer that wait for the caller.
const MAX_UNREAD: usize = 64;

type Job = BoxFuture<'static, ()>;

/// Whether a mapping of the function asks it for the items that failed: then its answers to a redrive
/// say so as well.
fn asks_for_failures(rows: &[MappingRow], function: &Arn) -> bool {
    let mut rows = rows.iter();
    rows.any(|row| {
        same_function(&row.function_arn, function)
            && validate::mapping(row).is_ok_and(|mapping| mapping.reports_item_failures)
    })
}

/// Starts jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    started: mpsc::UnboundedSender<Job>,
    /// Until they are run.
    queue: Mutex<Option<mpsc::UnboundedReceiver<Job>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_draining: bool,
    n_running: usize,
}

/// Why a job is not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotStarted {
    #[error("the daemon stops; ask it again when it has been started")]
    Draining,
    #[error("{MAX_JOBS} jobs are running; try again when one has ended")]
    TooMany,
}

/// The job has ended early: its caller has left, or the daemon drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended;

/// What a job tells its caller.
#[derive(Debug)]
pub(crate) struct Caller<T> {
    reports: mpsc::Sender<T>,
    state: watch::Receiver<State>,
}

/// Counts as a running job until it is dropped.
struct Running(Jobs);

impl Default for Jobs {
    fn default() -> Self {
        let (started, queue) = mpsc::unbounded_channel();
        Self(Arc::new(Shared {
            state: watch::Sender::new(State::default()),
            started,
            queue: Mutex::new(Some(queue)),
        }))
    }
}

impl Jobs {
    /// Starts a job; what it reports arrives at the receiver, whose end is that of the job.
    ///
    /// # Errors
    /// The daemon drains, or too many jobs are running.
    pub(crate) fn start<T, F>(
        &self,
        job: impl FnOnce(Caller<T>) -> F,
    ) -> Result<mpsc::Receiver<T>, NotStarted>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut refused = None;
        self.0.state.send_if_modified(|state| {
            refused = match state {
                State {
                    is_draining: true, ..
                } => Some(NotStarted::Draining),
                State { n_running, .. } if MAX_JOBS <= *n_running => Some(NotStarted::TooMany),
                State { n_running, .. } => {
                    *n_running += 1;
                    None
                }
            };
            refused.is_none()
        });
        if let Some(refused) = refused {
            return Err(refused);
        }
        let running = Running(self.clone());
        let (reports, receiver) = mpsc::channel(MAX_UNREAD);
        let job = job(Caller {
            reports,
            state: self.0.state.subscribe(),
        });
        let job = async move {
            job.await;
            drop(running);
        };
        // A supervisor that has ended runs none: the receiver ends at once.
        self.0.started.send(Box::pin(job)).ok();
        Ok(receiver)
    }

    /// Runs jobs, until it is dropped with all of them.
    pub(crate) async fn run(&self) {
        let queue = self.0.queue.lock().map(|mut queue| queue.take());
        let queue = queue.unwrap_or_else(|poisoned| poisoned.into_inner().take());
        let Some(mut queue) = queue else {
            return std::future::pending().await;
        };
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                Some(job) = queue.recv() => {
                    tasks.spawn(job);
                }
                Some(end) = tasks.join_next() => if let Err(error) = end {
                    tracing::error!(%error, "job panicked");
                },
            }
        }
    }

    /// Starts no more jobs, and lets those that run begin nothing more.
    pub(crate) fn drain(&self) {
        self.0.state.send_modify(|state| state.is_draining = true);
    }

    /// Waits until none runs.
    pub(crate) async fn idle(&self) {
        let mut state = self.0.state.subscribe();
        let idle = state.wait_for(|state| state.n_running == 0);
        drop(idle.await);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let state = &self.0.0.state;
        state.send_modify(|state| state.n_running -= 1);
    }
}

impl<T> Caller<T> {
    /// Fails when no more may be begun.
    pub(crate) fn check(&self) -> Result<(), Ended> {
        let is_ended = self.state.borrow().is_draining || self.reports.is_closed();
        if is_ended { Err(Ended) } else { Ok(()) }
    }

    /// Returns when no more may be begun.
    pub(crate) async fn ended(&self) {
        let mut state = self.state.clone();
        tokio::select! {
            _ = state.wait_for(|state| state.is_draining) => {}
            () = self.reports.closed() => {}
        }
    }

    /// Waits for something that may be broken off.
    pub(crate) async fn unless_ended<R>(
        &self,
        future: impl Future<Output = R>,
    ) -> Result<R, Ended> {
        tokio::select! {
            biased;
            () = self.ended() => Err(Ended),
            output = future => Ok(output),
        }
    }

    /// Waits while the caller reads too slowly.
    pub(crate) async fn report(&self, report: T) -> Result<(), Ended> {
        self.reports.send(report).await.map_err(|_| Ended)
    }
}
