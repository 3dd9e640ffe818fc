//! Applies the log to the data store: the only writer of a deployment in one process, one of several in a cluster.
//!
//! - Receives: [`Observe`], [`Shutdown`]; pulls [`EventEnvelope`]s from the stream `EVENTS`.
//! - Announces: [`Changes`] on the bus, after the commit; a [`Receipt`] to whoever asked for one.
//! - Owns: one partition of the consumer `ingest`. While a batch is being committed the next one is pulled and decoded,
//!   so concurrent requests share a transaction and neither side waits for the other.
//! - On failure: a store that is away is told to callers that wait, and tried again for publishers that do not; an event
//!   that can never be applied becomes a dead letter and does not hold up the others.
//! - On shutdown: settles the batch at hand, then stops; the rest stays in the log.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::json;
use tokio::sync::{Notify, oneshot};
use tracing::{error, info, warn};
use ulex_actors::{Observe, Shutdown};
use ulex_domain::Event;
use ulex_nats::bus::{AppendOptions, Delivery, Puller};
use ulex_nats::changes::Changes;
use ulex_nats::dead_letters::DeadLetter;
use ulex_nats::events::{EventEnvelope, Receipt, ReceiptError};
use ulex_nats::topology::INGEST;
use ulex_nats::transport::{Message, RECEIPT_HEADER, RawDelivery};
use ulex_nats::{Bus, BusError};
use ulex_recommenders::service::Recommender;
use ulex_storage::StorageError;
use ulex_storage::data::{Outcome, Submission};

/// How long one pull waits before it looks around.
const PULL_WAIT: Duration = Duration::from_secs(1);
/// Pause after a failure of the bus or the store.
const PAUSE: Duration = Duration::from_millis(200);
/// Requests in one pull.
const MESSAGES: usize = 256;

/// What an ingester needs.
#[derive(Clone)]
pub struct IngestParts {
    /// The bus.
    pub bus: Bus,
    /// The store, the catalogue and the cache that answers are made from.
    pub recommender: Recommender,
    /// Rows in one transaction.
    pub batch_rows: usize,
}

#[derive(Debug, Default)]
struct Counts {
    applied: u64,
    rows: u64,
    batches: u64,
    duplicates: u64,
    dead: u64,
    failures: u64,
}

/// See the module documentation.
pub struct Ingest {
    parts: IngestParts,
    counts: Rc<RefCell<Counts>>,
    stop: Rc<Notify>,
    stopping: Rc<RefCell<bool>>,
    settled: Option<oneshot::Receiver<()>>,
}

impl Ingest {
    /// Prepares an ingester; it begins to pull when it is started.
    #[must_use]
    pub fn new(parts: IngestParts) -> Self {
        Self { parts, counts: Rc::default(), stop: Rc::default(), stopping: Rc::default(), settled: None }
    }
}

impl Actor for Ingest {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (done, settled) = oneshot::channel();
        self.settled = Some(settled);
        let worker = Worker {
            parts: self.parts.clone(),
            counts: Rc::clone(&self.counts),
            stop: Rc::clone(&self.stop),
            stopping: Rc::clone(&self.stopping),
        };
        let work = async move {
            worker.run().await;
            let _ = done.send(());
        };
        ctx.spawn(work.into_actor(self));
    }
}

impl Handler<Observe> for Ingest {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        let counts = self.counts.borrow();
        MessageResult(json!({
            "applied": counts.applied,
            "rows": counts.rows,
            "batches": counts.batches,
            "duplicates": counts.duplicates,
            "dead": counts.dead,
            "failures": counts.failures,
        }))
    }
}

