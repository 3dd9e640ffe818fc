//! Answers: the one face of recommendation for REST handlers, refresh jobs and the dashboard.
//!
//! Every answer is made from exactly one ModelSet and one view of the catalogue. A user's cached list is used while
//! nothing it depends on has changed; otherwise the list is computed at once from what the user has done up to
//! now and kept. So feedback changes the very next answer, also for a user who did not exist a second ago.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustc_hash::FxHashSet;
use smol_str::SmolStr;
use ulex_algorithms::model_set::ModelSet;
use ulex_domain::{Change, Feedback, ItemId, Timestamp, UserId};
use ulex_storage::StorageError;
use ulex_storage::cache::{CacheStore, UserEntry};
use ulex_storage::data::DataStore;

use crate::catalogue::{Catalogue, CatalogueView};
use crate::history::{History, TypeScales};
use crate::live::Live;
use crate::pipeline::{Inputs, Ranked, Workspace, recommend, single};
use crate::plan::{Plan, Source};
use crate::request::{ListQuery, RecommendError, ScoredId, pick};

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

/// See the module documentation. Cheap to clone; one for each process.
#[derive(Clone)]
pub struct Recommender {
    inner: Arc<Inner>,
}

struct Inner {
    data: Arc<dyn DataStore>,
    cache: Arc<dyn CacheStore>,
    catalogue: Catalogue,
    live: ArcSwapOption<Live>,
    plan: ArcSwap<Plan>,
    clock_error: Duration,
}

