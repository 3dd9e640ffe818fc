//! Memory that one computation needs and the next one uses again. One for each computing thread.

use std::sync::Arc;

use ulex_algorithms::model_set::{Collaborative, FoldInMemory};
use ulex_algorithms::similarity::overlap::Shared;

use super::Inputs;
use super::buffer::ScoreBuffer;
use crate::fresh_items::FreshItems;
use crate::live::Live;

/// Liked items that fold-in looks at, latest first; more would cost time and change little.
pub(crate) const MAX_LIKED: usize = 1_000;

/// A set of small numbers that is emptied in constant time.
#[derive(Debug, Default)]
struct Stamps {
    stamps: Vec<u32>,
    current: u32,
}

impl Stamps {
    fn clear(&mut self, len: usize) {
        self.current = self.current.wrapping_add(1);
        if self.current == 0 {
            self.stamps.fill(0);
            self.current = 1;
        }
        if self.stamps.len() < len {
            self.stamps.resize(len, 0);
        }
    }

    #[inline]
    fn insert(&mut self, number: u32) {
        if let Some(stamp) = self.stamps.get_mut(number as usize) {
            *stamp = self.current;
        }
    }

    #[inline]
    fn contains(&self, number: u32) -> bool {
        self.stamps.get(number as usize) == Some(&self.current)
    }
}

/// What becomes of items that the user has met, disliked ones apart: those never come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// They are not recalled.
    Excluded,
    /// They are recalled like all others.
    Allowed,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Workspace {
    excluded: Stamps,
    listed: Stamps,
    /// Row of a listed item among the candidates.
    rows: Vec<u32>,
    /// Indexes of the user's liked items, as far as anything is known about them, latest first.
    pub(super) liked: Vec<u32>,
    /// Their weights.
    pub(super) weights: Vec<f32>,
    /// Items beyond those of the ModelSet.
    fresh: Arc<FreshItems>,
    /// Indexes of the candidates, [`u32::MAX`] for an item about which nothing is known.
    pub(super) indexes: Vec<u32>,
    /// One for each column of the candidates.
    buffers: Vec<ScoreBuffer>,
    fold_in: FoldInMemory,
    pub(super) similar: Shared,
    /// Scores of the click-through-rate model, one for each candidate.
    pub(super) clicks: Vec<f32>,
}

impl Workspace {
    /// Prepares for one computation: what is excluded, what is liked.
    pub(super) fn begin(&mut self, inputs: &Inputs<'_>, met: Met) {
        let slots = inputs.view.len();
        self.excluded.clear(slots);
        self.listed.clear(slots);
        self.rows.resize(slots.max(self.rows.len()), 0);
        self.liked.clear();
        self.weights.clear();
        self.fresh = inputs.live.map_or_else(Arc::default, Live::fresh_items);
        for liked in &inputs.history.liked {
            let Some(slot) = inputs.view.slot(liked.item.as_str()) else { continue };
            if met == Met::Excluded {
                self.excluded.insert(slot);
            }
            if self.liked.len() < MAX_LIKED
                && let Some(index) = inputs.live.and_then(|live| self.index_at(live, slot))
            {
                self.liked.push(index);
                self.weights.push(liked.weight);
            }
        }
        let read = inputs.history.read.iter().filter(|_| met == Met::Excluded);
        let kept_out =
            read.chain(&inputs.history.disliked).filter_map(|item| inputs.view.slot(item.as_str()));
        for slot in kept_out {
            self.excluded.insert(slot);
        }
    }

    /// The index under which scores of an item stand, if anything is known about it.
    #[inline]
    pub(super) fn index_at(&self, live: &Live, slot: u32) -> Option<u32> {
        live.index(slot).or_else(|| self.fresh.index(slot, live.set.items.len()))
    }

    /// Where the item of an index stands in the catalogue.
    #[inline]
    pub(super) fn slot_of(&self, live: &Live, index: u32) -> Option<u32> {
        live.slot(index).or_else(|| self.fresh.slot(index, live.set.items.len()))
    }

    /// Scores every item with one of the collaborative models.
    pub(super) fn score_collaborative(&mut self, live: &Live, position: usize, buffer: &mut ScoreBuffer) {
        let scores = buffer.dense_mut();
        scores.clear();
        let liked = (&self.liked[..], &self.weights[..]);
        match live.set.collaborative.get(position) {
            Some(Collaborative::Factors(factors)) => {
                let (fresh, known) = (&*self.fresh, live.set.items.len());
                let vector_of = |index: u32| fresh.vector(position, index, known);
                if let Some(user) = factors.user_vector(liked, vector_of, &mut self.fold_in) {
                    factors.model.scores_into(user, scores);
                    fresh.score_into(position, user, scores);
                }
            }
            Some(model @ Collaborative::Linear(_)) => model.scores_into(liked, &mut self.fold_in, scores),
            None => {}
        }
    }

    /// Keeps these out of whatever is recalled from now on.
    pub(super) fn exclude(&mut self, slots: impl Iterator<Item = u32>) {
        for slot in slots {
            self.excluded.insert(slot);
        }
    }

    /// Whether an item may be recalled.
    #[inline]
    pub(super) fn may_show(&self, inputs: &Inputs<'_>, slot: u32) -> bool {
        !self.excluded.contains(slot) && inputs.view.is_eligible(slot, inputs.eligibility)
    }

    /// Notes that an item is candidate number `row`.
    pub(super) fn list(&mut self, slot: u32, row: u32) {
        self.listed.insert(slot);
        self.rows[slot as usize] = row;
    }

    /// Which candidate an item is, if it is one.
    pub(super) fn listed_at(&self, slot: u32) -> Option<u32> {
        self.listed.contains(slot).then(|| self.rows[slot as usize])
    }

    /// The buffer of a column, to be written; give it back with [`Workspace::put_buffer`].
    pub(super) fn take_buffer(&mut self, column: usize) -> ScoreBuffer {
        if self.buffers.len() <= column {
            self.buffers.resize_with(column + 1, ScoreBuffer::default);
        }
        std::mem::take(&mut self.buffers[column])
    }

    /// See [`Workspace::take_buffer`].
    pub(super) fn put_buffer(&mut self, column: usize, buffer: ScoreBuffer) {
        self.buffers[column] = buffer;
    }

    /// The buffer of a column that has been recalled.
    pub(super) fn buffer(&self, column: usize) -> Option<&ScoreBuffer> {
        self.buffers.get(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleared_set_is_empty_even_when_its_counter_comes_round() {
        let mut set = Stamps { stamps: Vec::new(), current: u32::MAX - 1 };
        for _ in 0..4 {
            set.clear(3);
            assert!((0..4).all(|number| !set.contains(number)));
            set.insert(1);
            set.insert(7);
            assert!(set.contains(1) && !set.contains(0) && !set.contains(7));
        }
    }
}
