//! Which failures of PostgreSQL may pass by themselves.

use deadpool_postgres::PoolError;
use thiserror::Error;
use tokio_postgres::error::SqlState;

use crate::StorageError;

/// The name of this backend in errors.
pub(super) const BACKEND: &str = "postgres";

/// Anything that goes wrong in here.
#[derive(Debug, Error)]
pub(super) enum PostgresError {
    /// With what the server says; the driver's own text leaves that out.
    #[error("{}", described(.0))]
    Driver(#[from] tokio_postgres::Error),
    #[error("no connection: {0}")]
    Pool(#[from] PoolError),
    #[error("the URL of the database: {0}")]
    Url(String),
    #[error("{0}")]
    Tls(String),
    #[error("the database was not done in time")]
    Late,
    #[error("not committed, with others in one transaction: {0}")]
    Group(String),
    #[error("the store was closed")]
    Closed,
    #[error("the store did not get to it in time")]
    Overloaded,
    #[error(
        "the tables were made by a later version (schema {found}; this version knows up to {known}): use that version"
    )]
    Newer { found: i64, known: i64 },
    #[error("the table {table:?} was not made by this program: choose another table prefix or database")]
    Foreign { table: String },
    #[error("PostgreSQL cannot keep the character NUL, which is in {0}")]
    Nul(&'static str),
}

fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

impl PostgresError {
    /// Says what was attempted.
    pub fn while_trying_to(self, action: &'static str) -> StorageError {
        if self.is_transient() {
            StorageError::Unavailable { backend: BACKEND, action, source: self.into() }
        } else {
            StorageError::Rejected { backend: BACKEND, action, source: self.into() }
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Driver(error) => error.code().is_none_or(passes),
            Self::Pool(PoolError::Backend(error)) => error.code().is_none_or(passes),
            Self::Pool(_) | Self::Late | Self::Group(_) | Self::Closed | Self::Overloaded => true,
            Self::Url(_) | Self::Tls(_) | Self::Newer { .. } | Self::Foreign { .. } | Self::Nul(_) => false,
        }
    }

    /// Whether trying again at once is likely to help.
    pub fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Driver(error) => error.code().is_none_or(|code| {
                [
                    SqlState::T_R_SERIALIZATION_FAILURE,
                    SqlState::T_R_DEADLOCK_DETECTED,
                    SqlState::ADMIN_SHUTDOWN,
                    SqlState::CRASH_SHUTDOWN,
                ]
                .contains(code)
            }),
            Self::Pool(_) => true,
            Self::Url(_)
            | Self::Tls(_)
            | Self::Late
            | Self::Group(_)
            | Self::Closed
            | Self::Overloaded
            | Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Nul(_) => false,
        }
    }
}

/// Connection, resources, shutdown, rollback and lock failures get better without anybody changing the call.
fn passes(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "40" | "53" | "55" | "57" | "58" | "XX")
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
}
