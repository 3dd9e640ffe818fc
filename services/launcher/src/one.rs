//! `ulex one`: every role in one process.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};
use ulex_actors::Stop;
use ulex_nats::models::{LIVE_KEY, LivePointer};
use ulex_nats::topology::REGISTRY;
use ulex_server::gateway::Gateway;
use ulex_server::live_backend::LiveBackend;
use ulex_settings::Settings;

use crate::command_line::OneArguments;
use crate::configuration::{self, Voice};
use crate::parts::{Parts, StartError};
use crate::roles::Roles;
use crate::{exit, http, signals};

/// How long requests under way may take once the process is told to stop.
const DRAIN: Duration = Duration::from_secs(15);

/// How long a start waits for the stored ModelSet.
const MODELS_WITHIN: Duration = Duration::from_secs(10);

/// Runs until a signal comes.
pub fn run(arguments: &OneArguments) -> ExitCode {
    let settings = match configuration::read(arguments.config.as_deref(), Voice::Service) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    match system().block_on(serve(settings, &arguments.place.data_dir)) {
        Ok(()) => ExitCode::SUCCESS,
        // One word, in the form in which everything else is said there.
        Err(reason) if io::stderr().is_terminal() => exit::failed(&reason),
        Err(reason) => {
            error!(%reason, "cannot go on");
            ExitCode::FAILURE
        }
    }
}

/// An actix system on a runtime of several threads: whatever is shared by arbiters lives on it, not on one of them.
pub fn system() -> actix::SystemRunner {
    actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("ulex")
            .enable_all()
            .build()
            .expect("a runtime can be built at the start of a process")
    })
}

async fn serve(settings: Settings, data_dir: &Path) -> Result<(), StartError> {
    let shutdown = signals::listen().map_err(|source| StartError::Threads(source.to_string()))?;
    let one = One::start(settings, data_dir).await?;
    shutdown.requested().await;
    one.stop().await;
    Ok(())
}

/// Whether a ModelSet was live before. What is wrong with a pointer that cannot be read, its follower reports.
async fn has_stored_models(parts: &Parts) -> bool {
    let Ok(registry) = parts.bus.bucket::<LivePointer>(&REGISTRY).await else { return false };
    matches!(registry.get(LIVE_KEY).await, Ok(Some(_)))
}

/// Every role, running and listening.
pub struct One {
    parts: Parts,
    roles: Roles,
    handle: ServerHandle,
    server: JoinHandle<io::Result<()>>,
    address: SocketAddr,
}

impl One {
    /// Starts everything; it is ready when this returns. Must be called inside an actix system.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what could not be opened, and why.
    pub async fn start(settings: Settings, data_dir: &Path) -> Result<Self, StartError> {
        let begun = Instant::now();
        // The port is taken before anything else starts, so that a second process fails at once and changes nothing.
        let (listener, address) = http::listen(&settings)?;
        let parts = Parts::open(settings, data_dir).await?;
        let gateway = Gateway::open(parts.bus.clone(), parts.settings.ingest.queue).await?;
        let identity = (parts.node.clone(), parts.settings.master.meta_timeout);
        let backend = LiveBackend::open(&parts.bus, parts.recommender.clone(), gateway, identity).await?;
        let roles = Roles::start(&parts).await?;
        // Connections wait in the listener's queue meanwhile: the first answer is as good as the later ones.
        if has_stored_models(&parts).await && !roles.wait_for_models(MODELS_WITHIN).await {
            warn!("starting without the stored ModelSet, until one can be used");
        }
        let server = http::serve(listener, &parts.settings, Arc::new(backend))?;
        let handle = server.handle();
        let server = actix::spawn(server);
        let started_ms = begun.elapsed().as_millis() as u64;
        info!(%address, data = %data_dir.display(), started_ms, "ulex is ready");
        Ok(Self { parts, roles, handle, server, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what was asked, finishes what was accepted, and ends every actor in order.
    pub async fn stop(self) {
        let Self { parts, roles, handle, server, .. } = self;
        let listener = Stop::new("http", DRAIN, move || async move {
            handle.stop(true).await;
            // A listener that failed has said so; there is nothing left of it to wait for.
            let _ = server.await;
        });
        roles.stop(listener).await;
        parts.bus.close().await;
    }
}
