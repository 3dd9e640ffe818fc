//! The loop of an ingester: read, commit, settle. The order is argued in [`super`].
//!
//! While a large group is committed, the one before it is settled and the next is read. A small one is settled first: by
//! then there is more to share the next transaction, which costs the same for one row and for a hundred.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;

use futures_util::future::join;
use tokio::sync::watch;
use tracing::{Instrument as _, warn};
use ulex_domain::Change;
use ulex_nats::BusError;

use super::committer::{CommitOutcome, CommittedGroup, Committer};
use super::disposer::{EventDisposer, RETRY_PAUSE, return_to_log};
use super::entry::IngestEntry;
use super::measures::Measures;
use super::reader::EventReader;
use super::settler::Settler;
use super::{IngestCounters, IngestParts, spans};

/// Rows that are worth a transaction of their own although more would come if one waited.
const OVERLAP_ROWS: usize = 500;

/// Runs the stages.
pub(super) struct IngestDriver {
    parts: IngestParts,
    counters: Rc<RefCell<IngestCounters>>,
    measures: Rc<Measures>,
    stop: watch::Receiver<bool>,
}

/// The stages, and the group between the second and the third.
pub(super) struct IngestState {
    pub(super) reader: EventReader,
    committer: Committer,
    settler: Settler,
    batch_rows: usize,
    /// Committed, and nobody has been told.
    committed: Option<CommittedGroup>,
    /// Whether others have to be told that what follows does not follow from what they were told.
    owes_gap: bool,
    /// Whether they have to be told so again after the next transaction: until then one of an earlier ingester may land,
    /// of which nobody hears.
    owes_second_gap: bool,
}

impl IngestDriver {
    pub(super) fn new(
        parts: IngestParts,
        counters: Rc<RefCell<IngestCounters>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { parts, counters, measures: Rc::new(Measures::new()), stop }
    }

    /// Works until it is told to stop or the bus is closed.
    pub(super) async fn run(self) {
        let Some(mut state) = self.open_until_stopped().await else { return };
        while !self.is_stopping() {
            match state.step().await {
                Ok(()) => {}
                Err(BusError::Closed) => break,
                Err(reason) => self.pause("ingest: events cannot be pulled", &reason).await,
            }
        }
        state.settle_committed().await;
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    async fn open_until_stopped(&self) -> Option<IngestState> {
        while !self.is_stopping() {
            match self.open().await {
                Ok(state) => return Some(state),
                Err(BusError::Closed) => return None,
                Err(reason) => self.pause("ingest: the log cannot be opened", &reason).await,
            }
        }
        None
    }

    pub(super) async fn open(&self) -> Result<IngestState, BusError> {
        let IngestParts { bus, node, recommender, batch_rows, admission } = self.parts.clone();
        let (counters, measures) = (Rc::clone(&self.counters), Rc::clone(&self.measures));
        let reader = EventReader::open(
            bus.clone(),
            recommender.data().clone(),
            admission,
            self.stop.clone(),
            Rc::clone(&measures),
        )
        .await?;
        let committer = Committer::new(recommender.data().clone(), Rc::clone(&measures));
        let disposer = EventDisposer::new(bus.clone(), Rc::clone(&counters), Rc::clone(&measures));
        let settler = Settler {
            bus,
            node,
            recommender,
            disposer,
            counters,
            measures,
            pending_invalidations: Vec::new(),
            oldest_untold: None,
        };
        Ok(IngestState {
            reader,
            committer,
            settler,
            batch_rows,
            committed: None,
            owes_gap: false,
            owes_second_gap: false,
        })
    }

    async fn pause(&self, state: &str, reason: &BusError) {
        self.counters.borrow_mut().failures += 1;
        self.measures.failures.increment(1);
        warn!(%reason, "{state}");
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(RETRY_PAUSE) => {}
            () = stopped(&mut stop) => {}
        }
    }
}

