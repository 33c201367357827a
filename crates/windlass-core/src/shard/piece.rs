//! [`Piece`]: a batch, or what is left of one, with what is needed to repeat it.

use std::sync::Arc;

use super::interface::Batch;
use super::view::Waiting;
use crate::batch::{BatchId, BatchIds, BatchLimits};
use crate::event;
use crate::failure::{FailedResponse, FailureCondition, FailureRecord};
use crate::outcome::{Outcome, Response};
use crate::progress::Ticket;
use crate::record::Record;
use crate::retry::Attempts;
use crate::time::Timestamp;
use crate::window::WindowCall;

#[derive(Debug)]
pub(super) struct Piece {
    /// Assigned with the first invocation.
    pub(super) id: Option<BatchId>,
    /// At least one.
    pub(super) records: Arc<[Record]>,
    /// Of each record.
    pub(super) tickets: Vec<Ticket>,
    /// Of the events of all records.
    pub(super) bytes: usize,
    /// The first arrival of a record; `None` without a maximum age.
    pub(super) oldest: Option<Timestamp>,
    pub(super) attempts: Attempts,
    /// Of the last invocation.
    pub(super) request_id: Option<Arc<str>>,
    /// When it may be invoked.
    pub(super) due: Timestamp,
    /// Why it may not be earlier.
    pub(super) waiting: Option<Waiting>,
}

/// Records that are given up together.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) failure: FailureRecord,
    pub(super) tickets: Vec<Ticket>,
    pub(super) bytes: usize,
}

/// Collects records that are too old into unbroken runs of their lane, none larger than a batch.
#[derive(Debug)]
pub(super) struct Runs {
    limits: BatchLimits,
    n_attempts: u32,
    request_id: Option<Arc<str>>,
    /// The current run.
    records: Vec<Record>,
    tickets: Vec<Ticket>,
    bytes: usize,
    ended: Vec<Run>,
}

impl Piece {
    /// A piece without failures, which may be invoked at once.
    pub(super) fn new(
        records: Arc<[Record]>,
        tickets: Vec<Ticket>,
        have_maximum_age: bool,
        now: Timestamp,
    ) -> Self {
        let arrivals = records.iter().map(Record::approximate_arrival);
        Self {
            id: None,
            oldest: have_maximum_age.then(|| arrivals.min()).flatten(),
            bytes: records.iter().map(Record::event_len).sum(),
            records,
            tickets,
            attempts: Attempts::default(),
            request_id: None,
            due: now,
            waiting: None,
        }
    }

    /// What the function receives.
    pub(super) fn batch(&mut self, window: Option<WindowCall>, ids: &mut BatchIds) -> Batch {
        Batch {
            id: *self.id.get_or_insert_with(|| ids.assign()),
            attempt: self.attempts.next_attempt(),
            records: Arc::clone(&self.records),
            window,
        }
    }

    /// Keeps what a delivery says of the last invocation.
    pub(super) fn answered(&mut self, outcome: &Outcome) {
        if let Some(id) = response(outcome).and_then(|it| it.request_id.as_deref()) {
            self.request_id = Some(id.into());
        }
    }

    /// Records at the start that the function has processed, though not all: those before the first
    /// that its response names. None if it names the first, or anything that is not in the batch.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html>
    pub(super) fn n_done(&self, outcome: &Outcome) -> usize {
        let Outcome::ItemFailures { failures, .. } = outcome else {
            return 0;
        };
        let numbers = self.records.iter().map(Record::sequence_number);
        let failed = failures.indexes(numbers).unwrap_or_default();
        failed.first().copied().unwrap_or(0)
    }

    /// It is repeated at `due`, at most `maximum_retries` times in all.
    pub(super) fn wait(&mut self, outcome: &Outcome, due: Timestamp, maximum_retries: Option<u32>) {
        self.due = due;
        self.waiting = Some(match outcome {
            Outcome::NotInvoked { cause } => Waiting::NotInvoked(*cause),
            Outcome::Success
            | Outcome::ItemFailures { .. }
            | Outcome::FunctionError { .. }
            | Outcome::Windowed(_) => Waiting::FunctionErrors {
                attempt: self.attempts.next_attempt(),
                maximum: maximum_retries.map(|retries| retries + 1),
            },
        });
    }

