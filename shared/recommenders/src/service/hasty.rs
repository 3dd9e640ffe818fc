//! Lists for less work than they deserve, while there is too much of it.
//!
//! Whatever is left out, two promises stay: an answer holds no item that may not be shown, and a list that is made now
//! holds none that the user has met. A kept list that is out of date was right when it was made.

use ulex_domain::{Timestamp, UserId};
use ulex_storage::cache::UserEntry;

use super::{Recommender, eligible_part, published_after, scored};
use crate::pipeline::recommend;
use crate::plan::{Plan, Source};
use crate::request::{ListQuery, RecommendError, ScoredId};

/// How much may be done for one list; each allows less than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Everything.
    #[default]
    Full,
    /// A kept list will do even if it is out of date. Who has none gets everything.
    Kept,
    /// As before; who has none gets what one source says, in its order.
    Unranked,
    /// As before; who has none gets a leaderboard.
    Leaderboard,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// The best there is.
    Full,
    /// A kept list that is out of date.
    Stale,
    /// One source's own order.
    Unranked,
    /// What everybody gets.
    Leaderboard,
}

/// A list, and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommended {
    /// Best first.
    pub list: Vec<ScoredId>,
    /// How it was made.
    pub quality: Quality,
}

/// Plans of lists that are made for less.
pub(super) struct LeanPlans {
    unranked: Plan,
    leaderboard: Plan,
}

impl LeanPlans {
    pub(super) fn of(plan: &Plan) -> Self {
        let only = |source: Source| Plan {
            sources: vec![source],
            ranked: false,
            replacement: None,
            cached_lists: false,
            ..plan.clone()
        };
        let mut known = plan.sources.iter().chain(&plan.fallback);
        let first = plan.sources.first().cloned().unwrap_or(Source::Latest);
        let personal = if plan.collaborative { Source::Collaborative } else { first };
        let board = known.find(|source| matches!(source, Source::Leaderboard(_))).cloned();
        let board = board.or_else(|| plan.leaderboards.first().cloned().map(Source::Leaderboard));
        Self { unranked: only(personal), leaderboard: only(board.unwrap_or(Source::Latest)) }
    }
}

impl Recommender {
    /// [`Recommender::recommend_now`] for no more than `effort`.
    #[must_use]
    pub fn recommend_now_within(
        &self,
        user: &UserId,
        query: &ListQuery,
        effort: Effort,
    ) -> Option<Recommended> {
        let entry = self.inner.cache.user_now(user)?.entry?;
        self.kept_within(&entry, query, effort)
    }

    /// [`Recommender::recommend`] for no more than `effort`.
    ///
    /// # Errors
    ///
    /// As [`Recommender::recommend`].
    pub async fn recommend_within(
        &self,
        user: &UserId,
        query: &ListQuery,
        effort: Effort,
    ) -> Result<Recommended, RecommendError> {
        let view = self.inner.cache.user(user).await.unwrap_or_default();
        if let Some(entry) = &view.entry
            && let Some(kept) = self.kept_within(entry, query, effort)
        {
            return Ok(kept);
        }
        let lean = self.inner.lean.load_full();
        let (plan, quality) = match effort {
            Effort::Full | Effort::Kept => {
                let list = self.recommend_from(view, user, query).await?;
                return Ok(Recommended { list, quality: Quality::Full });
            }
            Effort::Unranked => (&lean.unranked, Quality::Unranked),
            Effort::Leaderboard => (&lean.leaderboard, Quality::Leaderboard),
        };
        let rows = self.inner.data.user_feedback(user, None).await?;
        let of = (plan, user, rows.as_slice());
        let list = self.with_plan(of, query.categories(), Timestamp::now(), |inputs, workspace| {
            query.cut(scored(inputs.view, &recommend(inputs, query.depth(), workspace)))
        });
        Ok(Recommended { list, quality })
    }

    fn kept_within(&self, entry: &UserEntry, query: &ListQuery, effort: Effort) -> Option<Recommended> {
        if let Some(kept) = self.kept(entry, query).filter(|kept| kept.whole) {
            self.inner.measures.cached.increment(1);
            return Some(Recommended { list: kept.answer, quality: Quality::Full });
        }
        let plan = self.inner.plan.load();
        if effort == Effort::Full || !plan.cached_lists {
            return None;
        }
        let view = self.inner.catalogue.view();
        let (list, passed) = eligible_part(entry, query, &view, published_after(&plan, Timestamp::now()));
        let whole = passed == query.depth() || entry.items.len() < plan.cache_size;
        (whole && passed > 0).then_some(Recommended { list, quality: Quality::Stale })
    }
}

#[cfg(test)]
mod tests;
