//! The cache of one process: sharded, bounded in bytes, with S3-FIFO eviction.
//!
//! Entries lie in shards chosen by the hash of the user, each behind its own lock that is held for tens of
//! nanoseconds. What is used once leaves soon; what is used again stays (Yang, Zhang, Qiu, Yue, Vinayak: "FIFO
//! queues are all you need for cache eviction", SOSP 2023).
//!
//! Marks are a fixed array of counters chosen by the same hash. Users who share one refuse each other's
//! lists now and then, needlessly but harmlessly, and invalidating a user costs no memory.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use ulex_domain::UserId;

use self::shard::Shard;
use super::{CacheStore, Mark, UserEntry, UserView};
use crate::StorageError;

mod shard;

/// Counters for marks; a power of two.
const MARKS: usize = 65_536;
/// Shards of a large cache; a power of two.
const MAX_SHARDS: usize = 64;
/// A shard that is smaller would hold too few lists to choose among.
const MIN_SHARD_BYTES: usize = 256 * 1024;

/// A [`CacheStore`] in this process.
#[derive(Debug)]
pub struct MemoryCache {
    shards: Box<[Mutex<Shard>]>,
    marks: Box<[AtomicU64]>,
    /// Secret, because the ids come from outside.
    hasher: RandomState,
}

impl MemoryCache {
    /// A cache of about `max_bytes`, counting entries, ids and bookkeeping.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        let wanted = (max_bytes / MIN_SHARD_BYTES).clamp(1, MAX_SHARDS);
        // The largest power of two that is not more.
        let shards = 1 << wanted.ilog2();
        Self {
            shards: (0..shards).map(|_shard| Mutex::new(Shard::new(max_bytes / shards))).collect(),
            marks: (0..MARKS).map(|_mark| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// About how many bytes are in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes()).sum()
    }

    /// How many entries there are.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries()).sum()
    }

    fn hash(&self, id: &UserId) -> u64 {
        self.hasher.hash_one(id.as_str())
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 48) as usize & (self.shards.len() - 1)]
    }

    fn mark(&self, hash: u64) -> &AtomicU64 {
        &self.marks[hash as usize & (MARKS - 1)]
    }

    fn look_up(&self, id: &UserId) -> UserView {
        let hash = self.hash(id);
        let mut shard = self.shard(hash).lock();
        let mark = Mark(self.mark(hash).load(Ordering::Acquire));
        UserView { entry: shard.get(hash, id), mark }
    }
}

#[async_trait]
impl CacheStore for MemoryCache {
    async fn user(&self, id: &UserId) -> Result<UserView, StorageError> {
        Ok(self.look_up(id))
    }

    fn user_now(&self, id: &UserId) -> Option<UserView> {
        Some(self.look_up(id))
    }

    async fn put_user(&self, id: &UserId, entry: UserEntry, mark: Mark) -> Result<bool, StorageError> {
        let hash = self.hash(id);
        let entry = Arc::new(entry);
        let mut shard = self.shard(hash).lock();
        // Under the lock: an invalidation has either moved the mark on, or waits for the lock and will remove
        // what is stored here.
        if self.mark(hash).load(Ordering::Acquire) != mark.0 {
            return Ok(false);
        }
        Ok(shard.put(hash, id, entry))
    }

    async fn invalidate_users(&self, ids: &[UserId]) -> Result<(), StorageError> {
        for id in ids {
            let hash = self.hash(id);
            self.mark(hash).fetch_add(1, Ordering::AcqRel);
            self.shard(hash).lock().remove(hash, id);
        }
        Ok(())
    }

    async fn clear(&self) -> Result<(), StorageError> {
        for mark in &self.marks {
            mark.fetch_add(1, Ordering::AcqRel);
        }
        for shard in &self.shards {
            shard.lock().clear();
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
