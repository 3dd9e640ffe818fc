//! `C ± AᵀB` for row-major panels, the building block of Gram matrices, Cholesky updates and batch scoring.
//!
//! Cost: 2 · rows · columns · depth operations at near the peak of the processor as long as one strip of the
//! panels stays in the first- or second-level cache.

use rayon::prelude::*;

use super::padded;
use crate::simd::{self, Kernel, Lanes};

/// Rows of a register tile.
pub const TILE_ROWS: usize = 4;
/// Columns of a register tile.
pub const TILE_COLUMNS: usize = 16;

/// A row-major matrix whose rows are `stride` apart; a value outside is a bug of the caller and panics.
#[derive(Clone, Copy)]
pub struct Panel<'a> {
    /// Row after row.
    pub values: &'a [f32],
    /// Length of a row.
    pub stride: usize,
}

/// Where a product is added.
pub struct Target<'a> {
    /// Row after row.
    pub values: &'a mut [f32],
    /// Length of a row.
    pub stride: usize,
}

/// One tile: `C[0..4][0..16] ± Σ_r A[r][left..left+4]ᵀ B[r][right..right+16]`, `C` being the start of `target`.
#[inline(always)]
pub(super) fn tile<L: Lanes, const SUBTRACT: bool>(
    lanes: L,
    target: &mut Target<'_>,
    (a, left): (Panel<'_>, usize),
    (b, right): (Panel<'_>, usize),
) {
    assert!(left + TILE_ROWS <= a.stride && right + TILE_COLUMNS <= b.stride);
    let mut sums = [[lanes.zero(); 2]; TILE_ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        let stored = target.values[row * target.stride..][..TILE_COLUMNS].as_chunks::<8>().0;
        *sums = [lanes.load(&stored[0]), lanes.load(&stored[1])];
    }
    for (a_row, b_row) in a.values.chunks_exact(a.stride).zip(b.values.chunks_exact(b.stride)) {
        let b_row = b_row[right..right + TILE_COLUMNS].as_chunks::<8>().0;
        let b_row = [lanes.load(&b_row[0]), lanes.load(&b_row[1])];
        for (sums, &a) in sums.iter_mut().zip(&a_row[left..left + TILE_ROWS]) {
            let a = lanes.splat(a);
            let add = |b, sum| if SUBTRACT { lanes.neg_mul_add(a, b, sum) } else { lanes.mul_add(a, b, sum) };
            *sums = [add(b_row[0], sums[0]), add(b_row[1], sums[1])];
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let stored = target.values[row * target.stride..][..TILE_COLUMNS].as_chunks_mut::<8>().0;
        lanes.store(sums[0], &mut stored[0]);
        lanes.store(sums[1], &mut stored[1]);
    }
}

/// Adds `AᵀA` to the upper triangle of a square matrix; what is below the diagonal is overwritten with rubbish.
///
/// The panel's rows are as long as the matrix's, a multiple of 16.
pub fn add_gram(matrix: &mut [f32], panel: &[f32], n: usize) {
    simd::run(AddGram { matrix, panel, n });
}

struct AddGram<'a> {
    matrix: &'a mut [f32],
    panel: &'a [f32],
    n: usize,
}

impl Kernel for AddGram<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { matrix, panel, n } = self;
        add_gram_lanes(lanes, matrix, panel, n);
    }
}

#[inline(always)]
pub(crate) fn add_gram_lanes<L: Lanes>(lanes: L, matrix: &mut [f32], panel: &[f32], n: usize) {
    let panel = Panel { values: panel, stride: n };
    for row in (0..n).step_by(TILE_ROWS) {
        for column in (row - row % TILE_COLUMNS..n).step_by(TILE_COLUMNS) {
            let mut target = Target { values: &mut matrix[row * n + column..], stride: n };
            tile::<L, false>(lanes, &mut target, (panel, row), (panel, column));
        }
    }
}

/// `C -= AᵀB` for the given rows of `C` (and columns of `A`), from column `from_column` on.
///
/// `target` begins at the row `first_row`; the number of rows it has is a multiple of 4, its width and
/// `from_column` multiples of 16.
pub fn subtract(
    target: Target<'_>,
    (a, first_row): (Panel<'_>, usize),
    (b, from_column): (Panel<'_>, usize),
) {
    simd::run(Subtract { target, a, first_row, b, from_column });
}

struct Subtract<'a> {
    target: Target<'a>,
    a: Panel<'a>,
    first_row: usize,
    b: Panel<'a>,
    from_column: usize,
}

impl Kernel for Subtract<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { target, a, first_row, b, from_column } = self;
        let stride = target.stride;
        for column in (from_column..stride).step_by(TILE_COLUMNS) {
            for row in (0..target.values.len() / stride).step_by(TILE_ROWS) {
                let mut target = Target { values: &mut target.values[row * stride + column..], stride };
                tile::<L, true>(lanes, &mut target, (a, first_row + row), (b, column));
            }
        }
    }
}

