//! Items that the live ModelSet has learned nothing about, because they came after its fit: their vectors, solved from
//! the vectors of the users who like them.
//!
//! The table belongs to one [`Live`](crate::live::Live) and goes with it. It holds at most [`MAX_ITEMS`] items, those
//! liked last, and is replaced as a whole: a request sees one state of it.
//!
//! # Indexes
//!
//! An item that the ModelSet holds, although nobody had liked it, keeps its index there. Any other gets one beyond:
//! number of items of the ModelSet + row in this table.
//!
//! # Cost
//!
//! `factors · 4` bytes an item and model, and in every request one product for each.

use rustc_hash::FxHashMap;
use ulex_algorithms::simd;
use ulex_domain::Timestamp;

/// Most items held.
pub const MAX_ITEMS: usize = 1_000;

/// One item and its vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct FreshItem {
    /// Slot of the catalogue.
    pub slot: u32,
    /// Index in the ModelSet, if it has one.
    pub index: Option<u32>,
    /// When it was liked last.
    pub liked_at: Timestamp,
    /// How many users its vectors were solved from.
    pub users: usize,
    /// One vector for each collaborative model, empty for one that has no vectors.
    pub vectors: Vec<Vec<f32>>,
}

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct FreshItems {
    items: Vec<FreshItem>,
    /// One matrix for each collaborative model, a row for each item.
    matrices: Vec<Vec<f32>>,
    by_slot: FxHashMap<u32, u32>,
    /// Rows of the items that have an index in the ModelSet.
    by_index: FxHashMap<u32, u32>,
    grown: Option<Timestamp>,
}

