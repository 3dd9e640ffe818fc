//! Redis (from 6) or Valkey: the cache of a cluster. One server, several behind sentinels, or a cluster; no modules.
//!
//! Everything about one user is one hash, `<prefix>u:<user>`: field `m` is the mark, field `e` the packed entry. So what
//! a request needs is one `HMGET`, and every script touches one key.
//!
//! # Why a list from before a change is never kept
//! A mark is a random number that the first reader of an absent user leaves behind. A list is stored only if the mark that
//! its maker read is still there. A change removes the whole hash, so the next reader leaves another mark; a server that
//! was flushed, failed over without the newest writes, or evicted the key, has no mark or another one. In each of these cases
//! the list is refused. What a change has to do is a removal, so doing it twice or late does no harm.
//!
//! # A server that is away
//! Reads fail at once and lists are computed instead. Removals that failed are remembered, as many as
//! [`REMEMBERED`], beyond that as "everything", and done when the server is back, by this process; meanwhile it does not believe
//! what the server has about these users.
//!
//! Every key expires; how much memory the server gives, and what it evicts, is its own setting (`maxmemory`).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::clients::Pool;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface};
use fred::types::config::{Config, ReconnectPolicy};
use fred::types::scripts::Script;
use fred::types::{Builder, Value};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use ulex_domain::UserId;

use super::{CacheSettings, CacheStore, Mark, UserEntry, UserView};
use crate::StorageError;
use crate::address::Address;

mod packed;

const BACKEND: &str = "redis";
/// Connections of one process; each carries many requests at once.
const CONNECTIONS: usize = 4;
/// How long an answer may take.
const WITHIN: Duration = Duration::from_millis(500);
/// How long opening waits for the server.
const OPEN_WITHIN: Duration = Duration::from_secs(3);
/// How long a mark without a list lives.
const MARK_LIVES: Duration = Duration::from_secs(120);
/// Users whose removal is remembered while the server is away.
const REMEMBERED: usize = 100_000;
/// Keys in one command or pipeline.
const CHUNK: usize = 500;
/// Pause between two tries of what is remembered.
const RETRY: Duration = Duration::from_millis(250);

/// Leaves a mark unless there is one.
const LEAVE_MARK: &str = r"
local mark = redis.call('HGET', KEYS[1], 'm')
if mark then return mark end
redis.call('HSET', KEYS[1], 'm', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return ARGV[1]";

/// Stores an entry if the mark is still there.
const PUT: &str = r"
if redis.call('HGET', KEYS[1], 'm') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'e', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1";

/// What could not be removed yet.
#[derive(Debug, Default)]
struct Owed {
    users: HashSet<UserId>,
    everything: bool,
}

impl Owed {
    fn is_empty(&self) -> bool {
        self.users.is_empty() && !self.everything
    }

    fn add<'a>(&mut self, users: impl Iterator<Item = &'a UserId>) {
        if self.everything {
            return;
        }
        self.users.extend(users.cloned());
        if self.users.len() > REMEMBERED {
            self.users.clear();
            self.everything = true;
        }
    }
}

struct Inner {
    pool: Pool,
    prefix: String,
    lives_ms: i64,
    leave_mark: Script,
    put: Script,
    owed: Mutex<Owed>,
    owes: AtomicBool,
    woken: Notify,
}

/// A [`CacheStore`] on a Redis server. Dropping it ends its connections.
pub struct RedisCache {
    inner: Arc<Inner>,
    payer: tokio::task::JoinHandle<()>,
}

