//! Follows the live pointer and swaps to the ModelSet it names.
//!
//! - Receives: [`Observe`], [`Shutdown`]; watches the bucket `registry`.
//! - Announces: [`ModelChanged`] with the decoded ModelSet, once for each swap.
//! - Owns: which ModelSet is in use here.
//! - On failure: a ModelSet that is absent, truncated or cannot be decoded is reported and the one in use stays; the
//!   pointer is looked at again after a pause.
//! - On shutdown: stops watching.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use serde_json::json;
use tracing::{error, info, warn};
use ulex_nats::bus::{Bucket, Changed};
use ulex_nats::models::{LIVE_KEY, LivePointer};
use ulex_nats::topology::{MODELS, REGISTRY};
use ulex_nats::{Bus, BusError};

use crate::{Observe, Outlet, Shutdown};

/// Pause before watching again.
const PAUSE: Duration = Duration::from_secs(1);

/// This process uses another ModelSet now.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ModelChanged<T: Send + Sync + 'static> {
    /// The ModelSet.
    pub model: Arc<T>,
    /// What named it.
    pub pointer: LivePointer,
}

/// Turns bytes into a ModelSet. Called off the actor's thread.
pub type Decode<T> = Arc<dyn Fn(Bytes) -> Result<T, String> + Send + Sync>;

/// See the module documentation.
pub struct ModelFollower<T: Send + Sync + 'static> {
    bus: Bus,
    decode: Decode<T>,
    listener: Outlet<ModelChanged<T>>,
    in_use: Option<LivePointer>,
    swaps: u64,
    failures: u64,
}

impl<T: Send + Sync + 'static> ModelFollower<T> {
    /// Prepares the actor.
    #[must_use]
    pub const fn new(bus: Bus, decode: Decode<T>, listener: Outlet<ModelChanged<T>>) -> Self {
        Self { bus, decode, listener, in_use: None, swaps: 0, failures: 0 }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Pointed(LivePointer);

impl<T: Send + Sync + 'static> Actor for ModelFollower<T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (bus, own) = (self.bus.clone(), ctx.address());
        let watching = async move {
            while own.connected() {
                if let Err(reason) = watch(&bus, &own).await {
                    warn!(%reason, "cannot watch the live pointer");
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        ctx.spawn(watching.into_actor(self));
    }
}

async fn watch<T: Send + Sync + 'static>(bus: &Bus, own: &Addr<ModelFollower<T>>) -> Result<(), BusError> {
    let bucket: Bucket<LivePointer> = bus.bucket(&REGISTRY).await?;
    let mut watch = bucket.watch().await?;
    while let Some(change) = watch.next().await {
        match change {
            Ok(Changed::Put(stored)) if stored.key == LIVE_KEY => {
                if own.send(Pointed(stored.value)).await.is_err() {
                    return Ok(());
                }
            }
            Ok(Changed::Put(_) | Changed::Gone { .. }) => {}
            Err(reason) => warn!(%reason, "unreadable live pointer"),
        }
    }
    Ok(())
}

impl<T: Send + Sync + 'static> Handler<Pointed> for ModelFollower<T> {
    type Result = ();

    fn handle(&mut self, Pointed(pointer): Pointed, ctx: &mut Context<Self>) {
        if self.in_use.as_ref() == Some(&pointer) {
            return;
        }
        let (bus, decode) = (self.bus.clone(), Arc::clone(&self.decode));
        let object = pointer.object.clone();
        let load = async move { load(&bus, decode, &object).await };
        // Pointers are followed one after the other, so an older ModelSet never replaces a newer one.
        ctx.wait(load.into_actor(self).map(move |loaded, follower, ctx| match loaded {
            Ok(model) => {
                info!(model_set = pointer.model_set, epoch = pointer.epoch, "using another ModelSet");
                follower.swaps += 1;
                follower.in_use = Some(pointer.clone());
                follower.listener.send(ModelChanged { model: Arc::new(model), pointer });
            }
            Err(reason) => {
                error!(model_set = pointer.model_set, reason, "a ModelSet cannot be used, the old one stays");
                follower.failures += 1;
                let failures = follower.failures;
                ctx.run_later(PAUSE * 10, move |follower, ctx| {
                    if follower.failures == failures {
                        ctx.notify(Pointed(pointer));
                    }
                });
            }
        }));
    }
}

async fn load<T: Send + 'static>(bus: &Bus, decode: Decode<T>, object: &str) -> Result<T, String> {
    let objects = bus.objects(MODELS).await.map_err(|reason| reason.to_string())?;
    let bytes = objects.get(object).await.map_err(|reason| reason.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("there is no object {object}"))?;
    let decoded = tokio::task::spawn_blocking(move || decode(bytes)).await;
    decoded.unwrap_or_else(|_panic| Err("decoding panicked".to_owned()))
}

impl<T: Send + Sync + 'static> Handler<Observe> for ModelFollower<T> {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({
            "model_set": self.in_use.as_ref().map(|pointer| pointer.model_set.clone()),
            "swaps": self.swaps,
            "failures": self.failures,
        }))
    }
}

impl<T: Send + Sync + 'static> Handler<Shutdown> for ModelFollower<T> {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
