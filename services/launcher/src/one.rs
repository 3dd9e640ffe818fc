//! `ulex one`: every role in one process.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use ulex_settings::Settings;

use crate::command_line::OneArguments;
use crate::parts::{Parts, StartError};
use crate::process::Process;
use crate::role::run_until_told;
use crate::{http, signals};

/// Runs until a signal comes.
pub fn run(arguments: &OneArguments) -> ExitCode {
    run_until_told(arguments.config.as_deref(), |settings| serve(settings, &arguments.place.data_dir))
}

async fn serve(settings: Settings, data_dir: &Path) -> Result<(), StartError> {
    let shutdown = signals::listen().map_err(|source| StartError::Threads(source.to_string()))?;
    let one = start(settings, data_dir).await?;
    shutdown.requested().await;
    one.stop().await;
    Ok(())
}

/// Starts everything; it is ready when this returns. Must be called inside an actix system.
///
/// # Errors
///
/// [`StartError`] says what could not be opened, and why.
pub async fn start(settings: Settings, data_dir: &Path) -> Result<Process, StartError> {
    let begun = Instant::now();
    // The port is taken before anything else starts, so that a second process fails at once and changes nothing.
    let listener = http::listen(&http::address(&settings))?;
    let parts = Parts::open(settings, data_dir).await?;
    Process::start(parts, listener, begun).await
}
