//! How late a thread that serves is. Its timer is due every few milliseconds and is polled in turn with everything else,
//! so by as much as it is late every request there waits. One late round is a burst; only if every round of a window is late
//! does work queue up, so the shortest delay of a window is what counts.
//!
//! A round in which the thread had no request counts as no delay: a process beside a busy neighbour wakes late, but
//! nothing waits in its queue.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::api::ApiState;

/// Time between two rounds.
const ROUND: Duration = Duration::from_millis(10);
/// Pause while nothing waits: so long after a sudden load it may be noticed.
const REST: Duration = Duration::from_millis(100);
/// Rounds of a window that nothing holds up, and fewest of any.
const ROUNDS: usize = 5;
const FEWEST: usize = 2;
/// A window that is held up ends after this, so that the answer to a sudden load is not late as well.
const WINDOW: Duration = Duration::from_millis(100);

thread_local! {
    /// Requests that began on this thread.
    static BEGUN_REQUESTS: Cell<u64> = const { Cell::new(0) };
}

/// Counts a request that begins on the present thread.
pub(crate) fn note_request() {
    BEGUN_REQUESTS.set(BEGUN_REQUESTS.get().wrapping_add(1));
}

/// Measures the present thread until the process ends. Must be called inside an actix runtime.
pub(crate) fn watch(state: &ApiState) {
    let state = state.clone();
    let delay = state.overload().thread();
    actix_web::rt::spawn(async move {
        loop {
            if state.in_flight() == 0 && delay.load(Ordering::Relaxed) < 1_000 {
                actix_web::rt::time::sleep(REST).await;
            }
            let shortest = window(|| state.in_flight() > 0).await;
            delay.store(u64::try_from(shortest.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            state.look_at_load();
        }
    });
}

/// The shortest delay of the next rounds; zero if there was a round without work.
async fn window(has_work: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    let mut shortest = Duration::MAX;
    for round in 1..=ROUNDS {
        let (due, before) = (Instant::now() + ROUND, BEGUN_REQUESTS.get());
        let had_work = has_work();
        actix_web::rt::time::sleep(ROUND).await;
        let worked = had_work || has_work() || BEGUN_REQUESTS.get() != before;
        shortest = shortest.min(if worked { due.elapsed() } else { Duration::ZERO });
        if round >= FEWEST && begun.elapsed() >= WINDOW {
            break;
        }
    }
    shortest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_thread_that_is_always_busy_is_late_and_one_burst_does_not_count() {
        let busy = |times: usize| {
            actix_web::rt::spawn(async move {
                for _ in 0..times {
                    std::thread::sleep(Duration::from_millis(60));
                    tokio::task::yield_now().await;
                }
            })
        };
        let working = busy(usize::MAX);
        assert!(window(|| true).await >= Duration::from_millis(30));
        assert_eq!(window(|| false).await, Duration::ZERO, "late without work is not overload");
        working.abort();
        let burst = busy(1);
        assert!(window(|| true).await < Duration::from_millis(30));
        burst.await.unwrap();
    }
}
