//! The ModelSet in use, joined with the catalogue of this process.

use std::sync::Arc;

use smol_str::SmolStr;
use ulex_algorithms::model_set::ModelSet;

use crate::catalogue::{Catalogue, CatalogueView};
use crate::history::TypeScales;

/// "This item is not in the ModelSet."
const UNKNOWN: u32 = u32::MAX;

/// A ModelSet and where its items stand in the catalogue. Immutable; replaced as a whole.
#[derive(Debug)]
pub struct Live {
    /// The models.
    pub set: Arc<ModelSet>,
    /// How much a row of each feedback type counts.
    pub scales: TypeScales,
    slots: Vec<u32>,
    indexes: Vec<u32>,
}

impl Live {
    /// Joins a ModelSet with the catalogue; `O(items)`. Items that were deleted since the fit get no slot.
    #[must_use]
    pub fn new(set: Arc<ModelSet>, catalogue: &Catalogue) -> Self {
        let view = catalogue.view();
        let slots: Vec<u32> = set.items.iter().map(|id| view.slot(id).unwrap_or(UNKNOWN)).collect();
        let mut indexes = vec![UNKNOWN; view.len()];
        for (index, &slot) in slots.iter().enumerate() {
            if slot != UNKNOWN {
                indexes[slot as usize] = index as u32;
            }
        }
        let scales = set.manifest.type_scales.iter().map(|(name, &scale)| (SmolStr::new(name), scale));
        let scales = TypeScales(scales.collect());
        Self { set, scales, slots, indexes }
    }

    /// Where an item of the ModelSet stands in the catalogue.
    #[must_use]
    #[inline]
    pub fn slot(&self, index: u32) -> Option<u32> {
        self.slots.get(index as usize).copied().filter(|&slot| slot != UNKNOWN)
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
        view.slot(id).and_then(|slot| self.index(slot)).or_else(|| self.set.items.index(id))
    }
}
