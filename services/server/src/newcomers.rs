//! Finds vectors for items that came after the last fit, so that they are recommended to whoever shares their first
//! users' taste.
//!
//! - Receives: [`Observe`], [`Shutdown`].
//! - Announces: nothing; the vectors go to the recommender of this process.
//! - Owns: a timer, and at most one round at a time.
//! - On failure: the items are looked at again in the next round.
//! - On shutdown: stops; what it found is found again after the next start.

use std::time::Duration;

use actix::prelude::*;
use serde_json::json;
use tracing::warn;
use ulex_actors::{Observe, Shutdown};
use ulex_recommenders::service::Recommender;

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(1);

/// See the module documentation.
pub struct Newcomers {
    recommender: Recommender,
    running: bool,
    found: u64,
    failures: u64,
}

impl Newcomers {
    /// Prepares the actor.
    #[must_use]
    pub const fn new(recommender: Recommender) -> Self {
        Self { recommender, running: false, found: 0, failures: 0 }
    }

    fn round(&mut self, ctx: &mut Context<Self>) {
        if self.running {
            return;
        }
        self.running = true;
        let recommender = self.recommender.clone();
        let work = async move { recommender.fold_in_new_items().await };
        ctx.spawn(work.into_actor(self).map(|outcome, actor, _| {
            actor.running = false;
            match outcome {
                Ok(found) => actor.found += found as u64,
                Err(reason) => {
                    actor.failures += 1;
                    warn!(%reason, "new items could not be looked at");
                }
            }
        }));
    }
}

impl Actor for Newcomers {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ulex_actors::yield_to_requests();
        ctx.run_interval(ROUND, Self::round);
    }
}

impl Handler<Observe> for Newcomers {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({ "found": self.found, "failures": self.failures }))
    }
}

impl Handler<Shutdown> for Newcomers {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
