//! Third stage of an ingester: tells the cache, the other processes and the callers what a transaction led to, and settles
//! its messages. Steps 3 to 6 of the ingester's list.
//!
//! - Owns: the changes that the cache could not be told of yet, and the oldest message that led to one of them: should
//!   this process end before, its successor begins there again and tells the cache.
//! - On failure: messages go back to the log and come again; what they led to is read off the store then.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;

use tracing::{Instrument as _, warn};
use ulex_domain::{Change, Command, FailureCode, Version};
use ulex_nats::events::Receipt;
use ulex_nats::transport::RawDelivery;
use ulex_nats::{Bus, BusError};
use ulex_recommenders::service::Recommender;
use ulex_storage::data::Outcome;

use super::committer::{CommitOutcome, CommittedGroup};
use super::disposer::{EventDisposer, give_back, retry_pause, return_to_log};
use super::entry::{EventFailure, IngestEntry};
use super::measures::Measures;
use super::{IngestCounters, announce, spans};

/// Changes kept for a cache that is away.
const PENDING_INVALIDATIONS_MAX: usize = 10_000;

/// Settles groups.
pub(super) struct Settler {
    pub(super) bus: Bus,
    /// Name of this process.
    pub(super) node: String,
    /// Catalogue and cache of this process, and the store that changes are read off again.
    pub(super) recommender: Recommender,
    pub(super) disposer: EventDisposer,
    pub(super) counters: Rc<RefCell<IngestCounters>>,
    pub(super) measures: Rc<Measures>,
    /// Changes that the cache could not be told of yet.
    pub(super) pending_invalidations: Vec<Change>,
    /// The first message that led to one of these, with which a successor begins again.
    pub(super) oldest_untold: Option<Box<dyn RawDelivery>>,
}

/// What a group led to, message by message.
#[derive(Default)]
struct GroupEffects {
    receipts: Vec<Receipt>,
    changes: Vec<Change>,
    /// Commands that had been applied before, and where they come again.
    repeated: Vec<(Command, Version)>,
}

impl GroupEffects {
    fn of(entries: &[IngestEntry], outcomes: Vec<Outcome>) -> Self {
        let mut effects = Self::default();
        let mut outcomes = outcomes.into_iter();
        for entry in entries {
            let sequence = entry.delivery.sequence();
            let mut receipt = Receipt { sequence, duplicate: true, ..Receipt::default() };
            if entry.decoded.is_err() {
                // Only its position.
                let _ = outcomes.next();
            }
            for (part, envelope) in entry.events().iter().enumerate() {
                let Some(outcome) = outcomes.next() else { break };
                receipt.duplicate &= outcome.duplicate;
                receipt.rows_deleted += outcome.rows_deleted;
                effects.changes.extend(outcome.changes);
                let again = || (envelope.event.clone(), entry.version(part));
                effects.repeated.extend(outcome.duplicate.then(again));
            }
            effects.receipts.push(receipt);
        }
        effects
    }
}

impl Settler {
    /// Settles a group whatever came of it. After [`ControlFlow::Break`] all that is behind it goes back to the log.
    pub(super) async fn settle(&mut self, group: Option<CommittedGroup>) -> ControlFlow<()> {
        let Some(CommittedGroup { entries, outcome, begun }) = group else {
            return ControlFlow::Continue(());
        };
        let span = spans::lead(&entries);
        let flow = self.settle_outcome(&entries, outcome).instrument(span).await;
        self.keep_oldest_untold(entries);
        self.measures.batch_seconds.record(begun.elapsed().as_secs_f64());
        flow
    }

    /// Keeps the message that [`Settler::settle_applied`] has a successor begin again with.
    fn keep_oldest_untold(&mut self, entries: Vec<IngestEntry>) {
        self.measures.batch.record(entries.len() as f64);
        if !self.pending_invalidations.is_empty() && self.oldest_untold.is_none() {
            self.oldest_untold = entries.into_iter().next().map(|entry| entry.delivery);
        }
    }

