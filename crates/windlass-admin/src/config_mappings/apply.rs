//! Writes the mappings of the file to the store.
//!
//! What needs no call to AWS is written before the work starts. The rest is looked up while the
//! daemon runs: a mapping that cannot be written is reported and tried again, and holds up no other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use windlass_core::arn::Arn;
use windlass_core::function::FunctionName;
use windlass_core::mapping::{DesiredState, MappingId, MappingRow, Origin, Revision, latest};
use windlass_core::outcome::Swap;
use windlass_core::tags::Tags;
use windlass_engine::clock::Clock;
use windlass_engine::ports::{
    CONFIGURATION, FunctionLookup, HistoryLine, PortError, ResourceLookup, Store, chain,
};
use windlass_engine::supervisor::Wakeup;

use super::ConfigMapping;
use super::rows::{Plan, Rows};
use crate::history::mapping_line;
use crate::problems::{ConfigProblem, MappingProblems, UncheckedFunction};

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
    pub problems: MappingProblems,
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
    /// Its id in the store, where it belongs to the API as well.
    written: Option<MappingId>,
}

/// Result of a lookup.
enum Found {
    Yes(Arn),
    No,
    Unknown(Unchecked),
}

/// Why it is not known whether a function exists. It may be invoked all the same.
struct Unchecked {
    reason: String,
    /// A later lookup may know.
    checks_again: bool,
}

struct Write {
    mapping: ConfigMapping,
    next: MappingRow,
    seen: Option<Revision>,
    line: Option<HistoryLine>,
    /// `None` keeps those that the mapping has.
    tags: Option<Tags>,
    unchecked: Option<Unchecked>,
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
        let now = parts.clock.wall();
        let (mut kept, mut pairs) = (BTreeSet::new(), BTreeSet::new());
        let (mut writes, mut pending, mut tags) = (Vec::new(), Vec::new(), Vec::new());
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
                    Plan::Nothing(id) => {
                        tags.extend(mapping.checked.tags.map(|tags| (id.clone(), tags)));
                        kept.insert(id);
                    }
                    Plan::Write(next, seen) => {
                        kept.insert(next.id.clone());
                        writes.push(Write {
                            tags: rows.tags(&mapping, &next),
                            line: rows.line(&next, now),
                            mapping,
                            next,
                            seen,
                            unchecked: None,
                        });
                    }
                },
                _ => pending.push(Pending::new(mapping, function_arn)),
            }
        }
        let failed = write(&parts, writes).await;
        pending.extend(failed);
        write_tags(&parts, tags).await;
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
        let now = self.parts.clock.wall();
        let (mut writes, mut pending, mut tags) = (Vec::new(), Vec::new(), Vec::new());
        for (it, found) in std::mem::take(&mut self.mappings).into_iter().zip(found) {
            let (arn, unchecked) = match found {
                Found::No => {
                    let id = it.mapping.id(&it.function_arn);
                    self.parts
                        .report(&it.mapping, id, &it.function_arn, Some(it.missing()));
                    pending.push(it);
                    continue;
                }
                Found::Yes(arn) => (arn, None),
                Found::Unknown(unchecked) => (it.function_arn.clone(), Some(unchecked)),
            };
            let is_written = it.written.is_some();
            let plan = match it.written {
                Some(id) => Plan::Nothing(id),
                None => rows.plan(&it.mapping, &arn, now),
            };
            match plan {
                Plan::Nothing(id) => {
                    let of_file = it.mapping.checked.tags.clone();
                    let of_file = of_file.filter(|_| !is_written);
                    tags.extend(of_file.map(|tags| (id.clone(), tags)));
                    let written = self.parts.written(it.mapping, id, arn, unchecked);
                    pending.extend(written);
                }
                Plan::Write(next, seen) => writes.push(Write {
                    tags: rows.tags(&it.mapping, &next),
                    line: rows.line(&next, now),
                    mapping: it.mapping,
                    next,
                    seen,
                    unchecked,
                }),
            }
        }
        pending.extend(write(&self.parts, writes).await);
        write_tags(&self.parts, tags).await;
        self.mappings = pending;
    }
}

impl ApplyParts {
    /// A mapping is in the store. It is pending while its function may still be checked.
    fn written(
        &self,
        mapping: ConfigMapping,
        id: MappingId,
        function_arn: Arn,
        unchecked: Option<Unchecked>,
    ) -> Option<Pending> {
        // Problems were reported with the id that a new mapping would have.
        self.report(&mapping, mapping.id(&function_arn), &function_arn, None);
        self.report(&mapping, id.clone(), &function_arn, None);
        let checks_again = unchecked.as_ref().is_some_and(|it| it.checks_again);
        let unchecked = unchecked.map(|it| UncheckedFunction {
            reason: it.reason,
            // The daemon has just started.
            invoked: 0,
        });
        let reason = unchecked.as_ref().map(|it| it.reason.clone());
        if self.problems.set_unchecked(id.clone(), unchecked)
            && let Some(reason) = reason
        {
            let location = &mapping.location;
            tracing::warn!(
                function = %function_arn, reason,
                "{location}: the function could not be checked"
            );
        }
        checks_again.then_some(Pending {
            mapping,
            function_arn,
            written: Some(id),
        })
    }

    /// Shows why a mapping of the file is not as the file wants it, and logs it when that changes.
    fn report(
        &self,
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
            && self.problems.config(&id).as_ref() != Some(problem)
        {
            tracing::warn!(source = %problem.source, "{location}: {}", problem.text);
        }
        self.problems.set_config(id, problem);
    }
}

