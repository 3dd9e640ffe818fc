//! The sums over a set of features from which a factorisation machine computes its logit.

use super::factorization_machine::FactorizationMachine;
use super::gradient::{axpy, dot};
use super::samples::{FeatureRows, Samples};

/// Sums over a set of features: everything the logit needs of them.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    linear: f32,
    /// `z_f`, fields × factors.
    sums: Vec<f32>,
    /// `Σ_i r_ff v_i² x_i²` per factor.
    squares: Vec<f32>,
    factors: usize,
}

impl Fold {
    pub(super) fn new(n_fields: usize, factors: usize) -> Self {
        Self { linear: 0.0, sums: vec![0.0; n_fields * factors], squares: vec![0.0; factors], factors }
    }

    pub(super) fn clear(&mut self) {
        self.linear = 0.0;
        self.sums.fill(0.0);
        self.squares.fill(0.0);
    }

    pub(super) fn add_sample(&mut self, model: &FactorizationMachine, samples: &Samples, sample: usize) {
        for (table, row) in samples.parts(sample) {
            self.add_row(model, table, row);
        }
    }

    pub(super) fn add_row(&mut self, model: &FactorizationMachine, table: &FeatureRows, row: usize) {
        let (features, values) = table.row(row);
        for (&feature, &value) in features.iter().zip(values) {
            self.add(model, feature, value);
        }
        for block in table.dense() {
            let field = usize::from(model.field_of[block.first_feature as usize]);
            let sums = &mut self.sums[field * self.factors..(field + 1) * self.factors];
            for (dimension, &value) in block.row(row).iter().enumerate() {
                let parameters = model.table.row(block.first_feature + dimension as u32);
                self.linear += parameters[self.factors] * value;
                axpy(value, &parameters[..self.factors], sums);
            }
        }
    }

    /// Replaces the sums by those of one row; returns its logit without the bias, as if there were nothing else.
    pub(super) fn one(
        &mut self,
        model: &FactorizationMachine,
        rows: &FeatureRows,
        row: usize,
        pulls: &mut [f32],
    ) -> f32 {
        self.clear();
        self.add_row(model, rows, row);
        self.pulls(model, pulls);
        self.score(pulls, None)
    }

    /// `z` of one field.
    pub(super) fn field(&self, field: u16) -> &[f32] {
        &self.sums[usize::from(field) * self.factors..][..self.factors]
    }

    #[inline]
    fn add(&mut self, model: &FactorizationMachine, feature: u32, value: f32) {
        let field = usize::from(model.field_of[feature as usize]);
        let own = model.interactions[field * (model.n_fields + 1)] * value * value;
        let parameters = model.table.row(feature);
        self.linear += parameters[self.factors] * value;
        let sums = &mut self.sums[field * self.factors..(field + 1) * self.factors];
        for ((sum, square), v) in sums.iter_mut().zip(&mut self.squares).zip(parameters) {
            *sum += value * v;
            *square += own * v * v;
        }
    }

    /// `Σ_g r_fg z_g` of every field `f`.
    pub(super) fn pulls(&self, model: &FactorizationMachine, out: &mut [f32]) {
        let n = model.n_fields;
        for (pull, weights) in out.chunks_exact_mut(self.factors).zip(model.interactions.chunks_exact(n)) {
            pull.fill(0.0);
            for (&weight, sum) in weights.iter().zip(self.sums.chunks_exact(self.factors)) {
                axpy(weight, sum, pull);
            }
        }
    }

    /// The logit without the bias; `mask` multiplies every factor's part.
    pub(super) fn score(&self, pulls: &[f32], mask: Option<&[f32]>) -> f32 {
        let pairs = match mask {
            None => dot(&self.sums, pulls) - self.squares.iter().sum::<f32>(),
            Some(mask) => {
                let fields = self.sums.chunks_exact(self.factors).zip(pulls.chunks_exact(self.factors));
                let masked = fields.map(|(sum, pull)| {
                    sum.iter().zip(pull).zip(mask).map(|((sum, pull), mask)| sum * pull * mask).sum::<f32>()
                });
                masked.sum::<f32>() - dot(&self.squares, mask)
            }
        };
        self.linear + 0.5 * pairs
    }

    /// Adds `error · z_f·z_g` to every pair of different fields.
    pub(super) fn add_field_gradient(&self, error: f32, mask: Option<&[f32]>, out: &mut [f32]) {
        let n = self.sums.len() / self.factors;
        let mut masked = vec![0.0; self.factors];
        for (f, sum) in self.sums.chunks_exact(self.factors).enumerate() {
            masked.copy_from_slice(sum);
            if let Some(mask) = mask {
                masked.iter_mut().zip(mask).for_each(|(sum, mask)| *sum *= mask);
            }
            for (g, other) in self.sums.chunks_exact(self.factors).enumerate().skip(f + 1) {
                let gradient = error * dot(&masked, other);
                out[f * n + g] += gradient;
                out[g * n + f] += gradient;
            }
        }
    }
}