impl FreshItems {
    /// A table with these items put in place of what it holds of them, and without the slots in `gone`. `now` is noted
    /// if an item is new.
    #[must_use]
    pub fn with(&self, changed: &[FreshItem], gone: &[u32], now: Timestamp) -> Self {
        let replaced = |slot: u32| gone.contains(&slot) || changed.iter().any(|item| item.slot == slot);
        let kept = self.items.iter().filter(|item| !replaced(item.slot));
        let mut items: Vec<FreshItem> = kept.chain(changed).cloned().collect();
        items.sort_by(|a, b| b.liked_at.cmp(&a.liked_at).then(a.slot.cmp(&b.slot)));
        items.truncate(MAX_ITEMS);
        let is_new = |item: &FreshItem| !self.by_slot.contains_key(&item.slot);
        let grown = if items.iter().any(is_new) { Some(now) } else { self.grown };
        let models = items.first().map_or(0, |item| item.vectors.len());
        let matrix = |model: usize| items.iter().flat_map(|item| &item.vectors[model]).copied().collect();
        let rows = || (0..).zip(&items);
        Self {
            matrices: (0..models).map(matrix).collect(),
            by_slot: rows().map(|(row, item)| (item.slot, row)).collect(),
            by_index: rows().filter_map(|(row, item)| Some((item.index?, row))).collect(),
            items,
            grown,
        }
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items, the one liked last first.
    #[must_use]
    pub fn items(&self) -> &[FreshItem] {
        &self.items
    }

    /// The item of a slot.
    #[must_use]
    pub fn at(&self, slot: u32) -> Option<&FreshItem> {
        self.by_slot.get(&slot).map(|&row| &self.items[row as usize])
    }

    /// When an item was last added.
    #[must_use]
    pub const fn grown(&self) -> Option<Timestamp> {
        self.grown
    }

    /// The index of an item by its slot, `known` being the number of items of the ModelSet.
    #[must_use]
    pub fn index(&self, slot: u32, known: usize) -> Option<u32> {
        let row = *self.by_slot.get(&slot)?;
        Some(self.items[row as usize].index.unwrap_or(known as u32 + row))
    }

    /// The slot of an index beyond the items of the ModelSet.
    #[must_use]
    pub fn slot(&self, index: u32, known: usize) -> Option<u32> {
        let row = (index as usize).checked_sub(known)?;
        self.items.get(row).map(|item| item.slot)
    }

    /// The vector that a model has for an index.
    #[must_use]
    pub fn vector(&self, model: usize, index: u32, known: usize) -> Option<&[f32]> {
        if self.items.is_empty() {
            return None;
        }
        let row = match (index as usize).checked_sub(known) {
            Some(row) => row,
            None => *self.by_index.get(&index)? as usize,
        };
        self.items.get(row).map(|item| &item.vectors[model][..]).filter(|vector| !vector.is_empty())
    }

    /// Adds to the scores that a model gave its own items for a user's vector those of the items here.
    pub fn score_into(&self, model: usize, user: &[f32], scores: &mut Vec<f32>) {
        let matrix = self.matrices.get(model).map_or(&[][..], |matrix| &matrix[..]);
        if self.items.is_empty() || matrix.len() != self.items.len() * user.len() {
            return;
        }
        let known = scores.len();
        scores.resize(known + self.items.len(), f32::NAN);
        simd::matrix_vector(matrix, user, &mut scores[known..]);
        for (row, item) in self.items.iter().enumerate() {
            if let Some(index) = item.index {
                scores[index as usize] = std::mem::replace(&mut scores[known + row], f32::NAN);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(slot: u32, index: Option<u32>, seconds: i64, vector: [f32; 2]) -> FreshItem {
        let liked_at = Timestamp::from_unix_seconds(seconds);
        FreshItem { slot, index, liked_at, users: 1, vectors: vec![Vec::new(), vector.to_vec()] }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    /// Slot 70 is item 3 of 5; 71 and 72 are beyond.
    fn table() -> FreshItems {
        let items = [
            item(70, Some(3), 30, [1.0, 0.0]),
            item(71, None, 20, [0.0, 1.0]),
            item(72, None, 10, [1.0, 1.0]),
        ];
        FreshItems::default().with(&items, &[], at(100))
    }

    #[test]
    fn items_have_their_own_index_or_one_beyond_those_of_the_model_set() {
        let table = table();
        assert_eq!([70, 71, 72, 73].map(|slot| table.index(slot, 5)), [Some(3), Some(6), Some(7), None]);
        assert_eq!(
            [3, 5, 6, 7, 8].map(|index| table.slot(index, 5)),
            [None, Some(70), Some(71), Some(72), None]
        );
        assert_eq!(table.vector(1, 3, 5), Some(&[1.0, 0.0][..]));
        assert_eq!(table.vector(1, 6, 5), Some(&[0.0, 1.0][..]));
        assert_eq!(table.vector(1, 2, 5), None);
        assert_eq!(table.vector(0, 6, 5), None, "a model without vectors");
    }

    #[test]
    fn scores_stand_at_the_indexes_of_the_items() {
        let mut scores = vec![0.1, 0.2, 0.3, 0.0, 0.5];
        table().score_into(1, &[2.0, 3.0], &mut scores);
        assert_eq!(scores[..5], [0.1, 0.2, 0.3, 2.0, 0.5]);
        assert!(scores[5].is_nan(), "it stands at its own index");
        assert_eq!(scores[6..], [3.0, 5.0]);
        let mut untouched = vec![0.5];
        table().score_into(0, &[2.0, 3.0], &mut untouched);
        FreshItems::default().score_into(1, &[2.0, 3.0], &mut untouched);
        assert_eq!(untouched, [0.5]);
    }

    #[test]
    fn items_are_replaced_dropped_and_only_new_ones_noted() {
        let table = table();
        assert_eq!(table.grown(), Some(at(100)));
        let again = table.with(&[item(71, None, 40, [9.0, 9.0])], &[72], at(200));
        assert_eq!((again.len(), again.grown()), (2, Some(at(100))));
        assert_eq!(again.items()[0], item(71, None, 40, [9.0, 9.0]), "liked last, so first");
        assert_eq!((again.at(72), again.index(71, 5)), (None, Some(5)));
        assert_eq!(again.with(&[item(72, None, 1, [0.0; 2])], &[], at(300)).grown(), Some(at(300)));
        assert!(again.with(&[], &[70, 71], at(300)).is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_was_liked_last() {
        let many: Vec<FreshItem> =
            (0..MAX_ITEMS as u32 + 50).map(|slot| item(slot, None, i64::from(slot), [0.0; 2])).collect();
        let table = FreshItems::default().with(&many, &[], at(1));
        assert_eq!(table.len(), MAX_ITEMS);
        assert_eq!((table.at(49), table.at(50).map(|item| item.slot)), (None, Some(50)));
    }
}
