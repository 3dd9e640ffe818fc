//! Answers: the one face of recommendation for REST handlers, refresh jobs and the dashboard.
//!
//! Every answer is made from exactly one ModelSet and one view of the catalogue. A user's cached list is used while
//! nothing it depends on has changed; otherwise the list is computed at once from what the user has done up to
//! now and kept. So feedback changes the very next answer, also for a user who did not exist a second ago.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use metrics::{Counter, Histogram, counter, histogram};
use rustc_hash::FxHashSet;
use smol_str::SmolStr;
use ulex_algorithms::model_set::ModelSet;
use ulex_domain::{Change, Feedback, ItemId, Timestamp, UserId};
use ulex_storage::StorageError;
use ulex_storage::cache::{CacheStore, UserEntry, UserView};
use ulex_storage::data::DataStore;

use crate::catalogue::{Catalogue, CatalogueView};
use crate::history::{History, TypeScales};
use crate::live::Live;
use crate::pipeline::{Inputs, Ranked, Workspace, recommend};
use crate::plan::Plan;
use crate::request::{ListQuery, RecommendError, ScoredId};

mod hasty;
mod lists;
mod new_items;

use hasty::LeanPlans;
pub use hasty::{Effort, Quality, Recommended};
use new_items::Noted;

/// A list that was made before new items became known is good for this long.
const NEW_ITEMS_WAIT: Duration = Duration::from_secs(60);

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
    lean: ArcSwap<LeanPlans>,
    clock_error: Duration,
    noted: Noted,
    measures: Measures,
}

/// What is counted for `/metrics`, resolved once.
struct Measures {
    cached: Counter,
    stale: Counter,
    absent: Counter,
    seconds: Histogram,
}

