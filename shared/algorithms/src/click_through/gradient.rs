//! Mini-batch gradients of the factorisation machine and the sparse optimiser.
//!
//! # Parallel and deterministic
//!
//! A batch is worked on in two steps, each split in a way that does not depend on the number of threads:
//! 1. *forward*: fixed chunks of 64 samples; every sample is computed on its own, what is summed over samples
//!    (loss, bias, field weights) is summed within a chunk and the chunks are summed in order;
//! 2. *backward*: the parameter table is cut into 16 shards (feature modulo 16), each owned by one task
//!    that adds up the gradient of its features in sample order and then moves them.
//!
//! Only rows that occur in the batch are read or written: a batch costs `O(entries · factors)`, however many
//! features there are.
//!
//! # Optimiser
//!
//! Adam without correction for the batches in which a row did not occur ("lazy"), with weight decay apart from the
//! gradient (AdamW: D. P. Kingma, J. Ba, ICLR 2015; I. Loshchilov, F. Hutter, ICLR 2019). Decay touches the same
//! rows as the gradient.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use super::factorization_machine::{FactorizationMachine, FmParams};
use super::samples::Samples;

/// Number of parts of the parameter table.
pub(super) const SHARDS: usize = 16;
/// Samples whose sums are formed together.
const CHUNK: usize = 64;

const MOMENTUM: f32 = 0.9;
const SQUARE_MOMENTUM: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Rows of `width` parameters by feature, cut into shards.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    width: usize,
    shards: Vec<Vec<f32>>,
}

impl Table {
    pub(super) fn zeros(rows: usize, width: usize) -> Self {
        let rows_of = |shard: usize| (rows + SHARDS - 1 - shard) / SHARDS;
        Self { width, shards: (0..SHARDS).map(|shard| vec![0.0; rows_of(shard) * width]).collect() }
    }

    #[inline]
    pub(super) fn row(&self, feature: u32) -> &[f32] {
        let start = feature as usize / SHARDS * self.width;
        &self.shards[feature as usize % SHARDS][start..start + self.width]
    }

    pub(super) fn row_mut(&mut self, feature: u32) -> &mut [f32] {
        let start = feature as usize / SHARDS * self.width;
        &mut self.shards[feature as usize % SHARDS][start..start + self.width]
    }

    pub(super) fn is_finite(&self) -> bool {
        self.shards.par_iter().all(|shard| shard.iter().all(|value| value.is_finite()))
    }
}

/// `out += scale · x`.
#[inline]
pub(super) fn axpy(scale: f32, x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += scale * x;
    }
}

/// `x · y` in eight lanes, so that it is vectorised and always summed in the same order.
#[inline]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (x_chunks, y_chunks) = (x.chunks_exact(8), y.chunks_exact(8));
    let tail: f32 = x_chunks.remainder().iter().zip(y_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in x_chunks.zip(y_chunks) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (b + f)) + ((c + g) + (d + h)) + tail
}

/// One occurrence of a feature in a batch.
#[derive(Clone, Copy)]
struct Entry {
    row: u32,
    sample: u32,
    value: f32,
    field: u16,
}

/// What one chunk of samples adds up.
#[derive(Clone, Default)]
struct ChunkSums {
    loss: f64,
    bias: f32,
    interactions: Vec<f32>,
}

/// First and second moment of one shard's gradients, and the gradients of the batch at hand.
struct ShardState {
    first: Vec<f32>,
    second: Vec<f32>,
    /// Position in `touched` of every row, or `u32::MAX`.
    slots: Vec<u32>,
    touched: Vec<u32>,
    gradients: Vec<f32>,
    entries: Vec<Entry>,
}

/// The state of one training run.
pub(super) struct Trainer<'a> {
    params: FmParams,
    samples: &'a Samples<'a>,
    /// Features too rare to learn anything about stay at zero.
    frozen: Vec<bool>,
    shards: Vec<ShardState>,
    dense_moments: [Vec<f32>; 2],
    errors: Vec<f32>,
    pulls: Vec<f32>,
    masks: Vec<f32>,
    sums: Vec<ChunkSums>,
    steps: i32,
}