impl RedisCache {
    /// Connects on the runtime that calls this. A server that is away is waited for a moment and then in the background.
    ///
    /// # Errors
    ///
    /// `Rejected` if the URL cannot be used.
    pub async fn open(url: &str, settings: &CacheSettings) -> Result<Self, StorageError> {
        let rejected = |source: Error| StorageError::Rejected {
            backend: BACKEND,
            action: "open the cache",
            source: source.into(),
        };
        let mut config = Config::from_url(&fred_url(url)).map_err(rejected)?;
        config.fail_fast = true;
        let pool = Builder::from_config(config)
            .with_performance_config(|config| config.default_command_timeout = WITHIN)
            .with_connection_config(|config| {
                config.connection_timeout = Duration::from_secs(2);
                config.internal_command_timeout = Duration::from_secs(2);
                config.max_command_attempts = 1;
                config.max_command_buffer_len = 16_384;
                config.unresponsive.max_timeout = Some(Duration::from_secs(5));
            })
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 2_000, 2))
            .build_pool(CONNECTIONS)
            .map_err(rejected)?;
        // The task that drives the connections ends with the last handle.
        drop(pool.connect());
        if timeout(OPEN_WITHIN, pool.wait_for_connect()).await.is_err() {
            tracing::warn!("the cache cannot be reached yet; lists are computed when they are asked for");
        }
        let inner = Arc::new(Inner {
            pool,
            prefix: format!("{}u:", settings.prefix),
            lives_ms: i64::try_from(settings.expire.as_millis()).unwrap_or(i64::MAX),
            leave_mark: Script::from_lua(LEAVE_MARK),
            put: Script::from_lua(PUT),
            owed: Mutex::default(),
            owes: AtomicBool::new(false),
            woken: Notify::new(),
        });
        let payer = tokio::spawn(pay(Arc::clone(&inner)));
        Ok(Self { inner, payer })
    }
}

impl Drop for RedisCache {
    fn drop(&mut self) {
        self.payer.abort();
        let pool = self.inner.pool.clone();
        if let Ok(handle) = tokio::runtime::Handle::try_current() {
            handle.spawn(async move { pool.quit().await });
        }
    }
}

/// Gorse's forms of a cluster's URL in the words of the client library.
fn fred_url(url: &str) -> String {
    let Address { scheme, .. } = Address::parse(url);
    let rest = url.get(scheme.len()..).unwrap_or_default();
    let scheme = match scheme {
        "redis+cluster" => "redis-cluster",
        "rediss+cluster" => "rediss-cluster",
        "redis+sentinel" => "redis-sentinel",
        "rediss+sentinel" => "rediss-sentinel",
        other => other,
    };
    format!("{scheme}{rest}")
}

fn failed(action: &'static str) -> impl Fn(Error) -> StorageError {
    move |source| {
        let is_ours = matches!(
            source.kind(),
            ErrorKind::InvalidArgument | ErrorKind::InvalidCommand | ErrorKind::Config | ErrorKind::Url
        );
        let source = source.into();
        if is_ours {
            StorageError::Rejected { backend: BACKEND, action, source }
        } else {
            StorageError::Unavailable { backend: BACKEND, action, source }
        }
    }
}

impl Inner {
    fn key(&self, id: &UserId) -> String {
        format!("{}{}", self.prefix, id.as_str())
    }

    /// Fails at once what would only wait for its deadline.
    fn check(&self, action: &'static str) -> Result<(), StorageError> {
        if self.pool.clients().iter().any(ClientLike::is_connected) {
            return Ok(());
        }
        Err(StorageError::Unavailable { backend: BACKEND, action, source: "it is not connected".into() })
    }

    /// Whether what the server has about this user is out of date for certain.
    fn is_owed(&self, id: &UserId) -> bool {
        self.owes.load(Ordering::Acquire) && {
            let owed = self.owed.lock();
            owed.everything || owed.users.contains(id)
        }
    }

    async fn remove(&self, ids: impl Iterator<Item = &UserId> + Send) -> Result<(), StorageError> {
        self.check("drop lists")?;
        let keys: Vec<String> = ids.map(|id| self.key(id)).collect();
        for chunk in keys.chunks(CHUNK) {
            let pipeline = self.pool.next().pipeline();
            for key in chunk {
                // Queued, not sent: one key at a time, because those of a cluster lie on several servers.
                let _queued: () = pipeline.unlink(key.as_str()).await.map_err(failed("drop lists"))?;
            }
            let _removed: Vec<i64> = pipeline.all().await.map_err(failed("drop lists"))?;
        }
        Ok(())
    }

