//! Failures of PostgreSQL: the fault of the call, of the environment, or of unknown outcome.

use thiserror::Error;
use tokio_postgres::error::SqlState;

use crate::data::OUT_OF_PLACE;
use crate::error::kind_of_sqlstate;
use crate::{ErrorKind, StorageError};

/// The name of this backend in errors.
pub(super) const BACKEND: &str = "postgres";

/// Anything that goes wrong in here.
#[derive(Debug, Error)]
pub(crate) enum PostgresError {
    /// Not as a source: the description says all that the driver would say.
    #[error("{}", described(.0))]
    Driver(tokio_postgres::Error),
    #[error("{0}")]
    Address(String),
    #[error(
        "the tables were made by a later version (schema {found}; this version knows up to {known}): \
         use that version, or restore a dump into another schema or under another prefix"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "there already is a table named {table:?} that this program did not make, such as one of Gorse: \
         choose another schema, database or table prefix and import a dump"
    )]
    Foreign { table: String },
    #[error("the server did not answer within {0:?}")]
    Deadline(std::time::Duration),
    #[error("all {0} connections were busy for too long")]
    Busy(usize),
    #[error("the connection was lost while it was committed; whether it was is not known")]
    Unknown,
    #[error("{OUT_OF_PLACE}")]
    OutOfPlace,
    #[error("the server accepts no writes: it is a replica or read-only")]
    ReadOnly,
    /// The call itself may be as good as any.
    #[error("the transaction it was part of failed: {0}")]
    Group(String),
    #[error("the store was closed or its task has died; see the log")]
    Closed,
    #[error("the store did not get to it in time")]
    Overloaded,
    #[error("the server sent something unexpected: {0}")]
    Protocol(&'static str),
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

/// The driver's own message of a server's error is only "db error".
fn described(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(server), _) => {
            let detail = server.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{}{detail} [{}]", server.message(), server.code().code())
        }
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

impl PostgresError {
    /// Says what was attempted.
    pub fn while_trying_to(self, action: &'static str) -> StorageError {
        StorageError::of_kind(self.kind(), BACKEND, action, self.into())
    }

    /// Says what was attempted with settings that nothing has worked with yet: what stays until the settings or the
    /// server are changed is refused, so that a program that starts says so instead of waiting.
    pub fn while_opening(self, action: &'static str) -> StorageError {
        let kind = if self.may_pass() { ErrorKind::Unavailable } else { ErrorKind::Rejected };
        StorageError::of_kind(kind, BACKEND, action, self.into())
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Driver(error) => {
                error.code().map_or(ErrorKind::Unavailable, |code| kind_of_sqlstate(code.code()))
            }
            Self::Address(_) => ErrorKind::Rejected,
            Self::Unknown => ErrorKind::Unknown,
            Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Protocol(_)
            | Self::Deadline(_)
            | Self::Busy(_)
            | Self::Group(_)
            | Self::OutOfPlace
            | Self::ReadOnly
            | Self::Closed
            | Self::Overloaded => ErrorKind::Unavailable,
        }
    }

    fn may_pass(&self) -> bool {
        match self {
            Self::Driver(error) => error.code().map_or_else(|| !is_our_fault(error), passes),
            Self::Address(_) | Self::Newer { .. } | Self::Foreign { .. } | Self::Protocol(_) => false,
            Self::Deadline(_)
            | Self::Busy(_)
            | Self::Unknown
            | Self::Group(_)
            | Self::OutOfPlace
            | Self::ReadOnly
            | Self::Closed
            | Self::Overloaded => true,
        }
    }

    /// The connection is of no use any more; another one may be.
    pub fn is_lost_connection(&self) -> bool {
        let Self::Driver(error) = self else { return false };
        match error.code() {
            None => error.is_closed() || error.source_is_io(),
            Some(code) => code.code().starts_with("57P"),
        }
    }

    /// The transaction may succeed if it is simply repeated.
    pub fn is_worth_repeating(&self) -> bool {
        let Self::Driver(error) = self else { return false };
        self.is_lost_connection()
            || error.code().is_some_and(|code| {
                *code == SqlState::T_R_SERIALIZATION_FAILURE
                    || *code == SqlState::T_R_DEADLOCK_DETECTED
                    || *code == SqlState::UNIQUE_VIOLATION
            })
    }
}

/// Says whether the system below failed.
trait SourceIsIo {
    fn source_is_io(&self) -> bool;
}

impl SourceIsIo for tokio_postgres::Error {
    fn source_is_io(&self) -> bool {
        std::error::Error::source(self).is_some_and(|cause| cause.is::<std::io::Error>())
    }
}

/// A value that cannot be sent, or settings that make no sense: neither gets better.
fn is_our_fault(error: &tokio_postgres::Error) -> bool {
    let message = error.to_string();
    let ours =
        ["error serializing", "error deserializing", "invalid configuration", "invalid connection string"];
    ours.iter().any(|start| message.starts_with(start))
}

/// Server restarts, failover, full disks and resource limits pass without a change of the settings. Codes of class 28
/// and 3D (wrong password, no such database) do not, at the start; a store that is open waits for these, too.
fn passes(code: &SqlState) -> bool {
    let code = code.code();
    ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        || ["55P03", "25006", "23505", "25P03"].contains(&code)
}
