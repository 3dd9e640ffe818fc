//! What is put around a store, whatever its backend: a deadline for every call, figures and a span.
//!
//! A layer is written once and knows nothing of what a store does; the two delegations below know every call and
//! nothing of what a layer does.

use std::sync::Arc;

use async_trait::async_trait;
use smol_str::SmolStr;
use ulex_domain::{Feedback, FeedbackKey, Item, ItemId, ItemState, Timestamp, User, UserId};

pub(crate) use self::deadline::Deadline;
pub use self::deadline::Deadlines;
pub(crate) use self::metrics::Metrics;

use crate::StorageError;
use crate::cache::{CacheStore, Mark, UserEntry, UserView};
use crate::data::{ArrivedItem, Counts, DataStore, FeedbackRow, LogPosition, Outcome, Submission};

mod deadline;
mod metrics;

/// Length of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// It answers a caller that waits.
    Read,
    /// It changes something.
    Write,
    /// It goes through everything there is; its backend watches whether it gets on.
    Open,
}

/// One call of a store.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// `store.` and the name of the method.
    pub span: &'static str,
    /// How long it may take.
    pub length: Length,
    /// Number of rows, ids or entries that go in.
    pub rows: usize,
}

impl Call {
    /// The name of the method.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.span.trim_start_matches("store.")
    }
}

/// Work that is done around every call of a store.
pub trait Layer: Send + Sync + 'static {
    /// Does `work`, and whatever the layer is for.
    fn around<'call, T: Send + 'call>(
        &'call self,
        call: Call,
        work: impl Future<Output = Result<T, StorageError>> + Send + 'call,
    ) -> impl Future<Output = Result<T, StorageError>> + Send + 'call;
}

/// The first around the second.
impl<Outer: Layer, Inner: Layer> Layer for (Outer, Inner) {
    fn around<'call, T: Send + 'call>(
        &'call self,
        call: Call,
        work: impl Future<Output = Result<T, StorageError>> + Send + 'call,
    ) -> impl Future<Output = Result<T, StorageError>> + Send + 'call {
        self.0.around(call, self.1.around(call, work))
    }
}

/// A store with a layer around it.
#[derive(Debug)]
pub struct Layered<Store: ?Sized, Around> {
    store: Arc<Store>,
    around: Around,
}

impl<Store: ?Sized, Around> Layered<Store, Around> {
    /// Puts `around` around every call of `store`.
    pub fn new(store: Arc<Store>, around: Around) -> Self {
        Self { store, around }
    }
}

fn read(span: &'static str, rows: usize) -> Call {
    Call { span, length: Length::Read, rows }
}

fn write(span: &'static str, rows: usize) -> Call {
    Call { span, length: Length::Write, rows }
}

fn open(span: &'static str) -> Call {
    Call { span, length: Length::Open, rows: 0 }
}

type Fallible<T> = Result<T, StorageError>;

#[async_trait]
impl<Around: Layer> DataStore for Layered<dyn DataStore, Around> {
    async fn apply(&self, submissions: Vec<Submission>) -> Fallible<Vec<Outcome>> {
        let call = write("store.apply", crate::data::rows_of(&submissions));
        self.around.around(call, self.store.apply(submissions)).await
    }

    async fn log_position(&self, log: &str) -> Fallible<Option<LogPosition>> {
        self.around.around(read("store.log_position", 1), self.store.log_position(log)).await
    }

    async fn logs(&self) -> Fallible<Vec<LogPosition>> {
        self.around.around(read("store.logs", 1), self.store.logs()).await
    }

    async fn user(&self, id: &UserId) -> Fallible<Option<User>> {
        self.around.around(read("store.user", 1), self.store.user(id)).await
    }

    async fn users(&self, ids: &[UserId]) -> Fallible<Vec<User>> {
        self.around.around(read("store.users", ids.len()), self.store.users(ids)).await
    }

    async fn list_users(&self, from: Option<&UserId>, limit: usize) -> Fallible<Vec<User>> {
        self.around.around(read("store.list_users", limit), self.store.list_users(from, limit)).await
    }

    async fn item(&self, id: &ItemId) -> Fallible<Option<Item>> {
        self.around.around(read("store.item", 1), self.store.item(id)).await
    }

