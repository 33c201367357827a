//! The mappings of the configuration file: the file defines them completely.
//!
//! Their UUID is derived from source and function, so that a restart creates no second one.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Map, Value};
use uuid::Uuid;
use windlass_core::arn::{Arn, ArnScope};
use windlass_core::mapping::{Change, DesiredState, MappingId, MappingRow, Revision, latest};
use windlass_core::outcome::Swap;
use windlass_core::parameters::PARAMETERS;
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_core::validate::{self, Checked};
use windlass_engine::clock::Clock;
use windlass_engine::ports::{ResourceLookup, Store, chain};

mod error;

pub use error::{ApplyError, ConfigMappingError, MissingFunction};

/// Of the UUIDs, which are of version 5.
const NAMESPACE: Uuid = Uuid::from_u128(0x7f0d_1c39_5f0e_4c0a_9d5b_2a6c_7e41_88d3);

/// Writes of one mapping before it counts as contended.
const WRITE_ATTEMPTS: usize = 10;

/// How long a start waits for the sources of its new mappings.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(5);

/// A mapping of the file that has passed every check that needs no I/O.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigMapping {
    /// Where the file defines it, for messages.
    location: String,
    checked: Checked,
    /// The ARN to which the function's name resolves.
    function: Arn,
}

impl ConfigMapping {
    /// Checks the members of one mapping, without I/O.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        location: &str,
        members: &Map<String, Value>,
        home: &ArnScope,
        now: Timestamp,
    ) -> Result<Self, Vec<ConfigMappingError>> {
        let (spec, type_errors) = MappingSpec::read(members, true);
        let violations = match validate::create(&spec, now) {
            Ok(checked) if type_errors.is_empty() => {
                return Ok(Self {
                    location: location.to_owned(),
                    function: checked.function.resolve(home),
                    checked,
                });
            }
            checked => checked.err().unwrap_or_default(),
        };
        // A member with a wrong type is incomplete: further violations in it are noise.
        let top_level = |member: &str| member.split(['.', '[']).next().map(str::to_owned);
        let is_incomplete = |member: &str| {
            let mut incomplete = type_errors.iter().map(|error| top_level(&error.member));
            incomplete.any(|name| name == top_level(member))
        };
        let violations = violations
            .into_iter()
            .filter(|violation| !is_incomplete(&violation.member))
            .map(ConfigMappingError::from)
            .collect::<Vec<_>>();
        let type_errors = type_errors.into_iter().map(ConfigMappingError::from);
        Err(type_errors.chain(violations).collect())
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

    /// Writes the mappings of the file to the store. Mappings that the API created stay as they are.
    /// Mappings that are no longer in the file are logged, or deleted with `prune`.
    ///
    /// Every function is looked up before the first write, so that an error in one mapping leaves no
    /// others running.
    ///
    /// # Errors
    /// A function does not exist: nothing was written. The store fails: earlier writes stay.
    pub async fn apply(
        all: &[Self],
        store: &dyn Store,
        lookup: &dyn ResourceLookup,
        clock: Clock,
        prune: bool,
    ) -> Result<(), ApplyError> {
        let (mut functions, mut missing) = (Vec::new(), Vec::new());
        for mapping in all {
            match mapping.look_up(lookup).await {
                Ok(arn) => functions.push(arn),
                Err(function) => missing.push(function),
            }
        }
        if !missing.is_empty() {
            return Err(ApplyError::MissingFunctions(missing));
        }
        let rows = store.mappings().await?;
        let new = all.iter().zip(functions);
        let new = new.map(|(mapping, function)| mapping.new_row(function, &rows, lookup, clock));
        let new = join_all(new).await;
        let mut kept = Vec::new();
        for (mapping, new) in all.iter().zip(new) {
            kept.push(mapping.write(store, new, clock.wall()).await?);
        }
        for row in store.mappings().await? {
            let is_deleted = row.desired == DesiredState::Deleted;
            if !row.from_config || is_deleted || kept.contains(&row.id) {
                continue;
            }
            let MappingRow {
                id,
                source,
                function_arn,
                ..
            } = &row;
            if !prune {
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
                ..row.next_revision(clock.wall())
            };
            // A conflict means that another daemon, with another file, has changed it.
            store.put(&next, Some(row.revision)).await?;
        }
        Ok(())
    }

    /// The ARN of the function. It is an error if the function does not exist, but not if the lookup
    /// fails: it may exist.
    async fn look_up(&self, lookup: &dyn ResourceLookup) -> Result<Arn, MissingFunction> {
        match lookup.function(&self.checked.function).await {
            Ok(Some(arn)) => Ok(arn),
            Ok(None) => Err(MissingFunction {
                location: self.location.clone(),
                name: self
                    .checked
                    .spec
                    .function_name()
                    .unwrap_or_default()
                    .to_owned(),
                source: self.checked.source.clone(),
            }),
            Err(error) => {
                tracing::warn!(
                    "{}: cannot look up the function: {}",
                    self.location,
                    chain(&error)
                );
                Ok(self.function.clone())
            }
        }
    }

    /// Creates or updates the mapping, and returns its id.
    async fn write(
        &self,
        store: &dyn Store,
        new: MappingRow,
        now: Timestamp,
    ) -> Result<MappingId, ApplyError> {
        let wanted = new.desired;
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
                tracing::info!(uuid = %next.id, source = %self.checked.source, function = %next.function_arn, "configured mapping written");
                return Ok(next.id);
            }
        }
        Err(ApplyError::Contended(new.id))
    }

    /// The new parameters of an existing mapping: those that an update cannot change stay.
    fn spec_for(&self, row: &MappingRow) -> MappingSpec {
        let mut spec = self.checked.spec.clone();
        for parameter in PARAMETERS
            .iter()
            .filter(|parameter| !parameter.is_updatable)
        {
            spec.remove(parameter.name);
            if let Some(value) = row.spec.get(parameter.name) {
                spec.set(parameter.name, value.clone());
            }
        }
        if spec != self.checked.spec {
            tracing::warn!(
                uuid = %row.id,
                "the starting position of an existing mapping cannot change; delete the mapping to \
                 create it again"
            );
        }
        spec
    }

    /// The row, if it is not among `rows`.
    async fn new_row(
        &self,
        function_arn: Arn,
        rows: &[MappingRow],
        lookup: &dyn ResourceLookup,
        clock: Clock,
    ) -> MappingRow {
        let now = clock.wall();
        let mut new = MappingRow {
            id: self.id(&function_arn),
            revision: Revision(1),
            spec: self.checked.spec.clone(),
            source: self.checked.source.clone(),
            function_arn,
            desired: if self.checked.enabled == Some(false) {
                DesiredState::Disabled
            } else {
                DesiredState::Enabled
            },
            change: Change::Created,
            created: latest(None, now),
            last_modified: now,
            from_config: true,
        };
        let exists = |row: &MappingRow| row.id == new.id || row.conflicts_with(&new);
        if new.spec.starting_position() == Some("LATEST") && !rows.iter().any(exists) {
            new.created = latest(self.source_time(lookup).await, clock.wall());
        }
        new
    }

    /// What the clock of the source shows. The mapping is written even if that cannot be found out:
    /// its source may appear later.
    async fn source_time(&self, lookup: &dyn ResourceLookup) -> Option<Timestamp> {
        let answer = lookup.source(&self.checked.source);
        let reason = match tokio::time::timeout(SOURCE_TIMEOUT, answer).await {
            Ok(Ok(answered)) => return answered,
            Ok(Err(error)) => chain(&error),
            Err(_) => "no answer".to_owned(),
        };
        tracing::warn!(
            "{}: cannot ask the source for its time, so LATEST is a minute ago by the daemon's \
             clock: {reason}",
            self.location
        );
        None
    }
}

/// `None` if the file changes nothing.
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
