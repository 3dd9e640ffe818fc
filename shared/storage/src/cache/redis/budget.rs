//! How many lists may be there: bytes divided by what a list takes as a rule.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::keys::BUCKETS;

/// What a server needs for a list beside the bytes of its key, its value and its user: places in three tables, headers of
/// texts, and the slack of the allocator.
const OVERHEAD: usize = 320;
/// What a list takes until one was seen.
const USUAL: usize = 2_048;

/// The budget of one prefix, as this process sees it.
#[derive(Debug)]
pub(super) struct Budget {
    max_bytes: usize,
    /// A moving average.
    usual: AtomicUsize,
}

impl Budget {
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, usual: AtomicUsize::new(USUAL) }
    }

    /// How many lists a bucket may hold, one of so many bytes among them; `None` if that alone is too much.
    pub fn admit(&self, bytes: usize) -> Option<usize> {
        let share = self.max_bytes / BUCKETS;
        let bytes = bytes.saturating_add(OVERHEAD);
        let usual = self.usual.load(Ordering::Relaxed);
        // Two at a time may forget one another: it is an estimate.
        let usual = (usual - usual / 16).saturating_add(bytes / 16).max(1);
        self.usual.store(usual, Ordering::Relaxed);
        (bytes <= share).then(|| (share / usual).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_lists_follows_their_size() {
        let budget = Budget::new(BUCKETS * 100_000);
        for bytes in [700, 9_700] {
            let most = (0..200).map(|_put| budget.admit(bytes).unwrap()).last().unwrap();
            let expected = 100_000 / (bytes + OVERHEAD);
            assert!(most.abs_diff(expected) <= expected / 20 + 1, "{most} of {bytes}, not {expected}");
        }
    }

    #[test]
    fn a_list_larger_than_a_buckets_share_is_not_admitted() {
        let budget = Budget::new(BUCKETS * 1_000);
        assert_eq!(budget.admit(1_001), None);
        assert_eq!(budget.admit(usize::MAX), None);
        assert!(budget.admit(600).is_some());
    }
}
