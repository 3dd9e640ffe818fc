//! One order from the scores of several sources: a weighted sum of standardised scores, learned where the outcome is known.
//!
//! # Problem
//!
//! For each user a table of candidates × sources, some entries missing, and which candidates turned out relevant. Find
//! weights `w ≥ 0` that maximise the mean NDCG of ordering each user's candidates by `Σ_s w_s · z_s`.
//!
//! # Method
//!
//! Raw scores of different sources have no common scale, so each column is standardised within the user's own candidates:
//! either to mean 0 and deviation 1, or to minus the logarithm of its rank; the better of the two is kept. Missing entries
//! lie half a unit below the lowest one present. The weights are found by coordinate ascent from every single source
//! and from the uniform blend (Metzler and Croft, "Linear feature-based models for information retrieval", 2007): NDCG is
//! piecewise constant, so its gradient is of no use.
//!
//! The result is never worse on the given users than the best single source, because each of those is a starting point.
//!
//! # Cost and determinism
//!
//! `O(evaluations · candidates · sources)`, about 60 evaluations for each source and start. The same for any number of
//! threads. [`Blend::apply`] costs `O(candidates · sources)`, for the logarithm of ranks a sort of each column.

use std::sync::LazyLock;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::evaluation::ranking::measure;

/// How a column becomes comparable with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standardisation {
    /// Mean 0, deviation 1.
    Deviation,
    /// Minus the natural logarithm of the rank.
    LogRank,
}

/// A learned blend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blend {
    weights: Vec<f32>,
    standardisation: Standardisation,
}

/// One user's candidates, and what came of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlendExample {
    /// Candidate-major, NaN where a source has no opinion.
    pub scores: Vec<f32>,
    /// One for each candidate.
    pub relevant: Vec<bool>,
    /// Relevant items in all, also those that no source found.
    pub n_relevant: usize,
}

/// Cutoff the blend is judged by.
const CUTOFF: usize = 10;
/// A second, deeper cutoff with a small say: it tells blends apart that look alike at the top.
const DEEP: usize = 50;
/// How much the deeper cutoff counts.
const DEEP_WEIGHT: f64 = 0.2;
/// Rounds over all weights.
const ROUNDS: usize = 6;
/// What a weight is multiplied by, one after the other.
const FACTORS: [f32; 6] = [0.0, 0.5, 0.8, 1.25, 2.0, 4.0];
/// What a weight of zero is raised to, in shares of the sum of the others.
const RAISES: [f32; 3] = [0.05, 0.2, 0.5];

impl Blend {
    /// A blend with these weights.
    #[must_use]
    pub const fn new(weights: Vec<f32>, standardisation: Standardisation) -> Self {
        Self { weights, standardisation }
    }

    /// One weight for each source, none negative; they sum to 1.
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// How columns are made comparable.
    #[must_use]
    pub const fn standardisation(&self) -> Standardisation {
        self.standardisation
    }

    /// Learns a blend of `columns` sources; `None` without a user who has a relevant candidate. A source that
    /// has no opinion on any candidate gets no weight.
    #[must_use]
    pub fn fit(columns: usize, examples: &[BlendExample]) -> Option<Self> {
        let useful: Vec<&BlendExample> =
            examples.iter().filter(|example| example.relevant.contains(&true)).collect();
        if columns == 0 || useful.is_empty() {
            return None;
        }
        // Nothing is known about a source that says nothing here, though it may speak up later.
        let speaks = |column: usize| {
            let mut scores = useful.iter().flat_map(|example| example.scores.chunks_exact(columns));
            scores.any(|row| !row[column].is_nan())
        };
        let speaking: Vec<usize> = (0..columns).filter(|&column| speaks(column)).collect();
        if speaking.is_empty() {
            return None;
        }
        let found = [Standardisation::Deviation, Standardisation::LogRank].map(|standardisation| {
            let tables: Vec<Table> =
                useful.par_iter().map(|example| Table::new(example, columns, standardisation)).collect();
            let (weights, value) = ascend(columns, &speaking, &tables);
            (value, Self { weights, standardisation })
        });
        let [(deviation, by_deviation), (log_rank, by_rank)] = found;
        Some(if log_rank > deviation { by_rank } else { by_deviation })
    }

