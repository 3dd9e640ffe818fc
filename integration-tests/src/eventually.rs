//! Waiting for something another process will do.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks until the answer is `expected`.
///
/// # Panics
///
/// Panics with the last answer after ten seconds.
pub fn eventually<T: PartialEq + Debug>(expected: &T, mut ask: impl FnMut() -> T) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = ask();
        if answer == *expected {
            return;
        }
        assert!(Instant::now() < deadline, "expected {expected:?}, still {answer:?}");
        std::thread::sleep(PAUSE);
    }
}

/// Asks until the answer is yes.
///
/// # Panics
///
/// Panics with `what` after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "after {limit:?} still not: {what}");
        std::thread::sleep(PAUSE);
    }
}
