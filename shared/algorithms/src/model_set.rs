//! Everything one training cycle produced: immutable, one id, served whole or not at all.
//!
//! A ModelSet needs no user vectors at serving time: what a user likes now is folded in, so a list follows the last
//! click and a user who is new has one. It travels as one snapshot ([`ModelSet::to_bytes`]); a reader
//! verifies it before it swaps.

mod bytes;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::click_through::{FeatureRows, Layout, Ranker};
use crate::dictionary::Dictionary;
use crate::interactions::Interactions;
use crate::linear_algebra::product::gram;
use crate::list::blend::Blend;
use crate::matrix_factorization::fold_in::{FoldIn, Objective, Scratch};
use crate::matrix_factorization::linear::LinearModel;
use crate::matrix_factorization::{FactorModel, FactorizationError};
use crate::similarity::overlap::Shared;
use crate::similarity::{Neighbors, OverlapIndex};
use crate::top_k::Scored;

pub use bytes::ModelSetError;

/// What is known about a ModelSet without opening it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Unique for ever; sorts by age.
    pub id: String,
    /// Counts ModelSets that went live; a later one has a higher epoch, also one that is live again.
    pub epoch: u64,
    /// When the cycle ended, milliseconds since 1970.
    pub created_ms: i64,
    /// What [`ModelSet::content_digest`] gave when it was made; empty in older ones.
    pub content: String,
    /// Digest of the settings it was made under.
    pub settings_digest: String,
    /// Seed of the cycle.
    pub seed: u64,
    /// Users, items and liked pairs it was made from.
    pub users: usize,
    /// See [`Manifest::users`].
    pub items: usize,
    /// See [`Manifest::users`].
    pub liked: usize,
    /// Rows of feedback it was made from.
    pub rows: usize,
    /// How much a usual row of each feedback type is worth; divides its value.
    pub type_scales: BTreeMap<String, f32>,
    /// What was chosen: models, parameters.
    pub recipe: BTreeMap<String, serde_json::Value>,
    /// Figures on the test, such as `pipeline.ndcg@10`, and fit times in seconds.
    pub metrics: BTreeMap<String, f64>,
}

/// A collaborative model.
#[derive(Clone, Debug)]
pub enum Collaborative {
    /// Vectors of users and items.
    Factors(Factors),
    /// Weights between items: a user's score is the sum of the rows of what the user likes.
    Linear(LinearModel),
}

/// See [`Collaborative::Factors`].
#[derive(Clone, Debug)]
pub struct Factors {
    /// `als` or `bpr`.
    pub kind: String,
    /// The item vectors. Users have none: theirs are folded in.
    pub model: FactorModel,
    /// What folding in minimises.
    pub objective: Objective,
    /// How a user's vector is found from what the user likes.
    pub fold_in: FoldIn,
    /// How the vector of an item that the fit has not seen is found from who likes it.
    pub item_side: Option<ItemSide>,
}

/// What folding items in needs to know of all users of the fit.
#[derive(Clone, Debug)]
pub struct ItemSide {
    /// How many there were.
    pub users: usize,
    /// `Xᵀ X` of their vectors `X`, padded.
    pub products: Vec<f32>,
    fold_in: FoldIn,
}

impl ItemSide {
    /// Prepares for folding items in; `None` if there are no users or the products are of no use.
    #[must_use]
    pub fn new(products: Vec<f32>, users: usize, factors: usize, objective: Objective) -> Option<Self> {
        let fold_in = FoldIn::from_gram(products.clone(), factors, users, objective).ok();
        fold_in.filter(|_| users > 0).map(|fold_in| Self { users, products, fold_in })
    }
}

impl Factors {
    /// Prepares item vectors for folding users in, and what is left of the user vectors for folding items in.
    ///
    /// # Errors
    ///
    /// [`FactorizationError`] if objective or sizes are out of range.
    pub fn new(
        kind: impl Into<String>,
        model: FactorModel,
        objective: Objective,
    ) -> Result<Self, FactorizationError> {
        let fold_in = FoldIn::new(&model.items, model.factors, objective)?;
        let products = gram(&model.users, model.factors);
        let item_side = ItemSide::new(products, model.n_users(), model.factors, objective);
        let model = FactorModel { users: Vec::new(), ..model };
        Ok(Self { kind: kind.into(), model, objective, fold_in, item_side })
    }

