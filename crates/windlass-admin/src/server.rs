//! The HTTP server, on a thread and a runtime of its own.

use std::future::IntoFuture;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, Method, Uri};
use tokio::sync::watch;
use windlass_engine::memory::Budget;

use crate::control::Control;
use crate::errors::{ApiError, Code};
use crate::metrics::{Metrics, UPKEEP_INTERVAL};
use crate::{api, health, rebinding_guard, status};

/// The most bytes of a request's body: 1 MiB.
pub(crate) const MAXIMUM_REQUEST: usize = 1024 * 1024;

/// How long requests that are under way may take once the server is told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// What a server is made of.
pub struct ServerParts {
    /// The operations of the API.
    pub control: Control,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// The bytes that all consumers share.
    pub budget: Budget,
}

/// Whether the daemon takes on work; shared with whoever stops it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

/// A server that runs; dropped, it stops.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What handlers share.
pub(crate) struct Served {
    pub(crate) control: Control,
    pub(crate) readiness: Readiness,
    metrics: Metrics,
    budget: Budget,
    /// Whether only this machine can reach it.
    loopback: bool,
}

impl Readiness {
    /// The daemon is about to stop: `/readyz` answers 503 from here on.
    pub fn drain(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Server {
    /// Serves on a listener that is bound already.
    ///
    /// # Errors
    /// The thread or its runtime cannot be started.
    pub fn start(listener: TcpListener, parts: ServerParts) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let served = Arc::new(Served {
            control: parts.control,
            readiness: parts.readiness,
            metrics: parts.metrics,
            budget: parts.budget,
            loopback: address.ip().is_loopback(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("windlass-admin".to_owned());
        let thread = thread.spawn(move || runtime.block_on(serve(listener, served, stopped)))?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, and returns when those under way are answered, or cut after a second.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the server of the API has panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(listener: TcpListener, served: Arc<Served>, stopped: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the API cannot be served"),
    };
    let upkeep = async {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            served.metrics.upkeep();
        }
    };
    let told = |mut stopped: watch::Receiver<bool>| async move {
        // One who stops without a word, its sender being dropped, stops as well.
        drop(stopped.wait_for(|stopped| *stopped).await);
    };
    let serving = axum::serve(listener, router(Arc::clone(&served)))
        .with_graceful_shutdown(told(stopped.clone()));
    let patience = async {
        told(stopped).await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        result = serving.into_future() => {
            if let Err(error) = result {
                tracing::error!(%error, "the API is no longer served");
            }
        }
        () = upkeep => {}
        () = patience => {}
    }
}

fn router(served: Arc<Served>) -> Router {
    Router::new()
        .merge(api::routes())
        .route("/windlass/v1/mappings", get(status::list))
        .route("/windlass/v1/mappings/{uuid}", get(status::get))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(MAXIMUM_REQUEST))
        .layer(middleware::from_fn_with_state(Arc::clone(&served), around))
        .with_state(served)
}

/// Keeps web pages out, and gives every answer the id that AWS's clients show.
async fn around(State(served): State<Arc<Served>>, request: Request, next: Next) -> Response {
    let refusal = served
        .loopback
        .then(|| rebinding_guard::check(request.headers()))
        .and_then(Result::err);
    let mut response = match refusal {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    let id = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
    let id = id.expect("a UUID is of letters, digits and hyphens");
    response.headers_mut().insert("x-amzn-requestid", id);
    response
}

async fn metrics(State(served): State<Arc<Served>>) -> Response {
    let text = served
        .metrics
        .render(served.control.board(), &served.budget);
    ([("content-type", "text/plain; version=0.0.4")], text).into_response()
}

async fn unknown(method: Method, uri: Uri) -> ApiError {
    let text = format!("windlass has no operation at {method} {}", uri.path());
    ApiError::new(Code::UnknownOperation, text)
}
