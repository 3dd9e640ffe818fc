//! Alternating least squares for implicit feedback.
//!
//! # Problem
//!
//! Find user factors `X` and item factors `Y` minimizing, over all pairs, the objective of [`super::fold_in`] (there for
//! one row): every pair that happened should score 1, every other 0, each with its weight. With one side fixed the rows
//! of the other are independent and each has a closed form.
//!
//! # Shapes and units
//!
//! Interactions are `n_users × n_items` with weights finite and ≥ 0; the model is row-major, `factors` numbers per row;
//! a score is an estimated preference, about 0 to 1, not a probability.
//!
//! # Cost
//!
//! Per epoch, with `b` the block size and `s` the steps of the [`Solver`]:
//!
//! | solver | operations |
//! |---|---|
//! | exact | `2 · entries · k² + rows · k³/3` |
//! | blocks | `2 · entries · k · b + rows · (2k² + k b²/3)` |
//! | conjugate | `(s + 1) · (8 · entries · k + rows · 2k²)` |
//!
//! `rows` being users and items together; the users are solved exactly once at the end. Scratch is `k²` numbers per
//! thread.
//!
//! # Determinism
//!
//! Bit-identical for any number of threads: rows are solved one by one in a fixed order of summation.
//!
//! # Source
//!
//! Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008; Rendle, Krichene, Zhang,
//! Koren, "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::fold_in::{FoldIn, Objective, Scratch};
use super::{FactorModel, FactorizationError, check, conjugate, density, subspace};
use crate::interactions::Interactions;
use crate::progress::Progress;
use crate::random::Seed;

/// How a vector is recomputed while the other side is held fixed. All arrive at the same model; they differ in the
/// work per epoch and in what an epoch gains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Solver {
    /// [`super::fold_in`]: the minimum, `O(touched · k² + k³)`.
    Exact,
    /// [`super::subspace`]: the minimum over one block of factors after the other.
    Blocks {
        /// Factors in a block, a multiple of 16; from `factors` on it is exact.
        size: usize,
    },
    /// [`super::conjugate`]: a few steps towards the minimum.
    Conjugate {
        /// Steps per epoch, at least 1.
        steps: usize,
    },
}

/// Parameters as configured, not yet checked. [`AlsParams::check`] is the only way to a fit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlsParams {
    /// Length of a vector, 1 to 1024; multiples of 16 waste nothing.
    pub factors: usize,
    /// Passes over items and users, at least 1.
    pub epochs: usize,
    /// How a vector is recomputed in each epoch.
    pub solver: Solver,
    /// What is minimized.
    pub objective: Objective,
    /// Deviation of the initial user vectors' length, greater than 0.
    pub initial_deviation: f32,
    /// Seed of the initial factors.
    pub seed: u64,
}

impl Default for AlsParams {
    fn default() -> Self {
        Self {
            factors: 64,
            epochs: 10,
            solver: Solver::Conjugate { steps: 3 },
            objective: Objective {
                unobserved_weight: 0.1,
                confidence: 0.0,
                regularization: 0.02,
                frequency_exponent: 1.0,
            },
            initial_deviation: 0.1,
            seed: 0,
        }
    }
}

impl AlsParams {
    /// What is worth trying on a validation part, the best guess first.
    ///
    /// Sparse data want unobserved pairs to weigh less, and `λ` such that the regularization of an average user is a
    /// fixed share of what is known about the user (found on MovieLens 100K and Gowalla, 75 times apart in density).
    #[must_use]
    pub fn candidates(interactions: &Interactions) -> Vec<Self> {
        let density = density(interactions).max(1e-8);
        let (n_users, n_items) = (interactions.n_rows(), interactions.n_cols());
        let guess = |unobserved: f64, regularization: f64| {
            let unobserved = (0.8 * density.sqrt() * unobserved).clamp(1e-4, 1.0);
            let objective = Objective {
                unobserved_weight: unobserved as f32,
                regularization: (0.1 * density / (density + unobserved) * regularization) as f32,
                ..Self::default().objective
            };
            Self { factors: if n_users + n_items < 20_000 { 64 } else { 256 }, objective, ..Self::default() }
        };
        vec![
            guess(1.0, 1.0),
            guess(1.0, 0.6),
            guess(1.0, 1.6),
            guess(0.4, 1.0),
            guess(2.0, 1.0),
            guess(0.4, 1.6),
        ]
    }
}

/// Parameters known to be in range.
#[derive(Clone, Copy, Debug)]
pub struct CheckedAlsParams(AlsParams);

