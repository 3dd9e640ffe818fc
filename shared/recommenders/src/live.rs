//! The ModelSet in use, joined with the catalogue of this process.
//!
//! Every item of the ModelSet has a slot of the catalogue, also one whose item is deleted or has not arrived here yet, so
//! nothing has to be joined again when it comes. Items that came after the fit have a slot and no index; what can be
//! told about them since stands in [`FreshItems`].

use std::sync::Arc;

use arc_swap::ArcSwap;
use smol_str::SmolStr;
use ulex_algorithms::model_set::{Collaborative, ModelSet};
use ulex_domain::Timestamp;

use crate::catalogue::{Catalogue, CatalogueView};
use crate::fresh_items::FreshItems;
use crate::history::TypeScales;

/// "This item is not in the ModelSet."
const UNKNOWN: u32 = u32::MAX;

/// A ModelSet and where its items stand in the catalogue. Immutable but for the fresh items; replaced as a whole.
#[derive(Debug)]
pub struct Live {
    /// The models.
    pub set: Arc<ModelSet>,
    /// How much a row of each feedback type counts.
    pub scales: TypeScales,
    slots: Vec<u32>,
    indexes: Vec<u32>,
    /// Items that somebody liked at the time of the fit.
    liked: Vec<bool>,
    /// What was learned since about items that nobody liked then.
    fresh: ArcSwap<FreshItems>,
}

impl Live {
    /// Joins a ModelSet with the catalogue; `O(items + likes)`.
    #[must_use]
    pub fn new(set: Arc<ModelSet>, catalogue: &Catalogue) -> Self {
        let slots = catalogue.reserve(set.items.iter());
        let mut indexes = vec![UNKNOWN; catalogue.view().len()];
        for (index, &slot) in slots.iter().enumerate() {
            indexes[slot as usize] = index as u32;
        }
        let mut liked = vec![false; set.items.len()];
        for &item in set.liked.columns() {
            liked[item as usize] = true;
        }
        let scales = set.manifest.type_scales.iter().map(|(name, &scale)| (SmolStr::new(name), scale));
        let scales = TypeScales(scales.collect());
        Self { set, scales, slots, indexes, liked, fresh: ArcSwap::default() }
    }

    /// Where an item of the ModelSet stands in the catalogue.
    #[must_use]
    #[inline]
    pub fn slot(&self, index: u32) -> Option<u32> {
        self.slots.get(index as usize).copied()
    }

    /// Which item of the ModelSet stands there.
    #[must_use]
    #[inline]
    pub fn index(&self, slot: u32) -> Option<u32> {
        self.indexes.get(slot as usize).copied().filter(|&index| index != UNKNOWN)
    }

    /// Index of an item by id, through the catalogue.
    #[must_use]
    pub fn index_of(&self, view: &CatalogueView<'_>, id: &str) -> Option<u32> {
        view.slot(id).and_then(|slot| self.index(slot))
    }

    /// Whether the fit has seen somebody like the item there: otherwise its models have nothing to say about it.
    #[must_use]
    pub fn has_learned(&self, slot: u32) -> bool {
        self.index(slot).is_some_and(|index| self.liked[index as usize])
    }

    /// Whether a model can take in items that the fit has not seen.
    #[must_use]
    pub fn folds_items_in(&self) -> bool {
        let can = |model: &Collaborative| match model {
            Collaborative::Factors(factors) => factors.item_side.is_some(),
            Collaborative::Linear(_) => false,
        };
        self.set.collaborative.iter().any(can)
    }

    /// What is known at present about items that the fit has not seen.
    #[must_use]
    pub fn fresh_items(&self) -> Arc<FreshItems> {
        self.fresh.load_full()
    }

    /// When an item that the fit has not seen last became known.
    #[must_use]
    pub fn grown(&self) -> Option<Timestamp> {
        self.fresh.load().grown()
    }

    /// Replaces the fresh items by what `change` makes of them.
    pub(crate) fn change_fresh_items(&self, change: impl Fn(&FreshItems) -> FreshItems) {
        self.fresh.rcu(|fresh| change(fresh));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::two_tastes::{item, model_set};

    #[test]
    fn items_are_found_from_both_sides_whenever_they_came() {
        let catalogue = Catalogue::default();
        catalogue.put(&[(&item("red-3", 1, &[])).into(), (&item("of no model", 1, &[])).into()]);
        let set = Arc::new(model_set());
        let live = Live::new(Arc::clone(&set), &catalogue);
        catalogue.put(&[(&item("blue-0", 1, &[])).into(), (&item("after the swap", 1, &[])).into()]);
        let view = catalogue.view();
        for id in ["red-3", "blue-0", "red-19"] {
            let index = set.items.index(id).unwrap();
            assert_eq!(live.slot(index), view.slot(id), "{id}");
            assert_eq!(
                (live.index_of(&view, id), live.index(view.slot(id).unwrap())),
                (Some(index), Some(index))
            );
        }
        for id in ["of no model", "after the swap"] {
            assert_eq!((live.index_of(&view, id), live.index(view.slot(id).unwrap())), (None, None), "{id}");
            assert!(!live.has_learned(view.slot(id).unwrap()));
        }
        assert_eq!(
            (live.slot(40), live.index(u32::MAX), live.index_of(&view, "nothing")),
            (None, None, None)
        );
        assert!(live.has_learned(view.slot("red-3").unwrap()));
        assert!(!live.has_learned(view.slot("red-19").unwrap()), "nobody likes it");
    }

    #[test]
    fn models_without_vectors_fold_no_items_in() {
        let catalogue = Catalogue::default();
        assert!(Live::new(Arc::new(model_set()), &catalogue).folds_items_in());
        let mut set = model_set();
        set.collaborative.remove(0);
        assert!(!Live::new(Arc::new(set), &catalogue).folds_items_in());
        assert!(
            !Live::new(Arc::new(ModelSet { collaborative: Vec::new(), ..model_set() }), &catalogue)
                .folds_items_in()
        );
    }
}
