//! The emulator: all services and functions at one address.
//!
//! AWS's JSON protocols name service and operation in the header `X-Amz-Target`, so all services
//! share one address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::dynamodb::DynamoDb;
use crate::faults::{Fault, Faults};
use crate::function;
use crate::http::{
    DropConnection, Events, HttpResult, complete, corrupted, events, read_body, serve, silent,
    truncated,
};
use crate::kinesis::Kinesis;
use crate::ledger::Ledger;
use crate::protocol::Response;
use crate::sqs::Sqs;

/// A running emulator, which stops when dropped.
#[derive(Debug)]
pub struct Emulator {
    addr: SocketAddr,
    services: Arc<Services>,
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct Services {
    kinesis: Arc<Kinesis>,
    dynamodb: DynamoDb,
    sqs: Sqs,
    faults: Faults,
    ledger: Ledger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Kinesis,
    DynamoDbStreams,
    Sqs,
}

impl Emulator {
    /// Starts an emulator in the current runtime. Port 0 takes a free port.
    pub async fn start(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let services = Arc::new(Services {
            kinesis: Arc::new(Kinesis::new()),
            dynamodb: DynamoDb::new(),
            sqs: Sqs::new(format!("http://{addr}")),
            faults: Faults::default(),
            ledger: Ledger::new(),
        });
        let mut server = JoinSet::new();
        let shared = Arc::clone(&services);
        server.spawn(async move {
            let handle = move |request| handle(Arc::clone(&shared), request);
            match serve(listener, handle).await {}
        });
        Ok(Self {
            addr,
            services,
            _server: server,
        })
    }

    /// The endpoint of all services, such as `http://127.0.0.1:4566`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The URL of a function. Functions need not be created: every name is one.
    #[must_use]
    pub fn function_url(&self, name: &str) -> String {
        format!("http://{}{}{name}", self.addr, function::PATH)
    }

    /// The streams, to create and fill them.
    #[must_use]
    pub fn kinesis(&self) -> &Kinesis {
        &self.services.kinesis
    }

    /// The tables, to create and fill them.
    #[must_use]
    pub fn dynamodb(&self) -> &DynamoDb {
        &self.services.dynamodb
    }

    /// The queues, to create and fill them.
    #[must_use]
    pub fn sqs(&self) -> &Sqs {
        &self.services.sqs
    }

    /// The faults that calls will meet.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.services.faults
    }

    /// The record of what was put and what the functions received.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.services.ledger
    }
}

impl Service {
    fn from_target_prefix(prefix: &str) -> Option<Self> {
        match prefix {
            "Kinesis_20131202" => Some(Self::Kinesis),
            "DynamoDBStreams_20120810" => Some(Self::DynamoDbStreams),
            "AmazonSQS" => Some(Self::Sqs),
            _ => None,
        }
    }

    /// The name in scripted faults.
    fn name(self) -> &'static str {
        match self {
            Self::Kinesis => "Kinesis",
            Self::DynamoDbStreams => "DynamoDBStreams",
            Self::Sqs => "SQS",
        }
    }

    fn throttling_code(self) -> &'static str {
        match self {
            Self::Kinesis => "ProvisionedThroughputExceededException",
            Self::DynamoDbStreams => "LimitExceededException",
            Self::Sqs => "RequestThrottled",
        }
    }

    async fn call(self, services: &Services, operation: &str, body: &[u8]) -> Response {
        match self {
            Self::Kinesis => services.kinesis.call(operation, body),
            Self::DynamoDbStreams => services.dynamodb.call(operation, body),
            Self::Sqs => services.sqs.call(operation, body).await,
        }
    }
}

async fn handle(services: Arc<Services>, request: Request<Incoming>) -> HttpResult {
    let path = request.uri().path();
    if let Some(name) = path.strip_prefix(function::PATH) {
        let name = name.to_owned();
        return invoke_function(&services, &name, request).await;
    }
    match (request.method(), path) {
        (&Method::POST, "/") => call_service(&services, request).await,
        (method, path) => {
            let message = format!("the emulator does not serve {method} {path}");
            Ok(complete(Response::error(404, "NotFound", &message)))
        }
    }
}

async fn call_service(services: &Services, request: Request<Incoming>) -> HttpResult {
    let target = request.headers().get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok()).unwrap_or("");
    let (prefix, operation) = target.split_once('.').unwrap_or((target, ""));
    let Some(service) = Service::from_target_prefix(prefix) else {
        let message = format!("the emulator has no service for X-Amz-Target '{target}'");
        let response = Response::error(400, "UnknownOperationException", &message);
        return Ok(complete(response));
    };
    let operation = operation.to_owned();
    let fault = services
        .faults
        .next(&format!("{}.{operation}", service.name()));
    let body = match read_body(request.into_body()).await {
        Ok(body) => body,
        Err(response) => return Ok(complete(response)),
    };
    if let Some(result) = fault_before(fault.as_ref(), 400, service.throttling_code()) {
        return result;
    }
    if (service, &*operation) == (Service::Kinesis, "SubscribeToShard") {
        return subscribe(services, &body, fault);
    }
    let response = service.call(services, &operation, &body).await;
    fault_after(fault.as_ref(), response)
}

fn subscribe(services: &Services, body: &[u8], fault: Option<Fault>) -> HttpResult {
    let subscription = match services.kinesis.subscribe(body) {
        Ok(subscription) => subscription,
        Err(error) => return fault_after(fault.as_ref(), error.into()),
    };
    if fault == Some(Fault::DropResponse) {
        return Err(DropConnection);
    }
    let kinesis = Arc::clone(&services.kinesis);
    let body = Events::new(|pieces| subscription.run(kinesis, fault, pieces));
    Ok(events(body))
}

async fn invoke_function(
    services: &Services,
    name: &str,
    request: Request<Incoming>,
) -> HttpResult {
    let fault = services.faults.next(&format!("function.{name}"));
    let body = match read_body(request.into_body()).await {
        Ok(body) => body,
        Err(response) => return Ok(complete(response)),
    };
    if let Some(result) = fault_before(fault.as_ref(), 429, "TooManyRequestsException") {
        return result;
    }
    fault_after(fault.as_ref(), function::invoke(&services.ledger, &body))
}

/// The result of a call that a fault keeps from being executed.
fn fault_before(
    fault: Option<&Fault>,
    throttling_status: u16,
    throttling_code: &str,
) -> Option<HttpResult> {
    let (status, code) = match fault? {
        Fault::Throttle => (throttling_status, throttling_code),
        Fault::InternalFailure => (500, "InternalFailure"),
        Fault::Error(code) => (400, code.as_str()),
        Fault::DropRequest => return Some(Err(DropConnection)),
        Fault::DropResponse
        | Fault::TruncateResponse
        | Fault::CorruptResponse
        | Fault::SilentResponse => return None,
    };
    Some(Ok(complete(Response::error(
        status,
        code,
        "scripted fault",
    ))))
}

/// The result of a call that was executed.
fn fault_after(fault: Option<&Fault>, response: Response) -> HttpResult {
    match fault {
        Some(Fault::DropResponse) => Err(DropConnection),
        Some(Fault::TruncateResponse) => Ok(truncated(response)),
        Some(Fault::CorruptResponse) => Ok(corrupted(response)),
        Some(Fault::SilentResponse) => Ok(silent(response)),
        _ => Ok(complete(response)),
    }
}

#[cfg(test)]
mod tests;
