//! Which actors a role has, how each is guarded, and in which order they stop.
//!
//! | actor | role | thread | stops |
//! |---|---|---|---|
//! | HTTP listener | server | actix-web workers | 1st: no new requests, those under way are answered |
//! | Heartbeat | every | its own | 2nd |
//! | Planner | master | master's | 3rd |
//! | Jobs, then Predictors | worker | their own, one for each predictor | 4th, 5th |
//! | Trainer | master | master's; fits on the compute pool | 6th: the fit ends at its next step |
//! | Registry | master | master's | 7th: a publication under way is finished |
//! | Dataset, Membership | master | master's | 8th |
//! | Newcomers, Models | server, worker | their own | 9th |
//! | Ingest | server | its own | last: writes that were accepted are applied |
//!
//! Every actor is replaced from its factory if it panics or does not answer; a role whose actor keeps failing ends
//! the process, because a half-working process is worse than one that is restarted.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Arbiter};
use tracing::{error, info};
use ulex_actors::{
    Guard, GuardPolicy, Guarded, Heartbeat, ModelChanged, ModelFollower, Observe, Outlet, Stop, StopOrder,
    Vitals,
};
use ulex_algorithms::model_set::ModelSet;
use ulex_master::dataset::Dataset;
use ulex_master::membership::Membership;
use ulex_master::planner::Planner;
use ulex_master::registry::{Registry, RegistryParts};
use ulex_master::schedule::Policy;
use ulex_master::trainer::{LiveChanged, Trainer, TrainerParts};
use ulex_master::training::CycleSettings;
use ulex_nats::BusError;
use ulex_nats::leases::FencingToken;
use ulex_nats::membership::Role;
use ulex_nats::topology::members;
use ulex_server::ingest::{Ingest, IngestParts};
use ulex_server::newcomers::Newcomers;
use ulex_server::published::Admission;
use ulex_worker::jobs::Jobs;
use ulex_worker::predictor::Predictor;

use crate::parts::Parts;

/// Longest time an actor is given to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How often [`Roles::wait_for_models`] looks.
const LOOK: Duration = Duration::from_millis(2);

/// The actors of a process that has every role.
pub struct Roles {
    places: Places,
    arbiters: Vec<Arbiter>,
}

/// Where each actor is found.
#[derive(Clone, Default)]
struct Places {
    trainer: Guarded<Trainer>,
    registry: Guarded<Registry>,
    dataset: Guarded<Dataset>,
    planner: Guarded<Planner>,
    membership: Guarded<Membership>,
    ingest: Guarded<Ingest>,
    newcomers: Guarded<Newcomers>,
    models: Guarded<ModelFollower<ModelSet>>,
    jobs: Guarded<Jobs>,
    predictors: Vec<Guarded<Predictor>>,
    heartbeat: Guarded<Heartbeat>,
}

impl Roles {
    /// Starts every actor. Must be called inside an actix system.
    ///
    /// # Errors
    ///
    /// Whatever the bus reports.
    pub async fn start(parts: &Parts) -> Result<Self, BusError> {
        let mut roles = Self { places: Places::default(), arbiters: Vec::new() };
        roles.start_server(parts);
        roles.start_worker(parts);
        roles.start_master(parts).await;
        roles.start_heartbeat(parts).await?;
        Ok(roles)
    }

    /// Starts an actor on an arbiter of its own and guards it.
    fn guard<A>(
        &mut self,
        name: &'static str,
        place: &Guarded<A>,
        make: impl Fn() -> A + Send + Clone + 'static,
    ) where
        A: Actor<Context = actix::Context<A>>
            + actix::Handler<Observe>
            + actix::Handler<ulex_actors::Shutdown>,
    {
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        let start = move || {
            let make = make.clone();
            A::start_in_arbiter(&handle, move |_| make())
        };
        let guard = Guard::start(name, GuardPolicy::default(), place.clone(), start);
        actix::spawn(async move {
            guard.watch().await;
            error!(
                actor = name,
                "giving up: a process that works by half is worse than one that is restarted"
            );
            actix::System::current().stop_with_code(70);
        });
        self.arbiters.push(arbiter);
    }

    fn start_server(&mut self, parts: &Parts) {
        let ingest_parts = IngestParts {
            bus: parts.bus.clone(),
            recommender: parts.recommender.clone(),
            batch_rows: parts.settings.ingest.batch_rows,
            admission: Admission {
                insert_users: parts.settings.server.auto_insert_user,
                insert_items: parts.settings.server.auto_insert_item,
            },
        };
        let place = self.places.ingest.clone();
        self.guard("ingest", &place, move || Ingest::new(ingest_parts.clone()));
        let recommender = parts.recommender.clone();
        let place = self.places.newcomers.clone();
        self.guard("newcomers", &place, move || Newcomers::new(recommender.clone()));
        // Server and worker of one process share the models; the trainer compares the next ones with them.
        let (recommender, trainer) = (parts.recommender.clone(), self.places.trainer.outlet::<LiveChanged>());
        let swap = Outlet::new(move |changed: ModelChanged<ModelSet>| {
            recommender.use_models(Arc::clone(&changed.model));
            trainer.send(LiveChanged(changed.model));
        });
        let bus = parts.bus.clone();
        let place = self.places.models.clone();
        self.guard("models", &place, move || {
            let decode =
                Arc::new(|bytes: bytes::Bytes| ModelSet::from_bytes(&bytes).map_err(|e| e.to_string()));
            ModelFollower::new(bus.clone(), decode, swap.clone())
        });
    }

