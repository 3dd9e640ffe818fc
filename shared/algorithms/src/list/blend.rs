//! Blend: one score from those of several sources, with weights learned on held-out feedback.
//!
//! # Problem
//!
//! For every user there are candidates, each with one score per source (missing if the source did not propose it). Find weights
//! `w ≥ 0`, `Σ w = 1`, and a standardisation that maximise the mean NDCG@k of ranking by `Σ_s w_s · standard(score_s)` on users whose
//! next feedback is known.
//!
//! # Method
//!
//! Mean NDCG is a step function, so there is no gradient: coordinate ascent. From every single source and from equal weights, one weight at a
//! time is tried on a grid of shares from 0 to 1 (the others keep their proportions), the best step is taken, the grid is narrowed when nothing improves.
//! Only improvements are taken and every single source is a starting point, so on the given users **the blend is never below the best
//! single source**; with one source, or if blending gains no more than chance would, it is that source. Ties are broken as [`best_first`](crate::top_k::best_first)
//! does. Deterministic for any number of threads: users are scored in parallel and summed in order.
//!
//! Cost: about `300 · users · candidates · sources` multiplications; some thousand users are enough.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::top_k::TopK;

/// How one user's scores of one source are made comparable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standardisation {
    /// `(score − mean) / standard deviation` over the candidates the source proposed; missing = the lowest of them.
    #[default]
    ZScore,
    /// `(score − lowest) / (highest − lowest)`; missing = 0.
    MinMax,
}

impl Standardisation {
    /// `(offset, scale, floor)`: a score becomes `(score − offset) · scale`, a missing one `floor`.
    fn of(self, scores: &[f32]) -> (f32, f32, f32) {
        let (mut n, mut sum, mut squares) = (0.0_f32, 0.0_f32, 0.0_f32);
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        // Sums of differences from one of the scores, so that large equal offsets do not cancel.
        let origin = scores.iter().copied().find(|score| score.is_finite()).unwrap_or(0.0);
        for &score in scores {
            if score.is_finite() {
                let score = score - origin;
                n += 1.0;
                sum += score;
                squares += score * score;
                low = low.min(score);
                high = high.max(score);
            }
        }
        let range = high - low;
        if n == 0.0 || range <= 0.0 || !range.is_finite() {
            // Nothing to tell the proposed ones apart: proposed at all is 1, missing 0.
            return (origin - 1.0, if n == 0.0 || range != 0.0 { 0.0 } else { 1.0 }, 0.0);
        }
        match self {
            Self::MinMax => (low + origin, 1.0 / range, 0.0),
            Self::ZScore => {
                let mean = sum / n;
                let deviation = (squares / n - mean * mean).max(0.0).sqrt();
                let scale = 1.0 / deviation.max(range * 1e-3);
                (mean + origin, scale, (low - mean) * scale)
            }
        }
    }

    fn add(self, weight: f32, scores: &[f32], out: &mut [f32]) {
        let (offset, scale, floor) = self.of(scores);
        for (out, &score) in out.iter_mut().zip(scores) {
            let standard = if score.is_finite() { (score - offset) * scale } else { floor };
            *out += weight * standard;
        }
    }
}

/// Parameters of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlendParams {
    /// Length of the list that is judged.
    pub k: usize,
    /// A blend is kept only if it gains more than this many standard errors of the paired difference to the best single source:
    /// weights are chosen on these users, so a small gain is as likely luck.
    pub min_standard_errors: f64,
}

impl Default for BlendParams {
    fn default() -> Self {
        Self { k: 10, min_standard_errors: 2.0 }
    }
}

/// Candidates, scores and relevance of held-out users.
#[derive(Clone, Debug)]
pub struct BlendData {
    n_sources: usize,
    users: Vec<BlendUser>,
}

#[derive(Clone, Debug)]
struct BlendUser {
    /// Source after source, every candidate's score; not finite = missing.
    scores: Vec<f32>,
    relevant: Vec<bool>,
    /// Relevant items whether proposed by anybody or not.
    n_relevant: usize,
}

impl BlendData {
    /// No users yet.
    #[must_use]
    pub fn new(n_sources: usize) -> Self {
        Self { n_sources, users: Vec::new() }
    }

