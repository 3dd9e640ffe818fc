//! One row of weighted least squares: the vector of a user (or item) given the vectors of the other side.
//!
//! # Problem
//!
//! Given `y_j` for the `m` rows of the other side and the weights `w_j > 0` of the row's entries, find `x` minimizing
//!
//! ```text
//! Σ_{j touched} c_j (1 − x·y_j)²  +  α₀ Σ_{j not touched} (x·y_j)²  +  λ_x |x|²
//! c_j = 1 + α w_j                         confidence
//! λ_x = λ (touched + α₀ m)^ν              regularization, by frequency
//! ```
//!
//! which is `(α₀ YᵀY + Σ (c_j − α₀) y_j y_jᵀ + λ_x I) x = Σ c_j y_j`.
//! `α₀ = 1, ν = 0` is Hu, Koren, Volinsky 2008; small `α₀`, `ν = 1`, `α = 0` is the iALS of Rendle et al. 2022
//! (they keep the unobserved term for touched pairs too, which is the same model with `α₀ / (1 − α₀)`).
//!
//! # Cost
//!
//! `touched · k² + k³/3` operations for `k` factors; building [`FoldIn`] costs `m · k²` once. [`FoldIn::solve`] allocates
//! nothing. The result depends on the order of the entries only by rounding, and not at all on threads.
//!
//! # Failure
//!
//! A weight that is negative or not finite is refused. If rounding makes the system indefinite, the diagonal is raised by
//! 10⁻⁶ of its mean, then ten times that, and so on up to a tenth.

use serde::{Deserialize, Serialize};

use super::{FactorizationError, check};
use crate::linear_algebra::cholesky::{NotPositiveDefinite, factorize_lanes, solve_lanes};
use crate::linear_algebra::padded;
use crate::linear_algebra::product::{add_gram_lanes, gram};
use crate::simd::{self, Kernel, Lanes, axpy_lanes};

/// Rows gathered before the matrix is touched once.
pub(super) const GATHERED_ROWS: usize = 32;

/// What is minimized; shared by fitting and folding in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// `α₀`, in (0, 1]: weight of a pair that never happened.
    pub unobserved_weight: f32,
    /// `α`, at least 0: how much confidence a unit of weight adds to an observed pair.
    pub confidence: f32,
    /// `λ`, greater than 0.
    pub regularization: f32,
    /// `ν`, 0 to 1: 0 regularizes every vector alike, 1 in proportion to how much is known about it.
    pub frequency_exponent: f32,
}

impl Objective {
    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`FactorizationError::InvalidParameter`] names the first field out of range.
    pub fn check(&self) -> Result<(), FactorizationError> {
        let unobserved = f64::from(self.unobserved_weight);
        check("unobserved_weight", unobserved, unobserved > 0.0 && unobserved <= 1.0, "in (0, 1]")?;
        check("confidence", self.confidence.into(), self.confidence >= 0.0, "at least 0")?;
        check("regularization", self.regularization.into(), self.regularization > 0.0, "greater than 0")?;
        let exponent = f64::from(self.frequency_exponent);
        check("frequency_exponent", exponent, (0.0..=1.0).contains(&exponent), "0 to 1")
    }

    /// `c_j`
    #[inline(always)]
    pub(super) fn weight_of_touch(&self, weight: f32) -> f32 {
        1.0 + self.confidence * weight
    }
}

/// Everything about the other side that all rows share.
#[derive(Clone, Debug)]
pub struct FoldIn {
    pub(super) factors: usize,
    others: usize,
    pub(super) objective: Objective,
    /// `α₀ YᵀY`, padded, with ones on the unused diagonal.
    pub(super) shared: Vec<f32>,
}

/// Memory of one solving thread.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub(super) matrix: Vec<f32>,
    pub(super) panel: Vec<f32>,
    pub(super) right: Vec<f32>,
    /// One number per entry of the row, for [`super::subspace`].
    pub(super) scores: Vec<f32>,
}

impl FoldIn {
    /// Prepares for rows whose entries index `other` (row-major, `factors` numbers per row).
    ///
    /// # Errors
    ///
    /// [`FactorizationError::InvalidParameter`] for an objective out of range or `factors` outside 1 to 1024.
    pub fn new(other: &[f32], factors: usize, objective: Objective) -> Result<Self, FactorizationError> {
        objective.check()?;
        check("factors", factors as f64, (1..=1024).contains(&factors), "1 to 1024")?;
        Self::from_gram(gram(other, factors), factors, other.len() / factors, objective)
    }

