//! The operations of the API: each checks, looks up, writes one row and wakes the supervisor.
//!
//! Writes are conditional on the revision that was read, so two callers cannot undo each other.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;
use windlass_core::arn::{Arn, ArnScope, SourceKind};
use windlass_core::function::FunctionName;
use windlass_core::mapping::{
    Change, DesiredState, MappingId, MappingRow, Origin, Revision, latest,
};
use windlass_core::outcome::{Fault, Swap};
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_core::validate::{self, Checked};
use windlass_engine::clock::Clock;
use windlass_engine::ports::{
    FunctionFilter, FunctionLookup, MappingFilter, QueueDefaults, ResourceLookup, Store, chain,
};
use windlass_engine::status::StatusBoard;
use windlass_engine::supervisor::{Operator, Wakeup};

use crate::errors::{ApiError, Code};
use crate::history::mapping_line;
use crate::pagination::Page;
use crate::problems::{MappingProblems, UncheckedFunction};
use crate::{permissions, rendering};

/// Attempts at a conditional write before it fails as contended.
pub(crate) const WRITE_ATTEMPTS: usize = 10;

pub struct ControlParts {
    pub store: Arc<dyn Store>,
    pub lookup: Arc<dyn ResourceLookup>,
    pub board: Arc<StatusBoard>,
    pub wakeup: Wakeup,
    pub operator: Operator,
    pub clock: Clock,
    pub problems: MappingProblems,
    /// For function names that are not ARNs, and for the ARNs of mappings.
    pub home: ArnScope,
    pub queues: QueueDefaults,
}

/// The operations of the API.
pub struct Control {
    parts: ControlParts,
}

/// The query of ListEventSourceMappings.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListQuery {
    event_source_arn: Option<String>,
    function_name: Option<String>,
    marker: Option<String>,
    max_items: Option<String>,
}

impl Control {
    #[must_use]
    pub fn new(parts: ControlParts) -> Self {
        Self { parts }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.parts.store
    }

    pub(crate) const fn home(&self) -> &ArnScope {
        &self.parts.home
    }

    pub(crate) fn lookup(&self) -> &dyn ResourceLookup {
        &*self.parts.lookup
    }

    /// Tells the supervisor that the store has changed.
    pub(crate) fn wake(&self) {
        self.parts.wakeup.wake();
    }

    pub(crate) fn board(&self) -> &StatusBoard {
        &self.parts.board
    }

    pub(crate) const fn problems(&self) -> &MappingProblems {
        &self.parts.problems
    }

    pub(crate) fn clock(&self) -> Clock {
        self.parts.clock
    }

    pub(crate) const fn operator(&self) -> &Operator {
        &self.parts.operator
    }

    pub(crate) async fn create(&self, spec: &MappingSpec, who: &str) -> Result<Value, ApiError> {
        let checked = validate::create(spec, self.parts.clock.wall())?;
        self.create_checked(checked, Origin::Api, who).await
    }

    pub(crate) async fn create_checked(
        &self,
        checked: Checked,
        origin: Origin,
        who: &str,
    ) -> Result<Value, ApiError> {
        let (function_arn, unchecked) = self.function(&checked.function).await?;
        let answered = self.check_source_exists(&checked).await?;
        let enabled = checked.enabled != Some(false);
        let now = self.parts.clock.wall();
        let tags = checked.tags.unwrap_or_default();
        let row = MappingRow {
            id: MappingId::new(&Uuid::new_v4().to_string()),
            revision: Revision(1),
            spec: checked.spec,
            source: checked.source,
            function_arn,
            desired: if enabled {
                DesiredState::Enabled
            } else {
                DesiredState::Disabled
            },
            change: Change::Created,
            created: latest(answered, now),
            last_modified: now,
            origin,
        };
        self.check_permissions(&row, None).await?;
        let line = mapping_line(now, who, None, &row);
        for _ in 0..WRITE_ATTEMPTS {
            let put = self.store().put_with_tags(&row, None, &tags, line.as_ref());
            if put.await? == Swap::Done {
                self.set_unchecked(&row, unchecked);
                return Ok(self.written(&row, &row));
            }
            if let Some(existing) = self.conflicting(&row).await? {
                return Err(already_exists(&existing));
            }
        }
        Err(ApiError::new(
            Code::Service,
            "cannot write the mapping: other writers keep changing it, or the store has a mapping of \
             this source and function that this version of windlass cannot read",
        ))
    }

    pub(crate) async fn get(&self, uuid: &str) -> Result<Value, ApiError> {
        let row = self.row(uuid).await?;
        Ok(self.shown(&row))
    }

