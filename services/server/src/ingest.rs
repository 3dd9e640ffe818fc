//! Applies the log to the data store. One ingester of a deployment works at a time; any number stand by.
//!
//! - Receives: [`Observe`], [`Shutdown`]; pulls the messages of the stream `EVENTS`, see [`crate::published`].
//! - Announces: [`ulex_nats::changes::Changes`] on the bus, after the commit; a [`ulex_nats::events::Receipt`] to
//!   whoever asked for one; a [`ulex_nats::dead_letters::DeadLetter`] for what can never be applied.
//! - Owns: the consumer `ingest`, while it is the one that works.
//! - On failure: a store that is away is told to callers that wait, and tried again, with growing pauses, for
//!   publishers that do not; an event that can never be applied becomes a dead letter and does not hold up the others.
//!
//! Three stages, each with its own state: `EventReader` pulls and reads ahead, `Committer` applies, `Settler` tells and
//! acknowledges. `IngestDriver` commits a group while the one before it is settled.
//! - On shutdown: settles the batch at hand, then stops; the rest stays in the log.
//!
//! # Exactly once, at every crash
//! A batch goes through these steps; the process may end after any of them, and the bus may fail in any of them.
//!
//! 1. *Pulled.* Nothing has happened. Unsettled, it is delivered again, in order, to whoever takes over.
//! 2. *Committed.* The events, their ids in the ledger and the position of the last one are one transaction. Whoever
//!    gets the batch again finds each position taken: no event takes effect twice, also those without an id. An
//!    ingester that was taken for dead and wakes up finds the same.
//! 3. *The cache of this deployment told.* If the crash came before, the batch comes again: a duplicate is treated like
//!    something new from here on. What it changed is read off the event and the store as it is now, because a change
//!    names keys, not values, and may be said twice.
//! 4. *Announced on `CHANGES`.* As before: whoever follows hears of every change at least once.
//! 5. *Receipts sent.* A caller that hears nothing has been told nothing; a retry with its event id is free.
//! 6. *Acknowledged.* Only what went through all the steps. If one of them failed, the batch comes again.
//!
//! A failure of the store ends a batch: what comes behind the failure goes back to the log with it, because a later
//! position in the store would hide an earlier one for ever. For the same reason nothing is acknowledged out of order.
//!
//! # Three outcomes
//! A transaction is applied, certainly not applied, or unknown. What is unknown goes back to the log, and nobody is told
//! anything: when it is delivered again the store says, by its position, whether it was applied, and a change that was
//! committed and never announced is announced then.
//!
//! An event whose caller was told 503 must not take effect, now or in a replay. After a failure it is removed from the log
//! *before* the answer; if that fails, nobody is answered and the event comes again. An event whose caller has stopped
//! waiting, by the duration that travels with it, gives the store its position alone. The store says in that transaction
//! whether the position was reached before; if it was not, no ingester that wakes up can apply the event any more, and
//! only then is the caller told. A dead letter is kept before its event is settled; both happening twice is noticed by the
//! letter's id.

mod announce;
mod checkpoints;
mod committer;
mod disposer;
mod driver;
mod entry;
mod measures;
mod prefetch;
mod reader;
mod server_clock;
mod settler;
mod spans;

use std::cell::RefCell;
use std::rc::Rc;

use actix::prelude::*;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use ulex_actors::{Observe, Shutdown};
use ulex_nats::Bus;
use ulex_recommenders::service::Recommender;

use crate::published::Admission;
use driver::IngestDriver;

/// What an ingester needs.
#[derive(Clone)]
pub struct IngestParts {
    /// The bus.
    pub bus: Bus,
    /// Name of this process.
    pub node: String,
    /// The store, the catalogue and the cache that answers are made from.
    pub recommender: Recommender,
    /// Rows in one transaction.
    pub batch_rows: usize,
    /// What feedback of publishers may create.
    pub admission: Admission,
}

/// Counters that [`Observe`] shows.
#[derive(Debug, Default)]
struct IngestCounters {
    /// Messages.
    applied: u64,
    /// Rows of the store.
    rows: u64,
    /// Transactions.
    batches: u64,
    /// Messages that had no effect because they had it before.
    duplicates: u64,
    /// Messages that became dead letters.
    dead: u64,
    /// Messages taken out of the log because their caller was told 503.
    rejected: u64,
    /// Times that the bus or the store failed.
    failures: u64,
}

/// The actor of an ingester: starts the loop, counts, and ends it.
pub struct Ingest {
    parts: IngestParts,
    counters: Rc<RefCell<IngestCounters>>,
    stop: watch::Sender<bool>,
    settled: Option<oneshot::Receiver<()>>,
}

impl Ingest {
    /// Prepares an ingester; it begins to pull when it is started.
    #[must_use]
    pub fn new(parts: IngestParts) -> Self {
        Self { parts, counters: Rc::default(), stop: watch::Sender::new(false), settled: None }
    }
}

impl Actor for Ingest {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (done, settled) = oneshot::channel();
        self.settled = Some(settled);
        let counters = Rc::clone(&self.counters);
        let driver = IngestDriver::new(self.parts.clone(), counters, self.stop.subscribe());
        let work = async move {
            driver.run().await;
            let _ = done.send(());
        };
        ctx.spawn(work.into_actor(self));
    }
}

impl Handler<Observe> for Ingest {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        let counters = self.counters.borrow();
        MessageResult(json!({
            "applied": counters.applied,
            "rows": counters.rows,
            "batches": counters.batches,
            "duplicates": counters.duplicates,
            "dead": counters.dead,
            "refused": counters.rejected,
            "failures": counters.failures,
        }))
    }
}

impl Handler<Shutdown> for Ingest {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
        self.stop.send_replace(true);
        let settled = self.settled.take();
        let wait = async move {
            if let Some(settled) = settled {
                let _ = settled.await;
            }
        };
        Box::pin(wait.into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}

#[cfg(test)]
mod tests;
