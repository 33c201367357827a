//! Functions that are invoked by URL.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use windlass_core::outcome::{Fault, Outcome};
use windlass_engine::ports::{BoxError, Invocation, Target};

use super::MAX_RESPONSE_BYTES;
use super::answer::{function_error, not_invoked, of_body, of_head};
use super::pool::{Connection, Pieces, Pool};
use super::settings::{HttpFunction, validate_header, validate_url};
use crate::tls_roots::CaBundle;

/// Invokes one function by POST, the event as the body.
#[derive(Debug)]
pub struct HttpTarget {
    pool: Pool,
    path: Uri,
    /// What every request has.
    headers: HeaderMap,
    signing_secret: Option<String>,
    timeout: Duration,
    slots: Option<Arc<Semaphore>>,
    emulator: bool,
}

/// What came of sending a request.
enum Sent {
    Answer(Connection, Response<Incoming>),
    /// It did not go out.
    Returned,
    /// It went out, and the connection closed before an answer began.
    Closed,
    TimedOut,
}

impl HttpTarget {
    /// A target for one function.
    ///
    /// # Errors
    /// The URL or a header is not valid, or the machine's root certificates cannot be read.
    pub fn new(
        function: &HttpFunction,
        timeout: Duration,
        maximum_concurrency: Option<usize>,
        ca_bundle: Option<&CaBundle>,
    ) -> Result<Self, BoxError> {
        validate_url(&function.url)?;
        let uri: Uri = function.url.parse()?;
        let host = uri.authority().ok_or("the URL names no host")?.as_str();
        let host = HeaderValue::from_str(host)?;
        let path = uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .parse()?;
        let mut headers = HeaderMap::new();
        headers.insert(http::header::HOST, host);
        headers.insert(
            http::header::USER_AGENT,
            HeaderValue::from_static("windlass"),
        );
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        for (name, value) in &function.headers {
            validate_header(name, value).map_err(|reason| format!("header {name}: {reason}"))?;
            let invalid = |part| format!("header {name}: its {part} is not valid in HTTP");
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("name"))?,
                HeaderValue::from_str(value).map_err(|_| invalid("value"))?,
            );
        }
        Ok(Self {
            pool: Pool::new(uri, ca_bundle)?,
            path,
            headers,
            signing_secret: function.signing_secret.clone(),
            timeout,
            slots: maximum_concurrency.map(|limit| Arc::new(Semaphore::new(limit))),
            emulator: function.is_runtime_interface_emulator(),
        })
    }

    async fn call(&self, invocation: &Invocation) -> Outcome {
        let mut deadline = pin!(tokio::time::sleep(self.timeout));
        // The function may have closed an idle connection just as the request went out: that says
        // nothing about the function, so the request is sent once more, on a fresh one.
        if let Some(used) = self.pool.take_idle() {
            match self.send(used, invocation, deadline.as_mut()).await {
                Sent::Returned | Sent::Closed => {}
                sent @ (Sent::Answer(..) | Sent::TimedOut) => {
                    return self.judge(sent, deadline.as_mut()).await;
                }
            }
        }
        match self.pool.connect().await {
            Ok(fresh) => {
                let sent = self.send(fresh, invocation, deadline.as_mut()).await;
                self.judge(sent, deadline).await
            }
            Err(error) => {
                tracing::debug!(error, "the function cannot be reached");
                not_invoked(Fault::Transient)
            }
        }
    }

    async fn send(
        &self,
        mut connection: Connection,
        invocation: &Invocation,
        deadline: Pin<&mut Sleep>,
    ) -> Sent {
        let request = self.request(invocation);
        match before(deadline, connection.send(request)).await {
            None => Sent::TimedOut,
            Some(Ok(response)) => Sent::Answer(connection, response),
            // A request that is given back has not gone out.
            Some(Err(mut error)) => {
                if error.take_message().is_some() {
                    Sent::Returned
                } else {
                    Sent::Closed
                }
            }
        }
    }

    async fn judge(&self, sent: Sent, deadline: Pin<&mut Sleep>) -> Outcome {
        let (mut connection, response) = match sent {
            Sent::Answer(connection, response) => (connection, response),
            Sent::Returned => return not_invoked(Fault::Transient),
            Sent::Closed => return lost("connection closed"),
            Sent::TimedOut => return lost("timeout"),
        };
        let (head, body) = response.into_parts();
        let body = before(deadline, connection.drive(read(body))).await;
        let known = of_head(head.status, &head.headers, self.emulator);
        match (known, body) {
            (known, Some(Ok(Some(body)))) => {
                self.pool.put_back(connection);
                known.unwrap_or_else(|| of_body(head.status, &body, self.emulator))
            }
            // The head alone has said enough.
            (Some(known), _) => known,
            (None, Some(Ok(None))) => function_error(head.status, "response too large"),
            (None, Some(Err(_))) => function_error(head.status, "response broken off"),
            (None, None) => function_error(head.status, "timeout"),
        }
    }

    fn request(&self, invocation: &Invocation) -> Request<Pieces> {
        let mut request = Request::new(Pieces::from(invocation.event.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        let mut set = |name: &'static str, value: String| {
            let value = HeaderValue::from_str(&value).expect("only plain characters");
            headers.insert(HeaderName::from_static(name), value);
        };
        set("x-windlass-attempt", invocation.attempt.to_string());
        // Neither part may be zero; https://www.w3.org/TR/trace-context/#traceparent-header
        let (trace, span) = (fastrand::u128(1..), fastrand::u64(1..));
        set("traceparent", format!("00-{trace:032x}-{span:016x}-00"));
        if let Some(secret) = &self.signing_secret {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
                .expect("a key of any length is taken");
            for piece in invocation.event.pieces() {
                mac.update(piece);
            }
            let signature = hex(&mac.finalize().into_bytes());
            set("x-windlass-signature", format!("sha256={signature}"));
        }
        if let Ok(mapping) = HeaderValue::from_str(invocation.mapping.as_str()) {
            headers.insert(HeaderName::from_static("x-windlass-mapping"), mapping);
        }
        request
    }
}

#[async_trait]
impl Target for HttpTarget {
    async fn invoke(&self, invocation: Invocation) -> Outcome {
        let slot = match &self.slots {
            Some(slots) => Some(slots.acquire().await),
            None => None,
        };
        let outcome = self.call(&invocation).await;
        drop(slot);
        outcome
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// What comes before a deadline; `None` if nothing does.
async fn before<T>(deadline: Pin<&mut Sleep>, wanted: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        it = wanted => Some(it),
        () = deadline => None,
    }
}

/// The body; `None` if it is too large.
async fn read(mut body: Incoming) -> Result<Option<Bytes>, hyper::Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if MAX_RESPONSE_BYTES < whole.len() + data.len() {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole.freeze()))
}

/// The request went out, and no answer came: the function may have run.
fn lost(error: &str) -> Outcome {
    Outcome::FunctionError {
        status: 0,
        error: error.to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
