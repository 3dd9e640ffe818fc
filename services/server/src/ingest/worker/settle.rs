//! What becomes of a group when its transaction has ended: callers, cache and other processes hear of it, and its messages
//! are settled or go back to the log. Steps 3 to 6 of the ingester's list.

use std::time::Duration;

use tracing::{error, info, warn};
use ulex_domain::{Change, FailureCode};
use ulex_nats::BusError;
use ulex_nats::bus::AppendOptions;
use ulex_nats::dead_letters::{DeadBody, DeadLetter};
use ulex_nats::events::{Receipt, ReceiptError};
use ulex_nats::topology::EVENTS;
use ulex_nats::transport::RawDelivery;
use ulex_storage::StorageError;
use ulex_storage::data::Outcome;

use super::super::announce;
use super::super::batch::Entry;
use super::{Flow, PAUSE, Worker};

/// Longest pause after failures of the store that follow one another: whoever waits is told 503 within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Most of a body in a dead letter that would otherwise be too large.
const BEGINNING: usize = 4096;
/// Changes kept for a cache that is away.
const UNTOLD: usize = 10_000;

impl Worker {
    /// What a transaction led to is said to everybody, and its messages are settled.
    pub(super) async fn settle(&self, group: &[Entry], result: Result<Vec<Outcome>, StorageError>) -> Flow {
        match result {
            Ok(outcomes) => self.applied(group, outcomes).await,
            Err(reason) if reason.is_transient() => {
                error!(%reason, cause = ?reason, events = group.len(), "the data store cannot be written to");
                self.failed();
                self.refuse_or_return(group, &reason.to_string()).await;
                Flow::Stop
            }
            Err(reason) => {
                // Only of one message: see `commit`.
                for entry in group {
                    if self.bury(entry, FailureCode::Rejected, &cause_of(&reason)).await == Flow::Stop {
                        return Flow::Stop;
                    }
                }
                Flow::GoOn
            }
        }
    }

    /// Steps 3 to 6 of the module's list.
    async fn applied(&self, group: &[Entry], outcomes: Vec<Outcome>) -> Flow {
        let mut outcomes = outcomes.into_iter();
        let (mut changes, mut repeated, mut receipts) = (Vec::new(), Vec::new(), Vec::new());
        for entry in group {
            let mut receipt =
                Receipt { sequence: entry.delivery.sequence(), duplicate: true, ..Receipt::default() };
            for envelope in entry.events() {
                let Some(outcome) = outcomes.next() else { break };
                receipt.duplicate &= outcome.duplicate;
                receipt.rows_deleted += outcome.rows_deleted;
                changes.extend(outcome.changes);
                repeated.extend(outcome.duplicate.then_some(&envelope.event));
            }
            receipts.push(receipt);
        }
        if !repeated.is_empty() {
            match announce::again(self.parts.recommender.data().as_ref(), &repeated).await {
                Ok(again) => changes.splice(0..0, again).for_each(drop),
                Err(reason) => {
                    warn!(%reason, "what a repeated event changed cannot be read");
                    self.return_all(group).await;
                    return Flow::Stop;
                }
            }
        }
        let changes = Change::merge_all(changes);
        self.count(group, &receipts, &changes);
        self.tell_cache(changes.clone()).await;
        let announced = announce::publish(&self.parts.bus, &self.parts.node, changes).await;
        let known_at = announced.as_ref().copied().unwrap_or_default();
        for receipt in &mut receipts {
            receipt.node.clone_from(&self.parts.node);
            receipt.known_at = known_at;
        }
        self.finish(group, &receipts, announced.map(drop)).await
    }

    fn count(&self, group: &[Entry], receipts: &[Receipt], changes: &[Change]) {
        let readable = |(entry, _): &(&Entry, &Receipt)| entry.asked.is_ok();
        let settled = || group.iter().zip(receipts).filter(readable);
        let duplicates = settled().filter(|(_, receipt)| receipt.duplicate).count() as u64;
        let rows = changes.iter().map(|change| change.row_count() as u64).sum::<u64>();
        let effective = settled().filter(|(_, receipt)| !receipt.duplicate);
        effective.flat_map(|(entry, _)| entry.events()).for_each(|asked| self.measures.applied(&asked.event));
        self.measures.duplicates.increment(duplicates);
        self.measures.rows.increment(rows);
        let mut counts = self.counts.borrow_mut();
        counts.applied += settled().count() as u64 - duplicates;
        counts.duplicates += duplicates;
        counts.rows += rows;
        counts.batches += 1;
    }

    /// Answers whoever waits, and settles the messages in order; dead letters where they stand.
    async fn finish(&self, group: &[Entry], receipts: &[Receipt], announced: Result<(), BusError>) -> Flow {
        for (place, (entry, receipt)) in group.iter().zip(receipts).enumerate() {
            if let Err(reason) = &entry.asked {
                if announced.is_ok() && self.bury(entry, FailureCode::Malformed, reason).await == Flow::Stop {
                    self.return_all(&group[place + 1..]).await;
                    return Flow::Stop;
                }
                continue;
            }
            // The store has it: whatever becomes of the announcement, the caller may know.
            self.answer(entry, receipt).await;
            if announced.is_ok()
                && let Err(reason) = entry.delivery.ack().await
            {
                warn!(%reason, "an applied event could not be acknowledged");
            }
        }
        let Err(reason) = announced else { return Flow::GoOn };
        self.failed();
        warn!(%reason, "a change could not be announced; the events come again");
        self.give_back(group.iter().map(|entry| entry.delivery.as_ref()), self.pause_after(group)).await;
        Flow::Stop
    }

