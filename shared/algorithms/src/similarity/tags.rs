//! Similarity of tag sets: cosine of vectors whose entries are inverse document frequencies.
//!
//! ```text
//! s(i, j) = Σ_{t in both} idf_t / √(Σ_{t in i} idf_t · Σ_{t in j} idf_t),   idf_t = ln(1 + rows / rows with t)
//! ```
//!
//! Equal sets score 1 and are kept: a copy of an item is its nearest neighbour. It is [`overlap`](super::overlap) of the matrix
//! row × tag with a shrinkage of [`SHRINKAGE`], because two rare tags in common do mean something.

use super::overlap::ColumnWeight;
use super::{Neighbors, OverlapIndex, OverlapParams};
use crate::interactions::Interactions;

/// Shared tags at which a similarity counts half.
pub const SHRINKAGE: f32 = 0.5;

/// Indexes rows by their tags; column `t` of `tags` is tag `t`, entries are not looked at.
#[must_use]
pub fn tag_index(tags: &Interactions, k: usize) -> OverlapIndex {
    let params =
        OverlapParams { k, shrinkage: SHRINKAGE, column: ColumnWeight::Idf, ..OverlapParams::default() };
    OverlapIndex::new(tags, params)
}

/// The `k` nearest rows of every row.
#[must_use]
pub fn tag_neighbors(tags: &Interactions, k: usize) -> Neighbors {
    tag_index(tags, k).neighbors(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_tag_in_common_counts_more_than_a_frequent_one() {
        // Tag 0 is on rows 0 to 3, tag 1 on rows 0 and 4.
        let tags = [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (4, 1)];
        let tags = Interactions::from_triples(5, 2, tags.iter().map(|&(row, tag)| (row, tag, 1.0)).collect());
        let neighbors = tag_neighbors(&tags, 10);
        let (ids, scores) = neighbors.row(0);
        assert_eq!(ids, [4, 1, 2, 3]);
        let (frequent, rare) = ((5.0_f32 / 4.0).ln_1p(), (5.0_f32 / 2.0).ln_1p());
        let expected = rare / ((frequent + rare) * rare).sqrt() / (1.0 + SHRINKAGE);
        assert!((scores[0] - expected).abs() < 1e-6);
        assert_eq!(neighbors.row(1).0, [2, 3, 0], "equal sets are kept and come first");
    }
}
