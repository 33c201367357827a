//! Changes of a replay: each is one conditional write, with its line in the history.

use serde_json::{Map, Value, json};
use windlass_core::mapping::Revision;
use windlass_core::outcome::Swap;
use windlass_core::replay::{ReplayRow, ReplayState};
use windlass_core::spec::MappingSpec;
use windlass_core::validate;
use windlass_engine::ports::{HistoryLine, What};

use super::find::find;
use super::start::{rate_of, refusal_of};
use crate::auth::Caller;
use crate::control::{Control, WRITE_ATTEMPTS};
use crate::history;
use crate::v1::{JsonBody, Refusal};

/// A change of the state that is asked for.
#[derive(Clone, Copy)]
pub(super) enum Transition {
    Pause,
    Resume,
    Cancel,
}

impl Transition {
    /// What the history calls it, and what it leads to.
    const fn parts(self) -> (What, ReplayState) {
        match self {
            Self::Pause => (What::ReplayPause, ReplayState::Paused),
            Self::Resume => (What::ReplayResume, ReplayState::Running),
            Self::Cancel => (What::ReplayCancel, ReplayState::Cancelled),
        }
    }
}

/// What is already in that state stays as it is, and leaves no line.
pub(super) async fn set_state(
    control: &Control,
    caller: &Caller,
    name: &str,
    transition: Transition,
) -> Result<ReplayRow, Refusal> {
    let (what, to) = transition.parts();
    let now = control.clock().wall();
    for _ in 0..WRITE_ATTEMPTS {
        let row = not_ended(find(control, name).await?)?;
        if row.state == to {
            return Ok(row);
        }
        let mut next = row.next_revision();
        next.state = to;
        match transition {
            Transition::Pause => {}
            Transition::Resume => {
                let leases = control.store().leases_of(&row.id).await?;
                (next.resumed, next.resumed_fraction) = (now, row.fraction(&leases));
            }
            Transition::Cancel => next.ended = Some(now),
        }
        let state = |row: &ReplayRow| json!({"name": name, "state": row.state.as_str()});
        let line = HistoryLine {
            before: state(&row),
            after: state(&next),
            ..line(control, caller, what, &row)
        };
        if write(control, &row, &next, &line).await? {
            return Ok(next);
        }
    }
    Err(contended())
}

/// Changes the rate, for which nothing stops, or the number of retries.
pub(super) async fn set(
    control: &Control,
    caller: &Caller,
    name: &str,
    body: JsonBody,
) -> Result<ReplayRow, Refusal> {
    let mut body = body.with(&["rate", "maximum_retry_attempts"])?;
    let rate = body.nullable::<u32>("rate")?.map(rate_of).transpose()?;
    let attempts = body.optional::<i64>("maximum_retry_attempts")?;
    if rate.is_none() && attempts.is_none() {
        let text = "nothing to set: expected rate or maximum_retry_attempts";
        return Err(Refusal::malformed(text));
    }
    for _ in 0..WRITE_ATTEMPTS {
        let row = not_ended(find(control, name).await?)?;
        let mut next = row.next_revision();
        let (mut before, mut after) = (named(name), named(name));
        if let Some(rate) = rate
            && rate != row.rate
        {
            next.rate = rate;
            before.insert("rate".to_owned(), json!(row.rate));
            after.insert("rate".to_owned(), json!(rate));
        }
        if let Some(attempts) = attempts {
            next.spec = with_attempts(&row, attempts)?;
            if next.spec != row.spec {
                next.settings_revision = Revision(row.settings_revision.0 + 1);
                let shown = |row: &ReplayRow| {
                    let kind = row.source.kind();
                    json!(row.spec.maximum_retry_attempts(kind))
                };
                before.insert("maximum_retry_attempts".to_owned(), shown(&row));
                after.insert("maximum_retry_attempts".to_owned(), shown(&next));
            }
        }
        if before == after {
            return Ok(row);
        }
        let line = HistoryLine {
            before: Value::Object(before),
            after: Value::Object(after),
            ..line(control, caller, What::ReplaySet, &row)
        };
        if write(control, &row, &next, &line).await? {
            return Ok(next);
        }
    }
    Err(contended())
}

/// One that runs is broken off. Its name is free at once.
pub(super) async fn delete(control: &Control, caller: &Caller, name: &str) -> Result<(), Refusal> {
    for _ in 0..WRITE_ATTEMPTS {
        let row = find(control, name).await?;
        let line = HistoryLine {
            before: json!({"name": name, "state": row.state.as_str()}),
            ..line(control, caller, What::ReplayDelete, &row)
        };
        let removed = control
            .store()
            .remove_replay(&row.id, row.revision, Some(&line));
        if removed.await? == Swap::Done {
            tracing::info!(replay = name, "replay deleted");
            control.wake();
            return Ok(());
        }
    }
    Err(contended())
}

fn with_attempts(row: &ReplayRow, attempts: i64) -> Result<MappingSpec, Refusal> {
    let mut change = MappingSpec::default();
    change.set("MaximumRetryAttempts", attempts);
    match validate::update(&row.mapping(), &change) {
        Ok(checked) => Ok(checked.spec),
        Err(violations) => Err(refusal_of(&violations)),
    }
}

fn not_ended(row: ReplayRow) -> Result<ReplayRow, Refusal> {
    if row.state.is_ended() {
        let (name, state) = (&row.name, row.state.as_str());
        let text =
            format!("replay '{name}' has ended ({state}) and cannot be changed; start another");
        return Err(Refusal::conflict(text));
    }
    Ok(row)
}

async fn write(
    control: &Control,
    row: &ReplayRow,
    next: &ReplayRow,
    line: &HistoryLine,
) -> Result<bool, Refusal> {
    let put = control
        .store()
        .put_replay(next, Some(row.revision), Some(line));
    let is_written = put.await? == Swap::Done;
    if is_written {
        let (replay, what) = (next.name.as_str(), line.what);
        tracing::info!(replay, state = next.state.as_str(), "{what}");
        control.wake();
    }
    Ok(is_written)
}

fn line(control: &Control, caller: &Caller, what: What, row: &ReplayRow) -> HistoryLine {
    let now = control.clock().wall();
    history::line(now, &caller.name, what, row.mapping.as_ref())
}

fn named(name: &str) -> Map<String, Value> {
    Map::from_iter([("name".to_owned(), json!(name))])
}

fn contended() -> Refusal {
    Refusal::conflict("cannot write the replay: other writers keep changing it")
}
