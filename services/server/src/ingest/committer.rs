//! Second stage of an ingester: applies a group of messages to the data store in one transaction.
//!
//! - Owns: the store, and whether the log stands still because of it.
//! - Decides: which of three outcomes a transaction had. Only what the store says counts as applied or not applied; a
//!   store that cannot be asked leaves the outcome unknown, and then everything goes back to the log and nobody is told
//!   anything.
//! - On failure: an error is the event's only if the store refuses it alone *and* takes something else in the same state.
//!   Everything else stops the log until the store is right, with an error in the log and `ulex_ingest_stalled` at 1.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::{debug, error, info};
use ulex_domain::FailureCode;
use ulex_storage::data::{DataStore, LogPosition, Outcome, Submission};
use ulex_storage::{ErrorKind, StorageError};

use super::entry::{EventFailure, IngestEntry, no_command};
use super::measures::Measures;
use super::spans;

/// Deliveries of a group whose transaction panics, before the event that makes it panic is looked for.
const PANIC_ATTEMPTS: u64 = 3;

/// Time between two looks at the store's place while there is nothing to apply.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Outcome of a transaction.
pub(super) enum CommitOutcome {
    /// All events are applied, now or before.
    Applied(Vec<Outcome>),
    /// Nothing is applied, certainly. The store may take it later.
    NotApplied(String),
    /// Not known. The store decides when the events are delivered again.
    Unknown(String),
    /// The group has to be applied event by event: one of them is at fault.
    AtFault(EventFailure),
}

/// A group whose transaction has ended one way or the other.
pub(super) struct CommittedGroup {
    pub(super) entries: Vec<IngestEntry>,
    pub(super) outcome: CommitOutcome,
    pub(super) begun: Instant,
}

/// Applies groups to the store.
pub(super) struct Committer {
    store: Arc<dyn DataStore>,
    measures: Rc<Measures>,
    /// Reason why the log stands still.
    stalled: Option<String>,
    /// The last place that the store has for certain, since the log was last compared with it.
    applied: Option<LogPosition>,
    /// Whether the store lacks what it had applied.
    has_gone_back: bool,
    looked_at: Instant,
}

impl Committer {
    pub(super) fn new(store: Arc<dyn DataStore>, measures: Rc<Measures>) -> Self {
        let (stalled, applied, has_gone_back) = (None, None, false);
        Self { store, measures, stalled, applied, has_gone_back, looked_at: Instant::now() }
    }

    /// One transaction with everything of the group.
    pub(super) async fn commit(&mut self, entries: Vec<IngestEntry>) -> CommittedGroup {
        let begun = Instant::now();
        let outcome = self.apply(&entries).await;
        CommittedGroup { entries, outcome, begun }
    }

    /// Applies the entries as a whole.
    pub(super) async fn apply(&mut self, entries: &[IngestEntry]) -> CommitOutcome {
        let submissions = self.submissions(entries);
        if submissions.is_empty() {
            return CommitOutcome::Applied(Vec::new());
        }
        let shared = spans::shared(entries);
        let applied = AssertUnwindSafe(self.store.apply(submissions)).catch_unwind().await;
        drop(shared);
        let outcome = match applied {
            Ok(Ok(outcomes)) => CommitOutcome::Applied(outcomes),
            Ok(Err(reason)) => self.judge(entries, reason).await,
            Err(_panic) => self.after_panic(entries).await,
        };
        let first = entries.first().map_or(0, |entry| entry.delivery.sequence());
        self.note(&outcome, first);
        if let (CommitOutcome::Applied(_), Some(last)) = (&outcome, last_of(entries)) {
            self.applied = last.submissions().pop().and_then(|last| last.position);
        }
        outcome
    }

    /// Moves the store behind a message that became a dead letter. If that fails, a successor keeps the letter again, which
    /// is noticed.
    pub(super) async fn pass_over(&self, passed_over: Submission) {
        if let Err(reason) = self.store.apply(vec![passed_over]).await {
            debug!(%reason, "dead letter: the store stays before its event");
        }
    }

    /// Events of a group, of which the first says what the store must have before.
    fn submissions(&self, entries: &[IngestEntry]) -> Vec<Submission> {
        let mut submissions: Vec<_> = entries.iter().flat_map(IngestEntry::submissions).collect();
        if let Some(first) = submissions.first_mut() {
            first.follows = Some(self.applied.clone().unwrap_or_default());
        }
        submissions
    }

