//! Functions that are invoked by HTTP.

use std::pin::{Pin, pin};
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use sha2::Sha256;
use tokio::time::Sleep;
use windlass_core::outcome::{Fault, Outcome};
use windlass_engine::ports::{BoxError, Invocation, Target, chain};

use super::invocation_facts::facts;
use super::pool::{Connection, EventBody, Pool};
use super::response::{function_error, no_response, not_invoked, outcome_of_body, outcome_of_head};
use super::response_body::{ResponseBody, SharedWalker, TooLarge};
use super::response_walker::Reads;
use super::settings::{HttpFunction, validate_header, validate_url};
use crate::tls_roots::CaBundle;

/// Invokes one function by POST, with the event as the body.
#[derive(Debug)]
pub struct HttpTarget {
    pool: Pool,
    path: Uri,
    /// Headers of every request.
    headers: HeaderMap,
    signing_secret: Option<String>,
    timeout: Duration,
    maximum_concurrency: Option<usize>,
    /// A Runtime Interface Emulator.
    is_emulator: bool,
}

/// Result of sending a request.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for each invocation"
)]
enum SendResult {
    Response(Connection, Response<Incoming>),
    NotSent,
    /// The request was sent, and the connection closed before a response began.
    Closed,
    /// What the server has sent is not a response: the function may have run.
    NotHttp,
    TimedOut,
}

impl HttpTarget {
    /// # Errors
    /// The URL or a header is invalid, or the machine's root certificates cannot be read.
    pub fn new(
        function: &HttpFunction,
        timeout: Duration,
        maximum_concurrency: Option<usize>,
        ca_bundle: Option<&CaBundle>,
    ) -> Result<Self, BoxError> {
        validate_url(&function.url)?;
        let uri: Uri = function.url.parse()?;
        let host = uri.authority().ok_or("the URL has no host")?.as_str();
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
            maximum_concurrency,
            is_emulator: function.is_runtime_interface_emulator(),
        })
    }

    /// Opens a connection, without a request.
    ///
    /// # Errors
    /// It cannot be opened: no address, nobody listens, or the certificate is not trusted.
    pub async fn check_connection(&self) -> Result<(), BoxError> {
        self.pool.connect().await.map(drop)
    }

    async fn call(&self, invocation: &Invocation) -> Outcome {
        let mut deadline = pin!(tokio::time::sleep(self.timeout));
        // The server may close an idle connection at the moment the request is sent. That says
        // nothing about the function, so the request is sent again on a new connection.
        if let Some(idle) = self.pool.take_idle() {
            match self.send(idle, invocation, deadline.as_mut()).await {
                SendResult::NotSent | SendResult::Closed => {}
                sent @ (SendResult::Response(..) | SendResult::NotHttp | SendResult::TimedOut) => {
                    return self.outcome_of(invocation, sent, deadline.as_mut()).await;
                }
            }
        }
        match self.pool.connect().await {
            Ok(new) => {
                let sent = self.send(new, invocation, deadline.as_mut()).await;
                self.outcome_of(invocation, sent, deadline).await
            }
            Err(error) => {
                let (reason, host) = (chain(&*error), self.headers.get(http::header::HOST));
                tracing::warn!(reason, ?host, "cannot connect to the function");
                not_invoked(Fault::Transient)
            }
        }
    }

    async fn send(
        &self,
        mut connection: Connection,
        invocation: &Invocation,
        deadline: Pin<&mut Sleep>,
    ) -> SendResult {
        let request = self.request(invocation);
        match timeout_at(deadline, connection.send(request)).await {
            None => SendResult::TimedOut,
            Some(Ok(response)) => SendResult::Response(connection, response),
            // An error that contains the request means that it was not sent.
            Some(Err(mut error)) => {
                if error.take_message().is_some() {
                    SendResult::NotSent
                } else if error.error().is_parse() {
                    SendResult::NotHttp
                } else {
                    SendResult::Closed
                }
            }
        }
    }

    async fn outcome_of(
        &self,
        invocation: &Invocation,
        sent: SendResult,
        deadline: Pin<&mut Sleep>,
    ) -> Outcome {
        let (mut connection, response) = match sent {
            SendResult::Response(connection, response) => (connection, response),
            SendResult::NotSent => return not_invoked(Fault::Transient),
            SendResult::Closed => return no_response("connection closed"),
            SendResult::NotHttp => return no_response("response is not valid HTTP"),
            SendResult::TimedOut => return no_response("timeout"),
        };
        let (head, body) = response.into_parts();
        let outcome = outcome_of_head(&head, self.is_emulator);
        let is_needed = self.is_emulator && outcome.is_none();
        let walker = Reads::of(invocation).map(SharedWalker::new);
        let walker = walker.filter(|_| outcome.is_none());
        let body = ResponseBody::new(body, is_needed, walker.clone()).collect();
        let body = timeout_at(deadline, connection.drive(body)).await;
        match (outcome, body) {
            (outcome, Some(Ok(body))) => {
                self.pool.put_back(connection);
                outcome.unwrap_or_else(|| {
                    let answer = walker.map(|walker| walker.finish()).unwrap_or_default();
                    outcome_of_body(&head, &body.to_bytes(), self.is_emulator, answer)
                })
            }
            // The head is enough, whatever became of the body.
            (Some(outcome), _) => outcome,
            (None, Some(Err(error))) if error.is::<TooLarge>() => {
                function_error(&head, "response too large")
            }
            (None, Some(Err(_))) => function_error(&head, "response broken off"),
            (None, None) => function_error(&head, "timeout"),
        }
    }

    fn request(&self, invocation: &Invocation) -> Request<EventBody> {
        let mut request = Request::new(EventBody::from(invocation.event.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        let mut set = |name: &'static str, value: String| {
            let value = HeaderValue::from_str(&value).expect("the value is ASCII");
            headers.insert(HeaderName::from_static(name), value);
        };
        // Neither may be zero: https://www.w3.org/TR/trace-context/#traceparent-header
        let (trace, span) = (fastrand::u128(1..), fastrand::u64(1..));
        set("traceparent", format!("00-{trace:032x}-{span:016x}-00"));
        if let Some(secret) = &self.signing_secret {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
                .expect("HMAC accepts keys of any length");
            for piece in invocation.event.pieces() {
                mac.update(piece);
            }
            let signature = hex(&mac.finalize().into_bytes());
            set("x-windlass-signature", format!("sha256={signature}"));
        }
        for (name, value) in facts(invocation) {
            // Sources assign some of them, and AWS assigns nothing that HTTP cannot carry.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        request
    }
}

#[async_trait]
impl Target for HttpTarget {
    async fn invoke(&self, invocation: Invocation) -> Outcome {
        self.call(&invocation).await
    }

    fn concurrency(&self) -> Option<usize> {
        self.maximum_concurrency
    }

    async fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// The output of a future; `None` if it does not complete before the deadline.
async fn timeout_at<T>(deadline: Pin<&mut Sleep>, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = deadline => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
