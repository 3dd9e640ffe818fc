//! Similarity of rows by the columns they share: items by users, users by items.
//!
//! # Definition
//!
//! For rows `i`, `j` of a sparse matrix `A` with column weights `c`:
//!
//! ```text
//! dot(i, j)  = Σ_u c_u · A_iu · A_ju                     c_u = length_u^-column_power, or its IDF
//! norm(i)    = √dot(i, i)
//! s(i, j)    = dot(i, j) / (norm(i)^(2·(1-asymmetry)) · norm(j)^(2·asymmetry))  ·  n / (n + shrinkage)
//! ```
//!
//! where `n` is the number of shared columns: two rows that meet once are no evidence. `asymmetry` ½ is the cosine; below it
//! popular `j` come out higher, as they do in what people touch next (F. Aiolli, RecSys 2013, who writes `α` for it).
//! Scores are cut to 1, which only the asymmetric form can exceed.
//!
//! # Cost
//!
//! Row by row with a sparse accumulator: `Σ_u length_u · min(length_u, max_column)` over columns, in parallel. A column longer than
//! `max_column` (a bestseller seen as a column of user similarity, a crawler as a column of item similarity) is read in a window around
//! the row itself, so everybody keeps candidates, similarity stays symmetric, and the pairs that are left out are those far
//! apart in the numbering, which is roughly the order of arrival. Deterministic for any number of threads.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Neighbors;
use crate::interactions::Interactions;
use crate::top_k::{Scored, TopK};

/// How much a column counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnWeight {
    /// `length^-p`: 0 counts all alike, 1 divides every column's vote among its rows.
    Power(f32),
    /// `ln(1 + rows / length)`.
    Idf,
}

/// Parameters of the similarity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OverlapParams {
    /// Neighbours kept per row.
    pub k: usize,
    /// Shared columns at which a similarity counts half.
    pub shrinkage: f32,
    /// Share of the norm of the neighbour in the denominator, 0 to 1; ½ is the cosine.
    pub asymmetry: f32,
    /// How much a column counts.
    pub column: ColumnWeight,
    /// Longest column that is read completely.
    pub max_column: usize,
    /// Whether the entries of the matrix count (`false`: every entry is 1).
    pub weighted: bool,
}

impl OverlapParams {
    /// Cosine with a moderate shrinkage, for "similar items" that are to be looked at.
    pub const COSINE: Self = Self {
        k: 100,
        shrinkage: 10.0,
        asymmetry: 0.5,
        column: ColumnWeight::Power(0.5),
        max_column: 10_000,
        weighted: false,
    };
}

impl Default for OverlapParams {
    fn default() -> Self {
        Self::COSINE
    }
}

/// How neighbours are found when they are to recommend. Which one is best is to be decided on held-out data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnnParams {
    /// The similarity.
    pub overlap: OverlapParams,
    /// Whether `k` bounds in how many histories' favour a target speaks (the classical item-based form: every target keeps its `k` nearest
    /// sources) instead of how many targets a source speaks for. The first keeps popular targets from filling every list.
    pub by_target: bool,
    /// User-based only: power of an item's popularity that divides its score.
    pub popularity: f32,
}

impl Default for KnnParams {
    fn default() -> Self {
        Self::ITEMS_OFTEN_SHARED
    }
}

impl KnnParams {
    /// Item-based where items have many users (about 50 on average or more).
    pub const ITEMS_OFTEN_SHARED: Self = Self {
        overlap: OverlapParams {
            k: 50,
            shrinkage: 5.0,
            asymmetry: 0.85,
            column: ColumnWeight::Power(0.5),
            ..OverlapParams::COSINE
        },
        by_target: true,
        popularity: 0.0,
    };
    /// Item-based where most items have few users.
    pub const ITEMS_RARELY_SHARED: Self = Self {
        overlap: OverlapParams {
            k: 200,
            shrinkage: 0.0,
            asymmetry: 0.1,
            column: ColumnWeight::Power(1.0),
            ..OverlapParams::COSINE
        },
        by_target: false,
        popularity: 0.0,
    };
    /// User-based, over the matrix user × item.
    pub const USERS: Self = Self {
        overlap: OverlapParams {
            k: 100,
            shrinkage: 3.0,
            asymmetry: 0.8,
            column: ColumnWeight::Power(0.5),
            ..OverlapParams::COSINE
        },
        by_target: false,
        popularity: 0.2,
    };
    /// User-based where most items have few users.
    pub const USERS_RARELY_SHARED: Self = Self {
        overlap: OverlapParams {
            k: 300,
            shrinkage: 0.0,
            asymmetry: 0.8,
            column: ColumnWeight::Power(0.75),
            ..OverlapParams::COSINE
        },
        by_target: false,
        popularity: 0.2,
    };

