//! PostgreSQL as cache: one unlogged table, one row a user. For clusters that have no Redis.
//!
//! A row holds the user's *mark*, a random number that the first reader of an absent user leaves behind, and the packed
//! entry if there is one. An entry is stored only where the mark that its maker read still stands; a change deletes the row
//! after it was committed to the data store. A read is one statement.
//!
//! An unlogged table is empty after a crash and on a copy that takes over, so nothing from before a change can come back;
//! marks that are gone are followed by others, and what was made under them is refused.
//!
//! Rows expire. A task of each process deletes expired rows now and then and, if the rows take more than the budget, those
//! that expire soonest; between two of its rounds the table may grow beyond the budget (`postgres/sweep.rs`).
//!
//! Calls have deadlines. After a call that failed because the server did not answer, calls fail at once for a moment. What
//! could not be dropped is remembered: `remembering.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use ulex_domain::{Timestamp, UserId};

use self::sql::Sql;
use super::options::{bytes, duration};
use super::{CacheSettings, CacheStore, Mark, UserEntry, UserView, packed};
use crate::StorageError;
use crate::address::Address;
use crate::data::PostgresSettings;
use crate::data::postgres::connections::{Connector, from_pool};
use crate::data::postgres::error::PostgresError;

mod sql;
mod sweep;

/// Calls fail at once for this long after the server did not answer.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a mark without a list lives.
const MARK_LIVES: Duration = Duration::from_secs(120);
/// Users in one statement.
const CHUNK: usize = 5_000;
/// How long opening waits for the server.
const OPEN_WITHIN: Duration = Duration::from_secs(3);

struct Inner {
    pool: Pool,
    sql: Sql,
    limits: Limits,
    lives: Duration,
    /// Whether the table was made.
    made: OnceCell<()>,
    opened: Instant,
    /// Milliseconds after `opened`.
    away_until: AtomicU64,
}

/// A [`CacheStore`] in a PostgreSQL database. Dropping it ends its task.
pub struct PostgresCache {
    inner: Arc<Inner>,
    sweeper: JoinHandle<()>,
}

/// The options that are not the data store's.
#[derive(Clone, Copy, Debug)]
struct Limits {
    max_bytes: usize,
    read_timeout: Duration,
    write_timeout: Duration,
}

impl Limits {
    /// Takes them out of a URL.
    fn read(url: &str) -> Result<(Self, String), String> {
        let mut limits = Self {
            max_bytes: 1 << 30,
            read_timeout: Duration::from_millis(250),
            write_timeout: Duration::from_secs(1),
        };
        let address = Address::parse(url);
        let mut kept = Vec::new();
        for (name, value) in address.options() {
            match name {
                "max_bytes" => limits.max_bytes = bytes(name, value)?,
                "read_timeout" => limits.read_timeout = duration(name, value)?,
                "write_timeout" => limits.write_timeout = duration(name, value)?,
                _ => kept.push(format!("{name}={value}")),
            }
        }
        Ok((limits, format!("{}://{}?{}", address.scheme, address.location, kept.join("&"))))
    }
}

impl PostgresCache {
    /// Connects on the runtime that calls this. A server that is away is waited for a moment and then whenever a
    /// call comes.
    ///
    /// # Errors
    ///
    /// `Rejected` if the URL cannot be used or the table cannot be made.
    pub async fn open(url: &str, settings: &CacheSettings) -> Result<Self, StorageError> {
        let (limits, url) = Limits::read(url).map_err(|reason| StorageError::Rejected {
            backend: "postgres",
            action: "open the cache",
            source: reason.into(),
        })?;
        let how = PostgresSettings::new(&url, &settings.prefix)?;
        let opened = |error: PostgresError| error.while_opening("open the cache");
        let pool = Connector::new(&how).and_then(|connector| connector.pool(how.pool_size));
        let inner = Arc::new(Inner {
            pool: pool.map_err(opened)?,
            sql: Sql::new(&settings.prefix),
            limits,
            lives: settings.expire.max(Duration::from_secs(1)),
            made: OnceCell::new(),
            opened: Instant::now(),
            away_until: AtomicU64::new(0),
        });
        match timeout(OPEN_WITHIN, inner.make()).await.unwrap_or(Err(PostgresError::Deadline(OPEN_WITHIN))) {
            Ok(()) => {}
            Err(error) => {
                let error = opened(error);
                if !error.is_transient() {
                    return Err(error);
                }
                tracing::warn!(%error, "the cache cannot be reached yet; lists are computed when they are asked for");
            }
        }
        let sweeper = tokio::spawn(sweep::run(Arc::clone(&inner)));
        Ok(Self { inner, sweeper })
    }

    /// Deletes what is expired or too much, as its task does now and then.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the server does not answer.
    pub async fn sweep(&self) -> Result<(), StorageError> {
        let swept = sweep::once(&self.inner).await;
        swept.map_err(|error| error.while_trying_to("make room"))
    }
}

