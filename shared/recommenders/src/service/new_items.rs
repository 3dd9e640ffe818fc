//! Items that the live ModelSet has learned nothing about: noted when somebody reacts to them, and folded in from the
//! users who like them by a task in the background.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use ulex_algorithms::model_set::{Collaborative, FoldInMemory};
use ulex_domain::{Feedback, ItemId, Timestamp, UserId};
use ulex_storage::StorageError;

use super::Recommender;
use crate::catalogue::{CatalogueView, Eligibility};
use crate::fresh_items::FreshItem;
use crate::history::{History, Signal, said};
use crate::live::Live;
use crate::pipeline::MAX_LIKED;
use crate::plan::Plan;

/// Items waiting at most; what is noted beyond is found again when the next ModelSet goes live.
const MAX_WAITING: usize = 10_000;
/// Items looked at in one call at most.
const ITEMS_A_CALL: usize = 256;
/// Users whose vectors are solved in one call, after which the call ends.
const USERS_A_CALL: usize = 1_000;
/// Rows read in one call, of items and of users, after which the call ends: what is read here is read by every process.
const ROWS_A_CALL: usize = 5_000;
/// An item's vector is solved from at most so many users, the latest; it is settled then.
const MAX_FANS: usize = 100;
/// An item of twice as many rows is not read again for two seconds, one of ten times as many for ten: about one that many
/// people do something with, and nobody likes, there is little to learn and much to read. No more than [`ROWS_A_CALL`] of
/// an item are read.
const ROWS_A_SECOND: f64 = 100.0;

/// Slots of items to look at, each once, first come first served.
#[derive(Debug, Default)]
pub(super) struct Noted {
    waiting: Mutex<Waiting>,
    /// Held by the call that folds in.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<u32>,
    slots: FxHashSet<u32>,
    /// Until when an item is not looked at again.
    resting: FxHashMap<u32, Instant>,
}

impl Waiting {
    fn note(&mut self, slot: u32) {
        if self.order.len() < MAX_WAITING && self.slots.insert(slot) {
            self.order.push_back(slot);
        }
    }

    /// The first of those that may be looked at now; the others keep waiting.
    fn take(&mut self, count: usize, now: Instant) -> Vec<u32> {
        let (mut taken, mut kept) = (Vec::new(), VecDeque::new());
        while taken.len() < count
            && let Some(slot) = self.order.pop_front()
        {
            if self.resting.get(&slot).is_some_and(|until| *until > now) {
                kept.push_back(slot);
            } else {
                self.resting.remove(&slot);
                self.slots.remove(&slot);
                taken.push(slot);
            }
        }
        kept.append(&mut self.order);
        self.order = kept;
        taken
    }

    /// So many rows of the item were read.
    fn has_read(&mut self, slot: u32, rows: usize, now: Instant) {
        let rest = rows as f64 / ROWS_A_SECOND;
        if rest <= 1.0 {
            return;
        }
        if self.resting.len() >= MAX_WAITING {
            self.resting.retain(|_, until| *until > now);
        }
        if self.resting.len() < MAX_WAITING {
            self.resting.insert(slot, now + Duration::from_secs_f64(rest));
        }
    }
}

