//! Factorisation machine for the probability of a positive reaction.
//!
//! # Problem
//!
//! ```text
//! logit(x) = b + Σ_i w_i x_i + Σ_{i<j} r_{f(i) f(j)} (v_i · v_j) x_i x_j
//! loss     = mean over samples of -log P(label), P(positive) = 1 / (1 + e^-logit)
//! ```
//!
//! over sparse features `x`, each in one field `f(i)`. With `z_f = Σ_{i in f} v_i x_i` the pairs are
//! `½ Σ_{f,g} r_fg z_f·z_g − ½ Σ_i r_{f(i) f(i)} |v_i|² x_i²`, linear in the number of entries. All `r` are 1 in the plain machine;
//! with [`FmParams::field_weights`] they are learned, symmetric, their diagonal staying at 1. A dense vector is a field whose
//! dimensions are features (so `z` of that field is a learned linear projection of it) and whose `r_ff` is 0.
//!
//! # Shapes
//!
//! | name | shape | meaning |
//! |---|---|---|
//! | `w`, `v` | features × (1 + factors) | rows of one table |
//! | `r` | fields × fields | plain: one field for all sparse features, one per dense vector |
//!
//! # Training
//!
//! Shuffled mini-batches, lazy AdamW, optional dropout of factors; after every epoch the area under the ROC curve on the
//! validation samples; after [`FmParams::patience`] epochs without a better one training ends and the best epoch is restored.
//! A loss or parameter that is not finite ends it the same way. Cost of an epoch: `O(entries · factors + samples · fields² · factors)`.
//! The same input, parameters and seed give the same bits for any number of threads (see [`gradient`](super::gradient)).
//!
//! # Source
//!
//! S. Rendle, "Factorization Machines", ICDM 2010; J. Pan et al., "Field-weighted Factorization Machines for
//! Click-Through Rate Prediction in Display Advertising", WWW 2018. Dropout on the pooled pairs as in X. He, T.-S. Chua,
//! "Neural Factorization Machines", SIGIR 2017.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, Normal};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::calibration::{area_under_curve, mean_log_loss};
use super::fold::Fold;
use super::gradient::{Table, Trainer};
use super::samples::{FeatureRows, Layout, Samples};
use crate::progress::Progress;

/// What can go wrong. All are permanent: retrying with the same input fails again.
#[derive(Debug, Error, PartialEq)]
pub enum FmError {
    /// A parameter is outside its range.
    #[error("{name} must be {expected}, got {actual}")]
    InvalidParameter {
        /// Field name in [`FmParams`].
        name: &'static str,
        /// The accepted range.
        expected: &'static str,
        /// The rejected value.
        actual: f32,
    },
    /// There is nothing to learn from.
    #[error("training needs positive and negative samples, got {positive} and {negative}")]
    OneClass {
        /// Number of positive samples.
        positive: usize,
        /// Number of negative samples.
        negative: usize,
    },
    /// Samples name a feature that the layout does not have.
    #[error("a sample has a feature outside the layout")]
    OutsideLayout,
    /// Parameters stopped being finite before any epoch was complete.
    #[error("training diverged in the first epoch: use a smaller learning rate")]
    Diverged,
    /// Stored parts do not fit together.
    #[error("stored machine is inconsistent: {0}")]
    Inconsistent(&'static str),
}

/// Parameters of a fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FmParams {
    /// Length of a factor vector, 1 to 1024; multiples of 8 are fastest.
    pub factors: usize,
    /// Most passes over the samples.
    pub epochs: usize,
    /// Samples per step.
    pub batch: usize,
    /// Step size, above 0.
    pub learning_rate: f32,
    /// Weight decay per step, in units of the step size, of the rows that occur.
    pub decay: f32,
    /// Probability of dropping a factor of a sample, below 1.
    pub dropout: f32,
    /// Standard deviation of the initial factors.
    pub initial_spread: f32,
    /// Whether pairs of fields have learned weights.
    pub field_weights: bool,
    /// Features in fewer training samples than this are not learned (they stay zero).
    pub min_count: u32,
    /// Epochs without a better validation before training ends.
    pub patience: usize,
    /// Seed of initial factors, order and dropout.
    pub seed: u64,
}

impl Default for FmParams {
    fn default() -> Self {
        Self {
            factors: 16,
            epochs: 60,
            batch: 1024,
            learning_rate: 0.003,
            decay: 0.3,
            dropout: 0.3,
            initial_spread: 0.01,
            field_weights: true,
            min_count: 2,
            patience: 3,
            seed: 0,
        }
    }
}

