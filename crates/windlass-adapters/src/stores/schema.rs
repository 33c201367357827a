//! The tables of the database, and how those of earlier versions become these.

use super::{dead_letters, history, overrides, replays};

/// Marks a file as a store of windlass: "wdls".
pub(super) const APPLICATION_ID: i64 = 0x7764_6c73;

/// Incremented by every change of the schema.
pub(super) const SCHEMA_VERSION: u16 = 11;

/// The changes of the schema: a database whose `user_version` is N has the first N of them. What
/// has been released is never edited. Removing a mapping removes its leases and tags.
pub(super) const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [
    "
    CREATE TABLE mappings (
        id            TEXT PRIMARY KEY,
        revision      INTEGER NOT NULL,
        spec          TEXT NOT NULL,
        source_arn    TEXT NOT NULL,
        function_arn  TEXT NOT NULL,
        desired       TEXT NOT NULL,
        change        TEXT NOT NULL,
        created       INTEGER NOT NULL,
        last_modified INTEGER NOT NULL,
        declared      INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX one_mapping_a_pair ON mappings (source_arn, function_arn)
        WHERE desired <> 'deleted';
    CREATE TABLE leases (
        mapping          TEXT NOT NULL REFERENCES mappings (id) ON DELETE CASCADE,
        unit             TEXT NOT NULL,
        owner            TEXT,
        epoch            INTEGER NOT NULL,
        checkpoint_kind  TEXT NOT NULL,
        checkpoint_value TEXT,
        PRIMARY KEY (mapping, unit)
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE leases ADD COLUMN shard_start TEXT;
    CREATE TABLE epochs (next INTEGER NOT NULL) STRICT;
    INSERT INTO epochs (next) VALUES (0);
    CREATE TRIGGER epochs_never_repeat AFTER DELETE ON leases BEGIN
        UPDATE epochs SET next = max(next, OLD.epoch + 1);
    END;
",
    "
    CREATE TABLE changes (
        mapping TEXT PRIMARY KEY,
        number  INTEGER NOT NULL UNIQUE
    ) STRICT, WITHOUT ROWID;
    INSERT INTO changes (mapping, number)
        SELECT id, row_number() OVER (ORDER BY id) FROM mappings;
    CREATE TRIGGER mapping_added AFTER INSERT ON mappings BEGIN
        INSERT INTO changes (mapping, number)
            SELECT NEW.id, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    CREATE TRIGGER mapping_changed AFTER UPDATE ON mappings BEGIN
        INSERT INTO changes (mapping, number)
            SELECT NEW.id, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    CREATE TRIGGER mapping_removed AFTER DELETE ON mappings BEGIN
        INSERT INTO changes (mapping, number)
            SELECT OLD.id, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    CREATE TRIGGER lease_added AFTER INSERT ON leases BEGIN
        INSERT INTO changes (mapping, number)
            SELECT NEW.mapping, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
    CREATE TRIGGER lease_changed AFTER UPDATE ON leases
    WHEN NEW.owner IS NOT OLD.owner OR NEW.epoch <> OLD.epoch
        OR NEW.shard_start IS NOT OLD.shard_start
        OR (NEW.checkpoint_kind = 'shard_end' AND OLD.checkpoint_kind <> 'shard_end')
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
",
    "
    DROP TRIGGER lease_changed;
    ALTER TABLE leases ADD COLUMN checkpoint TEXT NOT NULL DEFAULT '';
    UPDATE leases SET checkpoint =
        json_object('position', checkpoint_kind, 'value', checkpoint_value);
    ALTER TABLE leases DROP COLUMN checkpoint_kind;
    ALTER TABLE leases DROP COLUMN checkpoint_value;
    CREATE TRIGGER lease_changed AFTER UPDATE ON leases
    WHEN NEW.owner IS NOT OLD.owner OR NEW.epoch <> OLD.epoch
        OR NEW.shard_start IS NOT OLD.shard_start
        OR (NEW.checkpoint ->> 'position' = 'shard_end'
            AND OLD.checkpoint ->> 'position' <> 'shard_end')
    BEGIN
        INSERT INTO changes (mapping, number)
            SELECT NEW.mapping, coalesce(max(number), 0) + 1 FROM changes WHERE true
            ON CONFLICT (mapping) DO UPDATE SET number = excluded.number;
    END;
",
    "
    CREATE TABLE tags (
        mapping TEXT NOT NULL REFERENCES mappings (id) ON DELETE CASCADE,
        name    TEXT NOT NULL,
        value   TEXT NOT NULL,
        PRIMARY KEY (mapping, name)
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE leases ADD COLUMN window_state BLOB;
",
    history::MIGRATION,
    overrides::MIGRATION,
    dead_letters::MIGRATION,
    replays::MIGRATION,
    "
    ALTER TABLE mappings ADD COLUMN origin TEXT NOT NULL DEFAULT 'api';
    UPDATE mappings SET origin = 'configuration' WHERE declared;
    ALTER TABLE mappings DROP COLUMN declared;
",
];