impl Pending {
    const fn new(mapping: ConfigMapping, function_arn: Arn) -> Self {
        Self {
            mapping,
            function_arn,
            written: None,
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

fn found(result: Result<FunctionLookup, PortError>) -> Found {
    match result {
        Ok(FunctionLookup::Found(arn)) => Found::Yes(arn),
        Ok(FunctionLookup::Missing) => Found::No,
        Ok(FunctionLookup::Unchecked { reason, .. }) => Found::Unknown(Unchecked {
            reason,
            checks_again: false,
        }),
        Err(error) => Found::Unknown(Unchecked {
            reason: chain(&error),
            checks_again: true,
        }),
    }
}

/// Looks up the functions side by side; one result for each, in the same order.
async fn look_up(parts: &ApplyParts, mappings: &[Pending]) -> Vec<Found> {
    let deadline = Instant::now() + LOOKUP_TIMEOUT;
    let mut results: Vec<Found> = mappings
        .iter()
        .map(|_| {
            Found::Unknown(Unchecked {
                reason: format!("no answer within {LOOKUP_TIMEOUT:?}"),
                checks_again: true,
            })
        })
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

/// Measures the starting time of a new mapping by the clock of its source. The mapping is written
/// even if that cannot be found out: its source may appear later.
async fn set_latest(new: &mut MappingRow, lookup: &dyn ResourceLookup, clock: Clock) {
    if new.spec.starting_position() != Some("LATEST") {
        return;
    }
    let answer = tokio::time::timeout(LOOKUP_TIMEOUT, lookup.source(&new.source)).await;
    let answered = match answer {
        Ok(Ok(answered)) => answered,
        failed => {
            let reason = match failed {
                Ok(Err(error)) => chain(&error),
                _ => format!("no answer within {LOOKUP_TIMEOUT:?}"),
            };
            tracing::warn!(
                uuid = %new.id, source = %new.source,
                "cannot ask the source for its time, so LATEST is a minute ago by the daemon's \
                 clock: {reason}"
            );
            None
        }
    };
    new.created = latest(answered, clock.wall());
}

/// Writes rows together, and returns the mappings that could not be written or must be checked again.
async fn write(parts: &ApplyParts, writes: Vec<Write>) -> Vec<Pending> {
    let mut pending = Vec::new();
    let mut writes = writes.into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < MAX_WRITES
            && let Some(mut write) = writes.next()
        {
            let (store, lookup) = (Arc::clone(&parts.store), Arc::clone(&parts.lookup));
            let clock = parts.clock;
            running.spawn(async move {
                if write.seen.is_none() {
                    set_latest(&mut write.next, &*lookup, clock).await;
                }
                let (next, seen, line) = (&write.next, write.seen, write.line.as_ref());
                let result = match &write.tags {
                    Some(tags) => store.put_with_tags(next, seen, tags, line).await,
                    None => store.put(next, seen, line).await,
                };
                (write, result)
            });
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        let Ok((write, result)) = ended else {
            continue;
        };
        let Write {
            mapping,
            next,
            unchecked,
            ..
        } = write;
        let (uuid, source, function) = (next.id, &next.source, next.function_arn);
        let problem = match result {
            Ok(Swap::Done) => {
                tracing::info!(%uuid, %source, %function, "configured mapping written");
                pending.extend(parts.written(mapping, uuid, function, unchecked));
                continue;
            }
            Ok(Swap::Conflict) => "it could not be written, because it or another mapping of the \
                                   same source and function was changed meanwhile; retrying"
                .to_owned(),
            Err(error) => format!("it could not be written: {}; retrying", chain(&error)),
        };
        parts.report(&mapping, uuid, &function, Some(problem));
        pending.push(Pending::new(mapping, function));
    }
    parts.wakeup.wake();
    pending
}

/// Writes the tags of mappings that are otherwise as the file wants them.
async fn write_tags(parts: &ApplyParts, tags: Vec<(MappingId, Tags)>) {
    let mut writes = JoinSet::new();
    for (id, wanted) in tags {
        let store = Arc::clone(&parts.store);
        writes.spawn(async move {
            let written = async {
                let stored = store.tags(&id).await?.unwrap_or_default();
                if stored == wanted {
                    return Ok(Swap::Done);
                }
                store.set_tags(&id, &stored, &wanted).await
            };
            match written.await {
                Ok(Swap::Done) => {}
                Ok(Swap::Conflict) => tracing::warn!(
                    uuid = %id, "the tags of the file are not written: the API changed them meanwhile"
                ),
                Err(error) => {
                    tracing::warn!(uuid = %id, "cannot write the tags of the file: {}", chain(&error));
                }
            }
        });
    }
    while writes.join_next().await.is_some() {}
}

/// Deletes or logs the mappings that were removed from the file.
async fn remove(parts: &ApplyParts, rows: &Rows, kept: &BTreeSet<MappingId>) {
    for row in rows.all() {
        let is_deleted = row.desired == DesiredState::Deleted;
        if row.origin != Origin::Configuration || is_deleted || kept.contains(&row.id) {
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
        let next = row.deleted(parts.clock.wall());
        let line = mapping_line(next.last_modified, CONFIGURATION, Some(row), &next);
        // A conflict means that another daemon, with another file, has changed it.
        let put = parts.store.put(&next, Some(row.revision), line.as_ref());
        if let Err(error) = put.await {
            tracing::warn!(uuid = %id, "cannot delete a mapping: {}", chain(&error));
        }
    }
}