/// `scores[r][0..16] = Σ_p left[p][r] · strip[p][0..16]` for every column `r` of `left` (a multiple of 4).
pub fn score_strip(left: Panel<'_>, strip: &[f32], scores: &mut [f32]) {
    simd::run(ScoreStrip { left, strip, scores });
}

pub(crate) struct ScoreStrip<'a> {
    pub(crate) left: Panel<'a>,
    pub(crate) strip: &'a [f32],
    pub(crate) scores: &'a mut [f32],
}

impl Kernel for ScoreStrip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let strip = Panel { values: self.strip, stride: TILE_COLUMNS };
        self.scores.fill(0.0);
        for (tile_index, scores) in self.scores.chunks_exact_mut(TILE_ROWS * TILE_COLUMNS).enumerate() {
            let mut target = Target { values: scores, stride: TILE_COLUMNS };
            tile::<L, false>(lanes, &mut target, (self.left, tile_index * TILE_ROWS), (strip, 0));
        }
    }
}

/// Rows that one thread adds up before partial sums meet; fixed, so that the order of addition is.
const GRAM_BLOCK: usize = 1024;

/// `MᵀM` of a row-major matrix with `width` columns, padded to `n × n`, both triangles filled.
///
/// Allocates one matrix per 1024 rows in flight, at most 64 in all.
#[must_use]
pub fn gram(rows: &[f32], width: usize) -> Vec<f32> {
    let n = padded(width);
    let block = (rows.len() / width.max(1)).div_ceil(64).max(GRAM_BLOCK);
    let partial: Vec<Vec<f32>> =
        rows.par_chunks(block * width.max(1)).map(|rows| gram_block(rows, width)).collect();
    let mut sum = vec![0.0_f32; n * n];
    for part in &partial {
        for (sum, part) in sum.iter_mut().zip(part) {
            *sum += part;
        }
    }
    mirror(&mut sum, n);
    sum
}

fn gram_block(rows: &[f32], width: usize) -> Vec<f32> {
    const PANEL_ROWS: usize = 32;
    let n = padded(width);
    let mut sum = vec![0.0_f32; n * n];
    let mut panel = vec![0.0_f32; PANEL_ROWS * n];
    for rows in rows.chunks(PANEL_ROWS * width) {
        if n == width {
            add_gram(&mut sum, rows, n);
            continue;
        }
        let mut used = 0;
        for (row, padded_row) in rows.chunks_exact(width).zip(panel.chunks_exact_mut(n)) {
            padded_row[..width].copy_from_slice(row);
            used += n;
        }
        add_gram(&mut sum, &panel[..used], n);
    }
    sum
}

/// Copies the upper triangle onto the lower.
pub fn mirror(matrix: &mut [f32], n: usize) {
    for row in 1..n {
        for column in 0..row {
            matrix[row * n + column] = matrix[column * n + row];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;

    fn random_matrix(rows: usize, columns: usize) -> Vec<f32> {
        let mut random = Seed::new(3).generator();
        (0..rows * columns).map(|_| random.unit() * 2.0 - 1.0).collect()
    }

    #[test]
    fn a_gram_matrix_matches_the_definition_for_any_width_and_threads() {
        for (rows, width) in [(0, 3), (1, 1), (77, 16), (2100, 19), (130, 40)] {
            let matrix = random_matrix(rows, width);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            let parallel = pool.install(|| gram(&matrix, width));
            let gram = gram(&matrix, width);
            assert_eq!(gram, parallel);
            let n = padded(width);
            for (left, right) in (0..n).flat_map(|left| (0..n).map(move |right| (left, right))) {
                let inside = left < width && right < width;
                let at = |row: usize, column: usize| f64::from(matrix[row * width + column]);
                let exact: f64 = (0..rows).filter(|_| inside).map(|row| at(row, left) * at(row, right)).sum();
                assert!((f64::from(gram[left * n + right]) - exact).abs() < 1e-3, "{left} {right}");
            }
        }
    }

    #[test]
    fn a_strip_of_scores_is_a_dot_product_per_pair() {
        let left = random_matrix(5, 8);
        let strip = random_matrix(5, 16);
        let mut scores = vec![9.0; 8 * 16];
        score_strip(Panel { values: &left, stride: 8 }, &strip, &mut scores);
        for (index, &score) in scores.iter().enumerate() {
            let (row, column) = (index / 16, index % 16);
            let exact: f32 = (0..5).map(|depth| left[depth * 8 + row] * strip[depth * 16 + column]).sum();
            assert!((score - exact).abs() < 1e-5);
        }
    }
}
