//! The HTTP server, on its own thread and runtime.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, Method, Uri};
use tokio::sync::watch;
use windlass_engine::jobs::{DryRuns, Redriver};
use windlass_engine::memory::Budget;

use crate::api;
use crate::auth::{AuthSettings, Gate};
use crate::connections::{self, ConnectionLimits, Serving};
use crate::control::Control;
use crate::errors::{ApiError, Code};
use crate::metrics::{Metrics, UPKEEP_INTERVAL};
use crate::rebinding_guard::{AllowedHost, RebindingGuard, Scheme};
use crate::requests::in_time;
use crate::state::{Readiness, ServerState, StoreCheck};
use crate::tls::{ServerTls, Tls};
use crate::watched_files::CHECK_INTERVAL;
use crate::{
    config_mappings, daemon, dead_letters, health, history, openapi, parks, redrive, replays, seek,
    skip, status,
};

/// For requests in progress when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Paths of probes, which address the daemon by whatever name they have.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

pub struct ServerParts {
    pub control: Control,
    pub readiness: Readiness,
    pub metrics: Metrics,
    pub budget: Budget,
    pub redriver: Redriver,
    pub dry_runs: DryRuns,
    /// Names in the `Host` of requests, in addition to IP addresses and loopback names.
    pub allowed_hosts: Vec<AllowedHost>,
    pub auth: AuthSettings,
    /// `None`: plain HTTP.
    pub tls: Option<Tls>,
}

/// Stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// Closed when the thread ends, also by a panic.
    running: watch::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// # Errors
    /// The thread or its runtime cannot be started.
    pub fn start(listener: TcpListener, parts: ServerParts) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let scheme = match &parts.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        };
        let open = open_to_all(&parts.auth, address);
        if let Some(warning) = &open {
            tracing::warn!("{warning}");
        }
        let state = Arc::new(ServerState {
            control: parts.control,
            readiness: parts.readiness,
            store_check: StoreCheck::default(),
            metrics: parts.metrics,
            budget: parts.budget,
            guard: RebindingGuard::new(parts.allowed_hosts, scheme),
            gate: Gate::new(parts.auth),
            open,
            tls: parts.tls.map(|tls| Arc::new(ServerTls::new(tls))),
            redriver: parts.redriver,
            dry_runs: parts.dry_runs,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("windlass-admin".to_owned());
        let (thread_runs, running) = watch::channel(());
        let thread = thread.spawn(move || {
            let _thread_runs = thread_runs;
            runtime.block_on(serve(listener, state, stopped));
        })?;
        Ok(Self {
            address,
            stop,
            running,
            thread: Some(thread),
        })
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server has ended, which it does unasked only after a failure or a panic.
    pub async fn ended(&mut self) {
        while self.running.changed().await.is_ok() {}
    }

    /// Accepts no more requests, and returns when those in progress have finished, at most after a
    /// second.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the API server panicked");
        }
    }
}

/// What to say of a daemon that asks nobody who he is, and may be called from elsewhere.
fn open_to_all(auth: &AuthSettings, address: SocketAddr) -> Option<String> {
    let is_open = *auth == AuthSettings::None && !address.ip().is_loopback();
    is_open.then(|| {
        format!(
            "callers are not authenticated (auth: none), and {address} may be reached from other \
             machines: every caller can create, change and delete mappings"
        )
    })
}

async fn serve(listener: TcpListener, state: Arc<ServerState>, stopped: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot serve the API"),
    };
    let upkeep = async {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            state.metrics.upkeep();
        }
    };
    let serving = Serving {
        router: router(Arc::clone(&state)),
        tls: state.tls.clone(),
        limits: ConnectionLimits::default(),
    };
    let server = connections::serve(listener, serving, stopped.clone());
    let files = async {
        loop {
            state.refresh_files();
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    };
    let timeout = async {
        connections::stop(stopped).await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        () = server => {}
        () = upkeep => {}
        () = files => {}
        () = timeout => {}
    }
}

fn router(state: Arc<ServerState>) -> Router {
    let in_time = Router::new()
        .merge(api::routes())
        .merge(dead_letters::routes())
        .merge(replays::routes())
        .merge(history::routes())
        .merge(parks::routes())
        .route("/windlass/v1/mappings", get(status::list))
        .route("/windlass/v1/mappings/{uuid}", get(status::get))
        .route("/windlass/v1/functions", get(status::functions))
        .route("/windlass/v1/daemon", get(daemon::get))
        .route("/windlass/v1/openapi.json", get(openapi::get))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(end_in_time));
    // Jobs are merged here: they end with their callers.
    let routes = in_time
        .merge(seek::job_routes())
        .merge(skip::job_routes())
        .merge(redrive::job_routes())
        .merge(dead_letters::job_routes())
        .merge(config_mappings::job_routes())
        .merge(replays::job_routes())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(Arc::clone(&state));
    // Around all of them: a route by itself tells the methods that it has (`Allow`).
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn_with_state(state, filter_request))
}

/// Ends what takes too long.
async fn end_in_time(request: Request, next: Next) -> Response {
    let response = in_time(next.run(request)).await;
    response.unwrap_or_else(IntoResponse::into_response)
}

/// Rejects web pages and unknown callers, and adds the request id that AWS's clients show.
async fn filter_request(
    State(state): State<Arc<ServerState>>,
    request: Request,
    next: Next,
) -> Response {
    let is_probe = PROBES.contains(&request.uri().path());
    let mut response = match state.guard.check(request.headers(), is_probe) {
        Ok(()) => {
            let admitted = match is_probe {
                true => Ok(request),
                false => state.admit(request).await,
            };
            match admitted {
                Ok(request) => next.run(request).await,
                Err(error) => error.into_response(),
            }
        }
        Err(error) => error.into_response(),
    };
    let id = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
    let id = id.expect("a UUID has only letters, digits and hyphens");
    response.headers_mut().insert("x-amzn-requestid", id);
    response
}

async fn metrics(State(state): State<Arc<ServerState>>) -> Response {
    let (refused, wall) = (state.gate.refused(), state.control.clock().wall());
    let text = state
        .metrics
        .render(state.control.board(), &state.budget, refused, wall);
    ([("content-type", "text/plain; version=0.0.4")], text).into_response()
}

async fn unknown(method: Method, uri: Uri) -> ApiError {
    let text = format!("windlass has no operation at {method} {}", uri.path());
    ApiError::new(Code::UnknownOperation, text)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::requests::REQUEST_TIMEOUT;

    #[test]
    fn a_daemon_that_admits_every_caller_from_elsewhere_says_so() {
        let [loopback, any] = ["127.0.0.1:9870", "0.0.0.0:9870"].map(|it| it.parse().unwrap());
        let keys = || AuthSettings::Required {
            access_keys: Vec::new(),
            bearer_tokens: Vec::new(),
        };
        assert_eq!(open_to_all(&AuthSettings::None, loopback), None);
        assert_eq!(open_to_all(&keys(), any), None);
        let warning = open_to_all(&AuthSettings::None, any).unwrap();
        assert!(warning.contains("auth: none"), "{warning}");
        assert!(warning.contains("0.0.0.0:9870"), "{warning}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_in_time_and_a_job_with_its_caller() {
        let slow = || get(|| tokio::time::sleep(REQUEST_TIMEOUT * 2));
        let in_time = Router::new()
            .route("/request", slow())
            .layer(middleware::from_fn(end_in_time));
        let service = TowerToHyperService::new(in_time.route("/job", slow()));
        for (path, status) in [("/request", 500), ("/job", 200)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = service.call(request).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
        }
    }
}
