//! Which ModelSet is live: the quality gate, publishing, history, retention.
//!
//! - Receives: [`Fitted`] from the trainer, [`Observe`], [`Shutdown`].
//! - Announces: the live pointer on the bus, which every process follows; before that [`RefreshOrder`] to the planner.
//! - Owns: the order of publications; ModelSets beyond the newest few are removed, never the live one.
//! - On failure: the live ModelSet stays; the refused one is kept for inspection with its verdict.
//! - On shutdown: finishes a publication under way.

use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use metrics::counter;
use serde_json::json;
use thiserror::Error;
use tracing::{error, info, warn};
use ulex_actors::{ComputePool, Observe, Outlet, Shutdown};
use ulex_algorithms::model_set::ModelSet;
use ulex_domain::Timestamp;
use ulex_nats::bus::{Bucket, Objects};
use ulex_nats::models::{Advance, Candidate, GateVerdict, LIVE_KEY, LivePointer, advance};
use ulex_nats::topology::{MODELS, REGISTRY, VERDICTS};
use ulex_nats::{Bus, BusError};

use crate::gate::{Verdict, judge};
use crate::leadership::{Reign, Throne};
use crate::trainer::Fitted;
use crate::training::Cycled;

/// How often the pointer is moved before giving up because others move it at the same time.
const ATTEMPTS: u32 = 5;

/// Another ModelSet is live, and in use in this process.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct LiveChanged(pub Arc<ModelSet>);

/// In which order users get lists when a ModelSet goes live, if it does.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct RefreshOrder {
    /// Its id.
    pub model_set: String,
    /// The most recently active first.
    pub users: Arc<Vec<String>>,
}

/// Why a ModelSet was not published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Somebody else leads now.
    #[error("a newer lease has published, this master does not lead any more")]
    Fenced,
    /// Its bytes could not be made.
    #[error("{0}")]
    Encoding(String),
}

/// What a registry needs.
#[derive(Clone)]
pub struct RegistryParts {
    /// The bus.
    pub bus: Bus,
    /// Where bytes are made.
    pub pool: Arc<ComputePool>,
    /// ModelSets kept.
    pub keep: usize,
    /// The gate is on.
    pub gate: bool,
    /// The lease under which this master publishes.
    pub reign: Reign,
    /// Where its present state is announced.
    pub throne: Arc<Throne>,
    /// Who has lists refreshed.
    pub planner: Outlet<RefreshOrder>,
}

/// See the module documentation.
pub struct Registry {
    parts: RegistryParts,
    live: Option<String>,
    published: u64,
    refused: u64,
    failures: u64,
}

impl Registry {
    /// Prepares the actor.
    #[must_use]
    pub const fn new(parts: RegistryParts) -> Self {
        Self { parts, live: None, published: 0, refused: 0, failures: 0 }
    }
}

impl Actor for Registry {
    type Context = Context<Self>;
}

enum Done {
    Published(Arc<ModelSet>),
    Refused,
}

impl Handler<Fitted> for Registry {
    type Result = ();

    fn handle(&mut self, Fitted(cycled): Fitted, ctx: &mut Context<Self>) {
        let parts = self.parts.clone();
        let work = async move { take(&parts, *cycled).await };
        // Publications never interleave: the second would be judged against a model that is about to be replaced.
        ctx.wait(work.into_actor(self).map(|outcome, registry, _| match outcome {
            Ok(Done::Published(set)) => {
                counter!("ulex_model_sets_total", "outcome" => "published").increment(1);
                registry.published += 1;
                registry.live = Some(set.id().to_owned());
            }
            Ok(Done::Refused) => {
                counter!("ulex_model_sets_total", "outcome" => "refused").increment(1);
                registry.refused += 1;
            }
            Err(reason) => {
                counter!("ulex_model_sets_total", "outcome" => "failed").increment(1);
                registry.failures += 1;
                error!(%reason, "a ModelSet could not be published, the live one stays");
            }
        }));
    }
}

/// Whether this master still leads, by its own clock.
fn check(parts: &RegistryParts) -> Result<(), PublishError> {
    let reign = *parts.throne.borrow();
    let leads = reign.is_some_and(|reign| reign.token == parts.reign.token && reign.lasts());
    if leads { Ok(()) } else { Err(PublishError::Fenced) }
}

