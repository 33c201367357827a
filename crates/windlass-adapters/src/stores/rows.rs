//! SQL statements: rows of the database, read and written.

use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::ids::SequenceNumber;
use windlass_core::lease::{Lease, LeaseKey, Unit, WorkerId};
use windlass_core::mapping::{Change, DesiredState, MappingId, MappingRow, Origin, Revision};
use windlass_core::marks::MarkedSection;
use windlass_core::outcome::Swap;
use windlass_core::position::{Checkpoint, Position, ReplayCounts};
use windlass_core::seek::SeekMark;
use windlass_core::spec::MappingSpec;
use windlass_core::tags::Tags;
use windlass_core::time::Timestamp;
use windlass_core::window::{WindowBounds, WindowCheckpoint, WindowState};
use windlass_engine::ports::{
    ChangeNumber, Changes, CheckpointSave, MappingFilter, StoredMapping, UnreadableMapping,
};

use super::{overrides, replays};

const MAPPING_COLUMNS: &str = "id, revision, spec, source_arn, function_arn, desired, change,
                               created, last_modified, origin";
const LEASE_COLUMNS: &str = "mapping, unit, owner, epoch, checkpoint, shard_start, seek, waits";

/// The stored form of a [`Checkpoint`]: JSON. The state of its window is a column of its own, which is
/// read only where a consumer continues with it: it may have a megabyte.
#[derive(Serialize, Deserialize)]
struct StoredCheckpoint {
    position: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    arrival: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marks: Vec<StoredSection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<StoredWindow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<StoredCounts>,
}

/// The stored form of [`ReplayCounts`].
#[derive(Serialize, Deserialize)]
struct StoredCounts {
    delivered: u64,
    filtered_out: u64,
    given_up: u64,
    failed_invocations: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_arrival: Option<u64>,
}

/// The stored form of a [`WindowCheckpoint`], but for its state: times in milliseconds since the
/// epoch.
#[derive(Serialize, Deserialize)]
struct StoredWindow {
    start: u64,
    end: u64,
}

/// The stored form of a [`MarkedSection`].
#[derive(Serialize, Deserialize)]
struct StoredSection {
    runs: Vec<u64>,
    last: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_sequence_number: Option<u32>,
}

/// A value that this version does not support.
#[derive(Debug, thiserror::Error)]
#[error("unsupported {column} '{value}' in the database")]
struct UnsupportedValue {
    column: &'static str,
    value: String,
}

/// The specs of the mappings that have changed, with the texts they were read from: a mapping also
/// counts as changed if only its leases have, and its spec is not parsed again then.
#[derive(Debug, Default)]
pub(super) struct KnownSpecs(BTreeMap<MappingId, (String, MappingSpec)>);

impl KnownSpecs {
    fn read(&mut self, id: &MappingId, text: String) -> serde_json::Result<MappingSpec> {
        if let Some((known, spec)) = self.0.get(id)
            && *known == text
        {
            return Ok(spec.clone());
        }
        let spec: MappingSpec = serde_json::from_str(&text)?;
        self.0.insert(id.clone(), (text, spec.clone()));
        Ok(spec)
    }
}

pub(super) fn mappings(db: &Connection) -> rusqlite::Result<Vec<MappingRow>> {
    let query = format!("SELECT {MAPPING_COLUMNS} FROM mappings ORDER BY id");
    let mut statement = db.prepare_cached(&query)?;
    let rows = statement.query_map([], |row| readable(read_mapping(row, parse_spec)))?;
    let readable = rows.filter_map(|row| row.map(Result::ok).transpose());
    readable.collect()
}

/// Steps through no more rows than it needs.
pub(super) fn mappings_after(
    db: &Connection,
    after: Option<&MappingId>,
    filter: &MappingFilter,
    limit: usize,
) -> rusqlite::Result<Vec<MappingRow>> {
    let query = format!(
        "SELECT {MAPPING_COLUMNS} FROM mappings
         WHERE id > ?1 AND (?2 IS NULL OR source_arn = ?2)
             AND (?3 IS NULL OR function_arn = ?3 OR instr(spec, ?4))
         ORDER BY id"
    );
    let mut statement = db.prepare_cached(&query)?;
    // Every id is greater than the empty one.
    let after = after.map_or("", MappingId::as_str);
    let read = |row: &Row<'_>| readable(read_mapping(row, parse_spec));
    let function = filter.function.as_ref();
    let arn = function.map(|function| function.arn.as_str());
    let name = function.map(|function| function.name.as_str());
    let rows = statement.query_map(params![after, filter.source, arn, name], read)?;
    let readable = rows.filter_map(|row| row.map(Result::ok).transpose());
    readable.take(limit).collect()
}

