//! The mappings of the configuration file: what stands there is what there is.
//!
//! Their UUID comes from source and function, so that starting again never makes a second one.

use std::fmt;

use serde_json::{Map, Value};
use thiserror::Error;
use uuid::Uuid;
use windlass_core::arn::{Arn, ArnScope, SourceArn};
use windlass_core::mapping::{Change, DesiredState, MappingId, MappingRow, Revision};
use windlass_core::outcome::Swap;
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_core::validate::{self, Checked};
use windlass_engine::clock::Clock;
use windlass_engine::ports::{PortError, ResourceLookup, Store, chain};

mod members;

pub use members::ConfigMappingError;

use members::Members;

/// The UUIDs of declared mappings are of version 5, in this name space.
const NAMESPACE: Uuid = Uuid::from_u128(0x7f0d_1c39_5f0e_4c0a_9d5b_2a6c_7e41_88d3);

/// How often a write is tried again that another writer came before.
const WRITE_ATTEMPTS: usize = 10;

/// One mapping of the file, in which nothing is wrong as far as can be told offline.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigMapping {
    /// Where it stands in the file, for messages.
    place: String,
    checked: Checked,
    /// The ARN that the function's name stands for.
    function: Arn,
}

/// The declared mappings cannot be applied.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Functions are neither configured nor known to AWS Lambda.
    #[error("{}; put what is missing under 'functions', or create it in AWS Lambda", listed(.0))]
    MissingFunctions(Vec<MissingFunction>),
    /// The store failed.
    #[error("applying the declared mappings")]
    Store(#[from] PortError),
    /// Other daemons kept changing the same mapping.
    #[error("the declared mapping {0} could not be written: others kept changing it")]
    Contended(MappingId),
}

/// A declared mapping whose function does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFunction {
    /// Where the mapping stands in the file.
    place: String,
    /// As the file names it.
    name: String,
    source_arn: SourceArn,
}

impl fmt::Display for MissingFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            name,
            source_arn,
        } = self;
        write!(
            f,
            "{place}: the function '{name}' of the mapping on {source_arn} does not exist"
        )
    }
}

fn listed(functions: &[MissingFunction]) -> String {
    let all: Vec<String> = functions.iter().map(ToString::to_string).collect();
    all.join("; ")
}