impl AlsParams {
    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`FactorizationError::InvalidParameter`] names the first field out of range.
    pub fn check(self) -> Result<CheckedAlsParams, FactorizationError> {
        check("factors", self.factors as f64, (1..=1024).contains(&self.factors), "1 to 1024")?;
        check("epochs", self.epochs as f64, self.epochs >= 1, "at least 1")?;
        match self.solver {
            Solver::Exact => {}
            Solver::Blocks { size } => {
                check("size", size as f64, size > 0 && size.is_multiple_of(16), "a positive multiple of 16")?;
            }
            Solver::Conjugate { steps } => check("steps", steps as f64, steps >= 1, "at least 1")?,
        }
        let deviation = self.initial_deviation;
        check("initial_deviation", deviation.into(), deviation > 0.0, "greater than 0")?;
        self.objective.check()?;
        Ok(CheckedAlsParams(self))
    }
}

impl CheckedAlsParams {
    /// Fits both sides from random vectors. Stops early, keeping the last complete epoch, when `progress` says so.
    ///
    /// # Errors
    ///
    /// [`FactorizationError::InvalidWeight`] if a weight is negative or not finite.
    pub fn fit(
        &self,
        interactions: &Interactions,
        progress: &dyn Progress,
    ) -> Result<FactorModel, FactorizationError> {
        let k = self.0.factors;
        let mut random = Seed::new(self.0.seed).purpose("implicit_als.users").generator();
        let deviation = self.0.initial_deviation / (k as f32).sqrt();
        let users = (0..interactions.n_rows() * k).map(|_| random.normal() * deviation).collect();
        self.alternate(interactions, users, progress)
    }

    /// Fits on, starting from the item vectors of an earlier model. Items it does not know (their rows are zero, or
    /// missing at the end) start at zero and are found by their users.
    ///
    /// # Errors
    ///
    /// As [`CheckedAlsParams::fit`]; [`FactorizationError::Unsuitable`] if the vectors have another length.
    pub fn fit_from(
        &self,
        earlier: &FactorModel,
        interactions: &Interactions,
        progress: &dyn Progress,
    ) -> Result<FactorModel, FactorizationError> {
        let k = self.0.factors;
        if earlier.factors != k {
            return Err(FactorizationError::Unsuitable {
                reason: "the earlier model has another number of factors",
            });
        }
        let mut items = earlier.items.clone();
        items.resize(interactions.n_cols() * k, 0.0);
        let mut users = vec![0.0; interactions.n_rows() * k];
        self.solve_side(interactions, &items, &mut users, Solver::Exact)?;
        self.alternate(interactions, users, progress)
    }

    fn alternate(
        &self,
        by_user: &Interactions,
        users: Vec<f32>,
        progress: &dyn Progress,
    ) -> Result<FactorModel, FactorizationError> {
        let by_item = by_user.transposed();
        let items = vec![0.0; by_user.n_cols() * self.0.factors];
        let mut model = FactorModel { factors: self.0.factors, users, items };
        for epoch in 1..=self.0.epochs {
            self.solve_side(&by_item, &model.users, &mut model.items, self.0.solver)?;
            let stop = progress.epoch(epoch, self.0.epochs).is_break() || epoch == self.0.epochs;
            // Users last, and exactly: then a user's vector is what folding in gives for the final items.
            let solver = if stop { Solver::Exact } else { self.0.solver };
            self.solve_side(by_user, &model.items, &mut model.users, solver)?;
            if stop {
                break;
            }
        }
        Ok(model)
    }

    /// Recomputes every row of `side`, or improves it, with `other` held fixed.
    fn solve_side(
        &self,
        rows: &Interactions,
        other: &[f32],
        side: &mut [f32],
        solver: Solver,
    ) -> Result<(), FactorizationError> {
        /// Rows a thread takes at a time: enough to pay for its scratch, few enough to spread heavy rows.
        const ROWS: usize = 32;
        let k = self.0.factors;
        let fold_in = FoldIn::new(other, k, self.0.objective)?;
        let solve = |row: usize, scratch: &mut Scratch, out: &mut [f32]| {
            let (indexes, weights) = rows.row(row);
            let entries = (other, indexes, weights);
            let solved = match solver {
                Solver::Conjugate { steps } => conjugate::improve(&fold_in, steps, entries, scratch, out),
                Solver::Blocks { size } if size < k => {
                    subspace::improve(&fold_in, size, entries, scratch, out)
                }
                Solver::Blocks { .. } | Solver::Exact => {
                    fold_in.solve(other, (indexes, weights), scratch, out)
                }
            };
            solved.map_err(|error| at_row(error, row))
        };
        side.par_chunks_mut(ROWS * k).enumerate().try_for_each_init(
            || fold_in.scratch(),
            |scratch, (group, side)| {
                let mut numbered = (group * ROWS..).zip(side.chunks_exact_mut(k));
                numbered.try_for_each(|(row, out)| solve(row, scratch, out))
            },
        )
    }
}