    /// The same from `otherᵀ · other` (padded, see [`gram`]) and the number of rows of `other`, where its rows are no
    /// longer at hand. Solve with [`FoldIn::solve_with`].
    ///
    /// # Errors
    ///
    /// As [`FoldIn::new`]; [`FactorizationError::Unsuitable`] for a matrix of another size or with a value that is not
    /// finite.
    pub fn from_gram(
        mut gram: Vec<f32>,
        factors: usize,
        others: usize,
        objective: Objective,
    ) -> Result<Self, FactorizationError> {
        objective.check()?;
        check("factors", factors as f64, (1..=1024).contains(&factors), "1 to 1024")?;
        let n = padded(factors);
        if gram.len() != n * n || !gram.iter().all(|value| value.is_finite()) {
            return Err(FactorizationError::Unsuitable {
                reason: "the matrix of products does not fit the factors",
            });
        }
        for value in &mut gram {
            *value *= objective.unobserved_weight;
        }
        for unused in factors..n {
            gram[unused * n + unused] = 1.0;
        }
        Ok(Self { factors, others, objective, shared: gram })
    }

    /// Memory for [`FoldIn::solve`], one per thread.
    #[must_use]
    pub fn scratch(&self) -> Scratch {
        let n = padded(self.factors);
        Scratch {
            matrix: vec![0.0; n * n],
            panel: vec![0.0; GATHERED_ROWS * n],
            right: vec![0.0; n],
            scores: Vec::new(),
        }
    }

    /// Writes the vector of the row with these entries (indexes into `other`, and their weights) to `out`.
    ///
    /// A row without entries gets zeros; an index outside `other` is ignored, because an item may be newer than the
    /// model. `other` must be what [`FoldIn::new`] was given.
    ///
    /// # Errors
    ///
    /// [`FactorizationError::InvalidWeight`] and [`FactorizationError::Unsolvable`], both naming row 0.
    pub fn solve(
        &self,
        other: &[f32],
        entries: (&[u32], &[f32]),
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), FactorizationError> {
        let k = self.factors;
        let vector_of = |index: u32| other.get(index as usize * k..(index as usize + 1) * k);
        self.solve_with(vector_of, entries, scratch, out)
    }

    /// [`FoldIn::solve`] for entries whose vectors lie in several places: `vector_of` finds each by its index. One of
    /// another length than `factors` is ignored like one that is not found.
    ///
    /// # Errors
    ///
    /// As [`FoldIn::solve`].
    pub fn solve_with<'a>(
        &self,
        vector_of: impl Fn(u32) -> Option<&'a [f32]> + Copy,
        (indexes, weights): (&[u32], &[f32]),
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), FactorizationError> {
        check_weights(weights)?;
        out.fill(0.0);
        if indexes.is_empty() {
            return Ok(());
        }
        let mut ridge = 0.0;
        for attempt in 0..7 {
            let row = Row { shared: self, vector_of, indexes, weights, scratch: &mut *scratch, ridge };
            if simd::run(row).is_ok() {
                out.copy_from_slice(&scratch.right[..out.len()]);
                return Ok(());
            }
            ridge = self.mean_diagonal() * 10_f32.powi(attempt - 6);
        }
        Err(FactorizationError::Unsolvable { row: 0 })
    }

    /// `λ_x` of a row with this many entries.
    pub(super) fn regularization(&self, touched: usize) -> f32 {
        let objective = &self.objective;
        let mass = touched as f64 + f64::from(objective.unobserved_weight) * self.others as f64;
        (f64::from(objective.regularization) * mass.powf(objective.frequency_exponent.into())) as f32
    }

    fn mean_diagonal(&self) -> f32 {
        let n = padded(self.factors);
        let sum: f32 = (0..self.factors).map(|index| self.shared[index * n + index]).sum();
        sum / self.factors as f32 + self.objective.regularization
    }
}

/// Refuses weights that are negative or not finite.
pub(super) fn check_weights(weights: &[f32]) -> Result<(), FactorizationError> {
    if weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) {
        return Ok(());
    }
    Err(FactorizationError::InvalidWeight { row: 0 })
}

/// `into = scale · factor`, filled up with zeros.
#[inline(always)]
pub(super) fn gather<L: Lanes>(lanes: L, scale: f32, factor: &[f32], into: &mut [f32]) {
    into.fill(0.0);
    axpy_lanes(lanes, scale, factor, into);
}

