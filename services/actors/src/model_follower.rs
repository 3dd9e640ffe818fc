//! Follows the live pointer and swaps to the ModelSet it names.
//!
//! - Receives: [`Observe`], [`Shutdown`]; watches the bucket `registry`.
//! - Announces: [`ModelChanged`] with the decoded ModelSet, once for each swap.
//! - Owns: which ModelSet is in use here.
//! - On failure: a ModelSet that is absent, not the one that was published, or cannot be decoded is reported and the one
//!   in use stays; unless the pointer moves on, it is tried again after a pause.
//! - On shutdown: stops watching.
//!
//! One ModelSet is fetched and decoded at a time, off this actor's thread, so it always answers. Of pointers that come
//! meanwhile only the last is followed, and never one that is older than the one in use.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use metrics::counter;
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
    /// What is being fetched.
    loading: Option<LivePointer>,
    /// What to fetch next.
    wanted: Option<LivePointer>,
    swaps: u64,
    failures: u64,
}

impl<T: Send + Sync + 'static> ModelFollower<T> {
    /// Prepares the actor.
    #[must_use]
    pub const fn new(bus: Bus, decode: Decode<T>, listener: Outlet<ModelChanged<T>>) -> Self {
        Self { bus, decode, listener, in_use: None, loading: None, wanted: None, swaps: 0, failures: 0 }
    }

    /// Remembers a pointer, if it leads anywhere new, and follows it as soon as nothing else is being loaded.
    fn want(&mut self, pointer: LivePointer, ctx: &mut Context<Self>) {
        let known = [&self.in_use, &self.loading, &self.wanted].into_iter().flatten();
        if known.into_iter().any(|known| known.epoch >= pointer.epoch) {
            return;
        }
        self.wanted = Some(pointer);
        self.load_wanted(ctx);
    }

    fn load_wanted(&mut self, ctx: &mut Context<Self>) {
        if self.loading.is_some() {
            return;
        }
        let Some(pointer) = self.wanted.take() else { return };
        self.loading = Some(pointer.clone());
        let (bus, decode) = (self.bus.clone(), Arc::clone(&self.decode));
        let load = async move { (load(&bus, decode, &pointer).await, pointer) };
        ctx.spawn(load.into_actor(self).map(|(loaded, pointer), follower, ctx| {
            follower.loading = None;
            follower.finish(pointer, loaded, ctx);
            follower.load_wanted(ctx);
        }));
    }

    fn finish(&mut self, pointer: LivePointer, loaded: Result<T, String>, ctx: &mut Context<Self>) {
        match loaded {
            Ok(model) => {
                info!(model_set = pointer.model_set, epoch = pointer.epoch, "using another ModelSet");
                self.swaps += 1;
                counter!("ulex_model_swaps_total").increment(1);
                self.in_use = Some(pointer.clone());
                self.listener.send(ModelChanged { model: Arc::new(model), pointer });
            }
            Err(reason) => {
                error!(model_set = pointer.model_set, reason, "a ModelSet cannot be used, the old one stays");
                self.failures += 1;
                counter!("ulex_model_swap_failures_total").increment(1);
                ctx.run_later(PAUSE * 10, |follower, ctx| follower.want(pointer, ctx));
            }
        }
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
                let ended = watch(&bus, &own).await;
                ended.unwrap_or_else(|reason| warn!(%reason, "cannot watch the live pointer"));
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
        self.want(pointer, ctx);
    }
}

async fn load<T: Send + 'static>(bus: &Bus, decode: Decode<T>, pointer: &LivePointer) -> Result<T, String> {
    let objects = bus.objects(MODELS).await.map_err(|reason| reason.to_string())?;
    let bytes = objects.get_exactly(&pointer.object, &pointer.digest).await;
    let bytes = bytes.map_err(|reason| reason.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("there is no object {}", pointer.object))?;
    let decoded = tokio::task::spawn_blocking(move || decode(bytes)).await;
    decoded.unwrap_or_else(|_panic| Err("decoding panicked".to_owned()))
}

impl<T: Send + Sync + 'static> Handler<Observe> for ModelFollower<T> {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({
            "model_set": self.in_use.as_ref().map(|pointer| pointer.model_set.clone()),
            "loading": self.loading.as_ref().map(|pointer| pointer.model_set.clone()),
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

#[cfg(test)]
mod tests;
