//! The table of the history: lines are written with the changes that they describe.

use async_trait::async_trait;
use rusqlite::{Connection, Row, Transaction, params};
use serde_json::Value;
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
    match line {
        Some(line) => {
            let replace = "UPDATE SET before = excluded.before, after = excluded.after";
            insert(tx, line, replace)
        }
        None => Ok(()),
    }
}

/// Adds to the line of a redrive as it is stored, so that a part counts if it is committed, and only
/// then.
pub(super) fn add_to_redrive(tx: &Transaction<'_>, part: &RedriveLine) -> rusqlite::Result<()> {
    let mut line = part.line.clone();
    line.after["redriven"] = 0.into();
    line.after["failed"] = 0.into();
    line.after["ids"] = Value::Array(Vec::new());
    insert(tx, &line, "NOTHING")?;
    let id = stored_id(line.id);
    let mut count = tx.prepare_cached(
        "UPDATE history SET after = json_set(after,
             '$.redriven', json_extract(after, '$.redriven') + ?2,
             '$.failed', json_extract(after, '$.failed') + ?3) WHERE id = ?1",
    )?;
    let redriven = integer(part.redriven.len() as u64);
    count.execute(params![id, redriven, integer(part.failed)])?;
    let mut name = tx.prepare_cached(
        "UPDATE history SET after = json_insert(after, '$.ids[#]', ?2)
         WHERE id = ?1 AND json_array_length(after, '$.ids') < ?3",
    )?;
    for redriven in &part.redriven {
        name.execute(params![id, redriven, integer(MAX_LINE_IDS as u64)])?;
    }
    Ok(())
}

/// `update`: what becomes of a line with this id.
fn insert(tx: &Transaction<'_>, line: &HistoryLine, update: &str) -> rusqlite::Result<()> {
    let mut delete = tx.prepare_cached("DELETE FROM history WHERE time < ?1")?;
    let retention = u64::try_from(HISTORY_RETENTION.as_millis()).unwrap_or(u64::MAX);
    delete.execute([integer(line.time.as_millis().saturating_sub(retention))])?;
    let mut insert = tx.prepare_cached(&format!(
        "INSERT INTO history (id, time, who, what, mapping, before, after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO {update}"
    ))?;
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
