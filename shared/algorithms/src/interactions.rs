//! Who touched what, and how strongly: a sparse matrix in compressed-row form.

use rayon::prelude::*;

/// A sparse `n_rows × n_cols` matrix of weights: columns ascend within a row and are unique.
///
/// 8 bytes per entry and 8 per row. Rows are users and columns items unless a caller says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interactions {
    offsets: Vec<u64>,
    columns: Vec<u32>,
    weights: Vec<f32>,
    n_cols: usize,
}

impl Interactions {
    /// Builds the matrix from `(row, column, weight)` triples in any order; of equal pairs the last wins.
    ///
    /// # Panics
    ///
    /// Panics if a triple lies outside `n_rows × n_cols`: that is a bug in the index, not bad data.
    #[must_use]
    pub fn from_triples(n_rows: usize, n_cols: usize, mut triples: Vec<(u32, u32, f32)>) -> Self {
        triples.par_sort_by_key(|&(row, column, _)| (row, column));
        triples.reverse();
        triples.dedup_by_key(|&mut (row, column, _)| (row, column));
        triples.reverse();
        let mut offsets = vec![0_u64; n_rows + 1];
        for &(row, column, _) in &triples {
            assert!((column as usize) < n_cols, "column {column} outside {n_cols}");
            offsets[row as usize + 1] += 1;
        }
        for row in 0..n_rows {
            offsets[row + 1] += offsets[row];
        }
        let columns = triples.iter().map(|&(_, column, _)| column).collect();
        let weights = triples.iter().map(|&(_, _, weight)| weight).collect();
        Self { offsets, columns, weights, n_cols }
    }

    /// Wraps arrays that are in this form already, for example read back from a file; `None` if they are not:
    /// offsets must start at 0, ascend and end at the number of entries; columns must be below `n_cols`.
    #[must_use]
    pub fn from_parts(
        offsets: Vec<u64>,
        columns: Vec<u32>,
        weights: Vec<f32>,
        n_cols: usize,
    ) -> Option<Self> {
        let sound = offsets.first() == Some(&0)
            && offsets.last().is_some_and(|&last| last == columns.len() as u64)
            && offsets.is_sorted()
            && columns.len() == weights.len()
            && columns.iter().all(|&column| (column as usize) < n_cols);
        sound.then_some(Self { offsets, columns, weights, n_cols })
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Number of columns.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Columns and weights of one row; empty for a row outside the matrix.
    #[must_use]
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let (Some(&start), Some(&end)) = (self.offsets.get(row), self.offsets.get(row + 1)) else {
            return (&[], &[]);
        };
        let span = start as usize..end as usize;
        (&self.columns[span.clone()], &self.weights[span])
    }

    /// Whether the pair has an entry; `O(log row length)`.
    #[must_use]
    pub fn contains(&self, row: usize, column: u32) -> bool {
        self.row(row).0.binary_search(&column).is_ok()
    }

    /// Row boundaries: row `r` is entries `offsets[r]..offsets[r + 1]`.
    #[must_use]
    pub fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    /// Column of every entry, row by row.
    #[must_use]
    pub fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// Weight of every entry, row by row.
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The same entries with rows and columns exchanged; `O(entries + rows + columns)`.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let mut offsets = vec![0_u64; self.n_cols + 1];
        for &column in &self.columns {
            offsets[column as usize + 1] += 1;
        }
        for column in 0..self.n_cols {
            offsets[column + 1] += offsets[column];
        }
        let mut next = offsets.clone();
        let mut columns = vec![0; self.len()];
        let mut weights = vec![0.0; self.len()];
        for row in 0..self.n_rows() {
            let (row_columns, row_weights) = self.row(row);
            for (&column, &weight) in row_columns.iter().zip(row_weights) {
                let slot = next[column as usize] as usize;
                next[column as usize] += 1;
                columns[slot] = row as u32;
                weights[slot] = weight;
            }
        }
        Self { offsets, columns, weights, n_cols: self.n_rows() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Interactions {
        Interactions::from_triples(3, 4, vec![(2, 1, 1.0), (0, 3, 2.0), (0, 0, 3.0), (2, 1, 5.0)])
    }

    #[test]
    fn rows_come_back_sorted_and_the_last_duplicate_wins() {
        assert_eq!(small().row(0), (&[0, 3][..], &[3.0, 2.0][..]));
        assert_eq!(small().row(1), (&[][..], &[][..]));
        assert_eq!(small().row(2), (&[1][..], &[5.0][..]));
        assert_eq!(small().row(9), (&[][..], &[][..]));
    }

    #[test]
    fn transposing_twice_gives_the_same_matrix() {
        assert_eq!(small().transposed().transposed(), small());
        assert_eq!(small().transposed().row(3), (&[0][..], &[2.0][..]));
    }

    #[test]
    fn unsound_parts_are_refused() {
        assert!(Interactions::from_parts(vec![0, 1], vec![4], vec![1.0], 4).is_none());
        assert!(Interactions::from_parts(vec![0, 2], vec![0], vec![1.0], 4).is_none());
        assert!(Interactions::from_parts(vec![0, 1], vec![3], vec![1.0], 4).is_some());
    }
}