impl Recommender {
    /// Starts without models and with an empty catalogue; see [`Catalogue::load`] and [`Recommender::use_models`].
    #[must_use]
    pub fn new(
        data: Arc<dyn DataStore>,
        cache: Arc<dyn CacheStore>,
        plan: Plan,
        clock_error: Duration,
    ) -> Self {
        let inner = Inner {
            data,
            cache,
            catalogue: Catalogue::default(),
            live: ArcSwapOption::empty(),
            plan: ArcSwap::from_pointee(plan),
            clock_error,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The items.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.inner.catalogue
    }

    /// The system of record.
    #[must_use]
    pub fn data(&self) -> &Arc<dyn DataStore> {
        &self.inner.data
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<dyn CacheStore> {
        &self.inner.cache
    }

    /// How lists are made at present.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        self.inner.plan.load_full()
    }

    /// Makes lists in another way from now on.
    pub fn use_plan(&self, plan: Plan) {
        self.inner.plan.store(Arc::new(plan));
    }

    /// The models in use.
    #[must_use]
    pub fn live(&self) -> Option<Arc<Live>> {
        self.inner.live.load_full()
    }

    /// Answers from these models from now on; requests under way finish with the ones they started with.
    pub fn use_models(&self, set: Arc<ModelSet>) {
        let live = Live::new(set, &self.inner.catalogue);
        self.inner.live.store(Some(Arc::new(live)));
    }

    /// Takes over what a write has changed. Must be done before the write is answered.
    ///
    /// # Errors
    ///
    /// Whatever the cache reports.
    pub async fn applied(&self, changes: &[Change]) -> Result<(), StorageError> {
        let mut users: FxHashSet<&UserId> = FxHashSet::default();
        for change in changes {
            match change {
                Change::Users { user_ids } => users.extend(user_ids),
                Change::UserDeleted { user_id } => {
                    users.insert(user_id);
                }
                Change::Items { items } => self.inner.catalogue.put(items),
                Change::ItemDeleted { item_id } => self.inner.catalogue.remove(item_id),
                Change::Feedback { pairs } => users.extend(pairs.iter().map(|(user, _)| user)),
            }
        }
        if users.is_empty() {
            return Ok(());
        }
        let users: Vec<UserId> = users.into_iter().cloned().collect();
        self.inner.cache.invalidate_users(&users).await
    }

    /// The answer, if the user's cached list gives it without waiting.
    #[must_use]
    pub fn recommend_now(&self, user: &UserId, query: &ListQuery) -> Option<Vec<ScoredId>> {
        let entry = self.inner.cache.user_now(user)?.entry?;
        self.answer_from(&entry, query)
    }

    /// The best items for a user.
    ///
    /// # Errors
    ///
    /// [`RecommendError::Storage`] if the user's feedback cannot be read.
    pub async fn recommend(&self, user: &UserId, query: &ListQuery) -> Result<Vec<ScoredId>, RecommendError> {
        // A cache that is away costs time, not answers.
        let view = self.inner.cache.user(user).await.unwrap_or_default();
        if let Some(found) = view.entry.as_ref().and_then(|entry| self.answer_from(entry, query)) {
            return Ok(found);
        }
        let rows = self.inner.data.user_feedback(user, None).await?;
        let now = Timestamp::now();
        let made = self.compute(user, &rows, query, now);
        if let Some(entry) = made.entry {
            let _ = self.inner.cache.put_user(user, entry, view.mark).await;
        }
        Ok(made.answer)
    }

    /// The best items for a user, without what somebody else, `reader`, has met.
    ///
    /// # Errors
    ///
    /// As [`Recommender::recommend`].
    pub async fn recommend_for(
        &self,
        user: &UserId,
        reader: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredId>, RecommendError> {
        let Some(reader) = reader else { return self.recommend(user, query).await };
        let met = self.met(Some(reader)).await?;
        let deep = ListQuery { n: query.depth().saturating_add(met.len()), offset: 0, ..query.clone() };
        let mut list = self.recommend(user, &deep).await?;
        list.retain(|entry| !met.contains(&entry.id));
        Ok(query.cut(list))
    }

    /// Computes and keeps a user's list unless the kept one is fresh; says whether it was computed.
    ///
    /// # Errors
    ///
    /// Whatever the stores report.
    pub async fn refresh(&self, user: &UserId) -> Result<bool, StorageError> {
        let view = self.inner.cache.user(user).await?;
        let query = ListQuery { n: 1, ..ListQuery::default() };
        if view.entry.as_ref().is_some_and(|entry| self.answer_from(entry, &query).is_some()) {
            return Ok(false);
        }
        let rows = self.inner.data.user_feedback(user, None).await?;
        let made = self.compute(user, &rows, &query, Timestamp::now());
        if let Some(entry) = made.entry {
            self.inner.cache.put_user(user, entry, view.mark).await?;
        }
        Ok(true)
    }

    /// The newest items, without what `reader` has met.
    ///
    /// # Errors
    ///
    /// [`RecommendError::Storage`] if the reader's feedback cannot be read.
    pub async fn latest(
        &self,
        reader: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredId>, RecommendError> {
        let met = self.met(reader).await?;
        let plan = self.plan();
        let view = self.inner.catalogue.view();
        let eligibility = view.eligibility(query.categories(), published_after(&plan, Timestamp::now()));
        let unmet = view.newest(&eligibility).filter(|&slot| !met.contains(view.id(slot).as_str()));
        let wanted = unmet.skip(query.offset).take(query.n);
        Ok(wanted
            .map(|slot| ScoredId {
                id: view.id(slot).clone(),
                score: view.timestamp(slot).as_unix_seconds() as f64,
            })
            .collect())
    }

    /// A leaderboard, without what `reader` has met. Without categories in the query: the overall list.
    ///
    /// # Errors
    ///
    /// [`RecommendError::Storage`] if the reader's feedback cannot be read.
    pub async fn leaderboard(
        &self,
        name: &str,
        reader: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredId>, RecommendError> {
        let met = self.met(reader).await?;
        let Some(live) = self.live() else { return Ok(Vec::new()) };
        let Some(board) = live.set.leaderboard(name) else { return Ok(Vec::new()) };
        let plan = self.plan();
        let length = if query.categories.is_none() { plan.cache_size } else { usize::MAX };
        let view = self.inner.catalogue.view();
        let eligibility = view.eligibility(query.categories(), published_after(&plan, Timestamp::now()));
        let shown = board
            .entries
            .iter()
            .filter(|entry| live.slot(entry.0).is_some_and(|slot| view.is_eligible(slot, &eligibility)))
            .take(length)
            .filter(|entry| !met.contains(live.set.items.id(entry.0)));
        let wanted = shown.skip(query.offset).take(query.n);
        Ok(wanted.map(|&(item, score)| ScoredId { id: live.set.items.id(item).into(), score }).collect())
    }

    /// Items like `item`, without what `reader` has met.
    ///
    /// # Errors
    ///
    /// [`RecommendError::UnknownRecommender`], [`RecommendError::Disabled`] if none is configured and none was named,
    /// [`RecommendError::Storage`] if the reader's feedback cannot be read.
    pub async fn item_neighbors(
        &self,
        name: Option<&str>,
        item: &ItemId,
        reader: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredId>, RecommendError> {
        let plan = self.plan();
        let name =
            pick(name, &plan.item_to_item, "item-to-item", "item-to-item recommendation is not enabled")?;
        let met = self.met(reader).await?;
        let Some(live) = self.live() else { return Ok(Vec::new()) };
        let view = self.inner.catalogue.view();
        let eligibility = view.eligibility(query.categories(), published_after(&plan, Timestamp::now()));
        let Some(index) = live.index_of(&view, item.as_str()) else { return Ok(Vec::new()) };
        let (items, scores) =
            live.set.item_neighbors(name).map_or((&[][..], &[][..]), |found| found.neighbors.row(index));
        let shown = items
            .iter()
            .zip(scores)
            .filter(|&(&item, _)| live.slot(item).is_some_and(|slot| view.is_eligible(slot, &eligibility)))
            .filter(|&(&item, _)| !met.contains(live.set.items.id(item)))
            .map(|(&item, &score)| ScoredId { id: live.set.items.id(item).into(), score: f64::from(score) });
        Ok(query.cut(shown.collect()))
    }

    /// Users like `user`.
    ///
    /// # Errors
    ///
    /// As [`Recommender::item_neighbors`].
    pub async fn user_neighbors(
        &self,
        name: Option<&str>,
        user: &UserId,
        query: &ListQuery,
    ) -> Result<Vec<ScoredId>, RecommendError> {
        let plan = self.plan();
        let name =
            pick(name, &plan.user_to_user, "user-to-user", "user-to-user recommendation is not enabled")?;
        let Some(live) = self.live() else { return Ok(Vec::new()) };
        let known = live.set.users.index(user.as_str());
        let liked = match known {
            Some(_) => (Vec::new(), Vec::new()),
            None => self.liked(user, &live).await?,
        };
        let found = live.set.similar_users(
            name,
            known,
            (&liked.0, &liked.1),
            plan.cache_size.max(query.depth().min(1_000)),
        );
        let scored = found.into_iter().map(|entry| ScoredId {
            id: live.set.users.id(entry.index).into(),
            score: f64::from(entry.score),
        });
        Ok(query.cut(scored.collect()))
    }

    /// Items like those of a session that belongs to no known user. Uses the first item-to-item recommender.
    ///
    /// # Errors
    ///
    /// [`RecommendError::Disabled`] if no item-to-item recommender is configured.
    pub fn session(&self, rows: &[Feedback], query: &ListQuery) -> Result<Vec<ScoredId>, RecommendError> {
        let plan = self.plan();
        let name =
            pick(None, &plan.item_to_item, "item-to-item", "item-to-item recommendation is not enabled")?;
        let rows: Vec<Feedback> =
            rows.iter().map(|row| Feedback { updated: row.timestamp, ..row.clone() }).collect();
        let history =
            History::new(&rows, &plan.types, &TypeScales::default(), Timestamp::from_nanos(i64::MAX));
        let live = self.live();
        let view = self.inner.catalogue.view();
        let eligibility = view.eligibility(query.categories(), published_after(&plan, Timestamp::now()));
        let inputs = Inputs {
            live: live.as_deref(),
            view: &view,
            plan: &plan,
            user: None,
            history: &history,
            eligibility: &eligibility,
        };
        let source = Source::ItemToItem(name.to_owned());
        let depth = query.depth();
        let found = WORKSPACE.with_borrow_mut(|workspace| single(&inputs, &source, depth, workspace));
        Ok(query.cut(scored(&view, &found)))
    }

    /// What one source alone would recommend to a user.
    ///
    /// # Errors
    ///
    /// [`RecommendError::Storage`] if the user's feedback cannot be read.
    pub async fn single_source(
        &self,
        user: &UserId,
        source: &Source,
        query: &ListQuery,
    ) -> Result<Vec<ScoredId>, RecommendError> {
        let rows = self.inner.data.user_feedback(user, None).await?;
        let now = Timestamp::now();
        Ok(self.with_inputs((user, &rows), query.categories(), now, |inputs, workspace| {
            query.cut(scored(inputs.view, &single(inputs, source, query.depth(), workspace)))
        }))
    }

    fn answer_from(&self, entry: &UserEntry, query: &ListQuery) -> Option<Vec<ScoredId>> {
        let plan = self.inner.plan.load();
        let now = Timestamp::now();
        if !plan.cached_lists || !self.is_fresh(entry, &plan, now) {
            return None;
        }
        let view = self.inner.catalogue.view();
        if !plan.ranked && entry.catalogue != view.generation() {
            return None;
        }
        let eligibility = view.eligibility(query.categories(), published_after(&plan, now));
        let depth = query.depth();
        let mut answer = Vec::with_capacity(query.n.min(entry.items.len()));
        let mut passed = 0;
        for (item, score) in &entry.items {
            if passed == depth {
                break;
            }
            if view.slot(item.as_str()).is_some_and(|slot| view.is_eligible(slot, &eligibility)) {
                passed += 1;
                if passed > query.offset {
                    answer.push(ScoredId { id: SmolStr::new(item.as_str()), score: f64::from(*score) });
                }
            }
        }
        // A list that was cut off may go on with items that qualify; one that was not is all there is.
        let whole = entry.items.len() < plan.cache_size && query.categories().is_empty();
        (passed == depth || whole).then_some(answer)
    }

    fn is_fresh(&self, entry: &UserEntry, plan: &Plan, now: Timestamp) -> bool {
        let live = self.inner.live.load();
        let model_set = live.as_ref().map_or("", |live| live.set.id());
        let expire = i64::try_from(plan.cache_expire.as_nanos()).unwrap_or(i64::MAX);
        entry.model_set == model_set
            && entry.digest == plan.digest
            && entry.computed.plus_nanos(expire) > now
            && entry.stale_at.is_none_or(|stale_at| now < stale_at)
    }

    fn compute(&self, user: &UserId, rows: &[Feedback], query: &ListQuery, now: Timestamp) -> Made {
        let categories = query.categories();
        self.with_inputs((user, rows), categories, now, |inputs, workspace| {
            let kept =
                if inputs.plan.cached_lists && categories.is_empty() { inputs.plan.cache_size } else { 0 };
            let list = recommend(inputs, query.depth().max(kept), workspace);
            let entry = (kept > 0).then(|| UserEntry {
                model_set: inputs.live.map_or_else(String::new, |live| live.set.id().to_owned()),
                digest: inputs.plan.digest.clone(),
                catalogue: inputs.view.generation(),
                computed: now,
                stale_at: inputs.history.changes_at,
                items: list
                    .iter()
                    .take(kept)
                    .map(|place| (ItemId::new(inputs.view.id(place.slot)), place.score))
                    .collect(),
            });
            Made { answer: query.cut(scored(inputs.view, &list)), entry }
        })
    }

    fn with_inputs<T>(
        &self,
        (user, rows): (&UserId, &[Feedback]),
        categories: &[String],
        now: Timestamp,
        compute: impl FnOnce(&Inputs<'_>, &mut Workspace) -> T,
    ) -> T {
        let plan = self.plan();
        let live = self.live();
        let no_scales = TypeScales::default();
        let scales = live.as_ref().map_or(&no_scales, |live| &live.scales);
        let history = History::new(rows, &plan.types, scales, now);
        let view = self.inner.catalogue.view();
        let eligibility = view.eligibility(categories, published_after(&plan, now));
        let inputs = Inputs {
            live: live.as_deref(),
            view: &view,
            plan: &plan,
            user: live.as_ref().and_then(|live| live.set.users.index(user.as_str())),
            history: &history,
            eligibility: &eligibility,
        };
        WORKSPACE.with_borrow_mut(|workspace| compute(&inputs, workspace))
    }

    /// What a user likes now, as indexes and weights.
    async fn liked(&self, user: &UserId, live: &Live) -> Result<(Vec<u32>, Vec<f32>), RecommendError> {
        let rows = self.inner.data.user_feedback(user, None).await?;
        let plan = self.plan();
        let history = History::new(&rows, &plan.types, &live.scales, Timestamp::now());
        let known = history.liked.iter();
        Ok(known
            .filter_map(|liked| Some((live.set.items.index(liked.item.as_str())?, liked.weight)))
            .collect())
    }

    /// Items a reader has met, up to the allowed error of clocks.
    async fn met(&self, reader: Option<&UserId>) -> Result<FxHashSet<SmolStr>, RecommendError> {
        let Some(reader) = reader else { return Ok(FxHashSet::default()) };
        let ahead = i64::try_from(self.inner.clock_error.as_nanos()).unwrap_or(i64::MAX);
        let until = Timestamp::now().plus_nanos(ahead);
        let rows = self.inner.data.user_feedback(reader, Some(until)).await?;
        Ok(rows.iter().map(|row| SmolStr::new(row.item_id.as_str())).collect())
    }
}

/// A computed list: what to answer, and what to keep.
struct Made {
    answer: Vec<ScoredId>,
    entry: Option<UserEntry>,
}

fn scored(view: &CatalogueView<'_>, list: &[Ranked]) -> Vec<ScoredId> {
    list.iter()
        .map(|place| ScoredId { id: view.id(place.slot).clone(), score: f64::from(place.score) })
        .collect()
}

fn published_after(plan: &Plan, now: Timestamp) -> Option<Timestamp> {
    let ttl = i64::try_from(plan.item_ttl?.as_nanos()).unwrap_or(i64::MAX);
    Some(now.plus_nanos(-ttl))
}
