//! PostgreSQL: the store of a cluster.
//!
//! Any number of processes may use one database; each sees what the others committed. Writes of one process are
//! committed in groups by one task (`postgres/writer.rs`), writes of several processes take turns. Reads go over a pool of
//! connections that are driven by the runtime that opened the store (`postgres/pool.rs`). Whatever waits has a deadline; a
//! server that is away makes calls fail with `Unavailable`, and they work again when it is back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::Pool;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::{ToSql, Type};
use ulex_domain::{Feedback, FeedbackKey, Item, ItemId, Timestamp, User, UserId};

use self::apply::Context;
use self::error::{BACKEND, PostgresError};
use self::sql::Sql;
use self::writer::Job;
use super::search_text::{SearchText, query_words};
use super::validate::validate;
use super::{Counts, DataStore, FeedbackRow, Outcome, Submission};
use crate::StorageError;

mod apply;
mod decode;
mod error;
mod migrate;
mod pool;
mod sql;
mod writer;

/// Calls that may wait for the writer, and for how long.
const QUEUE: usize = 1_024;
const QUEUE_DEADLINE: Duration = Duration::from_secs(10);
/// How long an answer to a read may take.
const READ_WITHIN: Duration = Duration::from_secs(15);
/// How long opening may take, migrations by another process included.
const OPEN_WITHIN: Duration = Duration::from_secs(90);
/// How long a scan waits for its next row.
const SCAN_PAUSE: Duration = Duration::from_secs(60);
/// With more rows than this their number is the server's estimate.
const COUNTED: i64 = 1_000_000;
/// Items whose words are computed at a time.
const REINDEX: usize = 1_000;

type Values<'a> = [&'a (dyn ToSql + Sync)];

/// A [`DataStore`] in a PostgreSQL database. Dropping it finishes what is queued.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool,
    context: Arc<Context>,
    jobs: mpsc::Sender<Job>,
    feedback_table: String,
}

impl PostgresStore {
    /// Connects and brings the tables up to date. Connections are driven on the runtime that calls this.
    ///
    /// # Errors
    ///
    /// `Rejected` if the URL cannot be used, or the tables are of a later version or of another program;
    /// `Unavailable` if the server cannot be reached.
    pub async fn open(url: &str, table_prefix: &str) -> Result<Self, StorageError> {
        let opening = timeout(OPEN_WITHIN, Self::opened(url, table_prefix)).await;
        opening
            .unwrap_or(Err(PostgresError::Late))
            .map_err(|error| error.while_trying_to("open the database"))
    }

    async fn opened(url: &str, prefix: &str) -> Result<Self, PostgresError> {
        let pool = pool::open(url)?;
        let mut client = pool.get().await?;
        migrate::migrate(&mut client, prefix).await?;
        let sql = Sql::new(prefix);
        let columns = client.query_opt(&sql.search_columns, &[]).await?;
        let columns: Vec<String> =
            columns.and_then(|row| serde_json::from_str(row.get::<_, &str>(0)).ok()).unwrap_or_default();
        drop(client);
        let search = Mutex::new(SearchText::of_columns(&columns));
        let context = Arc::new(Context { sql, search, types: Mutex::new(HashSet::new()) });
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(writer::run(pool.clone(), Arc::clone(&context), lock_of(prefix), queue));
        let feedback_table = format!("\"{}feedback\"", prefix.replace('"', "\"\""));
        Ok(Self { pool, context, jobs, feedback_table })
    }

    async fn query(&self, sql: &str, values: &Values<'_>) -> Result<Vec<Row>, PostgresError> {
        let reading = async {
            let client = self.pool.get().await?;
            let statement = client.prepare_cached(sql).await?;
            Ok(client.query(&statement, values).await?)
        };
        timeout(READ_WITHIN, reading).await.unwrap_or(Err(PostgresError::Late))
    }

    async fn read<T>(
        &self,
        action: &'static str,
        sql: &str,
        values: &Values<'_>,
        decode: impl Fn(&Row) -> Result<T, PostgresError>,
    ) -> Result<Vec<T>, StorageError> {
        let rows = self.query(sql, values).await;
        rows.and_then(|rows| rows.iter().map(decode).collect()).map_err(|error| error.while_trying_to(action))
    }

    async fn submit(&self, submissions: Vec<Submission>) -> Result<Vec<Outcome>, PostgresError> {
        let (reply, answer) = oneshot::channel();
        match self.jobs.send_timeout(Job { submissions, reply }, QUEUE_DEADLINE).await {
            Ok(()) => answer.await.unwrap_or(Err(PostgresError::Closed)),
            Err(mpsc::error::SendTimeoutError::Timeout(_job)) => Err(PostgresError::Overloaded),
            Err(mpsc::error::SendTimeoutError::Closed(_job)) => Err(PostgresError::Closed),
        }
    }

