//! Brings a file's tables up to date, and refuses files that are not ours or from a later version.
//!
//! `PRAGMA user_version` is the newest schema any prefix of the file has; the meta table of a prefix holds
//! its own. Every migration runs in one transaction, so a file has a version or the next, nothing between.

use rusqlite::{Connection, OptionalExtension as _};
use thiserror::Error;

use super::error::SqliteError;

/// `Ulex` in ASCII, in the header of every file that this program made.
const APPLICATION_ID: i32 = 0x556c_6578;
/// Migration `n` leads from schema version `n` to `n + 1`. Never change one that was released: add one.
const MIGRATIONS: [&str; 4] = [
    include_str!("../sqlite.sql"),
    include_str!("search.sql"),
    include_str!("positions.sql"),
    include_str!("versions.sql"),
];
/// Chosen by measurement: with random keys fewer, larger pages cost the writer less.
const PAGE_SIZE: u32 = 8192;

/// Why a file cannot be used. All of these stay until somebody does something about the file.
#[derive(Debug, Error)]
pub(super) enum MigrateError {
    #[error(
        "the file was written by a later version (schema {found}; this version knows up to {known}): \
         use that version, or restore a dump into a new file"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "the file already holds a table named {table:?} that this program did not make, \
         such as a Gorse data file: choose another file or a table prefix and import a dump"
    )]
    Foreign { table: String },
}

/// The SQL with the tables of `prefix`.
pub(super) fn with_prefix(sql: &str, prefix: &str) -> String {
    sql.replace("{p}", &prefix.replace('"', "\"\""))
}

/// Settles what can only be settled before the first table is made.
pub(super) fn prepare_file(connection: &Connection) -> Result<(), SqliteError> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        connection.pragma_update(None, "page_size", PAGE_SIZE)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    Ok(())
}

/// Creates or migrates the tables of `prefix`.
pub(super) fn migrate(connection: &mut Connection, prefix: &str) -> Result<(), SqliteError> {
    let known = i64::try_from(MIGRATIONS.len()).expect("migrations are few");
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let in_file: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application_id: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application_id == APPLICATION_ID && in_file > known {
        return Err(MigrateError::Newer { found: in_file, known }.into());
    }
    let found = version_of_prefix(&transaction, prefix)?;
    if found > known {
        return Err(MigrateError::Newer { found, known }.into());
    }
    let done = usize::try_from(found).unwrap_or_default();
    for sql in &MIGRATIONS[done..] {
        transaction.execute_batch(&with_prefix(sql, prefix))?;
    }
    if found < known {
        let set = with_prefix("INSERT OR REPLACE INTO \"{p}meta\" VALUES ('schema', ?1)", prefix);
        transaction.execute(&set, [known.to_string()])?;
        if application_id == APPLICATION_ID {
            transaction.pragma_update(None, "user_version", known)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn version_of_prefix(connection: &Connection, prefix: &str) -> Result<i64, SqliteError> {
    let exists = |table: &str| {
        let sql = "SELECT 1 FROM sqlite_schema WHERE name = ?1";
        connection.query_row(sql, [format!("{prefix}{table}")], |_row| Ok(())).optional()
    };
    if exists("meta")?.is_some() {
        let sql = with_prefix("SELECT value FROM \"{p}meta\" WHERE key = 'schema'", prefix);
        let version: Option<String> = connection.query_row(&sql, [], |row| row.get(0)).optional()?;
        if let Some(version) = version.and_then(|version| version.parse().ok()) {
            return Ok(version);
        }
        return Err(MigrateError::Foreign { table: format!("{prefix}meta") }.into());
    }
    for table in [
        "users",
        "items",
        "types",
        "recent",
        "feedback",
        "recent_by_item",
        "by_item",
        "ledger",
        "search",
        "positions",
    ] {
        if exists(table)?.is_some() {
            return Err(MigrateError::Foreign { table: format!("{prefix}{table}") }.into());
        }
    }
    let create = "CREATE TABLE \"{p}meta\" (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID";
    connection.execute_batch(&with_prefix(create, prefix))?;
    Ok(0)
}