impl<'a> Trainer<'a> {
    pub(super) fn new(
        params: &FmParams,
        model: &FactorizationMachine,
        samples: &'a Samples<'a>,
        frozen: Vec<bool>,
    ) -> Self {
        let width = model.factors() + 1;
        let shards = model.table.shards.iter().map(|values| ShardState {
            first: vec![0.0; values.len()],
            second: vec![0.0; values.len()],
            slots: vec![u32::MAX; values.len() / width],
            touched: Vec::new(),
            gradients: Vec::new(),
            entries: Vec::new(),
        });
        let globals = 1 + model.interactions.len();
        Self {
            params: params.clone(),
            samples,
            frozen,
            shards: shards.collect(),
            dense_moments: [vec![0.0; globals], vec![0.0; globals]],
            errors: Vec::new(),
            pulls: Vec::new(),
            masks: Vec::new(),
            sums: Vec::new(),
            steps: 0,
        }
    }

    /// Moves `model` against the gradient of the mean loss of these samples; returns the summed loss.
    pub(super) fn step(&mut self, model: &mut FactorizationMachine, batch: &[u32]) -> f64 {
        self.steps += 1;
        self.scatter(model, batch);
        self.forward(model, batch);
        let rate = Rate::new(&self.params, self.steps);
        let scale = 1.0 / batch.len() as f32;
        let view = BatchView {
            samples: self.samples,
            batch,
            errors: &self.errors,
            pulls: &self.pulls,
            masks: &self.masks,
            scale,
        };
        let own: Vec<f32> =
            (0..model.n_fields).map(|field| model.interactions[field * model.n_fields + field]).collect();
        let (factors, fields) = (model.factors(), &model.field_of);
        model.table.shards.par_iter_mut().zip(&mut self.shards).enumerate().for_each(
            |(shard, (values, state))| {
                state.gather(&view, shard, &own, (factors, fields));
                state.apply(values, factors + 1, &rate);
            },
        );
        self.move_globals(model, &rate, scale);
        self.sums.iter().map(|sums| sums.loss).sum()
    }

    /// Sorts the batch's sparse entries by shard.
    fn scatter(&mut self, model: &FactorizationMachine, batch: &[u32]) {
        for state in &mut self.shards {
            state.entries.clear();
        }
        for (sample, &id) in batch.iter().enumerate() {
            let learned =
                self.samples.entries(id as usize).filter(|&(feature, _)| !self.frozen[feature as usize]);
            for (feature, value) in learned {
                let row = feature / SHARDS as u32;
                let field = model.field_of[feature as usize];
                let entry = Entry { row, sample: sample as u32, value, field };
                self.shards[feature as usize % SHARDS].entries.push(entry);
            }
        }
    }

    /// Errors (probability − label), pulls (`Σ_g r_fg z_g` per field) and sums of every sample.
    fn forward(&mut self, model: &FactorizationMachine, batch: &[u32]) {
        let (factors, n_fields) = (model.factors(), model.n_fields);
        let pull_width = n_fields * factors;
        let mask_width = if self.params.dropout > 0.0 { factors } else { 0 };
        let chunks = batch.len().div_ceil(CHUNK);
        self.errors.resize(batch.len(), 0.0);
        self.pulls.resize(batch.len() * pull_width, 0.0);
        self.masks.resize(batch.len() * mask_width, 0.0);
        self.sums.resize(chunks, ChunkSums::default());
        let (params, samples, step) = (&self.params, self.samples, self.steps as u64);
        let masks: Vec<&mut [f32]> = if mask_width == 0 {
            (0..chunks).map(|_| Default::default()).collect()
        } else {
            self.masks.chunks_mut(CHUNK * mask_width).collect()
        };
        batch
            .par_chunks(CHUNK)
            .zip(self.errors.par_chunks_mut(CHUNK))
            .zip(self.pulls.par_chunks_mut(CHUNK * pull_width))
            .zip(masks)
            .zip(&mut self.sums)
            .enumerate()
            .for_each(|(chunk, ((((batch, errors), pulls), masks), sums))| {
                let seed = params.seed ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((chunk as u64) << 48);
                fill_masks(masks, params.dropout, seed);
                let learn = params.field_weights;
                *sums = forward_chunk(model, samples, learn, batch, (errors, pulls, masks));
            });
    }

