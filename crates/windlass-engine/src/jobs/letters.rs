//! The redrive of dead letters: those of a shard one at a time, by their numbers, and shards side by
//! side.
//!
//! All letters are claimed before the first is sent, so that another redrive sends none of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use windlass_core::arn::Arn;
use windlass_core::event::Event;
use windlass_core::ids::ShardId;
use windlass_core::mapping::{MappingId, MappingRow};
use windlass_core::outcome::Swap;
use windlass_core::redrive::{EventShape, Verdict, compare_numbers};
use windlass_core::validate;

use super::call::{ACCOUNT, Call, Invoker};
use super::run::Redriver;
use super::trail::Trail;
use super::{Caller, Ended, NotStarted};
use crate::ports::{DeadLetter, DeadLetterFilter, DeadLetterId, HistoryLine, PortError, chain};

/// Letters of one page of a list, and of one claim.
const PAGE: usize = 1_000;

/// Shards side by side; the invocation slots bound them as well.
const MAX_SHARDS: usize = 1_000;

/// Which letters, and how.
#[derive(Clone, Debug)]
pub struct LettersRequest {
    pub letters: Letters,
    /// `None`: that of each letter.
    pub function: Option<Arn>,
    /// In place of the payload, of a single letter.
    pub event: Option<Bytes>,
    /// Records a second; `None`: any number.
    pub rate: Option<u32>,
}

#[derive(Clone, Debug)]
pub enum Letters {
    Ids(Vec<DeadLetterId>),
    OfMapping(MappingId),
    All,
}

/// Letters; one that another redrive has claimed is neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LettersResult {
    pub redriven: u64,
    pub failed: u64,
}

/// One redrive.
struct LettersRun<'a> {
    redriver: &'a Redriver,
    request: &'a LettersRequest,
    caller: &'a Caller<Result<LettersResult, PortError>>,
    invoker: Invoker,
    rows: Vec<MappingRow>,
    result: Mutex<LettersResult>,
    trail: tokio::sync::Mutex<Trail>,
}

/// What has become of a letter.
enum End {
    Redriven,
    /// The function has failed it.
    Failed,
    /// Nothing was sent, or the function was not reached.
    NotSent,
}

impl Redriver {
    /// Starts a redrive of dead letters. Its result is the only thing that it reports. `line` becomes
    /// its line in the history.
    ///
    /// # Errors
    /// See [`NotStarted`].
    pub fn start_letters(
        &self,
        request: LettersRequest,
        line: HistoryLine,
    ) -> Result<mpsc::Receiver<Result<LettersResult, PortError>>, NotStarted> {
        let redriver = self.clone();
        self.jobs.start(|caller| async move {
            let trail = Trail::new(&redriver.store, Some(line), request.to_json());
            let mut run = LettersRun {
                redriver: &redriver,
                request: &request,
                caller: &caller,
                invoker: Invoker::new(redriver.context.clone(), request.rate),
                rows: Vec::new(),
                result: Mutex::default(),
                trail: tokio::sync::Mutex::new(trail),
            };
            let result = run.run().await;
            run.trail.lock().await.end().await;
            // A caller that has left needs no result.
            caller.report(result).await.ok();
        })
    }
}

impl LettersRequest {
    /// What was asked, for the history.
    fn to_json(&self) -> Value {
        let function = self.function.as_ref().map(Arn::as_str);
        let all = matches!(self.letters, Letters::All);
        json!({"function_arn": function, "all": all, "event": self.event.is_some()})
    }
}