impl FmParams {
    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`FmError::InvalidParameter`] names the first field out of range.
    pub fn check(&self) -> Result<(), FmError> {
        let at_least_one = |value: usize| (1..=1 << 24).contains(&value);
        let not_negative = |value: f32| value.is_finite() && value >= 0.0;
        let ranges = [
            ("factors", "1..=1024", self.factors as f32, (1..=1024).contains(&self.factors)),
            ("epochs", "at least 1", self.epochs as f32, at_least_one(self.epochs)),
            ("batch", "at least 1", self.batch as f32, at_least_one(self.batch)),
            ("patience", "at least 1", self.patience as f32, at_least_one(self.patience)),
            (
                "learning_rate",
                "above 0, at most 1",
                self.learning_rate,
                self.learning_rate > 0.0 && self.learning_rate <= 1.0,
            ),
            ("decay", "at least 0 and finite", self.decay, not_negative(self.decay)),
            ("dropout", "at least 0 and below 1", self.dropout, (0.0..1.0).contains(&self.dropout)),
            (
                "initial_spread",
                "at least 0 and finite",
                self.initial_spread,
                not_negative(self.initial_spread),
            ),
        ];
        match ranges.into_iter().find(|&(_, _, _, sound)| !sound) {
            None => Ok(()),
            Some((name, expected, actual, _)) => Err(FmError::InvalidParameter { name, expected, actual }),
        }
    }
}

/// Quality after one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean loss while training (with dropout).
    pub train_loss: f64,
    /// Area under the ROC curve of the validation samples.
    pub auc: f64,
    /// Mean log-loss of the validation samples.
    pub log_loss: f64,
}

/// A fitted machine and how it came about.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The machine of the best epoch.
    pub model: FactorizationMachine,
    /// One entry per epoch.
    pub epochs: Vec<EpochReport>,
    /// The epoch that was kept, counted from 1.
    pub best_epoch: usize,
}

/// Parameters of the machine; see the module.
#[derive(Clone, Debug, PartialEq)]
pub struct FactorizationMachine {
    factors: usize,
    pub(super) bias: f32,
    /// Per feature: factors, then weight.
    pub(super) table: Table,
    pub(super) field_of: Vec<u16>,
    pub(super) n_fields: usize,
    pub(super) interactions: Vec<f32>,
}

impl FactorizationMachine {
    fn zeros(layout: &Layout, factors: usize, field_weights: bool) -> Self {
        let dense = layout.dense_fields();
        let mut merged = Vec::with_capacity(dense.len());
        let mut n_fields = usize::from(!field_weights);
        for &is_dense in &dense {
            let own = field_weights || is_dense;
            merged.push(if own { n_fields as u16 } else { 0 });
            n_fields += usize::from(own);
        }
        let mut interactions = vec![1.0; n_fields * n_fields];
        for (field, _) in merged.iter().zip(&dense).filter(|&(_, &is_dense)| is_dense) {
            interactions[usize::from(*field) * (n_fields + 1)] = 0.0;
        }
        let field_of =
            layout.field_of_features().into_iter().map(|field| merged[usize::from(field)]).collect();
        let table = Table::zeros(layout.n_features(), factors + 1);
        Self { factors, bias: 0.0, table, field_of, n_fields, interactions }
    }

    /// Length of a factor vector.
    #[must_use]
    pub fn factors(&self) -> usize {
        self.factors
    }

    /// Number of features.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.field_of.len()
    }

    /// The constant of the logit.
    #[must_use]
    pub fn bias(&self) -> f32 {
        self.bias
    }

    /// Weights of the pairs of fields, `fields × fields`.
    #[must_use]
    pub fn interactions(&self) -> &[f32] {
        &self.interactions
    }

    /// Per feature its factors, then its weight, for storing.
    #[must_use]
    pub fn rows(&self) -> Vec<f32> {
        (0..self.n_features() as u32).flat_map(|feature| self.table.row(feature)).copied().collect()
    }

    /// Rebuilds a machine from [`rows`](Self::rows), [`interactions`](Self::interactions) and [`bias`](Self::bias).
    ///
    /// # Errors
    ///
    /// [`FmError::Inconsistent`] if lengths do not match the layout or a value is not finite.
    pub fn from_parts(
        layout: &Layout,
        rows: &[f32],
        interactions: &[f32],
        bias: f32,
    ) -> Result<Self, FmError> {
        let features = layout.n_features();
        let width = rows.len().checked_div(features).unwrap_or(2);
        if width < 2 || width * features != rows.len() {
            return Err(FmError::Inconsistent("rows do not fit the number of features"));
        }
        let weighted = interactions.len() == layout.n_fields() * layout.n_fields();
        let mut model = Self::zeros(layout, width - 1, weighted);
        if model.interactions.len() != interactions.len() {
            model = Self::zeros(layout, width - 1, false);
        }
        if model.interactions.len() != interactions.len() {
            return Err(FmError::Inconsistent("interactions do not fit the number of fields"));
        }
        if !rows.iter().chain(interactions).chain([&bias]).all(|value| value.is_finite()) {
            return Err(FmError::Inconsistent("a parameter is not finite"));
        }
        for (feature, row) in rows.chunks_exact(width).enumerate() {
            model.table.row_mut(feature as u32).copy_from_slice(row);
        }
        model.interactions.copy_from_slice(interactions);
        model.bias = bias;
        Ok(model)
    }

    /// Logit of every sample.
    #[must_use]
    pub fn predict(&self, samples: &Samples) -> Vec<f32> {
        let start = || (self.fold(), self.no_pulls());
        (0..samples.len())
            .into_par_iter()
            .map_init(start, |(fold, pulls), sample| {
                fold.clear();
                fold.add_sample(self, samples, sample);
                fold.pulls(self, pulls);
                self.bias + fold.score(pulls, None)
            })
            .collect()
    }

    /// Fields in which some row of the table has a feature, ascending.
    pub(super) fn fields_of(&self, rows: &FeatureRows) -> Vec<u16> {
        let mut used = vec![false; self.n_fields];
        for row in 0..rows.len() {
            for &feature in rows.row(row).0 {
                used[usize::from(self.field_of[feature as usize])] = true;
            }
        }
        for block in rows.dense() {
            used[usize::from(self.field_of[block.first_feature as usize])] = true;
        }
        (0..self.n_fields as u16).filter(|&field| used[usize::from(field)]).collect()
    }

    /// Room for the pulls of every field.
    pub(super) fn no_pulls(&self) -> Vec<f32> {
        vec![0.0; self.n_fields * self.factors]
    }

    /// An empty sum over features.
    pub(super) fn fold(&self) -> Fold {
        Fold::new(self.n_fields, self.factors)
    }
}

