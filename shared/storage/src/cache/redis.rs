//! Redis (from 6) or Valkey: the cache of a cluster. One server, several behind sentinels, or a cluster; no modules.
//!
//! Everything about one user is one string: a head of two numbers, the server's *identity* and the user's *mark*, and after
//! it the packed entry. So a read is one `GET`. Layout: `redis/keys.rs`.
//!
//! # Why a list from before a change is never kept or shown
//! A mark is a random number that the first reader of an absent user leaves behind. A list is stored only if the head
//! that its maker read is still there, which a script looks at and replaces in one step. A change removes the whole string
//! after it was committed to the data store, so:
//!
//! - A list whose maker read the mark before the removal is refused: the head is gone, or another reader has left
//!   another one. A maker who reads the mark after the removal reads the data after it, too, and has seen the change.
//! - The server was *flushed* or *evicted* the string: no head or another one, as above.
//! - The server *restarted* from an old snapshot, or *failed over* to a copy that lacks the newest writes: strings and
//!   heads from before a removal are there again. But the identity in them is that of the former run or reign, and
//!   what has another identity than the server that answers is not there for any purpose. How a process can be sure who
//!   answered: `redis/link.rs`.
//! - A removal reached a server *deposed* already, while others had been told of its successor: on meeting another
//!   identity, a process does its removals of the last [`Recent::SPAN`] once more before it uses the new server.
//! - The server is *away*: see `remembering.rs`.
//!
//! # Bounds
//! Every key expires. Users are spread over 256 buckets, and each keeps its share of the byte budget of the prefix: the
//! bucket counts its lists, whoever puts one tells how many of the usual size may be there, and those put the longest ago make
//! room. An active user's list is put often. Marks without a list live two minutes and are not counted.
//!
//! Calls have deadlines; a server that is known to be away costs no time. Requests in flight are bounded.
//!
//! `clear` walks over all keys of the server (`SCAN`); it is for purges.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike as _, EventInterface as _, KeysInterface as _, SortedSetsInterface as _};
use fred::types::config::{Config, ReconnectPolicy};
use fred::types::{Builder, Key, Value};
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use ulex_domain::{Timestamp, UserId};

use self::address::Options;
use self::budget::Budget;
use self::keys::{BUCKETS, Head, Keys};
use self::link::Link;
use self::recent::Recent;
use self::scripts::{LEAVE_MARK, PUT, Script};
use super::{CacheSettings, CacheStore, Mark, UserEntry, UserView, packed};
use crate::StorageError;

mod address;
mod budget;
mod keys;
mod link;
mod recent;
mod scripts;

const BACKEND: &str = "redis";
/// How long opening waits for the server.
const OPEN_WITHIN: Duration = Duration::from_secs(3);
/// How long a mark without a list lives: longer than it takes to make one.
const MARK_LIVES: Duration = Duration::from_secs(120);
/// Reads and puts of one process at a time.
const IN_FLIGHT: usize = 8_192;
/// Users in one pipeline.
const CHUNK: usize = 500;
/// How often servers are asked who they are, without a reason.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// The same while it is not known.
const ASK_AGAIN: Duration = Duration::from_millis(100);

struct Inner {
    links: Vec<Link>,
    next: AtomicUsize,
    keys: Keys,
    /// How long a list lives at most.
    lives: Duration,
    leave_mark: Script,
    put: Script,
    budget: Budget,
    recent: Recent,
    in_flight: Semaphore,
}

/// A [`CacheStore`] on a Redis server. Dropping it ends its connections.
pub struct RedisCache {
    inner: Arc<Inner>,
    tasks: Vec<JoinHandle<()>>,
}