    /// Replaces `out` by one blended score for each candidate; `scores` is candidate-major with NaN for "no opinion".
    pub fn apply(&self, scores: &[f32], out: &mut Vec<f32>) {
        let columns = self.weights.len();
        let candidates = scores.len().checked_div(columns).unwrap_or(0);
        out.clear();
        out.resize(candidates, 0.0);
        let mut column = Vec::with_capacity(candidates);
        for (index, &weight) in self.weights.iter().enumerate().filter(|&(_, &weight)| weight > 0.0) {
            column.clear();
            column.extend(scores.chunks_exact(columns).map(|row| row[index]));
            standardise(&mut column, self.standardisation);
            out.iter_mut().zip(&column).for_each(|(sum, value)| *sum += weight * value);
        }
    }
}

/// Makes a column comparable, in place; NaN becomes half a unit below the lowest.
fn standardise(column: &mut [f32], standardisation: Standardisation) {
    match standardisation {
        Standardisation::Deviation => by_deviation(column),
        Standardisation::LogRank => by_rank(column),
    }
    let lowest = column.iter().copied().filter(|value| !value.is_nan()).fold(f32::INFINITY, f32::min);
    let missing = if lowest.is_finite() { lowest - 0.5 } else { 0.0 };
    column.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = missing);
}

