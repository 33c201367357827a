//! SQS queues, in memory: standard and FIFO.
//!
//! A call does its work under one lock and returns at once, except for a receive that waits: it
//! holds no lock while it waits, and receives messages only when it is about to return. A client
//! that disconnects while it waits therefore takes no messages with it.

mod available;
mod batch;
mod error;
mod operations;
mod queue;
mod queues;
mod receipt_handle;
mod receive;

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::clock::Clock;
use crate::protocol::{AwsError, Response, parse_request};
use queues::Queues;
use receive::{Attempt, Receive};

/// The queues of one account and region.
#[derive(Debug)]
pub struct Sqs {
    clock: Clock,
    queues: Mutex<Queues>,
}

impl Sqs {
    /// `endpoint` is the prefix of queue URLs, such as `http://127.0.0.1:4566`.
    pub(crate) fn new(endpoint: String) -> Self {
        Self {
            clock: Clock::start(),
            queues: Mutex::new(Queues::new(endpoint)),
        }
    }

    pub(crate) async fn call(&self, operation: &str, body: &[u8]) -> Response {
        let result = if operation == "ReceiveMessage" {
            self.receive(body).await
        } else {
            operations::execute(&mut self.lock(), operation, body, self.clock.now_ms())
        };
        result.map_or_else(error::response, Response::ok)
    }

    /// Creates a queue and returns its ARN. A name that ends in `.fifo` creates a FIFO queue. The
    /// attributes are `FifoQueue`, which must agree with the name, and `VisibilityTimeout` (30).
    pub fn create_queue(
        &self,
        name: &str,
        attributes: &[(&str, &str)],
    ) -> Result<String, AwsError> {
        self.lock().create(name, attributes)
    }

    /// Sends a message, which is never treated as a duplicate. FIFO queues require a group.
    pub fn send(&self, queue: &str, group: Option<&str>, body: &str) -> Result<(), AwsError> {
        self.lock().send(queue, group, body, self.clock.now_ms())
    }

    /// Attempts to receive until there are messages or the wait time is over.
    async fn receive(&self, body: &[u8]) -> Result<Bytes, AwsError> {
        let request = parse_request(body)?;
        let receive = Receive::new(&self.lock(), request, self.clock.now_ms())?;
        loop {
            let mut arrival = pin!(receive.arrivals().notified());
            // From here on no arrival is missed.
            arrival.as_mut().enable();
            let attempt = receive.attempt(&mut self.lock(), self.clock.now_ms())?;
            match attempt {
                Attempt::Done(response) => return Ok(response),
                Attempt::Wait(wait) => tokio::select! {
                    () = arrival => {}
                    () = tokio::time::sleep(wait) => {}
                },
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
