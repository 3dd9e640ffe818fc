//! `[ingest]`: how writes reach the data store.

use crate::resolve::Checks;
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingest {
    /// Most rows in one transaction, at least 1.
    pub batch_rows: usize,
    /// Requests that may wait, at least 1; more are refused with status 429.
    pub queue: usize,
}

impl Ingest {
    pub(crate) fn resolve(written: &written::Ingest, checks: &mut Checks<'_>) -> Self {
        Self {
            batch_rows: checks.integer("ingest.batch_rows", &written.batch_rows, 1..=10_000_000),
            queue: checks.integer("ingest.queue", &written.queue, 1..=10_000_000),
        }
    }
}