    /// Adds a user. `scores[s]` are source `s`'s scores of all candidates, NaN where it did not propose one. `n_relevant` counts also
    /// what no source proposed. A user without relevant items tells nothing and is left out.
    ///
    /// # Panics
    ///
    /// Panics if the lengths differ: that is a bug of the caller.
    pub fn push(&mut self, scores: &[Vec<f32>], relevant: &[bool], n_relevant: usize) {
        assert_eq!(scores.len(), self.n_sources, "one list of scores per source");
        assert!(scores.iter().all(|scores| scores.len() == relevant.len()), "one score per candidate");
        let proposed = relevant.iter().filter(|&&relevant| relevant).count();
        if n_relevant.max(proposed) > 0 {
            let (scores, relevant) = (scores.concat(), relevant.to_vec());
            self.users.push(BlendUser { scores, relevant, n_relevant: n_relevant.max(proposed) });
        }
    }

    /// Number of users that tell something.
    #[must_use]
    pub fn n_users(&self) -> usize {
        self.users.len()
    }

    /// Mean NDCG@k of a blend; 0 without users.
    #[must_use]
    pub fn ndcg(&self, blend: &Blend, k: usize) -> f64 {
        let standard = self.standardised(blend.standardisation);
        self.mean_ndcg(&standard, &blend.weights, k)
    }

    /// Every user's scores, standardised.
    fn standardised(&self, standardisation: Standardisation) -> Vec<Vec<f32>> {
        let standardise = |user: &BlendUser| {
            let mut out = vec![0.0; user.scores.len()];
            let n = user.relevant.len().max(1);
            for (scores, out) in user.scores.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
                standardisation.add(1.0, scores, out);
            }
            out
        };
        self.users.par_iter().map(standardise).collect()
    }

    fn mean_ndcg(&self, standard: &[Vec<f32>], weights: &[f32], k: usize) -> f64 {
        mean(&self.ndcg_per_user(standard, weights, k))
    }

    fn ndcg_per_user(&self, standard: &[Vec<f32>], weights: &[f32], k: usize) -> Vec<f64> {
        let ndcg = |mixed: &mut Vec<f32>, (user, standard): (&BlendUser, &Vec<f32>)| {
            let n = user.relevant.len();
            mixed.clear();
            mixed.resize(n, 0.0);
            for (&weight, scores) in
                weights.iter().zip(standard.chunks_exact(n.max(1))).filter(|&(&weight, _)| weight > 0.0)
            {
                mixed.iter_mut().zip(scores).for_each(|(mixed, score)| *mixed += weight * score);
            }
            user.ndcg(mixed, k)
        };
        self.users.par_iter().zip(standard).map_init(Vec::new, ndcg).collect()
    }

    /// Gain of a blend over another in standard errors of the paired difference.
    fn standard_errors(&self, blend: &Blend, other: &Blend, k: usize) -> f64 {
        let per_user =
            |blend: &Blend| self.ndcg_per_user(&self.standardised(blend.standardisation), &blend.weights, k);
        let gains: Vec<f64> = per_user(blend).iter().zip(per_user(other)).map(|(a, b)| a - b).collect();
        let gain = mean(&gains);
        let variance = mean(&gains.iter().map(|other| (other - gain).powi(2)).collect::<Vec<_>>());
        gain / (variance / gains.len() as f64).sqrt().max(f64::MIN_POSITIVE)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl BlendUser {
    fn ndcg(&self, scores: &[f32], k: usize) -> f64 {
        let mut best = TopK::new(k);
        for (candidate, &score) in scores.iter().enumerate() {
            if score >= best.threshold() {
                best.push(candidate as u32, score);
            }
        }
        let discount = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
        let ranked = best.into_sorted().into_iter().enumerate();
        let gain: f64 = ranked
            .filter(|(_, scored)| self.relevant[scored.index as usize])
            .map(|(rank, _)| discount(rank))
            .sum();
        gain / (0..self.n_relevant.min(k)).map(discount).sum::<f64>().max(f64::MIN_POSITIVE)
    }
}

/// Weights of the sources and how their scores are made comparable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blend {
    /// One weight per source, not negative, summing to 1.
    pub weights: Vec<f32>,
    /// Applied to every source.
    pub standardisation: Standardisation,
}

/// A blend and what it was found to be worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedBlend {
    /// The blend.
    pub blend: Blend,
    /// Its mean NDCG on the users it was fitted on.
    pub ndcg: f64,
    /// That of every source alone.
    pub single: Vec<f64>,
}

impl Blend {
    /// All weight on one source.
    #[must_use]
    pub fn single(source: usize, n_sources: usize) -> Self {
        let weights = (0..n_sources).map(|other| if other == source { 1.0 } else { 0.0 }).collect();
        Self { weights, standardisation: Standardisation::default() }
    }

