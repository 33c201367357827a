//! A function that does what it is told and remembers what it was given.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Outcome;
use windlass_engine::ports::{Invocation, Target};

use super::lock;

/// How a function answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// In this way, after so long.
    After(Duration, Outcome),
    /// Never.
    Hangs,
    /// It takes the driver down that invokes it.
    Panics,
}

/// One invocation.
#[derive(Clone, Debug)]
pub struct Call {
    /// For which mapping.
    pub mapping: MappingId,
    /// The event, whole.
    pub event: Bytes,
    /// Which attempt.
    pub attempt: u32,
    /// When it began.
    pub at: Instant,
}

/// A function in memory; it succeeds at once unless it is told otherwise.
#[derive(Debug)]
pub struct FakeFunction {
    answer: Mutex<Answer>,
    calls: Mutex<Vec<Call>>,
    running: AtomicUsize,
}

/// An invocation that is under way, until this is dropped.
struct Running<'a>(&'a AtomicUsize);

impl Default for FakeFunction {
    fn default() -> Self {
        Self {
            answer: Mutex::new(Answer::After(Duration::ZERO, Outcome::Success)),
            calls: Mutex::default(),
            running: AtomicUsize::default(),
        }
    }
}

impl FakeFunction {
    /// From here on it answers so; what is under way goes on as it began.
    pub fn answers(&self, answer: Answer) {
        *lock(&self.answer) = answer;
    }

    /// What it was given so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// How often it was invoked.
    pub fn n_calls(&self) -> usize {
        lock(&self.calls).len()
    }

    /// How many invocations are under way.
    pub fn n_running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Target for FakeFunction {
    async fn invoke(&self, invocation: Invocation) -> Outcome {
        lock(&self.calls).push(Call {
            mapping: invocation.mapping,
            event: invocation.event.to_bytes(),
            attempt: invocation.attempt,
            at: Instant::now(),
        });
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        let answer = lock(&self.answer).clone();
        match answer {
            Answer::After(pause, outcome) => {
                tokio::time::sleep(pause).await;
                outcome
            }
            Answer::Hangs => std::future::pending().await,
            Answer::Panics => panic!("the test says so"),
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(60)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
