//! One row of weighted least squares, improved a few factors at a time.
//!
//! # Problem
//!
//! That of [`super::fold_in`], starting from a vector `x`: for one block of factors after the other, the exact minimum
//! over the block with the other factors held fixed. With `s_j = x·y_j` for the row's entries, a block's step `d` solves
//!
//! ```text
//! (α₀ YᵀY + Σ (c_j − α₀) y_j y_jᵀ + λ_x I)_BB d = Σ (c_j (1 − s_j) + α₀ s_j) y_jB − (α₀ YᵀY x)_B − λ_x x_B
//! ```
//!
//! # Cost
//!
//! `touched · k · (b + 6) + 2k² + k b²/3` operations for blocks of `b` factors, against `touched · k² + k³/3` for the exact
//! solution: eight times less at 256 factors, 20 entries and blocks of 64. An epoch of alternating least squares gains
//! nearly as much from it as from the exact one, because both sides move anyway.
//!
//! # Source
//!
//! Rendle, Krichene, Zhang, Koren, "iALS++: Speeding up Matrix Factorization with Subspace Optimization", 2021.

use super::FactorizationError;
use super::fold_in::{FoldIn, GATHERED_ROWS, Scratch, check_weights, gather};
use crate::linear_algebra::cholesky::{NotPositiveDefinite, factorize_lanes, solve_lanes};
use crate::linear_algebra::padded;
use crate::linear_algebra::product::{TILE_COLUMNS, add_gram_lanes};
use crate::simd::{self, Kernel, Lanes, axpy_lanes, dot_lanes};

/// Improves `x` in place, `block` factors at a time. Rows without entries become zero.
///
/// `block` is a multiple of 16; entries and failures are those of [`FoldIn::solve`], which also takes over if rounding
/// makes a block indefinite.
///
/// # Errors
///
/// As [`FoldIn::solve`].
pub fn improve(
    fold_in: &FoldIn,
    block: usize,
    (other, indexes, weights): (&[f32], &[u32], &[f32]),
    scratch: &mut Scratch,
    x: &mut [f32],
) -> Result<(), FactorizationError> {
    assert!(block > 0 && block.is_multiple_of(TILE_COLUMNS), "whole tiles");
    check_weights(weights)?;
    if indexes.is_empty() {
        x.fill(0.0);
        return Ok(());
    }
    let row = Row { fold_in, block, other, indexes, weights, scratch: &mut *scratch, x: &mut *x };
    match simd::run(row) {
        Ok(()) => Ok(()),
        Err(NotPositiveDefinite) => fold_in.solve(other, (indexes, weights), scratch, x),
    }
}

struct Row<'a> {
    fold_in: &'a FoldIn,
    block: usize,
    other: &'a [f32],
    indexes: &'a [u32],
    weights: &'a [f32],
    scratch: &'a mut Scratch,
    x: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = Result<(), NotPositiveDefinite>;

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) -> Self::Output {
        let k = self.fold_in.factors;
        self.scratch.scores.clear();
        for &index in self.indexes {
            let factor = self.other.get(index as usize * k..(index as usize + 1) * k).unwrap_or(&[]);
            self.scratch.scores.push(dot_lanes(lanes, factor, self.x));
        }
        for start in (0..k).step_by(self.block) {
            self.improve_block(lanes, start, self.block.min(k - start))?;
        }
        if self.x.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(NotPositiveDefinite) }
    }
}

