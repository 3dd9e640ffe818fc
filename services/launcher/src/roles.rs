//! Which actors a role has, how each is guarded, and in which order they stop.
//!
//! | actor | role | thread | stops |
//! |---|---|---|---|
//! | HTTP listener | every | actix-web workers | 1st: no new requests, those under way are answered |
//! | Heartbeat | every | its own | 2nd |
//! | Jobs, then Predictors | worker | their own, one for each predictor | 3rd, 4th |
//! | Planner | leading master | its own | 5th |
//! | Trainer | leading master | its own; fits on the compute pool | 6th: the fit ends at its next step |
//! | Registry | leading master | its own | 7th: a publication under way is finished |
//! | Dataset, Membership | leading master | their own | 8th |
//! | Leadership | master | its own | 9th: gives the lease back |
//! | Settings follower, Newcomers, Models, catalogue follower | every | their own | 10th |
//! | Ingest | server | its own | last: writes that were accepted are applied |
//!
//! A process of `ulex one` has all of them but the catalogue follower and Leadership: it is alone.
//! Every actor is replaced from its factory if it panics or does not answer; a role whose actor keeps failing ends
//! the process, because a half-working process is worse than one that is restarted.

mod crew;
mod leader;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{info, warn};
use ulex_actors::{
    Guarded, Heartbeat, ModelChanged, ModelFollower, Observe, Outlet, SettingsChanged, SettingsFollower,
    Stop, StopOrder,
};
use ulex_algorithms::model_set::ModelSet;
use ulex_master::leadership::{Leadership, Reign};
use ulex_master::registry::LiveChanged;
use ulex_nats::BusError;
use ulex_nats::leases::{Lease, TRAINER_LEASE};
use ulex_nats::membership::Role;
use ulex_nats::refresh::Basis;
use ulex_nats::topology::{leases, members};
use ulex_recommenders::plan::Plan;
use ulex_server::ingest::{Ingest, IngestParts};
use ulex_server::newcomers::Newcomers;
use ulex_server::published::Admission;
use ulex_worker::jobs::{Here, Jobs};
use ulex_worker::predictor::Predictor;

use self::crew::{Crew, then};
use self::leader::{LeaderCrew, LeaderPlaces, Succession};
use crate::catalogue_follower::{CatalogueFollower, FollowerParts};
use crate::http::api_settings;
use crate::parts::Parts;
use crate::vitals::vitals;

/// How often [`Roles::wait_for_models`] looks.
const LOOK: Duration = Duration::from_millis(2);

/// The actors of a process.
pub struct Roles {
    crew: Crew,
    places: Places,
    leader: Option<LeaderCrew>,
    succession: Option<Succession>,
}

/// Where each actor is found; a place stays empty if the role has no such actor.
#[derive(Clone, Default)]
struct Places {
    leader: LeaderPlaces,
    leadership: Guarded<Leadership>,
    ingest: Guarded<Ingest>,
    settings: Guarded<SettingsFollower>,
    newcomers: Guarded<Newcomers>,
    models: Guarded<ModelFollower<ModelSet>>,
    catalogue: Guarded<CatalogueFollower>,
    jobs: Guarded<Jobs>,
    predictors: Vec<Guarded<Predictor>>,
    heartbeat: Guarded<Heartbeat>,
}

impl Roles {
    /// Starts every actor of the process's role. Must be called inside an actix system.
    ///
    /// # Errors
    ///
    /// Whatever the bus reports.
    pub async fn start(parts: &Parts) -> Result<Self, BusError> {
        let mut roles =
            Self { crew: Crew::default(), places: Places::default(), leader: None, succession: None };
        roles.start_settings(parts);
        roles.start_models(parts);
        roles.start_catalogue(parts);
        if matches!(parts.role, Role::One | Role::Server) {
            roles.start_ingest(parts);
        }
        if matches!(parts.role, Role::One | Role::Worker) {
            roles.start_worker(parts);
        }
        match parts.role {
            Role::One => {
                parts.throne.send_replace(Some(Reign::ALONE));
                roles.leader = Some(LeaderCrew::start(parts, &roles.places.leader, Reign::ALONE).await);
            }
            Role::Master => roles.start_master(parts).await?,
            Role::Worker | Role::Server => {}
        }
        roles.start_heartbeat(parts).await?;
        Ok(roles)
    }

    fn start_settings(&mut self, parts: &Parts) {
        let use_settings = settings_outlet(parts, &self.places.leader);
        let (bus, base, in_force) =
            (parts.bus.clone(), Arc::clone(&parts.settings), Arc::clone(&parts.in_force));
        let place = self.places.settings.clone();
        self.crew.guard("settings", &place, move || {
            SettingsFollower::new(bus.clone(), Arc::clone(&base), Arc::clone(&in_force), use_settings.clone())
        });
    }

    fn start_models(&mut self, parts: &Parts) {
        let recommender = parts.recommender.clone();
        let place = self.places.newcomers.clone();
        self.crew.guard("newcomers", &place, move || Newcomers::new(recommender.clone()));
        // The trainer, if this process has one, compares the next models with them; the planner has lists made from them.
        let recommender = parts.recommender.clone();
        let trainer = self.places.leader.trainer.outlet::<LiveChanged>();
        let planner = self.places.leader.planner.outlet::<LiveChanged>();
        let swap = Outlet::new(move |ModelChanged { mut model, pointer }: ModelChanged<ModelSet>| {
            // One that is live again after a rollback was published under an earlier epoch.
            Arc::make_mut(&mut model).manifest.epoch = pointer.epoch;
            recommender.use_models(Arc::clone(&model));
            trainer.send(LiveChanged(Arc::clone(&model)));
            planner.send(LiveChanged(model));
        });
        let bus = parts.bus.clone();
        let place = self.places.models.clone();
        self.crew.guard("models", &place, move || {
            let decode =
                Arc::new(|bytes: bytes::Bytes| ModelSet::from_bytes(&bytes).map_err(|e| e.to_string()));
            ModelFollower::new(bus.clone(), decode, swap.clone())
        });
    }

