//! What can be computed again: a user's finished list and what is needed to serve it.
//!
//! A read must be one round trip, so everything one request needs about a user stands in one [`UserEntry`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use ulex_domain::{ItemId, Timestamp, UserId};

pub use memory::MemoryCache;
#[cfg(feature = "postgres")]
pub use postgres::PostgresCache;
#[cfg(feature = "redis")]
pub use redis::RedisCache;

use crate::StorageError;
use crate::address::Address;
use crate::layers::{Deadline, Deadlines, Layered, Metrics};

mod memory;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod options;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod packed;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod remembering;

/// Tells whether a user has changed: another one after every change. A list computed before a change must not overwrite
/// what came after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64);

/// A user's finished list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserEntry {
    /// The ModelSet the list was made from.
    pub model_set: String,
    /// Digest of the settings the list was made under.
    pub digest: String,
    /// When it was computed.
    pub computed: Timestamp,
    /// When the earliest hidden-until-its-time feedback of the user becomes visible; the list is stale then.
    pub stale_at: Option<Timestamp>,
    /// Best first, without what the user has seen.
    pub items: Vec<(ItemId, f32)>,
    /// State of the catalogue it was made from; a list that is nothing but an order of the catalogue is stale when
    /// the catalogue has changed.
    pub catalogue: u64,
}

/// What [`CacheStore::user`] finds.
#[derive(Clone, Debug, Default)]
pub struct UserView {
    /// The entry, if it is there.
    pub entry: Option<Arc<UserEntry>>,
    /// Hand this to [`CacheStore::put_user`].
    pub mark: Mark,
}

/// Keeps finished lists and small values. May forget anything at any time.
#[async_trait]
pub trait CacheStore: Send + Sync + 'static {
    /// The user's entry and mark, in one round trip.
    async fn user(&self, id: &UserId) -> Result<UserView, StorageError>;

    /// The same if the store can answer without waiting; `None` says: ask [`CacheStore::user`].
    fn user_now(&self, _id: &UserId) -> Option<UserView> {
        None
    }

    /// Stores an entry unless the user changed since `mark` was read; says whether it was stored.
    async fn put_user(&self, id: &UserId, entry: UserEntry, mark: Mark) -> Result<bool, StorageError>;

    /// Drops the entries of users whose data changed and moves their marks on. After an error this process finds none of
    /// them any more, and the cache goes on trying.
    async fn invalidate_users(&self, ids: &[UserId]) -> Result<(), StorageError>;

    /// Drops every entry, for example after a purge, and moves every mark on; an error is as above. It may go through
    /// all that the server holds.
    async fn clear(&self) -> Result<(), StorageError>;

    /// Whether the store can be reached.
    async fn ping(&self) -> Result<(), StorageError>;
}

/// How to open a cache.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// Bytes it may take in this process, about. On a server: option `max_bytes` of its URL.
    pub max_bytes: usize,
    /// Begins every key, or the name of every table, on a shared server.
    pub prefix: String,
    /// A list vanishes from a shared server this long after it was put.
    pub expire: Duration,
}

/// Opens the cache that `url` names.
///
/// | URL | what |
/// |---|---|
/// | `memory://` | in this process |
/// | `sqlite://...` | the same: what can be computed again is not worth a disk write |
/// | `redis://user:password@host:port/db` | one Redis (from 6) or Valkey |
/// | `redis+cluster://user:password@host:port?addr=host:port` | a cluster; any of its servers, more as `addr` |
/// | `redis+sentinel://user:password@host:port/db?sentinelServiceName=name&addr=host:port` | the primary that sentinels name; `sentinelUsername` and `sentinelPassword` are for them |
/// | `rediss://`, `rediss+cluster://`, `rediss+sentinel://` | the same with TLS |
/// | `postgres://user:password@host:port/database` | a table of a PostgreSQL database, see [`PostgresSettings`](crate::data::PostgresSettings) |
///
/// Options of all servers: `max_bytes` (what the lists may take, about: `1GiB` unless said), `read_timeout` (`250ms`),
/// `write_timeout` (`1s`), `pool_size` (connections: 4, of PostgreSQL 16); of Redis `dial_timeout` (`2s`).
///
/// # Errors
///
/// [`StorageError::UnknownScheme`] if this build has no such cache, `Rejected` if the URL cannot be used. A server that
/// is away is no error: lists are computed until it is there.
pub async fn open(url: &str, settings: &CacheSettings) -> Result<Arc<dyn CacheStore>, StorageError> {
    let address = Address::parse(url);
    let (store, backend, label): (Arc<dyn CacheStore>, _, _) = match address.scheme {
        "memory" | "sqlite" => (Arc::new(MemoryCache::new(settings.max_bytes)), "memory", "cache/memory"),
        "redis" | "rediss" | "redis+cluster" | "rediss+cluster" | "redis+sentinel" | "rediss+sentinel" => {
            (open_redis(url, settings).await?, "redis", "cache/redis")
        }
        "postgres" | "postgresql" => (open_postgres(url, settings).await?, "postgres", "cache/postgres"),
        other => return Err(unknown_scheme(other)),
    };
    let around = (Metrics { store: label }, Deadline { backend, deadlines: Deadlines::default() });
    Ok(Arc::new(Layered::new(store, around)))
}

fn unknown_scheme(scheme: &str) -> StorageError {
    StorageError::UnknownScheme { scheme: scheme.to_owned(), available: AVAILABLE }
}

/// The URL forms of this build.
const AVAILABLE: &str = match (cfg!(feature = "redis"), cfg!(feature = "postgres")) {
    (true, true) => {
        "redis://host:port (also rediss, redis+cluster, redis+sentinel), postgres://user:password@host:port/database \
         and memory:// (sqlite:// means the same)"
    }
    (true, false) => {
        "redis://host:port (also rediss, redis+cluster, redis+sentinel) and memory:// (sqlite:// means the same; \
         it was built without postgres)"
    }
    (false, true) => {
        "postgres://user:password@host:port/database and memory:// (sqlite:// means the same; \
         it was built without redis)"
    }
    (false, false) => "memory:// (sqlite:// means the same; it was built without redis and postgres)",
};

#[cfg(feature = "redis")]
async fn open_redis(url: &str, settings: &CacheSettings) -> Result<Arc<dyn CacheStore>, StorageError> {
    Ok(Arc::new(remembering::Remembering::new(RedisCache::open(url, settings).await?)))
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "takes the place of one that waits")]
async fn open_redis(_url: &str, _settings: &CacheSettings) -> Result<Arc<dyn CacheStore>, StorageError> {
    Err(unknown_scheme("redis"))
}

#[cfg(feature = "postgres")]
async fn open_postgres(url: &str, settings: &CacheSettings) -> Result<Arc<dyn CacheStore>, StorageError> {
    Ok(Arc::new(remembering::Remembering::new(PostgresCache::open(url, settings).await?)))
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "takes the place of one that waits")]
async fn open_postgres(_url: &str, _settings: &CacheSettings) -> Result<Arc<dyn CacheStore>, StorageError> {
    Err(unknown_scheme("postgres"))
}
