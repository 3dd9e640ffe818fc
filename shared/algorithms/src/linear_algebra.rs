//! Dense linear algebra on row-major `f32`: what factorization models spend their time on.
//!
//! Everything rests on one register tile, 4 rows by 16 columns, so matrices are padded to multiples of 16
//! ([`padded`]). Nothing here allocates per call except where said; sums run in one fixed order, so results do
//! not depend on the number of threads.

pub mod cholesky;
pub mod inverse;
pub mod product;

/// Side length of a matrix with `n` used rows and columns: the next multiple of 16.
#[must_use]
pub fn padded(n: usize) -> usize {
    n.next_multiple_of(product::TILE_COLUMNS)
}