impl Drop for PostgresCache {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

type Parameters<'call> = &'call [&'call (dyn ToSql + Sync)];

impl Inner {
    /// Makes the table unless it is there. Any number of processes may do so at once.
    async fn make(&self) -> Result<(), PostgresError> {
        let make = async || {
            let client = from_pool(&self.pool).await?;
            let made = client.batch_execute(&self.sql.make).await;
            if made.is_err() {
                // Perhaps in the middle of a transaction.
                drop(Object::take(client));
            }
            Ok(made?)
        };
        self.made.get_or_try_init(make).await.copied()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// One statement, within a deadline. On a connection that turns out to be dead it is done once more: none of the
    /// statements does harm twice.
    async fn call(
        &self,
        action: &'static str,
        within: Duration,
        (sql, parameters): (&str, Parameters<'_>),
    ) -> Result<Vec<Row>, StorageError> {
        if self.now() < self.away_until.load(Ordering::Relaxed) {
            let source = "it did not answer a moment ago".into();
            return Err(StorageError::Unavailable { backend: "postgres", action, source });
        }
        let work = async {
            match self.attempt(sql, parameters).await {
                Err(error) if error.is_lost_connection() => self.attempt(sql, parameters).await,
                done => done,
            }
        };
        let done = timeout(within, work).await.unwrap_or(Err(PostgresError::Deadline(within)));
        done.map_err(|error| {
            let is_busy = matches!(error, PostgresError::Busy(_));
            let error = error.while_trying_to(action);
            if error.is_transient() && !is_busy {
                let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
                self.away_until.store(self.now().saturating_add(pause), Ordering::Relaxed);
            }
            error
        })
    }

    async fn attempt(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, PostgresError> {
        self.make().await?;
        let client = from_pool(&self.pool).await?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query(&statement, parameters).await?)
    }

    /// No longer than the entry is of use.
    fn life(&self, entry: &UserEntry) -> Duration {
        let until = |at: Timestamp| u64::try_from(at.as_nanos() - Timestamp::now().as_nanos()).ok();
        let left = entry.stale_at.and_then(until).map(Duration::from_nanos);
        left.map_or(self.lives, |left| left.clamp(Duration::from_secs(1), self.lives))
    }
}

#[async_trait]
impl CacheStore for PostgresCache {
    async fn user(&self, id: &UserId) -> Result<UserView, StorageError> {
        let (inner, key) = (&self.inner, id.as_str().as_bytes());
        let within = inner.limits.read_timeout;
        let found = inner.call("read a list", within, (&inner.sql.read, &[&key])).await?;
        if let Some(row) = found.first() {
            let entry = row.get::<_, Option<&[u8]>>(1).and_then(packed::unpack);
            return Ok(UserView { entry, mark: Mark(row.get::<_, i64>(0).cast_unsigned()) });
        }
        let new = uuid::Uuid::new_v4().as_u64_pair().0.cast_signed();
        let parameters: Parameters<'_> = &[&key, &new, &MARK_LIVES.as_secs_f64()];
        let left = inner.call("leave a mark", within, (&inner.sql.leave_mark, parameters)).await?;
        let mark = left.first().map_or(0, |row| row.get::<_, i64>(0)).cast_unsigned();
        Ok(UserView { entry: None, mark: Mark(mark) })
    }

    async fn put_user(&self, id: &UserId, entry: UserEntry, mark: Mark) -> Result<bool, StorageError> {
        let inner = &self.inner;
        let (key, mark, bytes) = (id.as_str().as_bytes(), mark.0.cast_signed(), packed::pack(&entry));
        let life = inner.life(&entry).as_secs_f64();
        let parameters: Parameters<'_> = &[&key, &mark, &bytes, &life];
        let stored =
            inner.call("keep a list", inner.limits.write_timeout, (&inner.sql.put, parameters)).await?;
        Ok(stored.len() == 1)
    }

    async fn invalidate_users(&self, ids: &[UserId]) -> Result<(), StorageError> {
        let inner = &self.inner;
        for chunk in ids.chunks(CHUNK) {
            let keys: Vec<&[u8]> = chunk.iter().map(|id| id.as_str().as_bytes()).collect();
            let within = inner.limits.write_timeout;
            inner.call("drop lists", within, (&inner.sql.remove, &[&keys])).await?;
        }
        Ok(())
    }

    async fn clear(&self) -> Result<(), StorageError> {
        // Waits for those who read just now, no longer.
        let within = self.inner.limits.write_timeout.max(Duration::from_secs(10));
        self.inner.call("drop every list", within, (&self.inner.sql.clear, &[])).await.map(drop)
    }

    async fn ping(&self) -> Result<(), StorageError> {
        let within = self.inner.limits.read_timeout;
        self.inner.call("answer", within, ("SELECT 1", &[])).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_cache_are_taken_out_of_the_url() {
        let url = "postgres://u:p@h:1/d?max_bytes=5MiB&sslmode=disable&read_timeout=1s&write_timeout=2s&pool_size=3";
        let (limits, rest) = Limits::read(url).unwrap();
        assert_eq!(rest, "postgres://u:p@h:1/d?sslmode=disable&pool_size=3");
        assert_eq!(
            (limits.max_bytes, limits.read_timeout.as_secs(), limits.write_timeout.as_secs()),
            (5 << 20, 1, 2)
        );
        assert!(Limits::read("postgres://h/d?max_bytes=no").unwrap_err().contains("max_bytes"));
    }
}