    /// Finds the weights; see the module. Without users or sources all weights are equal.
    #[must_use]
    pub fn fit(data: &BlendData, params: &BlendParams) -> FittedBlend {
        let n = data.n_sources;
        let equal = vec![1.0 / n.max(1) as f32; n];
        if n == 0 || data.users.is_empty() {
            let blend = Self { weights: equal, standardisation: Standardisation::default() };
            return FittedBlend { blend, ndcg: 0.0, single: vec![0.0; n] };
        }
        let singles: Vec<Self> = (0..n).map(|source| Self::single(source, n)).collect();
        let single: Vec<f64> = singles.iter().map(|blend| data.ndcg(blend, params.k)).collect();
        let first = (0..n).fold(0, |best, source| if single[source] > single[best] { source } else { best });
        let alone = (single[first], singles[first].clone());
        let starts: Vec<&[f32]> =
            singles.iter().map(|blend| &blend.weights[..]).chain([&equal[..]]).collect();
        let ascents = [Standardisation::ZScore, Standardisation::MinMax]
            .into_iter()
            .flat_map(|standardisation| ascend_from(data, standardisation, &starts, params.k));
        let mut best = ascents.fold(alone.clone(), better);
        if data.standard_errors(&best.1, &singles[first], params.k) <= params.min_standard_errors {
            best = alone;
        }
        FittedBlend { ndcg: best.0, blend: best.1, single }
    }

    /// Replaces `out` by the blended score of every candidate. `scores` holds, source after source, the scores of all candidates; what is
    /// not finite is missing. `O(candidates · sources)`, no allocation once `out` is large enough.
    ///
    /// # Panics
    ///
    /// Panics if the number of scores is not sources × candidates.
    pub fn apply(&self, scores: &[f32], candidates: usize, out: &mut Vec<f32>) {
        assert_eq!(scores.len(), candidates * self.weights.len(), "sources × candidates");
        out.clear();
        out.resize(candidates, 0.0);
        for (&weight, scores) in self.weights.iter().zip(scores.chunks_exact(candidates.max(1))) {
            if weight > 0.0 {
                self.standardisation.add(weight, scores, out);
            }
        }
    }
}

/// The summit reached from every starting point.
fn ascend_from(
    data: &BlendData,
    standardisation: Standardisation,
    starts: &[&[f32]],
    k: usize,
) -> Vec<(f64, Blend)> {
    let standard = data.standardised(standardisation);
    let score = |weights: &[f32]| data.mean_ndcg(&standard, weights, k);
    let ascend_from = |start: &&[f32]| {
        let (ndcg, weights) = ascend(start.to_vec(), &score);
        (ndcg, Blend { weights, standardisation })
    };
    starts.iter().map(ascend_from).collect()
}

/// The second if it is better by its number.
fn better<T>(first: (f64, T), second: (f64, T)) -> (f64, T) {
    if second.0 > first.0 { second } else { first }
}

/// Coordinate ascent from one starting point.
fn ascend(weights: Vec<f32>, score: &impl Fn(&[f32]) -> f64) -> (f64, Vec<f32>) {
    let mut best = (score(&weights), weights);
    let mut step = 0.2;
    while step > 0.02 {
        let before = best.0;
        for source in 0..best.1.len() {
            let share = best.1[source];
            let shares = [share - 2.0 * step, share - step, share + step, share + 2.0 * step];
            best = shares.into_iter().fold(best, |best, share| {
                let trial = with_share(&best.1, source, share.clamp(0.0, 1.0));
                better(best, (score(&trial), trial))
            });
        }
        if best.0 == before {
            step *= 0.5;
        }
    }
    best
}

/// The weights with one of them set and the others keeping their proportions; equal ones if there were none.
fn with_share(weights: &[f32], source: usize, share: f32) -> Vec<f32> {
    let others: f32 =
        weights.iter().enumerate().filter(|&(other, _)| other != source).map(|(_, weight)| weight).sum();
    let spread = |weight: f32| match others > 0.0 {
        true => weight / others * (1.0 - share),
        false => (1.0 - share) / (weights.len() - 1).max(1) as f32,
    };
    let mixed = weights
        .iter()
        .enumerate()
        .map(|(other, &weight)| if other == source { share } else { spread(weight) });
    let mut mixed: Vec<f32> = mixed.collect();
    if weights.len() == 1 {
        mixed[0] = 1.0;
    }
    mixed
}

#[cfg(test)]
mod tests;
