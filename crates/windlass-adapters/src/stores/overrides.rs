//! What an operator has set of mappings: parks, and positions that a seek has moved.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use windlass_core::ids::ShardId;
use windlass_core::lease::Lease;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Swap;
use windlass_core::overrides::Overrides;
use windlass_core::parks::{Park, Parks};
use windlass_core::position::Checkpoint;
use windlass_core::seek::SeekStart;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{HistoryLine, OverrideStore, PortError, SeekWrite};

use super::SqliteStore;
use super::rows::integer;
use super::{history, rows};

/// The change of the schema that adds it. The shard of a park of a whole mapping is empty; a park
/// without a time takes its shard out of that.
pub(super) const MIGRATION: &str = "
    CREATE TABLE parks (
        mapping TEXT NOT NULL REFERENCES mappings (id) ON DELETE CASCADE,
        shard   TEXT NOT NULL,
        since   INTEGER,
        reason  TEXT,
        PRIMARY KEY (mapping, shard)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER park_added AFTER INSERT ON parks BEGIN
        INSERT INTO changes (mapping, number)
            SELECT NEW.mapping, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    CREATE TRIGGER park_removed AFTER DELETE ON parks BEGIN
        INSERT INTO changes (mapping, number)
            SELECT OLD.mapping, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    ALTER TABLE leases ADD COLUMN seek TEXT;
    ALTER TABLE leases ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
    DROP TRIGGER lease_changed;
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
    CREATE TABLE starts (
        mapping    TEXT PRIMARY KEY REFERENCES mappings (id) ON DELETE CASCADE,
        checkpoint TEXT NOT NULL,
        seek       TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER start_added AFTER INSERT ON starts BEGIN
        INSERT INTO changes (mapping, number)
            SELECT NEW.mapping, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
";

pub(super) fn overrides(db: &Connection, mapping: &MappingId) -> rusqlite::Result<Overrides> {
    Ok(Overrides {
        parks: parks(db, mapping)?,
        start: start(db, mapping)?,
    })
}

fn start(db: &Connection, mapping: &MappingId) -> rusqlite::Result<Option<SeekStart>> {
    let query = "SELECT checkpoint, seek FROM starts WHERE mapping = ?1";
    let mut statement = db.prepare_cached(query)?;
    let start = statement.query_row([mapping.as_str()], |row| {
        Ok(SeekStart {
            position: rows::text(row, 0, "checkpoint", rows::read_checkpoint)?.position,
            mark: rows::text(row, 1, "seek", rows::read_mark)?,
        })
    });
    start.optional()
}

fn parks(db: &Connection, mapping: &MappingId) -> rusqlite::Result<Parks> {
    let query = "SELECT shard, since, reason FROM parks WHERE mapping = ?1";
    let mut statement = db.prepare_cached(query)?;
    let mut rows = statement.query([mapping.as_str()])?;
    let mut parks = Parks::default();
    while let Some(row) = rows.next()? {
        let shard: String = row.get(0)?;
        let (since, reason): (Option<i64>, Option<String>) = (row.get(1)?, row.get(2)?);
        let park = since.map(|since| Park {
            since: Timestamp::from_millis(since.unsigned_abs()),
            reason,
        });
        if shard.is_empty() {
            parks.whole = park;
        } else {
            parks.shards.insert(ShardId::from(shard.as_str()), park);
        }
    }
    Ok(parks)
}

fn set_parks(
    tx: &Transaction<'_>,
    mapping: &MappingId,
    seen: &Parks,
    new: &Parks,
) -> rusqlite::Result<Swap> {
    let mut exists = tx.prepare_cached("SELECT 1 FROM mappings WHERE id = ?1")?;
    if !exists.exists([mapping.as_str()])? || parks(tx, mapping)? != *seen {
        return Ok(Swap::Conflict);
    }
    let (seen, new) = (park_rows(seen), park_rows(new));
    let mut delete = tx.prepare_cached("DELETE FROM parks WHERE mapping = ?1 AND shard = ?2")?;
    for (shard, park) in &seen {
        if new.get(shard) != Some(park) {
            delete.execute([mapping.as_str(), *shard])?;
        }
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO parks (mapping, shard, since, reason) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (shard, park) in &new {
        if seen.get(shard) == Some(park) {
            continue;
        }
        let since = park.map(|park| integer(park.since.as_millis()));
        let reason = park.and_then(|park| park.reason.as_deref());
        insert.execute(params![mapping.as_str(), shard, since, reason])?;
    }
    Ok(Swap::Done)
}

/// The rows of parks, by their shards.
fn park_rows(parks: &Parks) -> BTreeMap<&str, Option<&Park>> {
    let shards = parks.shards.iter();
    let shards = shards.map(|(shard, park)| (shard.as_str(), park.as_ref()));
    let whole = parks.whole.as_ref().map(|park| ("", Some(park)));
    shards.chain(whole).collect()
}

fn seek(tx: &Transaction<'_>, write: &SeekWrite) -> rusqlite::Result<Swap> {
    let (mapping, plan) = (write.mapping.as_str(), &write.plan);
    let mut exists =
        tx.prepare_cached("SELECT 1 FROM mappings WHERE id = ?1 AND desired <> 'deleted'")?;
    let epochs = |leases: &[Lease]| {
        let leases = leases.iter();
        let epochs = leases.map(|lease| (lease.key.clone(), lease.epoch));
        epochs.collect::<BTreeMap<_, _>>()
    };
    let current = rows::leases_of(tx, &write.mapping)?;
    if !exists.exists([mapping])? || epochs(&current) != epochs(&write.seen) {
        return Ok(Swap::Conflict);
    }
    let mut update = tx.prepare_cached(
        "UPDATE leases SET checkpoint = ?3, window_state = NULL, seek = ?4, waits = ?5,
                epoch = epoch + 1
         WHERE mapping = ?1 AND unit = ?2",
    )?;
    for lease in &plan.update {
        update.execute(params![
            mapping,
            lease.key.unit.name(),
            rows::stored_checkpoint(&lease.checkpoint)?,
            lease.seek.as_ref().map(rows::stored_mark).transpose()?,
            lease.waits,
        ])?;
    }
    let mut set_aside = tx.prepare_cached(
        "UPDATE leases SET waits = 1, epoch = epoch + 1 WHERE mapping = ?1 AND unit = ?2",
    )?;
    for lease in &plan.set_aside {
        set_aside.execute([mapping, &lease.key.unit.name()])?;
    }
    for lease in &plan.insert {
        rows::insert_lease(tx, lease)?;
    }
    if let Some(start) = &plan.start {
        tx.prepare_cached("DELETE FROM starts WHERE mapping = ?1")?
            .execute([mapping])?;
        tx.prepare_cached("INSERT INTO starts (mapping, checkpoint, seek) VALUES (?1, ?2, ?3)")?
            .execute(params![
                mapping,
                rows::stored_checkpoint(&Checkpoint::at(start.position.clone()))?,
                rows::stored_mark(&start.mark)?,
            ])?;
    }
    Ok(Swap::Done)
}

fn resume(tx: &Transaction<'_>, lease: &Lease) -> rusqlite::Result<()> {
    let mut update = tx.prepare_cached(
        "UPDATE leases SET waits = 0 WHERE mapping = ?1 AND unit = ?2 AND epoch = ?3",
    )?;
    let (mapping, unit) = (lease.key.mapping.as_str(), lease.key.unit.name());
    update.execute(params![mapping, unit, integer(lease.epoch)])?;
    Ok(())
}

#[async_trait]
impl OverrideStore for SqliteStore {
    async fn overrides(&self, mapping: &MappingId) -> Result<Overrides, PortError> {
        let mapping = mapping.clone();
        let read = move |tx: &Transaction<'_>| overrides(tx, &mapping);
        self.call("reading the parks of a mapping", read).await
    }

    async fn set_parks(
        &self,
        mapping: &MappingId,
        seen: &Parks,
        parks: &Parks,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError> {
        let (mapping, seen, parks) = (mapping.clone(), seen.clone(), parks.clone());
        let line = line.cloned();
        let set = move |tx: &Transaction<'_>| {
            let swap = set_parks(tx, &mapping, &seen, &parks)?;
            if swap == Swap::Done {
                history::write(tx, line.as_ref())?;
            }
            Ok(swap)
        };
        self.call("writing the parks of a mapping", set).await
    }

    async fn seek(&self, write: &SeekWrite, line: Option<&HistoryLine>) -> Result<Swap, PortError> {
        let (write, line) = (write.clone(), line.cloned());
        let seek = move |tx: &Transaction<'_>| {
            let swap = seek(tx, &write)?;
            if swap == Swap::Done {
                history::write(tx, line.as_ref())?;
            }
            Ok(swap)
        };
        self.call("moving checkpoints", seek).await
    }

    async fn resume(&self, leases: &[Lease]) -> Result<(), PortError> {
        let leases = leases.to_vec();
        let update =
            move |tx: &Transaction<'_>| leases.iter().try_for_each(|lease| resume(tx, lease));
        self.call("updating leases", update).await
    }
}