impl RedisCache {
    /// Connects on the runtime that calls this. A server that is away is waited for a moment and then in the background.
    ///
    /// # Errors
    ///
    /// `Rejected` if the URL cannot be used.
    pub async fn open(url: &str, settings: &CacheSettings) -> Result<Self, StorageError> {
        let (config, options) = address::read(url).map_err(refused)?;
        let keys = Keys::new(&settings.prefix).ok_or_else(|| refused("the prefix may not hold {}".into()))?;
        let links: Result<Vec<Link>, Error> =
            (0..options.pool_size).map(|_link| connection(config.clone(), &options)).collect();
        let inner = Arc::new(Inner {
            links: links.map_err(|error| refused(error.details().to_owned()))?,
            next: AtomicUsize::new(0),
            keys,
            lives: settings.expire.max(Duration::from_secs(1)),
            leave_mark: Script::new(LEAVE_MARK),
            put: Script::new(PUT),
            budget: Budget::new(options.max_bytes),
            recent: Recent::default(),
            in_flight: Semaphore::new(IN_FLIGHT),
        });
        let tasks = (0..inner.links.len()).map(|link| tokio::spawn(watch(Arc::clone(&inner), link)));
        let cache = Self { tasks: tasks.collect(), inner };
        if timeout(OPEN_WITHIN, cache.inner.is_known()).await.is_err() {
            tracing::warn!("the cache cannot be reached yet; lists are computed when they are asked for");
        }
        Ok(cache)
    }
}

/// A connection that is made, and made again whenever it is lost, by a task of its own.
fn connection(mut config: Config, options: &Options) -> Result<Link, Error> {
    // That the server is away at first is no reason to give up.
    config.fail_fast = false;
    let mut builder = Builder::from_config(config);
    builder
        .with_performance_config(|config| config.default_command_timeout = options.write_timeout)
        .with_connection_config(|config| {
            config.connection_timeout = options.dial_timeout;
            config.internal_command_timeout = options.dial_timeout;
            config.max_command_attempts = 1;
            config.max_command_buffer_len = IN_FLIGHT;
            config.unresponsive.max_timeout = Some(Duration::from_secs(3));
            config.unresponsive.interval = Duration::from_millis(500);
        })
        .set_policy(ReconnectPolicy::new_exponential(0, 50, 2_000, 2));
    let client = builder.build()?;
    let link = Link::new(client, options, builder.get_connection_config());
    // The task ends with the last handle, or when it is told to.
    drop(link.client().connect());
    Ok(link)
}

impl Drop for RedisCache {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for link in &self.inner.links {
            let client = link.client().clone();
            runtime.spawn(async move { client.quit().await });
        }
    }
}

fn refused(reason: String) -> StorageError {
    StorageError::Rejected { backend: BACKEND, action: "open the cache", source: reason.into() }
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

fn unavailable(action: &'static str, why: &'static str) -> StorageError {
    StorageError::Unavailable { backend: BACKEND, action, source: why.into() }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A call about one user: who is asked, and who that is.
struct Asked<'inner> {
    link: &'inner Link,
    bucket: usize,
    identity: u64,
    action: &'static str,
}

impl Asked<'_> {
    /// Fails if the answer may be of another server.
    fn check(&self) -> Result<(), StorageError> {
        if self.link.is_still(self.bucket, self.identity) {
            return Ok(());
        }
        Err(unavailable(self.action, "it has just been connected anew"))
    }
}

