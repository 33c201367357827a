//! The table of the history: lines are written with the changes that they describe.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use windlass_core::mapping::MappingId;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{
    HISTORY_RETENTION, HistoryId, HistoryLine, HistoryMarker, HistoryPage, HistoryStore,
    MAX_LINE_IDS, PortError, RedriveLine, What,
};

use super::SqliteStore;
use super::rows::{integer, text};

/// The change of the schema that adds it.
pub(super) const MIGRATION: &str = "
    CREATE TABLE history (
        number  INTEGER PRIMARY KEY AUTOINCREMENT,
        id      TEXT NOT NULL UNIQUE,
        time    INTEGER NOT NULL,
        who     TEXT NOT NULL,
        what    TEXT NOT NULL,
        mapping TEXT,
        before  TEXT NOT NULL,
        after   TEXT NOT NULL
    ) STRICT;
    CREATE INDEX history_by_mapping ON history (mapping, number);
    CREATE INDEX history_by_time ON history (time);
";

/// Writes the line of a change, if it has one, or replaces the one with its id; and deletes lines that
/// are too old.
pub(super) fn write(tx: &Transaction<'_>, line: Option<&HistoryLine>) -> rusqlite::Result<()> {
    let Some(line) = line else {
        return Ok(());
    };
    let mut delete = tx.prepare_cached("DELETE FROM history WHERE time < ?1")?;
    let retention = u64::try_from(HISTORY_RETENTION.as_millis()).unwrap_or(u64::MAX);
    delete.execute([integer(line.time.as_millis().saturating_sub(retention))])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO history (id, time, who, what, mapping, before, after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET before = excluded.before, after = excluded.after",
    )?;
    insert.execute(params![
        stored_id(line.id),
        integer(line.time.as_millis()),
        line.who,
        line.what.as_str(),
        line.mapping.as_ref().map(MappingId::as_str),
        line.before.to_string(),
        line.after.to_string(),
    ])?;
    Ok(())
}

/// Adds to the line of a redrive as it is stored, so that a part counts if it is committed, and only
/// then.
pub(super) fn add_to_redrive(tx: &Transaction<'_>, part: &RedriveLine) -> rusqlite::Result<()> {
    let id = stored_id(part.line.id);
    let mut stored = tx.prepare_cached("SELECT after FROM history WHERE id = ?1")?;
    let stored = stored.query_row([&id], |row| row.get::<_, String>(0));
    let unreadable = |error: serde_json::Error| {
        rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
    };
    let Some(after) = stored.optional()? else {
        let after = grow(&part.line.after.to_string(), part).map_err(unreadable)?;
        let line = HistoryLine {
            after: serde_json::from_str(&after).map_err(unreadable)?,
            ..part.line.clone()
        };
        return write(tx, Some(&line));
    };
    let after = grow(&after, part).map_err(unreadable)?;
    let mut update = tx.prepare_cached("UPDATE history SET after = ?2 WHERE id = ?1")?;
    update.execute(params![id, after])?;
    Ok(())
}

/// Adds to the members of a line. This is done for each of many letters: identifiers are not parsed.
fn grow(after: &str, part: &RedriveLine) -> serde_json::Result<String> {
    let mut members: BTreeMap<&str, Box<RawValue>> = serde_json::from_str(after)?;
    let count = |members: &BTreeMap<&str, Box<RawValue>>, name| {
        let count = members.get(name).and_then(|raw| raw.get().parse().ok());
        count.unwrap_or(0_usize)
    };
    let redriven = count(&members, "redriven");
    let failed = count(&members, "failed") as u64 + part.failed;
    let ids = members.get("ids").map_or("[]", |ids| ids.get());
    let mut ids = ids.strip_suffix(']').unwrap_or("[").to_owned();
    let room = MAX_LINE_IDS.saturating_sub(redriven);
    for id in part.redriven.iter().take(room) {
        if ids.len() != 1 {
            ids.push(',');
        }
        ids.push_str(&serde_json::to_string(id)?);
    }
    ids.push(']');
    let redriven = to_raw_value(&(redriven + part.redriven.len()))?;
    members.insert("redriven", redriven);
    members.insert("failed", to_raw_value(&failed)?);
    members.insert("ids", RawValue::from_string(ids)?);
    serde_json::to_string(&members)
}

fn page(
    db: &Connection,
    mapping: Option<&MappingId>,
    after: Option<HistoryMarker>,
    limit: usize,
) -> rusqlite::Result<HistoryPage> {
    let condition = match mapping {
        Some(_) => "mapping = ?1",
        None => "?1 IS NULL",
    };
    let query = format!(
        "SELECT number, id, time, who, what, mapping, before, after FROM history
         WHERE {condition} AND number < ?2 ORDER BY number DESC LIMIT ?3"
    );
    let mut statement = db.prepare_cached(&query)?;
    let before = after.map_or(i64::MAX, |marker| integer(marker.0));
    // One more than the page has, to know whether another follows.
    let limit_and_one = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let values = params![mapping.map(MappingId::as_str), before, limit_and_one];
    let rows = statement.query_map(values, |row| {
        let number = row.get::<_, i64>(0)?.unsigned_abs();
        Ok((HistoryMarker(number), read_line(row)?))
    })?;
    let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let has_more = limit < rows.len();
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).map(|(marker, _)| *marker);
    let lines = rows.into_iter().map(|(_, line)| line).collect();
    Ok(HistoryPage { lines, next })
}

fn read_line(row: &Row<'_>) -> rusqlite::Result<HistoryLine> {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let id = |text: &str| u128::from_str_radix(text, 16).ok().map(HistoryId);
    Ok(HistoryLine {
        id: text(row, 1, "id of a history line", id)?,
        time: Timestamp::from_millis(row.get::<_, i64>(2)?.unsigned_abs()),
        who: row.get(3)?,
        what: text(row, 4, "operation of a history line", What::from_name)?,
        mapping: row
            .get::<_, Option<String>>(5)?
            .map(|mapping| MappingId::new(&mapping)),
        before: text(row, 6, "value of a history line", json)?,
        after: text(row, 7, "value of a history line", json)?,
    })
}

fn stored_id(id: HistoryId) -> String {
    format!("{:032x}", id.0)
}

#[async_trait]
impl HistoryStore for SqliteStore {
    async fn history(
        &self,
        mapping: Option<&MappingId>,
        after: Option<HistoryMarker>,
        limit: usize,
    ) -> Result<HistoryPage, PortError> {
        let mapping = mapping.cloned();
        let read = move |tx: &Transaction<'_>| page(tx, mapping.as_ref(), after, limit);
        self.call("reading the history", read).await
    }

    async fn write_redrive(&self, part: &RedriveLine) -> Result<(), PortError> {
        let part = part.clone();
        let write = move |tx: &Transaction<'_>| add_to_redrive(tx, &part);
        self.call("writing the history", write).await
    }
}
