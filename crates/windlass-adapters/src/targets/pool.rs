//! The connections of one HTTP function.
//!
//! A pool of our own, because a client library's does not tell what the retry rules ask: whether a
//! request went out on a connection that had been used before, and whether it went out at all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::Scheme;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower_service::Service as _;
use windlass_engine::ports::BoxError;

use crate::trust::{self, CaBundle};

/// An idle connection is closed after so long; most servers wait longer.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Most idle connections that are kept.
const MOST_IDLE: usize = 64;

/// A function that does not accept a connection within this cannot be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that takes one request at a time.
pub(super) type Sender = SendRequest<Full<Bytes>>;

/// The connections of one function.
#[derive(Debug)]
pub(super) struct Pool {
    uri: Uri,
    connector: HttpsConnector<HttpConnector>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest at the back.
    idle: VecDeque<(Sender, Instant)>,
    /// Each drives one connection until it is closed.
    drivers: JoinSet<()>,
}

impl Pool {
    /// Connects to where `uri` says, by HTTP or HTTPS; a bundle adds to the authorities that the
    /// machine trusts.
    ///
    /// # Errors
    /// It is HTTPS, and no root certificates can be read.
    pub(super) fn new(uri: Uri, bundle: Option<&CaBundle>) -> std::io::Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?;
        // A machine without any root certificates can still call plain HTTP.
        let roots = if uri.scheme() == Some(&Scheme::HTTPS) {
            trust::roots(bundle)?
        } else {
            rustls::RootCertStore::empty()
        };
        let tls = tls.with_root_certificates(roots);
        let tls = tls.with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1();
        let connector = connector.wrap_connector(http);
        Ok(Self {
            uri,
            connector,
            state: Mutex::default(),
        })
    }

    /// A connection that was used before and is still open, if there is one.
    pub(super) fn take_idle(&self) -> Option<Sender> {
        let mut state = self.state();
        state
            .idle
            .retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_LIMIT);
        // One that was put back a moment ago may not be ready yet. It stays: were it dropped, a
        // function that answers fast would get a new connection for nearly every call.
        let newest = state
            .idle
            .iter()
            .rposition(|(sender, _)| sender.is_ready())?;
        state.idle.remove(newest).map(|(sender, _)| sender)
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Sender, BoxError> {
        let mut connector = self.connector.clone();
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, async {
            std::future::poll_fn(|context| connector.poll_ready(context)).await?;
            connector.call(self.uri.clone()).await
        });
        let stream = stream
            .await
            .map_err(|_| "no connection within five seconds")??;
        let (sender, connection) = http1::handshake(stream).await?;
        let mut state = self.state();
        while state.drivers.try_join_next().is_some() {}
        state.drivers.spawn(async move {
            // How it ends is seen by the request that it carries.
            drop(connection.await);
        });
        Ok(sender)
    }

    /// Keeps a connection whose answer was read to the end.
    pub(super) fn put_back(&self, sender: Sender) {
        let mut state = self.state();
        state.idle.push_back((sender, Instant::now()));
        if MOST_IDLE < state.idle.len() {
            state.idle.pop_front();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
