//! Computes one user's list at a time; one predictor for each core that may be used.
//!
//! - Receives: [`Predict`], [`Observe`], [`Shutdown`].
//! - Announces: nothing; the list goes into the cache.
//! - Owns: its thread's memory for computing. It lives on an arbiter of its own, so computing there holds up nobody.
//! - On failure: the caller learns why and asks again.
//! - On shutdown: stops at once; jobs under way are waited for by whoever sent them.

use actix::prelude::*;
use serde_json::json;
use tracing::{Instrument as _, Span};
use ulex_actors::{Observe, Shutdown, yield_to_requests};
use ulex_domain::UserId;
use ulex_recommenders::service::Recommender;

/// Compute and keep the list of one user; answers whether it had to be computed.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<bool, String>")]
pub struct Predict {
    /// Whose list.
    pub user: UserId,
    /// The trace that asked for it.
    pub span: Span,
}

/// See the module documentation.
pub struct Predictor {
    recommender: Recommender,
    computed: u64,
    fresh: u64,
    failed: u64,
}

impl Predictor {
    /// Prepares the actor.
    #[must_use]
    pub const fn new(recommender: Recommender) -> Self {
        Self { recommender, computed: 0, fresh: 0, failed: 0 }
    }
}

impl Actor for Predictor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        yield_to_requests();
    }
}

impl Handler<Predict> for Predictor {
    type Result = ResponseActFuture<Self, Result<bool, String>>;

    fn handle(&mut self, Predict { user, span }: Predict, _: &mut Context<Self>) -> Self::Result {
        let recommender = self.recommender.clone();
        let work = async move { recommender.refresh(&user).await }.instrument(span);
        Box::pin(work.into_actor(self).map(|outcome, predictor, _| match outcome {
            Ok(computed) => {
                *(if computed { &mut predictor.computed } else { &mut predictor.fresh }) += 1;
                Ok(computed)
            }
            Err(reason) => {
                predictor.failed += 1;
                Err(reason.to_string())
            }
        }))
    }
}

impl Handler<Observe> for Predictor {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({ "computed": self.computed, "fresh": self.fresh, "failed": self.failed }))
    }
}

impl Handler<Shutdown> for Predictor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
