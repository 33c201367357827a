//! Documents one after the other, in order: the records of each are fetched and sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use windlass_core::arn::Arn;
use windlass_core::event::Event;
use windlass_core::ids::{MessageId, ShardId};
use windlass_core::mapping::{
    DesiredState, Mapping, MappingRow, RetrySettings, Source, StreamSettings, StreamSource,
};
use windlass_core::outcome::Fault;
use windlass_core::position::Position;
use windlass_core::redrive::{
    EventShape, FailureDocument, ItemEnd, RedriveRun, RunCommand, Selection, Verdict, compare,
    judge, ranks, same_function,
};
use windlass_core::validate;

use super::call::Call;
use super::held::{HeldMessages, NOT_DELETED};
use super::run::{RedriveReport, Run};
use super::{Caller, Ended, asks_for_failures, records};
use crate::backoff::RetryDelay;
use crate::memory::Reservation;
use crate::ports::{DocumentBucket, PortError, StreamReader, Target, chain, log_fault};

/// Attempts at a call without which a redrive cannot go on, and delays between them.
const ATTEMPTS: u32 = 5;
const DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// A document, and where it is.
pub(super) struct Entry {
    pub(super) document: FailureDocument,
    pub(super) origin: Origin,
}

pub(super) enum Origin {
    /// In the request.
    Given,
    Message {
        id: MessageId,
        held: Arc<HeldMessages>,
    },
    Object {
        bucket: Arc<dyn DocumentBucket>,
        key: String,
        /// Whether the object has the event, which is left out of the document.
        has_payload: bool,
    },
}

/// Redrives documents for one job.
pub(super) struct Documents<'r, 'a> {
    run: &'r mut Run<'a>,
    rows: Vec<MappingRow>,
    /// Of each stream and function.
    streams: BTreeMap<(Arn, Arn), Arc<dyn StreamReader>>,
}

/// Whom a document is sent to.
struct Recipient {
    function: Arn,
    target: Arc<dyn Target>,
    mapping: Option<Mapping>,
}

/// What is sent, and the memory that it takes.
struct Content {
    event: Event,
    n_records: usize,
    is_window: bool,
    memory: Option<Reservation>,
}

/// What is sent for a document, and to whom.
struct Prepared {
    call: Call,
    recipient: Recipient,
    _memory: Option<Reservation>,
}

/// Reports a document that was not sent.
fn kept(document: &FailureDocument) -> RedriveReport {
    RedriveReport {
        shard: Some(document.shard.clone()),
        sequence_numbers: Some([document.first.clone(), document.last.clone()]),
        records: document.batch_size,
        ..RedriveReport::default()
    }
}

impl Origin {
    /// The event that the document has.
    async fn payload(
        &self,
        caller: &Caller<RedriveReport>,
        document: &FailureDocument,
    ) -> Result<Result<Option<Bytes>, String>, Ended> {
        let Self::Object {
            bucket,
            key,
            has_payload: true,
        } = self
        else {
            return Ok(Ok(document.payload.clone()));
        };
        let text = match repeat(caller, || bucket.get(key)).await? {
            Ok(text) => text,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let parsed = FailureDocument::parse(&text).map_err(|error| error.to_string());
        Ok(parsed.map(|document| document.payload))
    }

    /// Deletes a document, or leaves it where it is; `false` if it could not be deleted.
    async fn settle(&self, deletes: bool) -> bool {
        match self {
            Self::Given => true,
            Self::Message { id, held } if deletes => held.delete(id).await,
            Self::Message { id, held } => {
                held.give_back(id).await;
                true
            }
            Self::Object { bucket, key, .. } if deletes => match bucket.delete(key).await {
                Ok(()) => true,
                Err(error) => {
                    log_fault(&error);
                    false
                }
            },
            Self::Object { .. } => true,
        }
    }
}

impl<'r, 'a> Documents<'r, 'a> {
    pub(super) async fn new(run: &'r mut Run<'a>) -> Result<Self, Ended> {
        let rows = run.caller.unless_ended(run.redriver.store.mappings());
        let rows = rows.await?.unwrap_or_else(|error| {
            tracing::error!("{}; redriven as if there were no mappings", chain(&error));
            Vec::new()
        });
        Ok(Self {
            run,
            rows,
            streams: BTreeMap::new(),
        })
    }

