//! The tables of the dead letters. Payloads are compressed, and apart from the letters, so that lists
//! do not read them.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params};
use windlass_core::arn::Arn;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::mapping::MappingId;
use windlass_core::outcome::{Fault, Swap};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{
    BoxError, DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterLimit, DeadLetterMarker,
    DeadLetterReason, DeadLetterSelection, DeadLetterStore, DeadLetterTotals, Deletion,
    DeletionLine, Kept, NewDeadLetter, PortError, RedriveLine, SkipSave,
};

use super::SqliteStore;
use super::rows::{integer, swap, text};
use super::{history, rows};

/// The change of the schema that adds them. The primary key is the end of every index, so that lists
/// are in the order of their markers. Triggers keep the totals.
pub(super) const MIGRATION: &str = "
    CREATE TABLE dead_letters (
        id               TEXT PRIMARY KEY,
        mapping          TEXT,
        replay           TEXT,
        function_arn     TEXT NOT NULL,
        event_source_arn TEXT NOT NULL,
        shard            TEXT NOT NULL,
        first_number     TEXT NOT NULL,
        last_number      TEXT NOT NULL,
        records          INTEGER NOT NULL,
        reason           TEXT NOT NULL,
        attempts         INTEGER NOT NULL,
        last_error       TEXT,
        first_arrival    INTEGER,
        given_up         INTEGER NOT NULL,
        bytes            INTEGER NOT NULL,
        redrives         INTEGER NOT NULL DEFAULT 0,
        is_claimed       INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX dead_letters_by_age ON dead_letters (given_up);
    CREATE INDEX dead_letters_of_mapping ON dead_letters (mapping, given_up);
    CREATE INDEX dead_letters_of_reason ON dead_letters (reason, given_up);
    CREATE INDEX dead_letters_of_mapping_and_reason ON dead_letters (mapping, reason, given_up);
    CREATE INDEX claimed_dead_letters ON dead_letters (mapping) WHERE is_claimed = 1;
    CREATE TABLE dead_letter_payloads (
        letter  TEXT PRIMARY KEY REFERENCES dead_letters (id) ON DELETE CASCADE,
        payload BLOB NOT NULL
    ) STRICT;
    CREATE TABLE dead_letter_totals (letters INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
    INSERT INTO dead_letter_totals (letters, bytes) VALUES (0, 0);
    CREATE TRIGGER dead_letter_added AFTER INSERT ON dead_letters BEGIN
        UPDATE dead_letter_totals SET letters = letters + 1, bytes = bytes + NEW.bytes;
    END;
    CREATE TRIGGER dead_letter_replaced AFTER UPDATE OF bytes ON dead_letters BEGIN
        UPDATE dead_letter_totals SET bytes = bytes + NEW.bytes - OLD.bytes;
    END;
    CREATE TRIGGER dead_letter_removed AFTER DELETE ON dead_letters BEGIN
        UPDATE dead_letter_totals SET letters = letters - 1, bytes = bytes - OLD.bytes;
    END;
";

const COLUMNS: &str = "id, mapping, replay, function_arn, event_source_arn, shard, first_number,
                       last_number, records, reason, attempts, last_error, first_arrival, given_up,
                       bytes, redrives";

/// A letter with its payload as it is stored.
struct CompressedLetter {
    letter: DeadLetter,
    payload: Vec<u8>,
}

/// Ends the claims of the daemon that had the store before.
pub(super) fn void_claims(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE dead_letters SET is_claimed = 0 WHERE is_claimed = 1",
        [],
    )?;
    Ok(())
}

fn keep(
    tx: &Transaction<'_>,
    letters: &[CompressedLetter],
    limit: DeadLetterLimit,
    skip: Option<&SkipSave>,
) -> rusqlite::Result<Kept> {
    let Some(dropped) = make_room(tx, letters, limit)? else {
        return Ok(Kept::Full);
    };
    if let Some(SkipSave { save, line }) = skip {
        if rows::save(tx, save)? == Swap::Conflict {
            return Ok(Kept::Conflict);
        }
        history::write(tx, Some(line))?;
    }
    let mut dropped_totals = DeadLetterTotals::default();
    for (id, bytes) in dropped {
        delete(tx, &id)?;
        dropped_totals.letters += 1;
        dropped_totals.bytes += bytes;
    }
    for letter in letters {
        write(tx, letter)?;
    }
    Ok(Kept::Done {
        dropped: dropped_totals,
        totals: totals(tx)?,
    })
}

/// The letters to drop, with their sizes, so that there is room for others; `None` if there is not.
fn make_room(
    db: &Connection,
    letters: &[CompressedLetter],
    limit: DeadLetterLimit,
) -> rusqlite::Result<Option<Vec<(String, u64)>>> {
    let needed: u64 = letters.iter().map(|it| it.letter.bytes).sum();
    if limit.maximum_size < needed {
        // However many are dropped; and looking for them takes as long as they are many.
        return Ok(None);
    }
    let is_new = |id: &str| letters.iter().any(|it| it.letter.id.to_string() == id);
    let mut total = totals(db)?.bytes;
    let mut size = db.prepare_cached("SELECT bytes FROM dead_letters WHERE id = ?1")?;
    for CompressedLetter { letter, .. } in letters {
        let replaced = size.query_row([letter.id.to_string()], |row| row.get(0));
        let replaced: Option<i64> = replaced.optional()?;
        total = total.saturating_sub(replaced.unwrap_or(0).unsigned_abs());
        total = total.saturating_add(letter.bytes);
    }
    let mut dropped = Vec::new();
    if limit.maximum_size < total && limit.drops_oldest {
        let mut oldest = db.prepare_cached(
            "SELECT id, bytes FROM dead_letters WHERE is_claimed = 0 ORDER BY given_up, id",
        )?;
        let mut oldest = oldest.query([])?;
        while limit.maximum_size < total
            && let Some(row) = oldest.next()?
        {
            let (id, bytes) = (
                row.get::<_, String>(0)?,
                row.get::<_, i64>(1)?.unsigned_abs(),
            );
            if !is_new(&id) {
                total = total.saturating_sub(bytes);
                dropped.push((id, bytes));
            }
        }
    }
    Ok((total <= limit.maximum_size).then_some(dropped))
}

fn write(tx: &Transaction<'_>, letter: &CompressedLetter) -> rusqlite::Result<()> {
    let CompressedLetter { letter, payload } = letter;
    let id = letter.id.to_string();
    let mut insert = tx.prepare_cached(
        "INSERT INTO dead_letters (id, mapping, replay, function_arn, event_source_arn, shard,
             first_number, last_number, records, reason, attempts, last_error, first_arrival,
             given_up, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (id) DO UPDATE SET
             mapping = excluded.mapping, replay = excluded.replay,
             function_arn = excluded.function_arn,
             event_source_arn = excluded.event_source_arn, records = excluded.records,
             reason = excluded.reason, attempts = excluded.attempts,
             last_error = excluded.last_error, first_arrival = excluded.first_arrival,
             given_up = excluded.given_up, bytes = excluded.bytes, is_claimed = 0
             WHERE given_up <> excluded.given_up",
    )?;
    let n_changed = insert.execute(params![
        id,
        letter.mapping.as_ref().map(MappingId::as_str),
        letter.replay,
        letter.function_arn.as_str(),
        letter.event_source_arn.as_str(),
        letter.shard.as_str(),
        letter.first.as_str(),
        letter.last.as_str(),
        integer(letter.records),
        letter.reason.as_str(),
        letter.attempts,
        letter.last_error,
        letter.first_arrival.map(|it| integer(it.as_millis())),
        integer(letter.given_up.as_millis()),
        integer(letter.bytes),
    ])?;
    if n_changed != 0 {
        let mut payloads = tx.prepare_cached(
            "INSERT INTO dead_letter_payloads (letter, payload) VALUES (?1, ?2)
             ON CONFLICT (letter) DO UPDATE SET payload = excluded.payload",
        )?;
        payloads.execute(params![id, payload])?;
    }
    Ok(())
}

fn list(
    db: &Connection,
    filter: &DeadLetterFilter,
    after: Option<DeadLetterMarker>,
    limit: usize,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let mapping = filter.mapping.as_ref().map(MappingId::as_str);
    let reason = filter.reason.map(DeadLetterReason::as_str);
    let since = filter.since.map(|it| integer(it.as_millis()));
    let after = after.map(|it| (integer(it.given_up.as_millis()), it.id.to_string()));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut values: Vec<(&str, &dyn ToSql)> = vec![(":limit", &limit)];
    values.extend(mapping.iter().map(|it| (":mapping", it as &dyn ToSql)));
    values.extend(reason.iter().map(|it| (":reason", it as &dyn ToSql)));
    values.extend(since.iter().map(|it| (":since", it as &dyn ToSql)));
    if let Some((given_up, id)) = &after {
        values.extend([(":given_up", given_up as &dyn ToSql), (":id", id)]);
    }
    let query = list_query(filter, after.is_some());
    let mut statement = db.prepare_cached(&query)?;
    let letters = statement.query_map(&values[..], read)?;
    letters.collect()
}

/// Each combination has a query of its own, which an index answers in the order of the list.
fn list_query(filter: &DeadLetterFilter, continues: bool) -> String {
    let conditions = [
        (filter.mapping.is_some(), "mapping = :mapping"),
        (filter.reason.is_some(), "reason = :reason"),
        (filter.since.is_some(), ":since <= given_up"),
        (continues, "(:given_up, :id) < (given_up, id)"),
    ];
    let conditions = conditions.iter().filter(|(applies, _)| *applies);
    let conditions: String = conditions.map(|(_, it)| format!(" AND {it}")).collect();
    format!(
        "SELECT {COLUMNS} FROM dead_letters WHERE true{conditions}
         ORDER BY given_up, id LIMIT :limit"
    )
}

fn letter(db: &Connection, id: DeadLetterId) -> rusqlite::Result<Option<DeadLetter>> {
    let query = format!("SELECT {COLUMNS} FROM dead_letters WHERE id = ?1");
    let mut statement = db.prepare_cached(&query)?;
    statement.query_row([id.to_string()], read).optional()
}

fn payload(db: &Connection, id: DeadLetterId) -> rusqlite::Result<Option<(Vec<u8>, u64)>> {
    let mut statement = db.prepare_cached(
        "SELECT payload, bytes FROM dead_letter_payloads JOIN dead_letters ON id = letter
         WHERE letter = ?1",
    )?;
    let payload = statement.query_row([id.to_string()], |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
    });
    payload.optional()
}