fn by_deviation(column: &mut [f32]) {
    let present = || column.iter().copied().filter(|value| !value.is_nan());
    let count = present().count().max(1) as f64;
    let mean = present().map(f64::from).sum::<f64>() / count;
    let variance = present().map(|value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
    let scale = if variance > 0.0 { variance.sqrt().recip() } else { 0.0 };
    for value in column.iter_mut().filter(|value| !value.is_nan()) {
        *value = ((f64::from(*value) - mean) * scale) as f32;
    }
}

fn by_rank(column: &mut [f32]) {
    /// Orders numbers as `total_cmp` does.
    fn ascending(value: f32) -> u32 {
        let bits = value.to_bits();
        bits ^ if bits >> 31 == 0 { 1 << 31 } else { u32::MAX }
    }
    // Whole numbers sort much faster than indexes compared by what they point at.
    let rows = column.iter().enumerate().filter(|(_, value)| !value.is_nan());
    let keys = rows.map(|(row, &value)| u64::from(!ascending(value)) << 32 | row as u64);
    let mut keys: Vec<u64> = keys.collect();
    keys.sort_unstable();
    for (rank, key) in keys.into_iter().enumerate() {
        column[key as u32 as usize] = log_rank(rank);
    }
}

/// Minus the natural logarithm of a rank that is counted from 0.
fn log_rank(rank: usize) -> f32 {
    static FIRST: LazyLock<Vec<f32>> =
        LazyLock::new(|| (0..1_024).map(|rank| -((rank + 1) as f32).ln()).collect());
    FIRST.get(rank).copied().unwrap_or_else(|| -((rank + 1) as f32).ln())
}

/// One user, standardised.
struct Table {
    columns: Vec<Vec<f32>>,
    is_relevant: Vec<bool>,
    relevant: Vec<u32>,
    n_relevant: usize,
}

impl Table {
    fn new(example: &BlendExample, columns: usize, standardisation: Standardisation) -> Self {
        let column = |index: usize| {
            let mut column: Vec<f32> = example.scores.chunks_exact(columns).map(|row| row[index]).collect();
            standardise(&mut column, standardisation);
            column
        };
        let rows = (0..).zip(&example.relevant).filter(|&(_, &relevant)| relevant);
        Self {
            columns: (0..columns).map(column).collect(),
            relevant: rows.map(|(row, _)| row).collect(),
            is_relevant: example.relevant.clone(),
            n_relevant: example.n_relevant,
        }
    }

    /// What ordering this user's candidates by these weights is worth.
    fn value(&self, weights: &[f32], sums: &mut Vec<f32>) -> f64 {
        sums.clear();
        sums.resize(self.columns.first().map_or(0, Vec::len), 0.0);
        for (column, &weight) in self.columns.iter().zip(weights).filter(|&(_, &weight)| weight > 0.0) {
            sums.iter_mut().zip(column).for_each(|(sum, value)| *sum += weight * value);
        }
        // Only where the relevant ones stand matters, so their ranks are counted instead of sorting everything.
        // Of equal ones the irrelevant stand first: candidates come in the order of a source that found them, and a
        // column that cannot tell them apart must not be credited with that order.
        let rank = |row: u32| {
            let own = sums[row as usize];
            let before = |other: usize| !self.is_relevant[other] || (other as u32) < row;
            let ahead = |(other, &sum): (usize, &f32)| sum > own || (sum == own && before(other));
            sums.iter().enumerate().filter(|&other| ahead(other)).count()
        };
        let mut ranks: Vec<usize> = self.relevant.iter().map(|&row| rank(row)).collect();
        ranks.sort_unstable();
        ndcg(&ranks, self.n_relevant, CUTOFF) + DEEP_WEIGHT * ndcg(&ranks, self.n_relevant, DEEP)
    }
}

fn ndcg(ranks: &[usize], n_relevant: usize, cutoff: usize) -> f64 {
    let gain = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
    let found: f64 = ranks.iter().take_while(|&&rank| rank < cutoff).map(|&rank| gain(rank)).sum();
    let ideal: f64 = (0..cutoff.min(n_relevant)).map(gain).sum();
    if ideal > 0.0 { found / ideal } else { 0.0 }
}

fn mean_value(tables: &[Table], weights: &[f32]) -> f64 {
    let values: Vec<f64> =
        tables.par_iter().map_init(Vec::new, |sums, table| table.value(weights, sums)).collect();
    values.iter().sum::<f64>() / tables.len().max(1) as f64
}

/// The best weights from every start, and what they are worth.
fn ascend(columns: usize, speaking: &[usize], tables: &[Table]) -> (Vec<f32>, f64) {
    let equal = |chosen: &[usize]| -> Vec<f32> {
        (0..columns).map(|column| if chosen.contains(&column) { 1.0 } else { 0.0 }).collect()
    };
    let mut starts: Vec<Vec<f32>> = speaking.iter().map(|&column| equal(&[column])).collect();
    starts.push(equal(speaking));
    let mut judged: Vec<(f64, Vec<f32>)> =
        starts.into_iter().map(|weights| (mean_value(tables, &weights), weights)).collect();
    judged.sort_by(|a, b| b.0.total_cmp(&a.0));
    // Climbing from the best two starts finds what climbing from all of them does, at a fraction of the cost.
    judged.truncate(2);
    let climbed = judged.into_iter().map(|(value, weights)| climb(weights, value, (speaking, tables)));
    let best = climbed.max_by(|a, b| a.1.total_cmp(&b.1));
    let (mut weights, value) = best.unwrap_or_else(|| (vec![1.0; columns], 0.0));
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum.max(f32::MIN_POSITIVE));
    (weights, value)
}

fn climb(mut weights: Vec<f32>, mut value: f64, (speaking, tables): (&[usize], &[Table])) -> (Vec<f32>, f64) {
    for _ in 0..ROUNDS {
        let before = value;
        for &column in speaking {
            let present = weights[column];
            let others: f32 = weights.iter().sum::<f32>() - present;
            let tries: Vec<f32> = if present > 0.0 {
                FACTORS.iter().map(|factor| present * factor).collect()
            } else {
                RAISES.iter().map(|raise| others * raise).collect()
            };
            for weight in tries {
                let mut changed = weights.clone();
                changed[column] = weight;
                let worth = mean_value(tables, &changed);
                if worth > value && changed.iter().any(|&weight| weight > 0.0) {
                    (weights, value) = (changed, worth);
                }
            }
        }
        if value - before < 1e-5 {
            break;
        }
    }
    (weights, value)
}

