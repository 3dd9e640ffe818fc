//! What an ingester counts for `/metrics`. Resolved once, so that counting is an addition.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use ulex_domain::{Command, CommandKind};

/// Metrics of one ingester.
pub(super) struct Measures {
    applied: [Counter; CommandKind::ALL.len()],
    pub(super) rows: Counter,
    pub(super) duplicates: Counter,
    pub(super) dead: Counter,
    pub(super) refused: Counter,
    pub(super) failures: Counter,
    /// 1 while the log stands still because the store does not take events.
    pub(super) stalled: Gauge,
    /// Seconds that this process is ahead of the server that appends messages.
    pub(super) clock_difference: Gauge,
    /// Messages of one transaction.
    pub(super) batch: Histogram,
    /// How long a transaction took, with everything until its messages were settled.
    pub(super) batch_seconds: Histogram,
}

impl Measures {
    pub(super) fn new() -> Self {
        Self {
            applied: CommandKind::ALL
                .map(|kind| counter!("ulex_events_applied_total", "kind" => kind.as_str())),
            rows: counter!("ulex_ingest_rows_total"),
            duplicates: counter!("ulex_events_duplicate_total"),
            dead: counter!("ulex_events_dead_total"),
            refused: counter!("ulex_events_refused_total"),
            failures: counter!("ulex_ingest_failures_total"),
            stalled: gauge!("ulex_ingest_stalled"),
            clock_difference: gauge!("ulex_clock_difference_seconds"),
            batch: histogram!("ulex_ingest_batch_messages"),
            batch_seconds: histogram!("ulex_ingest_batch_seconds"),
        }
    }

    pub(super) fn applied(&self, event: &Command) {
        self.applied[event.kind() as usize].increment(1);
    }
}
