//! `POST /windlass/v1/mappings/apply`: makes mappings what a file defines.
//!
//! Everything is compared before the first change. A dry run ends there; otherwise the answer, a job, has
//! a line for each mapping as it is dealt with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use windlass_core::arn::Arn;
use windlass_core::mapping::{DesiredState, MappingId, MappingRow, Origin};
use windlass_core::outcome::Swap;
use windlass_core::tags::Tags;

use super::rows::{Rows, changed};
use super::{ConfigMapping, ConfigMappingError, MappingProblem};
use crate::auth::Caller;
use crate::control::Control;
use crate::errors::{ApiError, Code};
use crate::history::mapping_line;
use crate::state::ServerState;
use crate::v1::{JsonBody, Refusal, respond_in_lines};

/// Mappings that are written at a time: a new one waits for its function and its source.
const MAX_WRITES: usize = 16;

pub(crate) fn job_routes() -> Router<Arc<ServerState>> {
    Router::new().route("/windlass/v1/mappings/apply", post(apply))
}

async fn apply(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Refusal> {
    state.accept_job()?;
    let mut body = body.with(&["mappings", "prune", "dry_run"])?;
    let mappings = parse(&state.control, body.required("mappings")?)?;
    let (prune, dry_run) = (body.flag("prune")?, body.flag("dry_run")?);
    let steps = plan(&state.control, mappings, prune).await?;
    let (lines, mut receiver) = mpsc::channel(MAX_WRITES);
    let mut job = JoinSet::new();
    job.spawn(async move {
        match dry_run {
            true => {
                for step in steps {
                    // The caller has left.
                    if lines.send(step.line(step.planned())).await.is_err() {
                        return;
                    }
                }
            }
            false => carry_out(state, steps, caller.name, lines).await,
        }
    });
    Ok(respond_in_lines(move |context| {
        let _job = &job;
        receiver.poll_recv(context)
    }))
}

/// What becomes of one mapping.
struct Step {
    /// `None` until it is created.
    uuid: Option<MappingId>,
    source: String,
    function: Arn,
    changes: Vec<FieldChange>,
    action: Action,
}

/// Their names are those of the history.
#[derive(Clone)]
enum Action {
    Create(Box<ConfigMapping>),
    Update(Box<Update>),
    Delete(Box<MappingRow>),
    Nothing,
}

#[derive(Clone)]
struct Update {
    current: MappingRow,
    /// `None` where only tags change.
    next: Option<MappingRow>,
    /// Those that are there, and those of the file.
    tags: Option<(Tags, Tags)>,
}

/// A member that is changed; null where there is nothing.
struct FieldChange {
    field: String,
    before: Value,
    after: Value,
}

/// Result of a step.
enum Outcome {
    Planned,
    Unchanged,
    Done(Option<String>),
    Failed(String),
    Skipped,
}

/// Checks the members of every mapping, without I/O.
fn parse(control: &Control, mappings: Vec<Value>) -> Result<Vec<(Arn, ConfigMapping)>, Refusal> {
    let now = control.clock().wall();
    let (mut parsed, mut pairs) = (Vec::new(), BTreeMap::new());
    for (index, members) in mappings.into_iter().enumerate() {
        let location = format!("mappings[{index}]");
        let Value::Object(members) = members else {
            let text = "expected the members of CreateEventSourceMapping";
            return Err(Refusal::invalid(location, text));
        };
        let mapping = ConfigMapping::parse(&location, &members, control.home(), now)
            .map_err(|errors| invalid(&location, &errors))?;
        let known = control.lookup().function_arn(&mapping.checked.function);
        let function = known.unwrap_or_else(|| mapping.function.clone());
        let pair = (mapping.checked.source.clone(), function.clone());
        if let Some(first) = pairs.insert(pair, index) {
            let text = format!("mappings[{first}] has the same source and function");
            return Err(Refusal::invalid(location, text));
        }
        parsed.push((function, mapping));
    }
    Ok(parsed)
}

fn invalid(location: &str, errors: &[ConfigMappingError]) -> Refusal {
    let texts = errors.iter().map(|error| match &error.problem {
        MappingProblem::Expected(what) => format!("{}: expected {what}", error.member),
        MappingProblem::Violation { message, detail } => {
            let detail = detail.iter().map(|detail| format!(" {detail}"));
            format!("{}: {message}{}", error.member, detail.collect::<String>())
        }
    });
    let texts: Vec<String> = texts.collect();
    let field = match errors {
        [only] => format!("{location}.{}", only.member),
        _ => location.to_owned(),
    };
    Refusal::invalid(field, texts.join("; "))
}

/// Compares the mappings with those of the store. Those that an earlier call created and that are gone
/// are deleted, with `prune`.
async fn plan(
    control: &Control,
    mappings: Vec<(Arn, ConfigMapping)>,
    prune: bool,
) -> Result<Vec<Step>, Refusal> {
    let rows = Rows::read(control.store()).await?;
    let now = control.clock().wall();
    let (mut steps, mut kept) = (Vec::with_capacity(mappings.len()), BTreeSet::new());
    for (function, mapping) in mappings {
        let Some(row) = rows.live(&mapping, &function) else {
            steps.push(Step::create(function, mapping));
            continue;
        };
        if let Some(name) = mapping.unchangeable(row) {
            let text = format!(
                "{name} of mapping {} cannot change; delete the mapping to create it again",
                row.id
            );
            return Err(Refusal::invalid(
                format!("{}.{name}", mapping.location),
                text,
            ));
        }
        kept.insert(row.id.clone());
        let next = changed(row, &mapping, row.origin, now);
        let tags = match mapping.checked.tags {
            Some(wanted) => {
                let stored = control.store().tags(&row.id).await?.unwrap_or_default();
                (stored != wanted).then_some((stored, wanted))
            }
            None => None,
        };
        steps.push(Step::update(row, next, tags));
    }
    if prune {
        let gone = rows.all().filter(|row| {
            let is_live = row.desired != DesiredState::Deleted;
            is_live && row.origin == Origin::Apply && !kept.contains(&row.id)
        });
        let mut gone: Vec<&MappingRow> = gone.collect();
        gone.sort_by_key(|row| (&row.source, &row.function_arn));
        steps.extend(gone.into_iter().map(Step::delete));
    }
    Ok(steps)
}

impl Step {
    /// Shows what the file names; all else has its default.
    fn create(function: Arn, mapping: ConfigMapping) -> Self {
        let checked = &mapping.checked;
        let mut members = checked.spec.members().clone();
        members.remove("FunctionName");
        members.remove("EventSourceArn");
        if let Some(enabled) = checked.enabled {
            members.insert("Enabled".to_owned(), enabled.into());
        }
        if let Some(tags) = &checked.tags {
            members.insert("Tags".to_owned(), tags.to_json());
        }
        Self {
            uuid: None,
            source: checked.source.to_string(),
            function,
            changes: changes(&Map::new(), &members),
            action: Action::Create(Box::new(mapping)),
        }
    }

    fn update(row: &MappingRow, next: Option<MappingRow>, tags: Option<(Tags, Tags)>) -> Self {
        let line = |next| mapping_line(row.last_modified, "", Some(row), next);
        let mut all = match next.as_ref().and_then(line) {
            Some(line) => match (&line.before, &line.after) {
                (Value::Object(before), Value::Object(after)) => changes(before, after),
                _ => Vec::new(),
            },
            None => Vec::new(),
        };
        // Another spelling of the same function.
        let name = next.as_ref().and_then(|next| next.spec.function_name());
        if let Some(name) = name.filter(|name| Some(*name) != row.spec.function_name()) {
            all.push(FieldChange {
                field: "FunctionName".to_owned(),
                before: json!(row.spec.function_name()),
                after: json!(name),
            });
        }
        if let Some((before, after)) = &tags {
            all.push(FieldChange {
                field: "Tags".to_owned(),
                before: before.to_json(),
                after: after.to_json(),
            });
        }
        let action = match (next, tags) {
            (None, None) => Action::Nothing,
            (next, tags) => Action::Update(Box::new(Update {
                current: row.clone(),
                next,
                tags,
            })),
        };
        Self::of_row(row, all, action)
    }

    fn delete(row: &MappingRow) -> Self {
        Self::of_row(row, Vec::new(), Action::Delete(Box::new(row.clone())))
    }

    fn of_row(row: &MappingRow, changes: Vec<FieldChange>, action: Action) -> Self {
        Self {
            uuid: Some(row.id.clone()),
            source: row.source.to_string(),
            function: row.function_arn.clone(),
            changes,
            action,
        }
    }

    const fn planned(&self) -> Outcome {
        match self.action {
            Action::Nothing => Outcome::Unchanged,
            Action::Create(_) | Action::Update(_) | Action::Delete(_) => Outcome::Planned,
        }
    }

    /// A line of the answer.
    fn line(&self, outcome: Outcome) -> Value {
        let action = match &self.action {
            Action::Create(_) => json!("create"),
            Action::Update(_) => json!("update"),
            Action::Delete(_) => json!("delete"),
            Action::Nothing => Value::Null,
        };
        let mut uuid = self.uuid.as_ref().map(|id| id.as_str().to_owned());
        let (result, error) = match outcome {
            Outcome::Planned => ("planned", None),
            Outcome::Unchanged => ("unchanged", None),
            Outcome::Done(created) => {
                uuid = created.or(uuid);
                ("done", None)
            }
            Outcome::Failed(text) => ("failed", Some(text)),
            Outcome::Skipped => {
                let text = "not deleted, because another mapping could not be written";
                ("skipped", Some(text.to_owned()))
            }
        };
        let changes = self.changes.iter().map(|change| {
            let FieldChange {
                field,
                before,
                after,
            } = change;
            json!({"field": field, "before": before, "after": after})
        });
        let changes: Vec<Value> = changes.collect();
        json!({
            "action": action,
            "uuid": uuid,
            "event_source_arn": self.source,
            "function_arn": self.function.as_str(),
            "changes": changes,
            "result": result,
            "error": error,
        })
    }
}

/// The members that differ.
fn changes(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<FieldChange> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name));
    let of = |members: &Map<String, Value>, name: &String| {
        members.get(name).cloned().unwrap_or_default()
    };
    let change = |name: &String| FieldChange {
        field: name.clone(),
        before: of(before, name),
        after: of(after, name),
    };
    differing.map(change).collect()
}

