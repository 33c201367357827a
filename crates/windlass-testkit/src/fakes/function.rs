//! A function whose answer the test sets, and which keeps its calls.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use windlass_core::outcome::Outcome;
use windlass_engine::ports::{Invocation, Purpose, ShardOrigin, Target};

use super::lock;

#[derive(Clone, Debug)]
pub enum Answer {
    After(Duration, Outcome),
    Hangs,
    /// Takes the driver down.
    Panics,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub purpose: Purpose,
    pub event: Bytes,
    pub attempt: u32,
    pub origin: Option<ShardOrigin>,
    pub at: Instant,
}

/// Succeeds at once unless [`FakeFunction::answers`] says otherwise.
#[derive(Debug)]
pub struct FakeFunction {
    answer: Mutex<Answer>,
    /// Events with this text are function errors.
    poison: Mutex<Option<String>>,
    calls: Mutex<Vec<Call>>,
    running: AtomicUsize,
    concurrency: Mutex<Option<usize>>,
    closed: AtomicUsize,
    start: Mutex<Start>,
}

/// Of what the function needs before its first event.
#[derive(Debug, Default)]
struct Start {
    takes: Duration,
    began: Option<Instant>,
}

/// Counts an invocation in flight until it is dropped.
struct Running<'a>(&'a AtomicUsize);

impl Default for FakeFunction {
    fn default() -> Self {
        Self {
            answer: Mutex::new(Answer::After(Duration::ZERO, Outcome::Success)),
            poison: Mutex::default(),
            calls: Mutex::default(),
            running: AtomicUsize::default(),
            concurrency: Mutex::default(),
            closed: AtomicUsize::default(),
            start: Mutex::default(),
        }
    }
}

impl FakeFunction {
    /// Sets the answer of later invocations.
    pub fn answers(&self, answer: Answer) {
        *lock(&self.answer) = answer;
    }

    /// Events that contain this text are function errors from now on; `None`: none are.
    pub fn fails_on(&self, text: Option<&str>) {
        *lock(&self.poison) = text.map(str::to_owned);
    }

    /// Sets its maximum concurrency, for mappings that start after that.
    pub fn set_concurrency(&self, concurrency: usize) {
        *lock(&self.concurrency) = Some(concurrency);
    }

    /// It starts when it is prepared, or else with its first event, which waits for this long.
    pub fn starts_in(&self, takes: Duration) {
        lock(&self.start).takes = takes;
    }

    /// When it began to start.
    pub fn start_began(&self) -> Option<Instant> {
        lock(&self.start).began
    }

    /// Begins to start, unless it has; returns how long it still takes.
    fn start(&self) -> Duration {
        let mut start = lock(&self.start);
        let now = Instant::now();
        let ends = *start.began.get_or_insert(now) + start.takes;
        ends.saturating_duration_since(now)
    }

    /// How often it was closed.
    pub fn n_closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }

    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    pub fn n_calls(&self) -> usize {
        lock(&self.calls).len()
    }

    /// Invocations in flight.
    pub fn n_running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Target for FakeFunction {
    async fn invoke(&self, invocation: Invocation) -> Outcome {
        let start = self.start();
        if !start.is_zero() {
            tokio::time::sleep(start).await;
        }
        lock(&self.calls).push(Call {
            purpose: invocation.purpose,
            event: invocation.event.to_bytes(),
            attempt: invocation.attempt,
            origin: invocation.origin,
            at: Instant::now(),
        });
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        let event = invocation.event.to_bytes();
        let text = String::from_utf8_lossy(&event);
        let is_poisoned = lock(&self.poison)
            .as_deref()
            .is_some_and(|poison| text.contains(poison));
        if is_poisoned {
            return Outcome::function_error(200, "Unhandled");
        }
        let answer = lock(&self.answer).clone();
        match answer {
            Answer::After(delay, outcome) => {
                tokio::time::sleep(delay).await;
                outcome
            }
            Answer::Hangs => std::future::pending().await,
            Answer::Panics => panic!("injected by the test"),
        }
    }

    fn prepare(&self) {
        self.start();
    }

    fn concurrency(&self) -> Option<usize> {
        *lock(&self.concurrency)
    }

    async fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    async fn timeout(&self) -> Duration {
        Duration::from_secs(60)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
