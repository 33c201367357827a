//! The mappings of the store, compared with those that a file defines.

use std::collections::BTreeMap;

use windlass_core::arn::{Arn, SourceArn};
use windlass_core::mapping::{Change, DesiredState, MappingId, MappingRow, Origin, Revision};
use windlass_core::spec::MappingSpec;
use windlass_core::tags::Tags;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{CONFIGURATION, HistoryLine, PortError, Store};

use super::ConfigMapping;
use crate::history::mapping_line;

/// The rows of the store, read once.
pub(super) struct Rows {
    by_id: BTreeMap<MappingId, MappingRow>,
    /// Those that are not being deleted.
    by_pair: BTreeMap<(SourceArn, Arn), MappingId>,
}

/// What the configuration changes about a mapping.
pub(super) enum Plan {
    /// The row of this id is as the file wants it.
    Nothing(MappingId),
    /// This row, with the revision that it replaces.
    Write(MappingRow, Option<Revision>),
}

impl Rows {
    pub(super) async fn read(store: &dyn Store) -> Result<Self, PortError> {
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

    pub(super) fn all(&self) -> impl Iterator<Item = &MappingRow> {
        self.by_id.values()
    }

    /// The row of its source and function, unless that is being deleted.
    pub(super) fn live(&self, mapping: &ConfigMapping, function_arn: &Arn) -> Option<&MappingRow> {
        let pair = (mapping.checked.source.clone(), function_arn.clone());
        self.by_id.get(self.by_pair.get(&pair)?)
    }

    /// The tags that are written with a row: those of the file, or none for a mapping that is new.
    pub(super) fn tags(&self, mapping: &ConfigMapping, next: &MappingRow) -> Option<Tags> {
        let row = self.by_id.get(&next.id);
        let is_new = row.is_none_or(|row| row.desired == DesiredState::Deleted);
        let none = || is_new.then(Tags::default);
        mapping.checked.tags.clone().or_else(none)
    }

    /// What a row that the configuration writes leaves in the history.
    pub(super) fn line(&self, next: &MappingRow, now: Timestamp) -> Option<HistoryLine> {
        mapping_line(now, CONFIGURATION, self.by_id.get(&next.id), next)
    }

    /// What the configuration writes. A row that is being deleted is revived, unless another has its
    /// source and function.
    pub(super) fn plan(&self, mapping: &ConfigMapping, function_arn: &Arn, now: Timestamp) -> Plan {
        let new = mapping.new_row(function_arn.clone(), now);
        let live = self.live(mapping, function_arn);
        let Some(row) = live.or_else(|| self.by_id.get(&new.id)) else {
            return Plan::Write(new, None);
        };
        if let Some(name) = mapping.unchangeable(row) {
            tracing::warn!(
                uuid = %row.id,
                "{name} of an existing mapping cannot change; delete the mapping to create it again"
            );
        }
        match changed(row, mapping, Origin::Configuration, now) {
            Some(next) => Plan::Write(next, Some(row.revision)),
            None => Plan::Nothing(row.id.clone()),
        }
    }
}

/// The next revision of a row, if a file or its origin changes anything about it.
pub(super) fn changed(
    row: &MappingRow,
    mapping: &ConfigMapping,
    origin: Origin,
    now: Timestamp,
) -> Option<MappingRow> {
    let spec = mapping.spec_for(row);
    let desired = mapping.desired(row);
    let change = change(row, &spec, desired);
    if change.is_none() && row.origin == origin {
        return None;
    }
    Some(MappingRow {
        spec,
        desired,
        change: change.unwrap_or(row.change),
        origin,
        ..row.next_revision(now)
    })
}

fn change(row: &MappingRow, spec: &MappingSpec, desired: DesiredState) -> Option<Change> {
    match desired {
        _ if row.desired == desired => (row.spec != *spec).then_some(Change::Updated),
        DesiredState::Enabled => Some(Change::Enabled),
        DesiredState::Disabled | DesiredState::Deleted => Some(Change::Disabled),
    }
}