fn totals(db: &Connection) -> rusqlite::Result<DeadLetterTotals> {
    let mut statement = db.prepare_cached("SELECT letters, bytes FROM dead_letter_totals")?;
    statement.query_row([], |row| {
        Ok(DeadLetterTotals {
            letters: row.get::<_, i64>(0)?.unsigned_abs(),
            bytes: row.get::<_, i64>(1)?.unsigned_abs(),
        })
    })
}

fn delete_selected(
    tx: &Transaction<'_>,
    selection: &DeadLetterSelection,
    limit: usize,
    line: DeletionLine,
) -> rusqlite::Result<Deletion> {
    let (condition, value) = match selection {
        DeadLetterSelection::One(id) => ("id = ?1", Some(id.to_string())),
        DeadLetterSelection::OfMapping(mapping) => ("mapping = ?1", Some(mapping.to_string())),
        DeadLetterSelection::All => ("?1 IS NULL", None),
    };
    let claimed = format!("SELECT 1 FROM dead_letters WHERE is_claimed = 1 AND {condition}");
    if tx.prepare_cached(&claimed)?.exists([&value])? {
        return Ok(Deletion::BeingRedriven);
    }
    let ids =
        format!("SELECT id FROM dead_letters WHERE {condition} ORDER BY given_up, id LIMIT ?2");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = tx.prepare_cached(&ids)?;
    let ids = statement.query_map(params![value, limit], |row| read_id(row, 0))?;
    let ids = ids.collect::<rusqlite::Result<Vec<_>>>()?;
    for id in &ids {
        delete(tx, &id.to_string())?;
    }
    if !ids.is_empty() {
        history::write(tx, Some(&line(&ids)))?;
    }
    Ok(Deletion::Done(ids.len()))
}

