//! Small symmetric positive definite systems: factorization and solution in place.
//!
//! # Shapes
//!
//! `A` is `n × n`, row-major, `n` a multiple of 16; only its upper triangle is read. After [`factorize`] the upper
//! triangle holds `U` with `A = UᵀU`, except that the diagonal holds `1 / U[i][i]`.
//!
//! # Cost
//!
//! `n³/3` operations in panels of eight rows (each panel takes all earlier rows into account at once, so a number is
//! read and written once), then `2n²` per right-hand side. No allocation.

use super::product::{Panel, TILE_COLUMNS, TILE_ROWS, Target, tile};
use crate::simd::{self, Kernel, Lanes};

const PANEL: usize = 8;

/// The matrix is not positive definite within `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPositiveDefinite;

/// Replaces the upper triangle of `matrix` by its factor.
///
/// # Errors
///
/// [`NotPositiveDefinite`], also for a matrix with NaN; the contents are then rubbish.
pub fn factorize(matrix: &mut [f32], n: usize) -> Result<(), NotPositiveDefinite> {
    assert!(n.is_multiple_of(TILE_COLUMNS) && matrix.len() == n * n, "padded square matrix");
    simd::run(Factorize { matrix, n })
}

struct Factorize<'a> {
    matrix: &'a mut [f32],
    n: usize,
}

impl Kernel for Factorize<'_> {
    type Output = Result<(), NotPositiveDefinite>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Result<(), NotPositiveDefinite> {
        factorize_lanes(lanes, self.matrix, self.n)
    }
}

#[inline(always)]
pub(crate) fn factorize_lanes<L: Lanes>(
    lanes: L,
    matrix: &mut [f32],
    n: usize,
) -> Result<(), NotPositiveDefinite> {
    for start in (0..n).step_by(PANEL) {
        let (done, rest) = matrix.split_at_mut(start * n);
        let panel = &mut rest[..PANEL * n];
        let done = Panel { values: done, stride: n };
        for row in (0..PANEL).step_by(TILE_ROWS) {
            for column in (start - start % TILE_COLUMNS..n).step_by(TILE_COLUMNS) {
                let mut target = Target { values: &mut panel[row * n + column..], stride: n };
                tile::<L, true>(lanes, &mut target, (done, start + row), (done, column));
            }
        }
        let corner = factorize_corner(panel, n, start)?;
        for column in (start + PANEL..n).step_by(PANEL) {
            solve_columns(lanes, panel, n, (column, &corner));
        }
    }
    Ok(())
}

/// Factorizes the 8 × 8 block on the diagonal; returns it with reciprocals on its diagonal.
#[inline(always)]
fn factorize_corner(
    panel: &mut [f32],
    n: usize,
    start: usize,
) -> Result<[[f32; PANEL]; PANEL], NotPositiveDefinite> {
    let mut corner = [[0.0_f32; PANEL]; PANEL];
    for (row, corner) in corner.iter_mut().enumerate() {
        corner.copy_from_slice(&panel[row * n + start..][..PANEL]);
    }
    for pivot in 0..PANEL {
        let square = corner[pivot][pivot];
        // Written so that NaN fails too.
        if !(square > 0.0 && square.is_finite()) {
            return Err(NotPositiveDefinite);
        }
        let reciprocal = 1.0 / square.sqrt();
        let row = corner[pivot].map(|value| value * reciprocal);
        for later in pivot + 1..PANEL {
            for column in 0..PANEL {
                corner[later][column] -= row[later] * row[column];
            }
        }
        corner[pivot] = row;
        corner[pivot][pivot] = reciprocal;
    }
    for (row, corner) in corner.iter().enumerate() {
        panel[row * n + start..][..PANEL].copy_from_slice(corner);
    }
    Ok(corner)
}

/// Finishes eight columns of a panel: solves `cornerᵀ · X = panel`.
#[inline(always)]
fn solve_columns<L: Lanes>(
    lanes: L,
    panel: &mut [f32],
    n: usize,
    (column, corner): (usize, &[[f32; PANEL]; PANEL]),
) {
    let mut rows = [lanes.zero(); PANEL];
    for (index, row) in rows.iter_mut().enumerate() {
        *row = lanes.load(&panel[index * n + column..][..8].as_chunks::<8>().0[0]);
    }
    for pivot in 0..PANEL {
        rows[pivot] = lanes.mul(rows[pivot], lanes.splat(corner[pivot][pivot]));
        for later in pivot + 1..PANEL {
            rows[later] = lanes.neg_mul_add(lanes.splat(corner[pivot][later]), rows[pivot], rows[later]);
        }
    }
    for (index, row) in rows.iter().enumerate() {
        lanes.store(*row, &mut panel[index * n + column..][..8].as_chunks_mut::<8>().0[0]);
    }
}

/// Solves `A x = b` in place, given the factor of `A`.
pub fn solve(factor: &[f32], n: usize, right: &mut [f32]) {
    assert!(n.is_multiple_of(TILE_COLUMNS) && factor.len() == n * n && right.len() == n, "padded system");
    simd::run(Solve { factor, n, right });
}

