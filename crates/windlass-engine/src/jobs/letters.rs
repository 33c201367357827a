//! The redrive of dead letters: those of a shard one at a time, by their numbers, and shards side by
//! side.
//!
//! All letters are claimed before the first is sent, so that another redrive sends none of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use windlass_core::arn::Arn;
use windlass_core::event::Event;
use windlass_core::ids::ShardId;
use windlass_core::mapping::{MappingId, MappingRow};
use windlass_core::outcome::Swap;
use windlass_core::redrive::{
    EventShape, ItemEnd, LetterPlace, RedriveRun, RunCommand, RunCounts, Verdict, judge, lanes,
};
use windlass_core::validate;

use super::call::{ACCOUNT, Call, Invoker};
use super::run::Redriver;
use super::trail::Trail;
use super::{Caller, Ended, NotStarted, asks_for_failures};
use crate::claims::Claims;
use crate::ports::{DeadLetter, DeadLetterFilter, DeadLetterId, HistoryLine, PortError, chain};

/// Letters of one page of a list, and of one claim.
const PAGE: usize = 1_000;

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
    claims: Claims,
    /// By the index of their claims.
    letters: Vec<Letter>,
    /// Of each letter, the one that it is sent to.
    functions: Vec<Arn>,
    trail: Trail,
}

/// A letter that was claimed, without what only its place in the order needs.
struct Letter {
    id: DeadLetterId,
    bytes: u64,
    reports_item_failures: bool,
}

/// Executed commands.
enum Done {
    Judged(usize, Verdict),
    Unsent(usize, Option<String>),
    Waited(usize),
    Settled(usize, bool),
    Left,
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
            let mut run = LettersRun {
                redriver: &redriver,
                request: &request,
                caller: &caller,
                invoker: Invoker::new(redriver.context.clone(), request.rate),
                claims: redriver.context.dead_letters.claims(),
                letters: Vec::new(),
                functions: Vec::new(),
                trail: Trail::new(&redriver.store, line, request.to_json()),
            };
            let result = run.run().await;
            run.trail.end().await;
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
        let places = self.claim().await?;
        let lanes = lanes(&places);
        drop(places);
        let mut run = RedriveRun::new(&self.functions, lanes, &BTreeSet::new());
        let mut work = FuturesUnordered::new();
        let mut is_ended = false;
        loop {
            while let Some(command) = run.poll_command() {
                work.push(self.execute(command));
            }
            if run.is_finished() && work.is_empty() {
                break;
            }
            tokio::select! {
                Some(done) = work.next() => match done {
                    Done::Judged(item, verdict) => run.handle_verdict(item, verdict),
                    Done::Unsent(item, reason) => run.handle_unsent(item, reason),
                    Done::Waited(item) => run.handle_waited(item),
                    Done::Settled(item, is_done) => run.handle_settled(item, is_done),
                    Done::Left => {}
                },
                () = self.caller.ended(), if !is_ended => {
                    is_ended = true;
                    run.end();
                }
            }
        }
        let RunCounts { redriven, failed } = run.counts();
        Ok(LettersResult { redriven, failed })
    }

    /// Claims the letters that nobody else redrives, and returns where their records were.
    async fn claim(&mut self) -> Result<Vec<LetterPlace>, PortError> {
        let mut reporting = Reporting::new(self.redriver.store.mappings().await?);
        let mut places = Places::default();
        let filter = match &self.request.letters {
            Letters::Ids(ids) => {
                for ids in ids.chunks(PAGE) {
                    self.claim_page(ids, &mut reporting, &mut places).await?;
                }
                return Ok(places.all);
            }
            Letters::OfMapping(mapping) => DeadLetterFilter {
                mapping: Some(mapping.clone()),
                ..DeadLetterFilter::default()
            },
            Letters::All => DeadLetterFilter::default(),
        };
        let mut after = None;
        while self.caller.check().is_ok() {
            let page = self.redriver.store.dead_letters(&filter, after, PAGE);
            let page = page.await?;
            let Some(last) = page.last() else { break };
            after = Some(last.marker());
            let ids: Vec<_> = page.iter().map(|letter| letter.id).collect();
            self.claim_page(&ids, &mut reporting, &mut places).await?;
        }
        Ok(places.all)
    }

    async fn claim_page(
        &mut self,
        ids: &[DeadLetterId],
        reporting: &mut Reporting,
        places: &mut Places,
    ) -> Result<(), PortError> {
        for letter in self.claims.add(ids).await? {
            let function = self.request.function.as_ref();
            let function = function.unwrap_or(&letter.function_arn);
            let function = places.interned(function);
            self.letters.push(Letter {
                id: letter.id,
                bytes: letter.bytes,
                reports_item_failures: reporting.has(letter.mapping.as_ref(), &function),
            });
            self.functions.push(function);
            places.add(letter);
        }
        Ok(())
    }

    async fn execute(&self, command: RunCommand) -> Done {
        match command {
            RunCommand::Send { item } => self.send(item).await.unwrap_or(Done::Unsent(item, None)),
            RunCommand::Wait { item, wait } => {
                let wait = self.caller.unless_ended(tokio::time::sleep(wait));
                // The run has been told when its end was the reason.
                wait.await.ok();
                Done::Waited(item)
            }
            RunCommand::Settle { item, end } => {
                let is_done = self.settle(item, end).await;
                Done::Settled(item, is_done)
            }
            RunCommand::Leave { items, end } => {
                tracing::warn!(letters = items.len(), ?end, "dead letters not redriven");
                self.claims.release(&items, false).await;
                self.trail.add_failures(items.len());
                Done::Left
            }
        }
    }

    /// Fails when no more may be begun.
    async fn send(&self, item: usize) -> Result<Done, Ended> {
        self.caller.check()?;
        let letter = &self.letters[item];
        let function = &self.functions[item];
        let unsent = |reason: String| Ok(Done::Unsent(item, Some(reason)));
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
                Err(error) => return unsent(chain(&error)),
            },
        };
        let Some(payload) = payload else {
            return unsent("it is not in the store any more".to_owned());
        };
        let target = match self.redriver.adapters.target(function) {
            Ok(target) => target,
            Err(error) => return unsent(chain(&error)),
        };
        let shape = EventShape::of(&payload);
        let call = Call {
            id: letter.id.to_string().into(),
            event: Event::from(payload),
            n_records: shape.n_records,
            returns_state: shape.is_window,
        };
        let outcome = self.invoker.attempt(function, &target, &call, self.caller);
        let verdict = judge(&outcome.await?, letter.reports_item_failures);
        Ok(Done::Judged(item, verdict))
    }

    /// Deletes a letter, or ends its claim; `false` if that has failed.
    async fn settle(&self, item: usize, end: ItemEnd) -> bool {
        let id = self.letters[item].id;
        let reason = match end {
            ItemEnd::Redriven => return self.delete(item).await,
            ItemEnd::Failed(reason) => {
                self.claims.release(&[item], true).await;
                reason
            }
            ItemEnd::NotReached(reason) | ItemEnd::Unsent(Some(reason)) => {
                self.claims.release(&[item], false).await;
                reason
            }
            ItemEnd::Unsent(None) => {
                self.claims.release(&[item], false).await;
                "the redrive was ended".to_owned()
            }
        };
        tracing::warn!(%id, reason, "dead letter not redriven");
        self.trail.add_failures(1);
        true
    }

    async fn delete(&self, item: usize) -> bool {
        let id = self.letters[item].id;
        let line = self.trail.with_letter(id.to_string());
        let deleted = self.claims.delete(item, &line).await;
        let is_written = matches!(deleted, Ok(Swap::Done));
        self.trail.handle_written(line, is_written);
        match deleted {
            Ok(Swap::Done) => {}
            Ok(Swap::Conflict) => {
                tracing::info!(%id, "its records were given up again: the dead letter stays");
            }
            Err(error) => {
                tracing::error!(%id, "{}; the dead letter stays", chain(&error));
                self.trail.add_failures(1);
                return false;
            }
        }
        true
    }
}