impl Measures {
    fn new() -> Self {
        let lists = |outcome: &'static str| counter!("ulex_lists_total", "cache" => outcome);
        Self {
            cached: lists("hit"),
            stale: lists("stale"),
            absent: lists("miss"),
            seconds: histogram!("ulex_list_seconds"),
        }
    }
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
            lean: ArcSwap::from_pointee(LeanPlans::of(&plan)),
            plan: ArcSwap::from_pointee(plan),
            clock_error,
            noted: Noted::default(),
            measures: Measures::new(),
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
        self.inner.lean.store(Arc::new(LeanPlans::of(&plan)));
        self.inner.plan.store(Arc::new(plan));
    }

    /// The models in use.
    #[must_use]
    pub fn live(&self) -> Option<Arc<Live>> {
        self.inner.live.load_full()
    }

    /// Answers from these models from now on; requests under way finish with the ones they started with.
    pub fn use_models(&self, set: Arc<ModelSet>) {
        let live = Arc::new(Live::new(set, &self.inner.catalogue));
        self.inner.live.store(Some(Arc::clone(&live)));
        self.note_unknown_items(&live);
    }

    /// Takes over what a write has changed. Must be done before the write is answered.
    ///
    /// # Errors
    ///
    /// Whatever the cache reports.
    pub async fn applied(&self, changes: &[Change]) -> Result<(), StorageError> {
        self.followed(changes);
        let mut users: FxHashSet<&UserId> = FxHashSet::default();
        for change in changes {
            match change {
                Change::Users { user_ids } => users.extend(user_ids),
                Change::UserDeleted { user_id } => {
                    users.insert(user_id);
                }
                Change::Feedback { pairs } => users.extend(pairs.iter().map(|(user, _)| user)),
                Change::Items { .. } | Change::ItemDeleted { .. } => {}
            }
        }
        if users.is_empty() {
            return Ok(());
        }
        let users: Vec<UserId> = users.into_iter().cloned().collect();
        self.inner.cache.invalidate_users(&users).await
    }

    /// Drops every list: the data that they were made of was put back to an earlier state.
    ///
    /// # Errors
    ///
    /// As [`Recommender::applied`].
    pub async fn drop_all_lists(&self) -> Result<(), StorageError> {
        self.inner.cache.clear().await
    }

    /// Takes over what another process has applied: what is known of items. The shared cache has been told by that one.
    pub fn followed(&self, changes: &[Change]) {
        let live = self.live();
        for change in changes {
            match change {
                Change::Items { items } => self.inner.catalogue.put(items),
                Change::ItemDeleted { item_id, version } => {
                    self.inner.catalogue.remove(item_id, *version);
                    self.forget_item(live.as_deref(), item_id);
                }
                Change::Feedback { pairs } => self.note_feedback(live.as_deref(), pairs),
                Change::Users { .. } | Change::UserDeleted { .. } => {}
            }
        }
    }

    /// The answer, if the user's cached list gives it without waiting: the same that [`Recommender::recommend`] gives.
    #[must_use]
    pub fn recommend_now(&self, user: &UserId, query: &ListQuery) -> Option<Vec<ScoredId>> {
        let entry = self.inner.cache.user_now(user)?.entry?;
        let kept = self.kept(&entry, query).filter(|kept| kept.whole)?;
        self.inner.measures.cached.increment(1);
        Some(kept.answer)
    }

    /// The best items for a user.
    ///
    /// # Errors
    ///
    /// [`RecommendError::Storage`] if the user's feedback cannot be read.
    pub async fn recommend(&self, user: &UserId, query: &ListQuery) -> Result<Vec<ScoredId>, RecommendError> {
        // A cache that is away costs time, not answers.
        let view = self.inner.cache.user(user).await.unwrap_or_default();
        self.recommend_from(view, user, query).await
    }

    async fn recommend_from(
        &self,
        view: UserView,
        user: &UserId,
        query: &ListQuery,
    ) -> Result<Vec<ScoredId>, RecommendError> {
        let mut continued = None;
        let measures = &self.inner.measures;
        let outcome = if view.entry.is_some() { &measures.stale } else { &measures.absent };
        if let Some(entry) = view.entry
            && let Some(kept) = self.kept(&entry, query)
        {
            if kept.whole {
                measures.cached.increment(1);
                return Ok(kept.answer);
            }
            continued = Some(entry);
        }
        outcome.increment(1);
        let rows = self.inner.data.user_feedback(user, None).await?;
        let now = Timestamp::now();
        let made = self.compute((user, &rows), query, continued.as_deref(), now);
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
        if !self.plan().cached_lists {
            return Ok(false);
        }
        let view = self.inner.cache.user(user).await?;
        let query = ListQuery { n: 1, ..ListQuery::default() };
        let kept = view.entry.as_ref().and_then(|entry| self.kept(entry, &query));
        if kept.is_some_and(|kept| kept.whole) {
            return Ok(false);
        }
        let rows = self.inner.data.user_feedback(user, None).await?;
        let made = self.compute((user, &rows), &query, None, Timestamp::now());
        if let Some(entry) = made.entry {
            self.inner.cache.put_user(user, entry, view.mark).await?;
        }
        Ok(true)
    }

    /// What a cached list still gives; `None` if it is stale.
    fn kept(&self, entry: &UserEntry, query: &ListQuery) -> Option<Kept> {
        let plan = self.inner.plan.load();
        let now = Timestamp::now();
        if !plan.cached_lists || !self.is_fresh(entry, &plan, now) {
            return None;
        }
        let view = self.inner.catalogue.view();
        let unchanged = entry.catalogue == view.generation();
        // Without a ranking, or before the first fit, a list is little more than an order of the catalogue.
        if !unchanged && (!plan.ranked || entry.model_set.is_empty()) {
            return None;
        }
        let (answer, passed) = eligible_part(entry, query, &view, published_after(&plan, now));
        // A list that was cut off may go on with items that qualify. One that was not held all there was, and still
        // does unless there are other items now.
        let was_cut = entry.items.len() >= plan.cache_size;
        if passed < query.depth() && !was_cut && !unchanged {
            return None;
        }
        Some(Kept { answer, whole: passed == query.depth() || !was_cut })
    }

    fn is_fresh(&self, entry: &UserEntry, plan: &Plan, now: Timestamp) -> bool {
        let live = self.inner.live.load();
        let (model_set, grown) = live.as_ref().map_or(("", None), |live| (live.set.id(), live.grown()));
        let age = |limit: Duration| entry.computed.plus_nanos(nanos(limit)) <= now;
        entry.model_set == model_set
            && entry.digest == plan.digest
            && !age(plan.cache_expire)
            && entry.stale_at.is_none_or(|stale_at| now < stale_at)
            && !(grown.is_some_and(|grown| grown >= entry.computed) && age(NEW_ITEMS_WAIT))
    }

    /// Makes a user's list anew. What is asked for may lie beyond the end of a cached list that is still good: the answer
    /// then begins with that list, so that whoever turns pages meets every item once.
    fn compute(
        &self,
        of: (&UserId, &[Feedback]),
        query: &ListQuery,
        continued: Option<&UserEntry>,
        now: Timestamp,
    ) -> Made {
        let categories = query.categories();
        let begun = Instant::now();
        let made = self.with_inputs(of, categories, now, |inputs, workspace| {
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
            let list = match continued {
                Some(first) => after(inputs, first, list),
                None => list,
            };
            Made { answer: query.cut(scored(inputs.view, &list)), entry }
        });
        self.inner.measures.seconds.record(begun.elapsed().as_secs_f64());
        made
    }

    fn with_inputs<T>(
        &self,
        (user, rows): (&UserId, &[Feedback]),
        categories: &[String],
        now: Timestamp,
        compute: impl FnOnce(&Inputs<'_>, &mut Workspace) -> T,
    ) -> T {
        self.with_plan((&self.plan(), user, rows), categories, now, compute)
    }

    fn with_plan<T>(
        &self,
        (plan, user, rows): (&Plan, &UserId, &[Feedback]),
        categories: &[String],
        now: Timestamp,
        compute: impl FnOnce(&Inputs<'_>, &mut Workspace) -> T,
    ) -> T {
        let live = self.live();
        let no_scales = TypeScales::default();
        let scales = live.as_ref().map_or(&no_scales, |live| &live.scales);
        let history = History::new(rows, &plan.types, scales, now);
        let view = self.inner.catalogue.view();
        let eligibility = view.eligibility(categories, published_after(plan, now));
        let inputs = Inputs {
            live: live.as_deref(),
            view: &view,
            plan,
            user: live.as_ref().and_then(|live| live.set.users.index(user.as_str())),
            history: &history,
            eligibility: &eligibility,
        };
        WORKSPACE.with_borrow_mut(|workspace| compute(&inputs, workspace))
    }

    /// Items a reader has met, up to the allowed error of clocks.
    async fn met(&self, reader: Option<&UserId>) -> Result<FxHashSet<SmolStr>, RecommendError> {
        let Some(reader) = reader else { return Ok(FxHashSet::default()) };
        let until = Timestamp::now().plus_nanos(nanos(self.inner.clock_error));
        let rows = self.inner.data.user_feedback(reader, Some(until)).await?;
        Ok(rows.iter().map(|row| SmolStr::new(row.item_id.as_str())).collect())
    }
}

/// What a cached list gives, and whether that is all that was asked for or all there is.
struct Kept {
    answer: Vec<ScoredId>,
    whole: bool,
}

/// What of a cached list may be shown and was asked for, and how many may be shown down to its end.
fn eligible_part(
    entry: &UserEntry,
    query: &ListQuery,
    view: &CatalogueView<'_>,
    published_after: Option<Timestamp>,
) -> (Vec<ScoredId>, usize) {
    let eligibility = view.eligibility(query.categories(), published_after);
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
    (answer, passed)
}

/// The eligible part of a cached list, and after it what of `list` is not in it.
fn after(inputs: &Inputs<'_>, first: &UserEntry, list: Vec<Ranked>) -> Vec<Ranked> {
    let place = |(item, score): &(ItemId, f32)| {
        let slot = inputs.view.slot(item.as_str())?;
        inputs.view.is_eligible(slot, inputs.eligibility).then_some(Ranked { slot, score: *score })
    };
    let mut whole: Vec<Ranked> = first.items.iter().filter_map(place).collect();
    let listed: FxHashSet<u32> = whole.iter().map(|place| place.slot).collect();
    whole.extend(list.into_iter().filter(|place| !listed.contains(&place.slot)));
    whole
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
    Some(now.plus_nanos(-nanos(plan.item_ttl?)))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
