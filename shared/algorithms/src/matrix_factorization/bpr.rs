//! Bayesian personalized ranking: learn to score what a user touched above what the user did not.
//!
//! # Problem
//!
//! Maximize `Σ log σ(x_u·(y_i − y_j)) − λ/2 (|x_u|² + |y_i|² + |y_j|²)` over users `u`, touched items `i` and untouched
//! items `j`, by stochastic gradient steps: an epoch visits every touched pair once, in random order, each with one
//! negative drawn for it. Weights are ignored: a touch is a touch.
//!
//! # Shapes
//!
//! The model is row-major. With [`BprParams::item_bias`] the vectors are one longer: a user's last number is 1, an item's
//! last number its bias.
//!
//! # Cost
//!
//! One epoch is `entries · factors` operations times a small constant, plus one dot product for every further candidate
//! of [`Negatives::Adaptive`].
//!
//! # Parallelism and determinism
//!
//! Users and items are divided into the same number of groups, items anew at random for each epoch. In round `r` the
//! pairs of user group `g` and item group `g + r` are visited, for all `g` at once: no two threads ever touch the same
//! vector, because a negative comes from the group of its positive. The number of groups depends on the data only, so
//! the result is bit-identical for any number of threads.
//!
//! # Failure
//!
//! A user who touched everything in a group has no negative there and the pair is passed over. Steps are bounded by the
//! learning rate; if vectors overflow all the same, the fit is refused instead of returning them.
//!
//! # Source
//!
//! Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009;
//! groups after Gemulla et al., "Large-Scale Matrix Factorization with Distributed Stochastic Gradient Descent", KDD
//! 2011; adaptive negatives after Zhang et al., "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item
//! Sampling", SIGIR 2013.

mod groups;

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::groups::{ItemGroups, Pair, UserGroups, group_count};
use super::{FactorModel, FactorizationError, check, density};
use crate::interactions::Interactions;
use crate::progress::Progress;
use crate::random::{Generator, Seed};
use crate::sampling::AliasTable;
use crate::simd::{self, Kernel, Lanes, dot_lanes};

/// Where negatives come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Negatives {
    /// Every untouched item alike.
    Uniform,
    /// In proportion to the number of touches to this power.
    Popularity {
        /// 0 is uniform, 1 proportional.
        power: f32,
    },
    /// The one of several uniform candidates that the model now scores highest.
    Adaptive {
        /// How many, 1 to 64; 1 is uniform.
        candidates: usize,
    },
}

/// Parameters as configured, not yet checked. [`BprParams::check`] is the only way to a fit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BprParams {
    /// Length of a vector without bias, 1 to 1024.
    pub factors: usize,
    /// Visits of every pair, at least 1.
    pub epochs: usize,
    /// Step of the first epoch, in (0, 1].
    pub learning_rate: f32,
    /// Step of the last epoch as a share of the first, in (0, 1]; in between it falls along a line.
    pub final_rate: f32,
    /// `λ`, at least 0.
    pub regularization: f32,
    /// Whether items have a bias.
    pub item_bias: bool,
    /// Where negatives come from.
    pub negatives: Negatives,
    /// Deviation of the initial vectors' length, greater than 0.
    pub initial_deviation: f32,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for BprParams {
    fn default() -> Self {
        Self {
            factors: 64,
            epochs: 60,
            learning_rate: 0.08,
            final_rate: 0.1,
            regularization: 0.03,
            item_bias: true,
            negatives: Negatives::Adaptive { candidates: 4 },
            initial_deviation: 0.1,
            seed: 0,
        }
    }
}