/// Fits on `train` and keeps the epoch that is best on `valid`. Without validation samples the last epoch is kept,
/// which is how a machine is refitted on everything with a known number of epochs.
///
/// # Errors
///
/// [`FmError`] if a parameter is out of range, the samples cannot be learned from, or training diverges at once.
pub fn fit(
    layout: &Layout,
    train: &Samples,
    valid: &Samples,
    params: &FmParams,
    progress: &dyn Progress,
) -> Result<Fitted, FmError> {
    params.check()?;
    let positive = train.labels().iter().filter(|&&label| label).count();
    let negative = train.len() - positive;
    if positive == 0 || negative == 0 {
        return Err(FmError::OneClass { positive, negative });
    }
    if !train.fits(layout.n_features()) || !valid.fits(layout.n_features()) {
        return Err(FmError::OutsideLayout);
    }
    let mut random = ChaCha8Rng::seed_from_u64(params.seed);
    let frozen = rare_features(layout, train, params.min_count);
    let mut model = initial(layout, params, &frozen, &mut random);
    model.bias = (positive as f32 / negative as f32).ln();
    let mut trainer = Trainer::new(params, &model, train, frozen);
    let mut order: Vec<u32> = (0..train.len() as u32).collect();
    let mut best: Option<(f64, usize, FactorizationMachine)> = None;
    let mut epochs: Vec<EpochReport> = Vec::new();
    for epoch in 1..=params.epochs {
        order.shuffle(&mut random);
        let loss: f64 = order.chunks(params.batch).map(|batch| trainer.step(&mut model, batch)).sum();
        if !loss.is_finite() || !model.table.is_finite() {
            break;
        }
        let logits = model.predict(valid);
        let (auc, log_loss) =
            (area_under_curve(&logits, valid.labels()), mean_log_loss(&logits, valid.labels()));
        epochs.push(EpochReport { epoch, train_loss: loss / train.len() as f64, auc, log_loss });
        if valid.is_empty() || best.as_ref().is_none_or(|&(best, _, _)| auc > best) {
            best = Some((auc, epoch, model.clone()));
        }
        let since = best.as_ref().map_or(0, |&(_, best, _)| epoch - best);
        if progress.epoch(epoch, params.epochs).is_break() || since >= params.patience {
            break;
        }
    }
    let (_, best_epoch, model) = best.ok_or(FmError::Diverged)?;
    Ok(Fitted { model, epochs, best_epoch })
}

/// Sparse features in fewer than `min_count` samples.
fn rare_features(layout: &Layout, train: &Samples, min_count: u32) -> Vec<bool> {
    let dense = layout.dense_fields();
    let mut counts: Vec<u32> = layout
        .field_of_features()
        .into_iter()
        .map(|field| if dense[usize::from(field)] { min_count } else { 0 })
        .collect();
    for sample in 0..train.len() {
        for (feature, _) in train.entries(sample) {
            counts[feature as usize] = counts[feature as usize].saturating_add(1);
        }
    }
    counts.into_iter().map(|count| count < min_count).collect()
}

fn initial(
    layout: &Layout,
    params: &FmParams,
    frozen: &[bool],
    random: &mut ChaCha8Rng,
) -> FactorizationMachine {
    let mut model = FactorizationMachine::zeros(layout, params.factors, params.field_weights);
    let normal = Normal::new(0.0, params.initial_spread).expect("spread is finite and not negative");
    for (feature, _) in frozen.iter().enumerate().filter(|&(_, &frozen)| !frozen) {
        let row = model.table.row_mut(feature as u32);
        row[..params.factors].iter_mut().for_each(|value| *value = normal.sample(random));
    }
    model
}
