//! The mappings of the configuration file: the file defines them completely.
//!
//! Their UUID is derived from source and function, so that a restart creates no second one.

use serde_json::{Map, Value};
use uuid::Uuid;
use windlass_core::arn::{Arn, ArnScope, SourceArn};
use windlass_core::function::FunctionName;
use windlass_core::mapping::{
    Change, DesiredState, Mapping, MappingId, MappingRow, Origin, Revision, latest,
};
use windlass_core::parameters::PARAMETERS;
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_core::validate::{self, Checked, Violation};

mod apply;
mod error;
mod operation;
mod rows;

pub use apply::{ApplyParts, PendingMappings};
pub use error::{ConfigMappingError, MappingProblem};
pub(crate) use operation::job_routes;

/// Of the UUIDs, which are of version 5.
const NAMESPACE: Uuid = Uuid::from_u128(0x7f0d_1c39_5f0e_4c0a_9d5b_2a6c_7e41_88d3);

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

    /// Source and function; a file can have only one mapping of them.
    #[must_use]
    pub fn pair(&self) -> (SourceArn, Arn) {
        (self.checked.source.clone(), self.function.clone())
    }

    /// Its function, as the file names it.
    #[must_use]
    pub const fn function_name(&self) -> &FunctionName {
        &self.checked.function
    }

    /// The mapping as it would run if it were created, with its function.
    ///
    /// # Errors
    /// None that [`Self::parse`] lets pass.
    pub fn to_mapping(&self, function_arn: Arn, now: Timestamp) -> Result<Mapping, Vec<Violation>> {
        validate::mapping(&self.new_row(function_arn, now))
    }

    fn id(&self, function_arn: &Arn) -> MappingId {
        let name = format!("{} {function_arn}", self.checked.source);
        MappingId::new(&Uuid::new_v5(&NAMESPACE, name.as_bytes()).to_string())
    }

    /// The new parameters of an existing mapping: those that an update cannot change stay.
    fn spec_for(&self, row: &MappingRow) -> MappingSpec {
        let mut spec = self.checked.spec.clone();
        for name in fixed_parameters() {
            spec.remove(name);
            if let Some(value) = row.spec.get(name) {
                spec.set(name, value.clone());
            }
        }
        spec
    }

    /// The first parameter that differs from that of the row and cannot change.
    fn unchangeable(&self, row: &MappingRow) -> Option<&'static str> {
        fixed_parameters().find(|name| self.checked.spec.get(name) != row.spec.get(name))
    }

    /// The file changes `Enabled` only where it names it.
    fn desired(&self, row: &MappingRow) -> DesiredState {
        match (self.checked.enabled, row.desired) {
            (Some(false), _) | (None, DesiredState::Disabled) => DesiredState::Disabled,
            (Some(true), _) | (None, DesiredState::Enabled | DesiredState::Deleted) => {
                DesiredState::Enabled
            }
        }
    }

    fn new_row(&self, function_arn: Arn, now: Timestamp) -> MappingRow {
        let desired = if self.checked.enabled == Some(false) {
            DesiredState::Disabled
        } else {
            DesiredState::Enabled
        };
        MappingRow {
            id: self.id(&function_arn),
            revision: Revision(1),
            spec: self.checked.spec.clone(),
            source: self.checked.source.clone(),
            function_arn,
            desired,
            change: Change::Created,
            // Corrected by the clock of the source before it is written.
            created: latest(None, now),
            last_modified: now,
            origin: Origin::Configuration,
        }
    }
}

fn fixed_parameters() -> impl Iterator<Item = &'static str> {
    let all = PARAMETERS.iter();
    let fixed = all.filter(|parameter| !parameter.is_updatable);
    fixed.map(|parameter| parameter.name)
}

#[cfg(test)]
mod tests;
