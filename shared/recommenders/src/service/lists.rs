//! Every list but the recommendations: of everybody, of one item, of one user, of a session.

use ulex_domain::{Feedback, ItemId, Timestamp, UserId};

use super::{Recommender, WORKSPACE, published_after, scored};
use crate::history::{History, TypeScales};
use crate::live::Live;
use crate::pipeline::{Inputs, single};
use crate::plan::Source;
use crate::request::{ListQuery, RecommendError, ScoredId};

impl Recommender {
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
}

/// The named recommender, or the first one.
fn pick<'a>(
    name: Option<&str>,
    configured: &'a [String],
    kind: &'static str,
    disabled: &'static str,
) -> Result<&'a str, RecommendError> {
    match name {
        None => configured.first().map(String::as_str).ok_or(RecommendError::Disabled(disabled)),
        Some(name) => configured
            .iter()
            .find(|known| *known == name)
            .map(String::as_str)
            .ok_or_else(|| RecommendError::UnknownRecommender { kind, name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
