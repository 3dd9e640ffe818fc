//! Reads, each on one of the pool's connections. A connection that turns out to be dead, as after a restart of the server,
//! is replaced once: reads have no effect that could happen twice.

use deadpool_postgres::{Object, Pool};
use smol_str::SmolStr;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use ulex_domain::{Feedback, FeedbackKey, Item, ItemState, Timestamp, User};

use super::connections::from_pool;
use super::decode;
use super::error::PostgresError;
use super::migrate::with_prefix;
use super::search::any_word;
use crate::data::{ArrivedItem, Counts, LogPosition};

type Fallible<T> = Result<T, PostgresError>;

/// A table the server believes to be larger than this is not counted.
const COUNTED: i64 = 1_000_000;

const USER: &str = "user_id, labels, comment";
const ITEM: &str = "item_id, is_hidden, categories, time, labels, comment";
const POSITIONS: &str = r#"SELECT log, epoch, sequence, appended_at, crc FROM "{p}positions""#;
const FEEDBACK: &str = "feedback_type, user_id, item_id, value, time, updated, labels, comment";
// A user's rows are found by one look into the key for each of the few types.
const TYPES: &str = r#"ARRAY(SELECT name FROM "{p}types")"#;

/// The reads with the names of the tables filled in, so that a call never formats a query.
#[derive(Debug)]
struct ReadSql {
    log_position: String,
    logs: String,
    users: String,
    list_users: String,
    items: String,
    item_states: String,
    list_items: String,
    items_by_arrival: String,
    users_feedback: String,
    item_feedback: String,
    pair_feedback: String,
    list_feedback: String,
    list_feedback_of_type: String,
    search: String,
    estimates: String,
    count: [String; 3],
}