    async fn remove_everything(&self) -> Result<(), StorageError> {
        self.check("drop every list")?;
        let pattern = format!("{}*", escaped(&self.prefix));
        let client = self.pool.next().clone();
        let mut keys = if client.is_clustered() {
            client.scan_cluster_buffered(pattern, Some(1_000), None).boxed()
        } else {
            client.scan_buffered(pattern, Some(1_000), None).boxed()
        };
        while let Some(key) = keys.next().await {
            let key = key.map_err(failed("drop every list"))?;
            let _removed: i64 = client.unlink(key).await.map_err(failed("drop every list"))?;
        }
        Ok(())
    }

    fn owe(&self, note: impl FnOnce(&mut Owed)) {
        note(&mut self.owed.lock());
        self.owes.store(true, Ordering::Release);
        self.woken.notify_one();
    }
}

/// A prefix as part of a pattern that matches it and nothing else.
fn escaped(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len());
    for letter in prefix.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

/// Does what could not be done while the server was away.
async fn pay(inner: Arc<Inner>) {
    loop {
        inner.woken.notified().await;
        loop {
            let (users, everything) = {
                let owed = inner.owed.lock();
                (owed.users.clone(), owed.everything)
            };
            let paid =
                if everything { inner.remove_everything().await } else { inner.remove(users.iter()).await };
            if paid.is_ok() {
                let mut owed = inner.owed.lock();
                if everything {
                    owed.everything = false;
                    owed.users.clear();
                } else {
                    owed.users.retain(|user| !users.contains(user));
                }
                if owed.is_empty() {
                    inner.owes.store(false, Ordering::Release);
                    tracing::info!("lists that were changed while the cache was away are dropped");
                    break;
                }
            }
            sleep(RETRY).await;
        }
    }
}

#[async_trait]
impl CacheStore for RedisCache {
    async fn user(&self, id: &UserId) -> Result<UserView, StorageError> {
        let inner = &self.inner;
        inner.check("read a list")?;
        let key = inner.key(id);
        let read: (Option<String>, Option<Bytes>) =
            inner.pool.hmget(key.as_str(), vec!["m", "e"]).await.map_err(failed("read a list"))?;
        let (mark, entry) = match read {
            (Some(mark), entry) => (mark, entry),
            (None, _) => {
                let new = uuid::Uuid::new_v4().as_u64_pair().0.max(1).to_string();
                let lives = i64::try_from(MARK_LIVES.as_millis()).unwrap_or(i64::MAX).to_string();
                let client = inner.pool.next();
                let left: String = inner
                    .leave_mark
                    .evalsha_with_reload(client, key, vec![new, lives])
                    .await
                    .map_err(failed("leave a mark"))?;
                (left, None)
            }
        };
        let entry = if inner.is_owed(id) { None } else { entry.and_then(|bytes| packed::unpack(&bytes)) };
        Ok(UserView { entry, mark: Mark(mark.parse().unwrap_or_default()) })
    }

    async fn put_user(&self, id: &UserId, entry: UserEntry, mark: Mark) -> Result<bool, StorageError> {
        let inner = &self.inner;
        if mark == Mark(0) || inner.is_owed(id) {
            return Ok(false);
        }
        inner.check("keep a list")?;
        let values: Vec<Value> = vec![
            mark.0.to_string().into(),
            Bytes::from(packed::pack(&entry)).into(),
            inner.lives_ms.to_string().into(),
        ];
        let stored: i64 = inner
            .put
            .evalsha_with_reload(inner.pool.next(), inner.key(id), values)
            .await
            .map_err(failed("keep a list"))?;
        Ok(stored == 1)
    }

    async fn invalidate_users(&self, ids: &[UserId]) -> Result<(), StorageError> {
        let outcome = self.inner.remove(ids.iter()).await;
        if outcome.is_err() {
            self.inner.owe(|owed| owed.add(ids.iter()));
        }
        outcome
    }

    async fn clear(&self) -> Result<(), StorageError> {
        let outcome = self.inner.remove_everything().await;
        if outcome.is_err() {
            self.inner.owe(|owed| owed.everything = true);
        }
        outcome
    }

    async fn ping(&self) -> Result<(), StorageError> {
        self.inner.check("answer")?;
        let _pong: String = self.inner.pool.next().ping(None).await.map_err(failed("answer"))?;
        Ok(())
    }
}
