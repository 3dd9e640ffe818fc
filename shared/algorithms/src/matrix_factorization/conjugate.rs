//! One row of weighted least squares, improved by a few steps of conjugate gradients.
//!
//! # Problem
//!
//! That of [`super::fold_in`], starting from a vector `x`. The matrix is never built: a step needs only its product with
//! a vector, `α₀ YᵀY p + Σ (c_j − α₀) y_j (y_j·p) + λ_x p`.
//!
//! # Cost
//!
//! `(steps + 1) · (2k² + 4 · touched · k)` operations. In alternating least squares, where the start is the vector of the
//! last epoch, three steps an epoch arrive where exact solutions do.
//!
//! # Source
//!
//! Takács, Pilászy, Tikk, "Applications of the Conjugate Gradient Method for Implicit Feedback Collaborative Filtering",
//! RecSys 2011.

use super::FactorizationError;
use super::fold_in::{FoldIn, Scratch, check_weights};
use crate::linear_algebra::padded;
use crate::simd::{self, Kernel, Lanes, axpy_lanes, dot_lanes};

/// Improves `x` in place. Rows without entries become zero; entries outside `other` are ignored.
///
/// # Errors
///
/// [`FactorizationError::InvalidWeight`], naming row 0.
pub fn improve(
    fold_in: &FoldIn,
    steps: usize,
    (other, indexes, weights): (&[f32], &[u32], &[f32]),
    scratch: &mut Scratch,
    x: &mut [f32],
) -> Result<(), FactorizationError> {
    check_weights(weights)?;
    if indexes.is_empty() {
        x.fill(0.0);
        return Ok(());
    }
    simd::run(Row {
        system: System { fold_in, other, indexes, weights },
        steps,
        scratch: &mut *scratch,
        x: &mut *x,
    });
    if x.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    fold_in.solve(other, (indexes, weights), scratch, x)
}

struct System<'a> {
    fold_in: &'a FoldIn,
    other: &'a [f32],
    indexes: &'a [u32],
    weights: &'a [f32],
}

impl System<'_> {
    /// Confidence and vector of an entry; no vector if the other side does not have it.
    #[inline(always)]
    fn entry(&self, at: usize) -> (f32, &[f32]) {
        let (k, index) = (self.fold_in.factors, self.indexes[at] as usize);
        let factor = self.other.get(index * k..(index + 1) * k).unwrap_or(&[]);
        (self.fold_in.objective.weight_of_touch(self.weights[at]), factor)
    }

    /// `out = b − A · x`; both padded.
    #[inline(always)]
    fn residual<L: Lanes>(&self, lanes: L, x: &[f32], out: &mut [f32]) {
        self.multiply_shared(lanes, x, out);
        for out in &mut *out {
            *out = -*out;
        }
        let unobserved = self.fold_in.objective.unobserved_weight;
        for at in 0..self.indexes.len() {
            let (confidence, factor) = self.entry(at);
            let score = dot_lanes(lanes, factor, x);
            axpy_lanes(lanes, confidence * (1.0 - score) + unobserved * score, factor, out);
        }
    }

    /// `out = A · p`; both padded.
    #[inline(always)]
    fn multiply<L: Lanes>(&self, lanes: L, p: &[f32], out: &mut [f32]) {
        self.multiply_shared(lanes, p, out);
        let unobserved = self.fold_in.objective.unobserved_weight;
        for at in 0..self.indexes.len() {
            let (confidence, factor) = self.entry(at);
            let score = dot_lanes(lanes, factor, p);
            axpy_lanes(lanes, (confidence - unobserved) * score, factor, out);
        }
    }

    /// `out = (α₀ YᵀY + λ_x I) · p`; both padded.
    #[inline(always)]
    fn multiply_shared<L: Lanes>(&self, lanes: L, p: &[f32], out: &mut [f32]) {
        let n = p.len();
        let regularization = self.fold_in.regularization(self.indexes.len());
        for (out, p) in out.iter_mut().zip(p) {
            *out = regularization * p;
        }
        for (rows, p) in self.fold_in.shared.chunks_exact(8 * n).zip(p.as_chunks::<8>().0) {
            add_eight_rows(lanes, rows, p, out);
        }
    }
}