    pub(crate) async fn list(
        &self,
        query: &ListQuery,
    ) -> Result<(Vec<Value>, Option<String>), ApiError> {
        let ListQuery {
            event_source_arn,
            function_name,
            marker,
            max_items,
        } = query;
        let (source, function) = (event_source_arn.as_deref(), function_name.as_deref());
        let function = validate::list(source, function, max_items.as_deref())?;
        let function = function.map(|name| name.resolve(&self.parts.home));
        let mut page = Page::new(marker.as_deref(), max_items.as_deref())?;
        let filter = MappingFilter {
            source: event_source_arn.clone(),
            function: function.as_ref().map(|arn| FunctionFilter {
                name: FunctionName::parse(arn.as_str()).map_or_else(String::new, |it| it.name),
                arn: arn.clone(),
            }),
        };
        while 0 < page.room() {
            let limit = page.room();
            let rows = self.store().mappings_after(page.after(), &filter, limit);
            let rows = rows.await?;
            let is_last = rows.len() < limit;
            for row in rows {
                let is_wanted = function.as_ref().is_none_or(|arn| self.invokes(&row, arn));
                page.push(row, is_wanted);
            }
            if is_last {
                break;
            }
        }
        let (page, next) = page.finish();
        Ok((page.iter().map(|row| self.shown(row)).collect(), next))
    }

    pub(crate) async fn update(
        &self,
        uuid: &str,
        change: &MappingSpec,
        who: &str,
    ) -> Result<Value, ApiError> {
        for _ in 0..WRITE_ATTEMPTS {
            let current = self.row(uuid).await?;
            let stops = change.enabled() == Some(false);
            let state = self.parts.board.mapping(&current).state;
            // A mapping that never becomes Enabled, because its source is gone, can be disabled.
            if current.desired == DesiredState::Deleted || (state == "Creating" && !stops) {
                return Err(in_use("update"));
            }
            let (next, unchecked) = self.changed(&current, change).await?;
            self.check_permissions(&next, Some(&current)).await?;
            let line = mapping_line(next.last_modified, who, Some(&current), &next);
            let put = self
                .store()
                .put(&next, Some(current.revision), line.as_ref());
            if put.await? == Swap::Done {
                if change.function_name().is_some() {
                    self.set_unchecked(&next, unchecked);
                }
                return Ok(self.updated(&current, &next));
            }
            if let Some(existing) = self.conflicting(&next).await? {
                return Err(already_exists(&existing));
            }
        }
        Err(ApiError::new(
            Code::Service,
            "cannot write the mapping: other writers keep changing it",
        ))
    }

    pub(crate) async fn delete(&self, uuid: &str, who: &str) -> Result<Value, ApiError> {
        for _ in 0..WRITE_ATTEMPTS {
            let current = self.row(uuid).await?;
            let status = self.parts.board.mapping(&current);
            // One whose update cannot end, because its source is gone, can be deleted.
            let is_updating = status.state == "Updating" && status.problem.is_none();
            if current.desired == DesiredState::Deleted || is_updating {
                return Err(in_use("delete"));
            }
            let next = current.deleted(self.parts.clock.wall());
            let line = mapping_line(next.last_modified, who, Some(&current), &next);
            let put = self
                .store()
                .put(&next, Some(current.revision), line.as_ref());
            if put.await? == Swap::Done {
                self.set_unchecked(&next, None);
                return Ok(self.written(&next, &next));
            }
        }
        Err(ApiError::new(
            Code::Service,
            "cannot delete the mapping: other writers keep changing it",
        ))
    }

    pub(crate) async fn row(&self, uuid: &str) -> Result<MappingRow, ApiError> {
        validate::uuid(uuid)?;
        let id = MappingId::new(&uuid.to_ascii_lowercase());
        let row = self.store().mapping(&id).await?;
        row.ok_or_else(ApiError::mapping_not_found)
    }

    /// The next revision, and why its function could not be checked, if it could not.
    async fn changed(
        &self,
        current: &MappingRow,
        change: &MappingSpec,
    ) -> Result<(MappingRow, Option<String>), ApiError> {
        let checked = validate::update(current, change)?;
        let (function_arn, unchecked) = match change.function_name() {
            Some(_) => self.function(&checked.function).await?,
            None => (current.function_arn.clone(), None),
        };
        let desired = match checked.enabled {
            Some(true) => DesiredState::Enabled,
            Some(false) => DesiredState::Disabled,
            None => current.desired,
        };
        let next = MappingRow {
            spec: checked.spec,
            function_arn,
            desired,
            change: if desired == current.desired {
                Change::Updated
            } else if desired == DesiredState::Enabled {
                Change::Enabled
            } else {
                Change::Disabled
            },
            ..current.next_revision(self.parts.clock.wall())
        };
        Ok((next, unchecked))
    }

    /// The response to an update has the old values for a stream, and the new ones for a queue.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>
    fn updated(&self, current: &MappingRow, next: &MappingRow) -> Value {
        if next.source.kind() == SourceKind::Queue {
            return self.written(next, next);
        }
        let shown = MappingRow {
            spec: current.spec.clone(),
            function_arn: current.function_arn.clone(),
            ..next.clone()
        };
        self.written(next, &shown)
    }

