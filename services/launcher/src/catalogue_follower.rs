//! Keeps what this process knows of items current with what other processes apply.
//!
//! - Receives: [`Observe`], [`Shutdown`]; reads the stream `CHANGES`.
//! - Announces: the position up to which it has come, to whoever waits for it.
//! - Owns: that position.
//! - On failure: a bus that is away is waited for; if the stream has forgotten what comes next, or another one has taken its
//!   place, all items are read from the data store again, and nothing is followed before they were.
//! - On shutdown: stops reading.
//!
//! It begins behind the position that the stream had before the catalogue was loaded, so nothing lies between. States carry
//! versions, so one that is older than what this process knows, because it applied more itself, changes nothing.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::json;
use smol_str::SmolStr;
use tokio::sync::watch;
use tracing::{info, warn};
use ulex_actors::{Observe, Shutdown};
use ulex_nats::bus::Read;
use ulex_nats::changes::Changes;
use ulex_nats::topology::CHANGES;
use ulex_nats::{Bus, Followed, Follower, StreamPosition, follow};
use ulex_recommenders::service::Recommender;
use ulex_storage::StorageError;

/// Pause before the items are read from the data store again.
const RELOAD_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// What a follower needs.
#[derive(Clone)]
pub struct FollowerParts {
    /// The bus.
    pub bus: Bus,
    /// Whose catalogue is kept current.
    pub recommender: Recommender,
    /// How far it has come; where it begins.
    pub position: Arc<watch::Sender<u64>>,
    /// Which stream that is a position of.
    pub log: SmolStr,
}

/// Actor that keeps the catalogue current.
pub struct CatalogueFollower {
    parts: FollowerParts,
}

impl CatalogueFollower {
    /// Prepares the actor.
    #[must_use]
    pub const fn new(parts: FollowerParts) -> Self {
        Self { parts }
    }
}

impl Actor for CatalogueFollower {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let parts = self.parts.clone();
        let position = StreamPosition { log: parts.log.clone(), sequence: *parts.position.borrow() };
        let follower = follow(parts.bus.clone(), &CHANGES, Some(position));
        ctx.spawn(follow_changes(parts, follower).into_actor(self));
    }
}

async fn follow_changes(parts: FollowerParts, mut follower: Follower<Changes>) {
    while let Ok(followed) = follower.next().await {
        match followed {
            Followed::Messages(messages) => messages.iter().for_each(|message| apply(&parts, message)),
            Followed::Gap => {
                while let Err(reason) = reload(&parts).await {
                    warn!(%reason, "catalogue cannot be loaded again, trying again");
                    tokio::time::sleep(RELOAD_RETRY_INTERVAL).await;
                }
            }
        }
        if let Some(position) = follower.position() {
            parts.position.send_replace(position.sequence);
        }
    }
}

async fn reload(parts: &FollowerParts) -> Result<(), StorageError> {
    let items = parts.recommender.catalogue().load(parts.recommender.data().as_ref()).await?;
    info!(items, "catalogue loaded again: the stream has forgotten changes");
    Ok(())
}

fn apply(parts: &FollowerParts, message: &Read<Changes>) {
    match &message.body {
        Ok(changes) => parts.recommender.followed(&changes.changes),
        Err(reason) => warn!(%reason, "unreadable change"),
    }
}

impl Handler<Observe> for CatalogueFollower {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({ "position": *self.parts.position.borrow() }))
    }
}

impl Handler<Shutdown> for CatalogueFollower {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