impl Recommender {
    /// Solves the vectors of items that came after the fit, as far as users who are known by now like them, and returns
    /// how many vectors are new or have changed. To be called about once a second by one task; does a bounded amount of
    /// work and leaves the rest for the next call.
    ///
    /// From then on collaborative filtering recommends these items, and what users do with them says something about the
    /// users. Lists that were made before learn of it within a minute.
    ///
    /// # Errors
    ///
    /// Whatever the data store reports; what was not looked at is looked at by the next call.
    pub async fn fold_in_new_items(&self) -> Result<usize, StorageError> {
        let Ok(_turn) = self.inner.noted.turn.try_lock() else { return Ok(0) };
        let Some(live) = self.live().filter(|live| live.folds_items_in()) else { return Ok(0) };
        let mut batch = VecDeque::from(self.inner.noted.waiting.lock().take(ITEMS_A_CALL, Instant::now()));
        let mut solver =
            Solver { live: &live, plan: &self.plan(), users: FxHashMap::default(), rows_read: 0 };
        let (mut changed, mut gone, mut outcome) = (Vec::new(), Vec::new(), Ok(()));
        while solver.users.len() < USERS_A_CALL
            && solver.rows_read < ROWS_A_CALL
            && let Some(slot) = batch.pop_front()
        {
            match self.look_at(slot, &mut solver).await {
                Ok(Some(item)) if live.fresh_items().at(slot) == Some(&item) => {}
                Ok(Some(item)) => changed.push(item),
                Ok(None) => gone.push(slot),
                Err(reason) => {
                    batch.push_front(slot);
                    outcome = Err(reason);
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
        let mut waiting = self.inner.noted.waiting.lock();
        batch.into_iter().for_each(|slot| waiting.note(slot));
        drop(waiting);
        let now = Timestamp::now();
        let fresh = live.fresh_items();
        gone.retain(|&slot| fresh.at(slot).is_some());
        if !changed.is_empty() || !gone.is_empty() {
            live.change_fresh_items(|fresh| fresh.with(&changed, &gone, now));
        }
        outcome.map(|()| changed.len())
    }

    /// The item as it is to be from now on; `None` if nothing can be said about it.
    async fn look_at(&self, slot: u32, solver: &mut Solver<'_>) -> Result<Option<FreshItem>, StorageError> {
        let id = {
            let view = self.inner.catalogue.view();
            if !view.exists(slot) || solver.live.has_learned(slot) {
                return Ok(None);
            }
            ItemId::new(view.id(slot))
        };
        if let Some(settled) = solver.live.fresh_items().at(slot).filter(|item| item.users >= MAX_FANS) {
            return Ok(Some(settled.clone()));
        }
        let now = Timestamp::now();
        let rows = self.inner.data.item_feedback(&id, Some(now), Some(ROWS_A_CALL)).await?;
        solver.rows_read += rows.len();
        self.inner.noted.waiting.lock().has_read(slot, rows.len(), Instant::now());
        let (said, _) = said(&rows, |row| &row.user_id, (&solver.plan.types, &solver.live.scales), now);
        let fans = said.into_iter().filter(|fan| fan.signal == Signal::Positive).take(MAX_FANS);
        let fans: Vec<(UserId, f32, Timestamp)> =
            fans.map(|fan| (fan.about.clone(), fan.weight, fan.updated)).collect();
        let strangers = fans.iter().map(|fan| &fan.0).filter(|user| !solver.users.contains_key(*user));
        let strangers: Vec<UserId> = strangers.cloned().collect();
        if !strangers.is_empty() {
            let rows = self.inner.data.users_feedback(&strangers, Some(now)).await?;
            solver.rows_read += rows.len();
            solver.solve_users(&self.inner.catalogue.view(), strangers, &rows, now);
        }
        Ok(solver.solve_item(slot, &fans))
    }

    /// Takes note of feedback on items that the models know nothing about.
    pub(super) fn note_feedback(&self, live: Option<&Live>, pairs: &[(UserId, ItemId)]) {
        let Some(live) = live.filter(|live| live.folds_items_in()) else { return };
        let view = self.inner.catalogue.view();
        let slots = pairs.iter().filter_map(|(_, item)| view.slot(item.as_str()));
        let unknown: Vec<u32> = slots.filter(|&slot| !live.has_learned(slot)).collect();
        drop(view);
        if !unknown.is_empty() {
            let mut waiting = self.inner.noted.waiting.lock();
            unknown.into_iter().for_each(|slot| waiting.note(slot));
        }
    }

    /// Takes note of every item that models which have just gone live know nothing about, the newest first.
    pub(super) fn note_unknown_items(&self, live: &Live) {
        if !live.folds_items_in() {
            return;
        }
        let view = self.inner.catalogue.view();
        let any = Eligibility::any();
        let unknown = view.newest(&any).filter(|&slot| !live.has_learned(slot));
        let unknown: Vec<u32> = unknown.take(MAX_WAITING).collect();
        drop(view);
        let mut waiting = self.inner.noted.waiting.lock();
        unknown.into_iter().for_each(|slot| waiting.note(slot));
    }

    /// Drops what was learned about an item that is gone; one that comes back under its id is another item.
    pub(super) fn forget_item(&self, live: Option<&Live>, item: &ItemId) {
        let Some(live) = live else { return };
        let slot = self.inner.catalogue.view().slot(item.as_str());
        if let Some(slot) = slot.filter(|&slot| live.fresh_items().at(slot).is_some()) {
            live.change_fresh_items(|fresh| fresh.with(&[], &[slot], Timestamp::ZERO));
        }
    }
}

/// Vectors of users, each solved once in a call.
struct Solver<'a> {
    live: &'a Live,
    plan: &'a Plan,
    /// One vector for each collaborative model, empty for one that has none; `None` for a user about whom the models know
    /// nothing.
    users: FxHashMap<UserId, Option<Vec<Vec<f32>>>>,
    rows_read: usize,
}

impl Solver<'_> {
    /// Folds users in from all their feedback.
    fn solve_users(
        &mut self,
        view: &CatalogueView<'_>,
        users: Vec<UserId>,
        rows: &[Feedback],
        now: Timestamp,
    ) {
        let mut memory = FoldInMemory::default();
        let mut of_users: FxHashMap<&UserId, Vec<Feedback>> = FxHashMap::default();
        for row in rows {
            of_users.entry(&row.user_id).or_default().push(row.clone());
        }
        for user in users {
            let rows = of_users.remove(&user).unwrap_or_default();
            let history = History::new(&rows, &self.plan.types, &self.live.scales, now);
            let known = history.liked.iter().filter_map(|liked| {
                let slot = view.slot(liked.item.as_str()).filter(|&slot| self.live.has_learned(slot))?;
                Some((self.live.index(slot)?, liked.weight))
            });
            let (items, weights): (Vec<u32>, Vec<f32>) = known.take(MAX_LIKED).unzip();
            let vectors = self.live.set.collaborative.iter().map(|model| match model {
                Collaborative::Linear(_) => Some(Vec::new()),
                Collaborative::Factors(factors) => {
                    factors.user_vector((&items, &weights), |_| None, &mut memory).map(<[f32]>::to_vec)
                }
            });
            let vectors = vectors.collect();
            self.users.insert(user, vectors);
        }
    }

    fn solve_item(&self, slot: u32, fans: &[(UserId, f32, Timestamp)]) -> Option<FreshItem> {
        let mut memory = FoldInMemory::default();
        let known: Vec<(&Vec<Vec<f32>>, f32, Timestamp)> = fans
            .iter()
            .filter_map(|(user, weight, updated)| Some((self.users.get(user)?.as_ref()?, *weight, *updated)))
            .collect();
        let liked_at = known.iter().map(|fan| fan.2).max()?;
        let weights: Vec<f32> = known.iter().map(|fan| fan.1).collect();
        let vectors =
            self.live.set.collaborative.iter().enumerate().map(|(model, of_model)| match of_model {
                Collaborative::Linear(_) => Some(Vec::new()),
                Collaborative::Factors(factors) if factors.item_side.is_none() => Some(Vec::new()),
                Collaborative::Factors(factors) => {
                    let users: Vec<f32> = known.iter().flat_map(|fan| &fan.0[model]).copied().collect();
                    factors.item_vector(&users, &weights, &mut memory).map(<[f32]>::to_vec)
                }
            });
        let vectors = vectors.collect::<Option<Vec<_>>>()?;
        Some(FreshItem { slot, index: self.live.index(slot), liked_at, users: known.len(), vectors })
    }
}

#[cfg(test)]
mod tests;