    /// Tells the cache, and what it could not be told before. A cache that is away does not hold up the log.
    pub(super) async fn tell_cache(&self, changes: Vec<Change>) {
        let mut untold = self.untold.take();
        untold.extend(changes);
        if untold.is_empty() {
            return;
        }
        if let Err(reason) = self.parts.recommender.applied(&untold).await {
            warn!(%reason, waiting = untold.len(), "the cache could not be told of changes");
            if untold.len() > UNTOLD {
                warn!("cached lists may be out of date until they expire");
                untold.drain(..untold.len() - UNTOLD);
            }
            *self.untold.borrow_mut() = untold;
        }
    }

    async fn answer(&self, entry: &Entry, receipt: &Receipt) {
        let Some(inbox) = entry.receipt_to() else { return };
        if let Err(reason) = self.parts.bus.send_to(inbox, receipt).await {
            warn!(%reason, "a receipt could not be sent");
        }
    }

    /// Removes an event from the log and tells its caller; whether that worked.
    pub(super) async fn refuse(&self, entry: &Entry, reason: &str) -> bool {
        let sequence = entry.delivery.sequence();
        if let Err(reason) = self.parts.bus.transport().remove(&EVENTS.name, sequence).await {
            warn!(%reason, sequence, "a refused event could not be removed from the log");
            return false;
        }
        self.counts.borrow_mut().refused += 1;
        self.measures.refused.increment(1);
        let error = ReceiptError { code: FailureCode::Unavailable, message: reason.to_owned() };
        self.answer(entry, &Receipt { sequence, error: Some(error), ..Receipt::default() }).await;
        // It is no longer there to be delivered again; this only says so at once.
        let _ = entry.delivery.term().await;
        true
    }

    /// After a failure of the store: callers that wait are told, everything else goes back to the log.
    async fn refuse_or_return(&self, group: &[Entry], reason: &str) {
        let pause = self.pause_after(group);
        for entry in group {
            if entry.receipt_to().is_some() && self.refuse(entry, reason).await {
                continue;
            }
            self.give_back(std::iter::once(entry.delivery.as_ref()), pause).await;
        }
    }

    pub(super) async fn return_all(&self, entries: &[Entry]) {
        let pause = self.pause_after(entries);
        self.give_back(entries.iter().map(|entry| entry.delivery.as_ref()), pause).await;
    }

    /// Grows with the number of times that the first has been tried.
    fn pause_after(&self, entries: &[Entry]) -> Duration {
        let attempt = entries.first().map_or(1, |entry| entry.delivery.attempt());
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(5);
        (PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
    }

    pub(super) async fn give_back<'a>(
        &self,
        deliveries: impl Iterator<Item = &'a dyn RawDelivery>,
        pause: Duration,
    ) {
        for delivery in deliveries {
            if let Err(reason) = delivery.nak(pause).await {
                warn!(%reason, "an event could not be given back; it comes again by itself");
            }
        }
    }

    /// Keeps what can never be applied where it can be looked at, then settles it. If it cannot be kept, it comes again.
    async fn bury(&self, entry: &Entry, code: FailureCode, reason: &str) -> Flow {
        let delivery = entry.delivery.as_ref();
        let sequence = delivery.sequence();
        let letter = self.letter(delivery, code.clone(), reason);
        let message_id = Some(DeadLetter::message_id(&entry.log, sequence));
        let options = AppendOptions { message_id, ..AppendOptions::default() };
        if let Err(reason) = self.parts.bus.append(&letter, options).await {
            warn!(%reason, "a dead letter could not be kept; the event comes again");
            self.failed();
            self.give_back(std::iter::once(delivery), PAUSE).await;
            return Flow::Stop;
        }
        self.counts.borrow_mut().dead += 1;
        self.measures.dead.increment(1);
        info!(sequence, subject = delivery.message().subject, %code, reason, "an event can never be applied");
        let error = ReceiptError { code, message: reason.to_owned() };
        self.answer(entry, &Receipt { sequence, error: Some(error), ..Receipt::default() }).await;
        if let Err(reason) = delivery.term().await {
            warn!(%reason, "a dead event could not be settled");
        }
        Flow::GoOn
    }

    fn letter(&self, delivery: &dyn RawDelivery, code: FailureCode, reason: &str) -> DeadLetter {
        let place = (delivery.sequence(), delivery.attempt());
        let mut letter = DeadLetter::of(delivery.message(), place, code, reason.to_owned());
        let size = serde_json::to_vec(&letter).map_or(usize::MAX, |bytes| bytes.len());
        if size + BEGINNING > self.parts.bus.transport().max_payload() {
            letter.body = DeadBody::begin(&delivery.message().payload, BEGINNING);
        }
        letter
    }
}

/// What was refused, and why.
fn cause_of(error: &StorageError) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
