//! [`Piece`]: a batch, or what is left of one, with what is needed to repeat it.

use std::collections::BTreeSet;
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
    /// Of each record, the number in its lane: those of an unbroken run follow each other.
    pub(super) ordinals: Vec<u64>,
    /// Of the events of all records.
    pub(super) bytes: usize,
    /// The first arrival of a record; `None` without a maximum age.
    pub(super) oldest: Option<Timestamp>,
    pub(super) attempts: Attempts,
    /// Of the last invocation.
    pub(super) request_id: Option<Arc<str>>,
    /// See [`FailureRecord::last_error`].
    pub(super) last_error: Option<Arc<str>>,
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

/// Collects records that are too old into unbroken runs of their lane, none larger than a batch or
/// across the end of a tumbling window.
#[derive(Debug)]
pub(super) struct Runs {
    limits: BatchLimits,
    /// That were made with the records.
    n_attempts: u32,
    request_id: Option<Arc<str>>,
    last_error: Option<Arc<str>>,
    /// The current run.
    records: Vec<Record>,
    tickets: Vec<Ticket>,
    bytes: usize,
    /// Of the record that would continue it.
    next_ordinal: Option<u64>,
    ended: Vec<Run>,
}

impl Piece {
    /// A piece without failures, which may be invoked at once.
    pub(super) fn new(
        records: Arc<[Record]>,
        tickets: Vec<Ticket>,
        ordinals: Vec<u64>,
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
            ordinals,
            attempts: Attempts::default(),
            request_id: None,
            last_error: None,
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

    /// Whether an invocation with its records has failed, and it is invoked again.
    pub(super) const fn is_retried(&self) -> bool {
        self.waiting.is_some() || self.last_error.is_some()
    }

    /// Keeps what a delivery says of the last invocation.
    pub(super) fn answered(&mut self, outcome: &Outcome) {
        self.last_error = outcome.describe_error().map(Into::into);
        if let Some(id) = response(outcome).and_then(|it| it.request_id.as_deref()) {
            self.request_id = Some(id.into());
        }
    }

    /// Of each record, whether the function has processed it, by a response that reports items: those
    /// before the first that it names or, with `strict_order`, before the first of their key. Empty
    /// if that is true of none, also because the response names anything that is not in the batch.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html>
    pub(super) fn done(&self, outcome: &Outcome, strict_order: bool) -> Vec<bool> {
        let Outcome::ItemFailures { failures, .. } = outcome else {
            return Vec::new();
        };
        let numbers = self.records.iter().map(Record::sequence_number);
        let Some(failed) = failures.indexes(numbers) else {
            return Vec::new();
        };
        let mut failed = failed.into_iter().peekable();
        let (mut any_failed, mut failed_keys) = (false, BTreeSet::new());
        let done = self.records.iter().enumerate().map(|(index, record)| {
            if failed.next_if_eq(&index).is_some() {
                any_failed = true;
                failed_keys.insert(record.key());
            }
            if strict_order {
                !failed_keys.contains(&record.key())
            } else {
                !any_failed
            }
        });
        let done: Vec<bool> = done.collect();
        if done.contains(&true) {
            done
        } else {
            Vec::new()
        }
    }

    /// Divides it into what is done and the rest, which has no failures of its own.
    pub(super) fn divide(self, done: &[bool], now: Timestamp) -> (Self, Self) {
        let part = |is_done: bool| {
            let indexes = (0..self.records.len()).filter(|index| done[*index] == is_done);
            let indexes: Vec<_> = indexes.collect();
            let records = indexes.iter().map(|index| self.records[*index].clone());
            Self {
                request_id: self.request_id.clone(),
                last_error: self.last_error.clone(),
                ..Self::new(
                    records.collect(),
                    indexes.iter().map(|index| self.tickets[*index]).collect(),
                    indexes.iter().map(|index| self.ordinals[*index]).collect(),
                    self.oldest.is_some(),
                    now,
                )
            }
        };
        (part(true), part(false))
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
        let (tickets, ordinals) = (
            self.tickets.split_off(index),
            self.ordinals.split_off(index),
        );
        let (first, second) = self.records.split_at(index);
        let have_maximum_age = self.oldest.is_some();
        let piece = |records: &[Record], tickets, ordinals| Self {
            request_id: self.request_id.clone(),
            last_error: self.last_error.clone(),
            ..Self::new(records.into(), tickets, ordinals, have_maximum_age, now)
        };
        (
            piece(first, self.tickets, self.ordinals),
            piece(second, tickets, ordinals),
        )
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
        let mut runs = Runs {
            n_attempts: self.attempts.n_failed(),
            request_id: self.request_id.clone(),
            last_error: self.last_error.clone(),
            ..Runs::new(limits)
        };
        let (mut records, mut tickets, mut ordinals) = (Vec::new(), Vec::new(), Vec::new());
        let numbered = self.tickets.iter().zip(&self.ordinals);
        for (record, (ticket, ordinal)) in self.records.iter().zip(numbered) {
            if is_too_old(record) {
                runs.push(record.clone(), *ticket, *ordinal);
            } else {
                records.push(record.clone());
                tickets.push(*ticket);
                ordinals.push(*ordinal);
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
            last_error: self.last_error,
            waiting: self.waiting,
            ..Self::new(records.into(), tickets, ordinals, true, self.due)
        })
    }

    /// No further attempt is made. Each unbroken run is given up by itself, so that what is reported
    /// from its first to its last record are these records and no others.
    pub(super) fn give_up(self, outcome: &Outcome) -> Vec<Run> {
        let response = response(outcome).map(|response| FailedResponse {
            status: response.status,
            executed_version: response.executed_version.as_deref().map(Into::into),
            function_error: matches!(outcome, Outcome::FunctionError { .. }),
        });
        let condition = if outcome.is_too_large() {
            FailureCondition::RecordTooLarge
        } else {
            FailureCondition::RetryAttemptsExhausted
        };
        let (mut tickets, mut start) = (self.tickets.into_iter(), 0);
        let runs = self.ordinals.chunk_by(|it, next| it + 1 == *next);
        let runs = runs.map(|run| {
            let records = &self.records[start..start + run.len()];
            start += run.len();
            Run {
                failure: FailureRecord {
                    condition,
                    records: records.into(),
                    attempts: self.attempts.n_failed(),
                    request_id: self.request_id.clone(),
                    response: response.clone(),
                    last_error: self.last_error.clone(),
                    window: None,
                },
                tickets: tickets.by_ref().take(run.len()).collect(),
                bytes: records.iter().map(Record::event_len).sum(),
            }
        });
        runs.collect()
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
    /// A record that is never invoked: it alone exceeds the payload limit, or cannot be rendered.
    pub(super) fn alone(record: Record, ticket: Ticket) -> Self {
        let bytes = record.event_len();
        let (condition, error) = match record.unreadable() {
            Some(reason) => (FailureCondition::Unreadable, reason.into()),
            None => {
                let error = format!("its event of {bytes} bytes does not fit into an invocation");
                (FailureCondition::RecordTooLarge, error.into())
            }
        };
        Self {
            bytes,
            failure: FailureRecord {
                condition,
                records: [record].into(),
                attempts: 0,
                request_id: None,
                response: None,
                last_error: Some(error),
                window: None,
            },
            tickets: vec![ticket],
        }
    }
}

impl Runs {
    /// Of records that are not known to have been invoked.
    pub(super) const fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            n_attempts: 0,
            request_id: None,
            last_error: None,
            records: Vec::new(),
            tickets: Vec::new(),
            bytes: 0,
            next_ordinal: None,
            ended: Vec::new(),
        }
    }