pub(super) fn mapping(db: &Connection, id: &MappingId) -> rusqlite::Result<Option<MappingRow>> {
    mapping_with(db, id, parse_spec)
}

fn mapping_with(
    db: &Connection,
    id: &MappingId,
    read_spec: impl FnOnce(&MappingId, String) -> serde_json::Result<MappingSpec>,
) -> rusqlite::Result<Option<MappingRow>> {
    let query = format!("SELECT {MAPPING_COLUMNS} FROM mappings WHERE id = ?1");
    db.prepare_cached(&query)?
        .query_row([id.as_str()], |row| read_mapping(row, read_spec))
        .optional()
}

fn parse_spec(_: &MappingId, text: String) -> serde_json::Result<MappingSpec> {
    serde_json::from_str(&text)
}

pub(super) fn put(
    tx: &Transaction<'_>,
    row: &MappingRow,
    seen: Option<Revision>,
) -> rusqlite::Result<Swap> {
    let spec = serde_json::to_string(&row.spec)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let values = params![
        row.id.as_str(),
        integer(row.revision.0),
        spec,
        row.source.as_str(),
        row.function_arn.as_str(),
        row.desired.as_str(),
        row.change.as_str(),
        integer(row.created.as_millis()),
        integer(row.last_modified.as_millis()),
        row.origin.as_str(),
        seen.map(|seen| integer(seen.0)),
    ];
    let statement = if seen.is_none() {
        "INSERT INTO mappings (id, revision, spec, source_arn, function_arn, desired, change,
                               created, last_modified, origin)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 WHERE ?11 IS NULL"
    } else {
        "UPDATE mappings SET revision = ?2, spec = ?3, source_arn = ?4, function_arn = ?5,
                desired = ?6, change = ?7, created = ?8, last_modified = ?9, origin = ?10
         WHERE id = ?1 AND revision = ?11"
    };
    match tx.prepare_cached(statement)?.execute(values) {
        Ok(changed) => Ok(swap(changed)),
        Err(rusqlite::Error::SqliteFailure(error, _))
            if error.code == rusqlite::ErrorCode::ConstraintViolation =>
        {
            Ok(Swap::Conflict)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn remove(
    tx: &Transaction<'_>,
    id: &MappingId,
    seen: Revision,
) -> rusqlite::Result<Swap> {
    let mut delete = tx.prepare_cached("DELETE FROM mappings WHERE id = ?1 AND revision = ?2")?;
    Ok(swap(delete.execute(params![id.as_str(), integer(seen.0)])?))
}

pub(super) fn tags(db: &Connection, mapping: &MappingId) -> rusqlite::Result<Option<Tags>> {
    let mut exists = db.prepare_cached("SELECT 1 FROM mappings WHERE id = ?1")?;
    if !exists.exists([mapping.as_str()])? {
        return Ok(None);
    }
    let mut statement = db.prepare_cached("SELECT name, value FROM tags WHERE mapping = ?1")?;
    let tags = statement.query_map([mapping.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    tags.collect::<rusqlite::Result<Tags>>().map(Some)
}

/// The mapping exists.
pub(super) fn replace_tags(
    tx: &Transaction<'_>,
    mapping: &MappingId,
    tags: &Tags,
) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM tags WHERE mapping = ?1")?
        .execute([mapping.as_str()])?;
    let mut insert =
        tx.prepare_cached("INSERT INTO tags (mapping, name, value) VALUES (?1, ?2, ?3)")?;
    for (name, value) in tags.iter() {
        insert.execute([mapping.as_str(), name, value])?;
    }
    Ok(())
}

pub(super) fn leases_of(db: &Connection, mapping: &MappingId) -> rusqlite::Result<Vec<Lease>> {
    let query = format!("SELECT {LEASE_COLUMNS} FROM leases WHERE mapping = ?1");
    let mut statement = db.prepare_cached(&query)?;
    let leases = statement.query_map([mapping.as_str()], read_lease)?;
    let mut leases = leases.collect::<rusqlite::Result<Vec<_>>>()?;
    // The order of keys is not that of their texts: slot 10 comes after slot 2.
    leases.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    Ok(leases)
}

pub(super) fn changes(
    db: &Connection,
    since: ChangeNumber,
    specs: &mut KnownSpecs,
) -> rusqlite::Result<Changes> {
    let mut statement =
        db.prepare_cached("SELECT mapping, number FROM changes WHERE ?1 < number ORDER BY number")?;
    let mut rows = statement.query([integer(since.0)])?;
    let mut changes = Changes {
        last: since,
        mappings: Vec::new(),
    };
    while let Some(row) = rows.next()? {
        let id = MappingId::new(&row.get::<_, String>(0)?);
        changes.last = ChangeNumber(row.get::<_, i64>(1)?.unsigned_abs());
        let stored = stored_mapping(db, &id, specs)?;
        changes.mappings.push((id, stored));
    }
    Ok(changes)
}

fn stored_mapping(
    db: &Connection,
    id: &MappingId,
    specs: &mut KnownSpecs,
) -> rusqlite::Result<StoredMapping> {
    let mut read = || {
        let Some(row) = mapping_with(db, id, |id, text| specs.read(id, text))? else {
            specs.0.remove(id);
            let replay = replays::stored_replay(db, id)?;
            return Ok(replay.unwrap_or(StoredMapping::Removed));
        };
        let overrides = overrides::overrides(db, id)?;
        Ok(StoredMapping::Readable(row, leases_of(db, id)?, overrides))
    };
    let reason = match readable(read())? {
        Ok(stored) => return Ok(stored),
        Err(reason) => reason,
    };
    let mut texts =
        db.prepare_cached("SELECT source_arn, function_arn FROM mappings WHERE id = ?1")?;
    let unreadable = texts.query_row([id.as_str()], |row| {
        Ok(UnreadableMapping {
            source_arn: row.get(0)?,
            function_arn: row.get(1)?,
            reason,
        })
    })?;
    Ok(StoredMapping::Unreadable(unreadable))
}

/// Forgets that mappings were removed: only a daemon that has read the store since needs to know.
pub(super) fn forget_removals(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute_batch(
        "DELETE FROM changes WHERE mapping NOT IN
             (SELECT id FROM mappings UNION ALL SELECT id FROM replays)",
    )
}

pub(super) fn insert_lease(tx: &Transaction<'_>, lease: &Lease) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO leases
             (mapping, unit, owner, epoch, checkpoint, shard_start, window_state, seek, waits)
         SELECT ?1, ?2, ?3, max(?4, (SELECT next FROM epochs)), ?5, ?6, ?7, ?8, ?9
         WHERE EXISTS (SELECT 1 FROM mappings WHERE id = ?1)
            OR EXISTS (SELECT 1 FROM replays WHERE id = ?1)
         ON CONFLICT DO NOTHING",
    )?;
    insert.execute(params![
        lease.key.mapping.as_str(),
        lease.key.unit.name(),
        lease.owner.as_ref().map(WorkerId::as_str),
        integer(lease.epoch),
        stored_checkpoint(&lease.checkpoint)?,
        lease.shard_start.as_ref().map(SequenceNumber::as_str),
        stored_state(&lease.checkpoint),
        lease.seek.as_ref().map(stored_mark).transpose()?,
        lease.waits,
    ])?;
    Ok(())
}

/// Returns the lease as it is then; `None` if it is not as `seen` any more, or if this version cannot
/// read it, which [`changes`] then reports.
pub(super) fn take(
    tx: &Transaction<'_>,
    seen: &Lease,
    owner: &WorkerId,
) -> rusqlite::Result<Option<Lease>> {
    let update = format!(
        "UPDATE leases SET owner = ?1, epoch = epoch + 1
         WHERE mapping = ?2 AND unit = ?3 AND owner IS ?4 AND epoch = ?5
         RETURNING {LEASE_COLUMNS}, window_state"
    );
    let values = params![
        owner.as_str(),
        seen.key.mapping.as_str(),
        seen.key.unit.name(),
        seen.owner.as_ref().map(WorkerId::as_str),
        integer(seen.epoch),
    ];
    let mut update = tx.prepare_cached(&update)?;
    let taken = update.query_row(values, |row| readable(read_taken_lease(row)));
    Ok(taken.optional()?.and_then(Result::ok))
}

pub(super) fn release(tx: &Transaction<'_>, lease: &Lease) -> rusqlite::Result<()> {
    let mut update = tx.prepare_cached(
        "UPDATE leases SET owner = NULL
         WHERE mapping = ?1 AND unit = ?2 AND owner IS ?3 AND epoch = ?4",
    )?;
    update.execute(params![
        lease.key.mapping.as_str(),
        lease.key.unit.name(),
        lease.owner.as_ref().map(WorkerId::as_str),
        integer(lease.epoch),
    ])?;
    Ok(())
}

pub(super) fn save(tx: &Transaction<'_>, save: &CheckpointSave) -> rusqlite::Result<Swap> {
    let mut update = tx.prepare_cached(
        "UPDATE leases SET checkpoint = ?1, window_state = ?5
         WHERE mapping = ?2 AND unit = ?3 AND epoch = ?4",
    )?;
    Ok(swap(update.execute(params![
        stored_checkpoint(&save.checkpoint)?,
        save.key.mapping.as_str(),
        save.key.unit.name(),
        integer(save.epoch),
        stored_state(&save.checkpoint),
    ])?))
}

pub(super) fn set_shard_start(tx: &Transaction<'_>, lease: &Lease) -> rusqlite::Result<()> {
    let mut update = tx.prepare_cached(
        "UPDATE leases SET shard_start = ?1 WHERE mapping = ?2 AND unit = ?3 AND epoch = ?4",
    )?;
    update.execute(params![
        lease.shard_start.as_ref().map(SequenceNumber::as_str),
        lease.key.mapping.as_str(),
        lease.key.unit.name(),
        integer(lease.epoch),
    ])?;
    Ok(())
}

pub(super) fn remove_lease(tx: &Transaction<'_>, lease: &Lease) -> rusqlite::Result<()> {
    let mut delete =
        tx.prepare_cached("DELETE FROM leases WHERE mapping = ?1 AND unit = ?2 AND epoch = ?3")?;
    let key = &lease.key;
    delete.execute(params![
        key.mapping.as_str(),
        key.unit.name(),
        integer(lease.epoch)
    ])?;
    Ok(())
}

fn read_mapping(
    row: &Row<'_>,
    read_spec: impl FnOnce(&MappingId, String) -> serde_json::Result<MappingSpec>,
) -> rusqlite::Result<MappingRow> {
    let id = MappingId::new(&row.get::<_, String>(0)?);
    let spec = read_spec(&id, row.get(2)?).map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(2, kind, Box::new(error))
    })?;
    let millis = |index| {
        row.get(index)
            .map(|millis: i64| Timestamp::from_millis(millis.unsigned_abs()))
    };
    Ok(MappingRow {
        id,
        revision: Revision(row.get::<_, i64>(1)?.unsigned_abs()),
        spec,
        source: text(row, 3, "source ARN", SourceArn::parse)?,
        function_arn: text(row, 4, "function ARN", |text| Arn::parse(text).ok())?,
        desired: text(row, 5, "desired state", DesiredState::from_name)?,
        change: text(row, 6, "change", Change::from_name)?,
        created: millis(7)?,
        last_modified: millis(8)?,
        origin: text(row, 9, "origin", Origin::from_name)?,
    })
}

