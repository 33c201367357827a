//! A function that records its events and responds with a configurable status.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A running function, stopped on drop.
#[derive(Debug)]
pub struct Function {
    pub url: String,
    state: Arc<State>,
    _task: JoinSet<()>,
}

/// Of a record or a message.
type Condition = fn(&Value) -> bool;

/// The body of the response to an event.
type Answer = fn(&Value) -> String;

#[derive(Debug)]
struct State {
    status: Mutex<u16>,
    /// How long each response takes.
    delay: Mutex<Duration>,
    /// Whether no event is answered.
    held: watch::Sender<bool>,
    /// Whether an event with this record is a function error.
    breaks: Mutex<Option<Condition>>,
    /// Whether a message is reported as failed.
    fails: Mutex<Option<Condition>>,
    answer: Mutex<Option<Answer>>,
    /// As they arrive, each with the status of its response.
    events: Mutex<Vec<(u16, Value)>>,
    /// When each event arrived.
    arrivals: Mutex<Vec<Instant>>,
}

impl Function {
    /// Starts a function that responds with a status: 200 is success, 500 is a function error.
    pub async fn start(status: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/function", listener.local_addr()?);
        let state = Arc::new(State {
            status: Mutex::new(status),
            delay: Mutex::default(),
            held: watch::Sender::default(),
            breaks: Mutex::default(),
            fails: Mutex::default(),
            answer: Mutex::default(),
            events: Mutex::default(),
            arrivals: Mutex::default(),
        });
        let mut task = JoinSet::new();
        task.spawn(listen(listener, Arc::clone(&state)));
        Ok(Self {
            url,
            state,
            _task: task,
        })
    }

    /// Sets the status of future responses.
    pub fn set_status(&self, status: u16) {
        *lock(&self.state.status) = status;
    }

    /// Delays future responses.
    pub fn set_delay(&self, delay: Duration) {
        *lock(&self.state.delay) = delay;
    }

    /// Answers no event until [`Function::release`].
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    pub fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// From now on events with a record for which `breaks` holds are function errors; `None`: none
    /// are.
    pub fn break_on(&self, breaks: Option<Condition>) {
        *lock(&self.state.breaks) = breaks;
    }

    /// From now on it responds with the item failures of the messages for which `fails` holds.
    pub fn report_failed(&self, fails: Condition) {
        *lock(&self.state.fails) = Some(fails);
    }

    /// From now on it responds with this body.
    pub fn answer_with(&self, answer: Answer) {
        *lock(&self.state.answer) = Some(answer);
    }

    /// When each event arrived.
    pub fn arrivals(&self) -> Vec<Instant> {
        lock(&self.state.arrivals).clone()
    }

    /// All events so far with the statuses of the responses.
    pub fn responses(&self) -> Vec<(u16, Value)> {
        lock(&self.state.events).clone()
    }

    /// All events so far, whatever the response.
    pub fn events(&self) -> Vec<Value> {
        let events = lock(&self.state.events);
        events.iter().map(|(_, event)| event.clone()).collect()
    }

    /// The records of all successful invocations, in the order of arrival.
    pub fn records(&self) -> Vec<Value> {
        let events = lock(&self.state.events);
        let good = events.iter().filter(|(status, _)| *status == 200);
        let records = good.flat_map(|(_, event)| records(event));
        records.cloned().collect()
    }
}

async fn listen(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&state), request));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    drop(connection.await); // The caller sees the same error.
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    lock(&state.arrivals).push(Instant::now());
    let fails = *lock(&state.fails);
    let body = match *lock(&state.answer) {
        Some(answer) => answer(&event),
        None => fails
            .map_or(Value::Null, |fails| item_failures(&event, fails))
            .to_string(),
    };
    let breaks = *lock(&state.breaks);
    let is_broken = breaks.is_some_and(|breaks| records(&event).any(breaks));
    let status = if is_broken { 500 } else { *lock(&state.status) };
    lock(&state.events).push((status, event));
    let delay = *lock(&state.delay);
    tokio::time::sleep(delay).await;
    drop(state.held.subscribe().wait_for(|held| !held).await);
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}

fn item_failures(event: &Value, fails: Condition) -> Value {
    let failed = records(event).filter(|record| fails(record));
    let items = failed.map(|record| json!({"itemIdentifier": record["messageId"]}));
    json!({"batchItemFailures": items.collect::<Value>()})
}

fn records(event: &Value) -> impl Iterator<Item = &Value> {
    event["Records"].as_array().into_iter().flatten()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