    async fn scan(
        &self,
        batch: usize,
        visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
    ) -> Result<(), PostgresError> {
        const TYPES: [Type; 6] = [Type::TEXT, Type::TEXT, Type::TEXT, Type::FLOAT8, Type::INT8, Type::INT8];
        let client = self.pool.get().await?;
        let asked = timeout(READ_WITHIN, client.copy_out(self.context.sql.scan.as_str())).await;
        let stream = asked.map_err(|_late| PostgresError::Late)??;
        let mut rows = std::pin::pin!(BinaryCopyOutStream::new(stream, &TYPES));
        let mut kept: Vec<BinaryCopyOutRow> = Vec::with_capacity(batch);
        loop {
            let next = timeout(SCAN_PAUSE, rows.next()).await.map_err(|_late| PostgresError::Late)?;
            let is_last = next.is_none();
            kept.extend(next.transpose()?);
            if kept.len() == batch.max(1) || (is_last && !kept.is_empty()) {
                let borrowed = kept.iter().map(borrow).collect::<Result<Vec<_>, _>>()?;
                if !visit(&borrowed) {
                    // The rest of the answer is not worth reading: the connection goes.
                    drop(deadpool_postgres::Object::take(client));
                    return Ok(());
                }
                drop(borrowed);
                kept.clear();
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn reindex(&self, columns: &[String]) -> Result<(), PostgresError> {
        let wanted = SearchText::of_columns(columns);
        if *self.context.search.lock() == wanted {
            return Ok(());
        }
        let names = serde_json::Value::from(wanted.names()).to_string();
        *self.context.search.lock() = wanted;
        let mut from = 0_i64;
        loop {
            let rows = self.query(&self.context.sql.items_by_arrival, &[&from, &(REINDEX as i64)]).await?;
            let Some(last) = rows.last() else { break };
            from = last.try_get::<_, i64>(6)? + 1;
            let items = rows.iter().map(decode::item).collect::<Result<Vec<_>, _>>()?;
            let ids: Vec<&str> = items.iter().map(|item| item.item_id.as_str()).collect();
            let words: Vec<Option<String>> = items.iter().map(|item| self.context.words(item)).collect();
            self.query(&self.context.sql.set_words, &[&ids, &words]).await?;
        }
        self.query(&self.context.sql.set_search_columns, &[&names]).await?;
        Ok(())
    }

    async fn counted(&self) -> Result<Counts, PostgresError> {
        let one = async |sql: &str, values: &Values<'_>| -> Result<u64, PostgresError> {
            let rows = self.query(sql, values).await?;
            let number: i64 = rows
                .first()
                .map_or(Ok(0), |row| row.try_get::<_, Option<i64>>(0).map(Option::unwrap_or_default))?;
            Ok(u64::try_from(number).unwrap_or_default())
        };
        let sql = &self.context.sql;
        let estimate = one(&sql.estimate, &[&self.feedback_table]).await?;
        let feedback =
            if estimate > COUNTED.unsigned_abs() { estimate } else { one(&sql.count_feedback, &[]).await? };
        Ok(Counts {
            users: one(&sql.count_users, &[]).await?,
            items: one(&sql.count_items, &[]).await?,
            feedback,
        })
    }
}

/// The lock that writers of these tables take turns by.
fn lock_of(prefix: &str) -> i64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    prefix.bytes().fold(0xcbf2_9ce4_8422_2325, step).cast_signed()
}

fn borrow(row: &BinaryCopyOutRow) -> Result<FeedbackRow<'_>, PostgresError> {
    Ok(FeedbackRow {
        feedback_type: row.try_get(0)?,
        user_id: row.try_get(1)?,
        item_id: row.try_get(2)?,
        value: row.try_get(3)?,
        timestamp: Timestamp::from_nanos(row.try_get(4)?),
        updated: Timestamp::from_nanos(row.try_get(5)?),
    })
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn until_of(until: Option<Timestamp>) -> i64 {
    until.map_or(i64::MAX, Timestamp::as_nanos)
}

#[async_trait]
impl DataStore for PostgresStore {
    async fn apply(&self, submissions: Vec<Submission>) -> Result<Vec<Outcome>, StorageError> {
        validate(BACKEND, &submissions)?;
        if submissions.is_empty() {
            return Ok(Vec::new());
        }
        self.submit(submissions).await.map_err(|error| error.while_trying_to("apply events"))
    }

