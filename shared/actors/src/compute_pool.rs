//! A thread pool for number crunching, so that no actor's thread ever computes for more than a moment.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::error;

/// A computation panicked; its text is in the log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the computation panicked")]
pub struct Panicked;

/// At most `jobs` cores, whatever is computed.
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
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
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