fn expire(tx: &Transaction<'_>, before: Timestamp, limit: usize) -> rusqlite::Result<u64> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM dead_letters WHERE id IN (
             SELECT id FROM dead_letters WHERE given_up < ?1 AND is_claimed = 0
             ORDER BY given_up LIMIT ?2)",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let n_deleted = statement.execute(params![integer(before.as_millis()), limit])?;
    Ok(n_deleted as u64)
}

fn delete(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    let mut statement = tx.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?;
    statement.execute([id])?;
    Ok(())
}

fn claim(tx: &Transaction<'_>, ids: &[DeadLetterId]) -> rusqlite::Result<Vec<DeadLetter>> {
    let claim = format!(
        "UPDATE dead_letters SET is_claimed = 1 WHERE id = ?1 AND is_claimed = 0
         RETURNING {COLUMNS}"
    );
    let mut statement = tx.prepare_cached(&claim)?;
    let mut claimed = Vec::new();
    for id in ids {
        claimed.extend(statement.query_row([id.to_string()], read).optional()?);
    }
    Ok(claimed)
}

fn release(
    tx: &Transaction<'_>,
    claimed: &[DeadLetterMarker],
    has_failed: bool,
) -> rusqlite::Result<()> {
    let mut statement = tx.prepare_cached(
        "UPDATE dead_letters SET is_claimed = 0, redrives = redrives + ?3
         WHERE id = ?1 AND given_up = ?2 AND is_claimed = 1",
    )?;
    for DeadLetterMarker { given_up, id } in claimed {
        let given_up = integer(given_up.as_millis());
        statement.execute(params![id.to_string(), given_up, has_failed])?;
    }
    Ok(())
}