    /// Redrives documents in the order of their streams, and reports each.
    pub(super) async fn redrive(&mut self, mut entries: Vec<Entry>) -> Result<(), Ended> {
        let (mut all_ranks, mut unlisted) = (BTreeMap::new(), BTreeMap::new());
        for Entry { document, .. } in &entries {
            if all_ranks.contains_key(&document.stream) {
                continue;
            }
            let ranks = self.ranks(document).await?.unwrap_or_else(|reason| {
                unlisted.insert(document.stream.clone(), reason);
                BTreeMap::new()
            });
            all_ranks.insert(document.stream.clone(), ranks);
        }
        entries.sort_by(|one, other| {
            let ranks = &all_ranks[&one.document.stream];
            compare(&one.document, &other.document, ranks)
        });
        let functions: Vec<_> = entries
            .iter()
            .map(|entry| self.function(&entry.document))
            .collect();
        let lane = (0..entries.len()).collect();
        let mut run = RedriveRun::new(&functions, vec![lane], &self.run.unreached);
        // What is sent, also while its function is throttled.
        let mut prepared = None;
        while let Some(command) = run.poll_command() {
            match command {
                RunCommand::Send { item } => {
                    self.run.caller.check()?;
                    let entry = &entries[item];
                    if prepared.is_none() {
                        let unlisted = unlisted.get(&entry.document.stream);
                        match self.prepare(entry, unlisted).await? {
                            Ok(content) => prepared = Some(content),
                            Err(reason) => run.handle_unsent(item, Some(reason)),
                        }
                    }
                    match &prepared {
                        Some(_) if self.run.request.dry_run => run.handle_unsent(item, None),
                        Some(prepared) => {
                            let verdict = self.send(prepared).await?;
                            run.handle_verdict(item, verdict);
                        }
                        None => {}
                    }
                }
                RunCommand::Wait { item, wait } => {
                    let wait = tokio::time::sleep(wait);
                    self.run.caller.unless_ended(wait).await?;
                    run.handle_waited(item);
                }
                RunCommand::Settle { item, end } => {
                    if matches!(end, ItemEnd::NotReached(_)) {
                        self.run.unreached.insert(functions[item].clone());
                    }
                    let is_done = self.settle(&entries[item], end, prepared.take()).await?;
                    run.handle_settled(item, is_done);
                }
                RunCommand::Leave { items, end } => {
                    for item in items {
                        self.settle(&entries[item], end.clone(), None).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes a document whose records were redriven, if that is asked for, and reports it; `false`
    /// if it could not be deleted.
    async fn settle(
        &mut self,
        entry: &Entry,
        end: ItemEnd,
        prepared: Option<Prepared>,
    ) -> Result<bool, Ended> {
        let redriven = end == ItemEnd::Redriven;
        if redriven {
            self.run.record(&id_of(&entry.document)).await;
        }
        let reason = match end {
            ItemEnd::Redriven => None,
            ItemEnd::Failed(reason) | ItemEnd::NotReached(reason) => Some(reason),
            ItemEnd::Unsent(reason) => reason,
        };
        let mut report = RedriveReport {
            redriven,
            reason,
            ..kept(&entry.document)
        };
        if let Some(prepared) = prepared {
            report.records = prepared.call.n_records;
        }
        let is_done = entry
            .origin
            .settle(redriven && self.run.request.delete)
            .await;
        if !is_done {
            report.reason = Some(NOT_DELETED.to_owned());
        }
        self.run.report(report).await?;
        Ok(is_done)
    }

    /// The generations of the shards of a document's stream; why they are not known otherwise. A
    /// stream that is gone has none: what needs no stream may still be sent.
    async fn ranks(
        &mut self,
        document: &FailureDocument,
    ) -> Result<Result<BTreeMap<ShardId, usize>, String>, Ended> {
        let mapping = self.mapping_of(document);
        let stream = match self.stream(document, mapping.as_ref()) {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let listed = repeat(self.run.caller, || stream.list_shards()).await?;
        Ok(match listed {
            Ok(shards) => Ok(ranks(&shards)),
            Err(error) if error.fault == Fault::Gone => Ok(BTreeMap::new()),
            Err(error) => Err(chain(&error)),
        })
    }

    /// What is sent for a document; why nothing can be sent otherwise.
    async fn prepare(
        &mut self,
        entry: &Entry,
        unlisted: Option<&String>,
    ) -> Result<Result<Prepared, String>, Ended> {
        if let Some(reason) = unlisted {
            return Ok(Err(reason.clone()));
        }
        let recipient = match self.recipient(&entry.document) {
            Ok(recipient) => recipient,
            Err(reason) => return Ok(Err(reason)),
        };
        let content = match self.content(entry, &recipient).await? {
            Ok(content) => content,
            Err(reason) => return Ok(Err(reason)),
        };
        let call = Call {
            id: id_of(&entry.document),
            event: content.event,
            n_records: content.n_records,
            returns_state: content.is_window,
        };
        Ok(Ok(Prepared {
            call,
            recipient,
            _memory: content.memory,
        }))
    }

    async fn send(&self, prepared: &Prepared) -> Result<Verdict, Ended> {
        let Recipient {
            function,
            target,
            mapping,
        } = &prepared.recipient;
        let call = &prepared.call;
        let (invoker, caller) = (&self.run.invoker, self.run.caller);
        let outcome = invoker.attempt(function, target, call, caller).await?;
        let mapping = mapping.as_ref();
        let reports = mapping.is_some_and(|mapping| mapping.reports_item_failures)
            || asks_for_failures(&self.rows, function);
        Ok(judge(&outcome, reports))
    }

    /// The mapping of the source and function of a document.
    fn mapping_of(&self, document: &FailureDocument) -> Option<Mapping> {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|row| {
                let arn = row.source.arn();
                let stream = arn.stream_of_consumer();
                stream.as_ref().unwrap_or(arn) == &document.stream
                    && same_function(&row.function_arn, &document.function)
            })
            .collect();
        rows.sort_by_key(|row| row.desired == DesiredState::Deleted);
        rows.first().and_then(|row| validate::mapping(row).ok())
    }

    /// The function that a document is for.
    fn function(&self, document: &FailureDocument) -> Arn {
        if let Some(function) = &self.run.request.function {
            return function.clone();
        }
        let of_mapping = self.row_of_function(document);
        let function = of_mapping.map_or(&document.function, |row| &row.function_arn);
        function.clone()
    }

    fn row_of_function(&self, document: &FailureDocument) -> Option<&MappingRow> {
        let mut rows = self.rows.iter();
        rows.find(|row| same_function(&row.function_arn, &document.function))
    }

    /// # Errors
    /// Why it cannot be invoked.
    fn recipient(&self, document: &FailureDocument) -> Result<Recipient, String> {
        let adapters = &self.run.redriver.adapters;
        let function = self.function(document);
        let is_known = self.run.request.function.is_some()
            || self.row_of_function(document).is_some()
            || adapters.is_configured(&function);
        if !is_known {
            return Err(format!(
                "{function} is neither under 'functions' in the daemon's configuration nor the \
                 function of a mapping; name one with --function"
            ));
        }
        let target = adapters.target(&function).map_err(|error| chain(&error))?;
        Ok(Recipient {
            function,
            target,
            mapping: self.mapping_of(document),
        })
    }

    /// What is sent for a document; why nothing can be sent otherwise.
    async fn content(
        &mut self,
        entry: &Entry,
        recipient: &Recipient,
    ) -> Result<Result<Content, String>, Ended> {
        let document = &entry.document;
        match entry.origin.payload(self.run.caller, document).await? {
            Ok(Some(payload)) => return Ok(Ok(Content::of_payload(&payload))),
            Ok(None) => {}
            Err(reason) => return Ok(Err(reason)),
        }
        let mapping = recipient.mapping.as_ref();
        let stream = match self.stream(document, mapping) {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let read = records::read(
            &self.run.redriver.context,
            &stream,
            document,
            mapping.and_then(selection),
            self.run.request.whole_range,
            self.run.caller,
        );
        Ok(match read.await? {
            Ok((records, memory)) => Ok(Content {
                event: Event::of_records(&records),
                n_records: records.len(),
                is_window: false,
                memory: Some(memory),
            }),
            Err(error) => Err(error.to_string()),
        })
    }

    fn stream(
        &mut self,
        document: &FailureDocument,
        mapping: Option<&Mapping>,
    ) -> Result<Arc<dyn StreamReader>, PortError> {
        let key = (document.stream.clone(), document.function.clone());
        if let Some(stream) = self.streams.get(&key) {
            return Ok(Arc::clone(stream));
        }
        let source = source_of(document, mapping);
        let stream = self
            .run
            .redriver
            .adapters
            .stream(&source, &document.function)?;
        self.streams.insert(key, Arc::clone(&stream));
        Ok(stream)
    }
}

impl Content {
    fn of_payload(payload: &Bytes) -> Self {
        let shape = EventShape::of(payload);
        Self {
            event: Event::from(payload.clone()),
            n_records: shape.n_records,
            is_window: shape.is_window,
            memory: None,
        }
    }
}

/// The id by which the function knows a document: that of the invocation that it reports.
fn id_of(document: &FailureDocument) -> Arc<str> {
    let of_records = || Arc::from(format!("{}:{}", document.shard, document.first));
    document.request_id.clone().unwrap_or_else(of_records)
}

fn selection(mapping: &Mapping) -> Option<Selection> {
    let Source::Stream(source) = &mapping.source else {
        return None;
    };
    Some(Selection {
        filter: mapping.filter.clone(),
        lanes: source.settings.parallelization_factor,
    })
}

/// The stream of a document, read by GetRecords also where its mapping has a consumer, which has one
/// subscription for each shard.
fn source_of(document: &FailureDocument, mapping: Option<&Mapping>) -> StreamSource {
    if let Some(Source::Stream(source)) = mapping.map(|mapping| &mapping.source) {
        return StreamSource {
            consumer: None,
            ..source.clone()
        };
    }
    StreamSource {
        kind: document.kind,
        arn: document.stream.clone(),
        consumer: None,
        takes_aggregates_apart: false,
        settings: StreamSettings {
            starting_position: Position::TrimHorizon,
            recreated_position: Position::TrimHorizon,
            skip_before: None,
            batch_size: document.batch_size,
            maximum_batching_window: Duration::ZERO,
            parallelization_factor: 1,
            tumbling_window: None,
            on_failure: None,
            retries: RetrySettings::default(),
        },
    }
}

/// Repeats a call while it may succeed, a few times. One that has begun is not broken off.
pub(super) async fn repeat<T, F, R>(
    caller: &Caller<T>,
    mut call: impl FnMut() -> F,
) -> Result<Result<R, PortError>, Ended>
where
    F: Future<Output = Result<R, PortError>>,
{
    let mut delay = RetryDelay::new(DELAYS.0, DELAYS.1);
    let mut attempt = 1;
    loop {
        caller.check()?;
        let result = call().await;
        let fault = result.as_ref().err().map(|error| error.fault);
        let may_succeed = matches!(
            fault,
            Some(Fault::Throttled { .. } | Fault::Transient | Fault::TimedOut)
        );
        if !may_succeed || attempt == ATTEMPTS {
            return Ok(result);
        }
        attempt += 1;
        caller
            .unless_ended(tokio::time::sleep(delay.next_delay()))
            .await?;
    }
}
