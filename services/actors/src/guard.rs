//! Keeps an actor alive: replaces one that panicked or does not answer.
//!
//! actix's own supervisor does nothing after a panic and restarts a stopped actor with the state that broke it. A
//! [`Guard`] builds a new actor from its factory instead.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use crate::{Observe, Outlet, Shutdown};

/// How patient a [`Guard`] is.
#[derive(Clone, Copy, Debug)]
pub struct GuardPolicy {
    /// Time between two looks at the actor.
    pub interval: Duration,
    /// An actor that takes longer than this to answer [`Observe`] is stuck and is replaced.
    pub answer_within: Duration,
    /// Replacements in a row, without one good answer between them, before the guard gives up.
    pub max_replacements: u32,
}

impl Default for GuardPolicy {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), answer_within: Duration::from_secs(10), max_replacements: 5 }
    }
}

/// The place of a guarded actor: empty at first, then whatever actor is alive now. Cheap to clone; never keep the
/// [`Addr`] it returns. Actors that know each other are wired by places made before either of them starts.
pub struct Guarded<A: Actor>(Arc<RwLock<Option<Addr<A>>>>);

impl<A: Actor> Clone for Guarded<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Actor> Default for Guarded<A> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<A: Actor> Guarded<A> {
    /// The actor that is alive now; `None` before it was started.
    #[must_use]
    pub fn addr(&self) -> Option<Addr<A>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends messages of one type to whoever is in this place.
    #[must_use]
    pub fn outlet<M>(&self) -> Outlet<M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let place = self.clone();
        Outlet::new(move |message| {
            if let Some(addr) = place.addr() {
                addr.do_send(message);
            }
        })
    }

    fn replace(&self, addr: Addr<A>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(addr);
    }
}

/// Watches one actor for as long as the role runs.
pub struct Guard<A: Actor> {
    name: &'static str,
    policy: GuardPolicy,
    start: Box<dyn Fn() -> Addr<A> + Send>,
    place: Guarded<A>,
}

impl<A> Guard<A>
where
    A: Actor + Handler<Observe> + Handler<Shutdown>,
    A::Context: ToEnvelope<A, Observe> + ToEnvelope<A, Shutdown>,
{
    /// Starts the actor into its place; `start` is called again for every replacement.
    pub fn start(
        name: &'static str,
        policy: GuardPolicy,
        place: Guarded<A>,
        start: impl Fn() -> Addr<A> + Send + 'static,
    ) -> Self {
        place.replace(start());
        Self { name, policy, start: Box::new(start), place }
    }

    /// Watches until the actor has been replaced too often in a row; then the role must end.
    pub async fn watch(self) {
        let mut replacements = 0;
        loop {
            sleep(self.policy.interval).await;
            if self.answers().await {
                replacements = 0;
                continue;
            }
            if replacements == self.policy.max_replacements {
                error!(actor = self.name, replacements, "actor keeps failing, giving up");
                return;
            }
            replacements += 1;
            warn!(actor = self.name, replacements, "actor does not answer, replacing it");
            self.place.replace((self.start)());
        }
    }

    fn answers(&self) -> impl Future<Output = bool> + use<A> {
        let (place, patience) = (self.place.clone(), self.policy.answer_within);
        async move {
            let Some(addr) = place.addr() else { return false };
            matches!(timeout(patience, addr.send(Observe)).await, Ok(Ok(_)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix::Context;
    use serde_json::{Value, json};

    #[derive(Default)]
    struct Fragile {
        seen: u32,
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic;

    impl Actor for Fragile {
        type Context = Context<Self>;
    }

    impl Handler<Panic> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
            panic!("asked to");
        }
    }

    impl Handler<Observe> for Fragile {
        type Result = actix::MessageResult<Observe>;
        fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
            self.seen += 1;
            actix::MessageResult(json!(self.seen))
        }
    }

    impl Handler<Shutdown> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
            actix::ActorContext::stop(ctx);
        }
    }

    async fn observe(place: &Guarded<Fragile>) -> Option<Value> {
        place.addr()?.send(Observe).await.ok()
    }

    #[actix::test]
    async fn a_panic_costs_the_state_and_nothing_else() {
        tokio::time::pause();
        let place = Guarded::default();
        let guard =
            Guard::start("fragile", GuardPolicy::default(), place.clone(), || Fragile::default().start());
        let outlet: Outlet<Panic> = place.outlet();
        actix::spawn(guard.watch());
        assert_eq!(observe(&place).await, Some(json!(1)));

        outlet.send(Panic);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(observe(&place).await, None, "dead until the guard looks");

        sleep(Duration::from_millis(1500)).await;
        assert_eq!(observe(&place).await, Some(json!(1)), "a fresh actor in the same place");
    }

    #[actix::test]
    async fn gives_up_on_an_actor_that_never_answers() {
        tokio::time::pause();
        let dead = || {
            let addr = Fragile::default().start();
            addr.do_send(Panic);
            addr
        };
        let guard = Guard::start("fragile", GuardPolicy::default(), Guarded::default(), dead);
        let gave_up = timeout(Duration::from_secs(60), guard.watch()).await;
        assert!(gave_up.is_ok());
    }
}
