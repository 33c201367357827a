//! Writes the mappings of the file to the store.
//!
//! What needs no call to AWS is written before the work starts. The rest is looked up while the
//! daemon runs: a mapping that cannot be written is reported and tried again, and holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::function::FunctionName;
use windlass_core::mapping::{Change, DesiredState, MappingId, MappingRow, Revision};
use windlass_core::outcome::Swap;
use windlass_core::time::Timestamp;
use windlass_engine::clock::Clock;
use windlass_engine::ports::{PortError, ResourceLookup, Store, chain};
use windlass_engine::supervisor::Wakeup;

use super::ConfigMapping;
use super::problems::{ConfigProblem, ConfigProblems};

/// For all lookups of one round; a function that is not found in time may exist.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Lookups at a time, within what AWS Lambda allows of its control API.
const MAX_LOOKUPS: usize = 32;

/// Writes at a time; a store writes them together.
const MAX_WRITES: usize = 512;

const MIN_RETRY_DELAY: Duration = Duration::from_secs(2);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// What applying the mappings of the file needs.
#[derive(Clone)]
pub struct ApplyParts {
    pub store: Arc<dyn Store>,
    pub lookup: Arc<dyn ResourceLookup>,
    pub problems: ConfigProblems,
    pub wakeup: Wakeup,
    pub clock: Clock,
    /// Delete mappings that are no longer in the file.
    pub prune: bool,
}

/// Mappings of the file that are not in the store yet, or whose function could not be checked.
pub struct PendingMappings {
    parts: ApplyParts,
    mappings: Vec<Pending>,
}

struct Pending {
    mapping: ConfigMapping,
    function_arn: Arn,
    /// It is in the store, and belongs to the API as well from then on.
    is_written: bool,
}

/// Result of a lookup.
enum Found {
    Yes(Arn),
    No,
    Unknown(String),
}

struct Write {
    mapping: ConfigMapping,
    next: MappingRow,
    seen: Option<Revision>,
}

/// What the file changes about a mapping.
enum Plan {
    /// The row of this id is as the file wants it.
    Nothing(MappingId),
    /// This row, with the revision that it replaces.
    Write(MappingRow, Option<Revision>),
}

/// The rows of the store, read once.
struct Rows {
    by_id: BTreeMap<MappingId, MappingRow>,
    /// Those that are not being deleted.
    by_pair: BTreeMap<(SourceArn, Arn), MappingId>,
}

impl PendingMappings {
    /// Writes the mappings that the store has already, and those whose functions need no lookup.
    /// Mappings that the API created stay as they are; those that are no longer in the file are
    /// logged, or deleted with `prune`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn apply(mappings: Vec<ConfigMapping>, parts: ApplyParts) -> Result<Self, PortError> {
        let rows = Rows::read(&*parts.store).await?;
        let now = parts.clock.now();
        let (mut kept, mut pairs) = (BTreeSet::new(), BTreeSet::new());
        let (mut writes, mut pending) = (Vec::new(), Vec::new());
        for mapping in mappings {
            let known = parts.lookup.function_arn(&mapping.checked.function);
            let function_arn = known.unwrap_or_else(|| mapping.function.clone());
            if !pairs.insert((mapping.checked.source.clone(), function_arn.clone())) {
                tracing::error!(
                    "{}: another mapping of the configuration has the same source and function",
                    mapping.location
                );
                continue;
            }
            let is_stored = rows.live(&mapping, &function_arn).is_some();
            let found = match is_stored {
                true => Some(Found::Yes(function_arn.clone())),
                false => answer_without_a_call(&*parts.lookup, &mapping).await,
            };
            match found {
                Some(Found::Yes(arn)) => match rows.plan(&mapping, &arn, now) {
                    Plan::Nothing(id) => drop(kept.insert(id)),
                    Plan::Write(next, seen) => {
                        kept.insert(next.id.clone());
                        writes.push(Write {
                            mapping,
                            next,
                            seen,
                        });
                    }
                },
                _ => pending.push(Pending::new(mapping, function_arn)),
            }
        }
        let failed = write(&parts, writes).await;
        pending.extend(failed);
        remove(&parts, &rows, &kept).await;
        Ok(Self {
            parts,
            mappings: pending,
        })
    }

    /// Looks up and writes the rest, again and again until nothing is left.
    pub async fn finish(mut self) {
        let mut delay = MIN_RETRY_DELAY;
        loop {
            self.round().await;
            if self.mappings.is_empty() {
                return;
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(MAX_RETRY_DELAY);
        }
    }

    async fn round(&mut self) {
        if self.mappings.is_empty() {
            return;
        }
        let found = look_up(&self.parts, &self.mappings).await;
        let rows = match Rows::read(&*self.parts.store).await {
            Ok(rows) => rows,
            Err(error) => return tracing::warn!("{}", chain(&error)),
        };
        let now = self.parts.clock.now();
        let (mut writes, mut pending) = (Vec::new(), Vec::new());
        for (mut it, found) in std::mem::take(&mut self.mappings).into_iter().zip(found) {
            let problem = match &found {
                Found::Yes(_) => None,
                Found::No => Some(it.missing()),
                Found::Unknown(why) => Some(format!("the function could not be checked: {why}")),
            };
            self.report(&it, problem);
            match found {
                Found::No => pending.push(it),
                Found::Yes(_) if it.is_written => {}
                Found::Unknown(_) if it.is_written => pending.push(it),
                // It may exist, and may be invoked where it cannot be looked up.
                Found::Unknown(_) => {
                    let planned = rows.plan(&it.mapping, &it.function_arn, now);
                    it.is_written = match planned {
                        Plan::Nothing(_) => true,
                        Plan::Write(next, seen) => {
                            let put = self.parts.store.put(&next, seen).await;
                            matches!(put, Ok(Swap::Done))
                        }
                    };
                    self.parts.wakeup.wake();
                    pending.push(it);
                }
                Found::Yes(arn) => {
                    if let Plan::Write(next, seen) = rows.plan(&it.mapping, &arn, now) {
                        let mapping = it.mapping;
                        writes.push(Write {
                            mapping,
                            next,
                            seen,
                        });
                    }
                }
            }
        }
        pending.extend(write(&self.parts, writes).await);
        self.mappings = pending;
    }

    fn report(&self, pending: &Pending, problem: Option<String>) {
        let id = pending.mapping.id(&pending.function_arn);
        report(
            &self.parts,
            &pending.mapping,
            id,
            &pending.function_arn,
            problem,
        );
    }
}