    /// Adam on the bias and the field weights.
    fn move_globals(&mut self, model: &mut FactorizationMachine, rate: &Rate, scale: f32) {
        let mut gradient = vec![0.0; 1 + model.interactions.len()];
        for sums in &self.sums {
            gradient[0] += sums.bias * scale;
            axpy(scale, &sums.interactions, &mut gradient[1..]);
        }
        let [first, second] = &mut self.dense_moments;
        let free = Rate { decay: 0.0, ..*rate };
        free.adam(std::slice::from_mut(&mut model.bias), &gradient[..1], &mut first[..1], &mut second[..1]);
        if self.params.field_weights {
            free.adam(&mut model.interactions, &gradient[1..], &mut first[1..], &mut second[1..]);
        }
    }
}

/// What every shard reads of the batch.
struct BatchView<'a> {
    samples: &'a Samples<'a>,
    batch: &'a [u32],
    errors: &'a [f32],
    pulls: &'a [f32],
    masks: &'a [f32],
    scale: f32,
}

/// Inverted dropout: every factor of a sample is dropped with probability `dropout`, the others scaled up.
fn fill_masks(masks: &mut [f32], dropout: f32, seed: u64) {
    if masks.is_empty() {
        return;
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let threshold = (f64::from(dropout) * f64::from(u32::MAX)) as u32;
    let keep = 1.0 / (1.0 - dropout);
    for mask in masks {
        *mask = if random.next_u32() < threshold { 0.0 } else { keep };
    }
}

fn forward_chunk(
    model: &FactorizationMachine,
    samples: &Samples,
    learn_fields: bool,
    batch: &[u32],
    (errors, pulls, masks): (&mut [f32], &mut [f32], &[f32]),
) -> ChunkSums {
    let (factors, n_fields) = (model.factors(), model.n_fields);
    let width = n_fields * factors;
    let mut sums = ChunkSums { interactions: vec![0.0; n_fields * n_fields], ..ChunkSums::default() };
    let mut fold = model.fold();
    for (position, &id) in batch.iter().enumerate() {
        fold.clear();
        fold.add_sample(model, samples, id as usize);
        let pull = &mut pulls[position * width..(position + 1) * width];
        fold.pulls(model, pull);
        let mask = masks.get(position * factors..(position + 1) * factors).filter(|mask| !mask.is_empty());
        let logit = model.bias + fold.score(pull, mask);
        let label = samples.labels()[id as usize];
        let error = sigmoid(logit) - f32::from(u8::from(label));
        errors[position] = error;
        sums.loss += f64::from(log_loss(logit, label));
        sums.bias += error;
        if learn_fields {
            fold.add_field_gradient(error, mask, &mut sums.interactions);
        }
        if let Some(mask) = mask {
            for pull in pull.chunks_exact_mut(factors) {
                pull.iter_mut().zip(mask).for_each(|(pull, mask)| *pull *= mask);
            }
        }
    }
    sums
}

impl ShardState {
    /// Adds up the gradients of this shard's rows in sample order.
    fn gather(&mut self, view: &BatchView, shard: usize, own: &[f32], (factors, field_of): (usize, &[u16])) {
        let width = own.len() * factors;
        let entries = std::mem::take(&mut self.entries);
        for entry in &entries {
            let sample = entry.sample as usize;
            let error = view.errors[sample] * entry.value * view.scale;
            let field = usize::from(entry.field);
            let pull = &view.pulls[sample * width + field * factors..][..factors];
            let gradient = self.gradient(entry.row, factors);
            axpy(error, pull, &mut gradient[..factors]);
            gradient[factors] += error;
            let square = error * entry.value * own[field];
            match view.masks.get(sample * factors..(sample + 1) * factors).filter(|mask| !mask.is_empty()) {
                Some(mask) => axpy(square, mask, &mut gradient[factors + 1..]),
                None => gradient[factors + 1..].iter_mut().for_each(|slot| *slot += square),
            }
        }
        self.entries = entries;
        self.gather_dense(view, shard, width, (factors, field_of));
    }

    fn gather_dense(
        &mut self,
        view: &BatchView,
        shard: usize,
        width: usize,
        (factors, field_of): (usize, &[u16]),
    ) {
        for (sample, &id) in view.batch.iter().enumerate() {
            let error = view.errors[sample] * view.scale;
            let blocks = view.samples.parts(id as usize);
            for (block, row) in
                blocks.flat_map(|(table, row)| table.dense().iter().map(move |block| (block, row)))
            {
                let first = block.first_feature as usize;
                let field = usize::from(field_of[first]);
                let pull = &view.pulls[sample * width + field * factors..][..factors];
                let skip = (SHARDS + shard - first % SHARDS) % SHARDS;
                let own = block.row(row).iter().enumerate().skip(skip).step_by(SHARDS);
                self.add_linear(first, own, error, pull);
            }
        }
    }

    /// Adds to the gradients of dimensions what features without a square term contribute.
    fn add_linear<'v>(
        &mut self,
        first: usize,
        values: impl Iterator<Item = (usize, &'v f32)>,
        error: f32,
        pull: &[f32],
    ) {
        for (dimension, &value) in values {
            let gradient = self.gradient(((first + dimension) / SHARDS) as u32, pull.len());
            axpy(error * value, pull, &mut gradient[..pull.len()]);
            gradient[pull.len()] += error * value;
        }
    }

    /// The gradient of a row: factors, weight, then per factor what multiplies the factor itself.
    #[inline]
    fn gradient(&mut self, row: u32, factors: usize) -> &mut [f32] {
        let width = 2 * factors + 1;
        let slot = &mut self.slots[row as usize];
        if *slot == u32::MAX {
            *slot = self.touched.len() as u32;
            self.touched.push(row);
            self.gradients.resize(self.touched.len() * width, 0.0);
        }
        let start = *slot as usize * width;
        &mut self.gradients[start..start + width]
    }

    /// Moves every touched row and forgets the gradients.
    fn apply(&mut self, values: &mut [f32], width: usize, rate: &Rate) {
        let factors = width - 1;
        for (&row, gradient) in self.touched.iter().zip(self.gradients.chunks_exact_mut(2 * factors + 1)) {
            let span = row as usize * width..(row as usize + 1) * width;
            let (gradient, own) = gradient.split_at_mut(width);
            for ((gradient, own), value) in gradient.iter_mut().zip(own).zip(&values[span.clone()]) {
                *gradient -= *own * value;
            }
            let (first, second) = (&mut self.first[span.clone()], &mut self.second[span.clone()]);
            rate.adam(&mut values[span], gradient, first, second);
            self.slots[row as usize] = u32::MAX;
        }
        self.touched.clear();
        self.gradients.clear();
    }
}

/// Step size of one batch.
#[derive(Clone, Copy)]
struct Rate {
    rate: f32,
    correction: f32,
    decay: f32,
}

impl Rate {
    fn new(params: &FmParams, step: i32) -> Self {
        Self {
            rate: params.learning_rate / (1.0 - MOMENTUM.powi(step)),
            correction: 1.0 / (1.0 - SQUARE_MOMENTUM.powi(step)),
            decay: params.learning_rate * params.decay,
        }
    }

    #[inline]
    fn adam(&self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        for (((value, gradient), first), second) in values.iter_mut().zip(gradient).zip(first).zip(second) {
            *first += (1.0 - MOMENTUM) * (gradient - *first);
            *second += (1.0 - SQUARE_MOMENTUM) * (gradient * gradient - *second);
            let direction = *first / ((*second * self.correction).sqrt() + EPSILON);
            *value -= self.rate * direction + self.decay * *value;
        }
    }
}

/// `1 / (1 + e^-x)` without overflow.
#[must_use]
#[inline]
pub fn sigmoid(logit: f32) -> f32 {
    let small = (-logit.abs()).exp();
    if logit >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

/// Negative log-likelihood of a label under a logit, without overflow.
#[must_use]
#[inline]
pub fn log_loss(logit: f32, positive: bool) -> f32 {
    let wrong = if positive { -logit } else { logit };
    wrong.max(0.0) + (-wrong.abs()).exp().ln_1p()
}