fn delete_redriven(
    tx: &Transaction<'_>,
    claimed: DeadLetterMarker,
    line: &RedriveLine,
) -> rusqlite::Result<Swap> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM dead_letters WHERE id = ?1 AND given_up = ?2 AND is_claimed = 1",
    )?;
    let DeadLetterMarker { given_up, id } = claimed;
    let values = params![id.to_string(), integer(given_up.as_millis())];
    let swap = swap(statement.execute(values)?);
    if swap == Swap::Done {
        history::add_to_redrive(tx, line)?;
    }
    Ok(swap)
}

fn read(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let arn = |text: &str| Arn::parse(text).ok();
    let number = |index| {
        let number: String = row.get(index)?;
        Ok::<_, rusqlite::Error>(SequenceNumber::from(number.as_str()))
    };
    let unsigned = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
    let mapping: Option<String> = row.get(1)?;
    Ok(DeadLetter {
        id: read_id(row, 0)?,
        mapping: mapping.map(|it| MappingId::new(&it)),
        replay: row.get(2)?,
        function_arn: text(row, 3, "function ARN", arn)?,
        event_source_arn: text(row, 4, "source ARN", arn)?,
        shard: ShardId::from(row.get::<_, String>(5)?.as_str()),
        first: number(6)?,
        last: number(7)?,
        records: unsigned(8)?,
        reason: text(row, 9, "reason", DeadLetterReason::from_name)?,
        attempts: row.get(10)?,
        last_error: row.get(11)?,
        first_arrival: row
            .get::<_, Option<i64>>(12)?
            .map(|it| Timestamp::from_millis(it.unsigned_abs())),
        given_up: Timestamp::from_millis(unsigned(13)?),
        bytes: unsigned(14)?,
        redrives: row.get(15)?,
    })
}

fn read_id(row: &Row<'_>, index: usize) -> rusqlite::Result<DeadLetterId> {
    text(row, index, "dead letter", |text| text.parse().ok())
}

/// Payloads are megabytes, and compressing one takes milliseconds.
async fn on_blocking_thread<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, PortError> {
    let failed = |source: BoxError| PortError {
        operation: operation.to_owned(),
        fault: Fault::Transient,
        source,
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| failed(error.into()))?
        .map_err(|error| failed(error.into()))
}

fn compress(letters: Vec<NewDeadLetter>) -> std::io::Result<Vec<CompressedLetter>> {
    let compress = |NewDeadLetter { letter, payload }| {
        let payload = zstd::bulk::compress(&payload, zstd::DEFAULT_COMPRESSION_LEVEL)?;
        Ok(CompressedLetter { letter, payload })
    };
    letters.into_iter().map(compress).collect()
}