impl Pending {
    const fn new(mapping: ConfigMapping, function_arn: Arn) -> Self {
        Self {
            mapping,
            function_arn,
            is_written: false,
        }
    }

    fn missing(&self) -> String {
        let name = self.mapping.checked.spec.function_name();
        format!(
            "the function '{}' does not exist; add it under 'functions', or create it in AWS Lambda",
            name.unwrap_or_default()
        )
    }
}

impl Rows {
    async fn read(store: &dyn Store) -> Result<Self, PortError> {
        let rows = store.mappings().await?;
        let live = rows
            .iter()
            .filter(|row| row.desired != DesiredState::Deleted);
        let pair = |row: &MappingRow| {
            let pair = (row.source.clone(), row.function_arn.clone());
            (pair, row.id.clone())
        };
        Ok(Self {
            by_pair: live.map(pair).collect(),
            by_id: rows.into_iter().map(|row| (row.id.clone(), row)).collect(),
        })
    }

    fn live(&self, mapping: &ConfigMapping, function_arn: &Arn) -> Option<&MappingRow> {
        let pair = (mapping.checked.source.clone(), function_arn.clone());
        self.by_id.get(self.by_pair.get(&pair)?)
    }

    /// A row that is being deleted is revived, unless another has its source and function.
    fn plan(&self, mapping: &ConfigMapping, function_arn: &Arn, now: Timestamp) -> Plan {
        let new = mapping.new_row(function_arn.clone(), now);
        let live = self.live(mapping, function_arn);
        let Some(row) = live.or_else(|| self.by_id.get(&new.id)) else {
            return Plan::Write(new, None);
        };
        let spec = mapping.spec_for(row);
        let change = super::change(row, &spec, &new);
        if change.is_none() && row.from_config {
            return Plan::Nothing(row.id.clone());
        }
        let next = MappingRow {
            spec,
            function_arn: new.function_arn,
            desired: new.desired,
            change: change.unwrap_or(row.change),
            from_config: true,
            ..row.next_revision(now)
        };
        Plan::Write(next, Some(row.revision))
    }
}

/// The answer of a lookup that needs no call, as for functions of the configuration.
async fn answer_without_a_call(
    lookup: &dyn ResourceLookup,
    mapping: &ConfigMapping,
) -> Option<Found> {
    tokio::select! {
        biased;
        result = lookup.function(&mapping.checked.function) => Some(found(result)),
        () = std::future::ready(()) => None,
    }
}

