//! `ulex one`: every role in one process.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};
use ulex_actors::Stop;
use ulex_server::gateway::Gateway;
use ulex_server::live_backend::LiveBackend;
use ulex_settings::{Loaded, Settings, load};

use crate::command_line::OneArguments;
use crate::parts::{Parts, StartError};
use crate::roles::Roles;
use crate::{http, signals};

/// How long requests under way may take once the process is told to stop.
const DRAIN: Duration = Duration::from_secs(15);

/// Runs until a signal comes.
pub fn run(arguments: &OneArguments) -> ExitCode {
    let settings = match settings(arguments.config.as_deref()) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    run_with(settings, &arguments.place.data_dir)
}

/// Reads the configuration, names what is odd about it, and says everything that is wrong with it.
pub fn settings(file: Option<&Path>) -> Result<Settings, ExitCode> {
    match load(file, std::env::vars(), &[]) {
        Ok(Loaded { settings, warnings }) => {
            for warning in warnings {
                warn!("{warning}");
            }
            if !settings.not_yet.is_empty() {
                warn!(keys = settings.not_yet.join(", "), "these settings are not in effect yet");
            }
            Ok(settings)
        }
        Err(problems) => {
            eprintln!("ulex: {problems}");
            Err(ExitCode::from(2))
        }
    }
}

/// Runs with these settings until a signal comes.
pub fn run_with(settings: Settings, data_dir: &Path) -> ExitCode {
    let system = system();
    match system.block_on(serve(settings, data_dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!(%reason, "cannot go on");
            eprintln!("ulex: {reason}");
            ExitCode::from(1)
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
    let begun = Instant::now();
    let shutdown = signals::listen().map_err(|source| StartError::Threads(source.to_string()))?;
    // The port is taken before anything else starts, so that a second process fails at once and changes nothing.
    let listener = http::listen(&settings)?;
    let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    let parts = Parts::open(settings, data_dir).await?;
    let gateway = Gateway::open(parts.bus.clone(), parts.settings.ingest.queue).await?;
    let identity = (parts.node.clone(), parts.settings.master.meta_timeout);
    let backend = LiveBackend::open(&parts.bus, parts.recommender.clone(), gateway, identity).await?;
    let roles = Roles::start(&parts).await?;
    let server = http::serve(listener, &parts.settings, Arc::new(backend))?;
    let handle = server.handle();
    let running = actix::spawn(server);
    info!(address, data = %data_dir.display(), started_ms = begun.elapsed().as_millis() as u64, "ulex is ready");
    shutdown.requested().await;
    let listener = Stop::new("http", DRAIN, move || async move {
        handle.stop(true).await;
        let _ = running.await;
    });
    roles.stop(listener).await;
    parts.bus.close().await;
    Ok(())
}
