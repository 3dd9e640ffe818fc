//! Stops actors in a declared order, each within its time.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Handler};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{Guarded, Shutdown};

type Settling = Pin<Box<dyn Future<Output = ()>>>;

/// One thing to stop.
pub struct Stop {
    name: &'static str,
    within: Duration,
    begin: Box<dyn FnOnce() -> Settling>,
}

impl Stop {
    /// Stops the actor in a place; done when it has settled.
    #[must_use]
    pub fn actor<A>(name: &'static str, within: Duration, place: Guarded<A>) -> Self
    where
        A: Actor + Handler<Shutdown>,
        A::Context: ToEnvelope<A, Shutdown>,
    {
        Self::new(name, within, move || async move {
            if let Some(addr) = place.addr() {
                // An actor that is gone has stopped.
                let _ = addr.send(Shutdown).await;
            }
        })
    }

    /// Stops something else.
    #[must_use]
    pub fn new<F: Future<Output = ()> + 'static>(
        name: &'static str,
        within: Duration,
        begin: impl FnOnce() -> F + 'static,
    ) -> Self {
        Self { name, within, begin: Box::new(move || Box::pin(begin())) }
    }
}

/// What is stopped, first to last.
#[derive(Default)]
pub struct StopOrder(Vec<Stop>);

impl StopOrder {
    /// Stops this after everything added so far.
    pub fn then(&mut self, stop: Stop) {
        self.0.push(stop);
    }

    /// Stops one after the other; returns the names of those that did not settle in their time.
    pub async fn run(self) -> Vec<&'static str> {
        let mut late = Vec::new();
        for Stop { name, within, begin } in self.0 {
            if timeout(within, begin()).await.is_ok() {
                info!(part = name, "stopped");
            } else {
                warn!(part = name, "did not stop in its time");
                late.push(name);
            }
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    type Log = Rc<RefCell<Vec<&'static str>>>;

    fn logging(name: &'static str, log: &Log) -> Stop {
        let log = Rc::clone(log);
        Stop::new(name, Duration::from_secs(1), move || async move { log.borrow_mut().push(name) })
    }

    #[tokio::test(start_paused = true)]
    async fn stops_in_order_and_names_who_was_late() {
        let (log, mut order) = (Log::default(), StopOrder::default());
        order.then(logging("first", &log));
        order.then(Stop::new("stuck", Duration::from_secs(1), std::future::pending));
        order.then(logging("second", &log));
        assert_eq!(order.run().await, ["stuck"]);
        assert_eq!(*log.borrow(), ["first", "second"]);
    }
}
