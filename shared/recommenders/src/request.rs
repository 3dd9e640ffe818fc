//! What was asked and what is answered.

use smol_str::SmolStr;
use thiserror::Error;
use ulex_storage::StorageError;

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// At most this many entries; 0 is an empty list.
    pub n: usize,
    /// After skipping this many. Comes from the caller: may be huge, never allocate for it.
    pub offset: usize,
    /// Items must carry all of these. `None`: the caller said nothing; empty: explicitly no restriction.
    pub categories: Option<Vec<String>>,
}

impl ListQuery {
    /// The categories, none if nothing was said.
    #[must_use]
    pub fn categories(&self) -> &[String] {
        self.categories.as_deref().unwrap_or_default()
    }

    /// How long a list must be to answer this.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.n.saturating_add(self.offset)
    }

    /// Cuts the wanted part out of a list that starts at its best entry.
    #[must_use]
    pub fn cut<T>(&self, list: Vec<T>) -> Vec<T> {
        let depth = self.depth();
        list.into_iter().take(depth).skip(self.offset).collect()
    }
}

/// One answer: an item or a user, and how good it is in the eyes of whoever found it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredId {
    /// Which.
    pub id: SmolStr,
    /// Higher is better; comparable only within one list of one recommender.
    pub score: f64,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum RecommendError {
    /// No recommender of this kind has this name.
    #[error("{kind} recommender {name} not found")]
    UnknownRecommender {
        /// `item-to-item` or `user-to-user`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The settings switch this off.
    #[error("{0}")]
    Disabled(&'static str),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_out_whatever_is_asked_for() {
        let cut = |n: usize, offset: usize| ListQuery { n, offset, categories: None }.cut(vec![1, 2, 3, 4]);
        assert_eq!(cut(2, 0), [1, 2]);
        assert_eq!(cut(2, 3), [4]);
        assert_eq!(cut(usize::MAX, 1), [2, 3, 4]);
        for (n, offset) in [(0, 0), (0, 2), (3, 4), (5, usize::MAX), (usize::MAX, usize::MAX)] {
            assert_eq!(cut(n, offset), [0; 0], "{n} {offset}");
        }
    }
}
