//! The cache of finished lists: one server with a copy that follows it, which can be silent, flushed or failed over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;
use ulex_domain::UserId;
use ulex_storage::StorageError;
use ulex_storage::cache::{CacheStore, Mark, MemoryCache, UserEntry, UserView};

use crate::control::ProcessControl;

/// Bytes of each copy.
const CACHE_BYTES: usize = 1 << 20;

struct State {
    primary: Arc<MemoryCache>,
    silent_until: Option<Instant>,
    /// Number of times that another server took the place of the first: marks of an earlier reign are void.
    reign: u64,
}

/// The servers.
pub struct SimCacheServer {
    state: Mutex<State>,
}

impl SimCacheServer {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let primary = Arc::new(MemoryCache::new(CACHE_BYTES));
        Arc::new(Self { state: Mutex::new(State { primary, silent_until: None, reign: 0 }) })
    }

    /// Does not answer for so long.
    pub fn fall_silent(&self, long: Duration) {
        self.state.lock().silent_until = Some(Instant::now() + long);
    }

    /// Loses every list and every mark.
    pub fn flush(&self) {
        let mut state = self.state.lock();
        state.primary = Arc::new(MemoryCache::new(CACHE_BYTES));
        state.reign += 1;
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.state.lock().silent_until = None;
    }
}

/// The cache as one process reaches it.
pub struct SimCache {
    server: Arc<SimCacheServer>,
    control: Arc<ProcessControl>,
}

impl SimCache {
    /// A connection of the process that `control` belongs to.
    #[must_use]
    pub const fn new(server: Arc<SimCacheServer>, control: Arc<ProcessControl>) -> Self {
        Self { server, control }
    }

    async fn reach(&self) -> Result<(Arc<MemoryCache>, u64), StorageError> {
        self.control.way_out().await;
        let state = self.server.state.lock();
        if state.silent_until.is_some_and(|until| Instant::now() < until) {
            return Err(StorageError::Unavailable {
                backend: "simulated",
                action: "reach the cache",
                source: "no answer".into(),
            });
        }
        Ok((Arc::clone(&state.primary), state.reign))
    }
}

/// Bits of a mark that count within a reign.
const REIGN_SHIFT: u32 = 48;

#[async_trait]
impl CacheStore for SimCache {
    async fn user(&self, id: &UserId) -> Result<UserView, StorageError> {
        let (cache, reign) = self.reach().await?;
        let view = cache.user(id).await?;
        Ok(UserView { mark: Mark(view.mark.0 | reign << REIGN_SHIFT), ..view })
    }

    async fn put_user(&self, id: &UserId, entry: UserEntry, mark: Mark) -> Result<bool, StorageError> {
        let (cache, reign) = self.reach().await?;
        if mark.0 >> REIGN_SHIFT != reign {
            return Ok(false);
        }
        cache.put_user(id, entry, Mark(mark.0 & ((1 << REIGN_SHIFT) - 1))).await
    }

    async fn invalidate_users(&self, ids: &[UserId]) -> Result<(), StorageError> {
        self.reach().await?.0.invalidate_users(ids).await
    }

    async fn clear(&self) -> Result<(), StorageError> {
        self.reach().await?.0.clear().await
    }

    async fn ping(&self) -> Result<(), StorageError> {
        self.reach().await.map(drop)
    }
}