struct Solve<'a> {
    factor: &'a [f32],
    n: usize,
    right: &'a mut [f32],
}

impl Kernel for Solve<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        solve_lanes(lanes, self.factor, self.n, self.right);
    }
}

#[inline(always)]
pub(crate) fn solve_lanes<L: Lanes>(lanes: L, factor: &[f32], n: usize, right: &mut [f32]) {
    for (index, panel) in factor.chunks_exact(PANEL * n).enumerate() {
        forward(lanes, panel, index * PANEL, right);
    }
    for (index, panel) in factor.chunks_exact(PANEL * n).enumerate().rev() {
        backward(lanes, panel, index * PANEL, right);
    }
}

/// `Uᵀ z = b` for the eight rows of a panel, and their share taken from the rest of `b`.
#[inline(always)]
fn forward<L: Lanes>(lanes: L, panel: &[f32], start: usize, right: &mut [f32]) {
    let n = right.len();
    let (now, later) = right[start..].split_at_mut(PANEL);
    for pivot in 0..PANEL {
        now[pivot] *= panel[pivot * n + start + pivot];
        for index in pivot + 1..PANEL {
            now[index] -= panel[pivot * n + start + index] * now[pivot];
        }
    }
    let mut solved = [lanes.zero(); PANEL];
    for (solved, &now) in solved.iter_mut().zip(&*now) {
        *solved = lanes.splat(now);
    }
    for (index, later) in later.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let column = start + PANEL + index * 8;
        let mut sums = [lanes.load(later), lanes.zero()];
        for (row, &solved) in solved.iter().enumerate() {
            let factor = lanes.load(&panel[row * n + column..][..8].as_chunks::<8>().0[0]);
            sums[row % 2] = lanes.neg_mul_add(solved, factor, sums[row % 2]);
        }
        lanes.store(lanes.add(sums[0], sums[1]), later);
    }
}

/// `U x = z` for the eight rows of a panel, all later entries of `x` being known.
#[inline(always)]
fn backward<L: Lanes>(lanes: L, panel: &[f32], start: usize, right: &mut [f32]) {
    let n = right.len();
    let (now, later) = right[start..].split_at_mut(PANEL);
    let mut sums = [lanes.zero(); PANEL];
    for (index, later) in later.as_chunks::<8>().0.iter().enumerate() {
        let column = start + PANEL + index * 8;
        let later = lanes.load(later);
        for (row, sum) in sums.iter_mut().enumerate() {
            let factor = lanes.load(&panel[row * n + column..][..8].as_chunks::<8>().0[0]);
            *sum = lanes.mul_add(factor, later, *sum);
        }
    }
    for (now, sum) in now.iter_mut().zip(sums) {
        *now -= lanes.sum(sum);
    }
    for pivot in (0..PANEL).rev() {
        now[pivot] *= panel[pivot * n + start + pivot];
        for index in 0..pivot {
            now[index] -= panel[index * n + start + pivot] * now[pivot];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear_algebra::product::gram;
    use crate::random::Seed;
    use crate::simd::Portable;

    /// `A = MᵀM + I` and `b`.
    fn system(n: usize) -> (Vec<f32>, Vec<f32>) {
        let mut random = Seed::new(n as u64).generator();
        let rows: Vec<f32> = (0..2 * n * n).map(|_| random.unit() - 0.5).collect();
        let mut matrix = gram(&rows, n);
        for diagonal in 0..n {
            matrix[diagonal * n + diagonal] += 1.0;
        }
        (matrix, (0..n).map(|_| random.unit() - 0.5).collect())
    }

    fn residual(matrix: &[f32], x: &[f32], right: &[f32]) -> f64 {
        let rows = matrix.chunks_exact(x.len()).zip(right);
        let off = rows.map(|(row, &right)| {
            let sum: f64 = row.iter().zip(x).map(|(&a, &x)| f64::from(a) * f64::from(x)).sum();
            (sum - f64::from(right)).abs()
        });
        off.fold(0.0, f64::max)
    }

    #[test]
    fn the_solution_fulfils_the_system_with_both_instruction_sets() {
        for n in [16, 32, 48, 64, 128, 256] {
            let (matrix, right) = system(n);
            let (mut factor, mut x) = (matrix.clone(), right.clone());
            factorize(&mut factor, n).unwrap();
            solve(&factor, n, &mut x);
            assert!(residual(&matrix, &x, &right) < 1e-4, "{n}");
            let (mut factor, mut x) = (matrix.clone(), right.clone());
            factorize_lanes(Portable, &mut factor, n).unwrap();
            solve_lanes(Portable, &factor, n, &mut x);
            assert!(residual(&matrix, &x, &right) < 1e-4, "{n}");
        }
    }

    #[test]
    fn indefinite_and_undefined_matrices_are_refused() {
        let (mut matrix, _) = system(16);
        matrix[5 * 16 + 5] = -1.0;
        assert_eq!(factorize(&mut matrix, 16), Err(NotPositiveDefinite));
        let (mut matrix, _) = system(16);
        matrix[7] = f32::NAN;
        assert_eq!(factorize(&mut matrix, 16), Err(NotPositiveDefinite));
    }
}