fn found(result: Result<Option<Arn>, PortError>) -> Found {
    match result {
        Ok(Some(arn)) => Found::Yes(arn),
        Ok(None) => Found::No,
        Err(error) => Found::Unknown(chain(&error)),
    }
}

/// Looks up the functions side by side; one result for each, in the same order.
async fn look_up(parts: &ApplyParts, mappings: &[Pending]) -> Vec<Found> {
    let deadline = Instant::now() + LOOKUP_TIMEOUT;
    let mut results: Vec<Found> = mappings
        .iter()
        .map(|_| Found::Unknown(format!("no answer within {LOOKUP_TIMEOUT:?}")))
        .collect();
    let mut names: Vec<(usize, FunctionName)> = (0..)
        .zip(mappings)
        .map(|(index, it)| (index, it.mapping.checked.function.clone()))
        .collect();
    let mut lookups = JoinSet::new();
    loop {
        while lookups.len() < MAX_LOOKUPS
            && let Some((index, name)) = names.pop()
        {
            let lookup = Arc::clone(&parts.lookup);
            lookups.spawn(async move { (index, found(lookup.function(&name).await)) });
        }
        match tokio::time::timeout_at(deadline, lookups.join_next()).await {
            Ok(Some(Ok((index, found)))) => results[index] = found,
            // A lookup panicked: its function is unknown.
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => return results,
        }
    }
}

/// Writes rows together, and returns the mappings that could not be written.
async fn write(parts: &ApplyParts, writes: Vec<Write>) -> Vec<Pending> {
    let mut failed = Vec::new();
    let mut writes = writes.into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < MAX_WRITES
            && let Some(write) = writes.next()
        {
            let store = Arc::clone(&parts.store);
            running.spawn(async move {
                let result = store.put(&write.next, write.seen).await;
                (write, result)
            });
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        let Ok((Write { mapping, next, .. }, result)) = ended else {
            continue;
        };
        let (uuid, source, function) = (&next.id, &next.source, &next.function_arn);
        let problem = match result {
            Ok(Swap::Done) => {
                tracing::info!(%uuid, %source, %function, "configured mapping written");
                None
            }
            Ok(Swap::Conflict) => Some(
                "it could not be written, because it or another mapping of the same source and \
                 function was changed meanwhile; retrying"
                    .to_owned(),
            ),
            Err(error) => Some(format!(
                "it could not be written: {}; retrying",
                chain(&error)
            )),
        };
        let is_written = problem.is_none();
        report(
            parts,
            &mapping,
            next.id.clone(),
            &next.function_arn,
            problem,
        );
        if !is_written {
            failed.push(Pending::new(mapping, next.function_arn));
        }
    }
    parts.wakeup.wake();
    failed
}

/// Shows why a mapping of the file is not as the file wants it, and logs it when that changes.
fn report(
    parts: &ApplyParts,
    mapping: &ConfigMapping,
    id: MappingId,
    function_arn: &Arn,
    problem: Option<String>,
) {
    let location = &mapping.location;
    let problem = problem.map(|text| ConfigProblem {
        source: mapping.checked.source.clone(),
        function_arn: function_arn.clone(),
        text,
    });
    if let Some(problem) = &problem
        && parts.problems.get(&id).as_ref() != Some(problem)
    {
        tracing::warn!(source = %problem.source, "{location}: {}", problem.text);
    }
    parts.problems.set(id, problem);
}

/// Deletes or logs the mappings that were removed from the file.
async fn remove(parts: &ApplyParts, rows: &Rows, kept: &BTreeSet<MappingId>) {
    for row in rows.by_id.values() {
        let is_deleted = row.desired == DesiredState::Deleted;
        if !row.from_config || is_deleted || kept.contains(&row.id) {
            continue;
        }
        let MappingRow {
            id,
            source,
            function_arn,
            ..
        } = row;
        if !parts.prune {
            tracing::warn!(
                uuid = %id, %source, function = %function_arn,
                "a mapping was removed from the configuration and still runs; start with --prune to delete it"
            );
            continue;
        }
        tracing::info!(
            uuid = %id, %source, function = %function_arn,
            "deleting a mapping that was removed from the configuration"
        );
        let next = MappingRow {
            desired: DesiredState::Deleted,
            change: Change::Deleted,
            ..row.next_revision(parts.clock.now())
        };
        // A conflict means that another daemon, with another file, has changed it.
        if let Err(error) = parts.store.put(&next, Some(row.revision)).await {
            tracing::warn!(uuid = %id, "cannot delete a mapping: {}", chain(&error));
        }
    }
}