    async fn settle_outcome(&mut self, entries: &[IngestEntry], outcome: CommitOutcome) -> ControlFlow<()> {
        match outcome {
            CommitOutcome::Applied(outcomes) => self.settle_applied(entries, outcomes).await,
            CommitOutcome::AtFault(failure) => self.dead_letter_all(entries, &failure).await,
            CommitOutcome::NotApplied(reason) => {
                self.disposer.count_failure();
                self.reject_or_return(entries, reason).await;
                ControlFlow::Break(())
            }
            CommitOutcome::Unknown(_) => {
                self.disposer.count_failure();
                return_to_log(entries).await;
                ControlFlow::Break(())
            }
        }
    }

    /// Steps 3 to 6 of the ingester's list.
    async fn settle_applied(&mut self, entries: &[IngestEntry], outcomes: Vec<Outcome>) -> ControlFlow<()> {
        let GroupEffects { mut receipts, mut changes, repeated } = GroupEffects::of(entries, outcomes);
        if !repeated.is_empty() {
            match announce::again(self.recommender.data().as_ref(), &repeated).await {
                Ok(again) => changes.splice(0..0, again).for_each(drop),
                Err(reason) => {
                    warn!(%reason, "ingest: changes of repeated events cannot be read");
                    return_to_log(entries).await;
                    return ControlFlow::Break(());
                }
            }
        }
        let changes = Change::merge_all(changes);
        self.count(entries, &receipts, &changes);
        self.invalidate_cache(changes.clone()).await;
        if !self.pending_invalidations.is_empty() && self.oldest_untold.is_none() {
            // Before anything is settled.
            entries.iter().take(1).for_each(|oldest| oldest.delivery.set_restart(true));
        }
        let announced = announce::publish(&self.bus, &self.node, changes).await;
        let known_at = announced.as_ref().copied().unwrap_or_default();
        for receipt in &mut receipts {
            receipt.node.clone_from(&self.node);
            receipt.known_at = known_at;
        }
        self.finish(entries, &receipts, announced.map(drop)).await
    }

    fn count(&self, entries: &[IngestEntry], receipts: &[Receipt], changes: &[Change]) {
        let counts = |(entry, _): &(&IngestEntry, &Receipt)| entry.decoded.is_ok() && !entry.is_expired;
        let settled = || entries.iter().zip(receipts).filter(counts);
        let duplicates = settled().filter(|(_, receipt)| receipt.duplicate).count() as u64;
        let rows = changes.iter().map(|change| change.row_count() as u64).sum::<u64>();
        let effective = settled().filter(|(_, receipt)| !receipt.duplicate);
        effective.flat_map(|(entry, _)| entry.events()).for_each(|asked| self.measures.applied(&asked.event));
        self.measures.duplicates.increment(duplicates);
        self.measures.rows.increment(rows);
        let mut counters = self.counters.borrow_mut();
        counters.applied += settled().count() as u64 - duplicates;
        counters.duplicates += duplicates;
        counters.rows += rows;
        counters.batches += 1;
    }

    /// Answers callers that wait, and settles the messages in order; dead letters where they stand.
    async fn finish(
        &self,
        entries: &[IngestEntry],
        receipts: &[Receipt],
        announced: Result<(), BusError>,
    ) -> ControlFlow<()> {
        for (place, (entry, receipt)) in entries.iter().zip(receipts).enumerate() {
            if let Err(failure) = &entry.decoded {
                if announced.is_ok() && self.disposer.dead_letter(entry, failure).await.is_break() {
                    return_to_log(&entries[place + 1..]).await;
                    return ControlFlow::Break(());
                }
                continue;
            }
            if entry.is_expired {
                if announced.is_ok() {
                    self.settle_expired(entry, receipt.duplicate).await;
                }
                continue;
            }
            // The store has it: whatever becomes of the announcement, the caller may know.
            self.disposer.answer(entry, receipt).await;
            if announced.is_ok() {
                acknowledge(entry).await;
            }
        }
        let Err(reason) = announced else { return ControlFlow::Continue(()) };
        self.disposer.count_failure();
        warn!(%reason, "ingest: a change was not announced; its events come again");
        give_back(entries.iter().map(|entry| entry.delivery.as_ref()), retry_pause(entries)).await;
        ControlFlow::Break(())
    }

