//! Pauses between tries.

use std::cell::Cell;
use std::time::Duration;

/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

thread_local! {
    /// State of a xorshift generator; 0 before its first use.
    static JITTER: Cell<u64> = const { Cell::new(0) };
}

/// Makes the pauses of this thread the same in every run.
#[cfg(feature = "simulation")]
pub fn seed_jitter(seed: u64) {
    JITTER.set(seed | 1);
}

/// 0.1 s, doubled with each try, at most [`LONGEST_PAUSE`], between half and all of it.
pub(crate) fn pause(tries: usize) -> Duration {
    let longest = Duration::from_millis(100) * 2_u32.pow(tries.min(6) as u32);
    let mut state = match JITTER.get() {
        0 => uuid::Uuid::new_v4().as_u64_pair().0 | 1,
        state => state,
    };
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    JITTER.set(state);
    longest.min(LONGEST_PAUSE).mul_f64(0.5 + (state % 1_000) as f64 / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_differ() {
        assert!(pause(0) <= Duration::from_millis(100));
        assert!((0..100).map(pause).all(|pause| pause <= LONGEST_PAUSE));
        assert!((0..20).any(|_| pause(6) != pause(6)));
    }
}