impl Handler<Shutdown> for Ingest {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
        *self.stopping.borrow_mut() = true;
        self.stop.notify_one();
        let settled = self.settled.take();
        let wait = async move {
            if let Some(settled) = settled {
                let _ = settled.await;
            }
        };
        Box::pin(wait.into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}

/// A pulled event: what it says, and what settles it.
type Pulled = (Result<EventEnvelope, BusError>, Box<dyn RawDelivery>);
type Batch = Vec<Pulled>;

struct Worker {
    parts: IngestParts,
    counts: Rc<RefCell<Counts>>,
    stop: Rc<Notify>,
    stopping: Rc<RefCell<bool>>,
}

impl Worker {
    async fn run(self) {
        let mut puller = loop {
            match self.parts.bus.puller(&INGEST).await {
                Ok(puller) => break puller,
                Err(BusError::Closed) => return,
                Err(reason) => self.pause("cannot open the log", &reason).await,
            }
            if *self.stopping.borrow() {
                return;
            }
        };
        let mut next: Option<Batch> = None;
        while !*self.stopping.borrow() {
            let batch = match next.take() {
                Some(batch) => batch,
                None => match self.pull(&mut puller).await {
                    Ok(batch) => batch,
                    Err(BusError::Closed) => return,
                    Err(reason) => {
                        self.pause("cannot pull events", &reason).await;
                        continue;
                    }
                },
            };
            if batch.is_empty() {
                continue;
            }
            // The next batch is pulled and decoded while this one is being committed.
            let mut apply = std::pin::pin!(self.apply(batch));
            tokio::select! {
                () = &mut apply => {}
                pulled = self.pull(&mut puller) => {
                    next = pulled.ok();
                    apply.await;
                }
            }
        }
        // Whatever was pulled ahead goes back to the log at once.
        for (_, delivery) in next.into_iter().flatten() {
            let _ = delivery.nak(Duration::ZERO).await;
        }
    }

    /// Waits for events, at most [`PULL_WAIT`] or until asked to stop.
    async fn pull(&self, puller: &mut Puller<EventEnvelope>) -> Result<Batch, BusError> {
        tokio::select! {
            biased;
            () = self.stop.notified() => Ok(Vec::new()),
            pulled = puller.pull(MESSAGES, PULL_WAIT) => {
                pulled.map(|batch| batch.into_iter().map(Delivery::into_parts).collect())
            }
        }
    }

    async fn pause(&self, what: &str, reason: &BusError) {
        self.counts.borrow_mut().failures += 1;
        warn!(%reason, "{what}");
        tokio::time::sleep(PAUSE).await;
    }

    /// Applies a batch in transactions of about `batch_rows` rows and settles every delivery of it.
    async fn apply(&self, batch: Batch) {
        let mut group = Group::default();
        for (body, delivery) in batch {
            let envelope = match body {
                Ok(envelope) => envelope,
                Err(reason) => {
                    self.bury(delivery.as_ref(), "malformed", &reason.to_string()).await;
                    continue;
                }
            };
            let size = size(&envelope.event);
            if group.rows + size > self.parts.batch_rows && !group.deliveries.is_empty() {
                self.commit(std::mem::take(&mut group)).await;
            }
            group.rows += size;
            group.submissions.push(submission(envelope));
            group.deliveries.push(delivery);
        }
        if !group.deliveries.is_empty() {
            self.commit(group).await;
        }
    }

    /// One transaction. If the store refuses it as a whole, each event is tried alone, so one bad event harms no other.
    async fn commit(&self, group: Group) {
        let Group { submissions, deliveries, .. } = group;
        match self.parts.recommender.data().apply(submissions).await {
            Err(reason) if !reason.is_transient() && deliveries.len() > 1 => {
                for delivery in &deliveries {
                    let again = ulex_nats::bus::decode::<EventEnvelope>(delivery.message()).map(submission);
                    let alone = std::slice::from_ref(delivery);
                    match again {
                        Ok(submission) => {
                            let result = self.parts.recommender.data().apply(vec![submission]).await;
                            self.settle(alone, result).await;
                        }
                        Err(reason) => self.bury(delivery.as_ref(), "malformed", &reason.to_string()).await,
                    }
                }
            }
            result => self.settle(&deliveries, result).await,
        }
    }

    async fn settle(&self, group: &[Box<dyn RawDelivery>], result: Result<Vec<Outcome>, StorageError>) {
        match result {
            Ok(outcomes) => self.applied(group, outcomes).await,
            Err(reason) if reason.is_transient() => {
                error!(%reason, cause = ?reason, events = group.len(), "the data store cannot be written to");
                self.counts.borrow_mut().failures += 1;
                for delivery in group {
                    self.postpone(delivery.as_ref(), &reason.to_string()).await;
                }
            }
            Err(reason) => {
                for delivery in group {
                    self.bury(delivery.as_ref(), "rejected", &reason.to_string()).await;
                }
            }
        }
    }

