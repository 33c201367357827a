//! The emulator: all services, the functions and the faults at one address.
//!
//! AWS's JSON protocols name service and operation in the header `X-Amz-Target`, so one address is
//! enough for all of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::faults::{Fault, Faults, Script};
use crate::http::{Dropped, Reply, cut, read, whole};
use crate::kinesis::Kinesis;
use crate::ledger::Ledger;
use crate::sqs::{self, Sqs};
use crate::{function, http as server};

/// A running emulator; it ends when dropped.
#[derive(Debug)]
pub struct Emulator {
    addr: SocketAddr,
    state: Arc<State>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    kinesis: Kinesis,
    sqs: Sqs,
    faults: Faults,
    ledger: Ledger,
}

/// A service, as `X-Amz-Target` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Kinesis,
    Sqs,
}

impl Emulator {
    /// Starts one in the current runtime. Port 0 takes any that is free.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub async fn start(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            kinesis: Kinesis::new(),
            sqs: Sqs::new(format!("http://{addr}")),
            faults: Faults::new(),
            ledger: Ledger::new(),
        });
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&state);
        tasks.spawn(async move {
            let handle = move |request| answer(Arc::clone(&served), request);
            match server::serve(listener, handle).await {}
        });
        Ok(Self { addr, state, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The endpoint of all services, such as `http://127.0.0.1:4566`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address of a function. It need not be made: each name is one.
    #[must_use]
    pub fn function_url(&self, name: &str) -> String {
        format!("http://{}{}{name}", self.addr, function::PATH)
    }

    /// The streams, to be used in process.
    #[must_use]
    pub fn kinesis(&self) -> &Kinesis {
        &self.state.kinesis
    }

    /// The queues, to be used in process.
    #[must_use]
    pub fn sqs(&self) -> &Sqs {
        &self.state.sqs
    }

    /// What is to go wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// What was put, and what the functions were given.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    /// Ends it, with all connections.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }

    /// Waits until it ends, which it does not by itself.
    pub async fn run(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Service {
    fn of_target(prefix: &str) -> Option<Self> {
        match prefix {
            "Kinesis_20131202" => Some(Self::Kinesis),
            "AmazonSQS" => Some(Self::Sqs),
            _ => None,
        }
    }

    /// Its name in a script of faults.
    fn name(self) -> &'static str {
        match self {
            Self::Kinesis => "Kinesis",
            Self::Sqs => "SQS",
        }
    }

    /// What it calls a call too many.
    fn throttle(self) -> &'static str {
        match self {
            Self::Kinesis => "ProvisionedThroughputExceededException",
            Self::Sqs => "RequestThrottled",
        }
    }

    async fn call(self, state: &State, operation: &str, body: &[u8]) -> Answer {
        match self {
            Self::Kinesis => state.kinesis.call(operation, body),
            Self::Sqs => state.sqs.call(operation, body).await,
        }
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    if let Some(name) = path.strip_prefix(function::PATH) {
        return invoke(&state, name, request).await;
    }
    match (request.method(), path.as_str()) {
        (_, "/emulator/faults") => Ok(whole(script(&state.faults, request).await)),
        (&Method::GET, "/emulator/ledger") => Ok(whole(Answer::ok(state.ledger.to_json()))),
        (&Method::POST, path) if path == "/" || path.starts_with(sqs::PATH) => {
            serve(&state, request).await
        }
        (method, path) => {
            let message = format!("the emulator has nothing at {method} {path}");
            Ok(whole(Answer::error(404, "NotFound", &message)))
        }
    }
}

/// A call of a service.
async fn serve(state: &State, request: Request<Incoming>) -> Reply {
    let target = request.headers().get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok()).unwrap_or("");
    let (prefix, operation) = target.split_once('.').unwrap_or((target, ""));
    let Some(service) = Service::of_target(prefix) else {
        let message = format!("the emulator has no service for X-Amz-Target '{target}'");
        return Ok(whole(Answer::error(
            400,
            "UnknownOperationException",
            &message,
        )));
    };
    let operation = operation.to_owned();
    let fault = state
        .faults
        .take(&format!("{}.{operation}", service.name()));
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(refusal) => return Ok(whole(refusal)),
    };
    if let Some(early) = fault
        .as_ref()
        .and_then(|fault| before(fault, 400, service.throttle()))
    {
        return early;
    }
    let answer = service.call(state, &operation, &body).await;
    after(fault.as_ref(), answer)
}

/// A call of a function.
async fn invoke(state: &State, name: &str, request: Request<Incoming>) -> Reply {
    let fault = state.faults.take(&format!("function.{name}"));
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(refusal) => return Ok(whole(refusal)),
    };
    if let Some(early) = fault
        .as_ref()
        .and_then(|fault| before(fault, 429, "TooManyRequestsException"))
    {
        return early;
    }
    after(fault.as_ref(), function::invoke(&state.ledger, &body))
}

/// What a fault answers where the call is not executed.
fn before(fault: &Fault, status: u16, throttle: &str) -> Option<Reply> {
    let refuse = |status, code: &str| Some(Ok(whole(Answer::error(status, code, "as scripted"))));
    match fault {
        Fault::Throttle => refuse(status, throttle),
        Fault::InternalFailure => refuse(500, "InternalFailure"),
        Fault::ExpiredIterator => refuse(400, "ExpiredIteratorException"),
        Fault::Refuse(code) => refuse(400, code),
        Fault::Drop => Some(Err(Dropped)),
        Fault::DropAnswer | Fault::Truncate => None,
    }
}

/// What a fault makes of the answer of a call that was executed.
fn after(fault: Option<&Fault>, answer: Answer) -> Reply {
    match fault {
        Some(Fault::DropAnswer) => Err(Dropped),
        Some(Fault::Truncate) => Ok(cut(answer)),
        _ => Ok(whole(answer)),
    }
}

/// `POST` adds a fault, `GET` shows those to come, `DELETE` forgets them.
async fn script(faults: &Faults, request: Request<Incoming>) -> Answer {
    let pending = |faults: &Faults| Answer::ok(serde_json::json!({"pending": faults.pending()}));
    match *request.method() {
        Method::GET => pending(faults),
        Method::DELETE => {
            faults.clear_all();
            pending(faults)
        }
        Method::POST => {
            let body = match read(request.into_body()).await {
                Ok(body) => body,
                Err(refusal) => return refusal,
            };
            match serde_json::from_slice::<Script>(&body) {
                Ok(script) => {
                    faults.script(script);
                    pending(faults)
                }
                Err(error) => Answer::error(400, "SerializationException", &error.to_string()),
            }
        }
        _ => Answer::error(405, "MethodNotAllowed", "faults take GET, POST and DELETE"),
    }
}

#[cfg(test)]
mod tests;
