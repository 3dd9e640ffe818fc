//! A thread pool for number crunching, so that no actor's thread ever computes for more than a moment.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use thiserror::Error;
use thread_priority::{ThreadPriority, ThreadPriorityValue};
use tokio::sync::oneshot;
use tracing::{debug, error};

/// A computation panicked; its text is in the log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the computation panicked")]
pub struct Panicked;

/// Makes the current thread give way to threads that answer requests: for whatever can wait a moment. Where the system
/// does not allow it, the thread goes on as it is.
pub fn yield_to_requests() {
    let background = ThreadPriorityValue::try_from(BACKGROUND);
    if let Err(reason) = background.map(|value| ThreadPriority::Crossplatform(value).set_for_current()) {
        debug!(?reason, "a background thread keeps its priority");
    }
}

/// Well below the default of 50.
const BACKGROUND: u8 = 25;

/// At most `jobs` cores, whatever is computed, and only what requests leave of them.
#[derive(Debug)]
pub struct ComputePool {
    pool: ThreadPool,
}

impl ComputePool {
    /// Starts the threads; `jobs` is at least 1.
    ///
    /// # Errors
    ///
    /// [`ThreadPoolBuildError`] if the system has no threads left.
    pub fn new(jobs: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(jobs.max(1))
            .thread_name(|number| format!("compute-{number}"))
            .start_handler(|_| yield_to_requests())
            // Without a handler rayon ends the process.
            .panic_handler(|_| error!("a computation panicked outside a job"))
            .build()?;
        Ok(Self { pool })
    }

    /// Number of threads.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Computes on the pool; parallel iterators inside use its threads and no others.
    ///
    /// # Errors
    ///
    /// [`Panicked`] if `work` did.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (done, outcome) = oneshot::channel();
        self.pool.spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(work)).map_err(|_panic| Panicked);
            // Whoever asked may have gone away.
            let _ = done.send(result);
        });
        outcome.await.unwrap_or(Err(Panicked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_and_the_pool_goes_on() {
        let pool = ComputePool::new(2).unwrap();
        assert_eq!(pool.run(|| panic!("asked to")).await, Err::<(), _>(Panicked));
        assert_eq!(pool.run(rayon::current_num_threads).await, Ok(2));
    }
}
