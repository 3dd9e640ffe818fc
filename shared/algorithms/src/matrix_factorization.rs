//! Users and items as vectors whose product is a score, and linear relatives of the idea.
//!
//! | model | file | what it is good at |
//! |---|---|---|
//! | implicit ALS | [`implicit_als`] | accuracy per second of fitting; new users without a new fit ([`fold_in`]) |
//! | BPR | [`bpr`] | large catalogues with few interactions per user |
//! | EASE | [`linear`] | best accuracy for catalogues up to about ten thousand items |
//!
//! Lists for all users at once: [`batch`].

pub mod batch;
pub mod bpr;
pub mod conjugate;
pub mod fold_in;
pub mod implicit_als;
pub mod linear;
pub mod subspace;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::interactions::Interactions;
use crate::simd;
use crate::top_k::{Scored, TopK};

/// Why there is no model. All are permanent: the same input fails again.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum FactorizationError {
    /// A parameter is outside its range.
    #[error("{name} must be {expected}, got {actual}")]
    InvalidParameter {
        /// Field name in the parameters.
        name: &'static str,
        /// The accepted range.
        expected: &'static str,
        /// The rejected value.
        actual: f64,
    },
    /// A weight is negative or not finite.
    #[error("weights must be finite and non-negative, row {row} has another")]
    InvalidWeight {
        /// Row of the interactions (or column, while items are solved).
        row: usize,
    },
    /// A system of equations has no solution in single precision.
    #[error("the equations of row {row} have no solution: raise the regularization")]
    Unsolvable {
        /// Row of the side being solved.
        row: usize,
    },
    /// The data do not fit the model or the method.
    #[error("{reason}")]
    Unsuitable {
        /// What does not fit.
        reason: &'static str,
    },
}

/// Refuses a parameter outside `accepted`.
pub(crate) fn check(
    name: &'static str,
    actual: f64,
    accepted: bool,
    expected: &'static str,
) -> Result<(), FactorizationError> {
    if accepted && actual.is_finite() {
        return Ok(());
    }
    Err(FactorizationError::InvalidParameter { name, expected, actual })
}

/// Share of all pairs that have an entry; 0 without pairs.
pub(crate) fn density(interactions: &Interactions) -> f64 {
    let pairs = interactions.n_rows() as f64 * interactions.n_cols() as f64;
    interactions.len() as f64 / pairs.max(1.0)
}

/// One vector per user and per item; a score is their dot product. Row-major, `factors` numbers per row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FactorModel {
    /// Length of a vector.
    pub factors: usize,
    /// `n_users × factors`.
    pub users: Vec<f32>,
    /// `n_items × factors`.
    pub items: Vec<f32>,
}

impl FactorModel {
    /// Number of users.
    #[must_use]
    pub fn n_users(&self) -> usize {
        self.users.len().checked_div(self.factors).unwrap_or(0)
    }

    /// Number of items.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.items.len().checked_div(self.factors).unwrap_or(0)
    }

    /// The vector of a user; empty if unknown.
    #[must_use]
    pub fn user(&self, user: usize) -> &[f32] {
        self.users.get(user * self.factors..(user + 1) * self.factors).unwrap_or(&[])
    }

    /// The vector of an item; empty if unknown.
    #[must_use]
    pub fn item(&self, item: usize) -> &[f32] {
        self.items.get(item * self.factors..(item + 1) * self.factors).unwrap_or(&[])
    }

    /// The score of a pair; 0 if either is unknown.
    #[must_use]
    pub fn score(&self, user: usize, item: usize) -> f32 {
        simd::dot(self.user(user), self.item(item))
    }

    /// Writes the score of every item for a user's vector, which may come from [`fold_in`].
    pub fn scores_into(&self, user: &[f32], scores: &mut Vec<f32>) {
        scores.clear();
        scores.resize(self.n_items(), 0.0);
        if user.len() == self.factors {
            simd::matrix_vector(&self.items, user, scores);
        }
    }

    /// The best `k` items for a user's vector that are not in `seen` (ascending), best first.
    ///
    /// `scores` is scratch, kept by the caller to save the allocation.
    #[must_use]
    pub fn recommend_into(&self, user: &[f32], seen: &[u32], k: usize, scores: &mut Vec<f32>) -> Vec<Scored> {
        self.scores_into(user, scores);
        best_unseen(scores, seen, k)
    }
}

/// The best `k` indexes of a dense score list that are not in `seen` (ascending).
#[must_use]
pub fn best_unseen(scores: &[f32], seen: &[u32], k: usize) -> Vec<Scored> {
    let mut top = TopK::new(k);
    let mut threshold = f32::NEG_INFINITY;
    let mut seen = seen.iter().copied().peekable();
    for (item, &score) in scores.iter().enumerate() {
        let item = item as u32;
        if seen.next_if_eq(&item).is_some() {
            continue;
        }
        if score > threshold {
            top.push(item, score);
            threshold = top.threshold();
        }
    }
    top.into_sorted()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> FactorModel {
        FactorModel {
            factors: 2,
            users: vec![1.0, 0.0, 0.0, 1.0],
            items: vec![1.0, 5.0, 3.0, 2.0, 2.0, 9.0, 3.0, 0.0],
        }
    }

    #[test]
    fn recommends_the_best_unseen_items_with_ties_to_the_lower_index() {
        let best = model().recommend_into(model().user(0), &[2], 2, &mut Vec::new());
        assert_eq!(best, [Scored { index: 1, score: 3.0 }, Scored { index: 3, score: 3.0 }]);
        let all = model().recommend_into(model().user(1), &[], 10, &mut Vec::new());
        assert_eq!(all.iter().map(|scored| scored.index).collect::<Vec<_>>(), [2, 0, 1, 3]);
    }

    #[test]
    fn unknown_users_and_items_score_zero() {
        assert_eq!(model().score(7, 0), 0.0);
        assert_eq!(model().score(0, 7), 0.0);
        assert_eq!(FactorModel::default().n_users(), 0);
    }
}