    /// Wakes the supervisor and returns the response.
    fn written(&self, row: &MappingRow, shown: &MappingRow) -> Value {
        let (uuid, revision) = (&row.id, row.revision.0);
        tracing::info!(%uuid, revision, change = row.change.as_str(), "mapping written");
        let response = self.shown(shown);
        self.parts.wakeup.wake();
        response
    }

    fn shown(&self, row: &MappingRow) -> Value {
        rendering::mapping(row, &self.parts.board.mapping(row), &self.parts.home)
    }

    /// The ARN of a function, and why it could not be checked, if it could not.
    async fn function(&self, name: &FunctionName) -> Result<(Arn, Option<String>), ApiError> {
        match self.parts.lookup.function(name).await? {
            FunctionLookup::Found(arn) => Ok((arn, None)),
            FunctionLookup::Unchecked { arn, reason } => Ok((arn, Some(reason))),
            FunctionLookup::Missing => Err(ApiError::invalid("Function does not exist")),
        }
    }

    /// The ARN of a function, unless it does not exist.
    pub(crate) async fn find_function(&self, name: &FunctionName) -> Result<Option<Arn>, ApiError> {
        Ok(match self.parts.lookup.function(name).await? {
            FunctionLookup::Found(arn) | FunctionLookup::Unchecked { arn, .. } => Some(arn),
            FunctionLookup::Missing => None,
        })
    }

    fn set_unchecked(&self, row: &MappingRow, reason: Option<String>) {
        if let Some(reason) = &reason {
            let (uuid, function) = (&row.id, &row.function_arn);
            tracing::warn!(%uuid, %function, reason, "the function could not be checked");
        }
        let invoked = self.parts.board.mapping(row).counts.invoked.get();
        let unchecked = reason.map(|reason| UncheckedFunction { reason, invoked });
        self.parts.problems.set_unchecked(row.id.clone(), unchecked);
    }

    /// Returns when the source answered by its own clock.
    async fn check_source_exists(&self, checked: &Checked) -> Result<Option<Timestamp>, ApiError> {
        let error = match self.parts.lookup.source(&checked.source).await {
            Ok(answered) => return Ok(answered),
            Err(error) => error,
        };
        let (arn, kind) = (checked.source.arn(), checked.source.kind());
        match error.fault {
            Fault::Gone => Err(permissions::missing_source(arn, kind)),
            Fault::Denied => {
                tracing::warn!("{}", chain(&error));
                Err(permissions::denied_source(arn, kind, &error))
            }
            // The source is not reachable, or the daemon has no credentials.
            Fault::Throttled { .. }
            | Fault::Transient
            | Fault::TimedOut
            | Fault::Trimmed
            | Fault::UnknownPosition => {
                tracing::warn!("{}", chain(&error));
                Err(error.into())
            }
        }
    }

    /// Refuses a mapping if a call is denied that it needs, and that `current` did not need.
    pub(crate) async fn check_permissions(
        &self,
        row: &MappingRow,
        current: Option<&MappingRow>,
    ) -> Result<(), ApiError> {
        let needed = |row| {
            let mapping = validate::mapping(row).ok();
            mapping.map(|mapping| self.lookup().needed_calls(&mapping, &self.parts.queues))
        };
        let known = current.and_then(needed).unwrap_or_default();
        let mut calls = needed(row).unwrap_or_default();
        calls.retain(|call| !call.is_optional && !known.contains(call));
        permissions::check(&self.parts.lookup, &row.source, calls).await
    }

    /// The mapping that prevents `row` from being written.
    async fn conflicting(&self, row: &MappingRow) -> Result<Option<MappingRow>, ApiError> {
        let rows = self.store().mappings().await?;
        Ok(rows.into_iter().find(|other| row.conflicts_with(other)))
    }

    /// Whether the mapping addresses the function by this ARN. A function of the configuration can
    /// have another ARN than the one to which its name resolves.
    fn invokes(&self, row: &MappingRow, function: &Arn) -> bool {
        let name = row.spec.function_name().and_then(FunctionName::parse);
        row.function_arn == *function
            || name.is_some_and(|name| name.resolve(&self.parts.home) == *function)
    }
}

fn in_use(verb: &str) -> ApiError {
    let text = format!("Cannot {verb} the event source mapping because it is in use.");
    ApiError::new(Code::ResourceInUse, text)
}

fn already_exists(existing: &MappingRow) -> ApiError {
    let arn = &existing.source;
    let function = FunctionName::parse(existing.function_arn.as_str());
    let function = function.map_or_else(|| existing.function_arn.to_string(), |it| it.name);
    let uuid = &existing.id;
    let first = if arn.kind() == SourceKind::Queue {
        format!(
            "An event source mapping with SQS arn (\" {arn} \") and function (\" {function} \") already exists."
        )
    } else {
        format!(
            "The event source arn (\" {arn} \") and function (\" {function} \") provided mapping already exists."
        )
    };
    let text = format!("{first} Please update or delete the existing mapping with UUID {uuid}");
    ApiError::new(Code::ResourceConflict, text)
}
