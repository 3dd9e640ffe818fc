//! Pulls refresh jobs no faster than the predictors finish them.
//!
//! - Receives: [`Observe`], [`Shutdown`]; pulls [`RefreshJob`]s from the stream `JOBS`.
//! - Announces: [`Predict`] to the predictors, which take turns.
//! - Owns: the consumer `refresh`; a job is acknowledged after its list is in the cache.
//! - On failure: a job that failed is delivered again after a pause; one whose worker died is delivered again by the bus. So is
//!   one for a ModelSet or settings that are not here yet, a limited number of times.
//! - On shutdown: takes no more jobs, waits for those under way.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use futures_util::stream::{FuturesUnordered, StreamExt};
use metrics::{counter, gauge};
use serde_json::json;
use tokio::sync::{Notify, oneshot};
use tracing::warn;
use ulex_actors::{Guarded, Observe, Shutdown};
use ulex_nats::bus::{Delivery, Puller};
use ulex_nats::refresh::{Basis, RefreshJob};
use ulex_nats::topology::REFRESH;
use ulex_nats::trace_context::continue_trace;
use ulex_nats::{Bus, BusError};

use crate::predictor::{Predict, Predictor};

/// How long one pull waits.
const PULL_WAIT: Duration = Duration::from_secs(1);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a job is put back because this worker does not have its ModelSet or settings yet.
const PATIENCE: u64 = 20;
/// Jobs under way for each predictor.
const PER_PREDICTOR: usize = 16;

/// Tells what lists are made from in this process now.
pub type Here = Arc<dyn Fn() -> Basis + Send + Sync>;

#[derive(Debug, Default)]
struct Counts {
    done: u64,
    failed: u64,
}

/// See the module documentation.
pub struct Jobs {
    bus: Bus,
    here: Here,
    predictors: Vec<Guarded<Predictor>>,
    counts: Rc<RefCell<Counts>>,
    under_way: Arc<AtomicUsize>,
    stop: Rc<Notify>,
    settled: Option<oneshot::Receiver<()>>,
}

impl Jobs {
    /// Prepares the actor; it begins to pull when it is started. `under_way` tells how many jobs are worked on.
    #[must_use]
    pub fn new(
        bus: Bus,
        here: Here,
        predictors: Vec<Guarded<Predictor>>,
        under_way: Arc<AtomicUsize>,
    ) -> Self {
        let (counts, stop) = (Rc::default(), Rc::default());
        Self { bus, here, predictors, counts, under_way, stop, settled: None }
    }
}

impl Actor for Jobs {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (done, settled) = oneshot::channel();
        self.settled = Some(settled);
        let told = (Rc::clone(&self.counts), Arc::clone(&self.under_way));
        let with = (Arc::clone(&self.here), self.predictors.clone());
        let work = work(self.bus.clone(), with, told, Rc::clone(&self.stop));
        let work = async move {
            work.await;
            let _ = done.send(());
        };
        ctx.spawn(work.into_actor(self));
    }
}

async fn work(
    bus: Bus,
    (here, predictors): (Here, Vec<Guarded<Predictor>>),
    (counts, depth): (Rc<RefCell<Counts>>, Arc<AtomicUsize>),
    stop: Rc<Notify>,
) {
    let limit = predictors.len() * PER_PREDICTOR;
    let under_way = gauge!("ulex_refresh_jobs_under_way");
    let mut puller: Option<Puller<RefreshJob>> = None;
    let mut running = FuturesUnordered::new();
    let mut turn = 0;
    loop {
        let free = limit - running.len();
        under_way.set(running.len() as f64);
        depth.store(running.len(), Ordering::Relaxed);
        let pulled = tokio::select! {
            biased;
            () = stop.notified() => break,
            Some(()) = running.next() => continue,
            // Not one by one: a request for messages costs as much as a list.
            pulled = pull(&bus, &mut puller, free), if free * 2 >= limit => pulled,
        };
        match pulled {
            Ok(jobs) => {
                for job in jobs {
                    turn = (turn + 1) % predictors.len();
                    running.push(one(job, here(), predictors[turn].clone(), Rc::clone(&counts)));
                }
            }
            Err(BusError::Closed) => break,
            Err(reason) => {
                warn!(%reason, "refresh jobs could not be pulled");
                puller = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    while running.next().await.is_some() {}
}

async fn pull(
    bus: &Bus,
    puller: &mut Option<Puller<RefreshJob>>,
    max: usize,
) -> Result<Vec<Delivery<RefreshJob>>, BusError> {
    let open = match puller {
        Some(open) => open,
        None => puller.insert(bus.puller(&REFRESH).await?),
    };
    open.pull(max, PULL_WAIT).await
}

async fn one(
    job: Delivery<RefreshJob>,
    here: Basis,
    predictor: Guarded<Predictor>,
    counts: Rc<RefCell<Counts>>,
) {
    let (user, wanted) = match job.body() {
        Ok(body) => (body.user_id.clone(), body.basis),
        Err(reason) => {
            warn!(%reason, "unreadable refresh job");
            let _ = job.term().await;
            return;
        }
    };
    // A list made now would be out of date at once, or be taken for fresh.
    if wanted.is_ahead_of(here) && job.attempt() <= PATIENCE {
        if let Err(reason) = job.nak(PAUSE).await {
            warn!(%reason, "a refresh job could not be put back");
        }
        return;
    }
    let Some(predictor) = predictor.addr() else { return };
    let span = tracing::info_span!("refresh", otel.kind = "consumer", attempt = job.attempt());
    continue_trace(&span, &job.message().headers);
    let predicting = predictor.send(Predict { user, span: span.clone() });
    let settled = match while_saying_so(&job, predicting).await {
        Ok(Ok(computed)) => {
            counts.borrow_mut().done += 1;
            let outcome = if computed { "computed" } else { "fresh" };
            counter!("ulex_refresh_jobs_total", "outcome" => outcome).increment(1);
            job.ack().await
        }
        Ok(Err(reason)) => {
            failed(&counts);
            warn!(reason, "a list could not be refreshed");
            job.nak(PAUSE).await
        }
        Err(_gone) => {
            failed(&counts);
            job.nak(PAUSE).await
        }
    };
    if let Err(reason) = settled {
        warn!(%reason, "a refresh job could not be settled");
    }
}

/// Tells the bus that the job is worked on for as long as it is: a list that takes long must not be made twice.
async fn while_saying_so<T>(job: &Delivery<RefreshJob>, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(REFRESH.ack_wait / 3) => {
                if let Err(reason) = job.in_progress().await {
                    warn!(%reason, "the bus could not be told that a refresh job is worked on");
                }
            }
        }
    }
}

fn failed(counts: &RefCell<Counts>) {
    counts.borrow_mut().failed += 1;
    counter!("ulex_refresh_jobs_total", "outcome" => "failed").increment(1);
}

impl Handler<Observe> for Jobs {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        let counts = self.counts.borrow();
        MessageResult(json!({ "done": counts.done, "failed": counts.failed }))
    }
}

impl Handler<Shutdown> for Jobs {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
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

#[cfg(test)]
mod tests;