/// Writes the steps and reports each. Nothing is deleted unless all else was written: what is deleted may
/// have its successor among them.
async fn carry_out(
    state: Arc<ServerState>,
    steps: Vec<Step>,
    who: String,
    lines: mpsc::Sender<Value>,
) {
    let (deletions, writes): (Vec<_>, Vec<_>) = steps
        .into_iter()
        .partition(|step| matches!(step.action, Action::Delete(_)));
    let mut all_written = true;
    for steps in [writes, deletions] {
        let may_run = all_written;
        let mut steps = steps.into_iter().enumerate().peekable();
        while steps.peek().is_some() {
            let mut running = JoinSet::new();
            for (index, step) in steps.by_ref().take(MAX_WRITES) {
                let (state, who) = (Arc::clone(&state), who.clone());
                running.spawn(async move {
                    let outcome = match may_run {
                        true => write(&state.control, &step.action, &who).await,
                        false => Outcome::Skipped,
                    };
                    let failed = matches!(outcome, Outcome::Failed(_));
                    (index, step.line(outcome), failed)
                });
            }
            let mut ended = running.join_all().await;
            ended.sort_by_key(|(index, ..)| *index);
            for (_, line, failed) in ended {
                all_written &= !failed;
                // The caller has left.
                if lines.send(line).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn write(control: &Control, action: &Action, who: &str) -> Outcome {
    let written = match action {
        Action::Nothing => return Outcome::Unchanged,
        Action::Create(mapping) => {
            let checked = mapping.checked.clone();
            let created = control.create_checked(checked, Origin::Apply, who).await;
            created.map(|created| created["UUID"].as_str().map(str::to_owned))
        }
        Action::Update(update) => write_update(control, update, who).await.map(|()| None),
        Action::Delete(row) => delete(control, row, who).await.map(|()| None),
    };
    match written {
        Ok(uuid) => Outcome::Done(uuid),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

async fn write_update(control: &Control, update: &Update, who: &str) -> Result<(), ApiError> {
    let Update {
        current,
        next,
        tags,
    } = update;
    let store = control.store();
    let swap = match (next, tags) {
        (Some(next), tags) => {
            control.check_permissions(next, Some(current)).await?;
            let line = mapping_line(next.last_modified, who, Some(current), next);
            let (seen, line) = (Some(current.revision), line.as_ref());
            match tags {
                Some((_, tags)) => store.put_with_tags(next, seen, tags, line).await?,
                None => store.put(next, seen, line).await?,
            }
        }
        (None, Some((before, after))) => store.set_tags(&current.id, before, after).await?,
        (None, None) => Swap::Done,
    };
    done(control, swap)
}

async fn delete(control: &Control, row: &MappingRow, who: &str) -> Result<(), ApiError> {
    let next = row.deleted(control.clock().wall());
    let line = mapping_line(next.last_modified, who, Some(row), &next);
    let put = control
        .store()
        .put(&next, Some(row.revision), line.as_ref());
    done(control, put.await?)
}

fn done(control: &Control, swap: Swap) -> Result<(), ApiError> {
    match swap {
        Swap::Done => {
            control.wake();
            Ok(())
        }
        Swap::Conflict => Err(ApiError::new(
            Code::ResourceConflict,
            "the mapping was changed meanwhile; apply the file again",
        )),
    }
}