impl Inner {
    /// Fails at once what would only wait for its deadline.
    fn ask(&self, bucket: usize, action: &'static str) -> Result<Asked<'_>, StorageError> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..self.links.len())
            .find_map(|step| {
                let link = &self.links[first.wrapping_add(step) % self.links.len()];
                let identity = link.identity(bucket)?;
                Some(Asked { link, bucket, identity, action })
            })
            .ok_or_else(|| unavailable(action, "it is not connected"))
    }

    async fn is_known(&self) {
        while !(0..BUCKETS).all(|bucket| self.ask(bucket, "answer").is_ok()) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The head and the entry that are there. What is of another reign, or no value of ours, is not.
    async fn read(&self, asked: &Asked<'_>, id: &UserId) -> Result<Option<UserView>, StorageError> {
        let value: Result<Option<Bytes>, Error> =
            asked.link.reading.get(self.keys.user(asked.bucket, id)).await;
        let value = match asked.link.heard(value) {
            Err(error) if error.details().starts_with("WRONGTYPE") => None,
            value => value.map_err(failed(asked.action))?,
        };
        asked.check()?;
        let read = value.as_deref().and_then(Head::read).filter(|(head, _)| head.identity == asked.identity);
        Ok(read.map(|(head, entry)| UserView { entry: packed::unpack(entry), mark: Mark(head.mark) }))
    }

    async fn leave_mark(&self, asked: &Asked<'_>, id: &UserId) -> Result<Mark, StorageError> {
        let new = uuid::Uuid::new_v4().as_u64_pair().0;
        let arguments: Vec<Value> = vec![
            Bytes::copy_from_slice(&asked.identity.to_le_bytes()).into(),
            Bytes::copy_from_slice(&new.to_le_bytes()).into(),
            milliseconds(MARK_LIVES).into(),
        ];
        let key = self.keys.user(asked.bucket, id);
        let left = self.leave_mark.run(&asked.link.reading, vec![key], arguments).await;
        let left: Bytes = asked.link.heard(left).map_err(failed("leave a mark"))?;
        asked.check()?;
        let mark = left.first_chunk().ok_or_else(|| unavailable("leave a mark", "it has left none"))?;
        Ok(Mark(u64::from_le_bytes(*mark)))
    }

    /// No longer than the entry is of use.
    fn life(&self, entry: &UserEntry) -> Duration {
        let until = |at: Timestamp| u64::try_from(at.as_nanos() - Timestamp::now().as_nanos()).ok();
        let left = entry.stale_at.and_then(until).map(Duration::from_nanos);
        left.map_or(self.lives, |left| left.clamp(Duration::from_secs(1), self.lives))
    }

    async fn remove(&self, ids: &[UserId]) -> Result<(), StorageError> {
        self.recent.note(ids);
        for chunk in ids.chunks(CHUNK) {
            let first = chunk.first().map_or(0, Keys::bucket);
            let asked = self.ask(first, "drop lists")?;
            self.remove_through(asked.link, chunk).await?;
        }
        Ok(())
    }

    async fn remove_through(&self, link: &Link, ids: &[UserId]) -> Result<(), StorageError> {
        let mut of_bucket: Vec<Vec<&UserId>> = vec![Vec::new(); BUCKETS];
        ids.iter().for_each(|id| of_bucket[Keys::bucket(id)].push(id));
        let begun = link.begin();
        let pipeline = link.client().pipeline().with_options(link.writing.options());
        for (bucket, ids) in of_bucket.iter().enumerate().filter(|(_bucket, ids)| !ids.is_empty()) {
            let members: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
            let keys: Vec<String> = ids.iter().map(|id| self.keys.user(bucket, id)).collect();
            // Queued, not sent. A list that is put between the two is removed, and counted although it is not there.
            let _queued: () =
                pipeline.zrem(self.keys.queue(bucket), members).await.map_err(failed("drop lists"))?;
            let _queued: () = pipeline.unlink(keys).await.map_err(failed("drop lists"))?;
        }
        let _removed: Vec<i64> = link.heard(pipeline.all().await).map_err(failed("drop lists"))?;
        if link.begin() == begun {
            return Ok(());
        }
        Err(unavailable("drop lists", "it has just been connected anew"))
    }

    async fn remove_everything(&self) -> Result<(), StorageError> {
        let link = self.ask(0, "drop every list")?.link;
        self.remove_everything_through(link).await
    }

    async fn remove_everything_through(&self, link: &Link) -> Result<(), StorageError> {
        let client = link.client();
        let pattern = self.keys.pattern();
        let keys = if client.is_clustered() {
            client.scan_cluster_buffered(pattern, Some(1_000), None).boxed()
        } else {
            client.scan_buffered(pattern, Some(1_000), None).boxed()
        };
        let mut chunks = keys.chunks(CHUNK);
        let begun = link.begin();
        while let Some(chunk) = chunks.next().await {
            let pipeline = client.pipeline().with_options(link.writing.options());
            for key in chunk {
                let key: Key = key.map_err(failed("drop every list"))?;
                let _queued: () = pipeline.unlink(key).await.map_err(failed("drop every list"))?;
            }
            let _removed: Vec<i64> = pipeline.all().await.map_err(failed("drop every list"))?;
        }
        if link.begin() == begun {
            return Ok(());
        }
        Err(unavailable("drop every list", "it has just been connected anew"))
    }

    /// Finds out who is at the other end. Says whether that is known now.
    async fn identify(&self, link: &Link) -> bool {
        let begun = link.begin();
        let identities = match link.ask(&self.keys).await {
            Ok(identities) => identities,
            Err(error) if *error.kind() == ErrorKind::Routing => {
                tracing::warn!("connected to a copy of the cache's server; looking for the primary");
                let _ = link.client().force_reconnection().await;
                return false;
            }
            Err(error) => {
                tracing::debug!(%error, "the cache's server does not say who it is");
                if link.is_silent() && *error.kind() == ErrorKind::Timeout {
                    let _ = link.client().force_reconnection().await;
                }
                return false;
            }
        };
        if link.is_news(&identities) {
            tracing::info!("the cache's server was restarted or replaced; its lists are made anew");
            let repeated = match self.recent.all() {
                Some(ids) => self.repeat(link, &ids).await,
                None => self.remove_everything_through(link).await,
            };
            if repeated.is_err() {
                return false;
            }
        }
        link.settle(begun, &identities)
    }

    async fn repeat(&self, link: &Link, ids: &[UserId]) -> Result<(), StorageError> {
        for chunk in ids.chunks(CHUNK) {
            self.remove_through(link, chunk).await?;
        }
        Ok(())
    }
}

