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
    EventShape, FailureDocument, Selection, Verdict, compare, ranks, same_function,
};
use windlass_core::validate;

use super::call::Call;
use super::held::{HeldMessages, NOT_DELETED};
use super::run::{RedriveReport, Run};
use super::{Caller, Ended, records};
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
    _memory: Option<Reservation>,
}

/// Reports a document that was not sent.
fn kept(document: &FailureDocument, reason: String) -> RedriveReport {
    RedriveReport {
        shard: Some(document.shard.clone()),
        sequence_numbers: Some([document.first.clone(), document.last.clone()]),
        records: document.batch_size,
        reason: Some(reason),
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
        for entry in entries {
            self.run.caller.check()?;
            let mut report = match unlisted.get(&entry.document.stream) {
                Some(reason) => kept(&entry.document, reason.clone()),
                None => self.redrive_one(&entry).await?,
            };
            let deletes = report.redriven && self.run.request.delete;
            if !entry.origin.settle(deletes).await {
                report.reason = Some(NOT_DELETED.to_owned());
            }
            self.run.report(report, &id_of(&entry.document)).await?;
        }
        Ok(())
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

    /// What has become of one document.
    async fn redrive_one(&mut self, entry: &Entry) -> Result<RedriveReport, Ended> {
        let document = &entry.document;
        let recipient = match self.recipient(document) {
            Ok(recipient) => recipient,
            Err(reason) => return Ok(kept(document, reason)),
        };
        if self.run.invoker.is_unreached(&recipient.function) {
            let reason = "not sent: the function was not reached before";
            return Ok(kept(document, reason.to_owned()));
        }
        let content = match self.content(entry, &recipient).await? {
            Ok(content) => content,
            Err(reason) => return Ok(kept(document, reason)),
        };
        let report = RedriveReport {
            records: content.n_records,
            reason: None,
            ..kept(document, String::new())
        };
        if self.run.request.dry_run {
            return Ok(report);
        }
        let call = Call {
            id: id_of(document),
            event: content.event,
            n_records: content.n_records,
            reports_item_failures: recipient
                .mapping
                .is_some_and(|mapping| mapping.reports_item_failures),
            returns_state: content.is_window,
        };
        let (function, target) = (&recipient.function, &recipient.target);
        let caller = self.run.caller;
        let invoked = self.run.invoker.invoke(function, target, call, caller);
        Ok(match invoked.await?.0 {
            Verdict::Success => RedriveReport {
                redriven: true,
                ..report
            },
            Verdict::Failed(reason) | Verdict::NotReached(reason) => RedriveReport {
                reason: Some(reason),
                ..report
            },
            Verdict::Throttled { .. } => RedriveReport {
                reason: Some("the function is throttled".to_owned()),
                ..report
            },
        })
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

    /// # Errors
    /// Why it cannot be invoked.
    fn recipient(&self, document: &FailureDocument) -> Result<Recipient, String> {
        let mapping = self.mapping_of(document);
        let adapters = &self.run.redriver.adapters;
        let function = match &self.run.request.function {
            Some(function) => function.clone(),
            None => {
                let mut rows = self.rows.iter();
                let of_mapping =
                    rows.find(|row| same_function(&row.function_arn, &document.function));
                let function = of_mapping.map_or(&document.function, |row| &row.function_arn);
                if of_mapping.is_none() && !adapters.is_configured(function) {
                    return Err(format!(
                        "{function} is neither under 'functions' in the daemon's configuration nor \
                         the function of a mapping; name one with --function"
                    ));
                }
                function.clone()
            }
        };
        let target = adapters.target(&function).map_err(|error| chain(&error))?;
        Ok(Recipient {
            function,
            target,
            mapping,
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
                _memory: Some(memory),
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
            _memory: None,
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