    fn start_catalogue(&mut self, parts: &Parts) {
        let Some(position) = &parts.position else { return };
        let follower = FollowerParts {
            bus: parts.bus.clone(),
            recommender: parts.recommender.clone(),
            position: Arc::clone(position),
            log: parts.changes_log.clone(),
        };
        let place = self.places.catalogue.clone();
        self.crew.guard("catalogue", &place, move || CatalogueFollower::new(follower.clone()));
    }

    fn start_ingest(&mut self, parts: &Parts) {
        let ingest_parts = IngestParts {
            bus: parts.bus.clone(),
            node: parts.node.clone(),
            recommender: parts.recommender.clone(),
            batch_rows: parts.settings.ingest.batch_rows,
            admission: Admission {
                insert_users: parts.settings.server.auto_insert_user,
                insert_items: parts.settings.server.auto_insert_item,
            },
        };
        let place = self.places.ingest.clone();
        self.crew.guard("ingest", &place, move || Ingest::new(ingest_parts.clone()));
    }

    fn start_worker(&mut self, parts: &Parts) {
        for _ in 0..parts.settings.master.n_jobs.max(1) {
            let place = Guarded::default();
            let recommender = parts.recommender.clone();
            self.crew.guard("predictor", &place, move || Predictor::new(recommender.clone()));
            self.places.predictors.push(place);
        }
        let (bus, predictors) = (parts.bus.clone(), self.places.predictors.clone());
        let (recommender, in_force) = (parts.recommender.clone(), Arc::clone(&parts.in_force));
        let here: Here = Arc::new(move || Basis {
            epoch: recommender.live().map_or(0, |live| live.set.manifest.epoch),
            settings: in_force.borrow().revision,
        });
        let under_way = Arc::clone(&parts.figures.jobs_under_way);
        let place = self.places.jobs.clone();
        self.crew.guard("jobs", &place, move || {
            Jobs::new(bus.clone(), Arc::clone(&here), predictors.clone(), Arc::clone(&under_way))
        });
    }

    async fn start_master(&mut self, parts: &Parts) -> Result<(), BusError> {
        let ttl = parts.settings.master.meta_timeout;
        let bucket = parts.bus.bucket(&leases(ttl)).await?;
        let (node, throne) = (parts.node.clone(), Arc::clone(&parts.throne));
        self.succession = Some(Succession::follow(parts, &self.places.leader));
        let place = self.places.leadership.clone();
        self.crew.guard("leadership", &place, move || {
            Leadership::new(Lease::new(bucket.clone(), TRAINER_LEASE, &node, ttl), Arc::clone(&throne))
        });
        Ok(())
    }

    async fn start_heartbeat(&mut self, parts: &Parts) -> Result<(), BusError> {
        let meta_timeout = parts.settings.master.meta_timeout;
        let bucket = parts.bus.bucket(&members(meta_timeout)).await?;
        let (node, role, reported) = (parts.node.clone(), parts.role, parts.clone());
        let vitals = Arc::new(move || vitals(&reported));
        let place = self.places.heartbeat.clone();
        self.crew.guard("heartbeat", &place, move || {
            let identity = (node.clone(), role, env!("CARGO_PKG_VERSION").to_owned());
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
    pub async fn stop(mut self, first: Stop) {
        self.crew.unguard();
        let places = self.places;
        let mut order = StopOrder::default();
        order.then(first);
        then(&mut order, "heartbeat", &places.heartbeat);
        then(&mut order, "jobs", &places.jobs);
        for predictor in &places.predictors {
            then(&mut order, "predictor", predictor);
        }
        let mut leader = self.leader.or_else(|| self.succession.and_then(Succession::end));
        if let Some(leader) = &mut leader {
            leader.prepare_stop(&mut order);
        }
        then(&mut order, "leadership", &places.leadership);
        then(&mut order, "settings", &places.settings);
        then(&mut order, "newcomers", &places.newcomers);
        then(&mut order, "models", &places.models);
        then(&mut order, "catalogue", &places.catalogue);
        then(&mut order, "ingest", &places.ingest);
        let late = order.run().await;
        if let Some(leader) = leader {
            leader.dismiss();
        }
        self.crew.dismiss();
        info!(late = ?late, "all actors have stopped");
    }
}

/// Tells everything in this process that goes by the section `[recommend]`.
fn settings_outlet(parts: &Parts, leader: &LeaderPlaces) -> Outlet<SettingsChanged> {
    let (recommender, api) = (parts.recommender.clone(), Arc::clone(&parts.api));
    let trainer = leader.trainer.outlet::<SettingsChanged>();
    let planner = leader.planner.outlet::<SettingsChanged>();
    let searched = Mutex::new(parts.in_force.borrow().settings.recommend.search_columns.clone());
    Outlet::new(move |changed: SettingsChanged| {
        recommender.use_plan(Plan::new(&changed.settings));
        if let Some(api) = api.get() {
            api.configure(api_settings(&changed.settings));
        }
        let columns = changed.settings.recommend.search_columns.clone();
        if std::mem::replace(&mut *searched.lock().unwrap_or_else(PoisonError::into_inner), columns.clone())
            != columns
        {
            let data = Arc::clone(recommender.data());
            actix::spawn(async move {
                if let Err(reason) = data.set_search_columns(&columns).await {
                    warn!(%reason, "other columns are to be searched, but the store cannot be told");
                }
            });
        }
        planner.send(changed.clone());
        trainer.send(changed);
    })
}