/// Keeps the identities of a link up to date.
async fn watch(inner: Arc<Inner>, link: usize) {
    let link = &inner.links[link];
    let mut connected = link.client().reconnect_rx();
    let mut changed = link.client().cluster_change_rx();
    loop {
        let pause = if inner.identify(link).await { ASK_EVERY } else { ASK_AGAIN };
        let until = Instant::now() + pause;
        tokio::select! {
            heard = connected.recv() => if heard == Err(RecvError::Closed) { sleep(pause).await },
            heard = changed.recv() => if heard == Err(RecvError::Closed) { sleep(pause).await },
            () = link.doubt.notified() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

#[async_trait]
impl CacheStore for RedisCache {
    async fn user(&self, id: &UserId) -> Result<UserView, StorageError> {
        let inner = &self.inner;
        let asked = inner.ask(Keys::bucket(id), "read a list")?;
        let busy = |_full| unavailable("read a list", "too many requests are in flight");
        let _permit = inner.in_flight.try_acquire().map_err(busy)?;
        match inner.read(&asked, id).await? {
            Some(view) => Ok(view),
            None => Ok(UserView { entry: None, mark: inner.leave_mark(&asked, id).await? }),
        }
    }

    async fn put_user(&self, id: &UserId, entry: UserEntry, mark: Mark) -> Result<bool, StorageError> {
        let inner = &self.inner;
        let asked = inner.ask(Keys::bucket(id), "keep a list")?;
        let busy = |_full| unavailable("keep a list", "too many requests are in flight");
        let _permit = inner.in_flight.try_acquire().map_err(busy)?;
        let (key, bytes) = (inner.keys.user(asked.bucket, id), packed::pack(&entry));
        let Some(most) = inner.budget.admit(key.len() + id.as_str().len() + Head::BYTES + bytes.len()) else {
            return Ok(false);
        };
        let head = Head { identity: asked.identity, mark: mark.0 };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let arguments: Vec<Value> = vec![
            Bytes::copy_from_slice(&head.bytes()).into(),
            Bytes::from(bytes).into(),
            milliseconds(inner.life(&entry)).into(),
            id.as_str().into(),
            milliseconds(now).into(),
            i64::try_from(most).unwrap_or(i64::MAX).into(),
            inner.keys.base(asked.bucket).into(),
        ];
        let keys = vec![key, inner.keys.queue(asked.bucket)];
        let stored = inner.put.run(&asked.link.writing, keys, arguments).await;
        let stored: i64 = asked.link.heard(stored).map_err(failed("keep a list"))?;
        asked.check()?;
        Ok(stored == 1)
    }

    async fn invalidate_users(&self, ids: &[UserId]) -> Result<(), StorageError> {
        self.inner.remove(ids).await
    }

    async fn clear(&self) -> Result<(), StorageError> {
        self.inner.recent.note_everything();
        self.inner.remove_everything().await
    }

    async fn ping(&self) -> Result<(), StorageError> {
        let asked = self.inner.ask(0, "answer")?;
        let pong = asked.link.reading.ping(None).await;
        let _pong: String = asked.link.heard(pong).map_err(failed("answer"))?;
        Ok(())
    }
}
