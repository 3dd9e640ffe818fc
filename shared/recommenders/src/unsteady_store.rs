//! A data store for tests whose reads of feedback can be made to fail or to wait.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use smol_str::SmolStr;
use tokio::sync::Semaphore;
use ulex_domain::{Feedback, FeedbackKey, Item, ItemId, ItemState, Timestamp, User, UserId};
use ulex_storage::StorageError;
use ulex_storage::data::{
    ArrivedItem, Counts, DataStore, FeedbackRow, LogPosition, MemoryStore, Outcome, Submission,
};

/// See the module documentation.
pub struct UnsteadyStore {
    pub inner: MemoryStore,
    /// Reads of feedback fail.
    pub fails: AtomicBool,
    /// Reads of one user's feedback wait, once they have read, for a permit of `go`.
    pub waits: AtomicBool,
    /// One permit for each read that waits or has waited.
    pub arrived: Semaphore,
    /// One permit lets one read end.
    pub go: Semaphore,
}

impl Default for UnsteadyStore {
    fn default() -> Self {
        Self {
            inner: MemoryStore::new(),
            fails: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            arrived: Semaphore::new(0),
            go: Semaphore::new(0),
        }
    }
}

impl UnsteadyStore {
    fn steady(&self) -> Result<(), StorageError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StorageError::Unavailable { backend: "test", action: "read", source: "away".into() });
        }
        Ok(())
    }
}

type Fallible<T> = Result<T, StorageError>;

#[async_trait]
impl DataStore for UnsteadyStore {
    async fn apply(&self, submissions: Vec<Submission>) -> Fallible<Vec<Outcome>> {
        self.inner.apply(submissions).await
    }

    async fn log_position(&self, log: &str) -> Fallible<Option<LogPosition>> {
        self.inner.log_position(log).await
    }

    async fn logs(&self) -> Fallible<Vec<LogPosition>> {
        self.inner.logs().await
    }

    async fn user(&self, id: &UserId) -> Fallible<Option<User>> {
        self.inner.user(id).await
    }

    async fn users(&self, ids: &[UserId]) -> Fallible<Vec<User>> {
        self.inner.users(ids).await
    }

    async fn list_users(&self, from: Option<&UserId>, limit: usize) -> Fallible<Vec<User>> {
        self.inner.list_users(from, limit).await
    }

    async fn item(&self, id: &ItemId) -> Fallible<Option<Item>> {
        self.inner.item(id).await
    }

    async fn items(&self, ids: &[ItemId]) -> Fallible<Vec<Item>> {
        self.inner.items(ids).await
    }

    async fn list_items(&self, from: Option<&ItemId>, limit: usize) -> Fallible<Vec<Item>> {
        self.inner.list_items(from, limit).await
    }

    async fn items_by_arrival(&self, from: u64, limit: usize) -> Fallible<Vec<ArrivedItem>> {
        self.inner.items_by_arrival(from, limit).await
    }

    async fn item_states(&self, ids: &[ItemId]) -> Fallible<Vec<ItemState>> {
        self.inner.item_states(ids).await
    }

    async fn search_items(&self, query: &str, limit: usize) -> Fallible<Vec<(Item, f64)>> {
        self.inner.search_items(query, limit).await
    }

    async fn set_search_columns(&self, columns: &[String]) -> Fallible<()> {
        self.inner.set_search_columns(columns).await
    }

    async fn user_feedback(&self, id: &UserId, until: Option<Timestamp>) -> Fallible<Vec<Feedback>> {
        self.steady()?;
        let rows = self.inner.user_feedback(id, until).await;
        if self.waits.load(Ordering::Relaxed) {
            self.arrived.add_permits(1);
            self.go.acquire().await.expect("nobody closes it").forget();
        }
        rows
    }

    async fn users_feedback(&self, ids: &[UserId], until: Option<Timestamp>) -> Fallible<Vec<Feedback>> {
        self.steady()?;
        self.inner.users_feedback(ids, until).await
    }

    async fn item_feedback(
        &self,
        id: &ItemId,
        until: Option<Timestamp>,
        limit: Option<usize>,
    ) -> Fallible<Vec<Feedback>> {
        self.steady()?;
        self.inner.item_feedback(id, until, limit).await
    }

    async fn pair_feedback(&self, user: &UserId, item: &ItemId) -> Fallible<Vec<Feedback>> {
        self.inner.pair_feedback(user, item).await
    }

    async fn list_feedback(
        &self,
        from: Option<&FeedbackKey>,
        limit: usize,
        feedback_type: Option<&SmolStr>,
        until: Option<Timestamp>,
    ) -> Fallible<Vec<Feedback>> {
        self.inner.list_feedback(from, limit, feedback_type, until).await
    }

    async fn scan_feedback(
        &self,
        batch: usize,
        visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
    ) -> Fallible<()> {
        self.inner.scan_feedback(batch, visit).await
    }

    async fn counts(&self) -> Fallible<Counts> {
        self.inner.counts().await
    }

    async fn ping(&self) -> Fallible<()> {
        self.inner.ping().await
    }

    async fn purge(&self) -> Fallible<()> {
        self.inner.purge().await
    }
}