    /// In this order: what this process answers from, the change for everybody else, the receipts, the acknowledgements.
    async fn applied(&self, group: &[Box<dyn RawDelivery>], outcomes: Vec<Outcome>) {
        let mut changes = Changes::default();
        let mut receipts = Vec::with_capacity(group.len());
        for (delivery, outcome) in group.iter().zip(outcomes) {
            receipts.push(Receipt {
                sequence: delivery.sequence(),
                rows_deleted: outcome.rows_deleted,
                duplicate: outcome.duplicate,
                error: None,
            });
            self.counts.borrow_mut().duplicates += u64::from(outcome.duplicate);
            changes.changes.extend(outcome.changes);
        }
        changes.rows = changes.changes.iter().map(rows_of).sum();
        if let Err(reason) = self.parts.recommender.applied(&changes.changes).await {
            warn!(%reason, "the cache could not be told of a change");
        }
        if !changes.changes.is_empty()
            && let Err(reason) = self.parts.bus.append(&changes, AppendOptions::default()).await
        {
            warn!(%reason, "a change could not be announced");
        }
        {
            let mut counts = self.counts.borrow_mut();
            counts.applied += group.len() as u64;
            counts.rows += changes.rows;
            counts.batches += 1;
        }
        for (delivery, receipt) in group.iter().zip(receipts) {
            self.answer(delivery.as_ref(), &receipt).await;
            if let Err(reason) = delivery.ack().await {
                warn!(%reason, "an applied event could not be acknowledged");
            }
        }
    }

    async fn answer(&self, delivery: &dyn RawDelivery, receipt: &Receipt) {
        let Some(inbox) = receipt_to(delivery.message()) else { return };
        if let Err(reason) = self.parts.bus.send_to(inbox, receipt).await {
            warn!(%reason, "a receipt could not be sent");
        }
    }

    /// A caller that waits is told, and the event is dropped: it must not take effect after a failure was reported. An
    /// event nobody waits for is delivered again.
    async fn postpone(&self, delivery: &dyn RawDelivery, reason: &str) {
        let settled = if receipt_to(delivery.message()).is_some() {
            let error = ReceiptError { code: "unavailable".to_owned(), message: reason.to_owned() };
            let sequence = delivery.sequence();
            self.answer(delivery, &Receipt { sequence, error: Some(error), ..Receipt::default() }).await;
            delivery.term().await
        } else {
            delivery.nak(PAUSE).await
        };
        if let Err(reason) = settled {
            warn!(%reason, "an event could not be settled");
        }
    }

    async fn bury(&self, delivery: &dyn RawDelivery, code: &str, reason: &str) {
        self.counts.borrow_mut().dead += 1;
        info!(sequence = delivery.sequence(), code, reason, "an event can never be applied");
        let error = ReceiptError { code: code.to_owned(), message: reason.to_owned() };
        let place = (delivery.sequence(), delivery.attempt());
        let letter = DeadLetter::of(delivery.message(), place, code, reason.to_owned());
        if let Err(reason) = self.parts.bus.append(&letter, AppendOptions::default()).await {
            warn!(%reason, "a dead letter could not be kept");
        }
        let sequence = delivery.sequence();
        self.answer(delivery, &Receipt { sequence, error: Some(error), ..Receipt::default() }).await;
        if let Err(reason) = delivery.term().await {
            warn!(%reason, "a dead event could not be settled");
        }
    }
}

/// What goes into one transaction.
#[derive(Default)]
struct Group {
    submissions: Vec<Submission>,
    deliveries: Vec<Box<dyn RawDelivery>>,
    rows: usize,
}

fn submission(envelope: EventEnvelope) -> Submission {
    Submission { event_id: envelope.event_id, position: None, event: envelope.event }
}

/// Where the publisher waits for a receipt, if it does.
fn receipt_to(message: &Message) -> Option<&str> {
    message.headers.get(RECEIPT_HEADER).map(String::as_str)
}

/// Rows of the store that an event may touch, for the size of a transaction.
fn size(event: &Event) -> usize {
    match event {
        Event::PutUsers { users } => users.len(),
        Event::PutItems { items } => items.len(),
        Event::PutFeedback { rows, .. } => rows.len(),
        Event::PatchUser { .. }
        | Event::DeleteUser { .. }
        | Event::PatchItem { .. }
        | Event::SetCategory { .. }
        | Event::DeleteItem { .. }
        | Event::DeleteFeedback { .. } => 1,
    }
}

fn rows_of(change: &ulex_domain::Change) -> u64 {
    use ulex_domain::Change;
    let rows = match change {
        Change::Users { user_ids } => user_ids.len(),
        Change::Items { items } => items.len(),
        Change::Feedback { pairs } => pairs.len(),
        Change::UserDeleted { .. } | Change::ItemDeleted { .. } => 1,
    };
    rows as u64
}
