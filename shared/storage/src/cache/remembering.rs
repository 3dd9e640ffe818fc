//! Around a cache on a server: what could not be dropped while the server was away is remembered and dropped when it is
//! back.
//!
//! Until then this process does not believe what the server has about these users, and keeps nothing for them. Other
//! processes cannot know: they may show a list from before the change for as long as the server is away from this process
//! and not from them. If this process ends before the server is back, what it remembered is lost, and such a list lives
//! until it expires.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use ulex_domain::UserId;

use super::{CacheStore, Mark, UserEntry, UserView};
use crate::StorageError;

/// Users that are remembered; more are "everybody".
const REMEMBERED: usize = 100_000;
/// Users that are dropped in one call.
const CHUNK: usize = 5_000;
/// Pause between two tries.
const AGAIN: Duration = Duration::from_millis(200);

/// What could not be dropped yet.
#[derive(Debug, Default)]
struct Owed {
    users: HashSet<UserId>,
    everything: bool,
    /// What is being dropped just now: owed until that is done.
    paying: HashSet<UserId>,
    paying_everything: bool,
}

impl Owed {
    fn is_empty(&self) -> bool {
        self.users.is_empty() && self.paying.is_empty() && !self.everything && !self.paying_everything
    }

    fn holds(&self, id: &UserId) -> bool {
        self.everything || self.paying_everything || self.users.contains(id) || self.paying.contains(id)
    }

    fn add(&mut self, users: impl IntoIterator<Item = UserId>) {
        if self.everything {
            return;
        }
        self.users.extend(users);
        if self.users.len() > REMEMBERED {
            self.add_everything();
        }
    }

    fn add_everything(&mut self) {
        self.users = HashSet::new();
        self.everything = true;
    }

    /// What is to be dropped now. What is added meanwhile is another debt, also of the same users.
    fn begin(&mut self) -> (Vec<UserId>, bool) {
        self.paying_everything = mem::take(&mut self.everything);
        self.paying = mem::take(&mut self.users);
        (self.paying.iter().cloned().collect(), self.paying_everything)
    }

    fn end(&mut self, done: bool) {
        let (users, everything) = (mem::take(&mut self.paying), mem::take(&mut self.paying_everything));
        if done {
            return;
        }
        self.add(users);
        if everything {
            self.add_everything();
        }
    }
}

struct Inner<Store> {
    store: Store,
    owed: Mutex<Owed>,
    /// Spares the readers the lock.
    owes: AtomicBool,
    woken: Notify,
}

/// See the module documentation. Dropping it ends its task.
pub(super) struct Remembering<Store> {
    inner: Arc<Inner<Store>>,
    payer: JoinHandle<()>,
}

impl<Store: CacheStore> Remembering<Store> {
    /// Runs its task on the runtime that calls this.
    pub fn new(store: Store) -> Self {
        let inner = Arc::new(Inner {
            store,
            owed: Mutex::default(),
            owes: AtomicBool::new(false),
            woken: Notify::new(),
        });
        Self { payer: tokio::spawn(pay(Arc::clone(&inner))), inner }
    }
}

impl<Store> Drop for Remembering<Store> {
    fn drop(&mut self) {
        self.payer.abort();
        if self.inner.owes.load(Ordering::Acquire) {
            tracing::warn!("some lists from before a change stay in the cache until they expire: it is away");
        }
    }
}

impl<Store> Inner<Store> {
    fn owes(&self, id: &UserId) -> bool {
        self.owes.load(Ordering::Acquire) && self.owed.lock().holds(id)
    }

    fn owe(&self, note: impl FnOnce(&mut Owed)) {
        let mut owed = self.owed.lock();
        note(&mut owed);
        if !self.owes.swap(true, Ordering::AcqRel) {
            tracing::warn!("the cache could not be told of a change; it will be when it is back");
        }
        self.woken.notify_one();
    }

    fn end(&self, done: bool) {
        let mut owed = self.owed.lock();
        owed.end(done);
        if owed.is_empty() {
            self.owes.store(false, Ordering::Release);
            tracing::info!("the cache has been told of all changes");
        }
    }
}

