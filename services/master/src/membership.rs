//! Who is alive: what the bucket `members` says.
//!
//! - Receives: [`Members`], [`Observe`], [`Shutdown`]; watches the bucket, whose keys vanish when a heartbeat stays out.
//! - Announces: nothing.
//! - Owns: the last heartbeat of every process.
//! - On failure: watches again; until then the last known state stands.
//! - On shutdown: stops watching.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use serde_json::json;
use tracing::{info, warn};
use ulex_actors::{Observe, Shutdown};
use ulex_nats::bus::{Bucket, Changed};
use ulex_nats::membership::Heartbeat;
use ulex_nats::topology::members;
use ulex_nats::{Bus, BusError};

/// Pause before watching again.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is alive, by node.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<Heartbeat>")]
pub struct Members;

/// See the module documentation.
pub struct Membership {
    bus: Bus,
    meta_timeout: Duration,
    alive: BTreeMap<String, Heartbeat>,
}

impl Membership {
    /// Prepares the actor.
    #[must_use]
    pub const fn new(bus: Bus, meta_timeout: Duration) -> Self {
        Self { bus, meta_timeout, alive: BTreeMap::new() }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Seen(Changed<Heartbeat>);

impl Actor for Membership {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (bus, meta_timeout, own) = (self.bus.clone(), self.meta_timeout, ctx.address());
        let watching = async move {
            while own.connected() {
                if let Err(reason) = watch(&bus, meta_timeout, &own).await {
                    warn!(%reason, "cannot watch the members");
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        ctx.spawn(watching.into_actor(self));
    }
}

async fn watch(bus: &Bus, meta_timeout: Duration, own: &Addr<Membership>) -> Result<(), BusError> {
    let bucket: Bucket<Heartbeat> = bus.bucket(&members(meta_timeout)).await?;
    let mut watch = bucket.watch().await?;
    while let Some(change) = watch.next().await {
        match change {
            Ok(change) => {
                if own.send(Seen(change)).await.is_err() {
                    return Ok(());
                }
            }
            Err(reason) => warn!(%reason, "unreadable heartbeat"),
        }
    }
    Ok(())
}

impl Handler<Seen> for Membership {
    type Result = ();

    fn handle(&mut self, Seen(change): Seen, _: &mut Context<Self>) {
        match change {
            Changed::Put(stored) => {
                if self.alive.insert(stored.key.clone(), stored.value).is_none() {
                    info!(node = stored.key, "a process has joined");
                }
            }
            Changed::Gone { key } => {
                if self.alive.remove(&key).is_some() {
                    info!(node = key, "a process is gone");
                }
            }
        }
    }
}

impl Handler<Members> for Membership {
    type Result = MessageResult<Members>;

    fn handle(&mut self, _: Members, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.alive.values().cloned().collect())
    }
}

impl Handler<Observe> for Membership {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({ "alive": self.alive.len() }))
    }
}

impl Handler<Shutdown> for Membership {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
