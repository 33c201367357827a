//! The table of the replays. Their leases are in the table of all leases.

use std::num::NonZeroU32;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::Value;
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::ids::ShardId;
use windlass_core::mapping::{MappingId, Revision};
use windlass_core::outcome::Swap;
use windlass_core::place::Place;
use windlass_core::replay::{ReplayName, ReplayRow, ReplayState};
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{HistoryLine, PortError, ReplayStore, StoredMapping};

use super::rows::{integer, leases_of, readable, swap, text};
use super::{SqliteStore, history};

/// The change of the schema that adds them. A lease belongs to a mapping or to a replay, so its key is
/// no longer foreign: triggers remove it with its owner.
pub(super) const MIGRATION: &str = "
    CREATE TABLE replays (
        id                TEXT PRIMARY KEY,
        name              TEXT NOT NULL UNIQUE,
        revision          INTEGER NOT NULL,
        settings_revision INTEGER NOT NULL,
        spec              TEXT NOT NULL,
        source_arn        TEXT NOT NULL,
        function_arn      TEXT NOT NULL,
        mapping           TEXT,
        start_place       TEXT NOT NULL,
        end_place         TEXT NOT NULL,
        shards            TEXT NOT NULL,
        rate              INTEGER,
        state             TEXT NOT NULL,
        reason            TEXT,
        created           INTEGER NOT NULL,
        ended             INTEGER,
        resumed           INTEGER NOT NULL,
        resumed_fraction  REAL NOT NULL
    ) STRICT;
    CREATE TABLE leases_of_all (
        mapping      TEXT NOT NULL,
        unit         TEXT NOT NULL,
        owner        TEXT,
        epoch        INTEGER NOT NULL,
        shard_start  TEXT,
        checkpoint   TEXT NOT NULL DEFAULT '',
        window_state BLOB,
        seek         TEXT,
        waits        INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (mapping, unit)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO leases_of_all
            (mapping, unit, owner, epoch, shard_start, checkpoint, window_state, seek, waits)
        SELECT mapping, unit, owner, epoch, shard_start, checkpoint, window_state, seek, waits
        FROM leases;
    DROP TABLE leases;
    ALTER TABLE leases_of_all RENAME TO leases;
    CREATE TRIGGER epochs_never_repeat AFTER DELETE ON leases BEGIN
        UPDATE epochs SET next = max(next, OLD.epoch + 1);
    END;
    CREATE TRIGGER lease_added AFTER INSERT ON leases BEGIN
        INSERT INTO changes (mapping, number)
            SELECT NEW.mapping, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    CREATE TRIGGER lease_changed AFTER UPDATE ON leases
    WHEN NEW.owner IS NOT OLD.owner OR NEW.epoch <> OLD.epoch
        OR NEW.shard_start IS NOT OLD.shard_start OR NEW.waits <> OLD.waits
        OR (NEW.checkpoint ->> 'position' = 'shard_end'
            AND OLD.checkpoint ->> 'position' <> 'shard_end')
    BEGIN
        INSERT INTO changes (mapping, number)
            SELECT NEW.mapping, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    CREATE TRIGGER lease_removed AFTER DELETE ON leases BEGIN
        INSERT INTO changes (mapping, number)
            SELECT OLD.mapping, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    CREATE TRIGGER leases_of_mapping_removed AFTER DELETE ON mappings BEGIN
        DELETE FROM leases WHERE mapping = OLD.id;
    END;
    CREATE TRIGGER leases_of_replay_removed AFTER DELETE ON replays BEGIN
        DELETE FROM leases WHERE mapping = OLD.id;
    END;
    CREATE TRIGGER replay_added AFTER INSERT ON replays BEGIN
        INSERT INTO changes (mapping, number)
            SELECT NEW.id, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    CREATE TRIGGER replay_changed AFTER UPDATE ON replays BEGIN
        INSERT INTO changes (mapping, number)
            SELECT NEW.id, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    CREATE TRIGGER replay_removed AFTER DELETE ON replays BEGIN
        INSERT INTO changes (mapping, number)
            SELECT OLD.id, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
";

const COLUMNS: &str =
    "id, name, revision, settings_revision, spec, source_arn, function_arn, mapping,
                       start_place, end_place, shards, rate, state, reason, created, ended, resumed,
                       resumed_fraction";

/// A replay with its leases, for the supervisor; `None` if there is no such replay. One that this
/// version cannot read does not run, as if it were not there.
pub(super) fn stored_replay(
    db: &Connection,
    id: &MappingId,
) -> rusqlite::Result<Option<StoredMapping>> {
    let read = || {
        let query = format!("SELECT {COLUMNS} FROM replays WHERE id = ?1");
        let mut statement = db.prepare_cached(&query)?;
        let row = statement.query_row([id.as_str()], read_replay).optional()?;
        let with_leases = |row| Ok(StoredMapping::Replay(Box::new(row), leases_of(db, id)?));
        row.map(with_leases).transpose()
    };
    match readable(read())? {
        Ok(stored) => Ok(stored),
        Err(reason) => {
            tracing::error!(%id, reason, "replay cannot run: it cannot be read");
            Ok(None)
        }
    }
}

fn replays(db: &Connection) -> rusqlite::Result<Vec<ReplayRow>> {
    let query = format!("SELECT {COLUMNS} FROM replays ORDER BY name");
    let mut statement = db.prepare_cached(&query)?;
    let rows = statement.query_map([], |row| readable(read_replay(row)))?;
    let readable = rows.filter_map(|row| row.map(Result::ok).transpose());
    readable.collect()
}

fn replay(db: &Connection, name: &ReplayName) -> rusqlite::Result<Option<ReplayRow>> {
    let query = format!("SELECT {COLUMNS} FROM replays WHERE name = ?1");
    let mut statement = db.prepare_cached(&query)?;
    statement.query_row([name.as_str()], read_replay).optional()
}

fn put(tx: &Transaction<'_>, row: &ReplayRow, seen: Option<Revision>) -> rusqlite::Result<Swap> {
    let failed = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(error.into());
    let spec = serde_json::to_string(&row.spec).map_err(failed)?;
    let shards: Vec<_> = row.shards.iter().map(ShardId::as_str).collect();
    let shards = serde_json::to_string(&shards).map_err(failed)?;
    let values = params![
        row.id.as_str(),
        row.name.as_str(),
        integer(row.revision.0),
        integer(row.settings_revision.0),
        spec,
        row.source.as_str(),
        row.function_arn.as_str(),
        row.mapping.as_ref().map(MappingId::as_str),
        row.from.to_json().to_string(),
        row.to.to_json().to_string(),
        shards,
        row.rate.map(NonZeroU32::get),
        row.state.as_str(),
        row.reason,
        integer(row.created.as_millis()),
        row.ended.map(|ended| integer(ended.as_millis())),
        integer(row.resumed.as_millis()),
        row.resumed_fraction,
        seen.map(|seen| integer(seen.0)),
    ];
    let statement = match seen {
        None => format!(
            "INSERT INTO replays ({COLUMNS})
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18
             WHERE ?19 IS NULL
             ON CONFLICT DO NOTHING"
        ),
        Some(_) => "UPDATE replays SET name = ?2, revision = ?3, settings_revision = ?4, spec = ?5,
                    source_arn = ?6, function_arn = ?7, mapping = ?8, start_place = ?9,
                    end_place = ?10, shards = ?11, rate = ?12, state = ?13, reason = ?14,
                    created = ?15, ended = ?16, resumed = ?17, resumed_fraction = ?18
             WHERE id = ?1 AND revision = ?19"
            .to_owned(),
    };
    Ok(swap(tx.prepare_cached(&statement)?.execute(values)?))
}

fn remove(tx: &Transaction<'_>, id: &MappingId, seen: Revision) -> rusqlite::Result<Swap> {
    let mut delete = tx.prepare_cached("DELETE FROM replays WHERE id = ?1 AND revision = ?2")?;
    Ok(swap(delete.execute(params![id.as_str(), integer(seen.0)])?))
}

fn read_replay(row: &Row<'_>) -> rusqlite::Result<ReplayRow> {
    let revision = |index| row.get(index).map(|it: i64| Revision(it.unsigned_abs()));
    let millis = |index| {
        row.get(index)
            .map(|it: i64| Timestamp::from_millis(it.unsigned_abs()))
    };
    let place = |text: &str| {
        let json: Value = serde_json::from_str(text).ok()?;
        Place::from_json(&json).ok()
    };
    let spec = |text: &str| serde_json::from_str::<MappingSpec>(text).ok();
    let shards = |text: &str| {
        let shards: Vec<String> = serde_json::from_str(text).ok()?;
        Some(shards.iter().map(|it| ShardId::from(it.as_str())).collect())
    };
    let ended: Option<i64> = row.get(15)?;
    Ok(ReplayRow {
        id: MappingId::new(&row.get::<_, String>(0)?),
        name: text(row, 1, "name of a replay", ReplayName::parse)?,
        revision: revision(2)?,
        settings_revision: revision(3)?,
        spec: text(row, 4, "parameters of a replay", spec)?,
        source: text(row, 5, "source ARN", SourceArn::parse)?,
        function_arn: text(row, 6, "function ARN", |text| Arn::parse(text).ok())?,
        mapping: row
            .get::<_, Option<String>>(7)?
            .map(|mapping| MappingId::new(&mapping)),
        from: text(row, 8, "start of a replay", place)?,
        to: text(row, 9, "end of a replay", place)?,
        shards: text(row, 10, "shards of a replay", shards)?,
        rate: row.get::<_, Option<u32>>(11)?.and_then(NonZeroU32::new),
        state: text(row, 12, "state of a replay", ReplayState::from_name)?,
        reason: row.get(13)?,
        created: millis(14)?,
        ended: ended.map(|ended| Timestamp::from_millis(ended.unsigned_abs())),
        resumed: millis(16)?,
        resumed_fraction: row.get(17)?,
    })
}

#[async_trait]
impl ReplayStore for SqliteStore {
    async fn replays(&self) -> Result<Vec<ReplayRow>, PortError> {
        self.call("reading the replays", |tx| replays(tx)).await
    }

    async fn replay(&self, name: &ReplayName) -> Result<Option<ReplayRow>, PortError> {
        let name = name.clone();
        self.call("reading a replay", move |tx| replay(tx, &name))
            .await
    }

    async fn put_replay(
        &self,
        row: &ReplayRow,
        seen: Option<Revision>,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError> {
        let (row, line) = (row.clone(), line.cloned());
        let put = move |tx: &Transaction<'_>| {
            let swap = put(tx, &row, seen)?;
            if swap == Swap::Done {
                history::write(tx, line.as_ref())?;
            }
            Ok(swap)
        };
        self.call("writing a replay", put).await
    }

    async fn remove_replay(
        &self,
        id: &MappingId,
        seen: Revision,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError> {
        let (id, line) = (id.clone(), line.cloned());
        let remove = move |tx: &Transaction<'_>| {
            let swap = remove(tx, &id, seen)?;
            if swap == Swap::Done {
                history::write(tx, line.as_ref())?;
            }
            Ok(swap)
        };
        self.call("removing a replay", remove).await
    }
}