/// A lease with the state of its window.
fn read_taken_lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    let mut lease = read_lease(row)?;
    if let Some(window) = &mut lease.checkpoint.window {
        let state: Option<Vec<u8>> = row.get(8)?;
        window.state = state.map(|state| WindowState::new(state.into()));
    }
    Ok(lease)
}

fn read_lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        key: LeaseKey {
            mapping: MappingId::new(&row.get::<_, String>(0)?),
            unit: text(row, 1, "unit", Unit::from_name)?,
        },
        owner: row
            .get::<_, Option<String>>(2)?
            .map(|owner| WorkerId::new(&owner)),
        epoch: row.get::<_, i64>(3)?.unsigned_abs(),
        checkpoint: text(row, 4, "checkpoint", read_checkpoint)?,
        shard_start: row
            .get::<_, Option<String>>(5)?
            .map(|start| SequenceNumber::from(start.as_str())),
        seek: optional_text(row, 6, "seek", read_mark)?,
        waits: row.get(7)?,
    })
}

pub(super) fn stored_checkpoint(checkpoint: &Checkpoint) -> rusqlite::Result<String> {
    let stored = StoredCheckpoint {
        position: checkpoint.position.kind().to_owned(),
        value: checkpoint.position.value(),
        arrival: checkpoint.arrival.map(Timestamp::as_millis),
        marks: checkpoint.marks.iter().map(stored_section).collect(),
        window: checkpoint.window.as_ref().map(|window| StoredWindow {
            start: window.bounds.start.as_millis(),
            end: window.bounds.end.as_millis(),
        }),
        counts: checkpoint.counts.map(|counts| StoredCounts {
            delivered: counts.delivered,
            filtered_out: counts.filtered_out,
            given_up: counts.given_up,
            failed_invocations: counts.failed_invocations,
            first_arrival: counts.first_arrival.map(Timestamp::as_millis),
        }),
    };
    serde_json::to_string(&stored)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn stored_state(checkpoint: &Checkpoint) -> Option<&[u8]> {
    let state = checkpoint.window.as_ref()?.state.as_ref()?;
    Some(state.json())
}

/// The stored form of a [`SeekMark`]: times in milliseconds since the epoch.
#[derive(Serialize, Deserialize)]
struct StoredMark {
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    skip_before: Option<u64>,
}

pub(super) fn stored_mark(mark: &SeekMark) -> rusqlite::Result<String> {
    let stored = StoredMark {
        at: mark.at.as_millis(),
        skip_before: mark.skip_before.map(Timestamp::as_millis),
    };
    serde_json::to_string(&stored)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// `None` if the text is not a mark.
pub(super) fn read_mark(text: &str) -> Option<SeekMark> {
    let stored: StoredMark = serde_json::from_str(text).ok()?;
    Some(SeekMark {
        at: Timestamp::from_millis(stored.at),
        skip_before: stored.skip_before.map(Timestamp::from_millis),
    })
}

fn stored_section(section: &MarkedSection) -> StoredSection {
    StoredSection {
        runs: section.runs.clone(),
        last: section.last.as_str().to_owned(),
        sub_sequence_number: section.sub_sequence_number,
    }
}

/// `None` if the text is not a checkpoint.
pub(super) fn read_checkpoint(text: &str) -> Option<Checkpoint> {
    let stored: StoredCheckpoint = serde_json::from_str(text).ok()?;
    Some(Checkpoint {
        position: Position::from_parts(&stored.position, stored.value.as_deref())?,
        arrival: stored.arrival.map(Timestamp::from_millis),
        marks: stored.marks.into_iter().map(read_section).collect(),
        window: stored.window.map(|window| WindowCheckpoint {
            bounds: WindowBounds {
                start: Timestamp::from_millis(window.start),
                end: Timestamp::from_millis(window.end),
            },
            state: None,
        }),
        counts: stored.counts.map(|counts| ReplayCounts {
            delivered: counts.delivered,
            filtered_out: counts.filtered_out,
            given_up: counts.given_up,
            failed_invocations: counts.failed_invocations,
            first_arrival: counts.first_arrival.map(Timestamp::from_millis),
        }),
    })
}

fn read_section(stored: StoredSection) -> MarkedSection {
    MarkedSection {
        runs: stored.runs,
        last: SequenceNumber::from(stored.last.as_str()),
        sub_sequence_number: stored.sub_sequence_number,
    }
}

/// The reason why this version cannot read a row, apart from errors of the database.
pub(super) fn readable<T>(result: rusqlite::Result<T>) -> rusqlite::Result<Result<T, String>> {
    match result {
        Err(rusqlite::Error::FromSqlConversionFailure(_, _, cause)) => Ok(Err(cause.to_string())),
        result => result.map(Ok),
    }
}

pub(super) fn text<T>(
    row: &Row<'_>,
    index: usize,
    column: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let value: String = row.get(index)?;
    read(&value).ok_or_else(|| {
        let kind = rusqlite::types::Type::Text;
        let error = UnsupportedValue { column, value };
        rusqlite::Error::FromSqlConversionFailure(index, kind, Box::new(error))
    })
}

fn optional_text<T>(
    row: &Row<'_>,
    index: usize,
    column: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    if row.get_ref(index)? == ValueRef::Null {
        return Ok(None);
    }
    text(row, index, column, read).map(Some)
}

pub(super) fn swap(changed: usize) -> Swap {
    if changed == 0 {
        Swap::Conflict
    } else {
        Swap::Done
    }
}

/// Revisions, epochs and milliseconds are far below the maximum.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
