//! What can be computed again: a user's finished list and what is needed to serve it.
//!
//! A read must be one round trip, so everything one request needs about a user stands in one [`UserEntry`].

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use ulex_domain::{ItemId, Timestamp, UserId};

pub use memory::MemoryCache;

use crate::StorageError;
use crate::address::Address;
use crate::layers::{Deadline, Deadlines, Layered, Metrics};

mod memory;

/// Counts the changes of one user. A list computed before a change must not overwrite what came after it.
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

    /// Drops the entries of users whose data changed and moves their marks on.
    async fn invalidate_users(&self, ids: &[UserId]) -> Result<(), StorageError>;

    /// Drops every entry, for example after a purge, and moves every mark on.
    async fn clear(&self) -> Result<(), StorageError>;

    /// Whether the store can be reached.
    async fn ping(&self) -> Result<(), StorageError>;
}

/// Opens the cache that `url` names, bounded to about `max_bytes` where this process holds it.
///
/// `memory://` is the cache in this process. `sqlite://` means the same: what can be computed again is not
/// worth a disk write, so a configuration that names a SQLite cache gets the embedded one.
///
/// # Errors
///
/// [`StorageError::UnknownScheme`] for every other scheme.
pub fn open(url: &str, max_bytes: usize) -> Result<Arc<dyn CacheStore>, StorageError> {
    let address = Address::parse(url);
    let (store, backend, label): (Arc<dyn CacheStore>, _, _) = match address.scheme {
        "memory" | "sqlite" => (Arc::new(MemoryCache::new(max_bytes)), "memory", "cache/memory"),
        other => {
            return Err(StorageError::UnknownScheme {
                scheme: other.to_owned(),
                available: "memory:// (sqlite:// means the same)",
            });
        }
    };
    let around = (Metrics { store: label }, Deadline { backend, deadlines: Deadlines::default() });
    Ok(Arc::new(Layered::new(store, around)))
}