async fn take(parts: &RegistryParts, cycled: Cycled) -> Result<Done, PublishError> {
    check(parts)?;
    let objects = parts.bus.objects(MODELS).await?;
    let registry: Bucket<LivePointer> = parts.bus.bucket(&REGISTRY).await?;
    let verdicts: Bucket<GateVerdict> = parts.bus.bucket(&VERDICTS).await?;
    let verdict = if parts.gate { judge(&cycled) } else { Verdict::ungated() };
    let Cycled { mut set, users, compared_with, .. } = cycled;
    let epoch = registry.get(LIVE_KEY).await?.map_or(0, |live| live.value.epoch);
    set.manifest.epoch = epoch + 1;
    let set = Arc::new(set);
    let bytes = encode(parts, &set).await?;
    let size = bytes.len();
    let info = objects.put(set.id(), bytes).await?;
    let noted = GateVerdict {
        model_set: set.id().to_owned(),
        passed: verdict.passed,
        reasons: verdict.reasons.clone(),
        compared_with,
        metrics: set.manifest.metrics.clone(),
        at: Timestamp::now(),
    };
    verdicts.put(&noted.key(), &noted).await?;
    if !verdict.passed {
        error!(model_set = set.id(), reasons = ?verdict.reasons, "a ModelSet was refused by the gate");
        retire(&objects, &registry, &verdicts, parts.keep).await;
        return Ok(Done::Refused);
    }
    let candidate =
        Candidate { model_set: set.id().to_owned(), object: set.id().to_owned(), digest: info.digest };
    // Before anybody can know that it is live.
    parts.planner.send(RefreshOrder { model_set: set.id().to_owned(), users: Arc::new(users) });
    match go_live(parts, &registry, candidate).await? {
        Advance::Moved(pointer) => {
            info!(model_set = set.id(), epoch = pointer.epoch, bytes = size, "a ModelSet is live");
        }
        Advance::Fenced { .. } => return Err(PublishError::Fenced),
    }
    retire(&objects, &registry, &verdicts, parts.keep).await;
    Ok(Done::Published(set))
}

/// Moves the pointer, again if somebody else has moved it at the same moment: one who rolls back, or a new leader.
async fn go_live(
    parts: &RegistryParts,
    registry: &Bucket<LivePointer>,
    candidate: Candidate,
) -> Result<Advance, PublishError> {
    let mut attempt = 1;
    loop {
        check(parts)?;
        match advance(registry, candidate.clone(), parts.reign.token, Timestamp::now()).await {
            Err(BusError::Conflict { .. }) if attempt < ATTEMPTS => attempt += 1,
            moved => return Ok(moved?),
        }
    }
}

async fn encode(parts: &RegistryParts, set: &Arc<ModelSet>) -> Result<Bytes, PublishError> {
    let set = Arc::clone(set);
    let encoded = parts.pool.run(move || set.to_bytes()).await;
    match encoded {
        Ok(Ok(bytes)) => Ok(Bytes::from(bytes)),
        Ok(Err(reason)) => Err(PublishError::Encoding(reason.to_string())),
        Err(panicked) => Err(PublishError::Encoding(panicked.to_string())),
    }
}

/// Removes ModelSets beyond the newest `keep`, never the live one. Ids sort by age. A failure costs room, nothing else.
async fn retire(
    objects: &Objects,
    registry: &Bucket<LivePointer>,
    verdicts: &Bucket<GateVerdict>,
    keep: usize,
) {
    let live = registry.get(LIVE_KEY).await.ok().flatten().map(|stored| stored.value.object);
    let mut known = match objects.list().await {
        Ok(known) => known,
        Err(reason) => {
            warn!(%reason, "old ModelSets could not be listed");
            return;
        }
    };
    known.sort_by(|a, b| b.name.cmp(&a.name));
    for old in known.into_iter().skip(keep.max(1)).filter(|old| Some(&old.name) != live.as_ref()) {
        let key = verdict_key(&old.name);
        let removed = objects.delete(&old.name).await;
        let forgotten = verdicts.delete(&key).await;
        match removed.and(forgotten) {
            Ok(()) => info!(model_set = old.name, "an old ModelSet was removed"),
            Err(reason) => warn!(%reason, model_set = old.name, "an old ModelSet could not be removed"),
        }
    }
}

fn verdict_key(model_set: &str) -> String {
    let none = GateVerdict {
        model_set: model_set.to_owned(),
        passed: false,
        reasons: Vec::new(),
        compared_with: None,
        metrics: Default::default(),
        at: Timestamp::ZERO,
    };
    none.key()
}

impl Handler<Observe> for Registry {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({
            "live": self.live,
            "published": self.published,
            "refused": self.refused,
            "failures": self.failures,
        }))
    }
}

impl Handler<Shutdown> for Registry {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