    /// Splits it before a record. The failures of the whole are not those of a part.
    pub(super) fn split(mut self, index: usize, now: Timestamp) -> (Self, Self) {
        let tickets = self.tickets.split_off(index);
        let (first, second) = self.records.split_at(index);
        let piece = |records: &[Record], tickets| Self {
            request_id: self.request_id.clone(),
            ..Self::new(records.into(), tickets, self.oldest.is_some(), now)
        };
        (piece(first, self.tickets), piece(second, tickets))
    }

    /// Takes out the records that are too old. The others keep their attempts and their pause.
    pub(super) fn cut(
        self,
        is_too_old: impl Fn(&Record) -> bool,
        limits: BatchLimits,
        given_up: &mut Vec<Run>,
    ) -> Option<Self> {
        if !self.records.iter().any(&is_too_old) {
            return Some(self);
        }
        let mut runs = Runs::new(limits, self.attempts.n_failed(), self.request_id.clone());
        let (mut records, mut tickets) = (Vec::new(), Vec::new());
        for (record, ticket) in self.records.iter().zip(&self.tickets) {
            if is_too_old(record) {
                runs.push(record.clone(), *ticket);
            } else {
                runs.end();
                records.push(record.clone());
                tickets.push(*ticket);
            }
        }
        given_up.extend(runs.finish());
        if records.is_empty() {
            return None;
        }
        Some(Self {
            id: self.id,
            attempts: self.attempts,
            request_id: self.request_id,
            waiting: self.waiting,
            ..Self::new(records.into(), tickets, true, self.due)
        })
    }

    /// The last attempt has failed.
    pub(super) fn give_up(self, outcome: &Outcome) -> Run {
        let response = response(outcome).map(|response| FailedResponse {
            status: response.status,
            executed_version: response.executed_version.as_deref().map(Into::into),
            function_error: matches!(outcome, Outcome::FunctionError { .. }),
        });
        Run {
            failure: FailureRecord {
                condition: FailureCondition::RetryAttemptsExhausted,
                records: self.records,
                approximate_invoke_count: self.attempts.n_failed(),
                request_id: self.request_id,
                response,
            },
            tickets: self.tickets,
            bytes: self.bytes,
        }
    }
}

fn response(outcome: &Outcome) -> Option<&Response> {
    match outcome {
        Outcome::Success | Outcome::NotInvoked { .. } => None,
        Outcome::Windowed(answer) => Some(&answer.response),
        Outcome::ItemFailures { response, .. } | Outcome::FunctionError { response, .. } => {
            Some(response)
        }
    }
}

impl Run {
    /// A record that alone exceeds the payload limit, so that it is never invoked.
    pub(super) fn of_too_large(record: Record, ticket: Ticket) -> Self {
        Self {
            bytes: record.event_len(),
            failure: FailureRecord {
                condition: FailureCondition::RecordTooLarge,
                records: [record].into(),
                approximate_invoke_count: 1,
                request_id: None,
                response: None,
            },
            tickets: vec![ticket],
        }
    }
}

impl Runs {
    /// `n_attempts` were made with the records.
    pub(super) const fn new(
        limits: BatchLimits,
        n_attempts: u32,
        request_id: Option<Arc<str>>,
    ) -> Self {
        Self {
            limits,
            n_attempts,
            request_id,
            records: Vec::new(),
            tickets: Vec::new(),
            bytes: 0,
            ended: Vec::new(),
        }
    }

    /// Adds the next record of the lane.
    pub(super) fn push(&mut self, record: Record, ticket: Ticket) {
        let bytes = self.bytes + record.event_len();
        let n_records = self.records.len() + 1;
        if self.limits.max_items < n_records
            || self.limits.max_bytes < event::event_len(n_records, bytes)
        {
            self.end();
        }
        self.bytes += record.event_len();
        self.records.push(record);
        self.tickets.push(ticket);
    }

    /// The next record of the lane is not too old.
    pub(super) fn end(&mut self) {
        if self.records.is_empty() {
            return;
        }
        self.ended.push(Run {
            failure: FailureRecord {
                condition: FailureCondition::RecordAgeExceeded,
                records: std::mem::take(&mut self.records).into(),
                approximate_invoke_count: self.n_attempts.max(1),
                request_id: self.request_id.clone(),
                response: None,
            },
            tickets: std::mem::take(&mut self.tickets),
            bytes: std::mem::take(&mut self.bytes),
        });
    }

    pub(super) fn finish(mut self) -> Vec<Run> {
        self.end();
        self.ended
    }
}
