//! A [`Backend`] for tests: the in-memory store, lists as the test says, faults on demand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use ulex_domain::{Command, EventId, Feedback, Item, ItemId, Timestamp, UserId};
use ulex_storage::data::{DataStore, MemoryStore, Submission};

use crate::backend::{
    Backend, BackendError, Effort, Health, ListQuery, Node, Quality, Receipt, Recommended, ScoredItem,
    SettingsChange, SettingsRevision, Status, TaskProgress,
};

type List = Result<Vec<ScoredItem>, BackendError>;

/// What the tests look through.
pub(crate) struct Double {
    data: MemoryStore,
    /// Lists by kind and name, best first: `user/u`, `board/popular`, `like/i`.
    lists: Mutex<HashMap<String, Vec<ScoredItem>>>,
    /// Every call fails as if the stores were away.
    pub(crate) away: AtomicBool,
    /// Collaborative filtering is switched off.
    pub(crate) disabled: AtomicBool,
    /// Lists of users are at hand.
    pub(crate) cached: AtomicBool,
    /// And these are out of date.
    pub(crate) stale: AtomicBool,
    /// Lists of users wait for one of these.
    pub(crate) gate: Semaphore,
    /// What is shown as settings.
    pub(crate) settings: Mutex<Value>,
    /// Submitted events.
    /// Number of the part of its health that is away; 0 is none.
    pub(crate) failed_part: AtomicUsize,
    pub(crate) submitted: AtomicUsize,
}

impl Double {
    /// Permits of the gate.
    pub(crate) const PLACES: usize = 1000;

    pub(crate) fn new() -> Self {
        Self {
            data: MemoryStore::new(),
            lists: Mutex::default(),
            away: AtomicBool::new(false),
            disabled: AtomicBool::new(false),
            cached: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            gate: Semaphore::new(Self::PLACES),
            settings: Mutex::new(json!({"recommend": {"cache_size": 100}})),
            failed_part: AtomicUsize::new(0),
            submitted: AtomicUsize::new(0),
        }
    }

    /// Makes lists of users wait until the permit is dropped.
    pub(crate) fn hold(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.gate.try_acquire_many(1000).unwrap()
    }

    /// Makes a list with falling scores.
    pub(crate) fn set_list(&self, key: &str, ids: &[&str]) {
        let scored = ids
            .iter()
            .zip(1_i16..)
            .map(|(id, rank)| ScoredItem { id: (*id).into(), score: f64::from(100 - rank) / 2.0 });
        self.lists.lock().insert(key.to_owned(), scored.collect());
    }

    fn check(&self) -> Result<(), BackendError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(BackendError::Unavailable("the bus is away".to_owned()));
        }
        Ok(())
    }

    fn list(&self, key: &str) -> Vec<ScoredItem> {
        self.lists.lock().get(key).cloned().unwrap_or_default()
    }

    async fn serve(&self, list: Vec<ScoredItem>, reader: Option<&UserId>, query: &ListQuery) -> List {
        self.check()?;
        let seen: Vec<Feedback> = match reader {
            Some(user) => self.data.user_feedback(user, Some(Timestamp::now())).await?,
            None => Vec::new(),
        };
        let mut kept = Vec::new();
        for entry in list {
            let item = self.data.item(&ItemId::new(&entry.id)).await?;
            let may_be_shown = item.is_none_or(|item| !item.is_hidden && has_all(&item, query));
            if may_be_shown && seen.iter().all(|row| row.item_id.as_str() != entry.id) {
                kept.push(entry);
            }
        }
        Ok(kept.into_iter().skip(query.offset).take(query.n).collect())
    }
}

fn has_all(item: &Item, query: &ListQuery) -> bool {
    let categories = item.categories.as_deref().unwrap_or_default();
    query.categories.iter().flatten().all(|wanted| categories.contains(wanted))
}

#[async_trait]
impl Backend for Double {
    async fn submit(&self, event: Command, id: EventId, _wait: Duration) -> Result<Receipt, BackendError> {
        self.check()?;
        self.submitted.fetch_add(1, Ordering::Relaxed);
        let outcomes = self.data.apply(vec![Submission { event_id: Some(id), ..event.into() }]).await?;
        let outcome = outcomes.into_iter().next().unwrap_or_default();
        Ok(Receipt { rows_deleted: outcome.rows_deleted, duplicate: outcome.duplicate })
    }

    fn recommend_now(&self, user: &UserId, query: &ListQuery, effort: Effort) -> Option<Recommended> {
        let list = self.cached.load(Ordering::Relaxed).then(|| self.list(&format!("user/{user}")))?;
        let is_stale = self.stale.load(Ordering::Relaxed);
        if is_stale && effort == Effort::Full {
            return None;
        }
        let quality = if is_stale { Quality::Stale } else { Quality::Full };
        Some(Recommended { list: list.into_iter().skip(query.offset).take(query.n).collect(), quality })
    }

