//! The table of parks.

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, params};
use windlass_core::ids::ShardId;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Swap;
use windlass_core::overrides::Overrides;
use windlass_core::parks::{Park, Parks};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{HistoryLine, OverrideStore, PortError};

use super::SqliteStore;
use super::history;
use super::rows::integer;

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
";

pub(super) fn overrides(db: &Connection, mapping: &MappingId) -> rusqlite::Result<Overrides> {
    Ok(Overrides {
        parks: parks(db, mapping)?,
    })
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
    tx.prepare_cached("DELETE FROM parks WHERE mapping = ?1")?
        .execute([mapping.as_str()])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO parks (mapping, shard, since, reason) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let shards = new.shards.iter();
    let shards = shards.map(|(shard, park)| (shard.as_str(), park.as_ref()));
    let whole = new.whole.as_ref().map(|park| ("", Some(park)));
    for (shard, park) in shards.chain(whole) {
        let since = park.map(|park| integer(park.since.as_millis()));
        let reason = park.and_then(|park| park.reason.as_deref());
        insert.execute(params![mapping.as_str(), shard, since, reason])?;
    }
    Ok(Swap::Done)
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
}