/// Whose answers say which items failed.
struct Reporting {
    rows: Vec<MappingRow>,
    mappings: BTreeSet<MappingId>,
    /// What is known already.
    functions: BTreeMap<Arn, bool>,
}

impl Reporting {
    fn new(rows: Vec<MappingRow>) -> Self {
        let mappings = rows.iter().filter_map(|row| validate::mapping(row).ok());
        let mappings = mappings.filter(|mapping| mapping.reports_item_failures);
        Self {
            mappings: mappings.map(|mapping| mapping.id).collect(),
            rows,
            functions: BTreeMap::new(),
        }
    }

    /// Of a letter of a mapping that is sent to a function.
    fn has(&mut self, mapping: Option<&MappingId>, function: &Arn) -> bool {
        let of_mapping = mapping.is_some_and(|mapping| self.mappings.contains(mapping));
        let of_function = self.functions.entry(function.clone());
        of_mapping || *of_function.or_insert_with(|| asks_for_failures(&self.rows, function))
    }
}

/// Where the records of letters were. What many of them share is in memory once.
#[derive(Default)]
struct Places {
    all: Vec<LetterPlace>,
    arns: BTreeSet<Arn>,
    shards: BTreeSet<ShardId>,
}

impl Places {
    fn add(&mut self, letter: DeadLetter) {
        let stream = self.interned(&letter.event_source_arn);
        let shard = match self.shards.get(&letter.shard) {
            Some(shard) => shard.clone(),
            None => {
                self.shards.insert(letter.shard.clone());
                letter.shard
            }
        };
        let is_one = letter.first == letter.last;
        let last = if is_one {
            letter.first.clone()
        } else {
            letter.last
        };
        self.all.push(LetterPlace {
            stream,
            shard,
            first: letter.first,
            last,
        });
    }

    fn interned(&mut self, arn: &Arn) -> Arn {
        if let Some(known) = self.arns.get(arn) {
            return known.clone();
        }
        self.arns.insert(arn.clone());
        arn.clone()
    }
}