impl BprParams {
    /// What is worth trying on a validation part, the best guess first.
    ///
    /// Sparse data want less regularization, and large catalogues harder negatives (found on MovieLens 100K and Gowalla).
    #[must_use]
    pub fn candidates(interactions: &Interactions) -> Vec<Self> {
        let group = interactions.n_cols() / group_count(interactions);
        let factors = if interactions.n_rows() + interactions.n_cols() < 20_000 { 64 } else { 128 };
        let hardness = (group / 40).next_power_of_two().clamp(2, 32);
        let guess = |regularization: f64, candidates: usize| Self {
            factors,
            regularization: (0.2 * density(interactions).sqrt() * regularization).clamp(1e-4, 0.1) as f32,
            negatives: Negatives::Adaptive { candidates },
            ..Self::default()
        };
        vec![guess(1.0, hardness), guess(1.5, hardness), guess(0.5, hardness), guess(0.7, hardness / 2)]
    }
}

/// Parameters known to be in range.
#[derive(Clone, Copy, Debug)]
pub struct CheckedBprParams(BprParams);

impl BprParams {
    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`FactorizationError::InvalidParameter`] names the first field out of range.
    pub fn check(self) -> Result<CheckedBprParams, FactorizationError> {
        let within = |value: f32| value > 0.0 && value <= 1.0;
        check("factors", self.factors as f64, (1..=1024).contains(&self.factors), "1 to 1024")?;
        check("epochs", self.epochs as f64, self.epochs >= 1, "at least 1")?;
        check("learning_rate", self.learning_rate.into(), within(self.learning_rate), "in (0, 1]")?;
        check("final_rate", self.final_rate.into(), within(self.final_rate), "in (0, 1]")?;
        let regularization = f64::from(self.regularization);
        check("regularization", regularization, (0.0..1.0).contains(&regularization), "in [0, 1)")?;
        let deviation = f64::from(self.initial_deviation);
        check("initial_deviation", deviation, deviation > 0.0, "greater than 0")?;
        match self.negatives {
            Negatives::Uniform => {}
            Negatives::Popularity { power } => check("power", power.into(), power >= 0.0, "at least 0")?,
            Negatives::Adaptive { candidates } => {
                check("candidates", candidates as f64, (1..=64).contains(&candidates), "1 to 64")?;
            }
        }
        Ok(CheckedBprParams(self))
    }

    fn width(&self) -> usize {
        self.factors + usize::from(self.item_bias)
    }
}

impl CheckedBprParams {
    /// Fits from random vectors. Stops early, keeping the last complete epoch, when `progress` says so.
    ///
    /// # Errors
    ///
    /// [`FactorizationError::Unsuitable`] if the vectors overflow.
    pub fn fit(
        &self,
        interactions: &Interactions,
        progress: &dyn Progress,
    ) -> Result<FactorModel, FactorizationError> {
        let seed = Seed::new(self.0.seed);
        let mut model = self.initial(interactions, seed);
        let counts = popularity(interactions);
        let groups = group_count(interactions);
        let users = UserGroups::new(interactions, groups);
        for epoch in 0..self.0.epochs {
            let seed = seed.purpose("bpr.epoch").part(epoch as u64);
            let mut items = ItemGroups::new(&model.items, self.0.width(), groups, seed);
            let pass = Pass {
                params: &self.0,
                rate: self.rate(epoch),
                seen: interactions,
                counts: &counts,
                samplers: self.samplers(&items, &counts),
                seed,
            };
            pass.run(&users, &mut model.users, &mut items);
            items.restore(&mut model.items);
            if progress.epoch(epoch + 1, self.0.epochs).is_break() {
                break;
            }
        }
        if model.users.iter().chain(&model.items).all(|value| value.is_finite()) {
            Ok(model)
        } else {
            Err(FactorizationError::Unsuitable { reason: "the vectors overflowed: lower the learning rate" })
        }
    }

    fn initial(&self, interactions: &Interactions, seed: Seed) -> FactorModel {
        let (width, factors) = (self.0.width(), self.0.factors);
        let deviation = self.0.initial_deviation / (factors as f32).sqrt();
        let fill = |rows: usize, purpose: &str, last: f32| {
            let mut random = seed.purpose(purpose).generator();
            let mut values = vec![last; rows * width];
            for row in values.chunks_exact_mut(width) {
                row[..factors].fill_with(|| random.normal() * deviation);
            }
            values
        };
        let users = fill(interactions.n_rows(), "bpr.users", 1.0);
        let items = fill(interactions.n_cols(), "bpr.items", 0.0);
        FactorModel { factors: width, users, items }
    }