/// NDCG@10 of one example under a blend, for reports and tests.
#[must_use]
pub fn example_ndcg(blend: &Blend, example: &BlendExample) -> f64 {
    let mut scores = Vec::new();
    blend.apply(&example.scores, &mut scores);
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
    let mut relevant: Vec<u32> =
        (0..).zip(&example.relevant).filter(|&(_, &relevant)| relevant).map(|(row, _)| row).collect();
    // Relevant items that no source found count in the ideal; they stand behind all candidates.
    let unfound = example.n_relevant.saturating_sub(relevant.len());
    relevant.extend((0..unfound as u32).map(|number| u32::MAX - number));
    relevant.sort_unstable();
    measure(&order, &relevant, CUTOFF).ndcg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;

    /// Users whose relevant candidates stand out in column 0 a little, in column 1 a little otherwise, and not at all in
    /// column 2, whose numbers are a thousand times larger.
    fn examples(users: u64) -> Vec<BlendExample> {
        let example = |user: u64| {
            let mut random = Seed::new(7).part(user).generator();
            let mut example = BlendExample { n_relevant: 3, ..BlendExample::default() };
            for candidate in 0..60 {
                let relevant = candidate % 20 == 7;
                let signal = if relevant { 1.0 } else { 0.0 };
                let missing = random.unit() < 0.1;
                let second = if missing { f32::NAN } else { 0.01 * (signal + random.normal()) };
                example.scores.extend([signal + random.normal(), second, 1000.0 * random.normal()]);
                example.relevant.push(relevant);
            }
            example
        };
        (0..users).map(example).collect()
    }

    fn mean_ndcg(blend: &Blend, examples: &[BlendExample]) -> f64 {
        examples.iter().map(|example| example_ndcg(blend, example)).sum::<f64>() / examples.len() as f64
    }

    #[test]
    fn two_weak_sources_together_beat_each_alone_and_noise_gets_little() {
        let (train, fresh) = (examples(300), examples(600).split_off(300));
        let blend = Blend::fit(3, &train).unwrap();
        for column in 0..3 {
            let mut weights = vec![0.0; 3];
            weights[column] = 1.0;
            let single = Blend::new(weights, blend.standardisation());
            assert!(mean_ndcg(&blend, &fresh) > mean_ndcg(&single, &fresh) + 0.01, "column {column}");
        }
        assert!(blend.weights()[2] < 0.1, "{:?}", blend.weights());
    }

    #[test]
    fn a_source_that_is_right_is_not_spoilt_by_the_others() {
        let mut perfect = examples(100);
        for example in &mut perfect {
            for (row, &relevant) in example.relevant.iter().enumerate() {
                example.scores[row * 3] = if relevant { 5.0 } else { -(row as f32) };
            }
        }
        let blend = Blend::fit(3, &perfect).unwrap();
        assert!((mean_ndcg(&blend, &perfect) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_column_without_opinions_gets_no_credit_for_the_order_in_which_candidates_come() {
        let mut sorted = examples(100);
        for example in &mut sorted {
            // The relevant ones come first, and column 2 knows nothing.
            for (row, relevant) in example.relevant.iter_mut().enumerate() {
                *relevant = row < 3;
                example.scores[row * 3 + 2] = f32::NAN;
            }
        }
        let blend = Blend::fit(3, &sorted).unwrap();
        assert_eq!(blend.weights()[2], 0.0, "{:?}", blend.weights());
    }

    #[test]
    fn missing_scores_rank_last_and_constant_columns_do_nothing() {
        for standardisation in [Standardisation::Deviation, Standardisation::LogRank] {
            let blend = Blend::new(vec![0.5, 0.5], standardisation);
            let mut out = Vec::new();
            blend.apply(&[2.0, 1.0, f32::NAN, 1.0, 1.0, 1.0], &mut out);
            assert!(out[0] > out[2] && out[2] > out[1], "{out:?}");
            assert!(out.iter().all(|score| score.is_finite()));
        }
    }

    #[test]
    fn nothing_to_learn_from_is_no_blend() {
        assert_eq!(Blend::fit(2, &[]), None);
        let irrelevant = BlendExample { scores: vec![1.0, 2.0], relevant: vec![false], n_relevant: 1 };
        assert_eq!(Blend::fit(2, &[irrelevant]), None);
    }
}