async fn pay<Store: CacheStore>(inner: Arc<Inner<Store>>) {
    loop {
        inner.woken.notified().await;
        while inner.owes.load(Ordering::Acquire) {
            let (users, everything) = inner.owed.lock().begin();
            let done = drop_all(&inner.store, &users, everything).await.is_ok();
            inner.end(done);
            if !done {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn drop_all(store: &impl CacheStore, users: &[UserId], everything: bool) -> Result<(), StorageError> {
    if everything {
        return store.clear().await;
    }
    for chunk in users.chunks(CHUNK) {
        store.invalidate_users(chunk).await?;
    }
    Ok(())
}

#[async_trait]
impl<Store: CacheStore> CacheStore for Remembering<Store> {
    async fn user(&self, id: &UserId) -> Result<UserView, StorageError> {
        // What is owed now may be paid before it is looked at again, and the answer be from before.
        let owed = self.inner.owes(id);
        let mut view = self.inner.store.user(id).await?;
        if owed || self.inner.owes(id) {
            view.entry = None;
        }
        Ok(view)
    }

    async fn put_user(&self, id: &UserId, entry: UserEntry, mark: Mark) -> Result<bool, StorageError> {
        // A debt that is noted while this is under way is paid after it has arrived or was refused.
        if self.inner.owes(id) {
            return Ok(false);
        }
        self.inner.store.put_user(id, entry, mark).await
    }

    async fn invalidate_users(&self, ids: &[UserId]) -> Result<(), StorageError> {
        let mut guard = Unpaid { inner: &self.inner, debt: Some(Debt::Users(ids)) };
        let done = self.inner.store.invalidate_users(ids).await;
        guard.settle(done.is_ok());
        done
    }

    async fn clear(&self) -> Result<(), StorageError> {
        let mut guard = Unpaid { inner: &self.inner, debt: Some(Debt::Everything) };
        let done = self.inner.store.clear().await;
        guard.settle(done.is_ok());
        done
    }

    async fn ping(&self) -> Result<(), StorageError> {
        self.inner.store.ping().await
    }
}

enum Debt<'ids> {
    Users(&'ids [UserId]),
    Everything,
}

/// Notes a debt unless it is told that it was paid; also if its caller gives up waiting.
struct Unpaid<'call, Store> {
    inner: &'call Inner<Store>,
    debt: Option<Debt<'call>>,
}

impl<Store> Unpaid<'_, Store> {
    fn settle(&mut self, paid: bool) {
        if paid {
            self.debt = None;
        }
    }
}

impl<Store> Drop for Unpaid<'_, Store> {
    fn drop(&mut self) {
        match self.debt.take() {
            None | Some(Debt::Users([])) => {}
            Some(Debt::Users(ids)) => self.inner.owe(|owed| owed.add(ids.iter().cloned())),
            Some(Debt::Everything) => self.inner.owe(Owed::add_everything),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use ulex_domain::{ItemId, Timestamp};

    use super::*;
    use crate::cache::MemoryCache;

    /// A cache whose server can be taken away.
    struct Shaky {
        cache: Arc<MemoryCache>,
        away: watch::Receiver<bool>,
    }

    impl Shaky {
        fn here(&self) -> Result<&MemoryCache, StorageError> {
            if *self.away.borrow() {
                let source = "away".into();
                return Err(StorageError::Unavailable { backend: "test", action: "be there", source });
            }
            Ok(&self.cache)
        }
    }

    #[async_trait]
    impl CacheStore for Shaky {
        async fn user(&self, id: &UserId) -> Result<UserView, StorageError> {
            // Reads go on: other processes' servers may be reachable in one direction only.
            self.cache.user(id).await
        }
        async fn put_user(&self, id: &UserId, entry: UserEntry, mark: Mark) -> Result<bool, StorageError> {
            self.here()?.put_user(id, entry, mark).await
        }
        async fn invalidate_users(&self, ids: &[UserId]) -> Result<(), StorageError> {
            self.here()?.invalidate_users(ids).await
        }
        async fn clear(&self) -> Result<(), StorageError> {
            self.here()?.clear().await
        }
        async fn ping(&self) -> Result<(), StorageError> {
            self.here()?.ping().await
        }
    }

    fn entry() -> UserEntry {
        UserEntry {
            model_set: "m".to_owned(),
            digest: "d".to_owned(),
            computed: Timestamp::ZERO,
            stale_at: None,
            items: vec![(ItemId::new("i"), 1.0)],
            catalogue: 0,
        }
    }

    async fn world() -> (Remembering<Shaky>, Arc<MemoryCache>, watch::Sender<bool>, [UserId; 2]) {
        let (switch, away) = watch::channel(false);
        let cache = Arc::new(MemoryCache::new(1 << 20));
        let store = Remembering::new(Shaky { cache: Arc::clone(&cache), away });
        let users = ["changed", "other"].map(UserId::new);
        for user in &users {
            let mark = store.user(user).await.unwrap().mark;
            assert!(store.put_user(user, entry(), mark).await.unwrap());
        }
        (store, cache, switch, users)
    }

    async fn until(holds: impl AsyncFn() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while !holds().await {
            assert!(tokio::time::Instant::now() < deadline, "it did not come true in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_could_not_be_dropped_is_not_believed_and_dropped_when_the_server_is_back() {
        let (store, cache, away, [changed, other]) = world().await;
        away.send_replace(true);
        assert!(store.invalidate_users(std::slice::from_ref(&changed)).await.is_err());
        let view = store.user(&changed).await.unwrap();
        assert!(view.entry.is_none() && store.user(&other).await.unwrap().entry.is_some());
        assert!(!store.put_user(&changed, entry(), view.mark).await.unwrap(), "nothing is kept meanwhile");
        assert!(cache.user(&changed).await.unwrap().entry.is_some(), "the server still has it");
        away.send_replace(false);
        until(async || cache.user(&changed).await.unwrap().entry.is_none()).await;
        until(async || !store.inner.owes(&changed)).await;
        assert!(!cache.put_user(&changed, entry(), view.mark).await.unwrap(), "its mark has moved on");
        assert!(cache.user(&other).await.unwrap().entry.is_some());
        let mark = store.user(&changed).await.unwrap().mark;
        assert!(store.put_user(&changed, entry(), mark).await.unwrap());
    }

    #[tokio::test]
    async fn a_cache_that_could_not_be_cleared_is_cleared_when_the_server_is_back() {
        let (store, cache, away, [changed, other]) = world().await;
        away.send_replace(true);
        assert!(store.clear().await.is_err());
        assert!(store.user(&changed).await.unwrap().entry.is_none());
        away.send_replace(false);
        until(async || cache.user(&changed).await.unwrap().entry.is_none()).await;
        until(async || cache.user(&other).await.unwrap().entry.is_none()).await;
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_is_a_debt() {
        let (store, _cache, _away, [changed, _other]) = world().await;
        drop(Unpaid { inner: &store.inner, debt: Some(Debt::Users(std::slice::from_ref(&changed))) });
        assert!(store.inner.owes(&changed));
        until(async || !store.inner.owes(&changed)).await;
        assert!(store.user(&changed).await.unwrap().entry.is_none());
    }

    #[test]
    fn what_is_owed_again_while_it_is_paid_stays_owed() {
        let [a, b] = ["a", "b"].map(UserId::new);
        let mut owed = Owed::default();
        owed.add([a.clone()]);
        assert_eq!(owed.begin(), (vec![a.clone()], false));
        assert!(owed.holds(&a));
        owed.add([a.clone(), b.clone()]);
        owed.end(true);
        assert!(owed.holds(&a) && owed.holds(&b));
        owed.begin();
        owed.end(false);
        assert!(owed.holds(&a) && owed.holds(&b));
        owed.begin();
        owed.end(true);
        assert!(owed.is_empty());
    }

    #[test]
    fn more_than_can_be_remembered_is_everybody() {
        let mut owed = Owed::default();
        owed.add((0..=REMEMBERED).map(|user| UserId::new(user.to_string())));
        assert!(owed.holds(&UserId::new("anybody")) && owed.users.is_empty());
        assert_eq!(owed.begin(), (Vec::new(), true));
        owed.end(true);
        assert!(owed.is_empty());
    }
}
