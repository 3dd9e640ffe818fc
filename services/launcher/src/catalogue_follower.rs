//! Keeps what this process knows of items current with what other processes apply.
//!
//! - Receives: [`Observe`], [`Shutdown`]; reads the stream `CHANGES`.
//! - Announces: the position up to which it has come, to whoever waits for it.
//! - Owns: that position.
//! - On failure: a bus that is away is waited for; if the stream has forgotten what comes next, or another one has taken its
//!   place, all items are read from the data store again, and nothing is followed before they were.
//! - On shutdown: stops reading.
//!
//! It begins behind the position that the stream had before the catalogue was loaded, so nothing lies between. What this
//! process has applied itself, it knows already, and more recently than a message about it can say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use serde_json::json;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};
use ulex_actors::{Observe, Shutdown};
use ulex_nats::bus::Read;
use ulex_nats::changes::Changes;
use ulex_nats::topology::CHANGES;
use ulex_nats::transport::{NODE_HEADER, ReadFrom};
use ulex_nats::{Bus, BusError};
use ulex_recommenders::service::Recommender;
use ulex_storage::StorageError;

/// How long one read waits.
const READ_WAIT: Duration = Duration::from_secs(1);
/// Changes read at a time.
const READ_MAX: usize = 1_000;
/// How often it looks whether this still is the stream it was, while nothing comes.
const LOOK: Duration = Duration::from_secs(5);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// What a follower needs.
#[derive(Clone)]
pub struct FollowerParts {
    /// The bus.
    pub bus: Bus,
    /// Whose catalogue is kept current.
    pub recommender: Recommender,
    /// Name of this process.
    pub node: String,
    /// How far it has come; where it begins.
    pub position: Arc<watch::Sender<u64>>,
    /// Which stream that is a position of.
    pub log: String,
}

/// Why following has ended.
#[derive(Debug, Error)]
enum FollowError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("the catalogue cannot be loaded again: {0}")]
    Store(#[from] StorageError),
}

/// See the module documentation.
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

/// Where the stream ends now, and which one it is: load the catalogue after this, and follow from here.
///
/// # Errors
///
/// Whatever the bus reports.
pub async fn present_position(bus: &Bus) -> Result<(u64, String), BusError> {
    let state = bus.stream_state(&CHANGES.name).await?;
    Ok((state.last_sequence, state.log.to_string()))
}

impl Actor for CatalogueFollower {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (parts, own) = (self.parts.clone(), ctx.address());
        let following = async move {
            let mut log = parts.log.clone();
            while own.connected() {
                match follow(&parts, &mut log, &own).await {
                    Err(FollowError::Bus(BusError::Closed)) => return,
                    Err(reason) => warn!(%reason, "the changes of other processes cannot be followed"),
                    Ok(()) => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        ctx.spawn(following.into_actor(self));
    }
}

async fn follow(
    parts: &FollowerParts,
    log: &mut String,
    own: &Addr<CatalogueFollower>,
) -> Result<(), FollowError> {
    let mut looked = Instant::now();
    let (last, present) = present_position(&parts.bus).await?;
    if present != *log {
        reload(parts).await?;
        parts.position.send_replace(last);
        *log = present;
    }
    let next = *parts.position.borrow() + 1;
    let mut reader = parts.bus.reader::<Changes>(&CHANGES.name, ReadFrom::Sequence(next)).await?;
    while own.connected() {
        let batch = reader.read(READ_MAX, READ_WAIT).await?;
        if batch.is_empty() && looked.elapsed() >= LOOK {
            looked = Instant::now();
            if present_position(&parts.bus).await?.1 != *log {
                return Ok(());
            }
        }
        for message in batch {
            // Every position of this stream is a message of ours or of another tenant; a gap may be either.
            let position = *parts.position.borrow();
            if message.sequence > position + 1 && forgotten(parts, position).await? {
                reload(parts).await?;
            }
            take(parts, &message);
            parts.position.send_replace(message.sequence);
        }
    }
    Ok(())
}

/// Whether the stream does not hold everything behind `position` any more.
async fn forgotten(parts: &FollowerParts, position: u64) -> Result<bool, BusError> {
    let state = parts.bus.stream_state(&CHANGES.name).await?;
    Ok(state.last_sequence.saturating_sub(state.messages) > position)
}

async fn reload(parts: &FollowerParts) -> Result<(), StorageError> {
    let items = parts.recommender.catalogue().load(parts.recommender.data().as_ref()).await?;
    info!(items, "catalogue loaded again: the stream has forgotten changes");
    Ok(())
}

fn take(parts: &FollowerParts, message: &Read<Changes>) {
    if message.message.headers.get(NODE_HEADER) == Some(&parts.node) {
        return;
    }
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