    /// The neighbours of every row, by which a row recommends.
    #[must_use]
    pub fn neighbors(&self, rows: &Interactions) -> Neighbors {
        let neighbors = OverlapIndex::new(rows, self.overlap).neighbors(rows);
        if self.by_target { neighbors.transposed(rows.n_rows()) } else { neighbors }
    }
}

/// The matrix user × item with every entry divided by `popularity(item)^power`, for
/// [`recall_from_similar_users`](super::recall_from_similar_users).
#[must_use]
pub fn discount_popular(interactions: &Interactions, power: f32) -> Interactions {
    let mut popularity = vec![0_u32; interactions.n_cols()];
    interactions.columns().iter().for_each(|&item| popularity[item as usize] += 1);
    let entries = interactions.columns().iter().zip(interactions.weights());
    let weights =
        entries.map(|(&item, weight)| weight * (popularity[item as usize] as f32).powf(-power)).collect();
    Interactions::from_parts(
        interactions.offsets().to_vec(),
        interactions.columns().to_vec(),
        weights,
        interactions.n_cols(),
    )
    .expect("only the weights have changed")
}

/// Rows, their postings and norms: answers which rows are most similar to a row or to a set of columns.
#[derive(Clone, Debug)]
pub struct OverlapIndex {
    params: OverlapParams,
    postings: Interactions,
    /// `c_u`.
    columns: Vec<f32>,
    /// `dot(i, i)`.
    squares: Vec<f32>,
    /// `dot(i, i)^asymmetry`.
    powers: Vec<f32>,
}

/// Sum and number of shared columns per row: memory of one query that the next one uses again.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    sums: Vec<(f32, f32)>,
    touched: Vec<u32>,
}

impl Shared {
    #[inline]
    fn add(&mut self, row: u32, term: f32) {
        let sum = &mut self.sums[row as usize];
        if sum.1 == 0.0 {
            self.touched.push(row);
        }
        sum.0 += term;
        sum.1 += 1.0;
    }
}

impl OverlapIndex {
    /// Indexes the rows of `rows`. Entries must be finite and not negative; others count as 0.
    #[must_use]
    pub fn new(rows: &Interactions, params: OverlapParams) -> Self {
        let postings = rows.transposed();
        let n_rows = rows.n_rows() as f32;
        let weight = |column: usize| {
            let length = postings.row(column).0.len().max(1) as f32;
            match params.column {
                ColumnWeight::Power(power) => length.powf(-power),
                ColumnWeight::Idf => (n_rows / length).ln_1p(),
            }
        };
        let columns: Vec<f32> = (0..rows.n_cols()).map(weight).collect();
        let mut index = Self { params, postings, columns, squares: Vec::new(), powers: Vec::new() };
        index.squares = (0..rows.n_rows()).into_par_iter().map(|row| index.square(rows.row(row))).collect();
        index.powers = index.squares.par_iter().map(|square| square.powf(params.asymmetry)).collect();
        index
    }

    /// The neighbours of every row, itself left out.
    #[must_use]
    pub fn neighbors(&self, rows: &Interactions) -> Neighbors {
        let lists: Vec<Vec<Scored>> = (0..rows.n_rows())
            .into_par_iter()
            .map_init(Shared::default, |shared, row| {
                self.collect(rows.row(row), Some(row as u32), shared);
                self.drain(self.squares[row], Some(row as u32), self.params.k, shared)
            })
            .collect();
        Neighbors::from_rows(&lists)
    }

