//! Memory that one computation needs and the next one uses again. One for each computing thread.

use ulex_algorithms::model_set::{Collaborative, FoldInMemory};

use super::Inputs;

/// Liked items that fold-in looks at, latest first; more would cost time and change little.
const MAX_LIKED: usize = 1_000;

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

/// One score for each item of the ModelSet, sparse or dense.
#[derive(Debug, Default)]
pub(super) struct ScoreBuffer {
    values: Vec<f32>,
    touched: Vec<u32>,
    dense: bool,
}

impl ScoreBuffer {
    /// Empties the buffer for `len` items.
    pub(super) fn clear(&mut self, len: usize) {
        if self.dense || self.values.len() != len {
            self.values.clear();
            self.values.resize(len, 0.0);
        } else {
            for &index in &self.touched {
                self.values[index as usize] = 0.0;
            }
        }
        self.touched.clear();
        self.dense = false;
    }

    /// Adds to one item's score.
    #[inline]
    pub(super) fn add(&mut self, index: u32, score: f32) {
        let value = &mut self.values[index as usize];
        if *value == 0.0 {
            self.touched.push(index);
        }
        *value += score;
    }

    /// All scores, to be written as a whole, or left empty if there are none; then call [`ScoreBuffer::settle`].
    pub(super) const fn dense_mut(&mut self) -> &mut Vec<f32> {
        self.dense = true;
        &mut self.values
    }

    /// Every item counts as scored from now on, unless no scores were written.
    pub(super) fn settle(&mut self) {
        self.dense = !self.values.is_empty();
    }

    /// The score of an item; `None` if nothing was added to it.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<f32> {
        let value = *self.values.get(index as usize)?;
        (self.dense || value != 0.0).then_some(value)
    }

    /// Scored items, possibly with repetitions whose score is the same.
    pub(super) fn scored(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        let all = if self.dense { 0..self.values.len() as u32 } else { 0..0 };
        let some = if self.dense { &[][..] } else { &self.touched[..] };
        all.chain(some.iter().copied()).map(|index| (index, self.values[index as usize]))
    }
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Workspace {
    excluded: Stamps,
    listed: Stamps,
    /// Row of a listed item among the candidates.
    rows: Vec<u32>,
    /// The user's liked items that the ModelSet knows, latest first.
    pub(super) liked: Vec<u32>,
    /// Their weights.
    pub(super) weights: Vec<f32>,
    /// One for each column of the candidates.
    buffers: Vec<ScoreBuffer>,
    fold_in: FoldInMemory,
    /// Scores of the click-through-rate model, one for each candidate.
    pub(super) clicks: Vec<f32>,
}

impl Workspace {
    /// Prepares for one computation: what is excluded, what is liked.
    pub(super) fn begin(&mut self, inputs: &Inputs<'_>) {
        let slots = inputs.view.len();
        self.excluded.clear(slots);
        self.listed.clear(slots);
        self.rows.resize(slots.max(self.rows.len()), 0);
        for item in inputs.history.met() {
            if let Some(slot) = inputs.view.slot(item.as_str()) {
                self.excluded.insert(slot);
            }
        }
        self.liked.clear();
        self.weights.clear();
        if let Some(live) = inputs.live {
            for liked in inputs.history.liked.iter().take(MAX_LIKED) {
                if let Some(index) = live.index_of(inputs.view, liked.item.as_str()) {
                    self.liked.push(index);
                    self.weights.push(liked.weight);
                }
            }
        }
    }

    /// Scores every item with a collaborative model.
    pub(super) fn score_collaborative(&mut self, model: &Collaborative, buffer: &mut ScoreBuffer) {
        model.scores_into((&self.liked, &self.weights), &mut self.fold_in, buffer.dense_mut());
        buffer.settle();
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