    /// Whether the store was put back to an earlier state since the log was last compared with it: it has to be compared
    /// again. What a transaction met is told once; otherwise it is looked up now and then.
    pub(super) async fn has_gone_back(&mut self) -> bool {
        if !self.has_gone_back && self.looked_at.elapsed() >= LOOK_INTERVAL {
            self.looked_at = Instant::now();
            self.look().await;
        }
        let has_gone_back = std::mem::take(&mut self.has_gone_back);
        if has_gone_back {
            self.applied = None;
        }
        has_gone_back
    }

    async fn look(&mut self) {
        let Some(applied) = &self.applied else { return };
        if let Ok(until) = self.store.log_position(&applied.log).await
            && until.is_none_or(|until| until.version() < applied.version())
        {
            error!(log = %applied.log, "data store was put back to an earlier state: the log brings it forward");
            self.has_gone_back = true;
        }
    }

    /// Outcome of a transaction that ended in an error.
    async fn judge(&mut self, entries: &[IngestEntry], reason: StorageError) -> CommitOutcome {
        self.look().await;
        if self.has_gone_back {
            return CommitOutcome::Unknown(with_cause(&reason));
        }
        if reason.kind() == ErrorKind::Rejected {
            let text = with_cause(&reason);
            // In a larger group it is tried alone first.
            if entries.len() == 1 && !self.takes_anything_but(entries).await {
                return CommitOutcome::NotApplied(text);
            }
            return CommitOutcome::AtFault(EventFailure { code: FailureCode::Rejected, reason: text });
        }
        match self.was_applied(entries).await {
            // The answer of the commit was lost, not the commit.
            Ok(true) => {
                let count = entries.iter().map(|entry| entry.submissions().len()).sum();
                CommitOutcome::Applied(vec![Outcome { duplicate: true, ..Outcome::default() }; count])
            }
            // A transaction that was given up may land later still: the store decides when the events come again.
            Ok(false) if reason.kind() == ErrorKind::Unknown => CommitOutcome::Unknown(with_cause(&reason)),
            Ok(false) => CommitOutcome::NotApplied(with_cause(&reason)),
            Err(also) => CommitOutcome::Unknown(format!("{}; {}", with_cause(&reason), with_cause(&also))),
        }
    }

    /// A transaction that panicked is tried again as a whole, then event by event.
    async fn after_panic(&self, entries: &[IngestEntry]) -> CommitOutcome {
        let reason = "applying the events panicked".to_owned();
        let attempt = entries.first().map_or(1, |entry| entry.delivery.attempt());
        match self.was_applied(entries).await {
            Ok(false) if attempt >= PANIC_ATTEMPTS => {
                CommitOutcome::AtFault(EventFailure { code: FailureCode::Panicked, reason })
            }
            Ok(_) | Err(_) => CommitOutcome::Unknown(reason),
        }
    }

    /// Whether the store has reached the last of these positions.
    async fn was_applied(&self, entries: &[IngestEntry]) -> Result<bool, StorageError> {
        let Some(last) = last_of(entries) else { return Ok(false) };
        let until = self.store.log_position(&last.delivery.log().log).await?;
        Ok(until.is_some_and(|until| until.version() >= last.last_version()))
    }

    /// Whether the store takes a transaction in which nothing can be at fault and, right after it, still refuses these
    /// events: a store that is just getting well again may have refused them only a moment before. Should it take them
    /// now, they come again and are found there.
    async fn takes_anything_but(&self, entries: &[IngestEntry]) -> bool {
        if self.store.apply(vec![Submission::from(no_command())]).await.is_err() {
            return false;
        }
        let submissions = self.submissions(entries);
        let again = AssertUnwindSafe(self.store.apply(submissions)).catch_unwind().await;
        matches!(again, Ok(Err(reason)) if reason.kind() == ErrorKind::Rejected)
    }

    /// Raises and lowers the alarm.
    fn note(&mut self, outcome: &CommitOutcome, sequence: u64) {
        match outcome {
            CommitOutcome::Applied(_) | CommitOutcome::AtFault(_) => {
                if self.stalled.take().is_some() {
                    info!("ingest: the data store takes events again");
                    self.measures.stalled.set(0.0);
                }
            }
            CommitOutcome::NotApplied(reason) | CommitOutcome::Unknown(reason) => {
                error!(reason, sequence, "ingest: stalled, the data store does not take events");
                self.stalled = Some(reason.clone());
                self.measures.stalled.set(1.0);
            }
        }
    }
}

/// The entry whose place is the last.
fn last_of(entries: &[IngestEntry]) -> Option<&IngestEntry> {
    entries.iter().max_by_key(|entry| entry.last_version())
}

/// The refusal, and the reason that the driver gives.
fn with_cause(error: &StorageError) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