    fn rate(&self, epoch: usize) -> f32 {
        let done = epoch as f32 / (self.0.epochs.max(2) - 1) as f32;
        self.0.learning_rate * (1.0 - (1.0 - self.0.final_rate) * done)
    }

    /// One sampler per item group; empty unless negatives go by popularity.
    fn samplers(&self, items: &ItemGroups, counts: &[u32]) -> Vec<Option<AliasTable>> {
        match self.0.negatives {
            Negatives::Uniform | Negatives::Adaptive { .. } => Vec::new(),
            Negatives::Popularity { power } => {
                let table = |group: &[u32]| {
                    let weights =
                        group.iter().map(|&item| f64::from(counts[item as usize]).powf(power.into()));
                    AliasTable::new(&weights.collect::<Vec<_>>())
                };
                items.members().map(table).collect()
            }
        }
    }
}

fn popularity(interactions: &Interactions) -> Vec<u32> {
    let mut counts = vec![0; interactions.n_cols()];
    for &column in interactions.columns() {
        counts[column as usize] += 1;
    }
    counts
}

/// One epoch.
struct Pass<'a> {
    params: &'a BprParams,
    rate: f32,
    seen: &'a Interactions,
    counts: &'a [u32],
    samplers: Vec<Option<AliasTable>>,
    seed: Seed,
}

/// What one thread works on: the users of a group, the items of a group, the pairs between them.
struct Block<'a> {
    first_user: usize,
    users: &'a mut [f32],
    /// Original index of each item of the group.
    members: &'a [u32],
    items: &'a mut [f32],
    pairs: &'a mut [Pair],
    sampler: Option<&'a AliasTable>,
    random: Generator,
}

impl Pass<'_> {
    fn run(&self, user_groups: &UserGroups, users: &mut [f32], items: &mut ItemGroups) {
        debug_assert_eq!(self.counts.len(), self.seen.n_cols());
        let mut pairs = user_groups.pairs(self.seen, items);
        let width = self.params.width();
        let groups = items.len();
        for round in 0..groups {
            let mut parts = items.split(width);
            parts.rotate_left(round);
            let users = user_groups.split(users, width);
            let blocks = users.into_iter().zip(parts).zip(&mut pairs).enumerate().map(|(group, block)| {
                let ((users, (members, items)), pairs) = block;
                let item_group = (group + round) % groups;
                Block {
                    first_user: user_groups.first(group),
                    users,
                    members,
                    items,
                    pairs: &mut pairs[item_group],
                    sampler: self.samplers.get(item_group).and_then(Option::as_ref),
                    random: self.seed.part((group * groups + item_group) as u64).generator(),
                }
            });
            blocks.collect::<Vec<_>>().into_par_iter().for_each(|mut block| {
                block.random.shuffle(block.pairs);
                simd::run(Visit { pass: self, block });
            });
        }
    }
}

/// Draws that meet a touched item before the pair is passed over.
const ATTEMPTS: usize = 16;

struct Visit<'a> {
    pass: &'a Pass<'a>,
    block: Block<'a>,
}

impl Kernel for Visit<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let params = self.pass.params;
        let width = params.width();
        let decay = 1.0 - self.pass.rate * params.regularization;
        for at in 0..self.block.pairs.len() {
            let pair = self.block.pairs[at];
            let start = (pair.user as usize - self.block.first_user) * width;
            let Some(negative) = self.negative(lanes, pair.user as usize, start..start + width) else {
                continue;
            };
            let user = &mut self.block.users[start..start + width];
            let (positive, negative) = two_rows(self.block.items, width, (pair.place as usize, negative));
            step(lanes, [&mut *user, positive, negative], (self.pass.rate, decay));
            if params.item_bias {
                user[width - 1] = 1.0;
            }
        }
    }
}