impl ReadSql {
    fn new(prefix: &str) -> Self {
        let sql = |text: &str| {
            let text = text.replace("{user}", USER).replace("{item}", ITEM).replace("{feedback}", FEEDBACK);
            with_prefix(&text.replace("{types}", TYPES), prefix)
        };
        let count = |table: &str| sql(&format!(r#"SELECT count(*) FROM "{{p}}{table}""#));
        Self {
            log_position: sql(&format!("{POSITIONS} WHERE log = $1")),
            logs: sql(&format!("{POSITIONS} ORDER BY log")),
            users: sql(r#"SELECT {user} FROM "{p}users" WHERE user_id = ANY($1)"#),
            list_users: sql(r#"SELECT {user} FROM "{p}users" WHERE user_id >= $1 ORDER BY user_id LIMIT $2"#),
            items: sql(r#"SELECT {item} FROM "{p}items" WHERE item_id = ANY($1)"#),
            item_states: sql(r#"SELECT {item}, epoch, position FROM "{p}items" WHERE item_id = ANY($1)"#),
            list_items: sql(r#"SELECT {item} FROM "{p}items" WHERE item_id >= $1 ORDER BY item_id LIMIT $2"#),
            items_by_arrival: sql(r#"SELECT {item}, epoch, position, no FROM "{p}items"
                WHERE no >= $1 ORDER BY no LIMIT $2"#),
            users_feedback: sql(r#"SELECT {feedback} FROM "{p}feedback"
                WHERE feedback_type = ANY({types}) AND user_id = ANY($1) AND time <= $2"#),
            item_feedback: sql(r#"SELECT {feedback} FROM "{p}feedback"
                WHERE item_id COLLATE "POSIX" = $1 AND time <= $2 LIMIT $3"#),
            pair_feedback: sql(r#"SELECT {feedback} FROM "{p}feedback"
                WHERE feedback_type = ANY({types}) AND user_id = $1 AND item_id = $2"#),
            list_feedback: sql(r#"SELECT {feedback} FROM "{p}feedback"
                WHERE (feedback_type, user_id, item_id) >= ($1, $2, $3) AND time <= $4
                ORDER BY feedback_type, user_id, item_id LIMIT $5"#),
            list_feedback_of_type: sql(r#"SELECT {feedback} FROM "{p}feedback"
                WHERE feedback_type = $1 AND (user_id, item_id) >= ($2, $3) AND time <= $4
                ORDER BY user_id, item_id LIMIT $5"#),
            search: sql(
                r#"SELECT {item}, ts_rank(search, $1::text::tsquery)::float8 AS score FROM "{p}items"
                WHERE search @@ $1::text::tsquery
                AND EXISTS (SELECT FROM "{p}meta" WHERE key = 'search_columns' AND value <> '')
                ORDER BY score DESC, item_id LIMIT $2"#,
            ),
            estimates: sql(r#"SELECT max(reltuples) FILTER (WHERE oid = '"{text:p}users"'::regclass)::int8,
                    max(reltuples) FILTER (WHERE oid = '"{text:p}items"'::regclass)::int8,
                    max(reltuples) FILTER (WHERE oid = '"{text:p}feedback"'::regclass)::int8
                FROM pg_class WHERE oid IN ('"{text:p}users"'::regclass, '"{text:p}items"'::regclass,
                    '"{text:p}feedback"'::regclass)"#),
            count: ["users", "items", "feedback"].map(count),
        }
    }
}

/// The connections for reading.
#[derive(Debug)]
pub(super) struct Readers {
    pool: Pool,
    sql: ReadSql,
}

fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The last time that is visible.
fn visible(until: Option<Timestamp>) -> i64 {
    until.map_or(i64::MAX, Timestamp::as_nanos)
}

impl Readers {
    pub fn new(pool: Pool, prefix: &str) -> Self {
        Self { pool, sql: ReadSql::new(prefix) }
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn rows(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Fallible<Vec<Row>> {
        match self.try_rows(sql, parameters).await {
            Err(error) if error.is_lost_connection() => self.try_rows(sql, parameters).await,
            settled => settled,
        }
    }

    async fn try_rows(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Fallible<Vec<Row>> {
        let client = from_pool(&self.pool).await?;
        let rows = query(&client, sql, parameters).await;
        if rows.as_ref().is_err_and(PostgresError::is_lost_connection) {
            // Not back into the pool, and those that were opened with it are looked at as well.
            drop(Object::take(client));
            self.pool.retain(|client, _metrics| !client.is_closed());
        }
        rows
    }

    pub async fn log_position(&self, log: &str) -> Fallible<Option<LogPosition>> {
        let rows = self.rows(&self.sql.log_position, &[&log]).await?;
        rows.first().map(decode::position).transpose()
    }

    pub async fn logs(&self) -> Fallible<Vec<LogPosition>> {
        self.rows(&self.sql.logs, &[]).await?.iter().map(decode::position).collect()
    }

    pub async fn users(&self, ids: &[&str]) -> Fallible<Vec<User>> {
        self.rows(&self.sql.users, &[&ids]).await?.iter().map(decode::user).collect()
    }

    pub async fn list_users(&self, from: &str, limit: usize) -> Fallible<Vec<User>> {
        let rows = self.rows(&self.sql.list_users, &[&from, &limited(limit)]).await?;
        rows.iter().map(decode::user).collect()
    }

    pub async fn items(&self, ids: &[&str]) -> Fallible<Vec<Item>> {
        self.rows(&self.sql.items, &[&ids]).await?.iter().map(decode::item).collect()
    }

    pub async fn list_items(&self, from: &str, limit: usize) -> Fallible<Vec<Item>> {
        let rows = self.rows(&self.sql.list_items, &[&from, &limited(limit)]).await?;
        rows.iter().map(decode::item).collect()
    }

    pub async fn items_by_arrival(&self, from: u64, limit: usize) -> Fallible<Vec<ArrivedItem>> {
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let rows = self.rows(&self.sql.items_by_arrival, &[&from, &limited(limit)]).await?;
        let arrived = |row: &Row| {
            let number = row.try_get::<_, i64>(8)?.unsigned_abs();
            Ok(ArrivedItem { number, item: decode::item(row)?, version: decode::version(row, 6)? })
        };
        rows.iter().map(arrived).collect()
    }

    pub async fn item_states(&self, ids: &[&str]) -> Fallible<Vec<ItemState>> {
        let rows = self.rows(&self.sql.item_states, &[&ids]).await?;
        rows.iter().map(|row| Ok(ItemState::of(&decode::item(row)?, decode::version(row, 6)?))).collect()
    }

    pub async fn search(&self, words: &str, limit: usize) -> Fallible<Vec<(Item, f64)>> {
        let Some(words) = any_word(words) else { return Ok(Vec::new()) };
        let rows = self.rows(&self.sql.search, &[&words, &limited(limit)]).await?;
        rows.iter().map(|row| Ok((decode::item(row)?, row.try_get(6)?))).collect()
    }

    /// In any order.
    pub async fn users_feedback(&self, ids: &[&str], until: Option<Timestamp>) -> Fallible<Vec<Feedback>> {
        let rows = self.rows(&self.sql.users_feedback, &[&ids, &visible(until)]).await?;
        rows.iter().map(decode::feedback).collect()
    }

    /// By type and user.
    pub async fn item_feedback(
        &self,
        id: &str,
        until: Option<Timestamp>,
        limit: Option<usize>,
    ) -> Fallible<Vec<Feedback>> {
        let limit = limit.map(limited);
        let rows = self.rows(&self.sql.item_feedback, &[&id, &visible(until), &limit]).await?;
        let mut rows = rows.iter().map(decode::feedback).collect::<Fallible<Vec<_>>>()?;
        rows.sort_unstable_by(|one, other| {
            (&one.feedback_type, &one.user_id).cmp(&(&other.feedback_type, &other.user_id))
        });
        Ok(rows)
    }

    /// By type.
    pub async fn pair_feedback(&self, user: &str, item: &str) -> Fallible<Vec<Feedback>> {
        let rows = self.rows(&self.sql.pair_feedback, &[&user, &item]).await?;
        let mut rows = rows.iter().map(decode::feedback).collect::<Fallible<Vec<_>>>()?;
        rows.sort_unstable_by(|one, other| one.feedback_type.cmp(&other.feedback_type));
        Ok(rows)
    }

    pub async fn list_feedback(
        &self,
        from: Option<&FeedbackKey>,
        limit: usize,
        feedback_type: Option<&SmolStr>,
        until: Option<Timestamp>,
    ) -> Fallible<Vec<Feedback>> {
        let (until, limit) = (visible(until), limited(limit));
        let (mut name, mut user, mut item) = from.map_or(("", "", ""), |from| {
            (from.feedback_type.as_str(), from.user_id.as_str(), from.item_id.as_str())
        });
        let mut sql = &self.sql.list_feedback;
        if let Some(wanted) = feedback_type {
            if name > wanted.as_str() {
                return Ok(Vec::new());
            }
            if name < wanted.as_str() {
                (name, user, item) = (wanted.as_str(), "", "");
            }
            sql = &self.sql.list_feedback_of_type;
        }
        let rows = self.rows(sql, &[&name, &user, &item, &until, &limit]).await?;
        rows.iter().map(decode::feedback).collect()
    }

    /// Exact as long as the tables are small.
    pub async fn counts(&self) -> Fallible<Counts> {
        let estimates = self.rows(&self.sql.estimates, &[]).await?;
        let mut counts = [0; 3];
        for (place, count) in counts.iter_mut().enumerate() {
            let estimate = estimates.first().map(|row| row.try_get::<_, i64>(place)).transpose()?;
            *count = match estimate.filter(|rows| *rows > COUNTED) {
                Some(rows) => rows,
                None => {
                    let rows = self.rows(&self.sql.count[place], &[]).await?;
                    rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default()
                }
            };
        }
        let [users, items, feedback] = counts.map(i64::unsigned_abs);
        Ok(Counts { users, items, feedback })
    }

    /// Fails on a server that takes no writes.
    pub async fn ping(&self) -> Fallible<()> {
        let sql = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";
        let rows = self.rows(sql, &[]).await?;
        let is_read_only = rows.first().map(|row| row.try_get::<_, bool>(0)).transpose()?;
        if is_read_only == Some(false) { Ok(()) } else { Err(PostgresError::ReadOnly) }
    }
}

async fn query(client: &Object, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Fallible<Vec<Row>> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, parameters).await?)
}