    async fn items(&self, ids: &[ItemId]) -> Fallible<Vec<Item>> {
        self.around.around(read("store.items", ids.len()), self.store.items(ids)).await
    }

    async fn list_items(&self, from: Option<&ItemId>, limit: usize) -> Fallible<Vec<Item>> {
        self.around.around(read("store.list_items", limit), self.store.list_items(from, limit)).await
    }

    async fn items_by_arrival(&self, from: u64, limit: usize) -> Fallible<Vec<ArrivedItem>> {
        let call = read("store.items_by_arrival", limit);
        self.around.around(call, self.store.items_by_arrival(from, limit)).await
    }

    async fn item_states(&self, ids: &[ItemId]) -> Fallible<Vec<ItemState>> {
        self.around.around(read("store.item_states", ids.len()), self.store.item_states(ids)).await
    }

    async fn search_items(&self, query: &str, limit: usize) -> Fallible<Vec<(Item, f64)>> {
        self.around.around(read("store.search_items", limit), self.store.search_items(query, limit)).await
    }

    async fn set_search_columns(&self, columns: &[String]) -> Fallible<()> {
        self.around.around(open("store.set_search_columns"), self.store.set_search_columns(columns)).await
    }

    async fn user_feedback(&self, id: &UserId, until: Option<Timestamp>) -> Fallible<Vec<Feedback>> {
        self.around.around(read("store.user_feedback", 1), self.store.user_feedback(id, until)).await
    }

    async fn users_feedback(&self, ids: &[UserId], until: Option<Timestamp>) -> Fallible<Vec<Feedback>> {
        let call = read("store.users_feedback", ids.len());
        self.around.around(call, self.store.users_feedback(ids, until)).await
    }

    async fn item_feedback(
        &self,
        id: &ItemId,
        until: Option<Timestamp>,
        limit: Option<usize>,
    ) -> Fallible<Vec<Feedback>> {
        self.around.around(read("store.item_feedback", 1), self.store.item_feedback(id, until, limit)).await
    }

    async fn pair_feedback(&self, user: &UserId, item: &ItemId) -> Fallible<Vec<Feedback>> {
        self.around.around(read("store.pair_feedback", 1), self.store.pair_feedback(user, item)).await
    }

    async fn list_feedback(
        &self,
        from: Option<&FeedbackKey>,
        limit: usize,
        feedback_type: Option<&SmolStr>,
        until: Option<Timestamp>,
    ) -> Fallible<Vec<Feedback>> {
        let listing = self.store.list_feedback(from, limit, feedback_type, until);
        self.around.around(read("store.list_feedback", limit), listing).await
    }

    async fn scan_feedback(
        &self,
        batch: usize,
        visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
    ) -> Fallible<()> {
        self.around.around(open("store.scan_feedback"), self.store.scan_feedback(batch, visit)).await
    }

    async fn counts(&self) -> Fallible<Counts> {
        self.around.around(read("store.counts", 0), self.store.counts()).await
    }

    async fn ping(&self) -> Fallible<()> {
        self.around.around(read("store.ping", 0), self.store.ping()).await
    }

    async fn purge(&self) -> Fallible<()> {
        self.around.around(open("store.purge"), self.store.purge()).await
    }
}

#[async_trait]
impl<Around: Layer> CacheStore for Layered<dyn CacheStore, Around> {
    async fn user(&self, id: &UserId) -> Fallible<UserView> {
        self.around.around(read("store.user", 1), self.store.user(id)).await
    }

    /// Straight through: it takes less time than taking it.
    fn user_now(&self, id: &UserId) -> Option<UserView> {
        self.store.user_now(id)
    }

    async fn put_user(&self, id: &UserId, entry: UserEntry, mark: Mark) -> Fallible<bool> {
        self.around.around(write("store.put_user", 1), self.store.put_user(id, entry, mark)).await
    }

    async fn invalidate_users(&self, ids: &[UserId]) -> Fallible<()> {
        let call = write("store.invalidate_users", ids.len());
        self.around.around(call, self.store.invalidate_users(ids)).await
    }

    async fn clear(&self) -> Fallible<()> {
        self.around.around(open("store.clear"), self.store.clear()).await
    }

    async fn ping(&self) -> Fallible<()> {
        self.around.around(read("store.ping", 0), self.store.ping()).await
    }
}