impl ConfigMapping {
    /// Checks the members of one mapping that stands at `place`; nobody is asked.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        place: &str,
        members: &Map<String, Value>,
        home: &ArnScope,
        now: Timestamp,
    ) -> Result<Self, Vec<ConfigMappingError>> {
        let members = Members::read(members);
        let checked = validate::create(&members.spec, now);
        match checked {
            Ok(checked) if members.mistakes.is_empty() => {
                let function = checked.function.resolve(home);
                Ok(Self {
                    place: place.to_owned(),
                    checked,
                    function,
                })
            }
            checked => {
                let violations = checked.err().into_iter().flatten();
                let violations = violations.filter(|it| members.is_whole(&it.member));
                let broken = violations.map(|it| ConfigMappingError {
                    message: it.in_words(),
                    member: it.member,
                });
                let broken: Vec<_> = broken.collect();
                Err(members.mistakes.into_iter().chain(broken).collect())
            }
        }
    }

    /// Whether both have the same source and function; a file can have only one of them.
    #[must_use]
    pub fn is_duplicate_of(&self, other: &Self) -> bool {
        self.id(&self.function) == other.id(&other.function)
    }

    fn id(&self, function_arn: &Arn) -> MappingId {
        let name = format!("{} {function_arn}", self.checked.source);
        MappingId::new(&Uuid::new_v5(&NAMESPACE, name.as_bytes()).to_string())
    }

    /// Makes the store's mappings those of the file. Mappings that were made through the API stay
    /// as they are; those that have left the file are reported, and deleted if `prune` says so.
    ///
    /// Every function is looked up before anything is written, so that a mistake in one mapping
    /// leaves no others behind that run.
    ///
    /// # Errors
    /// Functions do not exist, and nothing was written; or the store fails, and what was written
    /// before stays.
    pub async fn apply(
        all: &[Self],
        store: &dyn Store,
        directory: &dyn ResourceLookup,
        clock: Clock,
        prune: bool,
    ) -> Result<(), ApplyError> {
        let (mut functions, mut missing) = (Vec::new(), Vec::new());
        for declared in all {
            match declared.look_up(directory).await {
                Ok(arn) => functions.push(arn),
                Err(function) => missing.push(function),
            }
        }
        if !missing.is_empty() {
            return Err(ApplyError::MissingFunctions(missing));
        }
        let mut kept = Vec::new();
        for (declared, function_arn) in all.iter().zip(functions) {
            kept.push(declared.write(store, function_arn, clock.now()).await?);
        }
        for row in store.mappings().await? {
            let left =
                row.from_config && row.desired != DesiredState::Deleted && !kept.contains(&row.id);
            if !left {
                continue;
            }
            let source = row.source.as_str();
            if !prune {
                tracing::warn!(
                    uuid = %row.id, source, function = %row.function_arn,
                    "a mapping has left the configuration and still runs; start with --prune to delete it"
                );
                continue;
            }
            tracing::info!(uuid = %row.id, source, function = %row.function_arn, "deleting a mapping that has left the configuration");
            let (desired, change) = (DesiredState::Deleted, Change::Deleted);
            let next = MappingRow {
                desired,
                change,
                ..row.next_revision(clock.now())
            };
            // Whoever changed it meanwhile is another daemon with a file of its own.
            store.put(&next, Some(row.revision)).await?;
        }
        Ok(())
    }

    /// The ARN of the function. One that cannot be looked up now will be invoked all the same; one
    /// that is known to be missing is a mistake in the file.
    async fn look_up(&self, directory: &dyn ResourceLookup) -> Result<Arn, MissingFunction> {
        match directory.function(&self.checked.function).await {
            Ok(Some(arn)) => Ok(arn),
            Ok(None) => Err(MissingFunction {
                place: self.place.clone(),
                name: self.checked.spec.function_name.clone().unwrap_or_default(),
                source_arn: self.checked.source.clone(),
            }),
            Err(error) => {
                tracing::warn!(
                    "{}: whether the function exists is not known: {}",
                    self.place,
                    chain(&error)
                );
                Ok(self.function.clone())
            }
        }
    }

    /// Creates the mapping, or changes the one that is there; its id.
    async fn write(
        &self,
        store: &dyn Store,
        function_arn: Arn,
        now: Timestamp,
    ) -> Result<MappingId, ApplyError> {
        let wanted = if self.checked.enabled == Some(false) {
            DesiredState::Disabled
        } else {
            DesiredState::Enabled
        };
        let new = self.new_row(function_arn, wanted, now);
        for _ in 0..WRITE_ATTEMPTS {
            let mut rows = store.mappings().await?.into_iter();
            let existing = rows.find(|row| row.id == new.id || row.conflicts_with(&new));
            let (next, seen) = match existing {
                None => (new.clone(), None),
                Some(row) => {
                    let spec = self.spec_for(&row);
                    let change = change(&row, &spec, wanted);
                    let next = MappingRow {
                        spec,
                        desired: wanted,
                        change: change.unwrap_or(row.change),
                        from_config: true,
                        ..row.next_revision(now)
                    };
                    if change.is_none() && row.from_config {
                        return Ok(row.id);
                    }
                    (next, Some(row.revision))
                }
            };
            if store.put(&next, seen).await? == Swap::Done {
                tracing::info!(uuid = %next.id, source = %self.checked.source, function = %next.function_arn, "mapping declared");
                return Ok(next.id);
            }
        }
        Err(ApplyError::Contended(new.id))
    }

    /// What the mapping's parameters become. Where it starts was decided when it was created, and
    /// cannot be changed.
    fn spec_for(&self, row: &MappingRow) -> MappingSpec {
        let spec = MappingSpec {
            starting_position: row.spec.starting_position.clone(),
            starting_position_timestamp: row.spec.starting_position_timestamp,
            ..self.checked.spec.clone()
        };
        if spec != self.checked.spec {
            tracing::warn!(
                uuid = %row.id,
                "the starting position of a mapping that exists cannot be changed; delete the \
                 mapping to start anew"
            );
        }
        spec
    }

    fn new_row(&self, function_arn: Arn, desired: DesiredState, now: Timestamp) -> MappingRow {
        MappingRow {
            id: self.id(&function_arn),
            revision: Revision(1),
            spec: self.checked.spec.clone(),
            source: self.checked.source.clone(),
            function_arn,
            desired,
            change: Change::Created,
            created: now,
            last_modified: now,
            from_config: true,
        }
    }
}

/// What the file changes about a mapping, if it changes anything.
fn change(row: &MappingRow, spec: &MappingSpec, wanted: DesiredState) -> Option<Change> {
    if row.desired == wanted {
        return (row.spec != *spec).then_some(Change::Updated);
    }
    Some(if wanted == DesiredState::Enabled {
        Change::Enabled
    } else {
        Change::Disabled
    })
}
