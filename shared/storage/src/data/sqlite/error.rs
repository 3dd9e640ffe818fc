//! Failures of SQLite: the fault of the call, of the environment, or of unknown outcome.

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_CONSTRAINT_CHECK, SQLITE_CONSTRAINT_NOTNULL};
use thiserror::Error;

use super::migrate::MigrateError;
use crate::{ErrorKind, StorageError};

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
    #[error("the thread that wrote has died in the middle of it; see the log")]
    Unknown,
}

impl SqliteError {
    /// Says what was attempted.
    pub fn while_trying_to(self, action: &'static str) -> StorageError {
        StorageError::of_kind(self.kind(), BACKEND, action, self.into())
    }

    /// Says what was attempted with a file that nothing has worked with yet: what stays until the file is changed is
    /// refused, so that a program that starts says so instead of waiting.
    pub fn while_opening(self, action: &'static str) -> StorageError {
        let may_pass = match &self {
            Self::Driver(error) => error.sqlite_error_code().is_some_and(passes),
            Self::Migrate(_) => false,
            Self::Directory(_) | Self::Overloaded | Self::Closed | Self::Unknown => true,
        };
        let kind = if may_pass { ErrorKind::Unavailable } else { ErrorKind::Rejected };
        StorageError::of_kind(kind, BACKEND, action, self.into())
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Driver(error) if is_of_call(error) => ErrorKind::Rejected,
            Self::Unknown => ErrorKind::Unknown,
            Self::Driver(_) | Self::Migrate(_) | Self::Directory(_) | Self::Overloaded | Self::Closed => {
                ErrorKind::Unavailable
            }
        }
    }
}

/// A text or a row that is too large, a value that is missing or that a check forbids. Everything else, such as a damaged
/// file, a missing table or a full disk, is the fault of the environment.
fn is_of_call(error: &rusqlite::Error) -> bool {
    let Some(failure) = error.sqlite_error() else { return false };
    failure.code == ErrorCode::TooBig
        || [SQLITE_CONSTRAINT_NOTNULL, SQLITE_CONSTRAINT_CHECK].contains(&failure.extended_code)
}

/// A full or read-only disk and a busy file get better without a change of the file.
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

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn kind(extended_code: i32) -> ErrorKind {
        SqliteError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None)).kind()
    }

    #[test]
    fn only_a_value_that_cannot_be_kept_is_the_fault_of_the_call() {
        for code in [ffi::SQLITE_TOOBIG, SQLITE_CONSTRAINT_NOTNULL, SQLITE_CONSTRAINT_CHECK] {
            assert_eq!(kind(code), ErrorKind::Rejected, "{code}");
        }
        // Every primary code but "too big".
        let others = (1..=ffi::SQLITE_NOTADB).filter(|code| *code != ffi::SQLITE_TOOBIG);
        for code in
            others.chain([ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CORRUPT_VTAB, ffi::SQLITE_IOERR_FSYNC])
        {
            assert_eq!(kind(code), ErrorKind::Unavailable, "{code}");
        }
    }
}
