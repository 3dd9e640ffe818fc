//! The loop of an ingester: pull, commit, announce, settle. Why in this order stands in the module above.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use smol_str::SmolStr;
use tokio::sync::Notify;
use tracing::{error, info, warn};
use ulex_domain::Change;
use ulex_nats::BusError;
use ulex_nats::bus::AppendOptions;
use ulex_nats::dead_letters::{DeadBody, DeadLetter};
use ulex_nats::events::{Receipt, ReceiptError};
use ulex_nats::topology::{EVENTS, INGEST};
use ulex_nats::transport::{RawDelivery, RawPuller};
use ulex_storage::StorageError;
use ulex_storage::data::Outcome;

use super::announce;
use super::batch::{Entry, next_group};
use super::{Counts, IngestParts};

/// How long one pull waits before it looks around.
const PULL_WAIT: Duration = Duration::from_secs(1);
/// Pause after a failure of the bus; the first pause after one of the store.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest pause after failures of the store that follow one another: whoever waits is told 503 within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Most messages of one pull, if they are small.
const MOST_MESSAGES: usize = 2048;
/// Fewest, however large they are.
const FEWEST_MESSAGES: usize = 16;
/// What a pull is meant to bring, going by the one before.
const PULL_BYTES: usize = 32 << 20;
/// Most of a body in a dead letter that would otherwise be too large.
const BEGINNING: usize = 4096;
/// Changes kept for a cache that is away.
const UNTOLD: usize = 10_000;

/// Whether what comes behind may be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Everything is settled.
    GoOn,
    /// Something went back to the log, and so must all that comes behind it.
    Stop,
}

type Deliveries = Vec<Box<dyn RawDelivery>>;

pub(super) struct Worker {
    parts: IngestParts,
    counts: Rc<RefCell<Counts>>,
    stop: Rc<Notify>,
    stopping: Rc<Cell<bool>>,
    /// Which log this is.
    log: RefCell<SmolStr>,
    /// The highest position in the log that was pulled.
    seen: Cell<u64>,
    /// Messages of the next pull.
    messages: Cell<usize>,
    /// Changes that the cache could not be told of yet.
    untold: RefCell<Vec<Change>>,
}

impl Worker {
    pub(super) fn new(
        parts: IngestParts,
        counts: Rc<RefCell<Counts>>,
        (stop, stopping): (Rc<Notify>, Rc<Cell<bool>>),
    ) -> Self {
        Self {
            parts,
            counts,
            stop,
            stopping,
            log: RefCell::default(),
            seen: Cell::new(0),
            messages: Cell::new(FEWEST_MESSAGES * 16),
            untold: RefCell::default(),
        }
    }

    /// Works until it is told to stop or the bus is closed.
    pub(super) async fn run(self) {
        let Some(mut puller) = self.open().await else { return };
        while !self.stopping.get() {
            match self.pull(puller.as_mut()).await {
                Ok(batch) if batch.is_empty() => self.tell_cache(Vec::new()).await,
                Ok(batch) => self.apply(batch).await,
                Err(BusError::Closed) => return,
                Err(reason) => self.pause("cannot pull events", &reason).await,
            }
        }
    }

    async fn open(&self) -> Option<Box<dyn RawPuller>> {
        while !self.stopping.get() {
            let opened = match self.parts.bus.raw_puller(&INGEST).await {
                Ok(puller) => self.learn_log().await.map(|()| puller),
                Err(reason) => Err(reason),
            };
            match opened {
                Ok(puller) => return Some(puller),
                Err(BusError::Closed) => return None,
                Err(reason) => self.pause("cannot open the log", &reason).await,
            }
        }
        None
    }

    pub(super) async fn learn_log(&self) -> Result<(), BusError> {
        let state = self.parts.bus.stream_state(&EVENTS.name).await?;
        *self.log.borrow_mut() = SmolStr::new(state.log);
        Ok(())
    }

