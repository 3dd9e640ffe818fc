//! Ranker: the probability that a user reacts positively to an item.
//!
//! [`features`] turns users and items into rows, [`factorization_machine`] learns from them, [`calibration`] turns its
//! logits into probabilities, [`Ranker`] is the form that serves: what a factorisation machine needs of an item is one
//! number and one vector, whatever features the item has, so they are computed once:
//!
//! ```text
//! logit(u, i) = b + own(u) + own(i) + Σ_{f in item fields} z_f(i) · pull_f(u),   pull_f(u) = Σ_g r_fg z_g(u)
//! ```
//!
//! A user costs one pass over the user's features, a candidate one dot product of `item fields × factors` numbers.

pub mod calibration;
pub mod factorization_machine;
pub mod features;
mod fold;
pub mod gradient;
pub mod samples;
mod scale;

pub use calibration::Calibration;
pub use factorization_machine::{EpochReport, FactorizationMachine, Fitted, FmError, FmParams, fit};
pub use features::{Facts, FeatureSpace, FeatureSpaceBuilder, Side, Value};
pub use samples::{FeatureRows, Layout, Samples, parse_libfm};

use rayon::prelude::*;

use gradient::dot;

/// What the ranker needs to know of a user; good for any number of candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct UserVector {
    own: f32,
    pulls: Vec<f32>,
}

/// Scores candidates with everything about the items precomputed.
#[derive(Clone, Debug)]
pub struct Ranker {
    model: FactorizationMachine,
    calibration: Calibration,
    /// Fields in which some item has a feature; the others would be zeros in every vector.
    item_fields: Vec<u16>,
    own: Vec<f32>,
    vectors: Vec<f32>,
}

impl Ranker {
    /// Precomputes every item; item `i` of the ranker is row `i` of `items`. `O(entries · factors)`.
    #[must_use]
    pub fn new(model: FactorizationMachine, calibration: Calibration, items: &FeatureRows) -> Self {
        let item_fields = model.fields_of(items);
        let width = item_fields.len() * model.factors();
        let mut own = vec![0.0; items.len()];
        let mut vectors = vec![0.0; items.len() * width];
        own.par_iter_mut().zip(vectors.par_chunks_exact_mut(width.max(1))).enumerate().for_each_init(
            || (model.fold(), model.no_pulls()),
            |(fold, pulls), (item, (own, vector))| {
                *own = fold.one(&model, items, item, pulls);
                for (&field, part) in item_fields.iter().zip(vector.chunks_exact_mut(model.factors())) {
                    part.copy_from_slice(fold.field(field));
                }
            },
        );
        Self { model, calibration, item_fields, own, vectors }
    }

    /// Number of items.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.own.len()
    }

    /// The machine behind it.
    #[must_use]
    pub fn model(&self) -> &FactorizationMachine {
        &self.model
    }

    /// How logits become probabilities.
    #[must_use]
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// A user from features, also one that training has not seen: encode the row with no id.
    ///
    /// # Panics
    ///
    /// Panics if there is no such row.
    #[must_use]
    pub fn user_vector(&self, users: &FeatureRows, row: usize) -> UserVector {
        let (mut fold, mut pulls) = (self.model.fold(), self.model.no_pulls());
        let own = fold.one(&self.model, users, row, &mut pulls);
        let factors = self.model.factors();
        let parts = self.item_fields.iter().map(|&field| &pulls[usize::from(field) * factors..][..factors]);
        UserVector { own, pulls: parts.flatten().copied().collect() }
    }

    /// Replaces `out` by the probability of every candidate; 0 for an item that the ranker does not hold.
    /// `O(candidates · item fields · factors)`, no allocation once `out` is large enough.
    pub fn score_candidates(&self, user: &UserVector, items: &[u32], out: &mut Vec<f32>) {
        out.clear();
        out.extend(
            items.iter().map(|&item| self.logit(user, item).map_or(0.0, |x| self.calibration.probability(x))),
        );
    }

    /// The logit of one candidate.
    #[inline]
    fn logit(&self, user: &UserVector, item: u32) -> Option<f32> {
        let width = user.pulls.len();
        let own = self.own.get(item as usize)?;
        let vector = self.vectors.get(item as usize * width..(item as usize + 1) * width)?;
        Some(self.model.bias() + user.own + own + dot(&user.pulls, vector))
    }

    /// The probability for an item that is not in the ranker, from its row.
    ///
    /// # Panics
    ///
    /// Panics if there is no such row.
    #[must_use]
    pub fn score_row(&self, user: &UserVector, items: &FeatureRows, row: usize) -> f32 {
        let (mut fold, mut pulls) = (self.model.fold(), self.model.no_pulls());
        let own = fold.one(&self.model, items, row, &mut pulls);
        let factors = self.model.factors();
        let parts = self.item_fields.iter().zip(user.pulls.chunks_exact(factors));
        let pairs: f32 = parts.map(|(&field, pull)| dot(pull, fold.field(field))).sum();
        self.calibration.probability(self.model.bias() + user.own + own + pairs)
    }
}

#[cfg(test)]
mod tests;
