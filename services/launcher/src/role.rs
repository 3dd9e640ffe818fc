//! `ulex master`, `ulex worker`, `ulex server`: one role of a cluster.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use tracing::error;
use ulex_nats::membership::Role;
use ulex_settings::Settings;

use crate::command_line::RoleArguments;
use crate::configuration::{self, Voice};
use crate::parts::{Parts, StartError};
use crate::process::Process;
use crate::{exit, http, signals};

/// Where a server listens unless the command line says otherwise.
const SERVER_ADDRESS: &str = "0.0.0.0:8087";
/// Where a worker answers whether it is well.
const WORKER_ADDRESS: &str = "0.0.0.0:8089";

/// Runs until a signal comes.
pub fn run(role: Role, arguments: &RoleArguments) -> ExitCode {
    run_until_told(arguments.config.as_deref(), |settings| serve(settings, role, arguments.http.as_deref()))
}

async fn serve(settings: Settings, role: Role, address: Option<&str>) -> Result<(), StartError> {
    let begun = Instant::now();
    let shutdown = signals::listen().map_err(|source| StartError::Threads(source.to_string()))?;
    let address = match (address, role) {
        (Some(address), _) => address.to_owned(),
        (None, Role::Server) => SERVER_ADDRESS.to_owned(),
        (None, Role::Worker) => WORKER_ADDRESS.to_owned(),
        (None, Role::Master | Role::One) => http::address(&settings),
    };
    let listener = http::listen(&address)?;
    let process = tokio::select! {
        process = join(settings, role, listener, begun) => process?,
        // Whoever waits for servers that do not come can be told to stop waiting.
        () = shutdown.requested() => return Ok(()),
    };
    shutdown.requested().await;
    process.stop().await;
    Ok(())
}

async fn join(
    settings: Settings,
    role: Role,
    listener: std::net::TcpListener,
    begun: Instant,
) -> Result<Process, StartError> {
    Process::start(Parts::join(settings, role).await?, listener, begun).await
}

/// Reads the configuration and runs `serve` in an actix system.
pub fn run_until_told<F>(config: Option<&Path>, serve: impl FnOnce(Settings) -> F) -> ExitCode
where
    F: Future<Output = Result<(), StartError>>,
{
    let settings = match configuration::read(config, Voice::Service) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    match system().block_on(serve(settings)) {
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
