//! The models in use: replaced as a whole, read without waiting.
//!
//! A reader takes the current value once per request and uses only that, so an answer is made from exactly one value,
//! however often the slot is filled meanwhile. Reading takes no lock and is never delayed by a writer; the old value lives until its
//! last reader drops it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// Holds the current value, or nothing before the first one.
#[derive(Debug)]
pub struct ModelSlot<T> {
    current: ArcSwapOption<T>,
}

impl<T> Default for ModelSlot<T> {
    fn default() -> Self {
        Self { current: ArcSwapOption::empty() }
    }
}

impl<T> ModelSlot<T> {
    /// A slot that is filled from the start.
    #[must_use]
    pub fn new(value: Arc<T>) -> Self {
        Self { current: ArcSwapOption::new(Some(value)) }
    }

    /// The current value.
    #[must_use]
    pub fn get(&self) -> Option<Arc<T>> {
        self.current.load_full()
    }

    /// Puts a value in for all later readers; returns the one it replaces.
    pub fn replace(&self, value: Arc<T>) -> Option<Arc<T>> {
        self.current.swap(Some(value))
    }

    /// Empties the slot; returns what was in it.
    pub fn clear(&self) -> Option<Arc<T>> {
        self.current.swap(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_its_value_while_others_see_the_new_one() {
        let slot = ModelSlot::default();
        assert_eq!(slot.get(), None);
        assert_eq!(slot.replace(Arc::new(1)), None);
        let mine = slot.get();
        assert_eq!(slot.replace(Arc::new(2)).as_deref(), Some(&1));
        assert_eq!((mine.as_deref(), slot.get().as_deref()), (Some(&1), Some(&2)));
        assert_eq!(slot.clear().as_deref(), Some(&2));
        assert_eq!(slot.get(), None);
    }

    #[test]
    fn readers_never_see_half_a_value() {
        let slot = ModelSlot::new(Arc::new([0_u64; 8]));
        let read = || {
            for _ in 0..2000 {
                let value = slot.get().expect("never emptied here");
                assert!(value.iter().all(|&n| n == value[0]));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (1..2000).for_each(|n| _ = slot.replace(Arc::new([n; 8]))));
            scope.spawn(read);
            scope.spawn(read);
        });
    }
}