    /// The `k` rows most similar to a row that is not indexed, given as `(column, weight)`; unknown columns are left out.
    #[must_use]
    pub fn query(&self, history: &[(u32, f32)], k: usize) -> Vec<Scored> {
        let (columns, weights): (Vec<u32>, Vec<f32>) = history.iter().copied().unzip();
        self.query_with((&columns, &weights), k, &mut Shared::default())
    }

    /// [`OverlapIndex::query`] of columns and weights, with memory that the next call uses again.
    #[must_use]
    pub fn query_with(&self, history: (&[u32], &[f32]), k: usize, memory: &mut Shared) -> Vec<Scored> {
        self.collect(history, None, memory);
        self.drain(self.square(history), None, k, memory)
    }

    /// What similarity means here.
    #[must_use]
    pub const fn params(&self) -> &OverlapParams {
        &self.params
    }

    /// Number of indexed rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.squares.len()
    }

    #[inline]
    fn entry(&self, weight: f32) -> f32 {
        match self.params.weighted {
            false => 1.0,
            true if weight.is_finite() => weight.max(0.0),
            true => 0.0,
        }
    }

    /// `c_u`, 0 for a column that is not indexed; its postings are empty.
    #[inline]
    fn weight(&self, column: u32) -> f32 {
        self.columns.get(column as usize).copied().unwrap_or(0.0)
    }

    fn square(&self, (columns, weights): (&[u32], &[f32])) -> f32 {
        columns
            .iter()
            .zip(weights)
            .map(|(&column, &weight)| self.weight(column) * self.entry(weight).powi(2))
            .sum()
    }

    fn collect(&self, (columns, weights): (&[u32], &[f32]), row: Option<u32>, shared: &mut Shared) {
        shared.sums.resize(self.squares.len(), (0.0, 0.0));
        for (&column, &weight) in columns.iter().zip(weights) {
            let scale = self.weight(column) * self.entry(weight);
            let (rows, entries) = self.postings.row(column as usize);
            let window = self.window(rows, row);
            for (&other, &entry) in rows[window.clone()].iter().zip(&entries[window]) {
                shared.add(other, scale * self.entry(entry));
            }
        }
    }

    /// The part of a column that is read.
    fn window(&self, rows: &[u32], row: Option<u32>) -> std::ops::Range<usize> {
        let most = self.params.max_column;
        if rows.len() <= most {
            return 0..rows.len();
        }
        let middle = row.map_or(rows.len() / 2, |row| rows.partition_point(|&other| other < row));
        let start = middle.saturating_sub(most / 2).min(rows.len() - most);
        start..start + most
    }

    /// Turns sums into similarities and keeps the best.
    fn drain(&self, own: f32, except: Option<u32>, k: usize, shared: &mut Shared) -> Vec<Scored> {
        let OverlapParams { shrinkage, asymmetry, .. } = self.params;
        let cosine = asymmetry == 0.5;
        let own_power = own.powf(1.0 - asymmetry);
        let mut best = TopK::new(k);
        for &other in &shared.touched {
            let (sum, count) = std::mem::take(&mut shared.sums[other as usize]);
            let norm = if cosine {
                (own * self.squares[other as usize]).sqrt()
            } else {
                own_power * self.powers[other as usize]
            };
            let score = (sum / norm).min(1.0) * count / (count + shrinkage);
            if score > 0.0 && score >= best.threshold() && Some(other) != except {
                best.push(other, score);
            }
        }
        shared.touched.clear();
        best.into_sorted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matrix(entries: &[(u32, u32)]) -> Interactions {
        Interactions::from_triples(
            8,
            10,
            entries.iter().map(|&(row, column)| (row, column, 1.0 + (row + column) as f32)).collect(),
        )
    }

    /// The definition, pair by pair.
    fn similarity(rows: &Interactions, params: &OverlapParams, i: usize, j: usize) -> f32 {
        let postings = rows.transposed();
        let weight = |column: u32| {
            let length = postings.row(column as usize).0.len() as f32;
            match params.column {
                ColumnWeight::Power(power) => length.powf(-power),
                ColumnWeight::Idf => (8.0 / length).ln_1p(),
            }
        };
        let entry = |row: usize, column: u32| {
            let (columns, weights) = rows.row(row);
            columns.binary_search(&column).map_or(0.0, |at| if params.weighted { weights[at] } else { 1.0 })
        };
        let dot = |i: usize, j: usize| {
            (0..10).map(|c| weight(c) * entry(i, c) * entry(j, c)).filter(|x| x.is_finite()).sum::<f32>()
        };
        let shared = (0..10).filter(|&c| rows.contains(i, c) && rows.contains(j, c)).count() as f32;
        let norm = dot(i, i).powf(1.0 - params.asymmetry) * dot(j, j).powf(params.asymmetry);
        (dot(i, j) / norm).min(1.0) * shared / (shared + params.shrinkage)
    }

    proptest! {
        #[test]
        fn neighbours_are_those_of_the_definition(
            entries in proptest::collection::btree_set((0_u32..8, 0_u32..10), 1..50),
            asymmetry in 0.0_f32..1.0, shrinkage in 0.0_f32..5.0, idf in any::<bool>(), weighted in any::<bool>(),
        ) {
            let rows = matrix(&entries.into_iter().collect::<Vec<_>>());
            let column = if idf { ColumnWeight::Idf } else { ColumnWeight::Power(0.7) };
            let params = OverlapParams { k: 8, asymmetry, shrinkage, column, weighted, ..OverlapParams::default() };
            let index = OverlapIndex::new(&rows, params);
            let neighbors = index.neighbors(&rows);
            for i in 0..8 {
                let (ids, scores) = neighbors.row(i);
                for j in (0..8).filter(|&j| j != i) {
                    let expected = similarity(&rows, &params, i as usize, j as usize);
                    let found = ids.iter().position(|&id| id == j).map_or(0.0, |at| scores[at]);
                    prop_assert!((found - if expected.is_nan() { 0.0 } else { expected }).abs() < 1e-4, "{i} {j}: {found} {expected}");
                }
                prop_assert!(scores.is_sorted_by(|a, b| a >= b));
                let (columns, weights) = rows.row(i as usize);
                let history: Vec<_> = columns.iter().copied().zip(weights.iter().copied()).collect();
                let mut queried = index.query(&history, 9);
                queried.retain(|scored| scored.index != i);
                prop_assert_eq!(queried.iter().map(|scored| scored.index).collect::<Vec<_>>(), ids);
            }
        }
    }

    #[test]
    fn long_columns_are_read_around_the_row() {
        let rows = Interactions::from_triples(100, 1, (0..100).map(|row| (row, 0, 1.0)).collect());
        let index =
            OverlapIndex::new(&rows, OverlapParams { max_column: 10, k: 50, ..OverlapParams::default() });
        let neighbors = index.neighbors(&rows);
        for row in 0..100_u32 {
            let (ids, _) = neighbors.row(row);
            assert!(ids.len() >= 9 && ids.iter().all(|&id| id.abs_diff(row) <= 10), "{row}: {ids:?}");
        }
        assert_eq!(index.query(&[(0, 1.0), (7, 1.0)], 50).len(), 10);
    }

    #[test]
    fn equal_rows_are_the_nearest_of_all() {
        let rows = Interactions::from_triples(
            3,
            4,
            vec![(0, 0, 1.0), (0, 1, 1.0), (1, 0, 1.0), (1, 1, 1.0), (2, 1, 1.0), (2, 3, 1.0)],
        );
        let neighbors =
            OverlapIndex::new(&rows, OverlapParams { shrinkage: 0.0, ..OverlapParams::default() })
                .neighbors(&rows);
        let (ids, scores) = neighbors.row(0);
        assert_eq!(ids, [1, 2]);
        assert!((scores[0] - 1.0).abs() < 1e-6);
    }
}