impl Visit<'_> {
    /// A negative for a user whose vector is at `row`, as a position in the item group.
    #[inline(always)]
    fn negative<L: Lanes>(&mut self, lanes: L, user: usize, row: Range<usize>) -> Option<usize> {
        let Block { users, members, items, sampler, random, .. } = &mut self.block;
        let seen = self.pass.seen.row(user).0;
        let candidates = match self.pass.params.negatives {
            Negatives::Uniform | Negatives::Popularity { .. } => 1,
            Negatives::Adaptive { candidates } => candidates,
        };
        let mut best = draw(*sampler, members, seen, random)?;
        if candidates == 1 {
            return Some(best);
        }
        let vector = &users[row];
        let mut highest = score(lanes, vector, items, best);
        for _ in 1..candidates {
            let Some(place) = draw(*sampler, members, seen, random) else { break };
            let score = score(lanes, vector, items, place);
            (best, highest) = if score > highest { (place, score) } else { (best, highest) };
        }
        Some(best)
    }
}

/// The score of the item at a position of a group.
#[inline(always)]
fn score<L: Lanes>(lanes: L, user: &[f32], items: &[f32], place: usize) -> f32 {
    dot_lanes(lanes, user, &items[place * user.len()..][..user.len()])
}

/// An item of the group that the user did not touch, as a position in the group.
#[inline]
fn draw(
    sampler: Option<&AliasTable>,
    members: &[u32],
    seen: &[u32],
    random: &mut Generator,
) -> Option<usize> {
    (0..ATTEMPTS).find_map(|_| {
        let place = match sampler {
            Some(table) => table.draw(random) as usize,
            None => random.below(members.len() as u32) as usize,
        };
        seen.binary_search(&members[place]).is_err().then_some(place)
    })
}

/// Two different rows of a matrix.
#[inline(always)]
fn two_rows(rows: &mut [f32], width: usize, (first, second): (usize, usize)) -> (&mut [f32], &mut [f32]) {
    let (low, high) = (first.min(second), first.max(second));
    let (before, after) = rows.split_at_mut(high * width);
    let (low, high) = (&mut before[low * width..(low + 1) * width], &mut after[..width]);
    if first < second { (low, high) } else { (high, low) }
}

/// One gradient step on `log σ(user · (positive − negative))`.
#[inline(always)]
fn step<L: Lanes>(lanes: L, rows: [&mut [f32]; 3], (rate, decay): (f32, f32)) {
    let [user, positive, negative] = rows;
    let margin = dot_lanes(lanes, user, positive) - dot_lanes(lanes, user, negative);
    let gain = rate * sigmoid(-margin);
    let (gains, decays) = (lanes.splat(gain), lanes.splat(decay));
    let (user_wide, user_rest) = user.as_chunks_mut::<8>();
    let (positive_wide, positive_rest) = positive.as_chunks_mut::<8>();
    let (negative_wide, negative_rest) = negative.as_chunks_mut::<8>();
    for ((user, positive), negative) in user_wide.iter_mut().zip(positive_wide).zip(negative_wide) {
        let (u, p, n) = (lanes.load(user), lanes.load(positive), lanes.load(negative));
        let push = lanes.mul(gains, u);
        lanes.store(lanes.mul_add(gains, lanes.sub(p, n), lanes.mul(decays, u)), user);
        lanes.store(lanes.mul_add(decays, p, push), positive);
        lanes.store(lanes.sub(lanes.mul(decays, n), push), negative);
    }
    for ((user, positive), negative) in user_rest.iter_mut().zip(positive_rest).zip(negative_rest) {
        let (u, p, n) = (*user, *positive, *negative);
        *user = gain * (p - n) + decay * u;
        *positive = decay * p + gain * u;
        *negative = decay * n - gain * u;
    }
}

/// `1 / (1 + e^−x)` without overflow on either side.
#[inline]
fn sigmoid(x: f32) -> f32 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

#[cfg(test)]
mod tests;