/// Returns when the ingester is told to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Without its actor nobody tells it to stop.
        std::future::pending::<()>().await;
    }
}

impl IngestState {
    /// Begins with the next group of what was read or, with nothing read, waits for some.
    async fn step(&mut self) -> Result<(), BusError> {
        if self.committer.has_gone_back().await {
            self.settle_committed().await;
            self.owes_gap = true;
            return self.reader.begin_again().await;
        }
        if self.reader.prefetched().row_count() < OVERLAP_ROWS {
            self.settle_committed().await;
            self.reader.pull().await?;
        }
        self.owes_gap |= self.reader.has_begun_anew();
        if self.owes_gap {
            self.settle_committed().await;
            self.settler.announce_gap().await?;
            (self.owes_gap, self.owes_second_gap) = (false, true);
        }
        if self.reader.prefetched().is_empty() {
            self.settler.invalidate_cache(Vec::<Change>::new()).await;
            return Ok(());
        }
        self.reader.report_progress().await;
        let group = self.reader.next_group(self.batch_rows);
        if self.commit(group).await.is_break() {
            return_to_log(&self.reader.take_prefetched()).await;
        } else if self.owes_second_gap {
            self.settle_committed().await;
            self.settler.announce_gap().await?;
            self.owes_second_gap = false;
        }
        Ok(())
    }

    /// Commits a group while the one before it is settled.
    pub(super) async fn commit(&mut self, group: Vec<IngestEntry>) -> ControlFlow<()> {
        let is_large = group.iter().map(IngestEntry::row_count).sum::<usize>() >= OVERLAP_ROWS;
        let span = spans::lead(&group);
        let committing = self.committer.commit(group).instrument(span);
        let both = join(committing, self.settler.settle(self.committed.take()));
        let (group, before) = if is_large { self.reader.read_while(both).await } else { both.await };
        if before.is_break() {
            // It comes again behind the other, and is found in the store then.
            return_to_log(&group.entries).await;
            return ControlFlow::Break(());
        }
        match group.outcome {
            CommitOutcome::Applied(_) => {
                self.committed = Some(group);
                ControlFlow::Continue(())
            }
            CommitOutcome::AtFault(_) if group.entries.len() == 1 => self.settle_at_fault(group).await,
            CommitOutcome::AtFault(_) => self.apply_singly(group.entries).await,
            CommitOutcome::NotApplied(_) | CommitOutcome::Unknown(_) => {
                self.settler.settle(Some(group)).await
            }
        }
    }

    /// Settles a message that the store refuses for good.
    async fn settle_at_fault(&mut self, alone: CommittedGroup) -> ControlFlow<()> {
        let passed_over = alone.entries.first().map(IngestEntry::passed_over);
        let flow = self.settler.settle(Some(alone)).await;
        if let (ControlFlow::Continue(()), Some(passed_over)) = (flow, passed_over) {
            self.committer.pass_over(passed_over).await;
        }
        flow
    }

    /// Applies each entry of a group alone, so that a bad one harms no other.
    async fn apply_singly(&mut self, entries: Vec<IngestEntry>) -> ControlFlow<()> {
        let mut entries = entries.into_iter();
        while let Some(entry) = entries.next() {
            let alone = self.committer.commit(vec![entry]).await;
            let settled = match alone.outcome {
                CommitOutcome::AtFault(_) => self.settle_at_fault(alone).await,
                CommitOutcome::Applied(_) | CommitOutcome::NotApplied(_) | CommitOutcome::Unknown(_) => {
                    self.settler.settle(Some(alone)).await
                }
            };
            if settled.is_break() {
                return_to_log(&entries.collect::<Vec<_>>()).await;
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Settles what is committed. After a failure what was read goes back to the log, too.
    pub(super) async fn settle_committed(&mut self) {
        if self.settler.settle(self.committed.take()).await.is_break() {
            return_to_log(&self.reader.take_prefetched()).await;
        }
    }
}