    /// Waits for events, at most [`PULL_WAIT`] or until asked to stop.
    async fn pull(&self, puller: &mut dyn RawPuller) -> Result<Deliveries, BusError> {
        let batch = tokio::select! {
            biased;
            () = self.stop.notified() => Vec::new(),
            pulled = puller.pull(self.messages.get(), PULL_WAIT) => pulled?,
        };
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(batch) };
        let bytes: usize = batch.iter().map(|delivery| delivery.message().payload.len() + 1).sum();
        self.messages.set((PULL_BYTES / (bytes / batch.len()).max(1)).clamp(FEWEST_MESSAGES, MOST_MESSAGES));
        // What was pulled before may have come back, or another log has begun in the place of the old one.
        if first.sequence() <= self.seen.get()
            && let Err(reason) = self.learn_log().await
        {
            self.give_back(batch.iter().map(AsRef::as_ref), PAUSE).await;
            return Err(reason);
        }
        self.seen.set(last.sequence());
        Ok(batch)
    }

    async fn pause(&self, what: &str, reason: &BusError) {
        self.counts.borrow_mut().failures += 1;
        warn!(%reason, "{what}");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = self.stop.notified() => {}
        }
    }

    /// Applies a batch in transactions of about `batch_rows` rows, each message of it in order.
    pub(super) async fn apply(&self, batch: Deliveries) {
        let begun = Instant::now();
        let mut waiting: VecDeque<Entry> =
            batch.into_iter().map(|delivery| Entry::read(delivery, self.parts.admission)).collect();
        loop {
            let group = next_group(&mut waiting, self.parts.batch_rows);
            if group.is_empty() {
                return;
            }
            if begun.elapsed() > INGEST.ack_wait / 4 {
                for entry in group.iter().chain(&waiting) {
                    let _ = entry.delivery.in_progress().await;
                }
            }
            if self.commit(group).await == Flow::Stop {
                self.return_all(waiting.make_contiguous()).await;
                return;
            }
        }
    }

    /// One transaction. If the store refuses it as a whole, each message is tried alone, so a bad one harms no other.
    async fn commit(&self, group: Vec<Entry>) -> Flow {
        let Some(group) = self.without_late(group).await else { return Flow::Stop };
        match self.store(&group).await {
            Err(reason) if !reason.is_transient() && group.len() > 1 => {
                let mut rest = VecDeque::from(group);
                while let Some(entry) = rest.pop_front() {
                    let alone = [entry];
                    let result = self.store(&alone).await;
                    if self.settle(&alone, result).await == Flow::Stop {
                        self.return_all(rest.make_contiguous()).await;
                        return Flow::Stop;
                    }
                }
                Flow::GoOn
            }
            result => self.settle(&group, result).await,
        }
    }

    async fn store(&self, group: &[Entry]) -> Result<Vec<Outcome>, StorageError> {
        let log = self.log.borrow().clone();
        let submissions: Vec<_> = group.iter().flat_map(|entry| entry.submissions(&log)).collect();
        if submissions.is_empty() {
            return Ok(Vec::new());
        }
        match self.parts.recommender.data().apply(submissions).await {
            Err(reason) if reason.is_transient() && self.was_applied(group).await => {
                // The word of the commit was lost, not the commit.
                let count = group.iter().map(|entry| entry.events().len()).sum();
                Ok(vec![Outcome { duplicate: true, ..Outcome::default() }; count])
            }
            result => result,
        }
    }

    /// Whether the store says that it holds all of these already.
    async fn was_applied(&self, group: &[Entry]) -> bool {
        let log = self.log.borrow().clone();
        let Some(last) = group.iter().map(Entry::last_position).max() else { return false };
        let until = self.parts.recommender.data().applied_until(&log).await;
        until.is_ok_and(|until| until.is_some_and(|until| until >= last))
    }

    async fn settle(&self, group: &[Entry], result: Result<Vec<Outcome>, StorageError>) -> Flow {
        match result {
            Ok(outcomes) => self.applied(group, outcomes).await,
            Err(reason) if reason.is_transient() => {
                error!(%reason, cause = ?reason, events = group.len(), "the data store cannot be written to");
                self.counts.borrow_mut().failures += 1;
                self.refuse_or_return(group, &reason.to_string()).await;
                Flow::Stop
            }
            Err(reason) => {
                // Only of one message: see `commit`.
                for entry in group {
                    if self.bury(entry, "rejected", &cause_of(&reason)).await == Flow::Stop {
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
        let mut counts = self.counts.borrow_mut();
        counts.applied += settled().count() as u64 - duplicates;
        counts.duplicates += duplicates;
        counts.rows += changes.iter().map(announce::rows_of).sum::<u64>();
        counts.batches += 1;
    }

    /// Answers whoever waits, and settles the messages in order; dead letters where they stand.
    async fn finish(&self, group: &[Entry], receipts: &[Receipt], announced: Result<(), BusError>) -> Flow {
        for (place, (entry, receipt)) in group.iter().zip(receipts).enumerate() {
            if let Err(reason) = &entry.asked {
                if announced.is_ok() && self.bury(entry, "malformed", reason).await == Flow::Stop {
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
        self.counts.borrow_mut().failures += 1;
        warn!(%reason, "a change could not be announced; the events come again");
        self.give_back(group.iter().map(|entry| entry.delivery.as_ref()), self.pause_after(group)).await;
        Flow::Stop
    }

    /// Tells the cache, and what it could not be told before. A cache that is away does not hold up the log.
    async fn tell_cache(&self, changes: Vec<Change>) {
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

    /// Takes out what nobody waits for any more, unless it was applied before; `None` if all went back to the log.
    async fn without_late(&self, group: Vec<Entry>) -> Option<Vec<Entry>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        if !group.iter().any(|entry| entry.is_late(now)) {
            return Some(group);
        }
        let log = self.log.borrow().clone();
        let until = match self.parts.recommender.data().applied_until(&log).await {
            Ok(until) => until.unwrap_or(0),
            Err(reason) => {
                error!(%reason, "the data store cannot be read");
                self.counts.borrow_mut().failures += 1;
                self.return_all(&group).await;
                return None;
            }
        };
        let mut kept = VecDeque::from(group);
        for _ in 0..kept.len() {
            let Some(entry) = kept.pop_front() else { break };
            let late = entry.is_late(now) && entry.last_position() > until;
            if !late || !self.refuse(&entry, "it was not applied in time").await {
                kept.push_back(entry);
            }
        }
        Some(kept.into())
    }

    /// Removes an event from the log and tells its caller; whether that worked.
    async fn refuse(&self, entry: &Entry, reason: &str) -> bool {
        let sequence = entry.delivery.sequence();
        if let Err(reason) = self.parts.bus.transport().remove(&EVENTS.name, sequence).await {
            warn!(%reason, sequence, "a refused event could not be removed from the log");
            return false;
        }
        self.counts.borrow_mut().refused += 1;
        let error = ReceiptError { code: "unavailable".to_owned(), message: reason.to_owned() };
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

    async fn return_all(&self, entries: &[Entry]) {
        let pause = self.pause_after(entries);
        self.give_back(entries.iter().map(|entry| entry.delivery.as_ref()), pause).await;
    }

    /// Grows with the number of times that the first has been tried.
    fn pause_after(&self, entries: &[Entry]) -> Duration {
        let attempt = entries.first().map_or(1, |entry| entry.delivery.attempt());
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(5);
        (PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
    }

    async fn give_back<'a>(&self, deliveries: impl Iterator<Item = &'a dyn RawDelivery>, pause: Duration) {
        for delivery in deliveries {
            if let Err(reason) = delivery.nak(pause).await {
                warn!(%reason, "an event could not be given back; it comes again by itself");
            }
        }
    }

    /// Keeps what can never be applied where it can be looked at, then settles it. If it cannot be kept, it comes again.
    async fn bury(&self, entry: &Entry, code: &str, reason: &str) -> Flow {
        let delivery = entry.delivery.as_ref();
        let sequence = delivery.sequence();
        let letter = self.letter(delivery, code, reason);
        let message_id = Some(DeadLetter::message_id(&self.log.borrow(), sequence));
        let options = AppendOptions { message_id, ..AppendOptions::default() };
        if let Err(reason) = self.parts.bus.append(&letter, options).await {
            warn!(%reason, "a dead letter could not be kept; the event comes again");
            self.counts.borrow_mut().failures += 1;
            self.give_back(std::iter::once(delivery), PAUSE).await;
            return Flow::Stop;
        }
        self.counts.borrow_mut().dead += 1;
        info!(sequence, subject = delivery.message().subject, code, reason, "an event can never be applied");
        let error = ReceiptError { code: code.to_owned(), message: reason.to_owned() };
        self.answer(entry, &Receipt { sequence, error: Some(error), ..Receipt::default() }).await;
        if let Err(reason) = delivery.term().await {
            warn!(%reason, "a dead event could not be settled");
        }
        Flow::GoOn
    }

    fn letter(&self, delivery: &dyn RawDelivery, code: &str, reason: &str) -> DeadLetter {
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
