//! A bus and a store that fail or stand still at one point, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::Notify;
use ulex_domain::log::LogEpoch;
use ulex_domain::{Feedback, FeedbackKey, Item, ItemId, ItemState, Timestamp, User, UserId};
use ulex_nats::transport::{
    Appended, ApplyMode, Backlog, BucketSpec, CheckpointSource, ConsumerSpec, Definition, DefinitionChange,
    Message, RawBucket, RawDelivery, RawObjects, RawPuller, RawReader, RawSubscription, ReadFrom, StreamSpec,
    StreamState, Transport,
};
use ulex_nats::{BusError, InProcess};
use ulex_storage::StorageError;
use ulex_storage::cache::{CacheStore, Mark, MemoryCache, UserEntry, UserView};
use ulex_storage::data::{
    ArrivedItem, Counts, DataStore, FeedbackRow, LogPosition, MemoryStore, Outcome, Submission,
};

/// Where something may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Apply,
    Announce,
    Receipt,
    Ack,
    Append,
    Bury,
    Remove,
}

/// On which side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The call fails.
    Fails,
    /// The call never comes back: what a crash looks like from inside.
    Hangs,
}

/// What goes wrong next.
#[derive(Default)]
pub(super) struct Faults {
    next: Mutex<Option<(Point, Side, Way)>>,
    /// How often the store fails from now on.
    pub(super) away: Mutex<usize>,
    /// How often the store does not say how far it is.
    pub(super) mute: Mutex<usize>,
    /// How often the store refuses whatever it is given.
    pub(super) refuses: Mutex<usize>,
    /// Messages with which a successor had to begin again, and had not any more.
    pub(super) restart: Mutex<Vec<(u64, bool)>>,
    pub(super) hanging: Notify,
}

impl Faults {
    pub(super) fn arm(&self, point: Point, side: Side, way: Way) {
        *self.next.lock() = Some((point, side, way));
    }

    pub(super) fn is_armed(&self) -> bool {
        self.next.lock().is_some()
    }

    async fn pass(&self, point: Point, side: Side) -> Result<(), String> {
        let due = self.next.lock().take_if(|(at, on, _)| *at == point && *on == side);
        match due {
            None => Ok(()),
            Some((_, _, Way::Fails)) => Err(format!("{side:?} {point:?}")),
            Some((_, _, Way::Hangs)) => {
                self.hanging.notify_one();
                std::future::pending().await
            }
        }
    }

    async fn around<T>(
        &self,
        point: Option<Point>,
        work: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        let Some(point) = point else { return work.await };
        let failed = |text: String| BusError::transport("test", text);
        self.pass(point, Side::Before).await.map_err(failed)?;
        let done = work.await?;
        self.pass(point, Side::After).await.map_err(failed)?;
        Ok(done)
    }
}

/// See the module documentation.
pub(super) struct FaultyBus {
    pub(super) inner: InProcess,
    pub(super) faults: Arc<Faults>,
    pub(super) max_payload: usize,
}

#[async_trait]
impl Transport for FaultyBus {
    async fn publish(&self, message: Message) -> Result<(), BusError> {
        let point = message.subject.starts_with("_INBOX").then_some(Point::Receipt);
        self.faults.around(point, self.inner.publish(message)).await
    }

    async fn request(&self, message: Message, timeout: Duration) -> Result<Message, BusError> {
        self.inner.request(message, timeout).await
    }

    async fn subscribe(
        &self,
        filter: &str,
        queue: Option<&str>,
    ) -> Result<Box<dyn RawSubscription>, BusError> {
        self.inner.subscribe(filter, queue).await
    }

    fn max_payload(&self) -> usize {
        self.max_payload
    }

