//! A server process: the production gateway, ingester and follower over a simulated world.
//!
//! All local tasks of a node live in one set that is polled only while the process runs: a pause holds them at whichever
//! await they are, and a crash drops them.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::{Actor as _, Addr};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use ulex_domain::TenantId;
use ulex_launcher::catalogue_follower::{CatalogueFollower, FollowerParts};
use ulex_nats::topology::{CHANGES, ensure_topology};
use ulex_nats::{Bus, BusError, StreamPosition};
use ulex_recommenders::plan::Plan;
use ulex_recommenders::service::Recommender;
use ulex_server::gateway::{Followed, Gateway};
use ulex_server::ingest::{Ingest, IngestParts};
use ulex_server::published::Admission;
use ulex_settings::Settings;
use ulex_storage::data::DataStore;

use crate::cache::SimCache;
use crate::control::{NodeClock, ProcessControl};
use crate::store::SimStore;
use crate::world::World;

/// Writes that may wait in a gateway.
const GATEWAY_LIMIT: usize = 256;
/// Pause between two attempts to start.
const START_PAUSE: Duration = Duration::from_millis(500);
/// Time to live of heartbeats and leases.
const META_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server that has started offers to its callers.
pub struct Serving {
    /// Takes writes.
    pub gateway: Gateway,
    /// Answers reads.
    pub recommender: Recommender,
    _follower: Addr<CatalogueFollower>,
    _ingest: Addr<Ingest>,
}

type Job = Pin<Box<dyn Future<Output = ()>>>;

/// A process that runs or has been killed.
pub struct Node {
    /// Its faults.
    pub control: Arc<ProcessControl>,
    serving: Rc<RefCell<Option<Rc<Serving>>>>,
    jobs: mpsc::UnboundedSender<Job>,
}

impl Node {
    /// Starts a process. Must be called within a local set.
    pub fn start(world: &World, name: &str, seed: u64, skew_seconds: i64) -> Self {
        let control = ProcessControl::new(seed, skew_seconds);
        let (jobs, receiver) = mpsc::unbounded_channel();
        let serving = Rc::new(RefCell::new(None));
        let local = LocalSet::new();
        let parts = NodeParts {
            bus: Bus::new(Arc::new(world.connect(&control)), TenantId::default())
                .with_clock(Arc::new(NodeClock::new(world.clock, Arc::clone(&control)))),
            store: Arc::new(SimStore::new(Arc::clone(&world.database), Arc::clone(&control))),
            cache: SimCache::new(Arc::clone(&world.cache), Arc::clone(&control)),
            name: name.to_owned(),
        };
        local.spawn_local(serve(parts, Rc::clone(&serving), receiver));
        let process = Process { local: Some(local), control: Arc::clone(&control), running: None };
        tokio::task::spawn_local(process);
        Self { control, serving, jobs }
    }

    /// The server, once it has started.
    #[must_use]
    pub fn serving(&self) -> Option<Rc<Serving>> {
        if self.control.is_dead() { None } else { self.serving.borrow().clone() }
    }

    /// Does something within the process.
    pub fn spawn(&self, job: impl Future<Output = ()> + 'static) {
        let _ = self.jobs.send(Box::pin(job));
    }

    /// Ends the process.
    pub fn kill(&self) {
        self.control.kill();
        *self.serving.borrow_mut() = None;
    }
}

struct NodeParts {
    bus: Bus,
    store: Arc<SimStore>,
    cache: SimCache,
    name: String,
}

async fn serve(
    parts: NodeParts,
    serving: Rc<RefCell<Option<Rc<Serving>>>>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
) {
    let plan = Plan::new(&Settings::default());
    let store: Arc<dyn DataStore> = parts.store;
    let recommender = Recommender::new(store, Arc::new(parts.cache), plan, Duration::ZERO);
    let started = loop {
        match start(&parts.bus, &parts.name, &recommender).await {
            Ok(started) => break started,
            Err(_not_yet) => tokio::time::sleep(START_PAUSE).await,
        }
    };
    *serving.borrow_mut() = Some(Rc::new(started));
    while let Some(job) = jobs.recv().await {
        tokio::task::spawn_local(job);
    }
}

async fn start(bus: &Bus, name: &str, recommender: &Recommender) -> Result<Serving, BusError> {
    ensure_topology(bus, META_TIMEOUT).await?;
    let StreamPosition { log, sequence } = StreamPosition::end_of(bus, &CHANGES).await?;
    let loading = recommender.catalogue().load(recommender.data().as_ref());
    loading.await.map_err(|reason| BusError::transport("load", reason))?;
    let (sender, receiver) = watch::channel(sequence);
    let follower_parts =
        FollowerParts { bus: bus.clone(), recommender: recommender.clone(), position: Arc::new(sender), log };
    let followed = Followed { node: name.to_owned(), position: receiver };
    let gateway = Gateway::open(bus.clone(), GATEWAY_LIMIT, Some(followed)).await?;
    let follower = CatalogueFollower::new(follower_parts).start();
    let ingest_parts = IngestParts {
        bus: bus.clone(),
        node: name.to_owned(),
        recommender: recommender.clone(),
        batch_rows: 100,
        admission: Admission { insert_users: true, insert_items: true },
    };
    let ingest = Ingest::new(ingest_parts).start();
    Ok(Serving { gateway, recommender: recommender.clone(), _follower: follower, _ingest: ingest })
}

/// Polls the tasks of a process while it runs.
struct Process {
    local: Option<LocalSet>,
    control: Arc<ProcessControl>,
    running: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Future for Process {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.control.is_dead() {
            self.local = None;
            return Poll::Ready(());
        }
        self.control.polled_by(context.waker());
        let control = Arc::clone(&self.control);
        let running = self.running.get_or_insert_with(|| Box::pin(async move { control.is_running().await }));
        if running.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let control = Arc::clone(&self.control);
        self.running = Some(Box::pin(async move { control.is_running().await }));
        let Some(local) = &mut self.local else { return Poll::Ready(()) };
        Pin::new(local).poll(context)
    }
}
