//! A process of any role, running and listening.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use ulex_actors::Stop;
use ulex_nats::membership::Role;
use ulex_nats::models::{LIVE_KEY, LivePointer};
use ulex_nats::topology::REGISTRY;
use ulex_server::ApiState;
use ulex_server::gateway::Gateway;
use ulex_server::live_backend::LiveBackend;
use ulex_server::readiness::ReadinessProbe;
use ulex_server::settings_desk::SettingsDesk;

use crate::http;
use crate::measurements::{Lookups, Rounds};
use crate::parts::{Parts, StartError};
use crate::roles::Roles;

/// How long requests under way may take once the process is told to stop.
const DRAIN: Duration = Duration::from_secs(15);

/// How long a start waits for the stored ModelSet.
const MODELS_WITHIN: Duration = Duration::from_secs(10);

/// Whether a ModelSet was live before. What is wrong with a pointer that cannot be read, its follower reports.
async fn has_stored_models(parts: &Parts) -> bool {
    let Ok(registry) = parts.bus.bucket::<LivePointer>(&REGISTRY).await else { return false };
    matches!(registry.get(LIVE_KEY).await, Ok(Some(_)))
}

/// The REST surface under the settings that are in force, and under those that come later.
fn rest_surface(parts: &Parts, backend: LiveBackend) -> ApiState {
    let settings = || http::api_settings(&parts.in_force.borrow().settings);
    let state = parts.api.get_or_init(|| ApiState::new(Arc::new(backend), settings()));
    // They may have changed before the follower could find the surface here.
    state.configure(settings());
    state.clone()
}

/// See the module documentation.
pub struct Process {
    parts: Parts,
    roles: Roles,
    handle: ServerHandle,
    server: JoinHandle<io::Result<()>>,
    rounds: Rounds,
    address: SocketAddr,
}

impl Process {
    /// Starts every actor of the role and answers on `listener`; it is ready when this returns. Must be called inside an
    /// actix system.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what could not be opened, and why.
    pub async fn start(parts: Parts, listener: TcpListener, begun: Instant) -> Result<Self, StartError> {
        let address = listener
            .local_addr()
            .map_err(|source| StartError::Listen { address: "the chosen address".to_owned(), source })?;
        let roles = Roles::start(&parts).await?;
        // Connections wait in the listener's queue meanwhile: the first answer is as good as the later ones.
        if has_stored_models(&parts).await && !roles.wait_for_models(MODELS_WITHIN).await {
            warn!("starting without the stored ModelSet, until one can be used");
        }
        let lookups = Lookups::new(parts.role, parts.recommender.clone());
        let rounds = Rounds::begin(parts.bus.clone(), parts.position.clone(), Arc::clone(&parts.figures));
        let server = match parts.role {
            Role::Worker => {
                let readiness = ReadinessProbe::open(&parts.bus, &parts.recommender).await?;
                http::serve_health(listener, readiness, lookups)?
            }
            Role::One | Role::Master | Role::Server => {
                let queue = parts.settings.ingest.queue;
                let gateway = Gateway::open(parts.bus.clone(), queue, parts.followed()).await?;
                let waiting = gateway.clone();
                let lookups = lookups.with_waiting(move || waiting.waiting());
                let identity = (parts.node.clone(), parts.settings.master.meta_timeout);
                let recommender = parts.recommender.clone();
                let (base, in_force) = (Arc::clone(&parts.settings), parts.in_force.subscribe());
                let desk = SettingsDesk::open(&parts.bus, base, in_force, parts.data_dir.clone()).await?;
                let backend = LiveBackend::open(&parts.bus, recommender, (gateway, desk), identity).await?;
                http::serve(listener, &parts.settings, rest_surface(&parts, backend), lookups)?
            }
        };
        let handle = server.handle();
        let server = actix::spawn(server);
        let started_ms = begun.elapsed().as_millis() as u64;
        info!(%address, role = parts.role.as_str(), node = parts.node, started_ms, "ulex is ready");
        Ok(Self { parts, roles, handle, server, rounds, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what was asked, finishes what was accepted, and ends every actor in order.
    pub async fn stop(self) {
        let Self { parts, roles, handle, server, rounds, .. } = self;
        drop(rounds);
        let listener = Stop::new("http", DRAIN, move || async move {
            handle.stop(true).await;
            // A listener that failed has said so; there is nothing left of it to wait for.
            let _ = server.await;
        });
        roles.stop(listener).await;
        parts.bus.close().await;
    }
}
