//! Inverse of a large symmetric positive definite matrix, in place and in parallel.
//!
//! # Method
//!
//! The symmetric sweep operator, 64 pivots at a time: with `K` the pivot block and `P = A_KK⁻¹`,
//!
//! ```text
//! A_ij ← A_ij − A_iK P A_Kj      A_Kj ← P A_Kj      A_KK ← −P
//! ```
//!
//! after which the matrix is `−A⁻¹` once every block was swept. Only the upper triangle is computed. A positive definite
//! matrix needs no pivoting; the pivot blocks are inverted in double precision.
//!
//! # Cost
//!
//! `n³` operations, `4 n²` bytes for the matrix and `512 n` for panels. Bit-identical for any number of threads.

use rayon::prelude::*;

use super::cholesky::NotPositiveDefinite;
use super::product::{Panel, TILE_COLUMNS, Target, subtract};

const BLOCK: usize = 64;

/// Replaces a symmetric matrix by its inverse; both triangles are read and written.
///
/// `n` is a multiple of 16 (give unused rows a one on the diagonal).
///
/// # Errors
///
/// [`NotPositiveDefinite`]; the contents are then rubbish.
pub fn invert(matrix: &mut [f32], n: usize) -> Result<(), NotPositiveDefinite> {
    assert!(n.is_multiple_of(TILE_COLUMNS) && matrix.len() == n * n, "padded square matrix");
    let mut old = vec![0.0_f32; BLOCK * n];
    let mut new = vec![0.0_f32; BLOCK * n];
    for start in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - start);
        let (old, new) = (&mut old[..width * n], &mut new[..width * n]);
        gather_pivot_rows(matrix, n, start, old);
        let pivot = inverse_of_pivot(old, n, start)?;
        solve_pivot_rows(&pivot, n, old, new);
        // A_ij − A_iK P A_Kj, upper triangle; rows and columns of the block itself are overwritten below.
        let (old_panel, new_panel) = (Panel { values: old, stride: n }, Panel { values: new, stride: n });
        matrix.par_chunks_mut(TILE_COLUMNS * n).enumerate().for_each(|(band, rows)| {
            let first = band * TILE_COLUMNS;
            subtract(Target { values: rows, stride: n }, (old_panel, first), (new_panel, first));
        });
        scatter_pivot_rows(matrix, n, start, (new, &pivot));
    }
    negate_and_mirror(matrix, n);
    Ok(())
}

/// Copies the full rows of the block out of the upper triangle.
fn gather_pivot_rows(matrix: &[f32], n: usize, start: usize, rows: &mut [f32]) {
    for (pivot, row) in rows.chunks_exact_mut(n).enumerate() {
        let index = start + pivot;
        for (column, value) in row.iter_mut().enumerate() {
            let (upper_row, upper_column) = (index.min(column), index.max(column));
            *value = matrix[upper_row * n + upper_column];
        }
    }
}

/// Gauss–Jordan elimination in double precision.
fn inverse_of_pivot(rows: &[f32], n: usize, start: usize) -> Result<Vec<f64>, NotPositiveDefinite> {
    let width = rows.len() / n;
    let mut block: Vec<f64> = rows
        .chunks_exact(n)
        .flat_map(|row| row[start..start + width].iter().map(|&value| f64::from(value)))
        .collect();
    for pivot in 0..width {
        let diagonal = block[pivot * width + pivot];
        if !(diagonal > 0.0 && diagonal.is_finite()) {
            return Err(NotPositiveDefinite);
        }
        let mut pivot_row: Vec<f64> =
            block[pivot * width..(pivot + 1) * width].iter().map(|value| value / diagonal).collect();
        pivot_row[pivot] = 1.0 / diagonal;
        for (index, row) in block.chunks_exact_mut(width).enumerate() {
            let scale = row[pivot];
            if index == pivot {
                row.copy_from_slice(&pivot_row);
                continue;
            }
            row[pivot] = 0.0;
            for (value, pivot_value) in row.iter_mut().zip(&pivot_row) {
                *value -= scale * pivot_value;
            }
        }
    }
    Ok(block)
}

/// `new = P · old`.
fn solve_pivot_rows(pivot: &[f64], n: usize, old: &[f32], new: &mut [f32]) {
    let width = old.len() / n;
    // −Pᵀ, so that subtracting the product adds it.
    let factors: Vec<f32> =
        (0..width * width).map(|index| -(pivot[index % width * width + index / width] as f32)).collect();
    new.fill(0.0);
    new.par_chunks_mut(8 * n).enumerate().for_each(|(band, rows)| {
        let factors = Panel { values: &factors, stride: width };
        subtract(
            Target { values: rows, stride: n },
            (factors, band * 8),
            (Panel { values: old, stride: n }, 0),
        );
    });
}

/// Writes the block's rows, columns and `−P` back into the upper triangle.
fn scatter_pivot_rows(matrix: &mut [f32], n: usize, start: usize, (rows, pivot): (&[f32], &[f64])) {
    let width = rows.len() / n;
    matrix.par_chunks_exact_mut(n).enumerate().for_each(|(index, row)| {
        if index < start {
            for offset in 0..width {
                row[start + offset] = rows[offset * n + index];
            }
        } else if index < start + width {
            let offset = index - start;
            row[start + width..].copy_from_slice(&rows[offset * n + start + width..(offset + 1) * n]);
            for column in 0..width {
                row[start + column] = -(pivot[offset * width + column] as f32);
            }
        }
    });
}

fn negate_and_mirror(matrix: &mut [f32], n: usize) {
    const TILE: usize = 32;
    let columns = |row| (row..n).step_by(TILE).map(move |column| (row, column));
    for (first_row, first_column) in (0..n).step_by(TILE).flat_map(columns) {
        for row in first_row..n.min(first_row + TILE) {
            for column in first_column.max(row)..n.min(first_column + TILE) {
                let value = -matrix[row * n + column];
                matrix[row * n + column] = value;
                matrix[column * n + row] = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear_algebra::product::gram;
    use crate::random::Seed;

    #[test]
    fn a_matrix_times_its_inverse_is_the_identity_for_any_number_of_threads() {
        for n in [16, 64, 112, 208] {
            let mut random = Seed::new(n as u64).generator();
            let rows: Vec<f32> = (0..3 * n * n).map(|_| random.unit() - 0.3).collect();
            let mut matrix = gram(&rows, n);
            for diagonal in 0..n {
                matrix[diagonal * n + diagonal] += 5.0;
            }
            let mut inverse = matrix.clone();
            invert(&mut inverse, n).unwrap();
            for (row, column) in (0..n).flat_map(|row| (0..n).map(move |column| (row, column))) {
                let products =
                    (0..n).map(|i| f64::from(matrix[row * n + i]) * f64::from(inverse[i * n + column]));
                let expected = f64::from(u8::from(row == column));
                assert!((products.sum::<f64>() - expected).abs() < 2e-4, "{n}: {row} {column}");
            }
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            let mut again = matrix;
            pool.install(|| invert(&mut again, n)).unwrap();
            assert_eq!(again, inverse);
        }
    }

    #[test]
    fn an_indefinite_matrix_is_refused() {
        let mut matrix = vec![0.0; 256];
        for diagonal in 0..16 {
            matrix[diagonal * 17] = 1.0;
        }
        matrix[3 * 17] = -2.0;
        assert_eq!(invert(&mut matrix, 16), Err(NotPositiveDefinite));
    }
}