    async fn applied_until(&self, log: &str) -> Result<Option<u64>, StorageError> {
        let sql = &self.context.sql.applied_until;
        let decode = |row: &Row| Ok(row.try_get::<_, i64>(0)?.cast_unsigned());
        Ok(self.read("read how far a log was applied", sql, &[&log], decode).await?.pop())
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, StorageError> {
        Ok(self.read("read a user", &self.context.sql.user, &[&id.as_str()], decode::user).await?.pop())
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, StorageError> {
        let ids: Vec<&str> = ids.iter().map(UserId::as_str).collect();
        self.read("read users", &self.context.sql.users, &[&ids], decode::user).await
    }

    async fn list_users(&self, from: Option<&UserId>, limit: usize) -> Result<Vec<User>, StorageError> {
        let from = from.map_or("", UserId::as_str);
        let values: &Values<'_> = &[&from, &limit_of(limit)];
        self.read("list users", &self.context.sql.list_users, values, decode::user).await
    }

    async fn item(&self, id: &ItemId) -> Result<Option<Item>, StorageError> {
        Ok(self.read("read an item", &self.context.sql.item, &[&id.as_str()], decode::item).await?.pop())
    }

    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Item>, StorageError> {
        let ids: Vec<&str> = ids.iter().map(ItemId::as_str).collect();
        self.read("read items", &self.context.sql.items, &[&ids], decode::item).await
    }

    async fn list_items(&self, from: Option<&ItemId>, limit: usize) -> Result<Vec<Item>, StorageError> {
        let from = from.map_or("", ItemId::as_str);
        let values: &Values<'_> = &[&from, &limit_of(limit)];
        self.read("list items", &self.context.sql.list_items, values, decode::item).await
    }

    async fn items_by_arrival(&self, from: u64, limit: usize) -> Result<Vec<(u64, Item)>, StorageError> {
        let decode = |row: &Row| Ok((row.try_get::<_, i64>(6)?.cast_unsigned(), decode::item(row)?));
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        self.read("list items", &self.context.sql.items_by_arrival, &[&from, &limit_of(limit)], decode).await
    }

    async fn search_items(&self, query: &str, limit: usize) -> Result<Vec<(Item, f64)>, StorageError> {
        let wanted = query_words(query);
        if wanted.is_empty() || self.context.search.lock().is_empty() {
            return Ok(Vec::new());
        }
        let decode = |row: &Row| Ok((decode::item(row)?, row.try_get::<_, i64>(7)? as f64));
        self.read("search items", &self.context.sql.search, &[&wanted, &limit_of(limit)], decode).await
    }

    async fn set_search_columns(&self, columns: &[String]) -> Result<(), StorageError> {
        self.reindex(columns).await.map_err(|error| error.while_trying_to("index items"))
    }

    async fn user_feedback(
        &self,
        id: &UserId,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let mut rows = self.users_feedback(std::slice::from_ref(id), until).await?;
        rows.sort_unstable_by(|one, other| {
            (&one.feedback_type, &one.item_id).cmp(&(&other.feedback_type, &other.item_id))
        });
        Ok(rows)
    }

    async fn users_feedback(
        &self,
        ids: &[UserId],
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let mut ids: Vec<&str> = ids.iter().map(UserId::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        let values: &Values<'_> = &[&ids, &until_of(until)];
        self.read("read feedback of users", &self.context.sql.user_feedback, values, decode::feedback).await
    }

    async fn item_feedback(
        &self,
        id: &ItemId,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let values: &Values<'_> = &[&id.as_str(), &until_of(until)];
        self.read("read feedback of an item", &self.context.sql.item_feedback, values, decode::feedback).await
    }

    async fn pair_feedback(&self, user: &UserId, item: &ItemId) -> Result<Vec<Feedback>, StorageError> {
        let values: &Values<'_> = &[&user.as_str(), &item.as_str()];
        self.read("read feedback of a pair", &self.context.sql.pair_feedback, values, decode::feedback).await
    }

    async fn list_feedback(
        &self,
        from: Option<&FeedbackKey>,
        limit: usize,
        feedback_type: Option<&SmolStr>,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let (first, user, item) = from.map_or(("", "", ""), |key| {
            (key.feedback_type.as_str(), key.user_id.as_str(), key.item_id.as_str())
        });
        let (until, limit) = (until_of(until), limit_of(limit));
        let sql = &self.context.sql;
        match feedback_type {
            None => {
                let values: &Values<'_> = &[&first, &user, &item, &until, &limit];
                self.read("list feedback", &sql.list_feedback, values, decode::feedback).await
            }
            Some(name) => {
                let values: &Values<'_> = &[&first, &user, &item, &until, &limit, &name.as_str()];
                self.read("list feedback", &sql.list_feedback_of_type, values, decode::feedback).await
            }
        }
    }

    async fn scan_feedback(
        &self,
        batch: usize,
        visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
    ) -> Result<(), StorageError> {
        self.scan(batch, visit).await.map_err(|error| error.while_trying_to("read all feedback"))
    }

    async fn counts(&self) -> Result<Counts, StorageError> {
        self.counted().await.map_err(|error| error.while_trying_to("count rows"))
    }

    async fn ping(&self) -> Result<(), StorageError> {
        let decode = |row: &Row| Ok(row.try_get::<_, bool>(0)?);
        match self.read("write", &self.context.sql.ping, &[], decode).await?.first() {
            Some(false) => Ok(()),
            Some(true) | None => Err(StorageError::Unavailable {
                backend: BACKEND,
                action: "write",
                source: "the server is read-only".into(),
            }),
        }
    }

    async fn purge(&self) -> Result<(), StorageError> {
        let purged = self.query(&self.context.sql.purge, &[]).await;
        purged.map(drop).map_err(|error| error.while_trying_to("remove everything"))
    }
}
