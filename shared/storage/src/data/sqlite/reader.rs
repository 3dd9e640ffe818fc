//! Reads, each on one of a few read-only connections.
//!
//! A look-up takes microseconds, less than handing it to another thread, so it runs where it is called. What may
//! take longer runs on the blocking pool; only half of the connections may be busy with that, so that look-ups
//! always find one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Params, Result, Row, params};
use tokio::sync::Semaphore;
use ulex_domain::{Feedback, Item, ItemId, Timestamp, User, UserId};

use super::decode;
use super::error::SqliteError;
use super::migrate::with_prefix;
use super::search::match_expression;
use crate::data::Counts;

/// Connections for reading.
const CONNECTIONS: usize = 8;
/// How long a read waits for a connection.
const DEADLINE: Duration = Duration::from_secs(10);
/// A look-up that finds more rows than this is done again where it may take longer.
pub(super) const FEW_ROWS: i64 = 512;

/// The connections.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    sql: Arc<ReadSql>,
    idle: Mutex<Vec<Reader>>,
    all: Semaphore,
    long: Semaphore,
}

impl Readers {
    pub fn new(path: PathBuf, prefix: &str) -> Self {
        Self {
            path,
            sql: Arc::new(ReadSql::new(prefix)),
            idle: Mutex::new(Vec::new()),
            all: Semaphore::new(CONNECTIONS),
            long: Semaphore::new(CONNECTIONS / 2),
        }
    }

    /// Runs a look-up here and now.
    pub async fn now<T>(&self, look_up: impl FnOnce(&Reader) -> Result<T> + Send) -> Result<T, SqliteError> {
        let _permit = permit(&self.all).await?;
        self.with_reader(look_up)
    }

    /// Runs a read that may take long.
    pub async fn long<T, Read>(self: &Arc<Self>, read: Read) -> Result<T, SqliteError>
    where
        T: Send + 'static,
        Read: FnOnce(&Reader) -> Result<T> + Send + 'static,
    {
        let _long = permit(&self.long).await?;
        let _permit = permit(&self.all).await?;
        let readers = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || readers.with_reader(read)).await;
        done.unwrap_or(Err(SqliteError::Closed))
    }

    fn with_reader<T>(&self, read: impl FnOnce(&Reader) -> Result<T>) -> Result<T, SqliteError> {
        let idle = self.idle.lock().pop();
        let reader = match idle {
            Some(reader) => reader,
            None => Reader::open(&self.path, Arc::clone(&self.sql))?,
        };
        // After a failure the connection is not used again: it costs little and may be what is broken.
        let done = read(&reader)?;
        self.idle.lock().push(reader);
        Ok(done)
    }
}

async fn permit(semaphore: &Semaphore) -> Result<tokio::sync::SemaphorePermit<'_>, SqliteError> {
    if let Ok(permit) = semaphore.try_acquire() {
        return Ok(permit);
    }
    let acquired = tokio::time::timeout(DEADLINE, semaphore.acquire()).await;
    acquired.map_err(|_elapsed| SqliteError::Overloaded)?.map_err(|_closed| SqliteError::Closed)
}

/// One connection.
#[derive(Debug)]
pub(super) struct Reader {
    pub connection: Connection,
    pub sql: Arc<ReadSql>,
}

/// The SQL of all reads with the names of the tables filled in.
#[derive(Debug)]
pub(super) struct ReadSql {
    pub user: String,
    list_users: String,
    pub item: String,
    list_items: String,
    items_by_arrival: String,
    user_feedback: String,
    item_feedback: String,
    pair_feedback: String,
    search: String,
    counts: String,
    pub types: String,
    pub walk_users: String,
    pub users_of_type: String,
    pub user_id: String,
    pub item_id: String,
    pub feedback_of_user_and_type: String,
    pub scan: String,
}

const ITEM: &str = "i.id, i.is_hidden, i.categories, i.time, i.labels, i.comment";
const FEEDBACK: &str = "t.name, u.id, i.id, f.value, f.time, f.updated, f.labels, f.comment";