    /// Settles a message whose position alone was written. If the position had been reached before, nobody can say
    /// whether by the event or by its expiry: the caller hears nothing and finds out by its event id.
    async fn settle_expired(&self, entry: &IngestEntry, was_reached: bool) {
        let failure = EventFailure {
            code: FailureCode::Expired,
            reason: "the write was not applied in time".to_owned(),
        };
        if was_reached || !self.disposer.reject(entry, &failure).await {
            acknowledge(entry).await;
        }
    }

    /// Says that what follows does not follow from what was told before: whoever knows something of the data reads it
    /// again, and no list is left that was made of it.
    pub(super) async fn announce_gap(&self) -> Result<(), BusError> {
        announce::gap(&self.bus, &self.node).await?;
        if let Err(reason) = self.recommender.drop_all_lists().await {
            warn!(%reason, "cache: lists from before the data went back are dropped when it is back");
        }
        Ok(())
    }

    async fn dead_letter_all(&self, entries: &[IngestEntry], failure: &EventFailure) -> ControlFlow<()> {
        for (place, entry) in entries.iter().enumerate() {
            if self.disposer.dead_letter(entry, failure).await.is_break() {
                return_to_log(&entries[place + 1..]).await;
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// After a failure of the store that certainly left nothing behind: callers that wait are told, everything else goes
    /// back to the log. An event that was delivered before may still be in a transaction of an earlier ingester, and its
    /// caller is not told anything.
    async fn reject_or_return(&self, entries: &[IngestEntry], reason: String) {
        let pause = retry_pause(entries);
        let failure = EventFailure { code: FailureCode::Unavailable, reason };
        for (place, entry) in entries.iter().enumerate() {
            if place == 0 && self.disposer.take_bury_request(entry).await {
                let reason = format!("buried by an operator; the store said: {}", failure.reason);
                let buried = EventFailure { code: FailureCode::Rejected, reason };
                // If it cannot be kept it has been given back.
                let _ = self.disposer.dead_letter(entry, &buried).await;
                continue;
            }
            let may_reject = entry.receipt_to().is_some() && entry.delivery.attempt() == 1;
            if may_reject && self.disposer.reject(entry, &failure).await {
                continue;
            }
            give_back(std::iter::once(entry.delivery.as_ref()), pause).await;
        }
    }

    /// Tells the cache, and what it could not be told before. A cache that is away does not hold up the log.
    pub(super) async fn invalidate_cache(&mut self, changes: Vec<Change>) {
        self.pending_invalidations.extend(changes);
        if self.pending_invalidations.is_empty() {
            return;
        }
        match self.recommender.applied(&self.pending_invalidations).await {
            Ok(()) => {
                self.pending_invalidations.clear();
                if let Some(oldest) = self.oldest_untold.take() {
                    oldest.set_restart(false);
                }
            }
            Err(reason) => {
                let pending = self.pending_invalidations.len();
                warn!(%reason, pending, "cache: not told of changes");
                if pending > PENDING_INVALIDATIONS_MAX {
                    warn!("cache: lists may be out of date until they expire");
                    self.pending_invalidations.drain(..pending - PENDING_INVALIDATIONS_MAX);
                }
            }
        }
    }
}

async fn acknowledge(entry: &IngestEntry) {
    if let Err(reason) = entry.delivery.ack().await {
        warn!(%reason, "event: applied and not acknowledged");
    }
}
