//! Holds the lease to train, or stands by for it.
//!
//! - Receives: [`Observe`], [`Shutdown`].
//! - Announces: its [`Reign`] to whoever watches: when it begins, with every renewal, and when it ends.
//! - Owns: this process's claim to the lease, and a timer that no other work shares.
//! - On failure: a bus that is away is tried again; the lease is kept, by this process's own clock, until its time is up.
//! - On shutdown: gives the lease back, so that another master leads at once.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;
use ulex_actors::{Observe, Shutdown};
use ulex_nats::leases::{FencingToken, Lease, Tenure};

/// The right to train, for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    /// Under this token, from the first day to the last. Whoever reigns later has a higher one.
    pub token: FencingToken,
    /// Until then for certain, by the clock of this process, which also runs while the process is stopped. `None`: for ever.
    pub until: Option<Instant>,
}

impl Reign {
    /// Of a process that is alone.
    pub const ALONE: Self = Self { token: FencingToken(0), until: None };

    /// Whether it has not ended by itself.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// Where a reign is announced; `None` while another process reigns.
pub type Throne = watch::Sender<Option<Reign>>;

/// See the module documentation.
pub struct Leadership {
    /// `None` while it is being stepped.
    lease: Option<Lease>,
    interval: Duration,
    throne: Arc<Throne>,
    leaving: bool,
}

impl Leadership {
    /// Prepares the actor.
    #[must_use]
    pub fn new(lease: Lease, throne: Arc<Throne>) -> Self {
        Self { interval: lease.interval(), lease: Some(lease), throne, leaving: false }
    }

    fn step(&mut self, ctx: &mut Context<Self>) {
        let Some(mut lease) = self.lease.take().filter(|_| !self.leaving) else { return };
        let stepping = async move {
            let tenure = lease.step().await;
            (lease, tenure)
        };
        ctx.spawn(stepping.into_actor(self).map(|(lease, tenure), leadership, _| {
            let before = *leadership.throne.borrow();
            let reign = match tenure {
                Tenure::Standby => None,
                Tenure::Leading(token) => {
                    let token = before.map_or(token, |before| before.token);
                    Some(Reign { token, until: lease.until() })
                }
            };
            if reign.is_some() || before.is_some() {
                leadership.throne.send_replace(reign);
            }
            leadership.lease = Some(lease);
        }));
    }
}

impl Actor for Leadership {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.step(ctx);
        ctx.run_interval(self.interval, Self::step);
    }
}

impl Handler<Observe> for Leadership {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        let reign = *self.throne.borrow();
        MessageResult(json!({
            "leads": reign.is_some_and(|reign| reign.lasts()),
            "token": reign.map(|reign| reign.token),
        }))
    }
}

impl Handler<Shutdown> for Leadership {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
        self.leaving = true;
        self.throne.send_replace(None);
        let lease = self.lease.take();
        let release = async move {
            if let Some(mut lease) = lease
                && let Err(reason) = lease.release().await
            {
                warn!(%reason, "the lease could not be given back; it ends by itself");
            }
        };
        Box::pin(release.into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}

#[cfg(test)]
mod tests;
