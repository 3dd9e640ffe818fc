//! `ulex events`: the log of events and the dead letters of a cluster.

mod dead;
mod replay;
mod tail;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use ulex_domain::{TenantId, Timestamp};
use ulex_nats::transport::ReadFrom;
use ulex_nats::{Bus, BusError, JetStream};
use ulex_server::published::Admission;
use ulex_settings::Settings;
use ulex_storage::StorageError;

use crate::command_line::{EventsAction, EventsArguments, LogFrom};
use crate::configuration::{self, Voice};
use crate::connection::connection_settings;
use crate::exit;

/// How long a command tries to reach the server.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one read waits.
const READ_WAIT: Duration = Duration::from_millis(500);
/// Messages of one read.
const READ: usize = 1024;

/// Why a command came to nothing.
#[derive(Debug, Error)]
enum EventsError {
    #[error(
        "no NATS server is named: set nats.urls in the configuration, or give --nats nats://HOST:4222. (The log of `ulex one` is inside its process and ends \
         with it; there is nothing to look at from outside.)"
    )]
    NoServer,
    #[error("NATS")]
    Bus(#[from] BusError),
    #[error("the data store")]
    Storage(#[from] StorageError),
    #[error("there is no dead letter {0}; `ulex events dead list` shows them")]
    NoLetter(u64),
    #[error("the body of dead letter {number} cannot be restored: {reason}; give it with --body FILE")]
    NoBody { number: u64, reason: &'static str },
    #[error("cannot read {path}")]
    File { path: String, source: std::io::Error },
    #[error("{0} of the dead letters could not be sent; they are kept")]
    Kept(usize),
    #[error("--{0}: expected seq:N or time:RFC3339")]
    Place(&'static str),
    #[error(
        "the data store could not be written to behind position {reached}; run the command again to go on: {source}"
    )]
    Stopped { reached: u64, source: StorageError },
}

/// Runs the command.
pub fn run(arguments: &EventsArguments) -> ExitCode {
    let settings = match configuration::read(arguments.place.config.as_deref(), Voice::Command) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    match exit::block_on(act(arguments, &settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ (EventsError::NoServer | EventsError::Place(_))) => exit::refused(&error),
        Err(error) => exit::failed(&exit::WithCause(&error)),
    }
}

async fn act(arguments: &EventsArguments, settings: &Settings) -> Result<(), EventsError> {
    let bus = connect(&arguments.place.nats, settings).await?;
    let admission = Admission {
        insert_users: settings.server.auto_insert_user,
        insert_items: settings.server.auto_insert_item,
    };
    match &arguments.action {
        EventsAction::Dead { action } => dead::run(&bus, action).await,
        EventsAction::Replay(replay) => replay::run(&bus, settings, (replay, admission)).await,
        EventsAction::Tail { from } => tail::run(&bus, read_from(*from), admission).await,
    }
}

/// Connects to the servers that the command line names, else the configuration; as whom, the configuration says.
async fn connect(urls: &[String], settings: &Settings) -> Result<Bus, EventsError> {
    let name = format!("ulex-events-{}", std::process::id());
    let mut connection = connection_settings(&settings.nats, name);
    if !urls.is_empty() {
        connection.urls = urls.to_vec();
    }
    if connection.urls.is_empty() {
        return Err(EventsError::NoServer);
    }
    let transport = JetStream::connect(&connection, PATIENCE).await?;
    Ok(Bus::new(Arc::new(transport), TenantId::default()))
}

fn read_from(place: LogFrom) -> ReadFrom {
    match place {
        LogFrom::New => ReadFrom::New,
        LogFrom::Start => ReadFrom::First,
        LogFrom::Sequence(sequence) => ReadFrom::Sequence(sequence),
        LogFrom::Time(time) => {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(0);
            ReadFrom::Time(UNIX_EPOCH + Duration::from_nanos(nanos))
        }
    }
}

fn moment(time: SystemTime) -> Timestamp {
    let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}
