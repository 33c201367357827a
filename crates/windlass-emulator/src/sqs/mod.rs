//! SQS queues, in memory: standard and FIFO.
//!
//! Calls do their work under one lock and answer at once, except for a receive that waits: it
//! holds no lock while it does, and takes messages only when it is about to answer. So a client
//! that goes away while it waits takes nothing with it.

mod batch;
mod calls;
mod deduplication;
mod message;
mod queue;
mod queues;
mod receipt;
mod receive;
mod refusal;
mod requests;
mod settings;
mod shelf;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::answer::Answer;
use crate::clock::Clock;
pub use queue::{QueueCounts, SentMessage};
pub use refusal::SqsRefusal;

use queue::Queue;
use receive::{Attempt, Receive};
use requests::SendEntry;

/// The account of all queues.
const ACCOUNT: &str = "000000000000";

/// What the paths of queues begin with; their names follow. Some clients post there.
pub(crate) const PATH: &str = "/000000000000/";

/// What the ARN of every queue begins with.
const ARN_START: &str = "arn:aws:sqs:us-east-1:000000000000:";

/// All queues of the one account and region.
#[derive(Debug)]
pub struct Sqs {
    clock: Clock,
    world: Mutex<World>,
}

/// What the lock guards.
#[derive(Debug)]
struct World {
    /// What the URLs of queues begin with.
    base_url: String,
    queues: BTreeMap<String, Queue>,
    /// The last number given to a queue or a message; no two have the same.
    last_number: u64,
    /// Milliseconds since 1970.
    started: u64,
}

impl Sqs {
    /// Without any queue. The URLs of queues begin with `base_url`, such as
    /// `http://127.0.0.1:4566`.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        let clock = Clock::start();
        let base_url: String = base_url.into();
        Self {
            clock,
            world: Mutex::new(World {
                base_url: base_url.trim_end_matches('/').to_owned(),
                queues: BTreeMap::new(),
                last_number: 0,
                started: clock.now(),
            }),
        }
    }

    /// Executes one call of the JSON protocol: the part of `X-Amz-Target` behind the dot, and the
    /// request. A ReceiveMessage may wait for as long as it says, 20 seconds at most.
    pub async fn call(&self, operation: &str, body: &[u8]) -> Answer {
        let result = if operation == "ReceiveMessage" {
            self.receive(body).await
        } else {
            calls::execute(&mut self.lock(), operation, body, self.clock.now())
        };
        match result {
            Ok(body) => Answer::written(body),
            Err(refusal) => refusal.into(),
        }
    }

    /// Makes a queue with these attributes; answers its ARN. A name that ends in `.fifo` makes a
    /// FIFO queue.
    ///
    /// # Errors
    /// As CreateQueue has them.
    pub fn create_queue(
        &self,
        name: &str,
        attributes: &[(&str, &str)],
    ) -> Result<String, SqsRefusal> {
        let attributes = attributes.iter();
        let attributes = attributes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let now = self.clock.now();
        queues::make_queue(&mut self.lock(), name, &attributes.collect(), now)?;
        Ok(arn_of(name))
    }

    /// Sends a message. To a FIFO queue it is sent to this group, and never is a duplicate.
    ///
    /// # Errors
    /// As SendMessage has them.
    pub fn send(
        &self,
        queue: &str,
        group: Option<&str>,
        body: &str,
    ) -> Result<SentMessage, SqsRefusal> {
        let mut world = self.lock();
        let fifo = world.queue(queue)?.settings.fifo;
        let number = world.last_number + 1;
        let entry = SendEntry {
            id: String::new(),
            message_body: Some(body.to_owned()),
            delay_seconds: None,
            message_attributes: BTreeMap::new(),
            message_system_attributes: BTreeMap::new(),
            message_group_id: group.map(str::to_owned),
            message_deduplication_id: fifo.then(|| format!("in-process-{number}")),
        };
        calls::send(&mut world, queue, entry, self.clock.now()).map(|sent| sent.message)
    }

    /// How many messages a queue has.
    ///
    /// # Errors
    /// If there is no such queue.
    pub fn counts(&self, queue: &str) -> Result<QueueCounts, SqsRefusal> {
        let now = self.clock.now();
        Ok(self.lock().queue_mut(queue)?.counts(now))
    }

    /// Receives, again and again until something comes or the time is over.
    async fn receive(&self, body: &[u8]) -> Result<Bytes, SqsRefusal> {
        let receive = Receive::new(&self.lock(), body, self.clock.now())?;
        loop {
            let mut arrival = pin!(receive.arrivals().notified());
            // From here on no arrival is missed.
            arrival.as_mut().enable();
            let attempt = receive.attempt(&mut self.lock(), self.clock.now())?;
            match attempt {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Wait(wait) => tokio::select! {
                    () = arrival => {}
                    () = tokio::time::sleep(wait) => {}
                },
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn queue(&self, name: &str) -> Result<&Queue, SqsRefusal> {
        self.queues.get(name).ok_or_else(SqsRefusal::no_queue)
    }

    fn queue_mut(&mut self, name: &str) -> Result<&mut Queue, SqsRefusal> {
        self.queues.get_mut(name).ok_or_else(SqsRefusal::no_queue)
    }

    /// The queue of an ARN.
    fn queue_of_arn(&self, arn: &str) -> Option<&Queue> {
        self.queues.get(arn.strip_prefix(ARN_START)?)
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn url_of(&self, name: &str) -> String {
        format!("{}{PATH}{name}", self.base_url)
    }
}

fn arn_of(name: &str) -> String {
    format!("{ARN_START}{name}")
}

/// The name of the queue at a URL. The host is not looked at: clients know it by many names.
fn name_in(url: &str) -> Result<&str, SqsRefusal> {
    let name = url.split_once(PATH).map(|(_, name)| name);
    name.filter(|name| !name.is_empty()).ok_or_else(|| {
        SqsRefusal::new(
            "InvalidAddress",
            format!("The address {url} is not valid for this endpoint."),
        )
    })
}

#[cfg(test)]
mod tests;