    async fn recommend(
        &self,
        user: &UserId,
        query: &ListQuery,
        effort: Effort,
    ) -> Result<Recommended, BackendError> {
        let _permit = self.gate.acquire().await.map_err(|_closed| BackendError::Overloaded)?;
        let list = self.serve(self.list(&format!("user/{user}")), Some(user), query).await?;
        let quality = match effort {
            Effort::Full | Effort::Kept => Quality::Full,
            Effort::Unranked => Quality::Unranked,
            Effort::Leaderboard => Quality::Leaderboard,
        };
        Ok(Recommended { list, quality })
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    async fn latest(&self, user: Option<&UserId>, query: &ListQuery) -> List {
        let mut items = self.data.list_items(None, usize::MAX).await?;
        items.sort_by_key(|item| std::cmp::Reverse(item.timestamp));
        let scored = items.iter().map(|item| ScoredItem {
            id: item.item_id.as_str().into(),
            score: item.timestamp.as_unix_seconds() as f64,
        });
        self.serve(scored.collect(), user, query).await
    }

    async fn leaderboard(&self, name: &str, user: Option<&UserId>, query: &ListQuery) -> List {
        self.serve(self.list(&format!("board/{name}")), user, query).await
    }

    async fn collaborative(&self, user: &UserId, reader: Option<&UserId>, query: &ListQuery) -> List {
        if self.disabled.load(Ordering::Relaxed) {
            return Err(BackendError::Disabled(
                "collaborative filtering recommendation is disabled".to_owned(),
            ));
        }
        self.serve(self.list(&format!("user/{user}")), reader, query).await
    }

    async fn item_neighbors(
        &self,
        name: Option<&str>,
        item: &ItemId,
        reader: Option<&UserId>,
        query: &ListQuery,
    ) -> List {
        if name.is_some_and(|name| name != "neighbors") {
            let name = name.unwrap_or_default();
            return Err(BackendError::NotFound(format!("item-to-item recommender {name} not found")));
        }
        self.serve(self.list(&format!("like/{item}")), reader, query).await
    }

    async fn user_neighbors(&self, name: Option<&str>, user: &UserId, query: &ListQuery) -> List {
        if name.is_some_and(|name| name != "neighbors") {
            let name = name.unwrap_or_default();
            return Err(BackendError::NotFound(format!("user-to-user recommender {name} not found")));
        }
        self.serve(self.list(&format!("like/{user}")), None, query).await
    }

    async fn session(&self, feedback: Vec<Feedback>, query: &ListQuery) -> List {
        let first = feedback.first().map(|row| row.item_id.to_string()).unwrap_or_default();
        self.serve(self.list(&format!("like/{first}")), None, query).await
    }

    fn data(&self) -> &dyn DataStore {
        &self.data
    }

    async fn health(&self) -> Health {
        let part = self.failed_part.load(Ordering::Relaxed);
        Health {
            data: self.check().is_ok(),
            bus: part != 1,
            cache: part != 2,
            models: part != 3,
            ingest: part != 4,
            ..Health::WELL
        }
    }

    async fn tasks(&self) -> Result<Vec<TaskProgress>, BackendError> {
        self.check()?;
        Ok(Vec::new())
    }

    async fn stats(&self) -> Result<Status, BackendError> {
        self.check()?;
        Ok(Status::default())
    }

    async fn cluster(&self) -> Result<Vec<Node>, BackendError> {
        self.check()?;
        Ok(Vec::new())
    }

    fn shown_settings(&self) -> Value {
        self.settings.lock().clone()
    }

    async fn change_settings(&self, change: SettingsChange) -> Result<(), BackendError> {
        self.check()?;
        let mut settings = self.settings.lock();
        match change {
            SettingsChange::Replace(section) if !section.is_object() => {
                return Err(BackendError::Unfit("recommend: expected a section".to_owned()));
            }
            SettingsChange::Replace(section) => settings["recommend"] = section,
            SettingsChange::Patch(changes) => settings["patched"] = json!(changes),
            SettingsChange::Clear => settings["recommend"] = Value::Null,
            SettingsChange::Restore(revision) => settings["restored"] = json!(revision),
        }
        Ok(())
    }

    async fn settings_history(&self) -> Result<Vec<SettingsRevision>, BackendError> {
        self.check()?;
        let values = self.settings.lock().as_object().unwrap().clone().into_iter().collect();
        Ok(vec![SettingsRevision { revision: 3, time: Timestamp::ZERO, restored: None, values }])
    }
}