    fn inbox(&self) -> String {
        self.inner.inbox()
    }

    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), BusError> {
        self.inner.ensure_stream(spec).await
    }

    async fn append(&self, message: Message) -> Result<Appended, BusError> {
        assert!(message.payload.len() <= self.max_payload, "too large for this bus");
        let point = match message.subject.split('.').nth(3) {
            Some("change") => Some(Point::Announce),
            Some("dead") => Some(Point::Bury),
            Some("event") => Some(Point::Append),
            _ => None,
        };
        self.faults.around(point, self.inner.append(message)).await
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BusError> {
        self.inner.stream_state(stream).await
    }

    async fn remove(&self, stream: &str, sequence: u64) -> Result<bool, BusError> {
        self.faults.around(Some(Point::Remove), self.inner.remove(stream, sequence)).await
    }

    async fn purge(&self, stream: &str, filter: &str) -> Result<u64, BusError> {
        self.inner.purge(stream, filter).await
    }

    async fn reader(
        &self,
        stream: &str,
        filter: &str,
        from: ReadFrom,
    ) -> Result<Box<dyn RawReader>, BusError> {
        self.inner.reader(stream, filter, from).await
    }

    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), BusError> {
        self.inner.ensure_consumer(spec).await
    }

    async fn puller(
        &self,
        spec: &ConsumerSpec,
        checkpoints: Option<Arc<dyn CheckpointSource>>,
    ) -> Result<Box<dyn RawPuller>, BusError> {
        let inner = self.inner.puller(spec, checkpoints).await?;
        Ok(Box::new(FaultyPuller { inner, faults: Arc::clone(&self.faults) }))
    }

    async fn backlog(&self, spec: &ConsumerSpec) -> Result<Backlog, BusError> {
        self.inner.backlog(spec).await
    }

    async fn bucket(&self, spec: &BucketSpec) -> Result<Box<dyn RawBucket>, BusError> {
        self.inner.bucket(spec).await
    }

    async fn objects(&self, name: &str) -> Result<Box<dyn RawObjects>, BusError> {
        self.inner.objects(name).await
    }

    async fn apply(
        &self,
        definition: &Definition,
        mode: ApplyMode,
    ) -> Result<Vec<DefinitionChange>, BusError> {
        self.inner.apply(definition, mode).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct FaultyPuller {
    inner: Box<dyn RawPuller>,
    faults: Arc<Faults>,
}

#[async_trait]
impl RawPuller for FaultyPuller {
    fn has_begun_anew(&mut self) -> bool {
        self.inner.has_begun_anew()
    }

    async fn pull(&mut self, max: usize, wait: Duration) -> Result<Vec<Box<dyn RawDelivery>>, BusError> {
        let pulled = self.inner.pull(max, wait).await?;
        let wrap = |inner| {
            Box::new(FaultyDelivery { inner, faults: Arc::clone(&self.faults) }) as Box<dyn RawDelivery>
        };
        Ok(pulled.into_iter().map(wrap).collect())
    }
}

struct FaultyDelivery {
    inner: Box<dyn RawDelivery>,
    faults: Arc<Faults>,
}

#[async_trait]
impl RawDelivery for FaultyDelivery {
    fn message(&self) -> &Message {
        self.inner.message()
    }

    fn sequence(&self) -> u64 {
        self.inner.sequence()
    }

    fn log(&self) -> &LogEpoch {
        self.inner.log()
    }

    fn is_ambiguous(&self) -> bool {
        self.inner.is_ambiguous()
    }

    fn attempt(&self) -> u64 {
        self.inner.attempt()
    }

    fn lost_holders(&self) -> u64 {
        self.inner.lost_holders()
    }

    fn appended_at(&self) -> SystemTime {
        self.inner.appended_at()
    }

    fn is_held(&self) -> bool {
        self.inner.is_held()
    }

    fn set_restart(&self, is_restart: bool) {
        self.faults.restart.lock().push((self.inner.sequence(), is_restart));
        self.inner.set_restart(is_restart);
    }

    async fn ack(&self) -> Result<(), BusError> {
        self.faults.around(Some(Point::Ack), self.inner.ack()).await
    }

    async fn nak(&self, delay: Duration) -> Result<(), BusError> {
        self.inner.nak(delay).await
    }

    async fn in_progress(&self) -> Result<(), BusError> {
        self.inner.in_progress().await
    }

    async fn term(&self) -> Result<(), BusError> {
        self.inner.term().await
    }
}

/// A cache that may be away.
pub(super) struct FaultyCache {
    pub(super) inner: MemoryCache,
    pub(super) is_away: AtomicBool,
}

#[async_trait]
impl CacheStore for FaultyCache {
    async fn user(&self, id: &UserId) -> Fallible<UserView> {
        self.inner.user(id).await
    }

    async fn put_user(&self, id: &UserId, entry: UserEntry, mark: Mark) -> Fallible<bool> {
        self.inner.put_user(id, entry, mark).await
    }

    async fn invalidate_users(&self, ids: &[UserId]) -> Fallible<()> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(away("the cache".to_owned()));
        }
        self.inner.invalidate_users(ids).await
    }

    async fn clear(&self) -> Fallible<()> {
        self.inner.clear().await
    }

    async fn ping(&self) -> Fallible<()> {
        self.inner.ping().await
    }
}

/// See the module documentation.
pub(super) struct FaultyStore {
    pub(super) inner: MemoryStore,
    pub(super) faults: Arc<Faults>,
}

fn away(text: String) -> StorageError {
    StorageError::Unavailable { backend: "test", action: "apply events", source: text.into() }
}

fn rejected(text: &str) -> StorageError {
    StorageError::Rejected { backend: "test", action: "apply events", source: text.into() }
}

fn take_one(left: &Mutex<usize>) -> bool {
    let mut left = left.lock();
    let is_due = *left > 0;
    *left = left.saturating_sub(1);
    is_due
}

type Fallible<T> = Result<T, StorageError>;

#[async_trait]
impl DataStore for FaultyStore {
    async fn apply(&self, submissions: Vec<Submission>) -> Fallible<Vec<Outcome>> {
        if take_one(&self.faults.away) {
            return Err(away("away".to_owned()));
        }
        if take_one(&self.faults.refuses) {
            return Err(rejected("no such table"));
        }
        for submission in &submissions {
            let names = |id: &'static str| submission.event.find_text(|text| text.text == id).is_some();
            assert!(!names("panics"), "an event that cannot be borne");
            if names("rejected") {
                return Err(rejected("a value that no store keeps"));
            }
        }
        self.faults.pass(Point::Apply, Side::Before).await.map_err(away)?;
        let outcomes = self.inner.apply(submissions).await?;
        self.faults.pass(Point::Apply, Side::After).await.map_err(away)?;
        Ok(outcomes)
    }

    async fn log_position(&self, log: &str) -> Fallible<Option<LogPosition>> {
        if take_one(&self.faults.mute) {
            return Err(away("mute".to_owned()));
        }
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
        self.inner.user_feedback(id, until).await
    }

    async fn users_feedback(&self, ids: &[UserId], until: Option<Timestamp>) -> Fallible<Vec<Feedback>> {
        self.inner.users_feedback(ids, until).await
    }

    async fn item_feedback(
        &self,
        id: &ItemId,
        until: Option<Timestamp>,
        limit: Option<usize>,
    ) -> Fallible<Vec<Feedback>> {
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