impl LettersRun<'_> {
    async fn run(&mut self) -> Result<LettersResult, PortError> {
        self.rows = self.redriver.store.mappings().await?;
        let mut claimed = Vec::new();
        if let Err(error) = self.claim(&mut claimed).await {
            let ids: Vec<_> = claimed.iter().map(|letter| letter.id).collect();
            self.redriver
                .store
                .release_dead_letters(&ids, false)
                .await?;
            return Err(error);
        }
        let mut shards: BTreeMap<(Arn, ShardId), Vec<DeadLetter>> = BTreeMap::new();
        for letter in claimed {
            let key = (letter.event_source_arn.clone(), letter.shard.clone());
            shards.entry(key).or_default().push(letter);
        }
        for letters in shards.values_mut() {
            letters.sort_by(|one, other| {
                let by_first = compare_numbers(&one.first, &other.first);
                by_first.then_with(|| compare_numbers(&one.last, &other.last))
            });
        }
        let run = &*self;
        let shards = shards
            .into_values()
            .map(|letters| run.redrive_shard(letters));
        let mut shards = stream::iter(shards).buffer_unordered(MAX_SHARDS);
        while shards.next().await.is_some() {}
        drop(shards);
        Ok(*self.lock())
    }

    /// Claims the letters that nobody else redrives.
    async fn claim(&self, claimed: &mut Vec<DeadLetter>) -> Result<(), PortError> {
        let store = &self.redriver.store;
        let mapping = match &self.request.letters {
            Letters::Ids(ids) => {
                for ids in ids.chunks(PAGE) {
                    claimed.extend(store.claim_dead_letters(ids).await?);
                }
                return Ok(());
            }
            Letters::OfMapping(mapping) => Some(mapping.clone()),
            Letters::All => None,
        };
        let filter = DeadLetterFilter {
            mapping,
            ..DeadLetterFilter::default()
        };
        let mut after = None;
        loop {
            let page = store.dead_letters(&filter, after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.marker());
            let ids: Vec<_> = page.iter().map(|letter| letter.id).collect();
            claimed.extend(store.claim_dead_letters(&ids).await?);
        }
    }

    /// Redrives letters one after the other.
    async fn redrive_shard(&self, letters: Vec<DeadLetter>) {
        for letter in &letters {
            let end = match self.redrive(letter).await {
                Ok(end) => end,
                Err(Ended) => End::NotSent,
            };
            self.settle(letter, end).await;
        }
    }

    /// Fails when no more may be begun.
    async fn redrive(&self, letter: &DeadLetter) -> Result<End, Ended> {
        self.caller.check()?;
        let function = self.request.function.as_ref();
        let function = function.unwrap_or(&letter.function_arn);
        if self.invoker.is_unreached(function) {
            return Ok(End::NotSent);
        }
        let log = |error: PortError| {
            tracing::warn!(id = %letter.id, "dead letter not redriven: {}", chain(&error));
            End::NotSent
        };
        let context = &self.redriver.context;
        let account = context.budget.account(&MappingId::new(ACCOUNT));
        let bytes = usize::try_from(letter.bytes).unwrap_or(usize::MAX);
        let memory = self
            .caller
            .unless_ended(account.reserve(bytes.saturating_mul(2)));
        let _memory = memory.await?;
        let payload = match &self.request.event {
            Some(event) => Some(event.clone()),
            None => match self.redriver.store.dead_letter_payload(letter.id).await {
                Ok(payload) => payload,
                Err(error) => return Ok(log(error)),
            },
        };
        let Some(payload) = payload else {
            return Ok(End::NotSent);
        };
        let target = match self.redriver.adapters.target(function) {
            Ok(target) => target,
            Err(error) => return Ok(log(error)),
        };
        let shape = EventShape::of(&payload);
        let call = Call {
            id: letter.id.to_string().into(),
            event: Event::from(payload),
            n_records: shape.n_records,
            reports_item_failures: self.reports_item_failures(letter),
            returns_state: shape.is_window,
        };
        let (verdict, _) = self
            .invoker
            .invoke(function, &target, call, self.caller)
            .await?;
        Ok(match verdict {
            Verdict::Success => End::Redriven,
            Verdict::Failed(reason) => {
                tracing::warn!(id = %letter.id, reason, "dead letter not redriven");
                End::Failed
            }
            Verdict::NotReached(reason) => {
                tracing::warn!(id = %letter.id, reason, "dead letter not redriven");
                End::NotSent
            }
            Verdict::Throttled { .. } => End::NotSent,
        })
    }

    fn reports_item_failures(&self, letter: &DeadLetter) -> bool {
        let mut rows = self.rows.iter();
        let row = rows.find(|row| Some(&row.id) == letter.mapping.as_ref());
        let mapping = row.and_then(|row| validate::mapping(row).ok());
        mapping.is_some_and(|mapping| mapping.reports_item_failures)
    }

    /// Deletes a letter, or ends its claim.
    async fn settle(&self, letter: &DeadLetter, end: End) {
        let (store, id) = (&self.redriver.store, letter.id);
        let settled = match end {
            End::Redriven => store.delete_redriven(id).await.map(|swap| {
                if swap == Swap::Conflict {
                    tracing::info!(%id, "its records were given up again: the dead letter stays");
                }
            }),
            End::Failed => store.release_dead_letters(&[id], true).await,
            End::NotSent => store.release_dead_letters(&[id], false).await,
        };
        let is_settled = settled.is_ok();
        if let Err(error) = settled {
            tracing::error!(%id, "{}; the dead letter stays", chain(&error));
        }
        if matches!(end, End::Redriven) && is_settled {
            self.lock().redriven += 1;
            self.trail.lock().await.add_success(&id.to_string()).await;
        } else {
            self.lock().failed += 1;
            self.trail.lock().await.add_failure();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LettersResult> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