    /// The vector of a user who likes `liked` (indexes and weights, in any order). `other` is asked first for the vector
    /// of an item and overrules the model. `None` if nothing is liked or the equations have no solution.
    pub fn user_vector<'m, 'v>(
        &'v self,
        liked: (&[u32], &[f32]),
        other: impl Fn(u32) -> Option<&'v [f32]> + Copy,
        memory: &'m mut FoldInMemory,
    ) -> Option<&'m [f32]> {
        let items = &self.model;
        let vector_of = |index: u32| other(index).or_else(|| Some(items.item(index as usize)));
        solved(&self.fold_in, items.factors, vector_of, liked, memory)
    }

    /// The vector of an item that the model does not hold, from the vectors of users who like it (one after the other)
    /// and how much each does. `None` if nobody does, or folding items in is impossible.
    pub fn item_vector<'m>(
        &self,
        users: &[f32],
        weights: &[f32],
        memory: &'m mut FoldInMemory,
    ) -> Option<&'m [f32]> {
        let k = self.model.factors;
        let indexes: Vec<u32> = (0..weights.len() as u32).collect();
        let vector_of = |index: u32| users.get(index as usize * k..(index as usize + 1) * k);
        solved(&self.item_side.as_ref()?.fold_in, k, vector_of, (&indexes, weights), memory)
    }
}

fn solved<'m, 'v>(
    fold_in: &FoldIn,
    factors: usize,
    vector_of: impl Fn(u32) -> Option<&'v [f32]> + Copy,
    liked: (&[u32], &[f32]),
    memory: &'m mut FoldInMemory,
) -> Option<&'m [f32]> {
    if liked.0.is_empty() {
        return None;
    }
    let place = memory.0.iter().position(|(vector, _)| vector.len() == factors).unwrap_or_else(|| {
        memory.0.push((vec![0.0; factors], fold_in.scratch()));
        memory.0.len() - 1
    });
    let (vector, scratch) = &mut memory.0[place];
    fold_in.solve_with(vector_of, liked, scratch, vector).ok()?;
    Some(vector)
}

/// The same list for everybody, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leaderboard {
    /// Name in the settings.
    pub name: String,
    /// Items and scores: the best overall, and after them those that are among the best of a category.
    pub entries: Vec<(u32, f64)>,
}

/// How scores become one order; learned on users whose next steps were held back.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineBlend {
    /// Names of the scorers, one for each column.
    pub scorers: Vec<String>,
    /// Weights and standardisation.
    pub blend: Blend,
    /// Probability = 1 / (1 + exp(-(slope · score + intercept))); the slope is positive.
    pub slope: f32,
    /// See [`PipelineBlend::slope`].
    pub intercept: f32,
}

impl PipelineBlend {
    /// The probability of each candidate; `scores` is candidate-major with NaN where a scorer has no opinion.
    #[must_use]
    pub fn probabilities(&self, scores: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        self.blend.apply(scores, &mut out);
        for score in &mut out {
            *score = 1.0 / (1.0 + (-(self.slope * *score + self.intercept)).exp());
        }
        out
    }
}

/// An item-to-item recommender.
#[derive(Clone, Debug)]
pub struct ItemNeighbors {
    /// Name in the settings.
    pub name: String,
    /// Similar items, as they are shown.
    pub neighbors: Arc<Neighbors>,
    /// By which items recommend others, where that is not the same: what looks alike to people and what predicts the next
    /// step are different questions, and the answer to the second was chosen on the validation.
    pub recall: Option<Arc<Neighbors>>,
}

impl ItemNeighbors {
    /// By which items recommend others.
    #[must_use]
    pub fn for_recall(&self) -> &Neighbors {
        self.recall.as_deref().unwrap_or(&self.neighbors)
    }
}

/// A user-to-user recommender.
#[derive(Clone, Debug)]
pub struct UserNeighbors {
    /// Name in the settings.
    pub name: String,
    /// Lists of the users at the time of the fit.
    pub neighbors: Arc<Neighbors>,
    /// Users are compared by what they like; so also users who are new, or have changed, can be compared.
    pub by_items: bool,
}

/// The click-through-rate model with the features of all users and items.
#[derive(Clone, Debug)]
pub struct RankerModel {
    /// Fields and features.
    pub layout: Layout,
    /// The model.
    pub ranker: Ranker,
    /// One row for each user, and one more for a user nobody knows.
    pub users: FeatureRows,
    /// One row for each item.
    pub items: FeatureRows,
}

