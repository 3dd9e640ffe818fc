//! One score for each item that is known, sparse or dense.

/// Scores looked at together.
const BLOCK: usize = 32;

/// See the module documentation. An item without a score is NaN.
#[derive(Debug, Default)]
pub(super) struct ScoreBuffer {
    values: Vec<f32>,
    /// What was added to, in order of the first time; unless dense, all else is NaN. Only the first `count` count; it is
    /// one longer than `values`, so that there is always room.
    touched: Vec<u32>,
    count: usize,
    dense: bool,
}

impl ScoreBuffer {
    /// Empties the buffer for `len` items, to be added to. Costs what was touched since the last time.
    pub(super) fn clear(&mut self, len: usize) {
        if self.dense || self.values.len() != len {
            self.values.clear();
            self.values.resize(len, f32::NAN);
            self.touched.resize(len + 1, 0);
        } else {
            for &index in &self.touched[..self.count] {
                self.values[index as usize] = f32::NAN;
            }
        }
        self.count = 0;
        self.dense = false;
    }

    /// Adds to one item's score. What is not finite, and items outside, are left out.
    #[inline]
    pub(super) fn add(&mut self, index: u32, score: f32) {
        let Some(value) = self.values.get_mut(index as usize).filter(|_| score.is_finite()) else { return };
        // Whether an item is new cannot be foreseen, so nothing depends on it but what is stored.
        let is_new = value.is_nan();
        *value = if is_new { score } else { *value + score };
        self.touched[self.count] = index;
        self.count += usize::from(is_new);
    }

    /// Adds `scale` times its score to each item.
    #[inline]
    pub(super) fn add_scaled(&mut self, items: &[u32], scores: &[f32], scale: f32) {
        for (&item, &score) in items.iter().zip(scores) {
            self.add(item, score * scale);
        }
    }

    /// All scores, to be written as a whole.
    pub(super) const fn dense_mut(&mut self) -> &mut Vec<f32> {
        self.dense = true;
        &mut self.values
    }

    /// The score of an item, if it has one.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<f32> {
        self.values.get(index as usize).copied().filter(|value| value.is_finite())
    }

    /// Calls `visit` with every item that may have a score of at least what the last call returned; the first time with
    /// every item that has one. In no order, each once.
    pub(super) fn visit(&self, mut visit: impl FnMut(u32, f32) -> f32) {
        let mut threshold = f32::NEG_INFINITY;
        let mut look_at = |index: u32, score: f32| {
            if score >= threshold && score.is_finite() {
                threshold = visit(index, score);
            }
            threshold
        };
        if !self.dense && self.count * 4 <= self.values.len() {
            for &index in &self.touched[..self.count] {
                look_at(index, self.values[index as usize]);
            }
            return;
        }
        let mut needed = f32::NEG_INFINITY;
        for (number, block) in self.values.chunks(BLOCK).enumerate() {
            // Most blocks hold nothing; that is seen eight scores at a time.
            if block.iter().fold(false, |any, &score| any | (score >= needed)) {
                for (place, &score) in block.iter().enumerate() {
                    needed = look_at((number * BLOCK + place) as u32, score);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(buffer: &ScoreBuffer) -> Vec<(u32, f32)> {
        let mut found = Vec::new();
        buffer.visit(|index, score| {
            found.push((index, score));
            f32::NEG_INFINITY
        });
        found.sort_by_key(|entry| entry.0);
        found
    }

    #[test]
    fn a_score_of_zero_is_a_score_and_every_item_is_visited_once() {
        for len in [4, 10, 100] {
            let mut buffer = ScoreBuffer::default();
            buffer.clear(len);
            for (index, score) in [(1, 0.0), (1, 0.0), (2, 1.5), (2, -1.5), (2, 0.25), (3, -1.0)] {
                buffer.add(index, score);
            }
            assert_eq!(scored(&buffer), [(1, 0.0), (2, 0.25), (3, -1.0)]);
            assert_eq!((buffer.get(1), buffer.get(0), buffer.get(100)), (Some(0.0), None, None));
        }
    }

    #[test]
    fn what_is_not_finite_and_what_lies_outside_is_left_out() {
        let mut buffer = ScoreBuffer::default();
        buffer.clear(3);
        for (index, score) in [(0, f32::NAN), (1, f32::INFINITY), (2, 1.0), (2, f32::NEG_INFINITY), (3, 1.0)]
        {
            buffer.add(index, score);
        }
        assert_eq!(scored(&buffer), [(2, 1.0)]);
        buffer.dense_mut().clear();
        buffer.dense_mut().extend([f32::NAN, f32::INFINITY, 2.0, 3.0]);
        assert_eq!(scored(&buffer), [(2, 2.0), (3, 3.0)]);
        assert_eq!(buffer.get(1), None);
    }

    #[test]
    fn nothing_is_left_over_from_the_last_time() {
        let mut buffer = ScoreBuffer::default();
        for len in [5, 5, 2, 9] {
            buffer.clear(len);
            assert!(scored(&buffer).is_empty());
            buffer.add(1, 1.0);
            assert_eq!(scored(&buffer), [(1, 1.0)]);
            buffer.dense_mut().push(7.0);
            assert_eq!(scored(&buffer), [(1, 1.0), (len as u32, 7.0)]);
        }
    }

    #[test]
    fn what_lies_below_the_threshold_is_not_visited() {
        let mut buffer = ScoreBuffer::default();
        buffer.dense_mut().extend([1.0, 3.0, 2.0, 3.0, 0.5]);
        let mut visited = Vec::new();
        buffer.visit(|index, score| {
            visited.push(index);
            score
        });
        assert_eq!(visited, [0, 1, 3]);
    }
}
