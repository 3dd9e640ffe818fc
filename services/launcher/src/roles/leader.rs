//! The actors that only the leading master has: they start when a reign begins and stop when it ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::{info, warn};
use ulex_actors::{Guarded, StopOrder};
use ulex_master::dataset::Dataset;
use ulex_master::leadership::Reign;
use ulex_master::membership::Membership;
use ulex_master::planner::Planner;
use ulex_master::registry::{LiveChanged, Registry, RegistryParts};
use ulex_master::schedule::Policy;
use ulex_master::trainer::{Trainer, TrainerParts};
use ulex_master::training::CycleSettings;
use ulex_nats::BusError;
use ulex_nats::models::fence;
use ulex_nats::topology::REGISTRY;

use super::crew::{Crew, then};
use crate::parts::Parts;

/// How long a new leader tries to put its token on the live pointer.
const FENCE_TRIES: u32 = 20;

/// Where each of these actors is found, whoever it is at present.
#[derive(Clone, Default)]
pub(super) struct LeaderPlaces {
    pub trainer: Guarded<Trainer>,
    registry: Guarded<Registry>,
    dataset: Guarded<Dataset>,
    pub planner: Guarded<Planner>,
    membership: Guarded<Membership>,
}

/// The actors of one reign.
pub(super) struct LeaderCrew {
    crew: Crew,
    places: LeaderPlaces,
    reign: Reign,
}

impl LeaderCrew {
    /// Starts them.
    pub(super) async fn start(parts: &Parts, places: &LeaderPlaces, reign: Reign) -> Self {
        let mut crew = Crew::default();
        let settings = &parts.settings;
        let (bus, store, grown) =
            (parts.bus.clone(), Arc::clone(parts.recommender.data()), places.trainer.outlet());
        crew.guard("dataset", &places.dataset, move || {
            Dataset::new(bus.clone(), Arc::clone(&store), grown.clone())
        });
        let (bus, in_force) = (parts.bus.clone(), Arc::clone(&parts.in_force));
        crew.guard("planner", &places.planner, move || Planner::new(bus.clone(), in_force.borrow().revision));
        let registry_parts = RegistryParts {
            bus: parts.bus.clone(),
            pool: Arc::clone(&parts.pool),
            keep: settings.training.keep,
            gate: settings.training.gate,
            reign,
            throne: Arc::clone(&parts.throne),
            planner: places.planner.outlet(),
        };
        crew.guard("registry", &places.registry, move || Registry::new(registry_parts.clone()));
        let (bus, meta_timeout) = (parts.bus.clone(), settings.master.meta_timeout);
        crew.guard("membership", &places.membership, move || Membership::new(bus.clone(), meta_timeout));
        let trainer_parts = TrainerParts {
            registry: places.registry.outlet(),
            dataset: places.dataset.clone(),
            pool: Arc::clone(&parts.pool),
            tasks: parts.tasks.clone(),
            settings: Arc::new(CycleSettings::new(settings.as_ref().clone())),
            policy: Policy::new(settings),
            rows_at_start: parts.recommender.data().counts().await.map_or(0, |counts| counts.feedback),
        };
        // Last: a trainer may be due at once.
        let in_force = Arc::clone(&parts.in_force);
        crew.guard("trainer", &places.trainer, move || {
            let now = Arc::clone(&in_force.borrow().settings);
            let settings = Arc::new(CycleSettings::new(now.as_ref().clone()));
            Trainer::new(TrainerParts { settings, policy: Policy::new(&now), ..trainer_parts.clone() })
        });
        if let Some(live) = parts.recommender.live() {
            places.trainer.outlet().send(LiveChanged(Arc::clone(&live.set)));
            places.planner.outlet().send(LiveChanged(Arc::clone(&live.set)));
        }
        Self { crew, places: places.clone(), reign }
    }

    /// Lets nobody replace them any more and says in which order they stop.
    pub(super) fn prepare_stop(&mut self, order: &mut StopOrder) {
        self.crew.unguard();
        then(order, "planner", &self.places.planner);
        then(order, "trainer", &self.places.trainer);
        then(order, "registry", &self.places.registry);
        then(order, "dataset", &self.places.dataset);
        then(order, "membership", &self.places.membership);
    }

    /// Ends their threads.
    pub(super) fn dismiss(self) {
        self.crew.dismiss();
    }

    async fn stop(mut self) {
        let mut order = StopOrder::default();
        self.prepare_stop(&mut order);
        let late = order.run().await;
        info!(?late, "this master does not lead any more");
        self.dismiss();
    }
}

/// Starts and stops the leader's actors as reigns come and go.
pub(super) struct Succession {
    following: JoinHandle<()>,
    present: Rc<RefCell<Option<LeaderCrew>>>,
}

impl Succession {
    /// Follows the throne. Must be called inside an actix system.
    pub(super) fn follow(parts: &Parts, places: &LeaderPlaces) -> Self {
        let present = Rc::new(RefCell::new(None::<LeaderCrew>));
        let (parts, places, own) = (parts.clone(), places.clone(), Rc::clone(&present));
        let mut throne = parts.throne.subscribe();
        let following = actix::spawn(async move {
            loop {
                let reign = *throne.borrow_and_update();
                succeed(&parts, &places, &own, reign).await;
                if throne.changed().await.is_err() {
                    return;
                }
            }
        });
        Self { following, present }
    }

    /// Follows no more; whoever leads at present is the caller's to stop.
    pub(super) fn end(self) -> Option<LeaderCrew> {
        self.following.abort();
        self.present.borrow_mut().take()
    }
}

/// Lets whoever leads go and starts the next, if it is another reign.
async fn succeed(
    parts: &Parts,
    places: &LeaderPlaces,
    present: &Rc<RefCell<Option<LeaderCrew>>>,
    reign: Option<Reign>,
) {
    let before = present.borrow().as_ref().map(|crew| crew.reign.token);
    if before == reign.map(|reign| reign.token) {
        return;
    }
    let deposed = present.borrow_mut().take();
    if let Some(deposed) = deposed {
        deposed.stop().await;
    }
    if let Some(reign) = reign {
        info!(token = reign.token.0, "this master leads");
        put_token(parts, reign).await;
        let crew = LeaderCrew::start(parts, places, reign).await;
        *present.borrow_mut() = Some(crew);
    }
}

/// From now on an older leader that wakes up publishes nothing.
async fn put_token(parts: &Parts, reign: Reign) {
    for _ in 0..FENCE_TRIES {
        if !reign.lasts() {
            return;
        }
        let put = async {
            let registry = parts.bus.bucket(&REGISTRY).await?;
            fence(&registry, reign.token).await
        };
        match put.await {
            Ok(()) => return,
            Err(BusError::Conflict { .. }) => {}
            Err(reason) => {
                warn!(%reason, "the token of the new lease could not be put on the live pointer");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    }
}
