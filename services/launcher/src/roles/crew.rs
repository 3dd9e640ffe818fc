//! Actors that are started, guarded and given up together.

use std::time::Duration;

use actix::{Actor, Arbiter, Handler};
use tokio::task::JoinHandle;
use tracing::error;
use ulex_actors::{Guard, GuardPolicy, Guarded, Observe, Shutdown, Stop, StopOrder};

/// Longest time an actor is given to stop.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(20);

/// See the module documentation.
#[derive(Default)]
pub(super) struct Crew {
    arbiters: Vec<Arbiter>,
    guards: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Starts an actor on an arbiter of its own and guards it.
    pub(super) fn guard<A>(
        &mut self,
        name: &'static str,
        place: &Guarded<A>,
        make: impl Fn() -> A + Send + Clone + 'static,
    ) where
        A: Actor<Context = actix::Context<A>> + Handler<Observe> + Handler<Shutdown>,
    {
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        let start = move || {
            let make = make.clone();
            A::start_in_arbiter(&handle, move |_| make())
        };
        let guard = Guard::start(name, GuardPolicy::default(), place.clone(), start);
        self.guards.push(actix::spawn(async move {
            guard.watch().await;
            error!(
                actor = name,
                "giving up: a process that works by half is worse than one that is restarted"
            );
            actix::System::current().stop_with_code(70);
        }));
        self.arbiters.push(arbiter);
    }

    /// Nobody is replaced any more: whoever stops now is meant to.
    pub(super) fn unguard(&mut self) {
        self.guards.drain(..).for_each(|guard| guard.abort());
    }

    /// Ends the threads, once their actors have stopped.
    pub(super) fn dismiss(self) {
        for arbiter in self.arbiters {
            arbiter.stop();
        }
    }
}

/// One more to stop.
pub(super) fn then<A>(order: &mut StopOrder, name: &'static str, place: &Guarded<A>)
where
    A: Actor<Context = actix::Context<A>> + Handler<Shutdown>,
{
    order.then(Stop::actor(name, STOP_WITHIN, place.clone()));
}