impl Row<'_> {
    #[inline(always)]
    fn improve_block<L: Lanes>(
        &mut self,
        lanes: L,
        start: usize,
        width: usize,
    ) -> Result<(), NotPositiveDefinite> {
        let n = padded(width);
        self.assemble(lanes, start, width);
        let (matrix, step) = (&mut self.scratch.matrix[..n * n], &mut self.scratch.right[..n]);
        factorize_lanes(lanes, matrix, n)?;
        solve_lanes(lanes, matrix, n, step);
        axpy_lanes(lanes, 1.0, &step[..width], &mut self.x[start..]);
        if start + width < self.x.len() {
            for (&index, score) in self.indexes.iter().zip(&mut self.scratch.scores) {
                let first = index as usize * self.fold_in.factors + start;
                let factor = self.other.get(first..first + width).unwrap_or(&[]);
                *score += dot_lanes(lanes, factor, step);
            }
        }
        Ok(())
    }

    /// Builds the block's system in scratch.
    #[inline(always)]
    fn assemble<L: Lanes>(&mut self, lanes: L, start: usize, width: usize) {
        let (n, k) = (padded(width), self.fold_in.factors);
        let (shared, stride) = (&self.fold_in.shared, padded(k));
        let objective = &self.fold_in.objective;
        let Scratch { matrix, panel, right, scores } = &mut *self.scratch;
        let (matrix, right) = (&mut matrix[..n * n], &mut right[..n]);
        let regularization = self.fold_in.regularization(self.indexes.len());
        right.fill(0.0);
        for row in 0..n {
            let shared = &shared[(start + row) * stride..][..stride];
            matrix[row * n..(row + 1) * n].copy_from_slice(&shared[start..start + n]);
            if row < width {
                matrix[row * n + row] += regularization;
                right[row] = -dot_lanes(lanes, shared, self.x) - regularization * self.x[start + row];
            }
        }
        let panel = &mut panel[..GATHERED_ROWS * n];
        let mut used = 0;
        for ((&index, &weight), &score) in self.indexes.iter().zip(self.weights).zip(&*scores) {
            let first = index as usize * k + start;
            let factor = self.other.get(first..first + width).unwrap_or(&[]);
            let confidence = objective.weight_of_touch(weight);
            let pull = confidence * (1.0 - score) + objective.unobserved_weight * score;
            axpy_lanes(lanes, pull, factor, right);
            let scale = (confidence - objective.unobserved_weight).max(0.0).sqrt();
            gather(lanes, scale, factor, &mut panel[used..used + n]);
            used += n;
            if used == panel.len() {
                add_gram_lanes(lanes, matrix, panel, n);
                used = 0;
            }
        }
        add_gram_lanes(lanes, matrix, &panel[..used], n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix_factorization::fold_in::Objective;
    use crate::random::Seed;

    const OBJECTIVE: Objective =
        Objective { unobserved_weight: 0.3, confidence: 2.0, regularization: 0.5, frequency_exponent: 0.5 };

    #[test]
    fn one_block_is_exact_and_repeated_blocks_arrive_at_the_same_vector() {
        for (k, block, rounds, tolerance) in [(20, 32, 1, 1e-4), (40, 16, 60, 1e-3), (64, 32, 60, 1e-3)] {
            let mut random = Seed::new(4).generator();
            let other: Vec<f32> = (0..200 * k).map(|_| random.normal() * 0.3).collect();
            let (indexes, weights): (Vec<u32>, Vec<f32>) =
                (0..70).map(|at| (at * 2, (at % 3) as f32)).unzip();
            let fold_in = FoldIn::new(&other, k, OBJECTIVE).unwrap();
            let mut scratch = fold_in.scratch();
            let (mut exact, mut x) = (vec![0.0; k], vec![0.1; k]);
            fold_in.solve(&other, (&indexes, &weights), &mut scratch, &mut exact).unwrap();
            for _ in 0..rounds {
                improve(&fold_in, block, (&other, &indexes, &weights), &mut scratch, &mut x).unwrap();
            }
            let worst = exact.iter().zip(&x).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < tolerance, "{k} {block}: {worst}");
        }
    }

    #[test]
    fn empty_rows_are_zero_and_bad_weights_refused() {
        let other = vec![0.5; 80];
        let fold_in = FoldIn::new(&other, 4, OBJECTIVE).unwrap();
        let mut x = [1.0; 4];
        improve(&fold_in, 16, (&other, &[], &[]), &mut fold_in.scratch(), &mut x).unwrap();
        assert_eq!(x, [0.0; 4]);
        let bad = improve(&fold_in, 16, (&other, &[0], &[f32::NAN]), &mut fold_in.scratch(), &mut x);
        assert_eq!(bad, Err(FactorizationError::InvalidWeight { row: 0 }));
    }
}
