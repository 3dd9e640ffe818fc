//! Reads, each on one of a few read-only connections.
//!
//! A look-up takes microseconds, less than handing it to another thread, so it runs where it is called. What may
//! take longer runs on the blocking pool; only half of the connections may be busy with that, so that look-ups
//! always find one.

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Params, Result, Row, params};
use tokio::sync::Semaphore;
use ulex_domain::{Feedback, Item, ItemId, ItemState, Timestamp, User, UserId};

use super::decode;
use super::error::SqliteError;
use super::read_sql::ReadSql;
use super::search::match_expression;
use crate::data::{ArrivedItem, Counts, LogPosition};

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

/// Rows of both tables in order, one of each key, as far as they are visible at `until`. Of rows of one key the
/// first counts; whether it is visible cannot be said before that.
pub(super) fn settle(
    rows: &mut Vec<Feedback>,
    until: Option<Timestamp>,
    order: impl Fn(&Feedback, &Feedback) -> Ordering,
) {
    rows.sort_by(&order);
    rows.dedup_by(|later, first| order(later, first) == Ordering::Equal);
    rows.retain(|row| until.is_none_or(|until| row.timestamp <= until));
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

    pub fn log_position(&self, log: &str) -> Result<Option<LogPosition>> {
        let mut statement = self.connection.prepare_cached(&self.sql.log_position)?;
        statement.query_row([log], decode::position).optional()
    }

    pub fn logs(&self) -> Result<Vec<LogPosition>> {
        self.rows(&self.sql.logs, [], decode::position)
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

    pub fn items_by_arrival(&self, from: u64, limit: usize) -> Result<Vec<ArrivedItem>> {
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        self.rows(&self.sql.items_by_arrival, params![from, row_limit(limit)], |row| {
            let number = u64::try_from(row.get::<_, i64>(8)?).unwrap_or(0);
            Ok(ArrivedItem { number, item: decode::item(row)?, version: decode::version(row, 6)? })
        })
    }

    pub fn item_states(&self, ids: &[ItemId]) -> Result<Vec<ItemState>> {
        let state = |row: &Row<'_>| Ok(ItemState::of(&decode::item(row)?, decode::version(row, 6)?));
        let mut statement = self.connection.prepare_cached(&self.sql.item_state)?;
        self.snapshot(|| {
            let found = ids.iter().map(|id| statement.query_row([id.as_str()], state).optional());
            found.filter_map(Result::transpose).collect()
        })
    }

    /// The feedback of a user; `None` if it is more than `limit`.
    pub fn user_feedback(
        &self,
        id: &UserId,
        until: Option<Timestamp>,
        limit: i64,
    ) -> Result<Option<Vec<Feedback>>> {
        let mut rows = self.rows(&self.sql.user_feedback, params![id.as_str(), limit], decode::feedback)?;
        if row_limit(rows.len()) >= limit {
            return Ok(None);
        }
        settle(&mut rows, until, |one, other| {
            (&one.feedback_type, &one.item_id).cmp(&(&other.feedback_type, &other.item_id))
        });
        Ok(Some(rows))
    }

    pub fn users_feedback(&self, ids: &[UserId], until: Option<Timestamp>) -> Result<Vec<Feedback>> {
        self.snapshot(|| {
            let mut all = Vec::new();
            for id in ids {
                all.extend(self.user_feedback(id, until, i64::MAX)?.into_iter().flatten());
            }
            Ok(all)
        })
    }

    /// The feedback of an item as far as the first `limit` stored rows tell, and whether it may have more. A row is
    /// stored once or, while an older one of its key is about to be replaced, twice.
    pub fn item_feedback(
        &self,
        id: &ItemId,
        until: Option<Timestamp>,
        limit: i64,
    ) -> Result<(Vec<Feedback>, bool)> {
        let mut rows = self.rows(&self.sql.item_feedback, params![id.as_str(), limit], decode::feedback)?;
        let may_have_more = row_limit(rows.len()) >= limit;
        settle(&mut rows, until, |one, other| {
            (&one.feedback_type, &one.user_id).cmp(&(&other.feedback_type, &other.user_id))
        });
        Ok((rows, may_have_more))
    }

    pub fn pair_feedback(&self, user: &UserId, item: &ItemId) -> Result<Vec<Feedback>> {
        let mut rows =
            self.rows(&self.sql.pair_feedback, [user.as_str(), item.as_str()], decode::feedback)?;
        settle(&mut rows, None, |one, other| one.feedback_type.cmp(&other.feedback_type));
        Ok(rows)
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
