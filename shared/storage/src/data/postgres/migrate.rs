//! Brings the tables of a prefix up to date, and refuses tables that are not ours or from a later version.
//!
//! One transaction under a lock of the whole database, so any number of processes may start at once.

use tokio_postgres::Client;

use super::error::PostgresError;

/// Migration `n` leads from schema version `n` to `n + 1`. Never change one that was released: add one.
const MIGRATIONS: [&str; 1] = [include_str!("../postgres.sql")];
/// `Ulex` in ASCII.
const LOCK: i64 = 0x556c_6578;

/// The SQL with the tables of `prefix`.
pub(super) fn with_prefix(sql: &str, prefix: &str) -> String {
    sql.replace("{p}", &prefix.replace('"', "\"\""))
}

pub(super) async fn migrate(client: &mut Client, prefix: &str) -> Result<(), PostgresError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let transaction = client.transaction().await?;
    transaction.batch_execute("SET LOCAL lock_timeout = '60s'").await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let exists = async |table: &str| {
        let name = format!("\"{}{table}\"", prefix.replace('"', "\"\""));
        let row = transaction.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name]).await?;
        Ok::<bool, PostgresError>(row.get(0))
    };
    let found: i64 = if exists("ulex_meta").await? {
        let sql = with_prefix(r#"SELECT value FROM "{p}ulex_meta" WHERE key = 'schema'"#, prefix);
        let row = transaction.query_opt(&sql, &[]).await?;
        let version = row.and_then(|row| row.get::<_, &str>(0).parse().ok());
        version.ok_or_else(|| PostgresError::Foreign { table: format!("{prefix}ulex_meta") })?
    } else {
        for table in ["users", "items", "types", "feedback", "ledger", "positions"] {
            if exists(table).await? {
                return Err(PostgresError::Foreign { table: format!("{prefix}{table}") });
            }
        }
        let create = r#"CREATE TABLE "{p}ulex_meta" (key TEXT PRIMARY KEY, value TEXT NOT NULL)"#;
        transaction.batch_execute(&with_prefix(create, prefix)).await?;
        0
    };
    if found > known {
        return Err(PostgresError::Newer { found, known });
    }
    for sql in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or_default()) {
        transaction.batch_execute(&with_prefix(sql, prefix)).await?;
    }
    let set = r#"INSERT INTO "{p}ulex_meta" VALUES ('schema', $1)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value"#;
    transaction.execute(&with_prefix(set, prefix), &[&known.to_string()]).await?;
    transaction.commit().await?;
    Ok(())
}