    fn start_worker(&mut self, parts: &Parts) {
        for _ in 0..parts.settings.master.n_jobs.max(1) {
            let place = Guarded::default();
            let recommender = parts.recommender.clone();
            self.guard("predictor", &place, move || Predictor::new(recommender.clone()));
            self.places.predictors.push(place);
        }
        let (bus, predictors) = (parts.bus.clone(), self.places.predictors.clone());
        let place = self.places.jobs.clone();
        self.guard("jobs", &place, move || Jobs::new(bus.clone(), predictors.clone()));
    }

    async fn start_master(&mut self, parts: &Parts) {
        let settings = &parts.settings;
        let trainer_parts = TrainerParts {
            registry: self.places.registry.outlet(),
            dataset: self.places.dataset.clone(),
            pool: Arc::clone(&parts.pool),
            tasks: parts.tasks.clone(),
            settings: Arc::new(CycleSettings::new(settings.as_ref().clone())),
            policy: Policy {
                quiet: settings.training.quiet,
                first_fit_within: settings.training.first_fit_within,
                fit_period: settings
                    .recommend
                    .collaborative
                    .fit_period
                    .min(settings.recommend.ranker.fit_period),
                growth: settings.training.growth,
            },
            rows_at_start: parts.recommender.data().counts().await.map_or(0, |counts| counts.feedback),
        };
        let places = self.places.clone();
        let (bus, store, grown) =
            (parts.bus.clone(), Arc::clone(parts.recommender.data()), self.places.trainer.outlet());
        self.guard("dataset", &places.dataset, move || {
            Dataset::new(bus.clone(), Arc::clone(&store), grown.clone())
        });
        let bus = parts.bus.clone();
        self.guard("planner", &places.planner, move || Planner::new(bus.clone()));
        let registry_parts = RegistryParts {
            bus: parts.bus.clone(),
            pool: Arc::clone(&parts.pool),
            keep: settings.training.keep,
            gate: settings.training.gate,
            token: FencingToken(0),
            planner: self.places.planner.outlet(),
        };
        self.guard("registry", &places.registry, move || Registry::new(registry_parts.clone()));
        let (bus, meta_timeout) = (parts.bus.clone(), settings.master.meta_timeout);
        self.guard("membership", &places.membership, move || Membership::new(bus.clone(), meta_timeout));
        // Last: a trainer may be due at once.
        self.guard("trainer", &places.trainer, move || Trainer::new(trainer_parts.clone()));
    }

    async fn start_heartbeat(&mut self, parts: &Parts) -> Result<(), BusError> {
        let meta_timeout = parts.settings.master.meta_timeout;
        let bucket = parts.bus.bucket(&members(meta_timeout)).await?;
        let (node, recommender) = (parts.node.clone(), parts.recommender.clone());
        let vitals = Arc::new(move || Vitals {
            model_set: recommender.live().map(|live| live.set.id().to_owned()),
            ..Vitals::default()
        });
        let place = self.places.heartbeat.clone();
        self.guard("heartbeat", &place, move || {
            let identity = (node.clone(), Role::One, env!("CARGO_PKG_VERSION").to_owned());
            Heartbeat::new(bucket.clone(), identity, meta_timeout, vitals.clone())
        });
        Ok(())
    }

    /// Waits until the live ModelSet is in use or was found unusable; `false` if it is not in use.
    pub async fn wait_for_models(&self, limit: Duration) -> bool {
        let settled = async {
            loop {
                let observed = match self.places.models.addr() {
                    Some(models) => models.send(Observe).await.unwrap_or_default(),
                    None => serde_json::Value::Null,
                };
                if !observed["model_set"].is_null() {
                    return true;
                }
                if observed["failures"].as_u64().is_some_and(|failures| failures > 0) {
                    return false;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(limit, settled).await.unwrap_or(false)
    }

    /// Stops every actor in order; `first` is stopped before all of them.
    pub async fn stop(self, first: Stop) {
        let places = self.places;
        let mut order = StopOrder::default();
        order.then(first);
        order.then(Stop::actor("heartbeat", STOP_WITHIN, places.heartbeat));
        order.then(Stop::actor("planner", STOP_WITHIN, places.planner));
        order.then(Stop::actor("jobs", STOP_WITHIN, places.jobs));
        for predictor in places.predictors {
            order.then(Stop::actor("predictor", STOP_WITHIN, predictor));
        }
        order.then(Stop::actor("trainer", STOP_WITHIN, places.trainer));
        order.then(Stop::actor("registry", STOP_WITHIN, places.registry));
        order.then(Stop::actor("dataset", STOP_WITHIN, places.dataset));
        order.then(Stop::actor("membership", STOP_WITHIN, places.membership));
        order.then(Stop::actor("newcomers", STOP_WITHIN, places.newcomers));
        order.then(Stop::actor("models", STOP_WITHIN, places.models));
        order.then(Stop::actor("ingest", STOP_WITHIN, places.ingest));
        let late = order.run().await;
        for arbiter in self.arbiters {
            arbiter.stop();
        }
        info!(late = ?late, "all actors have stopped");
    }
}