#[async_trait]
impl DeadLetterStore for SqliteStore {
    async fn keep(
        &self,
        letters: Vec<NewDeadLetter>,
        limit: DeadLetterLimit,
        skip: Option<SkipSave>,
    ) -> Result<Kept, PortError> {
        let compressing = move || compress(letters);
        let letters = on_blocking_thread("compressing dead letters", compressing).await?;
        let keep = move |tx: &Transaction<'_>| keep(tx, &letters, limit, skip.as_ref());
        self.call("writing dead letters", keep).await
    }

    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: Option<DeadLetterMarker>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, PortError> {
        let filter = filter.clone();
        let list = move |tx: &Transaction<'_>| list(tx, &filter, after, limit);
        self.call("listing dead letters", list).await
    }

    async fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, PortError> {
        self.call("reading a dead letter", move |tx| letter(tx, id))
            .await
    }

    async fn dead_letter_payload(&self, id: DeadLetterId) -> Result<Option<Bytes>, PortError> {
        let operation = "reading the payload of a dead letter";
        let read = self.call(operation, move |tx| payload(tx, id)).await?;
        let Some((compressed, bytes)) = read else {
            return Ok(None);
        };
        let decompress = move || {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            zstd::bulk::decompress(&compressed, bytes)
        };
        let payload = on_blocking_thread(operation, decompress).await?;
        Ok(Some(payload.into()))
    }

    async fn dead_letter_totals(&self) -> Result<DeadLetterTotals, PortError> {
        self.call("counting dead letters", |tx| totals(tx)).await
    }

    async fn delete_dead_letters(
        &self,
        selection: &DeadLetterSelection,
        limit: usize,
        line: DeletionLine,
    ) -> Result<Deletion, PortError> {
        let selection = selection.clone();
        let delete = move |tx: &Transaction<'_>| delete_selected(tx, &selection, limit, line);
        self.call("deleting dead letters", delete).await
    }

    async fn expire_dead_letters(
        &self,
        given_up_before: Timestamp,
        limit: usize,
    ) -> Result<u64, PortError> {
        let expire = move |tx: &Transaction<'_>| expire(tx, given_up_before, limit);
        self.call("deleting expired dead letters", expire).await
    }

    async fn claim_dead_letters(&self, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, PortError> {
        let ids = ids.to_vec();
        self.call("claiming dead letters", move |tx| claim(tx, &ids))
            .await
    }

    async fn release_dead_letters(
        &self,
        claimed: &[DeadLetterMarker],
        has_failed: bool,
    ) -> Result<(), PortError> {
        let claimed = claimed.to_vec();
        let release = move |tx: &Transaction<'_>| release(tx, &claimed, has_failed);
        self.call("releasing dead letters", release).await
    }

    async fn delete_redriven(
        &self,
        claimed: DeadLetterMarker,
        line: &RedriveLine,
    ) -> Result<Swap, PortError> {
        let line = line.clone();
        let delete = move |tx: &Transaction<'_>| delete_redriven(tx, claimed, &line);
        self.call("deleting a redriven dead letter", delete).await
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::failure::FailureCondition;

    use super::*;

    /// A page costs the same however many letters there are.
    #[test]
    fn every_list_is_in_the_order_of_an_index() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(MIGRATION).unwrap();
        for bits in 0..16_u8 {
            let has = |bit: u8| bits & (1 << bit) != 0;
            let filter = DeadLetterFilter {
                mapping: has(0).then(|| MappingId::new("m")),
                reason: has(1)
                    .then_some(DeadLetterReason::GivenUp(FailureCondition::RecordTooLarge)),
                since: has(2).then_some(Timestamp::EPOCH),
            };
            let query = format!("EXPLAIN QUERY PLAN {}", list_query(&filter, has(3)));
            let mut statement = db.prepare(&query).unwrap();
            let mut rows = statement.raw_query();
            let mut plan = String::new();
            while let Some(row) = rows.next().unwrap() {
                plan.push_str(&row.get::<_, String>(3).unwrap());
            }
            assert!(
                plan.contains("USING INDEX dead_letters_"),
                "{filter:?}: {plan}"
            );
            assert!(!plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
            let is_scan = plan.starts_with("SCAN");
            assert_eq!(is_scan, bits == 0, "{filter:?}: {plan}");
        }
    }
}