impl RankerModel {
    /// The logit of each candidate, NaN for an item without features; `user` is `None` for somebody new.
    pub fn logits(&self, user: Option<u32>, items: &[u32], out: &mut Vec<f32>) {
        /// Keeps a calibration that says "always" or "never" finite.
        const SUREST: f32 = 1e-6;
        out.clear();
        let newcomer = self.users.len().saturating_sub(1);
        let row = user.map_or(newcomer, |user| user as usize).min(newcomer);
        if self.users.is_empty() {
            out.resize(items.len(), f32::NAN);
            return;
        }
        let user = self.ranker.user_vector(&self.users, row);
        self.ranker.score_candidates(&user, items, out);
        for (probability, &item) in out.iter_mut().zip(items) {
            let known = (item as usize) < self.ranker.n_items();
            let sure = probability.clamp(SUREST, 1.0 - SUREST);
            *probability = if known { (sure / (1.0 - sure)).ln() } else { f32::NAN };
        }
    }
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub struct ModelSet {
    /// What it is.
    pub manifest: Manifest,
    /// Users by index.
    pub users: Dictionary,
    /// Items by index.
    pub items: Dictionary,
    /// Who liked what at the time of the fit, users × items.
    pub liked: Interactions,
    /// Finds users by what they like, for recommending.
    pub overlap: OverlapIndex,
    /// Power of an item's popularity that divides what a similar user's liking it is worth.
    pub popularity_discount: f32,
    /// [`ModelSet::liked`] with that discount.
    pub discounted: Interactions,
    /// Collaborative models, the best one first.
    pub collaborative: Vec<Collaborative>,
    /// Item-to-item recommenders by name.
    pub item_to_item: Vec<ItemNeighbors>,
    /// User-to-user recommenders.
    pub user_to_user: Vec<UserNeighbors>,
    /// Leaderboards.
    pub leaderboards: Vec<Leaderboard>,
    /// The click-through-rate model.
    pub ranker: Option<RankerModel>,
    /// What the sources' scores are worth together.
    pub blend: Option<PipelineBlend>,
}

impl ModelSet {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.manifest.id
    }

    /// The leaderboard of this name.
    #[must_use]
    pub fn leaderboard(&self, name: &str) -> Option<&Leaderboard> {
        self.leaderboards.iter().find(|board| board.name == name)
    }

    /// The item-to-item recommender of this name.
    #[must_use]
    pub fn item_neighbors(&self, name: &str) -> Option<&ItemNeighbors> {
        self.item_to_item.iter().find(|known| known.name == name)
    }

    /// Users like one who likes `liked` (indexes and weights), best first, at most `k`. A recommender that compares by
    /// something else than liked items only knows users of the time of the fit.
    #[must_use]
    pub fn similar_users(
        &self,
        name: &str,
        user: Option<u32>,
        liked: (&[u32], &[f32]),
        k: usize,
    ) -> Vec<Scored> {
        self.similar_users_with(name, user, liked, (k, &mut Shared::default()))
    }

    /// [`ModelSet::similar_users`] with memory that the next call uses again; it grows to the number of users.
    #[must_use]
    pub fn similar_users_with(
        &self,
        name: &str,
        user: Option<u32>,
        liked: (&[u32], &[f32]),
        (k, memory): (usize, &mut Shared),
    ) -> Vec<Scored> {
        let Some(found) = self.user_to_user.iter().find(|known| known.name == name) else {
            return Vec::new();
        };
        if found.by_items && !liked.0.is_empty() {
            let mut similar = self.overlap.query_with(liked, k.saturating_add(1), memory);
            similar.retain(|other| Some(other.index) != user);
            similar.truncate(k);
            return similar;
        }
        let Some(user) = user else { return Vec::new() };
        let (users, scores) = found.neighbors.row(user);
        let pairs = users.iter().zip(scores).take(k);
        pairs.map(|(&index, &score)| Scored { index, score }).collect()
    }
}

/// Memory for folding in; has some for each length of vectors it has met.
#[derive(Clone, Debug, Default)]
pub struct FoldInMemory(Vec<(Vec<f32>, Scratch)>);

impl Collaborative {
    /// `als`, `bpr` or `ease`.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Factors(factors) => &factors.kind,
            Self::Linear(_) => "ease",
        }
    }

    /// Replaces `scores` by the score of every item for a user who likes `liked` (indexes and weights, in any order).
    /// Leaves it empty if there is no answer: nothing is liked, or the equations have no solution.
    pub fn scores_into(&self, liked: (&[u32], &[f32]), memory: &mut FoldInMemory, scores: &mut Vec<f32>) {
        scores.clear();
        if liked.0.is_empty() {
            return;
        }
        match self {
            Self::Linear(linear) => linear.scores_into(liked, scores),
            Self::Factors(factors) => {
                if let Some(vector) = factors.user_vector(liked, |_| None, memory) {
                    factors.model.scores_into(vector, scores);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