struct Row<'a, F> {
    shared: &'a FoldIn,
    vector_of: F,
    indexes: &'a [u32],
    weights: &'a [f32],
    scratch: &'a mut Scratch,
    ridge: f32,
}

impl<'v, F: Fn(u32) -> Option<&'v [f32]>> Kernel for Row<'_, F> {
    type Output = Result<(), NotPositiveDefinite>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Self::Output {
        let Self { shared, vector_of, indexes, weights, scratch, ridge } = self;
        let (k, n) = (shared.factors, padded(shared.factors));
        let objective = &shared.objective;
        scratch.matrix.copy_from_slice(&shared.shared);
        scratch.right.fill(0.0);
        let regularization = shared.regularization(indexes.len()) + ridge;
        for index in 0..k {
            scratch.matrix[index * n + index] += regularization;
        }
        for (indexes, weights) in indexes.chunks(GATHERED_ROWS).zip(weights.chunks(GATHERED_ROWS)) {
            let mut used = 0;
            for (&index, &weight) in indexes.iter().zip(weights) {
                let factor = vector_of(index).filter(|factor| factor.len() == k).unwrap_or(&[]);
                let confidence = objective.weight_of_touch(weight);
                let scale = (confidence - objective.unobserved_weight).max(0.0).sqrt();
                axpy_lanes(lanes, confidence, factor, &mut scratch.right);
                gather(lanes, scale, factor, &mut scratch.panel[used..used + n]);
                used += n;
            }
            add_gram_lanes(lanes, &mut scratch.matrix, &scratch.panel[..used], n);
        }
        factorize_lanes(lanes, &mut scratch.matrix, n)?;
        solve_lanes(lanes, &scratch.matrix, n, &mut scratch.right);
        if scratch.right.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(NotPositiveDefinite) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;

    const OBJECTIVE: Objective =
        Objective { unobserved_weight: 0.3, confidence: 2.0, regularization: 0.05, frequency_exponent: 0.5 };

    fn factors(rows: usize, k: usize) -> Vec<f32> {
        let mut random = Seed::new(11).generator();
        (0..rows * k).map(|_| random.normal() * 0.3).collect()
    }

    /// Derivative of the objective at `x`, from the definition, in double precision.
    fn gradient(other: &[f32], entries: (&[u32], &[f32]), x: &[f32]) -> Vec<f64> {
        let k = x.len();
        let others = other.len() / k;
        let mass = entries.0.len() as f64 + 0.3 * others as f64;
        let mut gradient: Vec<f64> = x.iter().map(|&x| 0.05 * mass.sqrt() * f64::from(x)).collect();
        for (index, y) in other.chunks(k).enumerate() {
            let score: f64 = x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            let touched = entries.0.iter().position(|&entry| entry as usize == index);
            let pull =
                touched.map_or(0.3 * score, |at| (1.0 + 2.0 * f64::from(entries.1[at])) * (score - 1.0));
            for (gradient, &y) in gradient.iter_mut().zip(y) {
                *gradient += pull * f64::from(y);
            }
        }
        gradient
    }

    #[test]
    fn the_derivative_of_the_objective_vanishes_at_the_solution() {
        for (k, touched) in [(1, 3), (16, 1), (20, 70), (64, 100), (100, 33)] {
            let other = factors(200, k);
            let indexes: Vec<u32> = (0..touched).map(|index| index * 200 / touched).collect();
            let weights: Vec<f32> = (0..touched).map(|index| (index % 5) as f32).collect();
            let fold_in = FoldIn::new(&other, k, OBJECTIVE).unwrap();
            let mut x = vec![0.0; k];
            fold_in.solve(&other, (&indexes, &weights), &mut fold_in.scratch(), &mut x).unwrap();
            let worst =
                gradient(&other, (&indexes, &weights), &x).into_iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            assert!(worst < 2e-3, "{k}: {worst}");
        }
    }

    #[test]
    fn a_matrix_of_products_is_as_good_as_the_rows_it_came_from() {
        let (k, other) = (20, factors(200, 20));
        let entries: (&[u32], &[f32]) = (&[3, 9, 150], &[1.0, 2.0, 0.0]);
        let whole = FoldIn::new(&other, k, OBJECTIVE).unwrap();
        let from_gram = FoldIn::from_gram(gram(&other, k), k, 200, OBJECTIVE).unwrap();
        let (mut expected, mut solved) = (vec![0.0; k], vec![0.0; k]);
        whole.solve(&other, entries, &mut whole.scratch(), &mut expected).unwrap();
        let own = [3, 9, 150].map(|row| other[row * k..(row + 1) * k].to_vec());
        let vector_of = |index: u32| match index {
            3 => Some(&own[0][..]),
            9 => Some(&own[1][..]),
            150 => Some(&own[2][..]),
            _other => None,
        };
        from_gram.solve_with(vector_of, entries, &mut from_gram.scratch(), &mut solved).unwrap();
        assert_eq!(solved, expected);
        let with_unknown: (&[u32], &[f32]) = (&[3, 9, 150, 151], &[1.0, 2.0, 0.0, 1.0]);
        let short = |index: u32| if index == 151 { Some(&other[..3]) } else { vector_of(index) };
        from_gram.solve_with(short, with_unknown, &mut from_gram.scratch(), &mut solved).unwrap();
        assert!(
            solved.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-2),
            "only the regularization knows"
        );
    }

    #[test]
    fn a_matrix_of_products_that_does_not_fit_is_refused() {
        assert!(FoldIn::from_gram(vec![0.0; 5], 20, 3, OBJECTIVE).is_err());
        let mut broken = gram(&factors(50, 20), 20);
        assert!(FoldIn::from_gram(broken.clone(), 20, 50, OBJECTIVE).is_ok());
        broken[7] = f32::NAN;
        assert!(FoldIn::from_gram(broken, 20, 50, OBJECTIVE).is_err());
        assert!(FoldIn::from_gram(Vec::new(), 0, 50, OBJECTIVE).is_err());
    }

    #[test]
    fn scratch_remembers_nothing() {
        let other = factors(50, 20);
        let fold_in = FoldIn::new(&other, 20, OBJECTIVE).unwrap();
        let mut scratch = fold_in.scratch();
        let (mut first, mut again) = (vec![0.0; 20], vec![0.0; 20]);
        fold_in.solve(&other, (&[3, 9], &[1.0, 2.0]), &mut scratch, &mut first).unwrap();
        fold_in.solve(&other, (&[1], &[5.0]), &mut scratch, &mut again).unwrap();
        fold_in.solve(&other, (&[3, 9], &[1.0, 2.0]), &mut scratch, &mut again).unwrap();
        assert_eq!(first, again);
    }

    #[test]
    fn an_empty_row_is_zero_and_unknown_indexes_are_ignored() {
        let other = factors(5, 4);
        let fold_in = FoldIn::new(&other, 4, OBJECTIVE).unwrap();
        let mut x = vec![1.0; 4];
        fold_in.solve(&other, (&[], &[]), &mut fold_in.scratch(), &mut x).unwrap();
        assert_eq!(x, [0.0; 4]);
        fold_in.solve(&other, (&[99], &[1.0]), &mut fold_in.scratch(), &mut x).unwrap();
        assert_eq!(x, [0.0; 4]);
    }

    #[test]
    fn bad_weights_and_parameters_are_refused() {
        let other = factors(5, 4);
        let fold_in = FoldIn::new(&other, 4, OBJECTIVE).unwrap();
        for weight in [f32::NAN, -1.0, f32::INFINITY] {
            let solved = fold_in.solve(&other, (&[0], &[weight]), &mut fold_in.scratch(), &mut [0.0; 4]);
            assert_eq!(solved, Err(FactorizationError::InvalidWeight { row: 0 }));
        }
        let none = Objective { regularization: 0.0, ..OBJECTIVE };
        assert!(matches!(
            none.check(),
            Err(FactorizationError::InvalidParameter { name: "regularization", .. })
        ));
        let undefined = Objective { unobserved_weight: f32::NAN, ..OBJECTIVE };
        assert!(undefined.check().is_err());
        assert!(FoldIn::new(&[], 0, OBJECTIVE).is_err());
    }

    #[test]
    fn hopelessly_scaled_factors_still_give_finite_vectors() {
        let objective = Objective { regularization: 1e-30, frequency_exponent: 0.0, ..OBJECTIVE };
        let other: Vec<f32> = (0..20).flat_map(|row| [1e4_f32, 1e4 + row as f32 * 1e-5, 1e4, 0.0]).collect();
        let fold_in = FoldIn::new(&other, 4, objective).unwrap();
        let mut x = vec![0.0; 4];
        fold_in.solve(&other, (&[3, 4], &[1.0, 1.0]), &mut fold_in.scratch(), &mut x).unwrap();
        assert!(x.iter().all(|value| value.is_finite()), "{x:?}");
    }
}
