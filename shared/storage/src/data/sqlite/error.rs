//! Which failures of SQLite may pass by themselves.

use rusqlite::ErrorCode;
use thiserror::Error;

use super::migrate::MigrateError;
use crate::StorageError;

/// The name of this backend in errors.
pub(super) const BACKEND: &str = "sqlite";

/// Anything that goes wrong in here.
#[derive(Debug, Error)]
pub(super) enum SqliteError {
    #[error(transparent)]
    Driver(#[from] rusqlite::Error),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error("could not use the directory of the file: {0}")]
    Directory(#[from] std::io::Error),
    #[error("the store did not get to it in time")]
    Overloaded,
    #[error("the store was closed or its thread has died; see the log")]
    Closed,
}

impl SqliteError {
    /// Says what was attempted.
    pub fn while_trying_to(self, action: &'static str) -> StorageError {
        if self.is_transient() {
            StorageError::Unavailable { backend: BACKEND, action, source: self.into() }
        } else {
            StorageError::Rejected { backend: BACKEND, action, source: self.into() }
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Driver(error) => error.sqlite_error_code().is_some_and(passes),
            Self::Migrate(_) => false,
            Self::Directory(_) | Self::Overloaded | Self::Closed => true,
        }
    }
}

/// A full or read-only disk and a busy file get better without anybody changing the call.
fn passes(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::ReadOnly
            | ErrorCode::OperationInterrupted
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::SchemaChanged
            | ErrorCode::PermissionDenied
    )
}