    /// Adds a later record of the lane.
    pub(super) fn push(&mut self, record: Record, ticket: Ticket, ordinal: u64) {
        if record.unreadable().is_some() {
            self.end();
            self.ended.push(Run::alone(record, ticket));
            return;
        }
        let bytes = self.bytes + record.event_len();
        let n_records = self.records.len() + 1;
        if self.next_ordinal != Some(ordinal)
            || self.limits.max_items < n_records
            || self.limits.max_bytes < event::event_len(n_records, bytes)
        {
            self.end();
        }
        self.bytes += record.event_len();
        self.records.push(record);
        self.tickets.push(ticket);
        self.next_ordinal = Some(ordinal + 1);
    }

    /// The current run is complete.
    pub(super) fn end(&mut self) {
        if self.records.is_empty() {
            return;
        }
        self.ended.push(Run {
            failure: FailureRecord {
                condition: FailureCondition::RecordAgeExceeded,
                records: std::mem::take(&mut self.records).into(),
                attempts: self.n_attempts,
                request_id: self.request_id.clone(),
                response: None,
                last_error: self.last_error.clone(),
                window: None,
            },
            tickets: std::mem::take(&mut self.tickets),
            bytes: std::mem::take(&mut self.bytes),
        });
    }

    pub(super) fn finish(mut self) -> Vec<Run> {
        self.end();
        self.take_ended()
    }

    /// The runs that are complete.
    pub(super) fn take_ended(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.ended)
    }
}