/// `out += Σ p[r] · rows[r]`: `out` is read and written once for eight rows.
#[inline(always)]
fn add_eight_rows<L: Lanes>(lanes: L, rows: &[f32], p: &[f32; 8], out: &mut [f32]) {
    let n = out.len();
    let mut scales = [lanes.zero(); 8];
    for (scale, &p) in scales.iter_mut().zip(p) {
        *scale = lanes.splat(p);
    }
    for (column, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let mut sums = [lanes.load(out), lanes.zero()];
        for (row, &scale) in scales.iter().enumerate() {
            let values = &rows[row * n + column * 8..][..8].as_chunks::<8>().0[0];
            sums[row % 2] = lanes.mul_add(scale, lanes.load(values), sums[row % 2]);
        }
        lanes.store(lanes.add(sums[0], sums[1]), out);
    }
}

struct Row<'a> {
    system: System<'a>,
    steps: usize,
    scratch: &'a mut Scratch,
    x: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { system, steps, scratch, x } = self;
        let n = padded(x.len());
        let residual = &mut scratch.right[..n];
        let (direction, product) = scratch.panel.split_at_mut(n);
        let product = &mut product[..n];
        direction.fill(0.0);
        direction[..x.len()].copy_from_slice(x);
        system.residual(lanes, direction, residual);
        direction.copy_from_slice(residual);
        let mut square = dot_lanes(lanes, residual, residual);
        // Below this the step would be rounding.
        let enough = 1e-12 * square.max(f32::MIN_POSITIVE);
        for _ in 0..steps {
            if square <= enough {
                break;
            }
            system.multiply(lanes, direction, product);
            let length = square / dot_lanes(lanes, direction, product);
            axpy_lanes(lanes, length, direction, x);
            axpy_lanes(lanes, -length, product, residual);
            let next = dot_lanes(lanes, residual, residual);
            let turn = next / square;
            for (direction, residual) in direction.iter_mut().zip(&*residual) {
                *direction = residual + turn * *direction;
            }
            square = next;
        }
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
    fn enough_steps_arrive_at_the_exact_vector_and_each_step_comes_closer() {
        for k in [1, 13, 16, 40, 64] {
            let mut random = Seed::new(4).generator();
            let other: Vec<f32> = (0..200 * k).map(|_| random.normal() * 0.3).collect();
            let (indexes, weights): (Vec<u32>, Vec<f32>) =
                (0..70).map(|at| (at * 2, (at % 3) as f32)).unzip();
            let fold_in = FoldIn::new(&other, k, OBJECTIVE).unwrap();
            let mut scratch = fold_in.scratch();
            let mut exact = vec![0.0; k];
            fold_in.solve(&other, (&indexes, &weights), &mut scratch, &mut exact).unwrap();
            let mut distance = |steps| {
                let mut x = vec![0.1; k];
                improve(&fold_in, steps, (&other, &indexes, &weights), &mut scratch, &mut x).unwrap();
                exact.iter().zip(&x).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
            };
            let distances: Vec<f32> = (0..4).map(&mut distance).collect();
            assert!(distances.windows(2).all(|pair| pair[1] <= pair[0] + 1e-6), "{k}: {distances:?}");
            assert!(distance(60) < 1e-4, "{k}");
        }
    }

    #[test]
    fn empty_rows_are_zero_unknown_entries_are_ignored_and_bad_weights_refused() {
        let other = vec![0.5; 80];
        let fold_in = FoldIn::new(&other, 4, OBJECTIVE).unwrap();
        let mut scratch = fold_in.scratch();
        let mut x = [1.0; 4];
        improve(&fold_in, 3, (&other, &[], &[]), &mut scratch, &mut x).unwrap();
        assert_eq!(x, [0.0; 4]);
        improve(&fold_in, 3, (&other, &[500], &[1.0]), &mut scratch, &mut x).unwrap();
        assert_eq!(x, [0.0; 4]);
        let bad = improve(&fold_in, 3, (&other, &[0], &[f32::NAN]), &mut scratch, &mut x);
        assert_eq!(bad, Err(FactorizationError::InvalidWeight { row: 0 }));
    }
}