fn at_row(error: FactorizationError, row: usize) -> FactorizationError {
    match error {
        FactorizationError::InvalidWeight { .. } => FactorizationError::InvalidWeight { row },
        FactorizationError::Unsolvable { .. } => FactorizationError::Unsolvable { row },
        FactorizationError::InvalidParameter { .. } | FactorizationError::Unsuitable { .. } => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{CancelFlag, Unattended};

    /// Two groups of users with disjoint tastes: users 0–3 like items 0–3, users 4–7 like items 4–7.
    /// One like, user 0 × item 3, is left out.
    fn two_tastes() -> Interactions {
        let likes = (0..8).flat_map(|user| (0..8).map(move |item| (user, item)));
        let seen = likes.filter(|&(user, item)| user / 4 == item / 4 && (user, item) != (0, 3));
        Interactions::from_triples(8, 8, seen.map(|(user, item)| (user, item, 1.0)).collect())
    }

    fn hu(factors: usize) -> AlsParams {
        let objective = Objective {
            unobserved_weight: 1.0,
            confidence: 1.0,
            regularization: 0.06,
            frequency_exponent: 0.0,
        };
        AlsParams { factors, objective, solver: Solver::Exact, ..AlsParams::default() }
    }

    #[test]
    fn all_solvers_arrive_at_the_same_scores() {
        let mut random = Seed::new(1).generator();
        let triples = (0..3000).map(|_| (random.below(100), random.below(60), random.unit())).collect();
        let interactions = Interactions::from_triples(100, 60, triples);
        let fit = |solver, epochs| {
            let params = AlsParams { factors: 20, epochs, solver, ..hu(20) };
            params.check().unwrap().fit(&interactions, &Unattended).unwrap()
        };
        let exact = fit(Solver::Exact, 60);
        for solver in [Solver::Blocks { size: 16 }, Solver::Conjugate { steps: 3 }] {
            let model = fit(solver, 120);
            let pairs = (0..100).flat_map(|user| (0..60).map(move |item| (user, item)));
            let square =
                pairs.map(|(user, item)| (model.score(user, item) - exact.score(user, item)).powi(2));
            let distance = (square.sum::<f32>() / 6000.0).sqrt();
            assert!(distance < 0.02, "{solver:?}: {distance}");
        }
    }

    #[test]
    fn ranks_the_held_out_item_above_every_item_of_the_other_group() {
        // Two factors for two tastes: with more, the fit would memorize the hole.
        let model = hu(2).check().unwrap().fit(&two_tastes(), &Unattended).unwrap();
        let held_out = model.score(0, 3);
        for other in 4..8 {
            assert!(held_out > model.score(0, other) + 0.3, "{held_out} vs {}", model.score(0, other));
        }
    }

    #[test]
    fn one_dimension_matches_the_closed_form() {
        // One user, one item, weight r, one factor: y = (1+αr)·x / (x² + λ + αr·x²), then the same for x.
        let objective = Objective {
            unobserved_weight: 1.0,
            confidence: 2.0,
            regularization: 0.5,
            frequency_exponent: 0.0,
        };
        let params = AlsParams {
            factors: 1,
            epochs: 1,
            solver: Solver::Exact,
            objective,
            initial_deviation: 1.0,
            seed: 7,
        };
        let interactions = Interactions::from_triples(1, 1, vec![(0, 0, 3.0)]);
        let start = Seed::new(7).purpose("implicit_als.users").generator().normal();
        let model = params.check().unwrap().fit(&interactions, &Unattended).unwrap();
        let item = 7.0 * start / (start * start * 7.0 + 0.5);
        let user = 7.0 * item / (item * item * 7.0 + 0.5);
        assert!((model.items[0] - item).abs() < 1e-6);
        assert!((model.users[0] - user).abs() < 1e-6);
    }

    #[test]
    fn thread_count_does_not_change_a_single_bit() {
        let mut random = Seed::new(1).generator();
        let triples = (0..6000).map(|_| (random.below(700), random.below(300), random.unit())).collect();
        let interactions = Interactions::from_triples(700, 300, triples);
        for solver in [Solver::Exact, Solver::Blocks { size: 16 }, Solver::Conjugate { steps: 3 }] {
            let fit_with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let params =
                    AlsParams { factors: 24, epochs: 3, solver, ..AlsParams::default() }.check().unwrap();
                pool.install(|| params.fit(&interactions, &Unattended).unwrap())
            };
            assert_eq!(fit_with(1), fit_with(4));
        }
    }

    #[test]
    fn users_are_what_folding_in_gives() {
        let params = hu(2);
        let model = params.check().unwrap().fit(&two_tastes(), &Unattended).unwrap();
        let fold_in = FoldIn::new(&model.items, 2, params.objective).unwrap();
        let mut user = vec![0.0; 2];
        fold_in.solve(&model.items, two_tastes().row(5), &mut fold_in.scratch(), &mut user).unwrap();
        assert_eq!(user, model.user(5));
    }

    #[test]
    fn every_epoch_lowers_the_objective_and_cancelling_keeps_the_last_one() {
        let loss = |model: &FactorModel| {
            let data = two_tastes();
            let pairs = (0..8).flat_map(|user| (0..8).map(move |item| (user, item)));
            let errors = pairs.map(|(user, item)| {
                let touched = f32::from(u8::from(data.contains(user, item as u32)));
                (1.0 + touched) * (touched - model.score(user, item)).powi(2)
            });
            let norm: f32 = model.users.iter().chain(&model.items).map(|value| value * value).sum();
            errors.sum::<f32>() + 0.06 * norm
        };
        let after = |epochs| {
            let params = AlsParams { epochs, ..hu(3) };
            loss(&params.check().unwrap().fit(&two_tastes(), &Unattended).unwrap())
        };
        let losses: Vec<f32> = (1..6).map(after).collect();
        assert!(losses.windows(2).all(|pair| pair[1] <= pair[0] + 1e-5), "{losses:?}");
        let cancelled = CancelFlag::default();
        cancelled.cancel();
        let model = hu(3).check().unwrap().fit(&two_tastes(), &cancelled).unwrap();
        assert!((loss(&model) - losses[0]).abs() < 1e-6);
    }

    #[test]
    fn continuing_from_an_earlier_model_is_as_good_as_more_epochs() {
        let short = AlsParams { epochs: 3, ..hu(2) }.check().unwrap();
        let earlier = short.fit(&two_tastes(), &Unattended).unwrap();
        let continued = short.fit_from(&earlier, &two_tastes(), &Unattended).unwrap();
        let long = AlsParams { epochs: 6, ..hu(2) }.check().unwrap().fit(&two_tastes(), &Unattended).unwrap();
        assert!(continued.users.iter().zip(&long.users).all(|(a, b)| (a - b).abs() < 1e-4));
        let other = AlsParams { factors: 3, ..hu(2) }.check().unwrap();
        assert!(matches!(
            other.fit_from(&earlier, &two_tastes(), &Unattended),
            Err(FactorizationError::Unsuitable { .. })
        ));
    }

    #[test]
    fn rejects_what_it_cannot_solve() {
        let zero = AlsParams { epochs: 0, ..AlsParams::default() };
        assert!(matches!(zero.check(), Err(FactorizationError::InvalidParameter { name: "epochs", .. })));
        let broken = Interactions::from_triples(1, 1, vec![(0, 0, f32::NAN)]);
        let fitted = AlsParams::default().check().unwrap().fit(&broken, &Unattended);
        assert_eq!(fitted, Err(FactorizationError::InvalidWeight { row: 0 }));
    }

    #[test]
    fn every_candidate_is_in_range_whatever_the_data() {
        let full = (0..3).flat_map(|user| (0..3).map(move |item| (user, item, 1.0))).collect();
        for data in
            [Interactions::from_triples(0, 0, vec![]), Interactions::from_triples(3, 3, full), two_tastes()]
        {
            assert!(AlsParams::candidates(&data).into_iter().all(|params| params.check().is_ok()));
        }
    }

    #[test]
    fn no_data_gives_a_model_of_zeros() {
        let params = AlsParams { factors: 4, ..AlsParams::default() }.check().unwrap();
        let empty = Interactions::from_triples(0, 0, Vec::new());
        assert_eq!(params.fit(&empty, &Unattended).unwrap().n_users(), 0);
        let untouched = Interactions::from_triples(2, 3, Vec::new());
        assert_eq!(params.fit(&untouched, &Unattended).unwrap().users, vec![0.0; 8]);
    }
}