impl ReadSql {
    pub fn new(prefix: &str) -> Self {
        let sql = |text: &str| {
            let text = text.replace("{item}", ITEM).replace("{feedback}", FEEDBACK);
            with_prefix(&text, prefix)
        };
        Self {
            user: sql(r#"SELECT id, labels, comment FROM "{p}users" WHERE id = ?1"#),
            list_users: sql(
                r#"SELECT id, labels, comment FROM "{p}users" WHERE id >= ?1 ORDER BY id LIMIT ?2"#,
            ),
            item: sql(r#"SELECT {item} FROM "{p}items" i WHERE id = ?1"#),
            list_items: sql(r#"SELECT {item} FROM "{p}items" i WHERE id >= ?1 ORDER BY id LIMIT ?2"#),
            items_by_arrival: sql(
                r#"SELECT {item}, i.no FROM "{p}items" i WHERE no >= ?1 ORDER BY no LIMIT ?2"#,
            ),
            // CROSS JOIN keeps SQLite to this order, whatever it thinks of the sizes.
            user_feedback: sql(r#"SELECT {feedback} FROM "{p}users" u CROSS JOIN "{p}types" t
                   CROSS JOIN "{p}feedback" f ON f.type_no = t.no AND f.user_no = u.no
                   CROSS JOIN "{p}items" i ON i.no = f.item_no
                   WHERE u.id = ?1 AND f.time <= ?2 LIMIT ?3"#),
            item_feedback: sql(r#"SELECT {feedback} FROM "{p}items" i
                   CROSS JOIN "{p}feedback" f INDEXED BY "{p}feedback_by_item" ON f.item_no = i.no
                   CROSS JOIN "{p}types" t ON t.no = f.type_no CROSS JOIN "{p}users" u ON u.no = f.user_no
                   WHERE i.id = ?1 AND f.time <= ?2 LIMIT ?3"#),
            pair_feedback: sql(
                r#"SELECT {feedback} FROM "{p}users" u CROSS JOIN "{p}items" i CROSS JOIN "{p}types" t
                   CROSS JOIN "{p}feedback" f
                       ON f.type_no = t.no AND f.user_no = u.no AND f.item_no = i.no
                   WHERE u.id = ?1 AND i.id = ?2 ORDER BY t.name"#,
            ),
            search: sql(
                r#"SELECT {item}, -s.rank FROM "{p}search" s CROSS JOIN "{p}items" i ON i.no = s.rowid
                   WHERE "{p}search" MATCH ?1 ORDER BY s.rank LIMIT ?2"#,
            ),
            counts: sql(r#"SELECT (SELECT count(*) FROM "{p}users"), (SELECT count(*) FROM "{p}items"),
                   (SELECT count(*) FROM "{p}feedback")"#),
            types: sql(r#"SELECT no, name FROM "{p}types" WHERE name >= ?1 ORDER BY name"#),
            walk_users: sql(r#"SELECT no, id FROM "{p}users" WHERE id >= ?1 ORDER BY id"#),
            users_of_type: sql(r#"SELECT user_no FROM "{p}feedback" WHERE type_no = ?1 AND user_no > ?2
                   ORDER BY user_no LIMIT 1"#),
            user_id: sql(r#"SELECT id FROM "{p}users" WHERE no = ?1"#),
            item_id: sql(r#"SELECT id FROM "{p}items" WHERE no = ?1"#),
            feedback_of_user_and_type: sql(
                r#"SELECT ?1, ?2, i.id, f.value, f.time, f.updated, f.labels, f.comment
                   FROM "{p}feedback" f CROSS JOIN "{p}items" i ON i.no = f.item_no
                   WHERE f.type_no = ?3 AND f.user_no = ?4 AND f.time <= ?5"#,
            ),
            scan: sql(r#"SELECT type_no, user_no, item_no, value, time, updated FROM "{p}feedback"
                   WHERE (type_no, user_no, item_no) > (?1, ?2, ?3)
                   ORDER BY type_no, user_no, item_no LIMIT ?4"#),
        }
    }
}

/// How a time limit stands in SQL.
pub(super) fn latest(until: Option<Timestamp>) -> i64 {
    until.map_or(i64::MAX, Timestamp::as_nanos)
}

/// How a number of rows stands in SQL.
pub(super) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Reader {
    fn open(path: &std::path::Path, sql: Arc<ReadSql>) -> Result<Self> {
        let connection = super::open_connection(path, super::Access::Read)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self { connection, sql })
    }

    fn rows<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        decode: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.connection.prepare_cached(sql)?.query_map(parameters, decode)?.collect()
    }

    /// Runs several statements on one state of the data.
    pub fn snapshot<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let transaction = self.connection.unchecked_transaction()?;
        let done = read()?;
        transaction.commit()?;
        Ok(done)
    }

    pub fn user(&self, id: &UserId) -> Result<Option<User>> {
        self.connection.prepare_cached(&self.sql.user)?.query_row([id.as_str()], decode::user).optional()
    }

    pub fn users(&self, ids: &[UserId]) -> Result<Vec<User>> {
        self.snapshot(|| ids.iter().filter_map(|id| self.user(id).transpose()).collect())
    }

    pub fn list_users(&self, from: &str, limit: usize) -> Result<Vec<User>> {
        self.rows(&self.sql.list_users, params![from, row_limit(limit)], decode::user)
    }

    pub fn item(&self, id: &ItemId) -> Result<Option<Item>> {
        self.connection.prepare_cached(&self.sql.item)?.query_row([id.as_str()], decode::item).optional()
    }

    pub fn items(&self, ids: &[ItemId]) -> Result<Vec<Item>> {
        self.snapshot(|| ids.iter().filter_map(|id| self.item(id).transpose()).collect())
    }

    pub fn list_items(&self, from: &str, limit: usize) -> Result<Vec<Item>> {
        self.rows(&self.sql.list_items, params![from, row_limit(limit)], decode::item)
    }

    pub fn items_by_arrival(&self, from: u64, limit: usize) -> Result<Vec<(u64, Item)>> {
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        self.rows(&self.sql.items_by_arrival, params![from, row_limit(limit)], |row| {
            Ok((u64::try_from(row.get::<_, i64>(6)?).unwrap_or(0), decode::item(row)?))
        })
    }

    pub fn user_feedback(&self, id: &UserId, until: Option<Timestamp>, limit: i64) -> Result<Vec<Feedback>> {
        let parameters = params![id.as_str(), latest(until), limit];
        let mut rows = self.rows(&self.sql.user_feedback, parameters, decode::feedback)?;
        rows.sort_unstable_by(|one, other| {
            (&one.feedback_type, &one.item_id).cmp(&(&other.feedback_type, &other.item_id))
        });
        Ok(rows)
    }

    pub fn users_feedback(&self, ids: &[UserId], until: Option<Timestamp>) -> Result<Vec<Feedback>> {
        self.snapshot(|| {
            let mut all = Vec::new();
            for id in ids {
                all.append(&mut self.user_feedback(id, until, i64::MAX)?);
            }
            Ok(all)
        })
    }

    pub fn item_feedback(&self, id: &ItemId, until: Option<Timestamp>, limit: i64) -> Result<Vec<Feedback>> {
        let parameters = params![id.as_str(), latest(until), limit];
        let mut rows = self.rows(&self.sql.item_feedback, parameters, decode::feedback)?;
        rows.sort_unstable_by(|one, other| {
            (&one.feedback_type, &one.user_id).cmp(&(&other.feedback_type, &other.user_id))
        });
        Ok(rows)
    }

    pub fn pair_feedback(&self, user: &UserId, item: &ItemId) -> Result<Vec<Feedback>> {
        self.rows(&self.sql.pair_feedback, [user.as_str(), item.as_str()], decode::feedback)
    }

    pub fn search(&self, query: &str, limit: usize) -> Result<Vec<(Item, f64)>> {
        let Some(expression) = match_expression(query) else { return Ok(Vec::new()) };
        self.rows(&self.sql.search, params![expression, row_limit(limit)], |row| {
            Ok((decode::item(row)?, decode::value(row, 6)?))
        })
    }

    pub fn counts(&self) -> Result<Counts> {
        self.connection.prepare_cached(&self.sql.counts)?.query_row([], |row| {
            let count =
                |column| row.get::<_, i64>(column).map(|rows| u64::try_from(rows).unwrap_or_default());
            Ok(Counts { users: count(0)?, items: count(1)?, feedback: count(2)? })
        })
    }
}
