//! Brings the tables of a prefix up to date, and refuses tables that are not ours or from a later version.
//!
//! Everything happens in one transaction under a lock, so any number of processes may start at once and the tables
//! have a version or the next, nothing between.

use tokio_postgres::{Client, Transaction};

use super::error::PostgresError;

/// `Ulex` in ASCII: what the locks of this program have in common.
pub(crate) const LOCK: i32 = 0x556c_6578;
/// Migration `n` leads from schema version `n` to `n + 1`. Never change one that was released: add one.
const MIGRATIONS: [&str; 2] = [include_str!("../postgres.sql"), include_str!("../postgres_2.sql")];
const TABLES: [&str; 6] = ["users", "items", "types", "feedback", "ledger", "positions"];

/// The SQL with the tables of `prefix`.
pub(crate) fn with_prefix(sql: &str, prefix: &str) -> String {
    let quoted = prefix.replace('"', "\"\"");
    // In a text constant, such as the name of a table for regclass, apostrophes are doubled as well.
    sql.replace("{text:p}", &quoted.replace('\'', "''")).replace("{p}", &quoted)
}

/// Creates or migrates the tables of `prefix` in the schema that new tables go into.
pub(super) async fn migrate(client: &mut Client, prefix: &str) -> Result<(), PostgresError> {
    let known = i64::try_from(MIGRATIONS.len()).expect("migrations are few");
    let transaction = client.transaction().await?;
    // Another process may be at it for a while.
    transaction.batch_execute("SET LOCAL statement_timeout = '10min'").await?;
    transaction
        .execute(
            "SELECT pg_advisory_xact_lock($1, hashtext(coalesce(current_schema(), '') || $2))",
            &[&LOCK, &prefix],
        )
        .await?;
    let found = version(&transaction, prefix).await?;
    if found > known {
        return Err(PostgresError::Newer { found, known });
    }
    let done = usize::try_from(found).unwrap_or_default();
    for sql in &MIGRATIONS[done..] {
        transaction.batch_execute(&with_prefix(sql, prefix)).await?;
    }
    if found < known {
        let set = r#"INSERT INTO "{p}meta" VALUES ('schema', $1) ON CONFLICT (key) DO UPDATE SET value = $1"#;
        transaction.execute(&with_prefix(set, prefix), &[&known.to_string()]).await?;
    }
    Ok(transaction.commit().await?)
}

async fn version(transaction: &Transaction<'_>, prefix: &str) -> Result<i64, PostgresError> {
    let schema: Option<String> = transaction.query_one("SELECT current_schema()", &[]).await?.get(0);
    let Some(schema) = schema else {
        return Err(PostgresError::Address("none of the schemas of search_path exists".to_owned()));
    };
    let exists = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = $2)";
    let exists = transaction.prepare(exists).await?;
    let meta = format!("{prefix}meta");
    if transaction.query_one(&exists, &[&schema, &meta]).await?.get(0) {
        let columns = "SELECT count(*) FROM information_schema.columns
             WHERE table_schema = $1 AND table_name = $2 AND column_name IN ('key', 'value')";
        let ours: i64 = transaction.query_one(columns, &[&schema, &meta]).await?.get(0);
        let sql = with_prefix(r#"SELECT value FROM "{p}meta" WHERE key = 'schema'"#, prefix);
        let found = if ours == 2 { transaction.query_opt(&sql, &[]).await? } else { None };
        let found = found.and_then(|row| row.try_get::<_, String>(0).ok()?.parse().ok());
        return found.ok_or(PostgresError::Foreign { table: meta });
    }
    for table in TABLES {
        let table = format!("{prefix}{table}");
        if transaction.query_one(&exists, &[&schema, &table]).await?.get(0) {
            return Err(PostgresError::Foreign { table });
        }
    }
    let create = r#"CREATE TABLE "{p}meta" (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL)"#;
    transaction.batch_execute(&with_prefix(create, prefix)).await?;
    Ok(0)
}
